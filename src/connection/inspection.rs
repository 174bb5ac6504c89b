//! Connections for those who look at a running server: some slots of a loop's table at a time.

use std::ops::Range;

use super::core::ConnectionState;
use super::entry::Entry;
use super::{ConnectionId, Table};
use crate::reactor::{LoopContext, SourceId};
use crate::socket::Address;

/// A connection that is looked at; what is asked for is worked out then.
pub(crate) struct InspectedConnection<'a> {
    context: &'a LoopContext,
    table: &'a Table,
    entry: &'a Entry,
    key: u32,
}

/// A connection's figures; times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionFigures {
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) reads: u64,
    pub(crate) sends: u64,
    pub(crate) pending: usize,
    pub(crate) unread: usize,
    pub(crate) age: u64,
    pub(crate) idle: u64,
}

impl InspectedConnection<'_> {
    pub(crate) fn id(&self) -> ConnectionId {
        self.table.id_of(self.key)
    }

    /// The server's or client's source.
    pub(crate) fn source(&self) -> SourceId {
        self.context.source_id(self.entry.source)
    }

    pub(crate) fn peer(&self) -> &Address {
        &self.entry.peer
    }

    /// This end's address. It costs a system call.
    pub(crate) fn local(&self) -> Option<Address> {
        self.entry.wire.as_ref().and_then(|wire| wire.local_address().ok())
    }

    pub(crate) fn state(&self) -> ConnectionState {
        self.entry.core.state()
    }

    pub(crate) fn is_reading_paused(&self) -> bool {
        self.entry.core.is_paused()
    }

    pub(crate) fn figures(&self) -> ConnectionFigures {
        let core = &self.entry.core;
        let now = self.context.clock().nanos();
        ConnectionFigures {
            bytes_in: core.bytes_in,
            bytes_out: core.bytes_out,
            reads: core.reads,
            sends: core.sends,
            pending: core.pending(),
            unread: core.input.as_ref().map_or(0, |input| input.readable()),
            age: now.saturating_sub(core.created),
            idle: now.saturating_sub(core.last_received.max(core.last_sent)),
        }
    }
}

impl LoopContext {
    /// Looks at the connections in some slots of the loop's table. A connection keeps its slot for life, so that whoever goes through
    /// all slots meets each that is there all along once. Answers whether there are slots behind these.
    pub(crate) fn inspect_connections(
        &self,
        slots: Range<usize>,
        mut look: impl FnMut(&InspectedConnection<'_>),
    ) -> bool {
        let table = self.upper();
        let count = table.entries.capacity();
        for slot in slots.start..slots.end.min(count) {
            match table.entries.get(slot) {
                Some(entry) if entry.wire.is_some() => {
                    look(&InspectedConnection { context: self, table, entry, key: slot as u32 });
                }
                _ => {}
            }
        }
        slots.end < count
    }

    /// What the ids of this loop's connections begin with.
    pub(crate) fn loop_number(&self) -> u32 {
        self.upper().number()
    }
}
