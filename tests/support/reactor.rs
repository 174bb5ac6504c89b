//! What the tests of the reactor have in common.

#![allow(dead_code)] // Each test program uses what it needs of it.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use campana::{EventLoop, LoopHandle};

#[path = "patience.rs"]
mod patience;

pub(crate) use patience::{PATIENCE, wait_until};

/// Turns the loop until `condition` holds.
///
/// # Panics
///
/// If it doesn't in time.
#[track_caller]
pub(crate) fn turn_until(
    event_loop: &mut EventLoop,
    what: &str,
    mut condition: impl FnMut(&mut EventLoop) -> bool,
) {
    let end = Instant::now() + PATIENCE;
    while !condition(event_loop) {
        assert!(Instant::now() < end, "waited in vain for {what}");
        event_loop.turn(Some(Duration::from_millis(10))).unwrap();
    }
}

/// Runs the loop until it is told to quit.
///
/// # Panics
///
/// If it isn't in time.
#[track_caller]
pub(crate) fn run(event_loop: &mut EventLoop) {
    let late = Rc::new(Cell::new(false));
    let is_late = Rc::clone(&late);
    let guard = event_loop.context().run_after(PATIENCE, move |cx| {
        is_late.set(true);
        cx.quit();
    });
    event_loop.run().unwrap();
    assert!(!late.get(), "nobody told the loop to quit");
    event_loop.context().cancel(guard);
}

/// Runs `task` on another thread's loop and brings its result.
#[track_caller]
pub(crate) fn ask<T: Send + 'static>(
    event_loop: &LoopHandle,
    task: impl FnOnce(&mut campana::LoopContext) -> T + Send + 'static,
) -> T {
    let (answer, answers) = mpsc::channel();
    event_loop.post(move |cx| drop(answer.send(task(cx)))).unwrap();
    answers.recv_timeout(PATIENCE).expect("the loop answers")
}

/// The kernel's number for a loop's thread.
pub(crate) fn thread_of(event_loop: &LoopHandle) -> i32 {
    ask(event_loop, |_| rustix::thread::gettid().as_raw_nonzero().get())
}

/// Waits until a thread of this process sleeps in the kernel, which a loop does only in its poller.
#[track_caller]
pub(crate) fn wait_asleep(thread: i32) {
    wait_until("the thread to sleep", || {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
        // The name before it is in parentheses and may hold anything.
        stat.rsplit(')').next().unwrap().trim_start().starts_with('S')
    });
}

/// Keeps the thread busy for so long.
pub(crate) fn spin(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// Counts its drops, and panics at them if it is told to.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
