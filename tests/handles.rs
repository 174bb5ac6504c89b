//! Connections, handlers and servers as other threads reach them.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use campana::reactor::LoopGone;
use campana::{Buffer, ConnectionHandle, Handler, SendError, TcpConnection, TcpServer};

#[path = "support/server.rs"]
mod server;

use server::{
    Moment, Running, Server, connect, connect_narrow, half_close, pattern, read_exact, read_to_end,
    small_buffers, wait_gone, wait_until,
};

/// The handle of the only connection of a server.
#[track_caller]
fn handle_of(server: &Server) -> ConnectionHandle {
    server.running.call(|cx| {
        let id = cx.connections()[0];
        cx.connection(id).unwrap().handle()
    })
}

const THREADS: usize = 8;

#[test]
fn threads_that_send_at_once_keep_each_its_own_order() {
    let server = Server::start(Moment::usual);
    let mut client = server.connect_and_wait();
    let handle = handle_of(&server);
    let per_thread = 2_000_u32;
    let senders: Vec<_> = (0..THREADS as u32)
        .map(|thread| {
            let handle = handle.clone();
            std::thread::spawn(move || {
                for number in 0..per_thread {
                    let message = [thread.to_be_bytes(), number.to_be_bytes()].concat();
                    handle.send(message).unwrap();
                }
            })
        })
        .collect();
    let mut next = [0_u32; THREADS];
    for _ in 0..THREADS as u32 * per_thread {
        let message = read_exact(&mut client, 8);
        let thread = u32::from_be_bytes(message[..4].try_into().unwrap()) as usize;
        let number = u32::from_be_bytes(message[4..].try_into().unwrap());
        assert_eq!(number, next[thread], "of thread {thread}");
        next[thread] += 1;
    }
    for sender in senders {
        sender.join().unwrap();
    }
    drop(client);
    server.log.wait_closed();
    server.end(1);
}

#[test]
fn sends_that_cross_a_close_are_accepted_or_refused_and_what_arrives_has_no_gap() {
    for round in 0..10 {
        let server = Server::start(Moment::usual);
        let mut client = server.connect_and_wait();
        let handle = handle_of(&server);
        let senders: Vec<_> = (0..THREADS as u32)
            .map(|thread| {
                let handle = handle.clone();
                std::thread::spawn(move || {
                    let mut accepted = 0_u32;
                    // Refused for good from some moment on.
                    while handle.send([thread.to_be_bytes(), accepted.to_be_bytes()].concat()).is_ok() {
                        accepted += 1;
                        std::thread::yield_now();
                    }
                    assert_eq!(handle.send("more"), Err(SendError::Closed));
                    accepted
                })
            })
            .collect();
        let closer = {
            let handle = handle.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                if round % 2 == 0 { handle.close() } else { handle.force_close() }.unwrap();
            })
        };
        let mut received = Vec::new();
        let _ = client.read_to_end(&mut received);
        drop(client);
        closer.join().unwrap();
        let accepted: Vec<u32> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        let mut next = [0_u32; THREADS];
        for message in received.chunks_exact(8) {
            let thread = u32::from_be_bytes(message[..4].try_into().unwrap()) as usize;
            assert_eq!(u32::from_be_bytes(message[4..].try_into().unwrap()), next[thread]);
            next[thread] += 1;
        }
        for thread in 0..THREADS {
            assert!(next[thread] <= accepted[thread], "more arrived than was accepted");
        }
        assert_eq!(server.log.wait_closed(), "closed by this side");
        assert!(!handle.is_open());
        server.end(1);
    }
}

#[test]
fn what_one_thread_asks_for_happens_in_its_order() {
    let server = Server::start(Moment::usual);
    let mut client = server.connect_and_wait();
    let handle = handle_of(&server);
    handle.send("one ").unwrap();
    handle.run(|conn| conn.send("two ").unwrap()).unwrap();
    handle.send(String::from("three")).unwrap();
    handle.shutdown().unwrap();
    let _ = handle.send("never");
    assert_eq!(read_to_end(&mut client), b"one two three");
    drop(client);
    assert_eq!(server.log.wait_closed(), "closed by this side");
    server.end(1);
}

#[test]
fn after_the_end_every_call_is_an_error_or_does_nothing() {
    let server = Server::start(Moment::usual);
    let client = server.connect_and_wait();
    let handle = handle_of(&server);
    assert!(handle.is_open());
    let id = handle.id();
    let peer = client.local_addr().unwrap();
    drop(client);
    server.log.wait_closed();
    server.running.settle();
    assert!(!handle.is_open());
    assert_eq!(handle.send("x"), Err(SendError::Closed));
    // The loop is there, the connection isn't: the task is dropped without being run.
    let (ran, dropped) = (Arc::new(AtomicBool::new(false)), Arc::new(()));
    let (seen, held) = (Arc::clone(&ran), Arc::clone(&dropped));
    handle
        .run(move |_| {
            seen.store(true, Ordering::SeqCst);
            drop(held);
        })
        .unwrap();
    handle.close().unwrap();
    server.running.settle();
    assert!(!ran.load(Ordering::SeqCst));
    assert_eq!(Arc::strong_count(&dropped), 1);
    // Names stay.
    assert_eq!(handle.id(), id);
    assert_eq!(handle.peer_address().as_inet(), Some(peer));

    server.end(1);
    assert_eq!(handle.send("x"), Err(SendError::Closed));
    assert_eq!(handle.close(), Err(LoopGone));
    assert_eq!(handle.force_close(), Err(LoopGone));
    assert_eq!(handle.shutdown(), Err(LoopGone));
    assert_eq!(handle.run(|_| ()), Err(LoopGone));
}

#[test]
fn an_old_handle_never_reaches_the_connection_that_has_taken_the_place() {
    let server = Server::start(Moment::usual);
    let first = server.connect_and_wait();
    let old = handle_of(&server);
    drop(first);
    server.log.wait_closed();
    let mut second = server.connect_and_wait();
    let new = handle_of(&server);
    assert_ne!(old.id(), new.id());
    let _ = old.send("for the first");
    let _ = old.force_close();
    let _ = old.run(|conn| conn.send("for the first").unwrap());
    new.send("for the second").unwrap();
    assert_eq!(read_exact(&mut second, 14), b"for the second");
    server.running.settle();
    assert_eq!(server.log.count(Moment::Close), 1);
    drop(second);
    server.log.wait_count(Moment::Close, 2);
    server.end(2);
}

#[test]
fn a_handle_keeps_no_connection_open() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data => {
            input.retrieve_all();
            conn.force_close();
        }
        _ => moment.usual(conn, input),
    });
    let mut client = server.connect_and_wait();
    let handles = vec![handle_of(&server); 10];
    client.write_all(b"x").unwrap();
    server.log.wait_closed();
    wait_gone(&mut client);
    assert_eq!(server.running.call(|cx| cx.connections().len()), 0);
    drop(handles);
    server.end(1);
}

#[test]
fn a_handle_refuses_more_than_the_hard_cap_under_way_and_the_connection_goes_on() {
    let server = Server::configured(|config| config.hard_cap = 100_000, Moment::usual);
    let mut client = server.connect_and_wait();
    let handle = handle_of(&server);
    let held = server.running.hold();
    let mut accepted = 0;
    let refused = loop {
        match handle.send(pattern(1_000)) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted <= 1_000, "sends are taken without a bound");
    };
    assert_eq!((refused, accepted), (SendError::Full, 100));
    held.release();
    assert_eq!(read_exact(&mut client, 100_000), pattern(1_000).repeat(100));
    wait_until("room again", || handle.send("on it goes").is_ok());
    assert_eq!(read_exact(&mut client, 10), b"on it goes");
    assert_eq!(handle.send(pattern(100_001)), Err(SendError::Full), "it would never fit");
    drop(client);
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    server.end(1);
}

#[test]
fn handles_of_a_stuck_connection_bound_its_memory_too() {
    let server = Server::configured(
        |config| {
            config.socket = small_buffers();
            config.hard_cap = 100_000;
        },
        Moment::usual,
    );
    let client = connect_narrow(server.address());
    server.log.wait_count(Moment::Connect, 1);
    let handle = handle_of(&server);
    wait_until("an end to it", || handle.send(pattern(10_000)) == Err(SendError::Closed));
    assert_eq!(server.log.wait_closed(), "the peer reads too slowly");
    drop(client);
    server.end(1);
}

/// Counts its connections, and what came in, without a lock.
struct Counting {
    connected: usize,
    received: usize,
}

impl Handler for Counting {
    type State = usize;

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) -> usize {
        self.connected += 1;
        0
    }

    fn on_data(&mut self, state: &mut usize, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        *state += input.readable();
        self.received += input.readable();
        let _ = conn.send(input.take());
    }
}

#[test]
fn a_handlers_own_state_is_reached_on_its_loop() {
    let (running, handle) = Running::start(|event_loop| {
        let server = TcpServer::bind("127.0.0.1:0").unwrap().threads(3);
        server.start_with(event_loop, |_, _| Counting { connected: 0, received: 0 }).unwrap()
    });
    let address = handle.local_addresses()[0].as_inet().unwrap();
    let mut clients: Vec<_> = (0..30).map(|_| connect(address)).collect();
    for client in &mut clients {
        client.write_all(b"1234567").unwrap();
        read_exact(client, 7);
    }
    let handlers = handle.handlers();
    assert_eq!(handlers.len(), 3);
    let (report, reports) = std::sync::mpsc::channel();
    for handler in &handlers {
        let report = report.clone();
        let task = move |counting: &mut Counting, cx: &mut campana::LoopContext| {
            assert!(cx.handle().is_in_loop_thread());
            report.send((counting.connected, counting.received, cx.connections().len())).unwrap();
        };
        handler.run(task).unwrap();
    }
    let all: Vec<_> = (0..3).map(|_| reports.recv_timeout(server::PATIENCE).unwrap()).collect();
    assert_eq!(all.iter().map(|(connected, ..)| connected).sum::<usize>(), 30);
    assert_eq!(all.iter().map(|(_, received, _)| received).sum::<usize>(), 210);
    assert!(all.iter().all(|(connected, _, there)| connected == there));
    running.stop();
    assert_eq!(handlers[0].run(|_, _| ()), Err(LoopGone));
}

#[test]
fn a_task_for_a_handler_whose_server_has_stopped_is_dropped_without_being_run() {
    let server = Server::start(Moment::usual);
    let handler = server.handle.handlers().remove(0);
    server.handle.stop(Duration::ZERO);
    assert!(server.handle.wait_stopped(server::PATIENCE));
    let ran = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&ran);
    handler.run(move |_, _| seen.store(true, Ordering::SeqCst)).unwrap();
    server.running.settle();
    assert!(!ran.load(Ordering::SeqCst));
    assert_eq!(Arc::strong_count(&ran), 1);
    server.end(0);
}

#[test]
fn a_broadcast_reaches_every_connection_on_every_loop_once_and_in_order() {
    let (running, handle) = Running::start(|event_loop| {
        let server = TcpServer::bind("127.0.0.1:0").unwrap().threads(4);
        server.start(event_loop).unwrap()
    });
    let address = handle.local_addresses()[0].as_inet().unwrap();
    let mut clients: Vec<_> = (0..40).map(|_| connect(address)).collect();
    wait_until("all to be there", || handle.figures().connections == 40);
    let reached = Arc::new(Mutex::new(Vec::new()));
    let ids = Arc::clone(&reached);
    let visited = Arc::new(AtomicUsize::new(0));
    let visits = Arc::clone(&visited);
    handle
        .for_each(move |conn| {
            ids.lock().unwrap().push(conn.id());
            visits.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
    for round in 0..50 {
        handle.broadcast(format!("{round:04}")).unwrap();
        handle.broadcast(Bytes::from(pattern(3_000))).unwrap();
    }
    for client in &mut clients {
        for round in 0..50 {
            assert_eq!(read_exact(client, 4), format!("{round:04}").as_bytes());
            assert_eq!(read_exact(client, 3_000), pattern(3_000));
        }
    }
    let mut ids = reached.lock().unwrap().clone();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), visited.load(Ordering::SeqCst)), (40, 40));
    drop(clients);
    running.stop();
    assert_eq!(handle.broadcast("x"), Err(LoopGone));
}

#[test]
fn a_handle_may_be_used_inside_callbacks_without_nesting() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data => {
            let handle = conn.handle();
            handle.send("by handle").unwrap();
            conn.send("at once, ").unwrap();
            input.retrieve_all();
        }
        _ => moment.usual(conn, input),
    });
    let mut client = server.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(read_exact(&mut client, 18), b"at once, by handle");
    half_close(&client);
    server.log.wait_closed();
    server.end(1);
}

#[test]
fn handles_outlive_a_loop_that_ends_while_they_are_used() {
    for _ in 0..20 {
        let server = Server::start(Moment::usual);
        let client = server.connect_and_wait();
        let handle = handle_of(&server);
        let used = std::thread::spawn(move || {
            let mut calls = 0_u64;
            while handle.run(|conn| conn.flush()).is_ok() {
                calls += 1;
            }
            assert!(!handle.is_open());
            calls
        });
        server.running.settle();
        server.running.stop();
        used.join().unwrap();
        drop(client);
    }
}
