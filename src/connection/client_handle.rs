//! A running client, from any thread.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::client_source::ClientSource;
use super::handler::Callbacks;
use super::server_source::downcast;
use super::{ConnectionHandle, Handler};
use crate::reactor::{HandlerHandle, LoopHandle, SourceId};

/// A way to reach a client from any thread; cheap to clone. Dropping it does nothing to the client, which lives until it has
/// nothing left to do, is stopped, or its loop ends.
pub struct ClientHandle<H = Callbacks> {
    shared: Arc<ClientShared>,
    handler: PhantomData<fn(&mut H)>,
}

impl<H: Handler> ClientHandle<H> {
    pub(super) fn new(shared: Arc<ClientShared>) -> Self {
        Self { shared, handler: PhantomData }
    }

    /// The connection, while there is one. May be called from any thread.
    #[must_use]
    pub fn connection(&self) -> Option<ConnectionHandle> {
        self.shared.lock().connection.clone()
    }

    /// A handle to the handler.
    #[must_use]
    pub fn handler(&self) -> Option<HandlerHandle<H>> {
        let source = self.shared.source.get()?;
        Some(HandlerHandle::new(self.shared.event_loop.clone(), *source))
    }

    /// Ends the client, whatever it is about: looking up, connecting, waiting to try again, or connected, in which case the
    /// connection is closed in good order. There is no other attempt. May be called from any thread, at any moment.
    pub fn stop(&self) {
        let Some(source) = self.shared.source.get() else { return };
        let _ = self.shared.event_loop.post_to_source(*source, |source, context| {
            if let Some(client) = downcast::<ClientSource<H>>(source) {
                client.stop(context);
            }
        });
    }

    /// Whether the client has ended: stopped, given up, or disconnected for good.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.lock().done
    }

    /// Waits until the client has ended, for at most `timeout`; answers whether it has. On the client's own loop, which would
    /// wait for itself, it doesn't wait.
    pub fn wait_stopped(&self, timeout: Duration) -> bool {
        let timeout = if self.shared.event_loop.is_in_loop_thread() { Duration::ZERO } else { timeout };
        let waited = self.shared.ended.wait_timeout_while(self.shared.lock(), timeout, |state| !state.done);
        waited.unwrap_or_else(PoisonError::into_inner).0.done
    }
}

impl<H> Clone for ClientHandle<H> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), handler: PhantomData }
    }
}

impl<H> fmt::Debug for ClientHandle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandle").field("loop", &self.shared.event_loop).finish_non_exhaustive()
    }
}

/// What a running client and its handles share.
pub(super) struct ClientShared {
    pub(super) event_loop: LoopHandle,
    pub(super) source: OnceLock<SourceId>,
    state: Mutex<ClientState>,
    ended: Condvar,
}

#[derive(Default)]
pub(super) struct ClientState {
    pub(super) connection: Option<ConnectionHandle>,
    done: bool,
}

impl ClientShared {
    pub(super) fn new(event_loop: LoopHandle) -> Self {
        Self { event_loop, source: OnceLock::new(), state: Mutex::default(), ended: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ClientState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.connection = None;
        state.done = true;
        drop(state);
        self.ended.notify_all();
    }
}
