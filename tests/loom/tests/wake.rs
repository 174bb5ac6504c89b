//! The wake protocol of a loop: whoever posts to a sleeping loop wakes it, and nobody else has to.
//!
//! The flag under test is the library's own file. Around it, the parts that the loop really uses are modelled: the queue by a
//! counter with no more ordering than a queue gives, the poller and its eventfd by a condition variable.
//!
//! Where the model writes to an atomic from both sides it does so by read-modify-write operations alone: loom doesn't know that
//! these keep their place in the order of plain writes, and reports executions that the memory model rules out.

#![cfg(loom)]

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

#[path = "../../../src/reactor/wake.rs"]
mod wake;

use wake::WakeFlag;

/// The eventfd and the wait for it: wakes are remembered until the next wait takes them, all at once.
struct Eventfd {
    pending: Mutex<bool>,
    readable: Condvar,
    /// Only counts, so that it is no part of the model.
    writes: std::sync::atomic::AtomicUsize,
}

impl Eventfd {
    fn write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        *self.pending.lock().unwrap() = true;
        self.readable.notify_one();
    }

    /// Blocks, as `epoll_wait` without a timeout does. If nobody ever writes, loom reports the deadlock.
    fn wait(&self) {
        let mut pending = self.pending.lock().unwrap();
        while !*pending {
            pending = self.readable.wait(pending).unwrap();
        }
        *pending = false;
    }
}

/// What a loop and its handles share.
struct Shared {
    posted: AtomicUsize,
    quit: AtomicBool,
    wake: WakeFlag,
    eventfd: Eventfd,
}

impl Shared {
    fn new() -> Arc<Self> {
        let eventfd =
            Eventfd { pending: Mutex::new(false), readable: Condvar::new(), writes: Default::default() };
        Arc::new(Self {
            posted: AtomicUsize::new(0),
            quit: AtomicBool::new(false),
            wake: WakeFlag::new(),
            eventfd,
        })
    }

    /// `LoopHandle::post`.
    fn post(&self) {
        self.posted.fetch_add(1, Ordering::Release);
        self.wake_if_needed();
    }

    /// `LoopHandle::quit`.
    fn quit(&self) {
        self.quit.swap(true, Ordering::Release);
        self.wake_if_needed();
    }

    fn wake_if_needed(&self) {
        if self.wake.must_wake() {
            self.eventfd.write();
        }
    }

    /// One turn of the loop without deadlines: sleep unless there is something to do.
    fn turn(&self, done: usize) {
        self.wake.announce_sleep();
        let must_not_block = self.posted.load(Ordering::Acquire) > done || self.quit.load(Ordering::Acquire);
        if !must_not_block {
            self.eventfd.wait();
        }
        self.wake.awake();
    }

    /// Turns until so many tasks have run. Answers how many turns that took.
    fn run_tasks(&self, tasks: usize) -> usize {
        let (mut done, mut turns) = (0, 0);
        while done < tasks {
            self.turn(done);
            done = self.posted.load(Ordering::Acquire);
            turns += 1;
        }
        turns
    }
}

/// Checks every order with up to so many preemptions; without a bound, three threads would take hours.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

#[test]
fn no_post_is_missed_and_none_wakes_more_than_once() {
    check(4, || {
        let shared = Shared::new();
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.post())
            })
            .collect();
        let turns = shared.run_tasks(2);
        for poster in posters {
            poster.join().unwrap();
        }
        let writes = shared.eventfd.writes.load(Ordering::Relaxed);
        assert!(writes <= turns, "{writes} wakes for {turns} sleeps");
    });
}

#[test]
fn posts_of_one_thread_are_not_missed_while_the_loop_falls_asleep_between_them() {
    loom::model(|| {
        let shared = Shared::new();
        let poster = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.post();
                shared.post();
            })
        };
        shared.run_tasks(2);
        poster.join().unwrap();
    });
}

#[test]
fn a_burst_of_posts_wakes_a_sleeping_loop_exactly_once() {
    check(4, || {
        let shared = Shared::new();
        // The loop is about to block, and has found nothing to do.
        shared.wake.announce_sleep();
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.post();
                    shared.post();
                })
            })
            .collect();
        shared.eventfd.wait();
        for poster in posters {
            poster.join().unwrap();
        }
        assert_eq!(shared.eventfd.writes.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn posts_to_a_loop_that_is_awake_wake_nobody() {
    loom::model(|| {
        let shared = Shared::new();
        let post = || {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.post()).join().unwrap();
        };
        // Before the first turn, and after one that had no need to sleep.
        post();
        assert_eq!(shared.run_tasks(1), 1);
        post();
        assert_eq!(shared.eventfd.writes.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_request_to_quit_is_not_missed_be_there_posts_or_not() {
    check(4, || {
        let shared = Shared::new();
        let (quitter, poster) = (Arc::clone(&shared), Arc::clone(&shared));
        let quitter = thread::spawn(move || quitter.quit());
        let poster = thread::spawn(move || poster.post());
        let mut done = 0;
        while !shared.quit.swap(false, Ordering::Acquire) {
            shared.turn(done);
            done = shared.posted.load(Ordering::Acquire);
        }
        quitter.join().unwrap();
        poster.join().unwrap();
        assert!(shared.posted.load(Ordering::Relaxed) == 1 && !shared.quit.load(Ordering::Relaxed));
    });
}

#[test]
fn a_wake_that_comes_late_costs_a_turn_and_nothing_else() {
    loom::model(|| {
        let shared = Shared::new();
        let poster = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.post();
                shared.quit();
            })
        };
        let mut done = 0;
        let mut turns = 0;
        while !shared.quit.swap(false, Ordering::Acquire) {
            shared.turn(done);
            done = shared.posted.load(Ordering::Acquire);
            turns += 1;
        }
        poster.join().unwrap();
        assert!(turns <= 3, "{turns} turns for two events");
    });
}
