//! All that an inspector knows of: loops, servers and services.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lists::Lists;
use super::loops::InspectedLoop;
use super::servers::{AfterStop, NamedServer};
use super::sessions::InspectedService;
use crate::control::Failure;
use crate::control::excerpt::excerpt;
use crate::reactor::{LoopContext, LoopHandle};

/// What is inspected; all commands share it.
pub(super) struct Inspected {
    pub(super) began: Instant,
    pub(super) loops: Vec<InspectedLoop>,
    pub(super) servers: Vec<NamedServer>,
    pub(super) lists: Lists,
    on_drained: Mutex<Option<AfterStop>>,
}

impl Inspected {
    pub(super) fn new(
        servers: Vec<NamedServer>,
        others: &[LoopHandle],
        on_drained: Option<AfterStop>,
    ) -> Arc<Self> {
        let loops = InspectedLoop::all(&servers, others);
        let (on_drained, lists) = (Mutex::new(on_drained), Lists::default());
        Arc::new(Self { began: Instant::now(), loops, servers, lists, on_drained })
    }

    pub(super) fn services(&self) -> impl Iterator<Item = (&Arc<str>, &dyn InspectedService)> + Clone {
        self.servers.iter().filter_map(|server| Some((&server.name, server.service.as_deref()?)))
    }

    /// A server, by its name.
    pub(super) fn server(&self, name: &str) -> Result<&NamedServer, Failure> {
        let found = self.servers.iter().find(|server| *server.name == *name);
        found.ok_or_else(|| unknown("server", name, self.servers.iter().map(|server| &server.name)))
    }

    /// One server, or all.
    pub(super) fn servers_called(&self, name: Option<&str>) -> Result<Vec<&NamedServer>, Failure> {
        match name {
            Some(name) => Ok(vec![self.server(name)?]),
            None => Ok(self.servers.iter().collect()),
        }
    }

    /// What a service is called, by its name.
    pub(super) fn service(&self, name: &str) -> Result<&Arc<str>, Failure> {
        let names = self.services().map(|(known, _)| known);
        let found = names.clone().find(|known| ***known == *name);
        found.ok_or_else(|| unknown("service", name, names))
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

/// There is none of this name: it says which there are.
fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a Arc<str>>) -> Failure {
    let known: Vec<String> = known.map(|name| name.to_string()).collect();
    let there_are = match known.len() {
        0 => "there are none".to_owned(),
        _ => format!("there are {}", known.join(", ").escape_debug()),
    };
    let name = name.escape_debug().to_string();
    let text = format!("there is no {what} `{}`: {there_are}", excerpt(&name, 200));
    Failure::new(text).code(format!("unknown_{what}")).with(format!("{what}s"), known)
}
