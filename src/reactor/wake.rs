//! The flag that decides whether a post has to wake the loop.
//!
//! A loop that is busy looks at its queue again before it sleeps, so only a sleeping loop needs the eventfd write, and of a
//! burst of posts only the first one does it. The protocol is Dekker's: each side writes its own word, passes a full fence
//! and reads the other's.
//!
//! ```text
//!   loop                                   poster
//!   sleeping = true                        push to the queue
//!   fence                                  fence
//!   queue empty? -> block, else don't      sleeping? -> swap to false, and whoever swapped wakes
//! ```
//!
//! Whichever fence comes second, its side sees what the other wrote: either the loop finds the task, or the poster finds
//! the loop asleep. The file stands alone so that the loom models in `tests/loom` check this very code. For their sake the
//! loop writes the flag by swaps too, where stores would do: loom doesn't know that a swap keeps its place among stores, and
//! would report executions that can't be. Beside the wait that they go with, they cost nothing.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Whether the loop is blocked in its poller, or about to be.
#[derive(Debug)]
pub(crate) struct WakeFlag {
    sleeping: AtomicBool,
}

impl WakeFlag {
    pub(crate) fn new() -> Self {
        Self { sleeping: AtomicBool::new(false) }
    }

    /// Announces that the loop is about to block. The loop must look at its queue once more after this call.
    pub(crate) fn announce_sleep(&self) {
        self.sleeping.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// Says that the loop is awake again.
    pub(crate) fn awake(&self) {
        self.sleeping.swap(false, Ordering::AcqRel);
    }

    /// Whether the caller, who has just pushed something, is the one who has to wake the loop.
    pub(crate) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel)
    }
}
