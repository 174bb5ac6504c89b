//! A panic while a server or a loop ends harms no connection but its own.

use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use campana::{Buffer, CloseReason, EventLoop, Handler, TcpConnection, TcpServer};

/// Panics for its first connection, where it is told to, and reports the end of each.
struct Panicking {
    in_on_connect: bool,
    in_on_close: bool,
    connections: usize,
    closed: Sender<usize>,
}

impl Handler for Panicking {
    type State = usize;

    fn on_connect(&mut self, _conn: &mut TcpConnection<'_>) -> usize {
        self.connections += 1;
        assert!(!(self.in_on_connect && self.connections == 1), "the first connection's on_connect");
        self.connections
    }

    fn on_data(&mut self, _number: &mut usize, _conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        input.clear();
    }

    fn on_close(&mut self, number: usize, _conn: &mut TcpConnection<'_>, _reason: CloseReason) {
        let _ = self.closed.send(number);
        assert!(!(self.in_on_close && number == 1), "the first connection's on_close");
    }
}

fn turn_until(event_loop: &mut EventLoop, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "nothing came of it within 10 s");
        event_loop.turn(Some(Duration::from_millis(10))).unwrap();
    }
}

#[test]
fn a_panic_in_on_close_at_the_loops_end_keeps_no_other_connection_from_its_own() {
    let (closed, ends) = channel();
    let mut event_loop = EventLoop::new().unwrap();
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let server = server
        .start_with(&mut event_loop, move |_, _| Panicking {
            in_on_connect: false,
            in_on_close: true,
            connections: 0,
            closed: closed.clone(),
        })
        .unwrap();
    let address = server.local_addresses()[0].to_string();
    let _peers: Vec<_> = (0..3).map(|_| TcpStream::connect(&address).unwrap()).collect();
    turn_until(&mut event_loop, || server.figures().connections == 3);
    drop(event_loop);
    let mut ended: Vec<usize> = ends.try_iter().collect();
    ended.sort_unstable();
    assert_eq!(ended, [1, 2, 3]);
    assert!(server.is_stopped());
    assert_eq!(server.figures().connections, 0);
}

#[test]
fn a_panic_in_on_connect_of_one_who_waited_does_not_keep_a_server_from_stopping() {
    let (closed, ends) = channel();
    let mut event_loop = EventLoop::new().unwrap();
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let server = server
        .start_with(&mut event_loop, move |_, _| Panicking {
            in_on_connect: true,
            in_on_close: false,
            connections: 0,
            closed: closed.clone(),
        })
        .unwrap();
    server.pause_accepting();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let address = server.local_addresses()[0].to_string();
    // They are in the backlog when connect returns, and are taken in by the stop.
    let _peers: Vec<_> = (0..2).map(|_| TcpStream::connect(&address).unwrap()).collect();
    // The deadline may pass before the second one is taken in, which must not keep it for longer.
    server.stop(Duration::ZERO);
    let began = Instant::now();
    turn_until(&mut event_loop, || server.is_stopped());
    assert!(began.elapsed() < Duration::from_secs(1), "closed in good order, not by force");
    assert_eq!(ends.try_iter().collect::<Vec<_>>(), [2]);
    assert_eq!(event_loop.handle().figures().panics, 1);
}
