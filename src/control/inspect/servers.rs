//! The servers that are inspected, whatever their handlers are.

use std::sync::Arc;
use std::time::Duration;

use super::sessions::InspectedService;
use crate::connection::{Handler, ServerFigures, ServerHandle};
use crate::reactor::{LoopContext, LoopHandle, SourceId};
use crate::socket::Address;

/// What runs on a server's base loop when nothing is left of it.
pub(super) type AfterStop = Box<dyn FnOnce(&mut LoopContext) + Send>;

/// A server that is inspected, under the name that it was given.
pub(super) struct NamedServer {
    pub(super) name: Arc<str>,
    pub(super) server: Box<dyn InspectedServer>,
    pub(super) service: Option<Box<dyn InspectedService>>,
}

/// A server, whatever its handlers are.
pub(super) trait InspectedServer: Send + Sync {
    fn addresses(&self) -> &[Address];
    fn figures(&self) -> ServerFigures;
    /// The loops that serve its connections, and its source on each.
    fn workers(&self) -> Vec<(LoopHandle, SourceId)>;
    /// The loop that it was started on, which may be one of its workers.
    fn base(&self) -> &LoopHandle;
    fn is_accepting(&self) -> bool;
    fn is_stopped(&self) -> bool;
    fn pause(&self);
    fn resume(&self);
    fn stop_then(&self, deadline: Duration, then: AfterStop);
}

impl<H: Handler> InspectedServer for ServerHandle<H> {
    fn addresses(&self) -> &[Address] {
        self.local_addresses()
    }

    fn figures(&self) -> ServerFigures {
        self.figures()
    }

    fn workers(&self) -> Vec<(LoopHandle, SourceId)> {
        let handlers = self.handlers();
        handlers.iter().map(|handler| (handler.loop_handle().clone(), handler.source())).collect()
    }

    fn base(&self) -> &LoopHandle {
        self.base()
    }

    fn is_accepting(&self) -> bool {
        self.is_accepting()
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped()
    }

    fn pause(&self) {
        self.pause_accepting();
    }

    fn resume(&self) {
        self.resume_accepting();
    }

    fn stop_then(&self, deadline: Duration, then: AfterStop) {
        self.stop_then(deadline, then);
    }
}
