//! The two directions of a connection close one after the other, in either order, and nothing is lost by it.

use std::io::Write;
use std::time::Duration;

use campana::connection::{ConnectionState, SendError};

#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, connect_narrow, half_close, pattern, read_to_end, small_buffers};

/// More than any kernel buffers hold that the tests use.
const LARGE: usize = 2 * 1024 * 1024;

#[test]
fn peer_half_close_keeps_pending_output() {
    let reply = pattern(LARGE);
    let expected = reply.clone();
    let server = Server::configured(
        |config| config.socket = small_buffers(),
        move |moment, conn, input| match moment {
            Moment::Data => {
                input.retrieve_all();
                conn.send(&reply).unwrap();
            }
            _ => moment.usual(conn, input),
        },
    );
    let mut client = connect_narrow(server.address());
    client.write_all(b"request").unwrap();
    half_close(&client);
    // The half-close has been seen while nearly all of the output is pending still.
    server.log.wait_count(Moment::ReadClosed, 1);
    assert_eq!(server.log.count(Moment::Close), 0);
    assert!(read_to_end(&mut client) == expected, "the reply came wrong");
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    let stats = server.log.last_stats().unwrap();
    assert_eq!((stats.bytes_out, stats.bytes_discarded), (LARGE as u64, 0));
    server.end(1);
}

#[test]
fn what_was_left_unread_can_still_be_looked_at_when_the_peer_has_closed() {
    let server = Server::configured(
        |_| (),
        |moment, conn, input| match moment {
            // A line protocol that waits for the end of the line.
            Moment::Data => {}
            Moment::ReadClosed => {
                let last = conn.unread_input().to_vec();
                conn.send(last).unwrap();
                conn.close();
            }
            _ => moment.usual(conn, input),
        },
    );
    let mut client = connect_narrow(server.address());
    client.write_all(b"no end to this line").unwrap();
    half_close(&client);
    assert_eq!(read_to_end(&mut client), b"no end to this line");
    server.end(1);
}

#[test]
fn what_was_left_unread_is_handed_over_by_a_resume_after_the_peer_has_closed_too() {
    let server = Server::configured(
        |_| (),
        |moment, conn, input| match moment {
            Moment::Data if conn.is_read_closed() => {
                conn.send(input.take()).unwrap();
                conn.close();
            }
            Moment::Data => {}
            Moment::ReadClosed => {
                conn.pause_reading();
                conn.resume_reading();
            }
            _ => moment.usual(conn, input),
        },
    );
    let mut client = connect_narrow(server.address());
    client.write_all(b"later").unwrap();
    half_close(&client);
    assert_eq!(read_to_end(&mut client), b"later");
    server.end(1);
}

#[test]
fn output_sent_in_on_read_closed_is_delivered() {
    let server = Server::configured(
        |config| config.socket = small_buffers(),
        |moment, conn, input| match moment {
            Moment::ReadClosed => {
                conn.send(pattern(LARGE)).unwrap();
                conn.send("the end").unwrap();
                conn.close();
            }
            _ => moment.usual(conn, input),
        },
    );
    let mut client = connect_narrow(server.address());
    half_close(&client);
    let input = read_to_end(&mut client);
    assert_eq!(input.len(), LARGE + 7);
    assert!(input.ends_with(b"the end"));
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    server.end(1);
}

#[test]
fn shutdown_flushes_all_then_says_so_while_reading_goes_on() {
    let server = Server::configured(
        |config| config.socket = small_buffers(),
        |moment, conn, input| match moment {
            Moment::Connect => {
                conn.send(pattern(LARGE)).unwrap();
                conn.shutdown();
                assert_eq!(conn.send("more"), Err(SendError::ShutDown));
                assert_eq!(conn.state(), ConnectionState::Connected);
                assert!(!conn.is_open());
            }
            _ => moment.usual(conn, input),
        },
    );
    let mut client = connect_narrow(server.address());
    assert!(read_to_end(&mut client) == pattern(LARGE), "the output came wrong");
    // This side of the connection is still open.
    client.write_all(b"late").unwrap();
    server.log.wait("the late bytes", |log| log.data() == b"late");
    client.write_all(b" and later").unwrap();
    server.log.wait("the later bytes", |log| log.data() == b"late and later");
    assert_eq!(server.log.count(Moment::Close), 0);
    assert_eq!(server.log.count(Moment::WriteComplete), 1);
    drop(client);
    assert_eq!(server.log.wait_closed(), "closed by this side");
    server.end(1);
}

#[test]
fn shutdown_twice_and_after_the_peer_is_one_end() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data => {
            input.retrieve_all();
            conn.shutdown();
            conn.shutdown();
        }
        _ => moment.usual(conn, input),
    });
    let mut client = server.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(read_to_end(&mut client), b"");
    half_close(&client);
    assert_eq!(server.log.wait_closed(), "closed by this side");
    server.end(1);
}

#[test]
fn a_connection_kept_after_the_peers_half_close_still_sends() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::ReadClosed => {
            conn.set_timer(Duration::from_millis(30), 7);
        }
        Moment::Timer(7) => {
            assert!(conn.is_read_closed());
            conn.send("late answer").unwrap();
            conn.shutdown();
        }
        _ => moment.usual(conn, input),
    });
    let mut client = server.connect();
    client.write_all(b"question").unwrap();
    half_close(&client);
    assert_eq!(read_to_end(&mut client), b"late answer");
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    let log = server.end(1);
    // Both directions are closed as the answer leaves, so that on_close is all that follows.
    assert_eq!(
        log.lines(),
        ["Connect", "Data(question)", "ReadClosed", "Timer(7)", "Closed(closed by the peer)"]
    );
}

#[test]
fn a_connection_kept_after_the_peers_half_close_costs_no_turns() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::ReadClosed => {}
        _ => moment.usual(conn, input),
    });
    let client = server.connect();
    half_close(&client);
    server.log.wait_count(Moment::ReadClosed, 1);
    let turns = server.running.idle_turns(Duration::from_millis(200));
    assert!(turns <= 5, "{turns} turns for nothing");
    assert_eq!(server.log.count(Moment::Close), 0);
    drop(client);
    server.end(1);
}

#[test]
fn the_end_of_the_stream_comes_after_all_unread_data() {
    let server = Server::configured(
        |config| config.read_budget = 1000,
        |moment, conn, input| match moment {
            Moment::Connect => conn.pause_reading(),
            // What is left comes again together with more.
            Moment::Data => input.retrieve(input.readable().min(3000)),
            _ => moment.usual(conn, input),
        },
    );
    let mut client = server.connect_and_wait();
    let sent = pattern(600_000);
    client.write_all(&sent).unwrap();
    half_close(&client);
    server.handle.for_each(|conn| conn.resume_reading()).unwrap();
    server.log.wait_count(Moment::Close, 1);
    let log = server.end(1);
    assert_eq!(log.last_stats().unwrap().bytes_in, sent.len() as u64);
    let lines = log.lines();
    let read_closed = lines.iter().position(|line| line == "ReadClosed").unwrap();
    let last_data = lines.iter().rposition(|line| line.starts_with("Data")).unwrap();
    assert!(last_data < read_closed);
}

#[test]
fn data_and_the_end_of_the_stream_in_one_go_are_both_heard_of() {
    let server = Server::start(Moment::usual);
    for _ in 0..50 {
        let mut client = server.connect();
        client.write_all(b"all there is").unwrap();
        drop(client);
    }
    server.log.wait_count(Moment::Close, 50);
    let log = server.end(50);
    for id in log.ids() {
        let expected = ["Connect", "Data(all there is)", "ReadClosed", "Closed(closed by the peer)"];
        assert_eq!(log.lines_of(id), expected);
    }
}
