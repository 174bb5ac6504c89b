//! This side closes: in good order, within the linger time, or by force.

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use campana::connection::{ConnectionState, SendError};

#[path = "support/server.rs"]
mod server;

use server::{
    Moment, PATIENCE, Server, connect_narrow, half_close, pattern, read_exact, read_to_end, small_buffers,
    wait_gone,
};

/// More than any kernel buffers hold that the tests use.
const LARGE: usize = 2 * 1024 * 1024;

#[test]
fn a_peer_that_half_closes_and_reads_slowly_gets_all_of_a_reply_that_takes_longer_than_the_linger_time() {
    let server = Server::configured(
        |config| {
            config.socket = small_buffers();
            config.linger = Duration::from_millis(500);
        },
        |moment, conn, input| match moment {
            Moment::Connect => conn.send(pattern(400_000)).unwrap(),
            _ => moment.usual(conn, input),
        },
    );
    let mut client = connect_narrow(server.address());
    half_close(&client);
    let began = Instant::now();
    let mut received = Vec::new();
    // Three times as long as the linger time in all, with pauses that are much shorter.
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(75));
        received.extend(read_exact(&mut client, 15_000));
    }
    assert!(began.elapsed() > Duration::from_millis(1500));
    received.extend(read_to_end(&mut client));
    assert!(received == pattern(400_000), "{} of 400000 bytes came", received.len());
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    server.end(1);
}

#[test]
fn close_with_unread_input_delivers_the_whole_reply_and_no_reset() {
    let reply = pattern(300_000);
    let expected = reply.clone();
    let server = Server::configured(
        |config| config.socket = small_buffers(),
        move |moment, conn, _| {
            if moment == Moment::Data {
                // The input is left where it is, and much more of it is under way.
                conn.send(&reply).unwrap();
                conn.close();
            }
        },
    );
    let client = connect_narrow(server.address());
    let mut writer = client.try_clone().unwrap();
    let flood = std::thread::spawn(move || {
        writer.write_all(&pattern(LARGE)).unwrap();
        half_close(&writer);
    });
    let mut reader = client;
    assert!(read_to_end(&mut reader) == expected, "the reply came wrong");
    flood.join().unwrap();
    assert_eq!(server.log.wait_closed(), "closed by this side");
    let log = server.end(1);
    assert_eq!(log.count(Moment::Data), 1, "on_data was called after close");
    assert_eq!(log.count(Moment::ReadClosed), 0, "on_read_closed was called after close");
}

#[test]
fn close_refuses_further_output_and_ends_when_the_peer_closes() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data => {
            conn.send(input.take()).unwrap();
            conn.close();
            assert_eq!(conn.send("more"), Err(SendError::Closed));
            assert_eq!(conn.state(), ConnectionState::Disconnecting);
            conn.close();
            conn.shutdown();
        }
        _ => moment.usual(conn, input),
    });
    let mut client = server.connect();
    client.write_all(b"echo").unwrap();
    assert_eq!(read_to_end(&mut client), b"echo");
    assert_eq!(server.log.count(Moment::Close), 0, "the peer has not closed yet");
    drop(client);
    assert_eq!(server.log.wait_closed(), "closed by this side");
    server.end(1);
}

#[test]
fn a_peer_that_never_closes_is_given_the_linger_time_and_no_more() {
    let linger = Duration::from_millis(150);
    let server = Server::configured(
        |config| config.linger = linger,
        |moment, conn, input| match moment {
            Moment::Connect => {
                conn.send("bye").unwrap();
                conn.close();
            }
            _ => moment.usual(conn, input),
        },
    );
    let began = Instant::now();
    let mut client = server.connect();
    assert_eq!(read_to_end(&mut client), b"bye");
    assert_eq!(server.log.wait_closed(), "closed by this side");
    assert!(began.elapsed() >= linger);
    assert!(began.elapsed() < PATIENCE / 4);
    // The descriptor is closed: what is sent now is answered with a reset.
    client.write_all(b"x").unwrap();
    wait_gone(&mut client);
    server.end(1);
}

#[test]
fn a_peer_that_never_reads_is_given_the_linger_time_and_the_rest_is_counted_as_discarded() {
    let server = Server::configured(
        |config| {
            config.linger = Duration::from_millis(150);
            config.socket = small_buffers();
        },
        |moment, conn, input| match moment {
            Moment::Connect => {
                conn.send(pattern(LARGE)).unwrap();
                conn.close();
            }
            _ => moment.usual(conn, input),
        },
    );
    let client = connect_narrow(server.address());
    assert_eq!(server.log.wait_closed(), "timed out: output left when closing");
    let stats = server.log.last_stats().unwrap();
    assert_eq!(stats.bytes_out + stats.bytes_discarded, LARGE as u64);
    assert!(stats.bytes_discarded > 0);
    drop(client);
    server.end(1);
}

#[test]
fn a_peer_that_floods_a_closing_connection_is_cut_off_at_the_linger_time() {
    let server = Server::configured(
        |config| config.linger = Duration::from_millis(200),
        |moment, conn, input| match moment {
            Moment::Connect => conn.close(),
            _ => moment.usual(conn, input),
        },
    );
    let mut client = server.connect();
    let began = Instant::now();
    let block = [0; 64 * 1024];
    let error = loop {
        if let Err(error) = client.write_all(&block) {
            break error;
        }
        assert!(began.elapsed() < PATIENCE, "the flood is taken for ever");
    };
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    server.log.wait_closed();
    server.end(1);
}

#[test]
fn close_after_shuts_down_at_once_and_cuts_off_at_its_deadline() {
    let delay = Duration::from_millis(200);
    let server = Server::start(move |moment, conn, input| match moment {
        Moment::Connect => {
            conn.send("last words").unwrap();
            conn.close_after(delay);
            assert_eq!(conn.send("more"), Err(SendError::ShutDown));
        }
        _ => moment.usual(conn, input),
    });
    let began = Instant::now();
    let mut client = server.connect();
    assert_eq!(read_to_end(&mut client), b"last words");
    // Until then what the peer says is still heard.
    client.write_all(b"heard").unwrap();
    server.log.wait("the input", |log| log.data() == b"heard");
    assert_eq!(server.log.wait_closed(), "closed by this side");
    assert!(began.elapsed() >= delay);
    server.end(1);
}

#[test]
fn close_after_ends_early_when_the_peer_closes() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Connect => conn.close_after(Duration::from_secs(3600)),
        _ => moment.usual(conn, input),
    });
    drop(server.connect_and_wait());
    assert_eq!(server.log.wait_closed(), "closed by this side");
    server.end(1);
}

#[test]
fn force_close_discards_pending_output_and_counts_it() {
    let pending = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&pending);
    let server = Server::configured(
        |config| config.socket = small_buffers(),
        move |moment, conn, input| match moment {
            Moment::Data => {
                input.retrieve_all();
                conn.send(pattern(LARGE)).unwrap();
                seen.store(conn.pending_output(), Ordering::SeqCst);
                conn.force_close();
                conn.force_close();
                assert_eq!(conn.state(), ConnectionState::Disconnected);
                assert_eq!(conn.send("more"), Err(SendError::Closed));
                assert_eq!(conn.pending_output(), 0);
            }
            _ => moment.usual(conn, input),
        },
    );
    let mut client = connect_narrow(server.address());
    client.write_all(b"x").unwrap();
    assert_eq!(server.log.wait_closed(), "closed by this side");
    wait_gone(&mut client);
    let stats = server.log.last_stats().unwrap();
    let pending = pending.load(Ordering::SeqCst) as u64;
    assert!(pending > LARGE as u64 / 2);
    assert_eq!((stats.bytes_out, stats.bytes_discarded), (LARGE as u64 - pending, pending));
    server.end(1);
}

#[test]
fn force_close_discards_output_that_waits_for_the_end_of_the_batch() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data => {
            conn.send(input.take()).unwrap();
            conn.force_close();
        }
        _ => moment.usual(conn, input),
    });
    let mut client = server.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(server.log.wait_closed(), "closed by this side");
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    assert_eq!(server.log.last_stats().unwrap().bytes_discarded, 1);
    server.end(1);
}

#[test]
fn both_sides_closing_at_once_end_once() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data => {
            input.retrieve_all();
            conn.close();
        }
        _ => moment.usual(conn, input),
    });
    for _ in 0..100 {
        let mut client = server.connect();
        client.write_all(b"x").unwrap();
        drop(client);
    }
    server.log.wait_count(Moment::Close, 100);
    server.end(100);
}

#[test]
fn a_failed_protocol_still_delivers_the_error_message() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data => {
            input.retrieve_all();
            conn.send("no such command\n").unwrap();
            conn.fail("no such command");
        }
        _ => moment.usual(conn, input),
    });
    let mut client = server.connect();
    client.write_all(b"nonsense").unwrap();
    assert_eq!(read_to_end(&mut client), b"no such command\n");
    drop(client);
    assert_eq!(server.log.wait_closed(), "protocol error: no such command");
    server.end(1);
}

#[test]
fn the_end_of_the_loop_ends_every_connection_as_stopping() {
    let server = Server::start(Moment::usual);
    let clients: Vec<_> = (0..10).map(|_| server.connect_and_wait()).collect();
    let log = server.end(10);
    assert_eq!(log.reasons(), ["stopping"; 10]);
    drop(clients);
}

#[test]
fn nothing_is_called_for_input_that_comes_after_close() {
    let closed = Arc::new(AtomicBool::new(false));
    let late = Arc::new(Mutex::new(Vec::new()));
    let (is_closed, calls) = (Arc::clone(&closed), Arc::clone(&late));
    let server = Server::start(move |moment, conn, input| {
        if is_closed.load(Ordering::SeqCst) && moment != Moment::Close {
            calls.lock().unwrap().push(moment);
        }
        if moment == Moment::Data {
            input.retrieve_all();
            conn.set_timer(Duration::ZERO, 1);
            conn.send("answer").unwrap();
            conn.close();
            is_closed.store(true, Ordering::SeqCst);
        }
    });
    let mut client = server.connect();
    client.write_all(b"first").unwrap();
    assert_eq!(read_exact(&mut client, 6), b"answer");
    for _ in 0..20 {
        client.write_all(b"more").unwrap();
    }
    drop(client);
    server.log.wait_closed();
    assert_eq!(*late.lock().unwrap(), []);
    server.end(1);
}
