//! Peers that go away without a word: what they sent still arrives, each end is told once, and nothing spins.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use campana::TcpServer;
use campana::connection::SendError;
use campana::socket::{Address, Socket, SocketOptions};

#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, connect_narrow, half_close, pattern, reset, small_buffers, wait_until};

const SIGPIPE: i32 = rustix::process::Signal::PIPE.as_raw();
const QUIET: Duration = Duration::from_millis(200);

#[test]
fn data_before_a_reset_is_delivered() {
    let server = Server::start(Moment::usual);
    for _ in 0..50 {
        let mut client = server.connect();
        client.write_all(b"last words").unwrap();
        reset(client);
    }
    server.log.wait_count(Moment::Close, 50);
    let log = server.end(50);
    for id in log.ids() {
        assert_eq!(log.lines_of(id), ["Connect", "Data(last words)", "Closed(reset by the peer)"]);
    }
}

#[test]
fn much_data_before_a_reset_is_delivered_though_it_takes_many_turns() {
    let server = Server::configured(
        |config| {
            config.read_budget = 1;
            config.socket = SocketOptions::new().recv_buffer_size(1 << 20);
        },
        |moment, conn, input| match moment {
            Moment::Connect => conn.pause_reading(),
            _ => moment.usual(conn, input),
        },
    );
    let mut client = server.connect_and_wait();
    let sent = pattern(200_000);
    client.write_all(&sent).unwrap();
    // A reset overtakes what has not arrived yet.
    wait_until("all to arrive", || server.unread() == sent.len());
    reset(client);
    server.handle.for_each(|conn| conn.resume_reading()).unwrap();
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    let log = server.end(1);
    assert!(log.data() == sent, "{} bytes came", log.data().len());
}

#[test]
fn a_reset_after_the_half_close_ends_a_connection_that_was_kept() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::ReadClosed => {}
        _ => moment.usual(conn, input),
    });
    let client = server.connect();
    half_close(&client);
    server.log.wait_count(Moment::ReadClosed, 1);
    reset(client);
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    let turns = server.running.idle_turns(QUIET);
    assert!(turns <= 5, "{turns} turns for nothing");
    server.end(1);
}

#[test]
fn a_half_close_and_a_reset_seen_together_end_a_connection_that_was_kept() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::ReadClosed => {}
        _ => moment.usual(conn, input),
    });
    let client = server.connect_and_wait();
    // While the loop is held up, both come.
    let held = server.running.hold();
    half_close(&client);
    reset(client);
    held.release();
    let reason = server.log.wait_closed();
    assert!(["reset by the peer", "closed by the peer"].contains(&&*reason), "{reason}");
    let turns = server.running.idle_turns(QUIET);
    assert!(turns <= 5, "{turns} turns for nothing");
    server.end(1);
}

#[test]
fn a_unix_peer_that_is_gone_ends_a_connection_that_was_kept() {
    let name = format!("campana-reset-kept-{}", std::process::id());
    let address = Address::unix_abstract(&name).unwrap();
    let server = Server::of(TcpServer::bind(address.clone()).unwrap(), |moment, conn, input| match moment {
        Moment::ReadClosed => {}
        _ => moment.usual(conn, input),
    });
    let (client, _) = Socket::connect(&address, &small_buffers()).unwrap();
    server.log.wait_count(Moment::Connect, 1);
    drop(client);
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    server.end(1);
}

#[test]
fn writing_to_a_peer_that_has_closed_ends_with_reset() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::ReadClosed => {
            conn.set_timer(Duration::from_millis(1), 0);
        }
        // The first write is answered with a reset, a later one finds the connection gone.
        Moment::Timer(_) => {
            let _ = conn.send("anybody there?");
            conn.set_timer(Duration::from_millis(1), 0);
        }
        _ => moment.usual(conn, input),
    });
    drop(server.connect_and_wait());
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    let turns = server.running.idle_turns(QUIET);
    assert!(turns <= 5, "{turns} turns for nothing");
    server.end(1);
}

#[test]
fn a_large_write_to_a_peer_that_has_closed_frees_what_is_queued() {
    let server = Server::configured(
        |config| config.socket = small_buffers(),
        |moment, conn, input| match moment {
            Moment::Connect => conn.send(pattern(2_000_000)).unwrap(),
            Moment::ReadClosed => {}
            _ => moment.usual(conn, input),
        },
    );
    let client = connect_narrow(server.address());
    server.log.wait_count(Moment::HighWater, 1);
    // With unread data this is a reset, and it is the queued output that finds it.
    drop(client);
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    let stats = server.log.last_stats().unwrap();
    assert_eq!(stats.bytes_out + stats.bytes_discarded, 2_000_000);
    server.end(1);
}

#[test]
fn a_unix_peer_that_does_not_read_but_closes_is_a_reset_and_raises_no_signal() {
    let name = format!("campana-reset-unix-{}", std::process::id());
    let address = Address::unix_abstract(&name).unwrap();
    let server = Server::of(TcpServer::bind(address.clone()).unwrap(), |moment, conn, input| match moment {
        Moment::Connect => conn.send(pattern(4_000_000)).unwrap(),
        _ => moment.usual(conn, input),
    });
    let signalled = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&signalled);
    server.running.call(move |cx| {
        cx.on_signals(&[SIGPIPE], move |_, _| raised.store(true, Ordering::SeqCst)).unwrap();
    });
    let (client, _) = Socket::connect(&address, &small_buffers()).unwrap();
    server.log.wait_count(Moment::HighWater, 1);
    drop(client);
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    server.running.settle();
    assert!(!signalled.load(Ordering::SeqCst), "SIGPIPE was raised");
    server.end(1);
}

#[test]
fn a_reset_while_reading_is_paused_ends_after_the_linger_time_without_spinning() {
    let linger = Duration::from_millis(300);
    let server = Server::configured(
        |config| config.linger = linger,
        |moment, conn, input| match moment {
            Moment::Connect => conn.pause_reading(),
            _ => moment.usual(conn, input),
        },
    );
    let mut client = server.connect_and_wait();
    client.write_all(b"unread").unwrap();
    let began = Instant::now();
    let before = server.running.figures().turns;
    reset(client);
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    assert!(began.elapsed() >= linger);
    let turns = server.running.figures().turns - before;
    assert!(turns <= 20, "{turns} turns for a reset");
    server.end(1);
}

#[test]
fn a_reset_while_reading_is_paused_leaves_time_to_read_what_came_before() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Connect => conn.pause_reading(),
        _ => moment.usual(conn, input),
    });
    let mut client = server.connect_and_wait();
    client.write_all(b"last words").unwrap();
    wait_until("the words to arrive", || server.unread() == 10);
    reset(client);
    server.running.settle();
    server.handle.for_each(|conn| conn.resume_reading()).unwrap();
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    let log = server.end(1);
    assert_eq!(log.data(), b"last words");
}

#[test]
fn a_connection_paused_after_its_peer_was_reset_ends_after_the_linger_time() {
    let server = Server::configured(
        |config| config.linger = Duration::from_millis(200),
        |moment, conn, input| match moment {
            // By now the reset is known, and will not be reported again.
            Moment::Data => conn.pause_reading(),
            _ => moment.usual(conn, input),
        },
    );
    let mut client = server.connect_and_wait();
    let held = server.running.hold();
    client.write_all(b"last words").unwrap();
    reset(client);
    held.release();
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    server.end(1);
}

#[test]
fn pausing_again_and_again_does_not_hide_that_the_peer_is_gone() {
    let server = Server::configured(
        |config| config.linger = Duration::from_millis(200),
        |moment, conn, input| match moment {
            Moment::Connect => conn.pause_reading(),
            // What is left is handed over again at each resuming.
            Moment::Data => conn.pause_reading(),
            _ => moment.usual(conn, input),
        },
    );
    let mut client = server.connect_and_wait();
    client.write_all(b"last words").unwrap();
    wait_until("the words to arrive", || server.unread() == 10);
    reset(client);
    server.running.settle();
    server.handle.for_each(|conn| conn.resume_reading()).unwrap();
    server.log.wait_count(Moment::Data, 1);
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    server.end(1);
}

#[test]
fn a_reset_before_accept_is_one_short_life_or_none() {
    let server = Server::start(Moment::usual);
    let mut other = server.connect_and_wait();
    for _ in 0..20 {
        let held = server.running.hold();
        reset(server.connect());
        held.release();
    }
    wait_until("the last of them to end", || server.handle.figures().connections == 1);
    other.write_all(b"still served").unwrap();
    server.log.wait("the other's data", |log| log.data() == b"still served");
    assert!(server.log.reasons().iter().all(|reason| reason == "reset by the peer"));
    let connections = server.log.ids().len();
    drop(other);
    server.log.wait_count(Moment::Close, connections);
    server.end(connections);
}

#[test]
fn a_peer_that_closes_with_output_unread_is_a_reset() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Connect => conn.send("never read").unwrap(),
        _ => moment.usual(conn, input),
    });
    let client = server.connect_and_wait();
    server.log.wait_count(Moment::WriteComplete, 1);
    wait_until("the output to arrive", || client.peek(&mut [0; 16]).unwrap() == 10);
    drop(client);
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    server.end(1);
}

#[test]
fn output_that_a_closing_connection_loses_to_a_reset_makes_it_a_reset() {
    let server = Server::configured(
        |config| config.socket = small_buffers(),
        |moment, conn, input| match moment {
            Moment::Connect => {
                conn.send(pattern(2_000_000)).unwrap();
                conn.close();
            }
            _ => moment.usual(conn, input),
        },
    );
    let client = connect_narrow(server.address());
    client.peek(&mut [0]).unwrap();
    reset(client);
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    assert!(server.log.last_stats().unwrap().bytes_discarded > 0);
    server.end(1);
}

#[test]
fn sends_after_a_failed_write_are_refused() {
    let refused = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&refused);
    let name = format!("campana-reset-refused-{}", std::process::id());
    let address = Address::unix_abstract(&name).unwrap();
    let server = Server::of(
        TcpServer::bind(address.clone()).unwrap().configure(|config| config.defer_output = 0),
        move |moment, conn, input| match moment {
            Moment::ReadClosed => {
                // The peer is gone altogether: the first write fails, and so does whatever follows.
                assert_eq!(conn.send("one"), Err(SendError::Closed));
                assert_eq!(conn.send("two"), Err(SendError::Closed));
                seen.store(true, Ordering::SeqCst);
            }
            _ => moment.usual(conn, input),
        },
    );
    drop(UnixStream::connect_addr(&abstract_address(&name)).unwrap());
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    assert!(refused.load(Ordering::SeqCst));
    server.end(1);
}

fn abstract_address(name: &str) -> std::os::unix::net::SocketAddr {
    use std::os::linux::net::SocketAddrExt;
    std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap()
}
