//! A running server, from any thread.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::handler::Callbacks;
use super::output::Output;
use super::server_source::{AfterStop, BaseSource, LoopSource, ServerShared, downcast};
use super::{Handler, ServerFigures, TcpConnection};
use crate::reactor::{HandlerHandle, LoopContext, LoopGone, SourceId};
use crate::socket::Address;

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
        if let Some(deadline) = self.shared.base_started(source) {
            self.tell_stop(source, deadline);
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

    /// Begins to stop: those who wait to be accepted still are, then nobody is any more; each connection gets its handler's
    /// [`on_stopping`](Handler::on_stopping), and what is left after `deadline` is closed by force. The server's threads end
    /// with its last connection. May be called from any thread, and again for an earlier deadline.
    pub fn stop(&self, deadline: Duration) {
        self.begin_stop(deadline, None);
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
        self.begin_stop(deadline, Some(Box::new(then)));
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

    fn begin_stop(&self, deadline: Duration, then: Option<AfterStop>) {
        if let Some(source) = self.shared.request_stop(deadline, then) {
            self.tell_stop(source, deadline);
        }
    }

    fn tell_stop(&self, source: SourceId, deadline: Duration) {
        let _ = self.shared.base.post_to_source(source, move |source, context| {
            if let Some(source) = downcast::<LoopSource<H>>(source) {
                source.begin_stop(context, deadline);
            } else if let Some(source) = downcast::<BaseSource<H>>(source) {
                source.begin_stop(context, deadline);
            }
        });
    }

    fn set_paused(&self, paused: bool) {
        for worker in self.handlers() {
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
