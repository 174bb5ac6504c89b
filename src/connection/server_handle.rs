//! A running server, from any thread.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::handler::Callbacks;
use super::listeners::Gathering;
use super::output::Output;
use super::server_source::{AfterStop, BaseSource, LoopSource, ServerShared, StopRequest, downcast};
use super::{Handler, ServerFigures, TcpConnection};
#[cfg(feature = "control")]
use crate::reactor::LoopHandle;
use crate::reactor::{HandlerHandle, LoopContext, LoopGone, SourceId};
use crate::socket::{Address, Listener};

/// A way to reach a server, and to stop it, from any thread; cheap to clone. Dropping it does nothing to the server, which
/// lives until it is stopped or its base loop ends.
pub struct ServerHandle<H = Callbacks> {
    shared: Arc<ServerShared>,
    handler: PhantomData<fn(&mut H)>,
}

impl<H: Handler> ServerHandle<H> {
    pub(super) fn new(shared: Arc<ServerShared>) -> Self {
        Self { shared, handler: PhantomData }
    }

    pub(super) fn shared(&self) -> &Arc<ServerShared> {
        &self.shared
    }

    /// The server is up, with this source on its base loop.
    pub(super) fn started(&self, source: SourceId) {
        if let Some(request) = self.shared.base_started(source) {
            self.tell_stop(source, request);
        }
    }

    /// The addresses that it listens on, with the ports that the system chose if that was left to it.
    #[must_use]
    pub fn local_addresses(&self) -> &[Address] {
        &self.shared.addresses
    }

    /// What the server has done with those who came.
    #[must_use]
    pub fn figures(&self) -> ServerFigures {
        self.shared.gate.figures()
    }

    /// A handle to the handler on each loop.
    #[must_use]
    pub fn handlers(&self) -> Vec<HandlerHandle<H>> {
        let workers = self.shared.workers.get().map_or(&[][..], |workers| workers);
        workers.iter().map(|(event_loop, source)| HandlerHandle::new(event_loop.clone(), *source)).collect()
    }

    /// Sends the same bytes to every connection of the server: shared, not copied, when there are many of them. Those that
    /// take no more are passed over. May be called from any thread.
    ///
    /// # Errors
    ///
    /// [`LoopGone`] if one of the server's loops has ended.
    pub fn broadcast<'a>(&self, output: impl Into<Output<'a>>) -> Result<(), LoopGone> {
        let bytes = output.into().into_bytes();
        self.for_each(move |conn| {
            let _ = conn.send(&bytes);
        })
    }

    /// Runs `task` with every connection of the server, on each loop with those that live there. May be called from any thread.
    ///
    /// # Errors
    ///
    /// [`LoopGone`] if one of the server's loops has ended.
    pub fn for_each(
        &self,
        task: impl Fn(&mut TcpConnection<'_>) + Send + Sync + 'static,
    ) -> Result<(), LoopGone> {
        let task = Arc::new(task);
        for worker in self.handlers() {
            let task = Arc::clone(&task);
            worker.loop_handle().post_to_source(worker.source(), move |source, context| {
                let Some(source) = downcast::<LoopSource<H>>(source) else { return };
                for id in source.group().ids(context) {
                    if let Some(mut conn) = context.connection(id) {
                        task(&mut conn);
                    }
                }
            })?;
        }
        Ok(())
    }

    /// Accepts nobody until [`resume_accepting`](Self::resume_accepting); those who come wait in the kernel's backlog. May be
    /// called from any thread.
    pub fn pause_accepting(&self) {
        self.set_paused(true);
    }

    /// Accepts again.
    pub fn resume_accepting(&self) {
        self.set_paused(false);
    }

    /// Runs `then` on the base loop with a second descriptor of each listening socket, those of all loops included, for a
    /// successor to go on with: [`TcpServer::from_listeners`](super::TcpServer::from_listeners). Nothing changes for this
    /// server, which accepts from the same backlogs until it is told to [`retire`](Self::retire). May be called from any
    /// thread; a loop that calls it is not held up.
    ///
    /// There are none before the server is up and when it stops. `then` gets an error if descriptors have run out, and is
    /// dropped without being run if the base loop ends before all loops have answered.
    ///
    /// ```
    /// use std::time::Duration;
    /// use campana::{EventLoop, TcpServer};
    ///
    /// let mut event_loop = EventLoop::new()?;
    /// let old = TcpServer::bind("127.0.0.1:0")?.threads(2).start(&mut event_loop)?;
    /// old.duplicate_listeners({
    ///     let old = old.clone();
    ///     move |cx, listeners| {
    ///         // A real successor is another process.
    ///         let successor = TcpServer::from_listeners(listeners.unwrap()).threads(2).start(cx).unwrap();
    ///         assert_eq!(successor.local_addresses(), old.local_addresses());
    ///         old.retire(Duration::from_secs(5));
    ///         successor.stop_then(Duration::from_secs(5), |cx| cx.quit());
    ///     }
    /// });
    /// event_loop.run()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn duplicate_listeners(
        &self,
        then: impl FnOnce(&mut LoopContext, io::Result<Vec<Listener>>) + Send + 'static,
    ) {
        let gathering = Gathering::new(self.shared.base.clone(), then);
        for (number, (event_loop, source)) in self.shared.sources().into_iter().enumerate() {
            let part = gathering.part(number);
            let _ = event_loop.post_to_source(source, move |source, _| {
                if let Some(source) = downcast::<LoopSource<H>>(source) {
                    part.answer(source.duplicate_listeners());
                } else if let Some(source) = downcast::<BaseSource<H>>(source) {
                    part.answer(source.duplicate_listeners());
                }
            });
        }
    }

    /// Whether those who come are accepted: accepting is neither paused, nor has the server begun to stop.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        self.shared.is_accepting()
    }

    /// The loop that the server was started on.
    #[cfg(feature = "control")]
    pub(crate) fn base(&self) -> &LoopHandle {
        &self.shared.base
    }

    /// Begins to stop: those who wait to be accepted still are, then nobody is any more; each connection gets its handler's
    /// [`on_stopping`](Handler::on_stopping), and what is left after `deadline` is closed by force. The server's threads end
    /// with its last connection. May be called from any thread, and again for an earlier deadline.
    pub fn stop(&self, deadline: Duration) {
        self.begin_stop(StopRequest { deadline, to_successor: false }, None);
    }

    /// As [`stop`](Self::stop), and runs `then` on the base loop when nothing of the server is left. If the base loop ends before
    /// that, `then` is dropped without being run.
    ///
    /// ```
    /// use std::time::Duration;
    /// use campana::{EventLoop, TcpServer};
    ///
    /// let mut event_loop = EventLoop::new()?;
    /// let server = TcpServer::bind("127.0.0.1:0")?.threads(2).start(&mut event_loop)?;
    /// server.stop_then(Duration::from_secs(5), |cx| cx.quit());
    /// event_loop.run()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stop_then(&self, deadline: Duration, then: impl FnOnce(&mut LoopContext) + Send + 'static) {
        self.begin_stop(StopRequest { deadline, to_successor: false }, Some(Box::new(then)));
    }

    /// Begins to stop in favour of a successor that has [duplicates](Self::duplicate_listeners) of all listening sockets:
    /// nobody is accepted any more, those who wait are left to the successor, and so are the paths of Unix sockets. The
    /// rest is as for [`stop`](Self::stop). May be called from any thread.
    ///
    /// A socket that nobody else has is closed, and those who wait for it are reset.
    pub fn retire(&self, deadline: Duration) {
        self.begin_stop(StopRequest { deadline, to_successor: true }, None);
    }

    /// As [`retire`](Self::retire), and runs `then` on the base loop when nothing of the server is left. If the base loop ends
    /// before that, `then` is dropped without being run.
    pub fn retire_then(&self, deadline: Duration, then: impl FnOnce(&mut LoopContext) + Send + 'static) {
        self.begin_stop(StopRequest { deadline, to_successor: true }, Some(Box::new(then)));
    }

    /// Whether nothing of the server is left but its handles.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }

    /// Waits until the server has stopped, for at most `timeout`; answers whether it has. On the base loop's own thread, which
    /// would wait for itself, it doesn't wait.
    pub fn wait_stopped(&self, timeout: Duration) -> bool {
        let waits_for_itself = self.shared.base.is_in_loop_thread()
            || self.handlers().iter().any(|handler| handler.loop_handle().is_in_loop_thread());
        self.shared.wait_stopped(if waits_for_itself { Duration::ZERO } else { timeout })
    }

    fn begin_stop(&self, request: StopRequest, then: Option<AfterStop>) {
        if let Some(source) = self.shared.request_stop(request, then) {
            self.tell_stop(source, request);
        }
    }

    fn tell_stop(&self, source: SourceId, request: StopRequest) {
        let _ = self.shared.base.post_to_source(source, move |source, context| {
            if let Some(source) = downcast::<LoopSource<H>>(source) {
                source.begin_stop(context, request);
            } else if let Some(source) = downcast::<BaseSource<H>>(source) {
                source.begin_stop(context, request);
            }
        });
    }

    fn set_paused(&self, paused: bool) {
        let workers = self.handlers();
        self.shared.set_paused(paused, || {
            for worker in workers {
                let _ = worker.loop_handle().post_to_source(worker.source(), move |source, context| {
                    if let Some(source) = downcast::<LoopSource<H>>(source) {
                        source.set_paused(context, paused);
                    }
                });
            }
            if let Some(base) = self.shared.base_source() {
                let _ = self.shared.base.post_to_source(base, move |source, context| {
                    if let Some(source) = downcast::<BaseSource<H>>(source) {
                        source.set_paused(context, paused);
                    }
                });
            }
        });
    }
}

impl<H> Clone for ServerHandle<H> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), handler: PhantomData }
    }
}

impl<H> fmt::Debug for ServerHandle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("addresses", &self.shared.addresses)
            .field("figures", &self.shared.gate.figures())
            .finish_non_exhaustive()
    }
}
