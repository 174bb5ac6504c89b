//! The loop's own state: everything but the handlers.

use std::any::{Any, TypeId};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use mio::Interest;
use mio::unix::SourceFd;

use super::channel::{Channels, Flags, OWN_DESCRIPTOR, Registered};
use super::clock::Clock;
use super::rate_limit::RateLimit;
use super::source::{Source, SourceId, SourceIds};
use super::timer_task::TimerTask;
use super::timers::{TimerId, TimerQueue};
use super::{Channel, ChannelId, EventSource, HandlerHandle, LoopHandle};
use crate::Upper;

/// What a callback gets of its loop: timers, tasks, channels and, from the layer above, connections.
///
/// A context never holds user state that runs, so that a callback, which has its own state and the whole context at once, may
/// do anything to the loop: close what it likes, itself included, stop the loop, start servers. Nothing that is called here
/// runs user code before it returns.
pub struct LoopContext {
    pub(super) poll: mio::Poll,
    pub(super) channels: Channels,
    pub(super) timers: TimerQueue<TimerTask>,
    pub(super) clock: Clock,
    pub(super) local_tasks: VecDeque<LocalTask>,
    pub(super) deferred: VecDeque<(u32, u32)>,
    pub(super) flush_hooks: Vec<fn(&mut LoopContext)>,
    pub(super) new_sources: Vec<(SourceId, Box<dyn Source>)>,
    pub(super) removed_sources: Vec<u32>,
    pub(super) panic_log_limit: RateLimit,
    source_ids: SourceIds,
    locals: Vec<(TypeId, Box<dyn Any>)>,
    /// What the layer above keeps for this loop: like a local, but every message needs it several times, so that it isn't
    /// searched for.
    upper: Box<Upper>,
    handle: LoopHandle,
}

impl LoopContext {
    pub(super) fn new(poll: mio::Poll, handle: LoopHandle) -> Self {
        Self {
            poll,
            channels: Channels::default(),
            timers: TimerQueue::new(),
            clock: Clock::since(handle.epoch()),
            local_tasks: VecDeque::new(),
            deferred: VecDeque::new(),
            flush_hooks: vec![Upper::flush_all],
            new_sources: Vec::new(),
            removed_sources: Vec::new(),
            panic_log_limit: RateLimit::default(),
            source_ids: SourceIds::default(),
            locals: Vec::new(),
            upper: Box::default(),
            handle,
        }
    }

    /// The loop's handle, to be cloned and given to other threads.
    #[must_use]
    pub fn handle(&self) -> &LoopHandle {
        &self.handle
    }

    /// The loop's time: monotonic, read a few times a turn, and so as good as free.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.instant_of(self.clock.nanos())
    }

    /// Makes [`run`](super::EventLoop::run) return after this turn.
    pub fn quit(&mut self) {
        self.handle.quit();
    }

    /// Runs `task` once, `delay` from the loop's time on: never early, and timers of equal deadline in the order in which they
    /// were set. A delay of zero is the next turn.
    pub fn run_after(&mut self, delay: Duration, task: impl FnOnce(&mut LoopContext) + 'static) -> TimerId {
        self.set_timer(self.clock.after(delay), TimerTask::once(task))
    }

    /// Runs `task` once, at `time` or as soon as possible afterwards.
    pub fn run_at(&mut self, time: Instant, task: impl FnOnce(&mut LoopContext) + 'static) -> TimerId {
        self.set_timer(self.clock.nanos_of(time), TimerTask::once(task))
    }

    /// Runs `task` again and again, the first time `period` from the loop's time on.
    ///
    /// The deadlines are multiples of `period` from the start, so that they don't drift; if the loop falls behind, the task
    /// runs once for all the deadlines that it missed. A period of zero is taken for a nanosecond, which is once a turn. The
    /// timer ends when it is cancelled, which it may do itself, or when its task panics.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut event_loop = campana::EventLoop::new()?;
    /// let mut left = 3;
    /// event_loop.context().run_every(Duration::from_millis(1), move |cx| {
    ///     left -= 1;
    ///     if left == 0 {
    ///         cx.quit();
    ///     }
    /// });
    /// event_loop.run()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn run_every(&mut self, period: Duration, task: impl FnMut(&mut LoopContext) + 'static) -> TimerId {
        let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.set_timer(self.clock.after(period), TimerTask::every(nanos, task))
    }

    /// Cancels a timer. It doesn't fire any more, even if it is due in this very turn. `false` if it has fired already, or was
    /// cancelled before. A repeating timer may cancel itself while it runs.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        let running = self.timers.is_running(timer);
        self.timers.cancel(timer).is_some() || running
    }

    /// Runs `task` on this loop after the callbacks that are under way, like [`LoopHandle::post`] but for tasks that need not
    /// be `Send`. A task that is put off by a task waits for the next turn.
    pub fn run_later(&mut self, task: impl FnOnce(&mut LoopContext) + 'static) {
        self.local_tasks.push_back(Box::new(task));
    }

    /// Drives any descriptor that can be polled: a timerfd, an inotify, a pipe, a socket of your own. The loop owns both
    /// `device` and `source` from now on, and calls `source` when `device` is ready. Reading is enabled.
    ///
    /// ```
    /// use std::io::Read;
    /// use std::os::unix::net::UnixStream;
    /// use campana::reactor::Channel;
    ///
    /// let (ours, theirs) = UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// let mut event_loop = campana::EventLoop::new()?;
    /// event_loop.context().register(ours, |ours: &mut UnixStream, channel: &mut Channel<'_>| {
    ///     let mut bytes = [0; 16];
    ///     match ours.read(&mut bytes) {
    ///         Ok(0) => channel.context().quit(),
    ///         Ok(n) => println!("{n} bytes"),
    ///         Err(_) => channel.clear_readable(),
    ///     }
    /// })?;
    /// drop(theirs);
    /// event_loop.run()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What the poller says: `EPERM` for a plain file or directory, which can't be polled, `EEXIST` for a descriptor that is
    /// registered already. The device must be non-blocking; that is not checked.
    pub fn register<D, S>(&mut self, device: D, source: S) -> io::Result<ChannelId>
    where
        D: AsFd + 'static,
        S: EventSource<D>,
    {
        let descriptor = device.as_fd().as_raw_fd();
        let owner = self.source_ids.allocate();
        match self.add_channel(owner.index, 0, descriptor) {
            Ok(channel) => {
                self.new_sources.push((owner, Box::new(Registered { device, source })));
                Ok(channel)
            }
            Err(error) => {
                self.source_ids.release(owner.index);
                Err(error)
            }
        }
    }

    /// A view of a channel, if it is still there.
    pub fn channel(&mut self, id: ChannelId) -> Option<Channel<'_>> {
        self.channels.get(id)?;
        Some(Channel::new(self, id))
    }

    /// A way to reach the source of a registered channel from any thread; nothing if the channel is gone.
    pub fn source_handle<S: 'static>(&self, channel: ChannelId) -> Option<HandlerHandle<S>> {
        let index = self.channels.get(channel)?.source;
        Some(HandlerHandle::new(self.handle.clone(), self.source_ids.id_of(index)))
    }

    /// One value of type `T` a loop, made by [`Default`] when it is first asked for: muduo's context of a loop.
    pub fn local<T: Default + 'static>(&mut self) -> &mut T {
        self.local_or_insert_with(|_| T::default())
    }

    /// One value of type `T` a loop, made by `make` when it is first asked for.
    #[inline]
    pub fn local_or_insert_with<T: 'static>(&mut self, make: impl FnOnce(&mut LoopContext) -> T) -> &mut T {
        let index = match self.local_index::<T>() {
            Some(index) => index,
            None => {
                let value = make(self);
                self.locals.push((TypeId::of::<T>(), Box::new(value)));
                self.locals.len() - 1
            }
        };
        downcast(&mut self.locals[index].1)
    }

    /// The value of type `T` of this loop, if it has been asked for before.
    #[must_use]
    pub fn local_if_any<T: 'static>(&self) -> Option<&T> {
        self.locals[self.local_index::<T>()?].1.downcast_ref()
    }

    fn local_index<T: 'static>(&self) -> Option<usize> {
        self.locals.iter().position(|(id, _)| *id == TypeId::of::<T>())
    }
}

/// What the layers above build on.
impl LoopContext {
    /// A loop's own value and the rest of what an operation on it needs, borrowed apart.
    #[inline]
    pub(crate) fn split<T: 'static>(&mut self) -> Option<(&mut T, Parts<'_>)> {
        let index = self.local_index::<T>()?;
        let parts = Parts {
            channels: &mut self.channels,
            deferred: &mut self.deferred,
            timers: &mut self.timers,
            clock: &self.clock,
        };
        Some((downcast(&mut self.locals[index].1), parts))
    }

    /// What the layer above keeps for this loop.
    #[inline]
    pub(crate) fn upper(&self) -> &Upper {
        &self.upper
    }

    /// The same to be changed, and the rest of what an operation on it needs, borrowed apart.
    #[inline]
    pub(crate) fn split_upper(&mut self) -> (&mut Upper, Parts<'_>) {
        let parts = Parts {
            channels: &mut self.channels,
            deferred: &mut self.deferred,
            timers: &mut self.timers,
            clock: &self.clock,
        };
        (&mut self.upper, parts)
    }

    #[inline]
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Adds a source made by `make`, which is told its own id. The dispatcher knows it from its next call on.
    pub(crate) fn add_source<S: Source>(&mut self, make: impl FnOnce(&mut Self, SourceId) -> S) -> SourceId {
        let id = self.source_ids.allocate();
        let source = make(self, id);
        self.new_sources.push((id, Box::new(source)));
        id
    }

    /// Takes a source out, with its channels. It is dropped when the call under way has returned. Its timers are its own to
    /// cancel.
    pub(crate) fn remove_source(&mut self, index: u32) {
        for channel in self.channels.ids_of(index) {
            self.remove_channel(channel);
        }
        self.retire_source(index);
    }

    /// As [`remove_source`](Self::remove_source), for a source whose channels are out already: looking for them takes as long
    /// as the loop has channels.
    pub(crate) fn retire_source(&mut self, index: u32) {
        if !self.removed_sources.contains(&index) {
            self.removed_sources.push(index);
        }
    }

    pub(super) fn release_source_id(&mut self, index: u32) {
        self.source_ids.release(index);
    }

    /// Registers a descriptor, once and for everything, for a source that calls it `key`.
    pub(crate) fn add_channel(&mut self, source: u32, key: u32, descriptor: RawFd) -> io::Result<ChannelId> {
        let id = self.channels.insert(source, key, descriptor);
        let everything = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&descriptor), id.token(), everything)
        {
            self.channels.remove(id);
            return Err(error);
        }
        Ok(id)
    }

    /// Adds a channel that no poller knows: its source, or who drives it, sets its readiness.
    pub(crate) fn add_own_channel(&mut self, source: u32, key: u32) -> ChannelId {
        self.channels.insert(source, key, OWN_DESCRIPTOR)
    }

    /// Takes a channel out. The caller closes the descriptor afterwards: a duplicate of it may live on elsewhere, and would
    /// go on to report events if the poller had not forgotten it first.
    pub(crate) fn remove_channel(&mut self, id: ChannelId) {
        let Some(slot) = self.channels.remove(id) else { return };
        if slot.descriptor == OWN_DESCRIPTOR {
            return;
        }
        if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&slot.descriptor)) {
            log::debug!("descriptor {} was not registered any more: {error}", slot.descriptor);
        }
    }

    pub(super) fn close_channel(&mut self, id: ChannelId) {
        if let Some(source) = self.channels.get(id).map(|slot| slot.source) {
            // The sources whose channels users know have one each.
            self.remove_channel(id);
            self.retire_source(source);
        }
    }

    /// Takes out the first `count` sources and all channels, when the loop ends.
    pub(super) fn remove_all_sources(&mut self, count: u32) {
        for channel in self.channels.ids() {
            self.remove_channel(channel);
        }
        self.removed_sources = (0..count).collect();
    }

    /// What the owner of a channel calls it.
    #[inline]
    pub(crate) fn channel_key(&self, id: ChannelId) -> Option<u32> {
        self.channels.get(id).map(|slot| slot.key)
    }

    #[inline]
    pub(crate) fn channel_has(&self, id: ChannelId, flags: Flags) -> bool {
        self.channels.get(id).is_some_and(|slot| slot.flags.has(flags))
    }

    pub(crate) fn channel_set(&mut self, id: ChannelId, flags: Flags, on: bool) {
        self.channels.set(id, flags, on);
    }

    /// Calls a source's `on_timer` with `key` at `deadline`, in nanoseconds of the loop's clock.
    pub(crate) fn set_source_timer(&mut self, source: u32, key: u32, deadline: u64) -> TimerId {
        self.set_timer(deadline, TimerTask::Source { source, key })
    }

    /// Calls a source's `on_deferred` with `key` after this turn's events and timers.
    pub(crate) fn defer_to_source(&mut self, source: u32, key: u32) {
        self.deferred.push_back((source, key));
    }

    /// Calls `hook` after each batch of callbacks.
    pub(crate) fn add_flush_hook(&mut self, hook: fn(&mut LoopContext)) {
        self.flush_hooks.push(hook);
    }

    pub(crate) fn own_source_handle<H: 'static>(&self, source: SourceId) -> HandlerHandle<H> {
        HandlerHandle::new(self.handle.clone(), source)
    }

    pub(crate) fn source_id(&self, index: u32) -> SourceId {
        self.source_ids.id_of(index)
    }

    fn set_timer(&mut self, deadline: u64, task: TimerTask) -> TimerId {
        self.timers.insert(deadline, task)
    }

    /// Whether something waits that no poller will report.
    pub(super) fn has_work(&self) -> bool {
        self.channels.has_ready()
            || !self.deferred.is_empty()
            || !self.local_tasks.is_empty()
            || self.has_other_sources()
    }

    /// Whether sources were added or removed that the dispatcher doesn't know of yet.
    #[inline]
    pub(super) fn has_other_sources(&self) -> bool {
        !self.new_sources.is_empty() || !self.removed_sources.is_empty()
    }

    /// Takes out what is left of the timers.
    pub(super) fn take_timers(&mut self) -> impl Iterator<Item = TimerTask> + use<> {
        std::mem::replace(&mut self.timers, TimerQueue::new()).into_payloads()
    }

    pub(super) fn drop_locals(&mut self) -> impl Iterator<Item = Box<dyn Any>> + use<> {
        let upper = std::mem::take(&mut self.upper);
        let locals = std::mem::take(&mut self.locals);
        std::iter::once(upper as Box<dyn Any>).chain(locals.into_iter().map(|(_, local)| local))
    }
}

impl AsMut<Self> for LoopContext {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl fmt::Debug for LoopContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopContext")
            .field("name", &self.handle.name())
            .field("channels", &self.channels.len())
            .field("timers", &self.timers.len())
            .finish_non_exhaustive()
    }
}

/// The parts of a context that an operation on a loop's own value may need beside it.
pub(crate) struct Parts<'a> {
    pub(crate) channels: &'a mut Channels,
    pub(crate) deferred: &'a mut VecDeque<(u32, u32)>,
    timers: &'a mut TimerQueue<TimerTask>,
    pub(crate) clock: &'a Clock,
}

impl Parts<'_> {
    /// As [`LoopContext::set_source_timer`].
    pub(crate) fn set_timer(&mut self, source: u32, key: u32, deadline: u64) -> TimerId {
        self.timers.insert(deadline, TimerTask::Source { source, key })
    }

    pub(crate) fn cancel_timer(&mut self, timer: TimerId) {
        self.timers.cancel(timer);
    }
}

pub(super) type LocalTask = Box<dyn FnOnce(&mut LoopContext)>;

#[inline]
fn downcast<T: 'static>(value: &mut Box<dyn Any>) -> &mut T {
    match value.downcast_mut() {
        Some(value) => value,
        None => unreachable!("a local is kept under its own type"),
    }
}
