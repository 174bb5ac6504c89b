//! What the first connections of a server find.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use campana::socket::{ListenOptions, Listener};
use campana::{Buffer, EventLoop, Handler, ServerHandle, TcpConnection, TcpServer};

struct CountsHandlers {
    server: ServerHandle<Self>,
    known: Sender<usize>,
}

impl Handler for CountsHandlers {
    type State = ();

    fn on_connect(&mut self, _conn: &mut TcpConnection<'_>) {
        self.known.send(self.server.handlers().len()).unwrap();
    }

    fn on_data(&mut self, (): &mut (), _conn: &mut TcpConnection<'_>, _input: &mut Buffer) {}
}

#[test]
fn a_connection_that_waited_for_the_start_reaches_the_handlers_of_all_loops() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    let address = listener.local_address().unwrap().as_inet().unwrap();
    let _client = TcpStream::connect(address).unwrap();

    let mut event_loop = EventLoop::new().unwrap();
    let (known, count) = channel();
    let server = TcpServer::from_listeners(vec![listener]).threads(4);
    let make = move |_: &mut _, server: &ServerHandle<_>| CountsHandlers {
        server: server.clone(),
        known: known.clone(),
    };
    let _server = server.start_with(&mut event_loop, make).unwrap();
    assert_eq!(count.recv_timeout(Duration::from_secs(20)).unwrap(), 4);
}
