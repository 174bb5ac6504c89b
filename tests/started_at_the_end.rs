//! What a last `on_close` starts while its loop ends is stopped like everything else.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::{EventLoop, ServerHandle, TcpServer};

mod support {
    pub(crate) mod reactor;
}
use support::reactor::turn_until;

#[test]
fn a_server_that_takes_the_place_of_one_that_stopped_before_is_stopped() {
    let mut event_loop = EventLoop::new().unwrap();
    let first = TcpServer::bind("127.0.0.1:0").unwrap().start(&mut event_loop).unwrap();
    let started: Arc<Mutex<Option<ServerHandle>>> = Arc::default();
    let kept = Arc::clone(&started);
    let second = TcpServer::bind("127.0.0.1:0")
        .unwrap()
        .on_close(move |conn, _| {
            let server = TcpServer::bind("127.0.0.1:0").unwrap().start(conn.context()).unwrap();
            *kept.lock().unwrap() = Some(server);
        })
        .start(&mut event_loop)
        .unwrap();
    let _peer = TcpStream::connect(second.local_addresses()[0].as_inet().unwrap()).unwrap();
    turn_until(&mut event_loop, "the connection", |_| second.figures().connections == 1);
    first.stop(Duration::ZERO);
    turn_until(&mut event_loop, "the first server to stop", |_| first.is_stopped());
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    drop(event_loop);
    assert!(started.lock().unwrap().take().unwrap().is_stopped());
}
