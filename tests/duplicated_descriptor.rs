//! A duplicate of a connection's descriptor lives on elsewhere: the connection ends all the same, and is heard of no more.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::{Buffer, TcpConnection};

#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, echo, is_served, read_exact, read_to_end, wait_until};

/// Duplicates the descriptor of each connection, as a library that keeps one to itself or a process that was started would.
fn keep_duplicates(
    kept: &Arc<Mutex<Vec<OwnedFd>>>,
) -> impl Fn(Moment, &mut TcpConnection<'_>, &mut Buffer) + Send + Sync + 'static {
    let kept = Arc::clone(kept);
    move |moment, conn, input| match moment {
        Moment::Connect => {
            kept.lock().unwrap().push(conn.socket().unwrap().as_fd().try_clone_to_owned().unwrap());
        }
        Moment::Data if input.peek() == b"force" => conn.force_close(),
        Moment::Data if input.peek() == b"close" => {
            conn.send("bye").unwrap();
            conn.close();
        }
        _ => echo(moment, conn, input),
    }
}

#[test]
fn what_arrives_after_a_close_by_force_is_no_event_though_a_duplicate_keeps_the_socket() {
    let kept = Arc::default();
    let server = Server::start(keep_duplicates(&kept));
    let mut client = server.connect_and_wait();
    client.write_all(b"force").unwrap();
    assert_eq!(server.log.wait_closed(), "closed by this side");
    server.running.settle();
    let before = server.running.figures();
    for _ in 0..10 {
        // The socket is open still, so that the kernel takes it.
        client.write_all(b"anybody there?").unwrap();
    }
    let duplicate = kept.lock().unwrap().pop().unwrap();
    wait_until("it to arrive", || rustix::io::ioctl_fionread(&duplicate).unwrap() == 140);
    let turns = server.running.idle_turns(Duration::from_millis(100));
    let after = server.running.figures();
    assert!(turns <= 5, "{turns} turns for a connection that is gone");
    assert_eq!(after.stale_events, before.stale_events);
    assert_eq!(server.log.count(Moment::Data), 1);
    drop(duplicate);
    server.end(1);
}

#[test]
fn a_connection_in_the_place_of_one_that_was_duplicated_hears_of_its_own_events_only() {
    let kept = Arc::default();
    let server = Server::start(keep_duplicates(&kept));
    let mut old = Vec::new();
    for round in 1..=20 {
        let mut client = server.connect_and_wait();
        client.write_all(b"force").unwrap();
        server.log.wait_count(Moment::Close, round);
        old.push(client);
    }
    // One place has been used twenty times, and is used again.
    let mut client = server.connect_and_wait();
    for old in &mut old {
        old.write_all(b"for somebody else").unwrap();
        is_served(&mut client);
    }
    server.running.settle();
    assert_eq!(server.running.figures().stale_events, 0);
    let lines = server.log.lines_of(*server.log.ids().last().unwrap());
    let own = ["Connect", "Data(ping)", "WriteComplete"];
    assert!(lines.iter().all(|line| own.contains(&&**line)), "{lines:#?}");
    drop((client, old));
    server.log.wait_count(Moment::Close, 21);
    server.end(21);
}

#[test]
fn a_close_in_good_order_reaches_the_peer_though_a_duplicate_keeps_the_socket() {
    let kept = Arc::default();
    let server = Server::start(keep_duplicates(&kept));
    let mut client = server.connect_and_wait();
    is_served(&mut client);
    client.write_all(b"close").unwrap();
    assert_eq!(read_exact(&mut client, 3), b"bye");
    assert_eq!(read_to_end(&mut client), b"");
    drop(client);
    assert_eq!(server.log.wait_closed(), "closed by this side");
    assert_eq!(kept.lock().unwrap().len(), 1);
    server.end(1);
}
