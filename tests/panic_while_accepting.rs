//! A panic half-way through those who wait to be accepted.

use std::io::Write;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, read_exact, wait_gone};

#[test]
fn those_who_wait_behind_a_connection_whose_on_connect_panics_are_served() {
    let connected = AtomicUsize::new(0);
    let server = Server::start(move |moment, conn, input| match moment {
        Moment::Connect if connected.fetch_add(1, Ordering::Relaxed) == 0 => resume_unwind(Box::new("meant")),
        _ => server::echo(moment, conn, input),
    });
    // They all wait when the loop looks, and there will be no other event.
    let held = server.running.hold();
    let mut first = server.connect();
    let mut others = [server.connect(), server.connect(), server.connect()];
    held.release();
    wait_gone(&mut first);
    for other in &mut others {
        other.write_all(b"here").unwrap();
        assert_eq!(read_exact(other, 4), b"here");
    }
    assert_eq!(server.running.figures().panics, 1);
}
