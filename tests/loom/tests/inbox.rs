//! The wake protocol of a loop: whoever posts to a sleeping loop wakes it, and nobody else has to.
//!
//! The inbox under test is the library's own file. Around it, the poller and its eventfd are modelled by a condition variable.
//!
//! Where the model itself writes to an atomic from both sides it does so by read-modify-write operations alone: loom doesn't
//! know that these keep their place in the order of plain writes, and reports executions that the memory model rules out.

#![cfg(loom)]

use std::collections::VecDeque;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

#[path = "../../../src/reactor/inbox.rs"]
mod inbox;

use inbox::{Inbox, Pushed};

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
    inbox: Inbox<usize>,
    quit: AtomicBool,
    eventfd: Eventfd,
}

impl Shared {
    fn new() -> Arc<Self> {
        let eventfd =
            Eventfd { pending: Mutex::new(false), readable: Condvar::new(), writes: Default::default() };
        Arc::new(Self { inbox: Inbox::new(), quit: AtomicBool::new(false), eventfd })
    }

    /// `LoopHandle::post`.
    fn post(&self, task: usize) {
        match self.inbox.push(task, || 0) {
            Pushed::Queued => {}
            Pushed::MustWake => self.eventfd.write(),
            Pushed::Refused(_) => panic!("the loop has not ended"),
        }
    }

    /// `LoopHandle::quit`.
    fn quit(&self) {
        self.quit.swap(true, Ordering::Release);
        if self.inbox.must_wake() {
            self.eventfd.write();
        }
    }

    /// One turn of the loop without deadlines: sleep unless there is something to do, then run what is there. Answers the tasks
    /// that ran.
    fn turn(&self) -> VecDeque<usize> {
        if self.inbox.fall_asleep(|| self.quit.load(Ordering::Acquire)) {
            self.eventfd.wait();
            self.inbox.awake();
        }
        let mut batch = VecDeque::new();
        if !self.inbox.seems_empty() {
            self.inbox.take(&mut batch);
        }
        batch
    }

    /// Turns until so many tasks have run. Answers them, and how many turns that took.
    fn run_tasks(&self, tasks: usize) -> (Vec<usize>, usize) {
        let (mut done, mut turns) = (Vec::new(), 0);
        while done.len() < tasks {
            done.extend(self.turn());
            turns += 1;
        }
        (done, turns)
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
            .map(|poster| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.post(poster))
            })
            .collect();
        let (mut done, turns) = shared.run_tasks(2);
        done.sort_unstable();
        assert_eq!(done, [0, 1]);
        for poster in posters {
            poster.join().unwrap();
        }
        let writes = shared.eventfd.writes.load(Ordering::Relaxed);
        assert!(writes <= turns, "{writes} wakes for {turns} sleeps");
    });
}

#[test]
fn posts_of_one_thread_are_run_in_their_order_while_the_loop_falls_asleep_between_them() {
    loom::model(|| {
        let shared = Shared::new();
        let poster = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.post(1);
                shared.post(2);
                shared.post(3);
            })
        };
        assert_eq!(shared.run_tasks(3).0, [1, 2, 3]);
        poster.join().unwrap();
    });
}

#[test]
fn a_burst_of_posts_wakes_a_sleeping_loop_exactly_once() {
    check(4, || {
        let shared = Shared::new();
        // The loop is about to block, and has found nothing to do.
        assert!(shared.inbox.fall_asleep(|| false));
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.post(1);
                    shared.post(2);
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
            thread::spawn(move || shared.post(1)).join().unwrap();
        };
        // Before the first turn, and after one that had no need to sleep.
        post();
        assert_eq!(shared.run_tasks(1), (vec![1], 1));
        post();
        assert_eq!(shared.eventfd.writes.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_loop_that_another_event_has_woken_is_not_woken_by_a_post() {
    loom::model(|| {
        let shared = Shared::new();
        assert!(shared.inbox.fall_asleep(|| false));
        shared.inbox.awake();
        let poster = Arc::clone(&shared);
        thread::spawn(move || poster.post(1)).join().unwrap();
        assert_eq!(shared.eventfd.writes.load(Ordering::Relaxed), 0);
        // The task is found before the next sleep.
        assert_eq!(shared.run_tasks(1), (vec![1], 1));
    });
}

#[test]
fn a_request_to_quit_is_not_missed_be_there_posts_or_not() {
    check(4, || {
        let shared = Shared::new();
        let (quitter, poster) = (Arc::clone(&shared), Arc::clone(&shared));
        let quitter = thread::spawn(move || quitter.quit());
        let poster = thread::spawn(move || poster.post(1));
        let mut done = 0;
        while !shared.quit.swap(false, Ordering::Acquire) {
            done += shared.turn().len();
        }
        quitter.join().unwrap();
        poster.join().unwrap();
        let left = shared.inbox.close().count();
        assert!(done + left == 1 && !shared.quit.load(Ordering::Relaxed));
    });
}

#[test]
fn a_wake_that_comes_late_costs_a_turn_and_nothing_else() {
    loom::model(|| {
        let shared = Shared::new();
        let poster = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.post(1);
                shared.quit();
            })
        };
        let mut turns = 0;
        while !shared.quit.swap(false, Ordering::Acquire) {
            shared.turn();
            turns += 1;
        }
        poster.join().unwrap();
        assert!(turns <= 3, "{turns} turns for two events");
    });
}

#[test]
fn a_post_that_crosses_the_end_is_given_back_to_one_side() {
    loom::model(|| {
        let shared = Shared::new();
        let poster = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let refused = |task| shared.inbox.push(task, || 0) == Pushed::Refused(task);
                (refused(1), refused(2))
            })
        };
        let left: Vec<_> = shared.inbox.close().collect();
        let refused = poster.join().unwrap();
        assert!(shared.inbox.is_closed() && shared.inbox.seems_empty());
        match refused {
            (true, true) => assert_eq!(left, []),
            (false, true) => assert_eq!(left, [1]),
            (false, false) => assert_eq!(left, [1, 2]),
            (true, false) => panic!("accepted after the end"),
        }
    });
}
