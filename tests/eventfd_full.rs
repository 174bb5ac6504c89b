//! An eventfd whose counter takes no more: the wake-up of a loop still gets through.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError, mpsc};

use campana::reactor::LoopPool;
use campana::{EventLoop, LoopHandle};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

#[path = "support/reactor.rs"]
mod support;

use support::{PATIENCE, ask, thread_of, wait_asleep, wait_until};

const ROUNDS: usize = 200;

/// Duplicates of all eventfds of this process.
fn eventfds() -> Vec<OwnedFd> {
    let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let numbers: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter(|entry| {
            std::fs::read_link(entry.path())
                .is_ok_and(|kind| kind.to_string_lossy() == "anon_inode:[eventfd]")
        })
        .map(|entry| entry.file_name().into_string().unwrap().parse().unwrap())
        .collect();
    let duplicate = |number| pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).unwrap();
    numbers.into_iter().map(duplicate).collect()
}

/// Brings the counter to its largest value, to which not even one can be added.
fn fill(eventfd: &OwnedFd) {
    for bit in (0..u64::BITS).rev() {
        // What is too much already is refused.
        let _ = rustix::io::write(eventfd, &(1_u64 << bit).to_ne_bytes());
    }
    assert_eq!(rustix::io::write(eventfd, &1_u64.to_ne_bytes()), Err(rustix::io::Errno::AGAIN));
}

/// A loop that sleeps, on a thread of its own.
struct Sleeper {
    handle: LoopHandle,
    thread: i32,
    /// Which of them wakes the loop can't be told from outside, and the base loop, which nobody runs, doesn't mind.
    eventfds: Vec<OwnedFd>,
    pool: Option<LoopPool>,
    _base: EventLoop,
    _alone: MutexGuard<'static, ()>,
}

impl Sleeper {
    fn new() -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let base = EventLoop::new().unwrap();
        let pool = LoopPool::new(&base.handle(), 1).unwrap();
        let handle = pool.next().clone();
        let thread = thread_of(&handle);
        let eventfds = eventfds();
        assert_eq!(eventfds.len(), 2);
        Self { handle, thread, eventfds, pool: Some(pool), _base: base, _alone: alone }
    }

    fn fill_and_let_sleep(&self) {
        self.eventfds.iter().for_each(fill);
        wait_asleep(self.thread);
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // A loop that can't be woken can't be waited for either.
        if std::thread::panicking() {
            std::mem::forget(self.pool.take());
        }
    }
}

#[test]
fn a_post_to_a_sleeping_loop_gets_through_a_full_eventfd() {
    let sleeper = Sleeper::new();
    for round in 0..ROUNDS {
        sleeper.fill_and_let_sleep();
        assert_eq!(ask(&sleeper.handle, move |_| round), round);
    }
}

#[test]
fn posts_of_several_threads_at_once_get_through_a_full_eventfd() {
    const POSTERS: usize = 4;
    let sleeper = Sleeper::new();
    let together = Arc::new(Barrier::new(POSTERS + 1));
    let (done, dones) = mpsc::channel();
    for _ in 0..POSTERS {
        let (handle, together, done) = (sleeper.handle.clone(), Arc::clone(&together), done.clone());
        std::thread::spawn(move || {
            for round in 0..ROUNDS {
                let done = done.clone();
                together.wait();
                handle.post(move |_| done.send(round).unwrap()).unwrap();
            }
        });
    }
    for round in 0..ROUNDS {
        sleeper.fill_and_let_sleep();
        together.wait();
        for _ in 0..POSTERS {
            assert_eq!(dones.recv_timeout(PATIENCE), Ok(round));
        }
    }
}

#[test]
fn a_request_to_quit_gets_through_a_full_eventfd() {
    for _ in 0..50 {
        let sleeper = Sleeper::new();
        sleeper.fill_and_let_sleep();
        sleeper.handle.quit();
        wait_until("the loop to end", || !sleeper.handle.is_alive());
    }
}
