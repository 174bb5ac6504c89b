//! What was posted to a loop, and whether whoever posts has to wake it.
//!
//! The loop takes out all that has come in at once, so that a flood of posts meets it at the lock once a batch and not once a
//! task. Whether the loop sleeps is decided under the same lock: it says that it does only if it has found nothing, and the
//! first to post after that finds it said, takes it back, and wakes. So no wake-up is lost, and of a burst of posts only the
//! first one writes to the eventfd.
//!
//! The lock is held for as long as it takes to push or to exchange a vector; nothing is dropped or called back under it. The
//! file stands alone so that the loom models in `tests/loom` check this very code.

use std::collections::VecDeque;
use std::sync::PoisonError;

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

/// A queue that all threads add to and one loop takes from.
///
/// With tasks of two words it takes a cache line, which is what a post to an idle loop costs at each end: the first task of a
/// batch lies in it too. Aligned to two lines because processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Inbox<T> {
    queue: Mutex<Queue<T>>,
    /// Set by the loop, under the lock, and taken back by whoever wakes it, under the lock, or by the loop itself.
    sleeping: AtomicBool,
    /// Whether something is there. Written under the lock, and a hint to who reads it without.
    occupied: AtomicBool,
    /// Set under the lock.
    closed: AtomicBool,
}

/// Either one task or many.
#[derive(Debug)]
struct Queue<T> {
    one: Option<T>,
    many: Vec<T>,
    /// When the first of them was posted, in nanoseconds.
    since: u64,
}

/// What became of a push.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed<T> {
    /// The loop will find it.
    Queued,
    /// The loop will find it when the caller has woken it.
    MustWake,
    /// The loop has ended.
    Refused(T),
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::new(Queue { one: None, many: Vec::new(), since: 0 }),
            sleeping: AtomicBool::new(false),
            occupied: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether there seems to be nothing. That may have changed already.
    pub(crate) fn seems_empty(&self) -> bool {
        !self.occupied.load(Ordering::Relaxed)
    }

    /// Adds a task. For the first one of a batch the clock is read, in nanoseconds: for each it would cost as much as all the
    /// rest.
    pub(crate) fn push(&self, task: T, clock: impl Fn() -> u64) -> Pushed<T> {
        // Not under the lock, unless the batch is taken out just then.
        let since = self.seems_empty().then(&clock);
        let mut queue = self.lock();
        if self.closed.load(Ordering::Relaxed) {
            return Pushed::Refused(task);
        }
        if !self.occupied.load(Ordering::Relaxed) {
            self.occupied.store(true, Ordering::Relaxed);
            queue.since = since.unwrap_or_else(clock);
            queue.one = Some(task);
        } else {
            if let Some(first) = queue.one.take() {
                queue.many.push(first);
            }
            queue.many.push(task);
        }
        if self.take_back_sleep(&queue) { Pushed::MustWake } else { Pushed::Queued }
    }

    /// Whether the caller, who has just set something that the loop looks at before it sleeps, has to wake it.
    pub(crate) fn must_wake(&self) -> bool {
        self.take_back_sleep(&self.lock())
    }

    /// Says that the loop is about to block, unless something is there or `has_reason` to stay awake. Answers whether it may.
    pub(crate) fn fall_asleep(&self, has_reason: impl FnOnce() -> bool) -> bool {
        let _queue = self.lock();
        let sleeps = !self.occupied.load(Ordering::Relaxed) && !has_reason();
        if sleeps {
            self.sleeping.store(true, Ordering::Relaxed);
        }
        sleeps
    }

    /// Says that the loop is awake again. It needs no lock: a poster that doesn't see it yet wakes once too often.
    pub(crate) fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Takes out all that is there into `batch`, which is empty; its memory is used for what is posted next. Answers when the
    /// first task was posted.
    pub(crate) fn take(&self, batch: &mut VecDeque<T>) -> u64 {
        let empty = Vec::from(std::mem::take(batch));
        let mut queue = self.lock();
        let one = queue.one.take();
        let many = if one.is_some() { empty } else { std::mem::replace(&mut queue.many, empty) };
        self.occupied.store(false, Ordering::Relaxed);
        let since = queue.since;
        drop(queue);
        *batch = VecDeque::from(many);
        batch.extend(one);
        since
    }

    /// Refuses everything from now on. What is still there is given back.
    pub(crate) fn close(&self) -> impl Iterator<Item = T> + use<T> {
        let mut queue = self.lock();
        self.closed.store(true, Ordering::Release);
        self.occupied.store(false, Ordering::Relaxed);
        queue.one.take().into_iter().chain(std::mem::take(&mut queue.many))
    }

    fn take_back_sleep(&self, _: &MutexGuard<'_, Queue<T>>) -> bool {
        let slept = self.sleeping.load(Ordering::Relaxed);
        if slept {
            self.sleeping.store(false, Ordering::Relaxed);
        }
        slept
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Nothing that can panic leaves the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
