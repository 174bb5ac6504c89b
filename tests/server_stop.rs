//! Servers stop in good order: who waits is served, who is busy may finish, and nothing is left.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use campana::{Buffer, TcpConnection};

#[path = "support/server.rs"]
mod server;

use server::{Moment, PATIENCE, Running, Server, any, echo, is_served, read_to_end, wait_gone, wait_until};

fn settle(event_loop: &campana::LoopHandle) {
    let (report, reports) = std::sync::mpsc::channel();
    event_loop.post(move |_| report.send(()).unwrap()).unwrap();
    reports.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_stop_serves_those_who_wait_in_the_backlog() {
    for threads in [0, 1, 3] {
        let server = Server::of(any().threads(threads), |moment, conn, input| match moment {
            Moment::Data => {
                conn.send(input.take()).unwrap();
                conn.close();
            }
            _ => moment.usual(conn, input),
        });
        // Neither does a paused one leave them in the lurch.
        server.handle.pause_accepting();
        let loops: Vec<_> = server.handle.handlers().iter().map(|h| h.loop_handle().clone()).collect();
        loops.iter().for_each(settle);
        server.running.settle();
        let mut clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
        server.handle.stop(PATIENCE);
        for client in &mut clients {
            client.write_all(b"in time").unwrap();
            assert_eq!(read_to_end(client), b"in time");
        }
        drop(clients);
        assert!(server.handle.wait_stopped(PATIENCE));
        server.end(40);
    }
}

#[test]
fn a_stop_lets_exchanges_finish_and_closes_the_silent_after_a_second() {
    let server = Server::of(any().threads(2), echo);
    let mut silent = server.connect();
    let mut busy = server.connect();
    is_served(&mut silent);
    is_served(&mut busy);
    let began = Instant::now();
    server.handle.stop(PATIENCE);
    let mut last = began;
    while began.elapsed() < Duration::from_millis(1_500) {
        last = Instant::now();
        is_served(&mut busy);
        std::thread::sleep(Duration::from_millis(20));
    }
    // The silent one has been closed by now, in good order; the busy one was left alone.
    assert_eq!(read_to_end(&mut silent), b"");
    assert!(!server.handle.is_stopped());
    assert!(TcpStream::connect(server.address()).is_err(), "nobody is accepted any more");
    drop(silent);
    assert_eq!(read_to_end(&mut busy), b"");
    assert!(last.elapsed() >= Duration::from_secs(1));
    drop(busy);
    assert!(server.handle.wait_stopped(PATIENCE));
    let log = server.end(2);
    assert_eq!(log.reasons(), ["stopping", "stopping"]);
    assert_eq!(log.count(Moment::Stopping), 2);
}

#[test]
fn a_stop_is_over_as_soon_as_the_last_connection_is() {
    for threads in [0, 2] {
        let server = Server::of(any().threads(threads), echo);
        let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(is_served);
        let began = Instant::now();
        server.handle.stop(Duration::from_secs(3600));
        server.log.wait_count(Moment::Stopping, 10);
        drop(clients);
        assert!(server.handle.wait_stopped(PATIENCE));
        assert!(began.elapsed() < Duration::from_secs(1));
        server.end(10);
    }
}

#[test]
fn what_is_left_at_the_deadline_of_a_stop_is_closed_by_force() {
    for threads in [0, 2] {
        let deadline = Duration::from_millis(300);
        let server = Server::of(any().threads(threads), |moment, conn, input| match moment {
            // It doesn't want to end.
            Moment::Stopping => {}
            _ => echo(moment, conn, input),
        });
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(is_served);
        let began = Instant::now();
        server.handle.stop(deadline);
        assert!(server.handle.wait_stopped(PATIENCE));
        assert!(began.elapsed() >= deadline);
        assert!(began.elapsed() < deadline + Duration::from_secs(2));
        clients.iter_mut().for_each(wait_gone);
        let log = server.end(4);
        assert_eq!(log.reasons(), ["stopping"; 4]);
    }
}

#[test]
fn a_second_stop_brings_the_deadline_forward_and_never_back() {
    let forever = |moment: Moment, conn: &mut TcpConnection<'_>, input: &mut Buffer| match moment {
        Moment::Stopping => {}
        _ => echo(moment, conn, input),
    };
    let (late, soon) = (Duration::from_secs(3600), Duration::from_millis(200));
    for (first, second) in [(late, soon), (soon, late)] {
        let server = Server::start(forever);
        let client = server.connect_and_wait();
        server.handle.stop(first);
        server.handle.stop(second);
        let began = Instant::now();
        assert!(server.handle.wait_stopped(PATIENCE));
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(client);
        let log = server.end(1);
        assert_eq!(log.count(Moment::Stopping), 1);
    }
}

#[test]
fn what_is_to_follow_a_stop_runs_once_on_the_base_loop_when_nothing_is_left() {
    for threads in [0, 2] {
        let server = Server::of(any().threads(threads), echo);
        let client = server.connect_and_wait();
        let ran = Arc::new(AtomicUsize::new(0));
        let handle = server.handle.clone();
        for _ in 0..2 {
            let (counted, handle) = (Arc::clone(&ran), handle.clone());
            server.handle.stop_then(Duration::from_millis(100), move |cx| {
                assert!(handle.is_stopped());
                assert_eq!(handle.figures().connections, 0);
                assert_eq!(cx.connections().len(), 0);
                counted.fetch_add(1, Ordering::SeqCst);
            });
        }
        wait_until("both to run", || ran.load(Ordering::SeqCst) == 2);
        // After the end it runs at once.
        let counted = Arc::clone(&ran);
        server.handle.stop_then(Duration::ZERO, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        wait_until("the third", || ran.load(Ordering::SeqCst) == 3);
        assert_eq!(server.running.figures().panics, 0);
        drop(client);
        server.end(1);
    }
}

#[test]
fn stopping_right_after_or_before_the_start_of_the_loop_works_each_time() {
    for round in 0..40 {
        let (running, handle) = Running::start(move |event_loop| {
            let handle = any().threads(round % 3).start(event_loop).unwrap();
            if round % 2 == 0 {
                handle.stop(Duration::ZERO);
            }
            handle
        });
        handle.stop(Duration::ZERO);
        assert!(handle.wait_stopped(PATIENCE), "round {round}");
        running.stop();
    }
}

#[test]
fn a_server_whose_loop_ends_is_stopped_and_its_threads_end() {
    let alive = Arc::new(AtomicUsize::new(0));
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    thread_local! {
        static ALIVE: std::cell::RefCell<Option<Counted>> = const { std::cell::RefCell::new(None) };
    }
    let counter = Arc::clone(&alive);
    let server = any().threads(4).thread_init(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        ALIVE.with_borrow_mut(|alive| *alive = Some(Counted(Arc::clone(&counter))));
    });
    let server = Server::of(server, echo);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(is_served);
    assert_eq!(alive.load(Ordering::SeqCst), 4);
    let handle = server.handle.clone();
    let log = server.end(20);
    assert_eq!(alive.load(Ordering::SeqCst), 0, "all threads have been joined");
    assert!(handle.is_stopped());
    assert_eq!(log.reasons(), ["stopping"; 20]);
    clients.iter_mut().for_each(wait_gone);
}
