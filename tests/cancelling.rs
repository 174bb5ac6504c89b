//! Timers that are cancelled at the last moment, from wherever: each either fires or is cancelled, and never both.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

#[path = "support/reactor.rs"]
mod support;

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use campana::reactor::{Channel, LoopPool};
use campana::{Buffer, ConnectionId, EventLoop, Handler, LoopHandle, TcpConnection, TcpServer, TimerId};
use support::{PATIENCE, ask, spin, turn_until};

#[derive(Default)]
struct Fate {
    fired: AtomicUsize,
    cancelled: AtomicUsize,
}

impl Fate {
    fn get(&self) -> (usize, usize) {
        (self.fired.load(Ordering::SeqCst), self.cancelled.load(Ordering::SeqCst))
    }
}

/// Waits for so long by the loop's own timers, so that it has seen to all that was due by then.
fn let_pass(event_loop: &LoopHandle, time: Duration) {
    let (done, dones) = mpsc::channel();
    ask(event_loop, move |cx| cx.run_after(time, move |_| done.send(()).unwrap()));
    dones.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_timer_that_two_threads_cancel_about_when_it_is_due_fires_or_is_cancelled_once() {
    const TIMERS: usize = 2000;
    let base = EventLoop::new().unwrap();
    let pool = LoopPool::new(&base.handle(), 1).unwrap();
    let event_loop = pool.next().clone();
    let fates: Arc<Vec<Fate>> = Arc::new((0..TIMERS).map(|_| Fate::default()).collect());
    // Due at any time within 10 ms, which is about what the cancelling takes; the first ones at once and the last ones never.
    let delay = |number| match number {
        ..100 => Duration::ZERO,
        _ if number >= TIMERS - 100 => PATIENCE,
        _ => Duration::from_micros((number * 7919 % 10_000) as u64),
    };
    let of_timers = Arc::clone(&fates);
    let timers: Arc<Vec<TimerId>> = Arc::new(ask(&event_loop, move |cx| {
        let set = (0..TIMERS).map(|number| {
            let fates = Arc::clone(&of_timers);
            cx.run_after(delay(number), move |_| {
                fates[number].fired.fetch_add(1, Ordering::SeqCst);
            })
        });
        set.collect()
    }));
    support::wait_until("the first ones", || fates[..100].iter().all(|fate| fate.get() == (1, 0)));
    let together = Arc::new(Barrier::new(2));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (event_loop, together) = (event_loop.clone(), Arc::clone(&together));
            let (timers, fates) = (Arc::clone(&timers), Arc::clone(&fates));
            std::thread::spawn(move || {
                together.wait();
                for number in 0..TIMERS {
                    let (timers, fates) = (Arc::clone(&timers), Arc::clone(&fates));
                    let cancel = move |cx: &mut campana::LoopContext| {
                        if cx.cancel(timers[number]) {
                            fates[number].cancelled.fetch_add(1, Ordering::SeqCst);
                        }
                    };
                    event_loop.post(cancel).unwrap();
                }
                ask(&event_loop, |_| ());
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // All have been cancelled or are over; whatever fires from now on does so wrongly.
    let_pass(&event_loop, Duration::from_millis(15));
    for (number, fate) in fates.iter().enumerate() {
        let (fired, cancelled) = fate.get();
        assert_eq!(fired + cancelled, 1, "timer {number} fired {fired} times, cancelled {cancelled} times");
        assert!(number < TIMERS - 100 || cancelled == 1, "timer {number} fired early");
    }
}

#[test]
fn a_repeating_timer_is_not_called_again_after_another_thread_has_cancelled_it() {
    let base = EventLoop::new().unwrap();
    let pool = LoopPool::new(&base.handle(), 1).unwrap();
    for round in 0..50 {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let timer = ask(pool.next(), move |cx| {
            cx.run_every(Duration::from_micros(50), move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            })
        });
        support::wait_until("some calls", || calls.load(Ordering::SeqCst) > round % 3);
        let count = Arc::clone(&calls);
        let at_cancel = ask(pool.next(), move |cx| {
            assert!(cx.cancel(timer));
            assert!(!cx.cancel(timer));
            count.load(Ordering::SeqCst)
        });
        // A time in which it would have been called.
        let_pass(pool.next(), Duration::from_micros(200));
        assert_eq!(calls.load(Ordering::SeqCst), at_cancel);
    }
    assert_eq!(pool.next().figures().panics, 0);
}

#[test]
fn a_timer_cancelled_by_input_of_the_turn_in_which_it_is_due_does_not_fire() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let (timer, fired) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(0)));
    let to_cancel = Rc::clone(&timer);
    let source = move |ours: &mut UnixStream, channel: &mut Channel<'_>| match ours.read(&mut [0; 16]) {
        Ok(_) => assert!(channel.context().cancel(to_cancel.take().unwrap()), "it had fired"),
        Err(_) => channel.clear_readable(),
    };
    event_loop.context().register(ours, source).unwrap();
    for round in 1..=20 {
        let count = Rc::clone(&fired);
        let delay = Duration::from_micros(100);
        timer.set(Some(event_loop.context().run_after(delay, move |_| count.set(count.get() + 1))));
        theirs.write_all(b"x").unwrap();
        // Both are due by the time that the loop looks.
        spin(2 * delay);
        turn_until(&mut event_loop, "the input", |_| timer.get().is_none());
        event_loop.turn(Some(Duration::from_millis(1))).unwrap();
        let figures = event_loop.handle().figures();
        assert_eq!((fired.get(), figures.timers_pending, figures.panics), (0, 0, 0), "round {round}");
    }
}

/// Each connection has a timer at the same time, and the first one to be called cancels the others'.
#[derive(Default)]
struct Rivals {
    timers: Vec<(ConnectionId, TimerId)>,
    called: usize,
}

impl Handler for Rivals {
    type State = ();

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) {
        self.timers.push((conn.id(), conn.set_timer(PATIENCE, 0)));
    }

    fn on_data(&mut self, (): &mut (), conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        input.retrieve_all();
        for (id, timer) in &mut self.timers {
            let mut peer = conn.peer(*id).unwrap();
            assert!(peer.cancel_timer(*timer));
            *timer = peer.set_timer(Duration::from_micros(100), 0);
        }
        spin(Duration::from_micros(200));
    }

    fn on_timer(&mut self, (): &mut (), conn: &mut TcpConnection<'_>, _: u64) {
        self.called += 1;
        for (id, timer) in &self.timers {
            // Its own has fired, and a timer is cancelled on its own connection alone.
            let is_own = *id == conn.id();
            assert!(is_own || !conn.cancel_timer(*timer));
            assert_eq!(conn.peer(*id).unwrap().cancel_timer(*timer), !is_own);
        }
        let _ = conn.send("x");
    }
}

#[test]
fn a_connections_timer_cancelled_by_anothers_in_the_same_batch_does_not_fire() {
    let mut event_loop = EventLoop::new().unwrap();
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let server = server.start_with(&mut event_loop, |_, _| Rivals::default()).unwrap();
    let address = server.local_addresses()[0].as_inet().unwrap();
    let mut peers: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    turn_until(&mut event_loop, "all of them", |_| server.figures().connections == peers.len());
    peers[0].write_all(b"go").unwrap();
    let fired = event_loop.handle().figures().timers;
    turn_until(&mut event_loop, "the timer", |event_loop| event_loop.handle().figures().timers > fired);
    event_loop.turn(Some(Duration::from_millis(1))).unwrap();
    let figures = event_loop.handle().figures();
    assert_eq!((figures.timers - fired, figures.timers_pending, figures.panics), (1, 0, 0));
    peers.iter().for_each(|peer| peer.set_nonblocking(true).unwrap());
    let told = peers.iter_mut().filter_map(|peer| peer.read(&mut [0; 16]).ok()).sum::<usize>();
    assert_eq!(told, 1);
}
