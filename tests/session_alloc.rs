//! What sessions cost in allocations and in memory. One test, as the allocator counts for the whole process.

use std::alloc::System;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use campana::TcpServer;
use campana::codec::LengthPrefixed;
use campana::session::{
    FilterContext, MessageFilter, Session, SessionContext, SessionManager, SessionService, Verdict,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

#[path = "support/server.rs"]
mod server;

use server::{Running, connect, wait_until};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// An idle session may take up so many bytes of user-space memory, its connection and its timers included, but not what is the
/// user's: the codec, the session and the filters.
const GOAL: f64 = 1024.0;
/// What each filter adds: its own state and its place in the chain.
const OF_A_FILTER: f64 = 80.0;
const SESSIONS: usize = 2000;

fn live_bytes() -> isize {
    let Stats { bytes_allocated, bytes_deallocated, .. } = ALLOCATOR.stats();
    bytes_allocated as isize - bytes_deallocated as isize
}

/// Allocations and reallocations while `run` runs.
fn allocations(run: impl FnOnce()) -> usize {
    let before = ALLOCATOR.stats();
    run();
    let after = ALLOCATOR.stats();
    after.allocations + after.reallocations - before.allocations - before.reallocations
}

/// Counts what passes both ways.
#[derive(Default)]
struct Counts {
    passed: u64,
}

impl MessageFilter<LengthPrefixed> for Counts {
    fn on_message(&mut self, _cx: &mut FilterContext<'_, LengthPrefixed>, _message: &mut &[u8]) -> Verdict {
        self.passed += 1;
        Verdict::Pass
    }

    fn on_write(&mut self, _cx: &mut FilterContext<'_, LengthPrefixed>, _message: &mut &[u8]) -> Verdict {
        self.passed += 1;
        Verdict::Pass
    }
}

struct Echo;

impl Session for Echo {
    type Codec = LengthPrefixed;

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, message: &[u8]) {
        cx.write(message).unwrap();
    }
}

fn start(with_filters: bool) -> (Running, SocketAddr, SessionManager<Echo>) {
    let (running, (address, sessions)) = Running::start(move |event_loop| {
        let mut service = SessionService::new(|| LengthPrefixed::new(4)).configure(|config| {
            config.idle_read = Some(Duration::from_secs(600));
            config.idle_both = Some(Duration::from_secs(300));
        });
        if with_filters {
            service = service.filter("outer", Counts::default).filter("inner", Counts::default);
        }
        let server = TcpServer::bind("127.0.0.1:0").unwrap();
        let (handle, sessions) = service.serve(server, event_loop, |_| Echo).unwrap();
        (handle.local_addresses()[0].as_inet().unwrap(), sessions)
    });
    (running, address, sessions)
}

/// Sends frames of 64 bytes, as many at a time, and reads the echoes.
fn exchange(client: &mut TcpStream, frames: &[u8], times: usize, echoes: &mut [u8]) {
    use std::io::{Read, Write};
    for _ in 0..times {
        client.write_all(frames).unwrap();
        client.read_exact(echoes).unwrap();
    }
    assert_eq!(frames, echoes);
}

fn frames(count: usize) -> Vec<u8> {
    [&[0, 0, 0, 64][..], &[b'm'; 64]].concat().repeat(count)
}

#[test]
fn messages_allocate_nothing_and_an_idle_session_takes_up_little() {
    messages_allocate_nothing();
    let of_codec = size_of::<LengthPrefixed>() as f64;
    idle_sessions_take_up_little(false, GOAL + of_codec);
    idle_sessions_take_up_little(true, GOAL + of_codec + 2.0 * OF_A_FILTER);
}

fn messages_allocate_nothing() {
    let (running, address, _) = start(true);
    let mut clients: Vec<TcpStream> = (0..10).map(|_| connect(address)).collect();
    for in_flight in [1, 16] {
        let frames = frames(in_flight);
        let mut echoes = vec![0; frames.len()];
        clients.iter_mut().for_each(|client| exchange(client, &frames, 100, &mut echoes));
        let before = running.figures();
        let spent = allocations(|| {
            clients.iter_mut().for_each(|client| exchange(client, &frames, 500, &mut echoes));
        });
        let after = running.figures();
        println!("allocations: {spent} for 5000 echoes of {in_flight} messages");
        assert_eq!(spent, 0);
        // Nor does a message take a task, a timer or a wake-up.
        assert_eq!((after.tasks, after.timers, after.wakeups), (before.tasks, before.timers, before.wakeups));
    }
    drop(clients);
    running.stop();
}

fn idle_sessions_take_up_little(with_filters: bool, goal: f64) {
    let (running, address, sessions) = start(with_filters);
    let mut clients = Vec::with_capacity(SESSIONS + 1);
    // What the loop needs for its first session is not counted.
    clients.push(connect(address));
    exchange(&mut clients[0], &frames(16), 1, &mut [0; 16 * 68]);
    let before = live_bytes();
    clients.extend((0..SESSIONS).map(|_| connect(address)));
    wait_until("all to be there", || sessions.len() == SESSIONS + 1);
    running.settle();
    let each = (live_bytes() - before) as f64 / SESSIONS as f64;
    println!("memory: {each:.0} bytes for each of {SESSIONS} idle sessions, with filters: {with_filters}");
    assert!(each <= goal, "{each} bytes");

    let frame = frames(1);
    for client in &mut clients {
        exchange(client, &frame, 1, &mut [0; 68]);
    }
    running.settle();
    let each = (live_bytes() - before) as f64 / SESSIONS as f64;
    println!("memory: {each:.0} bytes for each after a message");
    assert!(each <= goal, "{each} bytes after a message");

    drop(clients);
    wait_until("all to be gone", || sessions.is_empty());
    running.stop();
}
