//! Every way for a peer to go, in every state of a connection, is one end with a reason, costs no turns and leaves no descriptor.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use campana::socket::{Address, Socket};
use campana::{LoopContext, TcpServer};
use rustix::process::Signal;
use socket2::SockRef;

#[path = "support/alone.rs"]
mod alone;
#[path = "support/server.rs"]
mod server;

use alone::one_at_a_time;
use server::{
    Moment, Server, echo, half_close, is_served, open_descriptors, pattern, reset, small_buffers, wait_until,
};

const QUIET: Duration = Duration::from_millis(150);

#[track_caller]
fn assert_quiet(server: &Server) {
    let turns = server.running.idle_turns(QUIET);
    assert!(turns <= 5, "{turns} turns for nothing");
}

fn unix(test: &str) -> Address {
    Address::unix_abstract(format!("campana-gone-{test}-{}", std::process::id())).unwrap()
}

/// One way for a peer to go, after it was served.
type Leave = fn(TcpStream);

#[test]
fn however_a_peer_goes_its_descriptor_is_closed_and_others_are_served() {
    let _guard = one_at_a_time();
    let ways: [(Leave, &[&str]); 7] = [
        (drop, &["closed by the peer"]),
        (reset, &["reset by the peer"]),
        (
            |client| {
                half_close(&client);
                reset(client);
            },
            // Whether the reset finds the connection still there.
            &["closed by the peer", "reset by the peer"],
        ),
        (
            |mut client| {
                client.write_all(b"last words").unwrap();
                reset(client);
            },
            &["reset by the peer"],
        ),
        (
            |mut client| {
                client.write_all(b"last words").unwrap();
                half_close(&client);
                drop(client);
            },
            &["closed by the peer", "reset by the peer"],
        ),
        (
            // With the echo unread: the kernel says so by a reset.
            |mut client| {
                client.write_all(b"never read").unwrap();
                client.peek(&mut [0]).unwrap();
                drop(client);
            },
            &["reset by the peer"],
        ),
        (
            |client| {
                SockRef::from(&client).send_out_of_band(b"!").unwrap();
                drop(client);
            },
            &["closed by the peer"],
        ),
    ];
    let server = Server::start(echo);
    let mut other = server.connect_and_wait();
    is_served(&mut other);
    let before = open_descriptors();
    let mut lives = 1;
    for (way, reasons) in ways {
        let ended = server.log.reasons().len();
        for _ in 0..10 {
            let mut client = server.connect();
            is_served(&mut client);
            way(client);
            is_served(&mut other);
        }
        lives += 10;
        server.log.wait_count(Moment::Close, ended + 10);
        let told = server.log.reasons().split_off(ended);
        assert!(told.iter().all(|reason| reasons.contains(&&**reason)), "{told:?}, not {reasons:?}");
        assert_eq!(open_descriptors(), before);
    }
    assert_quiet(&server);
    drop(other);
    server.log.wait_count(Moment::Close, lives);
    server.end(lives);
}

#[test]
fn a_unix_peer_that_goes_while_reading_is_paused_is_read_to_its_end_later_and_costs_no_turns() {
    let address = unix("paused");
    let server = Server::of(TcpServer::bind(address.clone()).unwrap(), |moment, conn, input| match moment {
        Moment::Connect => conn.pause_reading(),
        _ => moment.usual(conn, input),
    });
    let (client, _) = Socket::connect(&address, &Default::default()).unwrap();
    client.send(b"last words").unwrap();
    server.log.wait_count(Moment::Connect, 1);
    drop(client);
    assert_quiet(&server);
    assert_eq!(server.log.lines(), ["Connect"]);
    server.handle.for_each(|conn| conn.resume_reading()).unwrap();
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    let log = server.end(1);
    assert_eq!(log.data(), b"last words");
}

#[test]
fn a_tcp_peer_that_goes_while_reading_is_paused_costs_no_turns_and_is_heard_of_later() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Connect => conn.pause_reading(),
        _ => moment.usual(conn, input),
    });
    let mut client = server.connect_and_wait();
    client.write_all(b"last words").unwrap();
    drop(client);
    assert_quiet(&server);
    assert_eq!(server.log.lines(), ["Connect"]);
    server.handle.for_each(|conn| conn.resume_reading()).unwrap();
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    assert_eq!(server.end(1).data(), b"last words");
}

#[test]
fn a_paused_connection_whose_peer_has_gone_has_its_idle_deadline() {
    let idle = Duration::from_millis(200);
    for address in [unix("paused-idle"), "127.0.0.1:0".parse().unwrap()] {
        let server = TcpServer::bind(address).unwrap().configure(|config| config.idle = Some(idle));
        let server = Server::of(server, |moment, conn, input| match moment {
            Moment::Connect => conn.pause_reading(),
            _ => moment.usual(conn, input),
        });
        let began = Instant::now();
        let (client, _) = Socket::connect(&server.handle.local_addresses()[0], &Default::default()).unwrap();
        server.log.wait_count(Moment::Connect, 1);
        drop(client);
        assert_eq!(server.log.wait_closed(), "timed out: idle");
        assert!(began.elapsed() >= idle);
        server.end(1);
    }
}

#[test]
fn a_peer_that_goes_while_reading_is_paused_and_output_waits_ends_after_the_linger_time() {
    let linger = Duration::from_millis(200);
    for address in [unix("paused-pending"), "127.0.0.1:0".parse().unwrap()] {
        let server = TcpServer::bind(address).unwrap().configure(|config| {
            config.socket = small_buffers();
            config.linger = linger;
        });
        let server = Server::of(server, |moment, conn, input| match moment {
            Moment::Connect => {
                conn.pause_reading();
                conn.send(pattern(2_000_000)).unwrap();
            }
            _ => moment.usual(conn, input),
        });
        let (client, _) = Socket::connect(&server.handle.local_addresses()[0], &small_buffers()).unwrap();
        server.log.wait_count(Moment::HighWater, 1);
        let (began, before) = (Instant::now(), server.running.figures().turns);
        drop(client);
        assert_eq!(server.log.wait_closed(), "reset by the peer");
        assert!(began.elapsed() >= linger / 2, "{:?}", began.elapsed());
        let turns = server.running.figures().turns - before;
        assert!(turns <= 20, "{turns} turns for one end");
        let stats = server.log.last_stats().unwrap();
        assert_eq!(stats.bytes_out + stats.bytes_discarded, 2_000_000);
        server.end(1);
    }
}

#[test]
fn a_connection_that_was_reset_before_it_was_accepted_can_be_asked_about_everything() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Connect => {
            assert!(conn.peer_address().as_inet().is_some());
            assert!(conn.local_address().is_ok());
            let _ = conn.tcp_info();
            assert!(conn.peer_credentials().is_err());
            let _ = conn.send("welcome");
            conn.shutdown();
        }
        _ => moment.usual(conn, input),
    });
    let mut lives = 0;
    for _ in 0..20 {
        let held = server.running.hold();
        reset(server.connect());
        held.release();
        lives += 1;
        server.log.wait_count(Moment::Close, lives);
    }
    assert_eq!(server.running.figures().panics, 0);
    assert_eq!(server.log.reasons(), ["reset by the peer"; 20]);
    server.end(lives);
}

#[test]
fn writes_to_a_peer_that_has_closed_end_once_free_what_waits_and_raise_no_signal() {
    let line = Bytes::from(pattern(10_000));
    for address in [unix("half-open"), "127.0.0.1:0".parse().unwrap()] {
        let line = line.clone();
        let server = TcpServer::bind(address).unwrap().configure(|config| config.socket = small_buffers());
        let server = Server::of(server, move |moment, conn, input| match moment {
            Moment::Data => {
                input.retrieve_all();
                conn.set_timer(Duration::from_millis(1), 0);
            }
            // A half-open connection: the peer has closed, and this side goes on sending, by vectored writes too.
            Moment::Timer(_) => {
                if (0..5).all(|_| conn.send(&line).is_ok()) {
                    conn.set_timer(Duration::from_millis(1), 0);
                }
            }
            Moment::ReadClosed => {}
            _ => moment.usual(conn, input),
        });
        let signals = Arc::new(AtomicUsize::new(0));
        let raised = Arc::clone(&signals);
        server.running.call(move |cx| {
            let count = move |_: &mut LoopContext, _| {
                raised.fetch_add(1, Ordering::SeqCst);
            };
            cx.on_signals(&[Signal::PIPE.as_raw()], count).unwrap();
        });
        let (client, _) = Socket::connect(&server.handle.local_addresses()[0], &small_buffers()).unwrap();
        server.log.wait_count(Moment::Connect, 1);
        client.send(b"x").unwrap();
        wait_until("output", || client.recv(&mut Vec::with_capacity(100)).is_ok());
        drop(client);
        assert_eq!(server.log.wait_closed(), "reset by the peer");
        let stats = server.log.last_stats().unwrap();
        assert_eq!((stats.bytes_out + stats.bytes_discarded) % 10_000, 0, "{stats:?}");
        assert_eq!(stats.bytes_pending, 0);
        assert_quiet(&server);
        assert_eq!(signals.load(Ordering::SeqCst), 0, "SIGPIPE was raised");
        server.end(1);
    }
}

#[test]
fn the_end_of_the_stream_comes_behind_every_byte_that_many_small_reads_bring() {
    // A handler that takes a little at a time, a loop that reads a little at a time, and an end that was there from the start.
    let server = Server::configured(
        |config| config.read_budget = 1,
        |moment, conn, input| match moment {
            Moment::Connect => conn.pause_reading(),
            Moment::Data => {
                let wanted = input.readable().min(1 + conn.stats().reads as usize * 997);
                conn.send(&input.peek()[..wanted]).unwrap();
                input.retrieve(wanted);
            }
            Moment::ReadClosed => {
                let rest = conn.unread_input().to_vec();
                conn.send(rest).unwrap();
                conn.close();
            }
            _ => moment.usual(conn, input),
        },
    );
    let mut client = server.connect_and_wait();
    let sent = pattern(300_000);
    client.write_all(&sent).unwrap();
    half_close(&client);
    wait_until("some to arrive", || server.unread() > 100_000);
    server.handle.for_each(|conn| conn.resume_reading()).unwrap();
    assert!(server::read_to_end(&mut client) == sent, "bytes were lost, repeated or exchanged");
    drop(client);
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    assert_eq!(server.log.count(Moment::ReadClosed), 1);
    assert!(server.log.count(Moment::Data) > 2);
    server.end(1);
}
