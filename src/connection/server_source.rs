//! A running server's parts on its loops.

use std::any::Any;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::acceptor::{Acceptor, LISTENER};
use super::admission::{Admission, Gate};
use super::group::Group;
use super::transport::Wire;
use super::{ConnectionConfig, Handler, ServerHandle, Spread};
use crate::buffer::Buffer;
use crate::reactor::{
    ChannelId, HandlerHandle, LoopContext, LoopHandle, LoopPool, Ready, Source, SourceId, TimerId,
};
use crate::socket::{Address, Listener, Socket};

/// The key of the timer that ends a stop by force.
const STOP: u32 = u32::MAX;

/// What all parts of a running server share.
pub(crate) struct ServerShared {
    pub(super) base: LoopHandle,
    pub(super) addresses: Vec<Address>,
    pub(super) gate: Gate,
    /// The source on the base loop.
    base_source: OnceLock<SourceId>,
    /// The loops that serve connections, and the server's source on each.
    pub(super) workers: OnceLock<Vec<(LoopHandle, SourceId)>>,
    stop: Mutex<Stop>,
    stopped: Condvar,
}

pub(super) type AfterStop = Box<dyn FnOnce(&mut LoopContext) + Send>;

/// How a server is to stop.
#[derive(Clone, Copy)]
pub(super) struct StopRequest {
    pub(super) deadline: Duration,
    /// Another process goes on with the listening sockets, so that those who wait are left to it.
    pub(super) to_successor: bool,
}

#[derive(Default)]
struct Stop {
    requested: Option<StopRequest>,
    done: bool,
    /// Nobody is accepted for now.
    paused: bool,
    /// Loops that have not finished yet.
    loops: usize,
    then: Vec<AfterStop>,
}

impl ServerShared {
    pub(super) fn new(base: LoopHandle, addresses: Vec<Address>, gate: Gate) -> Self {
        Self {
            base,
            addresses,
            gate,
            base_source: OnceLock::new(),
            workers: OnceLock::new(),
            stop: Mutex::new(Stop::default()),
            stopped: Condvar::new(),
        }
    }

    pub(super) fn workers_started<H: 'static>(&self, workers: &[HandlerHandle<H>]) {
        self.lock().loops = workers.len();
        let workers = workers.iter().map(|worker| (worker.loop_handle().clone(), worker.source())).collect();
        let _ = self.workers.set(workers);
    }

    /// The server is up. Answers the stop that was asked for before it was, if any.
    pub(super) fn base_started(&self, source: SourceId) -> Option<StopRequest> {
        let stop = self.lock();
        let _ = self.base_source.set(source);
        stop.requested
    }

    /// Notes a stop. Answers the source that is to be told, if the server is up and not down again.
    pub(super) fn request_stop(&self, request: StopRequest, then: Option<AfterStop>) -> Option<SourceId> {
        let mut stop = self.lock();
        stop.requested = Some(stop.requested.map_or(request, |earlier| StopRequest {
            deadline: earlier.deadline.min(request.deadline),
            to_successor: earlier.to_successor || request.to_successor,
        }));
        if stop.done {
            drop(stop);
            if let Some(then) = then {
                let _ = self.base.post(then);
            }
            return None;
        }
        stop.then.extend(then);
        self.base_source.get().copied()
    }

    pub(super) fn base_source(&self) -> Option<SourceId> {
        self.base_source.get().copied()
    }

    /// All of the server's sources and their loops, the base loop's first.
    pub(super) fn sources(&self) -> Vec<(LoopHandle, SourceId)> {
        let base = self.base_source().map(|source| (self.base.clone(), source));
        let workers = self.workers.get().into_iter().flatten();
        // Without threads the base loop is a worker itself.
        let others = workers.filter(|(event_loop, _)| !event_loop.is_same_loop(&self.base)).cloned();
        base.into_iter().chain(others).collect()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().done
    }

    pub(super) fn is_accepting(&self) -> bool {
        let stop = self.lock();
        self.base_source.get().is_some() && stop.requested.is_none() && !stop.done && !stop.paused
    }

    /// Notes that nobody is accepted, or somebody is again, and has `tell` tell the loops so: in the same order as it is noted, if
    /// several threads ask for it.
    pub(super) fn set_paused(&self, paused: bool, tell: impl FnOnce()) {
        let mut stop = self.lock();
        stop.paused = paused;
        tell();
    }

    pub(super) fn wait_stopped(&self, timeout: Duration) -> bool {
        let waited = self.stopped.wait_timeout_while(self.lock(), timeout, |stop| !stop.done);
        waited.unwrap_or_else(PoisonError::into_inner).0.done
    }

    /// One more loop has nothing left to do. Answers whether it was the last one.
    fn loop_stopped(&self) -> bool {
        let mut stop = self.lock();
        stop.loops = stop.loops.saturating_sub(1);
        stop.loops == 0
    }

    /// Nothing of the server is left but its handles.
    fn complete(&self, context: &mut LoopContext) {
        let then = {
            let mut stop = self.lock();
            stop.done = true;
            std::mem::take(&mut stop.then)
        };
        self.stopped.notify_all();
        for then in then {
            context.run_later(then);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stop> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server on one of the loops that serve its connections: the handler, its connections, and this loop's listeners.
pub(super) struct LoopSource<H: Handler> {
    own: SourceId,
    group: Group<H>,
    acceptors: Vec<Acceptor>,
    shared: Arc<ServerShared>,
    stop_timer: Option<TimerId>,
    /// When what is left is closed by force, in nanoseconds of the loop's clock.
    stop_at: u64,
    stopping: bool,
    /// Nobody is accepted any more, and the connections know that the end is near.
    announced: bool,
    /// Has reported that nothing of the server is left on this loop.
    finished: bool,
}

/// Adds a server's source to a loop, and starts to accept on its listeners; if `paused`, not before it is told to.
pub(super) fn add_loop_source<H: Handler>(
    context: &mut LoopContext,
    handle: &ServerHandle<H>,
    config: ConnectionConfig,
    listeners: Vec<Listener>,
    paused: bool,
    make: &impl Fn(&mut LoopContext, &ServerHandle<H>) -> H,
) -> io::Result<SourceId> {
    let handler = make(context, handle);
    let shared = handle.shared();
    try_add_source(context, |context, own, failure| {
        let mut acceptors = start_accepting(context, own, listeners, failure);
        for acceptor in &mut acceptors {
            acceptor.set_paused(context, paused);
        }
        LoopSource {
            own,
            group: Group::new(own.index, handler, config, Some(shared.gate.observer())),
            acceptors,
            shared: Arc::clone(shared),
            stop_timer: None,
            stop_at: u64::MAX,
            stopping: false,
            announced: false,
            finished: false,
        }
    })
}

impl<H: Handler> LoopSource<H> {
    pub(super) fn begin_stop(&mut self, context: &mut LoopContext, request: StopRequest) {
        let deadline = context.clock().after(request.deadline);
        if deadline < self.stop_at {
            self.stop_at = deadline;
            if let Some(timer) = self.stop_timer.take() {
                context.cancel(timer);
            }
            self.stop_timer = Some(context.set_source_timer(self.own.index, STOP, deadline));
        }
        if !self.stopping {
            self.stopping = true;
            if request.to_successor {
                for acceptor in std::mem::take(&mut self.acceptors) {
                    acceptor.leave(context);
                }
            }
            self.stop_accepting(context);
        }
        self.finish_if_empty(context);
    }

    /// Takes in those who wait, one listener after the other, and tells all connections that the end is near.
    fn stop_accepting(&mut self, context: &mut LoopContext) {
        if self.announced {
            return;
        }
        while let Some(acceptor) = self.acceptors.last_mut() {
            let group = &mut self.group;
            acceptor.drain(context, &self.shared.gate, |context, socket, admission| {
                accepted_here(group, context, socket, admission);
            });
            if let Some(drained) = self.acceptors.pop() {
                drained.close(context);
            }
        }
        self.announced = true;
        self.group.announce_stop(context);
        if self.stop_at <= context.clock().nanos() {
            // The deadline has passed while this was held up.
            self.group.end_all(context);
        }
    }

    pub(super) fn set_paused(&mut self, context: &mut LoopContext, paused: bool) {
        for acceptor in &mut self.acceptors {
            acceptor.set_paused(context, paused);
        }
    }

    pub(super) fn duplicate_listeners(&self) -> io::Result<Vec<Listener>> {
        self.acceptors.iter().map(Acceptor::duplicate).collect()
    }

    pub(super) fn group(&mut self) -> &mut Group<H> {
        &mut self.group
    }

    fn finish_if_empty(&mut self, context: &mut LoopContext) {
        if !self.announced || !self.group.is_empty() {
            return;
        }
        if let Some(timer) = self.stop_timer.take() {
            context.cancel(timer);
        }
        context.remove_source(self.own.index);
        self.finish(context);
    }

    /// Reports, once, that nothing of the server is left on this loop; the last one completes the server's stop.
    fn finish(&mut self, context: &mut LoopContext) {
        if std::mem::replace(&mut self.finished, true) || !self.shared.loop_stopped() {
            return;
        }
        let Some(base) = self.shared.base_source() else { return };
        if base == self.own && self.shared.base.is_same_loop(context.handle()) {
            return self.shared.complete(context);
        }
        let _ = self.shared.base.post_to_source(base, |source, context| {
            if let Some(base) = downcast::<BaseSource<H>>(source) {
                base.workers_stopped(context);
            }
        });
    }
}

impl<H: Handler> Source for LoopSource<H> {
    #[inline]
    fn on_ready(
        &mut self,
        context: &mut LoopContext,
        scratch: &mut Buffer,
        _channel: ChannelId,
        ready: Ready,
    ) -> bool {
        let key = ready.key;
        if key & LISTENER == 0 {
            return self.group.on_ready(context, scratch, ready);
        }
        if let Some(acceptor) = self.acceptors.get_mut((key & !LISTENER) as usize) {
            let group = &mut self.group;
            acceptor.accept(context, &self.shared.gate, |context, socket, admission| {
                accepted_here(group, context, socket, admission);
            });
        }
        true
    }

    fn on_timer(&mut self, context: &mut LoopContext, key: u32, timer: TimerId) {
        if key == STOP {
            self.stop_timer = None;
            self.group.end_all(context);
        } else if key & LISTENER == 0 {
            self.group.on_timer(context, key, timer);
        } else if let Some(acceptor) = self.acceptors.get_mut((key & !LISTENER) as usize) {
            acceptor.retry(context);
        }
    }

    fn on_deferred(&mut self, context: &mut LoopContext, key: u32) {
        if key == LISTENER {
            // The source that had this index before may have put something off under the same key.
            if self.stopping {
                self.stop_accepting(context);
            }
        } else {
            self.group.on_deferred(context, key);
        }
        self.finish_if_empty(context);
    }

    fn on_panic(&mut self, context: &mut LoopContext, _own: u32) {
        self.group.on_panic(context);
        if self.stopping && !self.announced {
            context.defer_to_source(self.own.index, LISTENER);
        }
        self.finish_if_empty(context);
    }

    fn on_loop_end(&mut self, context: &mut LoopContext) {
        self.group.on_loop_end(context);
        // A loop of a pool may have been told to quit by one of its callbacks, with the server going on elsewhere.
        self.finish(context);
    }

    fn handler(&mut self) -> &mut dyn Any {
        &mut self.group.handler
    }
}

/// A server with threads on its base loop: what is accepted there is handed over.
pub(super) struct BaseSource<H: Handler> {
    own: SourceId,
    /// Dropped with the server, which joins its threads.
    pool: Option<LoopPool>,
    workers: Vec<HandlerHandle<H>>,
    spread: Spread,
    acceptors: Vec<Acceptor>,
    shared: Arc<ServerShared>,
}

pub(super) fn add_base_source<H: Handler>(
    context: &mut LoopContext,
    handle: &ServerHandle<H>,
    pool: LoopPool,
    workers: Vec<HandlerHandle<H>>,
    spread: Spread,
    listeners: Vec<Listener>,
) -> io::Result<SourceId> {
    try_add_source(context, |context, own, failure| BaseSource {
        own,
        pool: Some(pool),
        workers,
        spread,
        acceptors: start_accepting(context, own, listeners, failure),
        shared: Arc::clone(handle.shared()),
    })
}

impl<H: Handler> BaseSource<H> {
    pub(super) fn begin_stop(&mut self, context: &mut LoopContext, request: StopRequest) {
        for mut acceptor in std::mem::take(&mut self.acceptors) {
            if request.to_successor {
                acceptor.leave(context);
            } else {
                acceptor.drain(context, &self.shared.gate, self.hand_over());
                acceptor.close(context);
            }
        }
        // Behind what has just been handed over to them. A loop that has ended has reported so.
        for worker in &self.workers {
            let _ = worker.loop_handle().post_to_source(worker.source(), move |source, context| {
                if let Some(source) = downcast::<LoopSource<H>>(source) {
                    source.begin_stop(context, request);
                }
            });
        }
    }

    pub(super) fn set_paused(&mut self, context: &mut LoopContext, paused: bool) {
        for acceptor in &mut self.acceptors {
            acceptor.set_paused(context, paused);
        }
    }

    pub(super) fn duplicate_listeners(&self) -> io::Result<Vec<Listener>> {
        self.acceptors.iter().map(Acceptor::duplicate).collect()
    }

    fn workers_stopped(&mut self, context: &mut LoopContext) {
        self.pool = None;
        context.remove_source(self.own.index);
        self.shared.complete(context);
    }

    fn hand_over(&self) -> impl FnMut(&mut LoopContext, Socket, Admission) {
        let pool = self.pool.as_ref();
        let (spread, workers) = (self.spread, &self.workers);
        move |_, socket, admission| {
            let Some(pool) = pool else { return };
            let chosen = match spread {
                Spread::LeastConnections => pool.least_connections(),
                Spread::ListenerPerLoop | Spread::RoundRobin => pool.next(),
            };
            let Some(worker) = workers.iter().find(|worker| worker.loop_handle().is_same_loop(chosen)) else {
                return;
            };
            // It counts from here on, so that a burst is spread as well.
            let promised = &chosen.counters().connections;
            promised.fetch_add(1, Ordering::Relaxed);
            let posted = chosen.post_to_source(worker.source(), move |source, context| {
                if let Some(source) = downcast::<LoopSource<H>>(source) {
                    adopt(&mut source.group, context, socket, admission);
                }
            });
            if posted.is_err() {
                promised.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl<H: Handler> Source for BaseSource<H> {
    fn on_ready(
        &mut self,
        context: &mut LoopContext,
        _scratch: &mut Buffer,
        _channel: ChannelId,
        ready: Ready,
    ) -> bool {
        let key = ready.key;
        let mut acceptors = std::mem::take(&mut self.acceptors);
        if let Some(acceptor) = acceptors.get_mut((key & !LISTENER) as usize) {
            acceptor.accept(context, &self.shared.gate, self.hand_over());
        }
        self.acceptors = acceptors;
        true
    }

    fn on_timer(&mut self, context: &mut LoopContext, key: u32, _timer: TimerId) {
        if let Some(acceptor) = self.acceptors.get_mut((key & !LISTENER) as usize) {
            acceptor.retry(context);
        }
    }

    fn on_panic(&mut self, _context: &mut LoopContext, _own: u32) {}

    fn on_loop_end(&mut self, context: &mut LoopContext) {
        self.pool = None;
        self.shared.complete(context);
    }

    fn handler(&mut self) -> &mut dyn Any {
        self
    }
}

pub(super) fn downcast<S: Source>(source: &mut dyn Source) -> Option<&mut S> {
    (source as &mut dyn Any).downcast_mut()
}

/// Adopts a connection on the loop that has accepted it.
fn accepted_here<H: Handler>(
    group: &mut Group<H>,
    context: &mut LoopContext,
    socket: Socket,
    admission: Admission,
) {
    context.handle().counters().connections.fetch_add(1, Ordering::Relaxed);
    adopt(group, context, socket, admission);
}

fn adopt<H: Handler>(group: &mut Group<H>, context: &mut LoopContext, socket: Socket, admission: Admission) {
    if let Err(error) = group.add(context, Wire::Socket(socket), admission.take_over()) {
        log::error!("an accepted connection could not be registered: {error}");
    }
}

fn start_accepting(
    context: &mut LoopContext,
    own: SourceId,
    listeners: Vec<Listener>,
    failure: &mut Option<io::Error>,
) -> Vec<Acceptor> {
    let numbered = listeners.into_iter().enumerate();
    let started = numbered.map(|(number, listener)| Acceptor::new(context, own.index, number, listener));
    started.collect::<io::Result<_>>().unwrap_or_else(|error| {
        *failure = Some(error);
        Vec::new()
    })
}

/// Adds a source whose making may fail, in which case nothing of it stays.
fn try_add_source<S: Source>(
    context: &mut LoopContext,
    make: impl FnOnce(&mut LoopContext, SourceId, &mut Option<io::Error>) -> S,
) -> io::Result<SourceId> {
    let mut failure = None;
    let source = context.add_source(|context, own| make(context, own, &mut failure));
    match failure {
        None => Ok(source),
        Some(error) => {
            context.remove_source(source.index);
            Err(error)
        }
    }
}
