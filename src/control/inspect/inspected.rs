//! All that an inspector knows of: loops, servers and services.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::loops::InspectedLoop;
use super::servers::{AfterStop, NamedServer};
use super::sessions::InspectedService;
use crate::reactor::{LoopContext, LoopHandle};

/// What is inspected; all commands share it.
pub(super) struct Inspected {
    pub(super) began: Instant,
    pub(super) loops: Vec<InspectedLoop>,
    pub(super) servers: Vec<NamedServer>,
    on_drained: Mutex<Option<AfterStop>>,
}

impl Inspected {
    pub(super) fn new(
        servers: Vec<NamedServer>,
        others: &[LoopHandle],
        on_drained: Option<AfterStop>,
    ) -> Arc<Self> {
        let loops = InspectedLoop::all(&servers, others);
        Arc::new(Self { began: Instant::now(), loops, servers, on_drained: Mutex::new(on_drained) })
    }

    pub(super) fn services(&self) -> impl Iterator<Item = (&Arc<str>, &dyn InspectedService)> {
        self.servers.iter().filter_map(|server| Some((&server.name, server.service.as_deref()?)))
    }

    /// Has some servers stop.
    pub(super) fn drain<'a>(
        self: &Arc<Self>,
        servers: impl IntoIterator<Item = &'a NamedServer>,
        deadline: Duration,
    ) {
        for server in servers {
            let inspected = Arc::clone(self);
            server.server.stop_then(deadline, Box::new(move |context| inspected.drained(context)));
        }
    }

    /// A server has stopped: if it was the last one, whoever waits for that is told.
    fn drained(&self, context: &mut LoopContext) {
        if self.servers.iter().all(|server| server.server.is_stopped()) {
            let told = self.on_drained.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(told) = told {
                told(context);
            }
        }
    }
}
