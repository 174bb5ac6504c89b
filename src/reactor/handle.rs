//! Reaching a loop, and the handlers on it, from any thread.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::clock::Epoch;
use super::figures::Counters;
use super::inbox::{Inbox, Pushed};
use super::source::{Source, SourceId};
use super::task::{ContextTask, SourceTask, Task};
use super::{LoopContext, LoopFigures};

/// A way to reach a loop from any thread; cheap to clone, and it keeps nothing of the loop alive.
///
/// ```
/// use campana::EventLoop;
///
/// let mut event_loop = EventLoop::new()?;
/// let handle = event_loop.handle();
/// std::thread::spawn(move || handle.post(|cx| cx.quit()));
/// event_loop.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct LoopHandle {
    shared: Arc<Shared>,
}

impl LoopHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The loop's name: that of its thread, for a loop of a [`LoopPool`](super::LoopPool).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Runs `task` on the loop's thread, in one of its next turns. Tasks posted by one thread run in the order in which it
    /// posted them. May be called from any thread, the loop's own included, where it doesn't run before the call returns.
    ///
    /// A task that panics ends alone: the panic is caught, counted and logged.
    ///
    /// # Errors
    ///
    /// [`LoopGone`] if the loop has ended; the task is dropped then. A task that was queued while the loop ends is dropped
    /// without being run.
    pub fn post(&self, task: impl FnOnce(&mut LoopContext) + Send + 'static) -> Result<(), LoopGone> {
        self.submit(Box::new(ContextTask(task)))
    }

    /// Makes [`run`](super::EventLoop::run) return after the turn under way. May be called from any thread, before `run` too:
    /// `run` then returns at once. What was posted before may not have run by then, and stays queued: to end after it, post the
    /// request to quit too.
    pub fn quit(&self) {
        self.shared.quit.store(true, Ordering::Release);
        if self.shared.inbox.must_wake() {
            self.wake();
        }
    }

    /// What the loop has done so far.
    #[must_use]
    pub fn figures(&self) -> LoopFigures {
        self.shared.counters.snapshot()
    }

    /// Whether the loop has not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.shared.inbox.is_closed()
    }

    /// Whether both reach the same loop.
    #[must_use]
    pub fn is_same_loop(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether the caller is on the loop's own thread.
    #[must_use]
    pub fn is_in_loop_thread(&self) -> bool {
        self.shared.thread == std::thread::current().id()
    }

    /// Runs `task` with a source, if the source is still there by then.
    pub(crate) fn post_to_source(
        &self,
        source: SourceId,
        task: impl FnOnce(&mut dyn Source, &mut LoopContext) + Send + 'static,
    ) -> Result<(), LoopGone> {
        self.submit(Box::new(SourceTask { source, task }))
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    fn submit(&self, task: Box<dyn Task>) -> Result<(), LoopGone> {
        match self.shared.inbox.push(task, || self.shared.epoch.elapsed()) {
            Pushed::Queued => Ok(()),
            Pushed::MustWake => {
                self.wake();
                Ok(())
            }
            Pushed::Refused(_) => Err(LoopGone),
        }
    }

    fn wake(&self) {
        if let Err(error) = self.shared.waker.wake() {
            log::error!("loop {}: could not be woken: {error}", self.shared.name);
        }
    }
}

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopHandle").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

/// A way to reach one loop's handler of type `H`, and with it all state that it keeps, from any thread.
pub struct HandlerHandle<H> {
    loop_handle: LoopHandle,
    source: SourceId,
    handler: PhantomData<fn(&mut H)>,
}

impl<H: 'static> HandlerHandle<H> {
    pub(crate) fn new(loop_handle: LoopHandle, source: SourceId) -> Self {
        Self { loop_handle, source, handler: PhantomData }
    }

    /// Runs `task` with the handler on its loop's thread; in no other way can another thread touch a handler. If the handler is
    /// gone by then, because its server or client has stopped, the task is dropped without being run.
    ///
    /// # Errors
    ///
    /// [`LoopGone`] if the loop has ended; the task is dropped then.
    pub fn run(&self, task: impl FnOnce(&mut H, &mut LoopContext) + Send + 'static) -> Result<(), LoopGone> {
        self.loop_handle.post_to_source(self.source, |source, context| {
            if let Some(handler) = source.handler().downcast_mut::<H>() {
                task(handler, context);
            }
        })
    }

    /// The loop that the handler lives on.
    #[must_use]
    pub fn loop_handle(&self) -> &LoopHandle {
        &self.loop_handle
    }

    pub(crate) fn source(&self) -> SourceId {
        self.source
    }
}

impl<H> Clone for HandlerHandle<H> {
    fn clone(&self) -> Self {
        Self { loop_handle: self.loop_handle.clone(), source: self.source, handler: PhantomData }
    }
}

impl<H> fmt::Debug for HandlerHandle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerHandle")
            .field("loop", &self.loop_handle)
            .field("source", &self.source)
            .finish()
    }
}

/// The loop that was to be reached has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoopGone;

impl fmt::Display for LoopGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event loop has ended: nothing can run on it any more")
    }
}

impl std::error::Error for LoopGone {}

/// What a loop and its handles share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) thread: std::thread::ThreadId,
    pub(super) inbox: Inbox<Box<dyn Task>>,
    pub(super) waker: mio::Waker,
    pub(super) quit: AtomicBool,
    /// Where the loop's nanoseconds begin.
    pub(super) epoch: Epoch,
    pub(super) counters: Counters,
}

impl Shared {
    /// Takes up a request to quit. Writes only if there is one: posters read what lies beside the flag.
    pub(super) fn take_quit(&self) -> bool {
        self.quit.load(Ordering::Relaxed) && self.quit.swap(false, Ordering::Acquire)
    }
}
