//! Peers that stop, or read a byte a second, are closed at a deadline, cost bounded memory and hold nobody up.
//!
//! They are processes of their own: this program, started again.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use campana::connection::ConnectionConfig;
use campana::{Buffer, TcpConnection};
use rustix::process::{Pid, Signal, kill_process};

#[path = "support/process.rs"]
mod process;
#[path = "support/server.rs"]
mod server;

use process::Process;
use server::{
    Moment, PATIENCE, Server, connect, connect_narrow, is_served, pattern, read_exact, small_buffers,
    wait_until,
};

const PENDING: usize = 400_000;
const LIMIT: Duration = Duration::from_millis(600);

/// Does its work only in a process that one of the tests below starts: asks a server, and reads the answer in the way that it is
/// told to.
#[test]
fn in_the_started_process() {
    if process::role().is_none() {
        return;
    }
    let mut stream = None;
    process::answer(|told| match told {
        "read slowly" => {
            let mut stream = stream.take().unwrap();
            std::thread::spawn(move || {
                while matches!(Read::read(&mut stream, &mut [0; 1]), Ok(1)) {
                    std::thread::sleep(Duration::from_secs(1));
                }
            });
            "slowly".to_owned()
        }
        "read all" => {
            let whole = read_exact(stream.as_mut().unwrap(), PENDING) == pattern(PENDING);
            stream = None;
            whole.to_string()
        }
        address => {
            let mut connected = connect_narrow(address.parse().unwrap());
            connected.write_all(b"all").unwrap();
            stream = Some(connected);
            "asked".to_owned()
        }
    });
}

/// A peer that has asked, and reads nothing before it is told to.
fn start_peer(address: SocketAddr) -> Process {
    let mut peer = Process::start("in_the_started_process", "peer");
    assert_eq!(peer.ask(&address.to_string()), "asked");
    peer
}

/// Stops a process, and waits until it is.
fn stop(peer: &Process) {
    peer.signal(Signal::STOP);
    wait_until("the process to stop", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", peer.id())).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
    });
}

fn narrow(config: &mut ConnectionConfig) {
    config.socket = small_buffers();
    (config.high_water, config.low_water) = (20_000, 10_000);
    (config.write_stall, config.slow_consumer) = (None, None);
}

/// Answers `all` with much, and echoes what else comes.
fn answer(moment: Moment, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
    match moment {
        Moment::Data if input.peek() == b"all" => {
            input.retrieve_all();
            conn.send(pattern(PENDING)).unwrap();
        }
        Moment::Data => drop(conn.send(input.take())),
        _ => moment.usual(conn, input),
    }
}

/// Serves a slow peer and another one, and answers why and after what time the slow one was closed.
fn ended(change: fn(&mut ConnectionConfig), stops: bool) -> (String, Duration) {
    let before = |config: &mut ConnectionConfig| {
        narrow(config);
        change(config);
    };
    let server = Server::configured(before, answer);
    let mut other = connect(server.address());
    is_served(&mut other);
    let mut peer = start_peer(server.address());
    let began = Instant::now();
    if stops {
        stop(&peer);
    } else {
        assert_eq!(peer.ask("read slowly"), "slowly");
    }
    let turns = server.running.figures().turns;
    let mut asked = 0;
    while server.log.count(Moment::Close) == 0 {
        is_served(&mut other);
        asked += 1;
        assert!(began.elapsed() < PATIENCE, "the slow peer stays");
        std::thread::sleep(Duration::from_millis(10));
    }
    let waited = began.elapsed();
    // Each exchange is a turn or two, and the deadline's timer may be set again a few times.
    let turns = server.running.figures().turns - turns;
    assert!(turns <= 4 * asked + 50, "{turns} turns for {asked} exchanges");
    let stats = server.log.last_stats().unwrap();
    assert_eq!(stats.bytes_out + stats.bytes_discarded, PENDING as u64);
    assert!(stats.bytes_discarded > 0);
    is_served(&mut other);
    let reason = server.log.wait_closed();
    drop((peer, other));
    server.log.wait_count(Moment::Close, 2);
    server.end(2);
    (reason, waited)
}

#[test]
fn a_stopped_peer_is_closed_when_its_output_makes_no_progress() {
    let (reason, waited) = ended(|config| config.write_stall = Some(LIMIT), true);
    assert_eq!(reason, "timed out: no progress in sending");
    assert!(waited < PATIENCE / 3, "{waited:?}");
}

#[test]
fn a_stopped_peer_is_closed_when_it_has_been_above_the_high_mark_for_too_long() {
    let (reason, waited) = ended(|config| config.slow_consumer = Some(LIMIT), true);
    assert_eq!(reason, "the peer reads too slowly");
    assert!(waited < PATIENCE / 3, "{waited:?}");
}

#[test]
fn a_peer_that_reads_a_byte_a_second_is_closed_when_its_output_makes_no_progress() {
    // A kernel with a full buffer does not offer single bytes of it, so that this is no progress.
    let (reason, _) = ended(|config| config.write_stall = Some(Duration::from_secs(2)), false);
    assert_eq!(reason, "timed out: no progress in sending");
}

#[test]
fn a_peer_that_reads_a_byte_a_second_is_closed_when_it_has_been_above_the_high_mark_for_too_long() {
    let (reason, _) = ended(|config| config.slow_consumer = Some(Duration::from_secs(2)), false);
    assert_eq!(reason, "the peer reads too slowly");
}

#[test]
fn a_stopped_peer_holds_up_a_close_for_the_linger_time_and_no_longer() {
    let server = Server::configured(
        |config| {
            narrow(config);
            config.linger = LIMIT;
        },
        answer,
    );
    let peer = start_peer(server.address());
    stop(&peer);
    server.log.wait_count(Moment::HighWater, 1);
    let began = Instant::now();
    server.handle.for_each(|conn| conn.close()).unwrap();
    assert_eq!(server.log.wait_closed(), "timed out: output left when closing");
    assert!(began.elapsed() < PATIENCE / 3, "{:?}", began.elapsed());
    drop(peer);
    server.end(1);
}

#[test]
fn a_peer_that_was_stopped_and_goes_on_in_time_gets_every_byte() {
    let server = Server::configured(
        |config| {
            narrow(config);
            config.write_stall = Some(PATIENCE);
        },
        answer,
    );
    let mut peer = start_peer(server.address());
    stop(&peer);
    let id = Pid::from_raw(peer.id() as i32).unwrap();
    let reading = std::thread::spawn(move || (peer.ask("read all"), peer));
    server.log.wait_count(Moment::HighWater, 1);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((server.log.count(Moment::LowWater), server.log.count(Moment::Close)), (0, 0));
    kill_process(id, Signal::CONT).unwrap();
    let (whole, peer) = reading.join().unwrap();
    assert_eq!(whole, "true", "the bytes came wrong");
    peer.end();
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    server.end(1);
}

#[test]
fn output_for_a_stopped_peer_ends_at_the_hard_cap() {
    const CAP: usize = 1_000_000;
    let most = Arc::new(AtomicUsize::new(0));
    let peak = Arc::clone(&most);
    let server = Server::configured(
        |config| {
            narrow(config);
            config.hard_cap = CAP;
        },
        move |moment, conn, input| match moment {
            Moment::Data => {
                answer(moment, conn, input);
                conn.set_timer(Duration::from_millis(1), 0);
            }
            // A feed that goes on whatever becomes of its readers.
            Moment::Timer(_) => {
                let _ = conn.send(pattern(10_007));
                peak.fetch_max(conn.pending_output(), Ordering::SeqCst);
                conn.set_timer(Duration::from_millis(1), 0);
            }
            _ => moment.usual(conn, input),
        },
    );
    let peer = start_peer(server.address());
    stop(&peer);
    assert_eq!(server.log.wait_closed(), "the peer reads too slowly");
    let most = most.load(Ordering::SeqCst);
    assert!(most > CAP / 2 && most <= CAP, "{most} bytes were pending");
    drop(peer);
    server.end(1);
}
