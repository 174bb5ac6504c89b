//! The loop itself: one turn after the other.

mod by_hand;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::channel::TakenUp;
use super::clock::Epoch;
use super::dispatch::{call, call_ready, contain, settle};
use super::figures::Counters;
use super::handle::Shared;
use super::inbox::Inbox;
use super::meter::Meter;
use super::source::Sources;
use super::task::Task;
use super::timer_task::TimerTask;
use super::timers::TimerId;
use super::{ChannelId, Flags, LoopConfig, LoopContext, LoopHandle};
use crate::buffer::Buffer;

/// An event loop: it waits for readiness, deadlines and posted tasks, and calls back.
///
/// A loop belongs to the thread that made it and is not `Send`; other threads reach it by its [`LoopHandle`]. It owns the
/// handlers, which are user code and its state, apart from the [`LoopContext`], so that a callback gets both at once.
///
/// When it is dropped, every connection gets its `on_close`, what was posted and could not run is dropped, and the threads of
/// the pools that were started on it are joined.
///
/// ```
/// use std::time::Duration;
///
/// let mut event_loop = campana::EventLoop::new()?;
/// event_loop.context().run_after(Duration::from_millis(1), |cx| cx.quit());
/// event_loop.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct EventLoop {
    sources: Sources,
    context: LoopContext,
    events: Events,
    /// What was posted and taken over, and has not run yet.
    tasks: VecDeque<Box<dyn Task>>,
    /// When the first of them was posted, or one that has run since, in nanoseconds of the loop's clock.
    tasks_since: u64,
    shared: Arc<Shared>,
    config: LoopConfig,
    meter: Meter,
    precise: Option<OwnedFd>,
    ready: Vec<ChannelId>,
    /// What connections without unread input read into.
    scratch: Buffer,
    /// The context was lent out between turns, so that something may wait to be flushed.
    touched: bool,
}

/// What the buffer to read into may keep from one turn to the next, in bytes.
const MOST_SCRATCH: usize = 256 * 1024;

const WAKE: Token = Token(0);
const PRECISE: Token = Token(1);
/// Room for so many tasks is kept: 16 KiB, here and in the inbox.
const KEPT_TASKS: usize = 1024;

impl EventLoop {
    /// Makes a loop with the default configuration, on and for the calling thread.
    ///
    /// # Errors
    ///
    /// What the system says to one more epoll instance and one more eventfd: `EMFILE` or `ENFILE`, as a rule.
    pub fn new() -> io::Result<Self> {
        Self::with_config(LoopConfig::default())
    }

    /// Makes a loop, on and for the calling thread.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with_config(config: LoopConfig) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let thread = std::thread::current();
        let name = config.name.clone().or_else(|| thread.name().map(str::to_owned));
        let shared = Arc::new(Shared {
            name: name.unwrap_or_else(|| "loop".to_owned()),
            thread: thread.id(),
            inbox: Inbox::new(),
            waker,
            quit: AtomicBool::new(false),
            epoch: Epoch::now(),
            counters: Counters::default(),
        });
        let context = LoopContext::new(poll, LoopHandle::new(Arc::clone(&shared)));
        let meter = Meter::new(config.slow_callback);
        Ok(Self {
            sources: Sources::default(),
            context,
            events: Events::with_capacity(config.events_per_turn.clamp(1, 1 << 20)),
            tasks: VecDeque::new(),
            tasks_since: 0,
            shared,
            config,
            meter,
            precise: None,
            ready: Vec::new(),
            scratch: Buffer::new(),
            touched: false,
        })
    }

    /// The loop's own state, to set timers and to register descriptors before it runs.
    pub fn context(&mut self) -> &mut LoopContext {
        self.touched = true;
        self.context.clock.read();
        &mut self.context
    }

    /// A handle, by which any thread can reach the loop.
    #[must_use]
    pub fn handle(&self) -> LoopHandle {
        self.context.handle().clone()
    }

    /// Turns until somebody calls `quit`. Each call to `run` takes up one request to quit, be it from before the call; the
    /// loop may be run again afterwards.
    ///
    /// # Errors
    ///
    /// If the poller fails, which it doesn't short of a defect: an interrupted wait is no failure.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.shared.take_quit() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Does one turn, and waits for something to do for at most `longest_wait` (`None`: for as long as it takes). It is for
    /// those who have a loop of their own around this one. A request to quit ends the wait and is left for `run`.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub fn turn(&mut self, longest_wait: Option<Duration>) -> io::Result<()> {
        self.settle();
        if std::mem::take(&mut self.touched) {
            self.flush();
        }
        self.poll(longest_wait)?;
        self.context.clock.read();
        self.meter.stretch_began = self.context.clock.nanos();

        self.dispatch_events();
        // Before the flush, so that what it writes is not dated back to when a slow callback began.
        self.measure();
        self.flush();
        self.serve_ready_list();
        self.run_timers();
        self.run_deferred();
        self.run_tasks();
        self.measure();
        self.flush();

        if self.scratch.capacity() > MOST_SCRATCH {
            // What a large message has made it grow to is given up.
            self.scratch = Buffer::new();
        }
        let counters = &self.shared.counters;
        counters.turns.add(1);
        counters.timers_pending.set(self.context.timers.len() as u64);
        counters.channels.set(self.context.channels.len() as u64);
        Ok(())
    }

    fn poll(&mut self, longest_wait: Option<Duration>) -> io::Result<()> {
        let has_work = self.context.has_work() || !self.tasks.is_empty();
        let mut wait = if has_work { Some(Duration::ZERO) } else { self.longest_sleep(longest_wait)? };
        if wait.is_some_and(|wait| wait.is_zero()) {
            return self.poll_for(wait);
        }
        if !self.config.busy_poll.is_zero() {
            let spun =
                longest_wait.map_or(self.config.busy_poll, |longest| longest.min(self.config.busy_poll));
            if self.spin(spun)? {
                return Ok(());
            }
            // The deadlines have come nearer meanwhile.
            wait = self.longest_sleep(longest_wait.map(|longest| longest - spun))?;
        }
        if !self.shared.inbox.fall_asleep(|| self.shared.quit.load(Ordering::Acquire)) {
            return self.poll_for(Some(Duration::ZERO));
        }
        let result = self.poll_for(wait);
        self.shared.inbox.awake();
        result
    }

    fn poll_for(&mut self, wait: Option<Duration>) -> io::Result<()> {
        match self.context.poll.poll(&mut self.events, wait) {
            // Nothing is lost by a signal: the turn goes on without events, and the next one works out its wait anew.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// Polls without blocking for so long. Answers whether something came up.
    fn spin(&mut self, time: Duration) -> io::Result<bool> {
        self.context.clock.read();
        let began = self.context.clock.nanos();
        let deadline = self.context.timers.next_deadline();
        loop {
            self.poll_for(Some(Duration::ZERO))?;
            self.context.clock.read();
            let now = self.context.clock.nanos();
            let timer_is_due = deadline.is_some_and(|deadline| deadline <= now);
            let quits = self.shared.quit.load(Ordering::Acquire);
            if !self.events.is_empty() || !self.shared.inbox.seems_empty() || timer_is_due || quits {
                return Ok(true);
            }
            if Duration::from_nanos(now - began) >= time {
                return Ok(false);
            }
        }
    }

    /// How long the poller may block. The poller rounds up to milliseconds, so the whole milliseconds before a deadline are
    /// left to it, and the rest to a timerfd.
    fn longest_sleep(&mut self, longest_wait: Option<Duration>) -> io::Result<Option<Duration>> {
        let Some(deadline) = self.context.timers.next_deadline() else { return Ok(longest_wait) };
        self.context.clock.read();
        let rest = Duration::from_nanos(deadline.saturating_sub(self.context.clock.nanos()));
        if longest_wait.is_some_and(|longest| longest <= rest) || rest.is_zero() {
            return Ok(longest_wait.map_or(Some(rest), |longest| Some(longest.min(rest))));
        }
        if rest >= Duration::from_millis(1) {
            // Past a day it makes no difference; the poller's argument is an int of milliseconds.
            let millis = rest.as_millis().min(86_400_000) as u64;
            return Ok(Some(Duration::from_millis(millis)));
        }
        if self.arm_precise_wake_up(rest).is_err() {
            // There may be no descriptor left for the timerfd, which is no reason to end: a little later does too.
            let coarse = Duration::from_millis(1);
            return Ok(Some(longest_wait.map_or(coarse, |longest| longest.min(coarse))));
        }
        Ok(longest_wait)
    }

    fn arm_precise_wake_up(&mut self, rest: Duration) -> io::Result<()> {
        let timerfd = match &self.precise {
            Some(timerfd) => timerfd,
            None => {
                let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
                let timerfd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
                let mut source = SourceFd(&timerfd.as_raw_fd());
                // Edge-triggered, so that an expiry is one event and needs no read; setting it anew clears it.
                self.context.poll.registry().register(&mut source, PRECISE, Interest::READABLE)?;
                self.precise.insert(timerfd)
            }
        };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec {
            it_interval: zero,
            it_value: Timespec { tv_sec: 0, tv_nsec: rest.subsec_nanos().into() },
        };
        timerfd_settime(timerfd, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    fn dispatch_events(&mut self) {
        let counters = &self.shared.counters;
        let mut count = 0;
        for event in &self.events {
            count += 1;
            let token = event.token();
            if token == WAKE {
                counters.wakeups.add(1);
                continue;
            }
            if token == PRECISE {
                continue;
            }
            let id = ChannelId::from_token(token);
            match self.context.channels.take_up(id, Flags::of(event)) {
                TakenUp::Due(source, ready) => {
                    call_ready(&mut self.sources, &mut self.context, &mut self.scratch, id, source, ready);
                    self.meter.count_call(counters, &mut self.context);
                }
                TakenUp::Unwanted => {}
                TakenUp::Stale => counters.stale_events.add(1),
            }
        }
        counters.events.add(count);
    }

    fn serve_ready_list(&mut self) {
        if !self.context.channels.has_ready() {
            return;
        }
        let mut ready = std::mem::take(&mut self.ready);
        self.context.channels.swap_ready(&mut ready);
        for id in ready.drain(..) {
            if let Some((source, ready)) = self.context.channels.unqueue(id) {
                call_ready(&mut self.sources, &mut self.context, &mut self.scratch, id, source, ready);
                self.meter.count_call(&self.shared.counters, &mut self.context);
            }
        }
        self.ready = ready;
    }

    fn run_timers(&mut self) {
        if self.context.timers.is_empty() {
            return;
        }
        self.context.timers.advance(self.context.clock.nanos());
        while let Some((id, deadline, task)) = self.context.timers.pop_due() {
            let counters = &self.shared.counters;
            counters.timers.add(1);
            counters.timer_lateness.record(self.context.clock.nanos().saturating_sub(deadline));
            self.fire(id, deadline, task);
            self.meter.count_call(&self.shared.counters, &mut self.context);
        }
        self.context.timers.shrink();
    }

    fn fire(&mut self, id: TimerId, deadline: u64, task: TimerTask) {
        let context = &mut self.context;
        match task {
            TimerTask::Once(task) => {
                context.timers.finish(id);
                contain(context, "timer", |context| task(context));
            }
            TimerTask::Every(mut task) => {
                if contain(context, "repeating timer", |context| task.run(context)) {
                    let period = task.period();
                    let now = context.clock.nanos();
                    let missed = now.saturating_sub(deadline) / period;
                    let next = deadline.saturating_add(period.saturating_mul(missed.saturating_add(1)));
                    // An error hands back the task of a timer that has been cancelled while it ran.
                    if let Err(ended) = context.timers.reinsert(id, next, TimerTask::Every(task)) {
                        contain(context, "destructor", |_| drop(ended));
                    }
                } else {
                    context.timers.finish(id);
                    contain(context, "destructor", |_| drop(task));
                }
            }
            TimerTask::Source { source, key } => {
                context.timers.finish(id);
                settle(&mut self.sources, context);
                call(&mut self.sources, context, source, |target, context| target.on_timer(context, key, id));
            }
        }
    }

    /// Runs what was deferred until now. What these calls defer themselves is for the next turn.
    fn run_deferred(&mut self) {
        for _ in 0..self.context.deferred.len() {
            let Some((source, key)) = self.context.deferred.pop_front() else { break };
            settle(&mut self.sources, &mut self.context);
            call(&mut self.sources, &mut self.context, source, |target, context| {
                target.on_deferred(context, key)
            });
            self.meter.count_call(&self.shared.counters, &mut self.context);
        }
    }

    /// Runs the tasks that were queued before this moment, up to the bound; one that posts itself again waits.
    fn run_tasks(&mut self) {
        for _ in 0..self.context.local_tasks.len().min(self.config.tasks_per_turn) {
            let Some(task) = self.context.local_tasks.pop_front() else { break };
            self.shared.counters.tasks.add(1);
            contain(&mut self.context, "task", |context| task(context));
            self.meter.count_call(&self.shared.counters, &mut self.context);
        }
        if self.tasks.is_empty() {
            if self.shared.inbox.seems_empty() {
                return;
            }
            self.tasks_since = self.shared.inbox.take(&mut self.tasks);
        }
        for _ in 0..self.tasks.len().min(self.config.tasks_per_turn) {
            let Some(task) = self.tasks.pop_front() else { break };
            let counters = &self.shared.counters;
            counters.tasks.add(1);
            counters.task_lateness.record(self.meter.stretch_began.saturating_sub(self.tasks_since));
            contain(&mut self.context, "task", |context| task.run(&mut self.sources, context));
            self.meter.count_call(&self.shared.counters, &mut self.context);
        }
        if self.tasks.is_empty() && self.tasks.capacity() > KEPT_TASKS {
            self.tasks = VecDeque::new();
        }
    }

    fn flush(&mut self) {
        for index in 0..self.context.flush_hooks.len() {
            let hook = self.context.flush_hooks[index];
            hook(&mut self.context);
        }
    }

    fn measure(&mut self) {
        if self.meter.calls > 0 {
            self.meter.measure(&self.shared.counters, &mut self.context);
        }
    }

    fn settle(&mut self) {
        settle(&mut self.sources, &mut self.context);
    }
}

impl AsMut<LoopContext> for EventLoop {
    fn as_mut(&mut self) -> &mut LoopContext {
        self.context()
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        let posted = self.shared.inbox.close();
        self.settle();
        self.context.clock.read();
        // What the last callbacks have started ends as well, and may have a place that was passed before.
        let mut started = true;
        while std::mem::take(&mut started) {
            let mut index = 0;
            while index < self.sources.len() {
                // A panic ends what the user's code was called for; the rest is told by the next call.
                while !call(&mut self.sources, &mut self.context, index, |source, context| {
                    source.on_loop_end(context);
                }) {}
                started |= !self.context.new_sources.is_empty();
                self.settle();
                index += 1;
            }
        }
        self.context.remove_all_sources(self.sources.len());
        self.settle();
        for task in std::mem::take(&mut self.tasks).into_iter().chain(posted) {
            contain(&mut self.context, "destructor", |_| drop(task));
        }
        while let Some(task) = self.context.local_tasks.pop_front() {
            contain(&mut self.context, "destructor", |_| drop(task));
        }
        for task in self.context.take_timers() {
            contain(&mut self.context, "destructor", |_| drop(task));
        }
        for local in self.context.drop_locals() {
            contain(&mut self.context, "destructor", |_| drop(local));
        }
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("context", &self.context)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
