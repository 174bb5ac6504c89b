//! A peer that reads slowly, or not at all, costs a bounded amount of memory and holds nobody up.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use campana::connection::{ConnectionConfig, SendError};

#[path = "support/server.rs"]
mod server;

use server::{
    Moment, Server, connect_narrow, half_close, pattern, read_exact, small_buffers, wait_gone, wait_until,
};

fn narrow(config: &mut ConnectionConfig) {
    config.socket = small_buffers();
    config.high_water = 20_000;
    config.low_water = 10_000;
}

/// The lines of a log that tell of water marks and of all being written.
fn marks(server: &Server) -> Vec<String> {
    let is_mark = |line: &String| ["HighWater", "LowWater", "WriteComplete"].contains(&&**line);
    server.log.lines().into_iter().filter(is_mark).collect()
}

#[test]
fn water_marks_are_told_once_for_each_crossing() {
    let server = Server::configured(narrow, |moment, conn, input| match moment {
        Moment::Data => {
            input.retrieve_all();
            // Many sends above the mark are one crossing.
            for _ in 0..100 {
                conn.send(pattern(5_000)).unwrap();
            }
        }
        Moment::HighWater => assert!(conn.pending_output() > 20_000),
        Moment::LowWater => assert!(conn.pending_output() <= 10_000),
        Moment::WriteComplete => assert_eq!(conn.pending_output(), 0),
        _ => moment.usual(conn, input),
    });
    let mut client = connect_narrow(server.address());
    for round in 1..=3 {
        client.write_all(b"x").unwrap();
        server.log.wait_count(Moment::HighWater, round);
        assert_eq!(server.log.count(Moment::LowWater), round - 1);
        assert!(read_exact(&mut client, 500_000) == pattern(5_000).repeat(100));
        server.log.wait_count(Moment::WriteComplete, round);
    }
    assert_eq!(marks(&server), ["HighWater", "LowWater", "WriteComplete"].repeat(3));
    assert_eq!(server.running.figures().panics, 0);
    drop(client);
    server.end(1);
}

#[test]
fn output_that_the_kernel_takes_crosses_no_mark() {
    let server = Server::configured(
        |config| {
            config.high_water = 1;
            config.low_water = 0;
        },
        |moment, conn, input| match moment {
            Moment::Data => conn.send(input.take()).unwrap(),
            _ => moment.usual(conn, input),
        },
    );
    let mut client = server.connect();
    for _ in 0..10 {
        client.write_all(&pattern(3_000)).unwrap();
        assert_eq!(read_exact(&mut client, 3_000), pattern(3_000));
    }
    assert_eq!(server.log.count(Moment::HighWater) + server.log.count(Moment::LowWater), 0);
    drop(client);
    server.end(1);
}

#[test]
fn the_last_mark_told_is_the_last_one_crossed() {
    // Falls below the low mark and rises above the high one within one call of the loop, again and again.
    let above = Arc::new(AtomicBool::new(false));
    let believed = Arc::clone(&above);
    let server = Server::configured(narrow, move |moment, conn, input| match moment {
        Moment::Data => {
            input.retrieve_all();
            conn.send(pattern(500_000)).unwrap();
        }
        Moment::HighWater => assert!(!believed.swap(true, Ordering::SeqCst), "told twice"),
        Moment::LowWater => assert!(believed.swap(false, Ordering::SeqCst), "told twice"),
        _ => moment.usual(conn, input),
    });
    let mut client = connect_narrow(server.address());
    client.write_all(b"x").unwrap();
    server.log.wait_count(Moment::HighWater, 1);
    for _ in 0..20 {
        // The last piece that the loop has, and the next request, are seen by it together.
        let mut left = 500_000;
        while server.running.call(pending) > 0 {
            left -= client.read(&mut vec![0; left.min(4096)]).unwrap();
        }
        let held = server.running.hold();
        read_exact(&mut client, left);
        client.write_all(b"x").unwrap();
        held.release();
        wait_until("new output", || server.running.call(pending) > 20_000);
        server.running.settle();
        assert!(above.load(Ordering::SeqCst), "{:#?}", marks(&server));
    }
    assert_eq!(server.running.figures().panics, 0);
    drop(client);
    server.log.wait_closed();
    server.end(1);
}

fn pending(cx: &mut campana::LoopContext) -> usize {
    let ids = cx.connections();
    ids.into_iter().filter_map(|id| Some(cx.connection(id)?.pending_output())).sum()
}

#[test]
fn a_send_over_the_hard_cap_closes_that_connection_alone() {
    let refused = Arc::new(Mutex::new(Vec::new()));
    let errors = Arc::clone(&refused);
    let server = Server::configured(
        |config| {
            narrow(config);
            config.hard_cap = 400_000;
        },
        move |moment, conn, input| match moment {
            Moment::Data if input.peek() == b"flood" => {
                input.retrieve_all();
                let error = loop {
                    if let Err(error) = conn.send(pattern(10_000)) {
                        break error;
                    }
                    assert!(conn.pending_output() <= 400_000);
                };
                errors.lock().unwrap().extend([error, conn.send("more").unwrap_err()]);
            }
            Moment::Data => conn.send(input.take()).unwrap(),
            _ => moment.usual(conn, input),
        },
    );
    let mut other = server.connect_and_wait();
    let mut stuck = connect_narrow(server.address());
    stuck.write_all(b"flood").unwrap();
    assert_eq!(server.log.wait_closed(), "the peer reads too slowly");
    assert_eq!(*refused.lock().unwrap(), [SendError::Full, SendError::Closed]);
    let stats = server.log.last_stats().unwrap();
    assert!(stats.bytes_discarded > 350_000, "{stats:?}");
    wait_gone(&mut stuck);
    other.write_all(b"unaffected").unwrap();
    assert_eq!(read_exact(&mut other, 10), b"unaffected");
    assert_eq!(server.running.figures().panics, 0);
    drop(other);
    server.end(2);
}

#[test]
fn a_single_send_over_the_hard_cap_is_refused_whole() {
    let server = Server::configured(
        |config| config.hard_cap = 1_000,
        |moment, conn, input| match moment {
            Moment::Data => {
                input.retrieve_all();
                assert_eq!(conn.send(pattern(1_001)), Err(SendError::Full));
            }
            _ => moment.usual(conn, input),
        },
    );
    let mut client = server.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(server.log.wait_closed(), "the peer reads too slowly");
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(rest.is_empty());
    server.end(1);
}

#[test]
fn output_that_makes_no_progress_closes_with_write_stall() {
    let stall = Duration::from_millis(200);
    let server = Server::configured(
        |config| {
            narrow(config);
            config.write_stall = Some(stall);
        },
        |moment, conn, input| match moment {
            Moment::Connect => conn.send(pattern(500_000)).unwrap(),
            _ => moment.usual(conn, input),
        },
    );
    let began = Instant::now();
    let client = connect_narrow(server.address());
    assert_eq!(server.log.wait_closed(), "timed out: no progress in sending");
    assert!(began.elapsed() >= stall);
    drop(client);
    server.end(1);
}

#[test]
fn output_that_makes_a_little_progress_does_not_stall() {
    let server = Server::configured(
        |config| {
            narrow(config);
            config.write_stall = Some(Duration::from_millis(400));
        },
        |moment, conn, input| match moment {
            Moment::Connect => conn.send(pattern(400_000)).unwrap(),
            _ => moment.usual(conn, input),
        },
    );
    let mut client = connect_narrow(server.address());
    let began = Instant::now();
    // Three times as long as the deadline in all, with a pause that is shorter than it after each piece.
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(60));
        read_exact(&mut client, 20_000);
    }
    assert!(began.elapsed() > Duration::from_millis(1200));
    half_close(&client);
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    server.end(1);
}

#[test]
fn a_loop_that_was_held_up_does_not_take_that_for_a_stall() {
    let server = Server::configured(
        |config| {
            narrow(config);
            config.write_stall = Some(Duration::from_millis(500));
        },
        |moment, conn, input| match moment {
            Moment::Connect => conn.send(pattern(300_000)).unwrap(),
            _ => moment.usual(conn, input),
        },
    );
    let mut client = connect_narrow(server.address());
    server.log.wait_count(Moment::HighWater, 1);
    let held = server.running.hold();
    let mut received = read_exact(&mut client, 10_000).len();
    std::thread::sleep(Duration::from_millis(700));
    held.release();
    received += read_exact(&mut client, 300_000 - received).len();
    assert_eq!(received, 300_000);
    drop(client);
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    server.end(1);
}

#[test]
fn output_above_the_high_mark_for_too_long_closes_a_slow_consumer_though_it_makes_progress() {
    let limit = Duration::from_millis(300);
    let server = Server::configured(
        |config| {
            narrow(config);
            config.slow_consumer = Some(limit);
        },
        |moment, conn, input| match moment {
            Moment::Connect => conn.send(pattern(3_000_000)).unwrap(),
            _ => moment.usual(conn, input),
        },
    );
    let began = Instant::now();
    let mut client = connect_narrow(server.address());
    while server.log.count(Moment::Close) == 0 {
        let _ = client.read(&mut [0; 1000]);
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(began.elapsed() >= limit);
    assert_eq!(server.log.wait_closed(), "the peer reads too slowly");
    server.end(1);
}

#[test]
fn a_consumer_that_catches_up_in_time_is_not_a_slow_one() {
    let server = Server::configured(
        |config| {
            narrow(config);
            config.slow_consumer = Some(Duration::from_millis(1000));
        },
        |moment, conn, input| match moment {
            Moment::Data => {
                input.retrieve_all();
                conn.send(pattern(200_000)).unwrap();
            }
            _ => moment.usual(conn, input),
        },
    );
    let mut client = connect_narrow(server.address());
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < Duration::from_millis(2500) {
        rounds += 1;
        client.write_all(b"x").unwrap();
        server.log.wait_count(Moment::HighWater, rounds);
        read_exact(&mut client, 200_000);
    }
    assert_eq!(server.log.count(Moment::Close), 0);
    drop(client);
    server.end(1);
}

#[test]
fn one_stuck_member_of_a_broadcast_holds_nobody_up() {
    let members = 100;
    let server = Server::configured(
        |config| {
            narrow(config);
            config.hard_cap = 1_000_000;
        },
        Moment::usual,
    );
    let stuck = connect_narrow(server.address());
    let mut clients: Vec<_> = (1..members).map(|_| server.connect()).collect();
    server.log.wait_count(Moment::Connect, members);
    let line = Bytes::from(pattern(20_000));
    for _ in 0..60 {
        server.handle.broadcast(line.clone()).unwrap();
        for client in &mut clients {
            assert!(read_exact(client, line.len()) == line);
        }
    }
    // More than its hard cap would have been pending for the one.
    assert_eq!(server.log.reasons(), ["the peer reads too slowly"]);
    drop((clients, stuck));
    server.log.wait_count(Moment::Close, members);
    server.end(members);
}

#[test]
fn all_kinds_of_output_arrive_in_their_order_byte_for_byte() {
    let expected = Arc::new(Mutex::new(Vec::new()));
    let sent = Arc::clone(&expected);
    let server = Server::configured(
        |config| config.socket = small_buffers(),
        move |moment, conn, input| match moment {
            Moment::Data => {
                input.retrieve_all();
                let all = pattern(2_000_000);
                let shared = Bytes::from(all.clone());
                let (mut from, mut size) = (0, 1);
                while from < all.len() {
                    // Lengths on both sides of every bound at which output is treated in another way.
                    size = (size * 7 + 13) % 9_001;
                    let to = (from + size).min(all.len());
                    match size % 4 {
                        0 => conn.send(&all[from..to]).unwrap(),
                        1 => conn.send(shared.slice(from..to)).unwrap(),
                        2 => conn.send(all[from..to].to_vec()).unwrap(),
                        _ => {
                            conn.send(&all[from..to]).unwrap();
                            conn.flush();
                        }
                    }
                    from = to;
                }
                sent.lock().unwrap().extend_from_slice(&all);
            }
            _ => moment.usual(conn, input),
        },
    );
    let mut client = connect_narrow(server.address());
    client.write_all(b"x").unwrap();
    let mut received = Vec::new();
    // Odd sizes, so that writes end anywhere in a chunk.
    while received.len() < 2_000_000 {
        let mut block = [0; 3_331];
        let n = client.read(&mut block).unwrap();
        received.extend_from_slice(&block[..n]);
    }
    assert!(received == *expected.lock().unwrap());
    server.log.wait_count(Moment::WriteComplete, 1);
    drop(client);
    server.log.wait_closed();
    assert_eq!(server.log.last_stats().unwrap().bytes_out, 2_000_000);
    server.end(1);
}
