//! A loop sleeps while there is nothing that it could do: readiness that nobody takes up is no reason to turn.

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use campana::{EventLoop, ServerHandle, TcpServer};

mod support {
    pub(crate) mod reactor;
}
use support::reactor::turn_until;

const NAP: Duration = Duration::from_millis(100);
/// More than a socket's buffers take.
const OUTPUT: usize = 7 << 20;

/// Whether the loop, left alone, comes to a turn in which it sleeps for as long as it may.
fn comes_to_rest(event_loop: &mut EventLoop) -> bool {
    (0..500).any(|_| {
        let began = Instant::now();
        event_loop.turn(Some(NAP)).unwrap();
        began.elapsed() >= NAP
    })
}

fn connect(server: &ServerHandle) -> TcpStream {
    TcpStream::connect(server.local_addresses()[0].as_inet().unwrap()).unwrap()
}

fn send_too_much(conn: &mut campana::TcpConnection<'_>) {
    conn.send(Bytes::from(vec![1; OUTPUT])).unwrap();
}

/// How much output waits on the only connection of the loop.
fn pending(event_loop: &mut EventLoop) -> usize {
    let context = event_loop.context();
    let id = context.connections()[0];
    context.connection(id).unwrap().pending_output()
}

/// Reads until the server's loop has written more, which only a readiness event lets it do.
fn take_some(event_loop: &mut EventLoop, peer: &mut TcpStream) {
    let before = pending(event_loop);
    peer.set_nonblocking(true).unwrap();
    let mut block = vec![0; 64 * 1024];
    turn_until(event_loop, "more output to leave", |event_loop| {
        let _ = peer.read(&mut block);
        pending(event_loop) < before
    });
    assert!(pending(event_loop) > 0);
}

#[test]
fn output_that_is_blocked_a_second_time_lets_the_loop_sleep() {
    let mut event_loop = EventLoop::new().unwrap();
    let server =
        TcpServer::bind("127.0.0.1:0").unwrap().on_connect(send_too_much).start(&mut event_loop).unwrap();
    let mut peer = connect(&server);
    turn_until(&mut event_loop, "the connection", |event_loop| {
        !event_loop.context().connections().is_empty()
    });
    assert!(comes_to_rest(&mut event_loop), "blocked for the first time");
    take_some(&mut event_loop, &mut peer);
    assert!(comes_to_rest(&mut event_loop), "blocked for the second time");
}

#[test]
fn a_paused_connection_that_closes_towards_a_slow_peer_lets_the_loop_sleep() {
    let mut event_loop = EventLoop::new().unwrap();
    let server = TcpServer::bind("127.0.0.1:0")
        .unwrap()
        .configure(|config| config.linger = Duration::from_secs(60))
        .on_connect(send_too_much)
        .on_read_closed(|conn| {
            conn.pause_reading();
            conn.close();
        })
        .start(&mut event_loop)
        .unwrap();
    let mut peer = connect(&server);
    peer.shutdown(Shutdown::Write).unwrap();
    turn_until(&mut event_loop, "the connection", |event_loop| {
        !event_loop.context().connections().is_empty()
    });
    assert!(comes_to_rest(&mut event_loop), "before the peer reads");
    take_some(&mut event_loop, &mut peer);
    assert!(comes_to_rest(&mut event_loop), "after the peer has read some");
}
