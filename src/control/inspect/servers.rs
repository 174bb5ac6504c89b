//! The servers that are inspected, whatever their handlers are.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::loops::InspectedLoop;
use super::sessions::InspectedService;
use super::text::as_text;
use crate::connection::{Handler, ServerFigures, ServerHandle};
use crate::reactor::{LoopContext, LoopHandle, SourceId};
use crate::session::ServiceStats;
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

/// A server, as it is shown.
#[derive(Serialize)]
pub(super) struct ServerRow {
    #[serde(serialize_with = "as_text")]
    name: Arc<str>,
    addresses: Vec<String>,
    loops: Vec<String>,
    accepting: bool,
    stopped: bool,
    connections: usize,
    accepted: u64,
    refused: u64,
    refused_by_address: u64,
    shed: u64,
    accept_errors: u64,
    sessions: Option<ServiceRow>,
}

/// The figures of a service's sessions, as they are shown.
#[derive(Serialize)]
struct ServiceRow {
    sessions: usize,
    most_sessions: usize,
    opened: u64,
    closed: u64,
    bytes_in: u64,
    bytes_out: u64,
    messages_in: u64,
    messages_out: u64,
    errors: u64,
    refused_writes: u64,
}

impl ServerRow {
    pub(super) fn of(known: &NamedServer, loops: &[InspectedLoop]) -> Self {
        let server = &known.server;
        let figures = server.figures();
        let workers = server.workers();
        let loops = workers.iter().map(|(handle, _)| InspectedLoop::name_of(loops, handle).to_string());
        Self {
            name: Arc::clone(&known.name),
            addresses: server.addresses().iter().map(Address::to_string).collect(),
            loops: loops.collect(),
            accepting: server.is_accepting(),
            stopped: server.is_stopped(),
            connections: figures.connections,
            accepted: figures.accepted,
            refused: figures.refused,
            refused_by_address: figures.refused_by_address,
            shed: figures.shed,
            accept_errors: figures.accept_errors,
            sessions: known.service.as_ref().map(|service| ServiceRow::of(service.stats())),
        }
    }
}

impl ServiceRow {
    fn of(stats: ServiceStats) -> Self {
        Self {
            sessions: stats.sessions,
            most_sessions: stats.most_sessions,
            opened: stats.opened,
            closed: stats.closed,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
            messages_in: stats.messages_in,
            messages_out: stats.messages_out,
            errors: stats.errors,
            refused_writes: stats.refused_writes,
        }
    }
}
