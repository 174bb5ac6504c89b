//! What serving costs in allocations and in memory. One test, as the allocator counts for the whole process.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use campana::connection::ServerFigures;
use campana::{Buffer, Handler, ServerHandle, TcpConnection, TcpServer};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

#[path = "support/server.rs"]
mod server;

use server::{Running, connect, wait_until};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 2_000;
const IDLE: Option<Duration> = Some(Duration::from_secs(3600));
const BURST: usize = 16 * 1024 * 1024;

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

/// Echoes; but to one byte it answers with a burst, and of a burst it waits for the end.
struct Echo;

impl Handler for Echo {
    type State = ();

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) {}

    fn on_data(&mut self, (): &mut (), conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        match input.peek() {
            [b'B'] => {
                input.retrieve_all();
                // Once to be copied and once to be shared.
                let burst = vec![b'b'; BURST];
                conn.send(&burst[..]).unwrap();
                conn.send(burst).unwrap();
            }
            [b'W', ..] if input.readable() < BURST => {}
            [b'W', ..] => {
                input.retrieve_all();
                conn.send("whole").unwrap();
            }
            _ => conn.send(input.take()).unwrap(),
        }
    }
}

fn start(idle: Option<Duration>) -> (Running, ServerHandle<Echo>) {
    Running::start(move |event_loop| {
        let server = TcpServer::bind("127.0.0.1:0").unwrap().configure(|config| {
            config.hard_cap = 4 * BURST;
            config.input_limit = 2 * BURST;
            config.idle = idle;
        });
        server.start_with(event_loop, |_, _| Echo).unwrap()
    })
}

fn exchange<const SIZE: usize>(client: &mut TcpStream, times: usize) {
    let message = [b'm'; SIZE];
    let mut reply = [0; SIZE];
    for _ in 0..times {
        client.write_all(&message).unwrap();
        client.read_exact(&mut reply).unwrap();
    }
    assert_eq!(reply, message);
}

fn address(handle: &ServerHandle<Echo>) -> SocketAddr {
    handle.local_addresses()[0].as_inet().unwrap()
}

/// Discards so many bytes, without memory of its own.
fn skip(client: &mut TcpStream, mut bytes: usize) {
    let mut block = [0; 64 * 1024];
    while bytes > 0 {
        let wanted = bytes.min(block.len());
        let n = client.read(&mut block[..wanted]).unwrap();
        assert_ne!(n, 0);
        bytes -= n;
    }
}

#[test]
fn messages_allocate_nothing_idle_connections_own_no_buffers_and_bursts_are_given_back() {
    messages_allocate_nothing();
    // Bytes of user-space memory for each connection, without and with a timer for its deadline.
    idle_connections_own_no_buffers(None, 304.0);
    idle_connections_own_no_buffers(IDLE, 356.0);
    bursts_are_given_back();
}

fn messages_allocate_nothing() {
    let (running, handle) = start(IDLE);
    let mut clients: Vec<TcpStream> = (0..10).map(|_| connect(address(&handle))).collect();
    for client in &mut clients {
        exchange::<64>(client, 100);
        exchange::<16_384>(client, 20);
    }
    let before = running.figures();
    let small = allocations(|| clients.iter_mut().for_each(|client| exchange::<64>(client, 500)));
    let large = allocations(|| clients.iter_mut().for_each(|client| exchange::<16_384>(client, 100)));
    let after = running.figures();
    println!("allocations: {small} for 5000 echoes of 64 B, {large} for 1000 of 16 KiB");
    assert_eq!((small, large), (0, 0));
    // Nor does an exchange take a task, a timer or a wake-up.
    assert_eq!(after.tasks, before.tasks);
    assert_eq!(after.timers, before.timers);
    assert_eq!(after.wakeups, before.wakeups);
    assert_eq!(after.timers_pending, clients.len());
    drop(clients);
    running.stop();
}

fn idle_connections_own_no_buffers(idle: Option<Duration>, goal: f64) {
    let (running, handle) = start(idle);
    let mut clients: Vec<TcpStream> = Vec::with_capacity(CONNECTIONS + 1);
    // What the loop needs for its first connection is not counted.
    clients.push(connect(address(&handle)));
    exchange::<16_384>(&mut clients[0], 1);
    let empty = live_bytes();
    clients.extend((0..CONNECTIONS).map(|_| connect(address(&handle))));
    wait_until("all to be there", || is_at(handle.figures(), CONNECTIONS + 1));
    running.settle();
    let connected = live_bytes();
    let each = (connected - empty) as f64 / CONNECTIONS as f64;
    println!("memory: {each:.0} bytes for each of {CONNECTIONS} idle connections, idle deadline {idle:?}");
    assert!(each <= goal, "{each} bytes");

    // Traffic leaves nothing behind on any of them, but what the loop keeps for all.
    for client in &mut clients {
        exchange::<16_384>(client, 1);
    }
    running.settle();
    let grown = live_bytes() - connected;
    println!("memory: {grown} bytes more after traffic on all of them");
    assert!(grown < 512 * 1024, "{grown} bytes more");

    // All at once, so that all of them hold something at the same time.
    let held = running.hold();
    clients.iter_mut().for_each(|client| client.write_all(&[b'm'; 1000]).unwrap());
    held.release();
    clients.iter_mut().for_each(|client| skip(client, 1000));
    running.settle();
    let grown = live_bytes() - connected;
    println!("memory: {grown} bytes more after traffic on all of them at once");
    assert!(grown < 9 * 1024 * 1024, "{grown} bytes more");
    drop(clients);
    wait_until("all to be gone", || is_at(handle.figures(), 0));
    running.stop();
}

fn is_at(figures: ServerFigures, connections: usize) -> bool {
    figures.connections == connections
}

fn bursts_are_given_back() {
    let (running, handle) = start(IDLE);
    let mut client = connect(address(&handle));
    exchange::<16_384>(&mut client, 10);
    running.settle();
    let before = live_bytes();
    for _ in 0..2 {
        client.write_all(b"B").unwrap();
        skip(&mut client, 2 * BURST);
        exchange::<64>(&mut client, 1);
        running.settle();
        let grown = live_bytes() - before;
        println!("memory: {grown} bytes more after a burst of output");
        assert!(grown < 1024 * 1024, "{grown} bytes more");

        let block = [b'W'; 64 * 1024];
        for _ in 0..BURST / block.len() {
            client.write_all(&block).unwrap();
        }
        skip(&mut client, 5);
        exchange::<64>(&mut client, 1);
        running.settle();
        let grown = live_bytes() - before;
        println!("memory: {grown} bytes more after a burst of input");
        assert!(grown < 1024 * 1024, "{grown} bytes more");
    }
    drop(client);
    running.stop();
}
