//! What a client has put off before it ended doesn't reach what took its place on the loop.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use campana::{EventLoop, ServerHandle, TcpClient, TcpServer};

mod support {
    pub(crate) mod reactor;
}
use support::reactor::turn_until;

#[test]
fn a_server_outlives_the_client_that_was_stopped_before_its_first_attempt() {
    let mut event_loop = EventLoop::new().unwrap();
    let started: Arc<Mutex<Option<ServerHandle>>> = Arc::default();
    let kept = Arc::clone(&started);
    event_loop.context().run_later(move |cx| {
        // All that is posted here runs in this very turn, before the client's first attempt.
        let client = TcpClient::new("127.0.0.1:1").unwrap().start(cx);
        client.stop();
        client.handler().unwrap().run(|_, _| ()).unwrap();
        let handle = cx.handle().clone();
        handle
            .post(move |cx| {
                let server = TcpServer::bind("127.0.0.1:0").unwrap().start(cx).unwrap();
                *kept.lock().unwrap() = Some(server);
            })
            .unwrap();
    });
    turn_until(&mut event_loop, "the server", |_| started.lock().unwrap().is_some());
    let server = started.lock().unwrap().take().unwrap();
    for _ in 0..10 {
        event_loop.turn(Some(std::time::Duration::ZERO)).unwrap();
    }
    assert!(!server.is_stopped(), "nobody stopped it");
    let _peer = TcpStream::connect(server.local_addresses()[0].as_inet().unwrap()).unwrap();
    turn_until(&mut event_loop, "the connection", |_| server.figures().connections == 1);
}
