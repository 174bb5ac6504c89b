//! Reading is paused and resumed, and nothing of what comes in is lost by it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::connection::ConnectionConfig;

#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, connect_narrow, half_close, pattern, small_buffers, wait_until};

fn narrow(config: &mut ConnectionConfig) {
    config.socket = small_buffers();
    config.high_water = 20_000;
    config.low_water = 10_000;
}

#[test]
fn pausing_holds_the_peer_back_and_resuming_loses_nothing() {
    let server = Server::configured(
        |config| config.socket = small_buffers(),
        |moment, conn, input| match moment {
            // The data after this call comes only when reading is resumed.
            Moment::Data => {
                input.retrieve_all();
                conn.pause_reading();
            }
            _ => moment.usual(conn, input),
        },
    );
    let client = connect_narrow(server.address());
    let sent = pattern(1_000_000);
    let to_send = sent.clone();
    let done = Arc::new(AtomicBool::new(false));
    let finished = Arc::clone(&done);
    let mut writer = client.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        writer.write_all(&to_send).unwrap();
        finished.store(true, Ordering::SeqCst);
        half_close(&writer);
    });
    server.log.wait_count(Moment::Data, 1);
    let turns = server.running.idle_turns(Duration::from_millis(100));
    assert!(turns <= 5, "{turns} turns while paused");
    assert!(!done.load(Ordering::SeqCst), "the peer was not held back");
    assert_eq!(server.log.count(Moment::Data), 1);
    while server.log.count(Moment::Close) == 0 {
        let before = server.log.count(Moment::Data);
        server.handle.for_each(|conn| conn.resume_reading()).unwrap();
        server.log.wait("more", |log| log.count(Moment::Data) > before || log.count(Moment::Close) > 0);
    }
    writing.join().unwrap();
    drop(client);
    let log = server.end(1);
    assert!(log.data() == sent, "{} bytes came", log.data().len());
}

#[test]
fn input_left_in_the_buffer_is_handed_over_again_on_resume() {
    for size in [1, 100, 4_096, 4_097, 50_000] {
        let server = Server::start(move |moment, conn, input| match moment {
            Moment::Data if input.readable() == size && !conn.is_reading_paused() => {
                if conn.stats().reads > 1_000_000 {
                    input.retrieve_all();
                }
                conn.pause_reading();
            }
            Moment::Data => {}
            _ => moment.usual(conn, input),
        });
        let mut client = server.connect();
        client.write_all(&pattern(size)).unwrap();
        server.log.wait("all of it", |log| log.lines().last().is_some_and(|line| line.starts_with("Data")));
        wait_until("the pause", || server.running.call(is_paused));
        let calls = server.log.count(Moment::Data);
        for more in 1..=3 {
            server.handle.for_each(|conn| conn.resume_reading()).unwrap();
            // All of it again, though nothing new has come.
            server.log.wait_count(Moment::Data, calls + more);
            server.running.settle();
            assert_eq!(server.log.count(Moment::Data), calls + more);
            assert_eq!(server.running.call(unread), size);
        }
        drop(client);
        server.end(1);
    }
}

fn is_paused(cx: &mut campana::LoopContext) -> bool {
    cx.connections().into_iter().all(|id| cx.connection(id).is_none_or(|conn| conn.is_reading_paused()))
}

fn unread(cx: &mut campana::LoopContext) -> usize {
    let ids = cx.connections();
    ids.into_iter().filter_map(|id| Some(cx.connection(id)?.stats().bytes_unread)).sum()
}

#[test]
fn pausing_in_on_connect_keeps_even_the_first_byte() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Connect => conn.pause_reading(),
        _ => moment.usual(conn, input),
    });
    let mut client = server.connect_and_wait();
    client.write_all(b"first").unwrap();
    let turns = server.running.idle_turns(Duration::from_millis(100));
    assert!(turns <= 5, "{turns} turns while paused");
    assert_eq!(server.log.count(Moment::Data), 0);
    server.handle.for_each(|conn| conn.resume_reading()).unwrap();
    server.log.wait("the data", |log| log.data() == b"first");
    drop(client);
    server.end(1);
}

#[test]
fn pausing_and_resuming_at_random_loses_nothing() {
    let calls = AtomicUsize::new(0);
    let server = Server::configured(
        |config| config.read_budget = 3_000,
        move |moment, conn, input| match moment {
            Moment::Data => {
                // A pattern of leaving, pausing and resuming that comes out different each time.
                let salt = input.readable() + calls.fetch_add(1, Ordering::SeqCst);
                if salt.is_multiple_of(3) {
                    conn.pause_reading();
                    conn.set_timer(Duration::from_micros(200), 0);
                }
                if salt.is_multiple_of(7) {
                    conn.resume_reading();
                }
            }
            Moment::Timer(_) => conn.resume_reading(),
            _ => moment.usual(conn, input),
        },
    );
    let mut client = server.connect();
    let sent = pattern(400_000);
    for piece in sent.chunks(1_777) {
        client.write_all(piece).unwrap();
    }
    server.log.wait("all of it", |log| log.lines().contains(&"Data(400000 bytes)".to_owned()));
    drop(client);
    server.log.wait_closed();
    let log = server.end(1);
    assert_eq!(log.last_stats().unwrap().bytes_in, 400_000);
    assert!(log.data().ends_with(&sent));
}

#[test]
fn input_that_is_never_taken_is_a_protocol_error_at_its_limit() {
    let server = Server::configured(
        |config| config.input_limit = 100_000,
        |moment, conn, input| match moment {
            Moment::Data => assert!(input.readable() <= 100_000 + 128 * 1024),
            _ => moment.usual(conn, input),
        },
    );
    let mut client = server.connect();
    let _ = client.write_all(&pattern(3_000_000));
    assert_eq!(server.log.wait_closed(), "protocol error: more than 100000 bytes of input left unread");
    assert_eq!(server.running.figures().panics, 0);
    server.end(1);
}

#[test]
fn a_relay_passes_back_pressure_on_and_loses_nothing() {
    // Its handler pauses the one connection while the other is above its high mark.
    let connections = Arc::new(Mutex::new(Vec::new()));
    let ids = Arc::clone(&connections);
    let most = Arc::new(AtomicUsize::new(0));
    let peak = Arc::clone(&most);
    let server = Server::configured(narrow, move |moment, conn, input| {
        let ids = &mut *ids.lock().unwrap();
        match moment {
            Moment::Connect => ids.push(conn.id()),
            Moment::Data => {
                let mut to = conn.peer(ids[1]).unwrap();
                to.send(input.take()).unwrap();
                peak.fetch_max(to.pending_output(), Ordering::SeqCst);
            }
            Moment::HighWater => conn.peer(ids[0]).unwrap().pause_reading(),
            Moment::LowWater => conn.peer(ids[0]).unwrap().resume_reading(),
            Moment::ReadClosed => conn.peer(ids[1]).unwrap().shutdown(),
            _ => moment.usual(conn, input),
        }
    });
    let source = connect_narrow(server.address());
    server.log.wait_count(Moment::Connect, 1);
    let mut sink: TcpStream = connect_narrow(server.address());
    server.log.wait_count(Moment::Connect, 2);
    let sent = pattern(3_000_000);
    let to_send = sent.clone();
    let writing = std::thread::spawn(move || {
        let mut source = source;
        source.write_all(&to_send).unwrap();
        half_close(&source);
        source
    });
    std::thread::sleep(Duration::from_millis(50));
    let mut received = Vec::new();
    sink.read_to_end(&mut received).unwrap();
    assert!(received == sent, "{} bytes came", received.len());
    drop((sink, writing.join().unwrap()));
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 20_000 + 256 * 1024, "{most} bytes were pending");
    server.running.stop();
}
