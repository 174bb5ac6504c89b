//! The loops that are inspected.

use std::sync::Arc;

use super::servers::NamedServer;
use crate::reactor::{LoopHandle, SourceId};

/// A loop that is inspected.
#[derive(Clone, Debug)]
pub(super) struct InspectedLoop {
    /// No other one has it.
    pub(super) name: Arc<str>,
    pub(super) handle: LoopHandle,
    /// The servers that have a source on it, which tells whose a connection is.
    pub(super) servers: Vec<(SourceId, Arc<str>)>,
}

impl InspectedLoop {
    /// The loops of all servers, those included that only accept, and some others.
    pub(super) fn all(servers: &[NamedServer], others: &[LoopHandle]) -> Vec<Self> {
        let mut loops = Vec::new();
        for server in servers {
            for (handle, source) in server.server.workers() {
                let place = Self::place(&mut loops, &handle);
                loops[place].servers.push((source, Arc::clone(&server.name)));
            }
        }
        for handle in servers.iter().map(|server| server.server.base()).chain(others) {
            Self::place(&mut loops, handle);
        }
        loops
    }

    /// What a loop is called: by the name that it has among these, if it is one of them.
    pub(super) fn name_of(loops: &[Self], handle: &LoopHandle) -> Arc<str> {
        let known = loops.iter().find(|known| known.handle.is_same_loop(handle));
        known.map_or_else(|| handle.name().into(), |known| Arc::clone(&known.name))
    }

    fn place(loops: &mut Vec<Self>, handle: &LoopHandle) -> usize {
        if let Some(place) = loops.iter().position(|known| known.handle.is_same_loop(handle)) {
            return place;
        }
        // Two servers may each call their threads by the default names.
        let is_taken = |name: &str| loops.iter().any(|known| &*known.name == name);
        let mut name = handle.name().to_owned();
        for number in 2.. {
            if !is_taken(&name) {
                break;
            }
            name = format!("{}#{number}", handle.name());
        }
        loops.push(Self { name: name.into(), handle: handle.clone(), servers: Vec::new() });
        loops.len() - 1
    }
}
