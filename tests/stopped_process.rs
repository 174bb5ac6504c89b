//! A process that was stopped for longer than all its deadlines goes on as one that was slow, and blames nobody else for it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use campana::{Buffer, TcpConnection};
use rustix::process::Signal;

#[path = "support/process.rs"]
mod process;
#[path = "support/server.rs"]
mod server;

use process::{Process, answer, role};
use server::{Moment, PATIENCE, Server, connect_narrow, pattern, read_exact, small_buffers, wait_until};

const STOP: Duration = Duration::from_secs(5);
/// All deadlines of a connection in one.
const DEADLINE: Duration = Duration::from_secs(2);
const BEAT: Duration = Duration::from_millis(200);
const PERIOD: Duration = Duration::from_millis(100);
const OUTPUT: usize = 500_000;
/// Of each kind.
const PEERS: usize = 10;

#[test]
fn a_stop_is_one_call_of_a_repeating_timer_and_the_end_of_no_connection_that_lives() {
    if role().is_some() {
        return serve();
    }
    let mut server = Process::start(
        "a_stop_is_one_call_of_a_repeating_timer_and_the_end_of_no_connection_that_lives",
        "server",
    );
    let address = server.ask("address").parse().unwrap();
    let mut talkers = peers(address, "talk");
    let mut listeners = peers(address, "beat");
    listeners.extend(peers(address, "paused"));
    let mut readers = peers(address, "reply");
    readers.extend(peers(address, "close"));
    let silent = peers(address, "nothing");
    // All have been heard of when these are in the middle of their replies.
    let received: Vec<_> = readers.iter_mut().map(|reader| read_exact(reader, 20_000)).collect();
    assert_eq!(server.ask("reasons"), "");

    server.signal(Signal::STOP);
    wait_until("the stop", || is_stopped(server.id()));
    let readers = read_in_the_background(readers.into_iter().zip(received));
    talk_until("the time to go on", &mut talkers, |elapsed| elapsed >= STOP);
    server.signal(Signal::CONT);
    // Every deadline has time to pass once more.
    talk_until("the deadlines", &mut talkers, |elapsed| elapsed >= 3 * DEADLINE / 2);
    talk_until("the end of the replies", &mut talkers, |_| {
        server.ask("reasons").matches("closed").count() == 2 * PEERS
    });

    let reasons = server.ask("reasons");
    assert_eq!(reasons.matches("timed out").count(), silent.len(), "{reasons}");
    assert_eq!(reasons.matches("timed out: idle").count(), silent.len(), "{reasons}");
    for reader in readers {
        assert!(reader.join().unwrap() == pattern(OUTPUT));
    }
    talkers.iter_mut().chain(&mut listeners).for_each(drain);
    talk_until("the next beat", &mut talkers, |elapsed| elapsed >= 2 * BEAT);
    talkers.iter_mut().chain(&mut listeners).for_each(|peer| drop(read_exact(peer, 1)));
    check_calls(&server.ask("calls"));
    server.end();
}

/// Peers that have told the server what they are.
fn peers(address: SocketAddr, kind: &str) -> Vec<TcpStream> {
    let peers = (0..PEERS).map(|_| {
        let mut peer = connect_narrow(address);
        peer.write_all(kind.as_bytes()).unwrap();
        peer
    });
    peers.collect()
}

/// Lets peers that have got the beginning of a long reply take the rest of it as it comes.
fn read_in_the_background(peers: impl Iterator<Item = (TcpStream, Vec<u8>)>) -> Vec<JoinHandle<Vec<u8>>> {
    let readers = peers.map(|(mut peer, mut received)| {
        std::thread::spawn(move || {
            received.extend(read_exact(&mut peer, OUTPUT - received.len()));
            received
        })
    });
    readers.collect()
}

#[track_caller]
fn talk_until(what: &str, talkers: &mut [TcpStream], mut condition: impl FnMut(Duration) -> bool) {
    let began = Instant::now();
    while !condition(began.elapsed()) {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        talkers.iter_mut().for_each(|talker| talker.write_all(b"talk").unwrap());
        std::thread::sleep(BEAT);
    }
}

/// Takes what has come so far.
#[track_caller]
fn drain(peer: &mut TcpStream) {
    peer.set_nonblocking(true).unwrap();
    let end = loop {
        match peer.read(&mut [0; 4096]) {
            Ok(length) if length > 0 => {}
            other => break other,
        }
    };
    assert_eq!(end.expect_err("the server has closed").kind(), ErrorKind::WouldBlock);
    peer.set_nonblocking(false).unwrap();
}

/// That the timer was called at most once a period, and only once for all that it had missed.
fn check_calls(calls: &str) {
    let periods: Vec<u128> =
        calls.split(' ').map(|nanos| nanos.parse::<u128>().unwrap() / PERIOD.as_nanos()).collect();
    let steps: Vec<u128> = periods.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(!steps.contains(&0), "called twice in a period: {periods:?}");
    let missed = STOP.as_nanos() / PERIOD.as_nanos() - 2;
    let gap = steps.iter().position(|step| *step >= missed).expect("the stop shows");
    assert!(steps[gap + 1..].iter().all(|step| *step < missed));
    assert!(steps.len() - gap > 5, "it goes on after the stop: {periods:?}");
}

fn is_stopped(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
}

/// The server process.
fn serve() {
    let server = Server::configured(
        |config| {
            config.socket = small_buffers();
            config.idle = Some(DEADLINE);
            config.write_stall = Some(DEADLINE);
            config.linger = DEADLINE;
        },
        act,
    );
    let calls: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let log = Arc::clone(&calls);
    server.running.call(move |cx| {
        let began = cx.now();
        cx.run_every(PERIOD, move |cx| log.lock().unwrap().push(cx.now() - began));
    });
    answer(|question| match question {
        "address" => server.address().to_string(),
        "reasons" => server.log.reasons().join("; "),
        _ => {
            let calls = calls.lock().unwrap();
            calls.iter().map(|at| at.as_nanos().to_string()).collect::<Vec<_>>().join(" ")
        }
    });
}

fn act(moment: Moment, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
    match moment {
        Moment::Data => match input.take() {
            b"beat" => drop(conn.set_timer(BEAT, 0)),
            b"paused" => {
                conn.pause_reading();
                conn.set_timer(BEAT, 0);
            }
            b"reply" => conn.send(pattern(OUTPUT)).unwrap(),
            b"close" => {
                conn.send(pattern(OUTPUT)).unwrap();
                conn.close();
            }
            b"nothing" => {}
            talk => drop(conn.send(talk)),
        },
        Moment::Timer(_) => {
            conn.send(".").unwrap();
            conn.set_timer(BEAT, 0);
        }
        _ => moment.usual(conn, input),
    }
}
