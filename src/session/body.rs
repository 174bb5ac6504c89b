//! The part of a session that its callbacks and filters share.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::attributes::AttributeStore;
use super::byte_chain::ByteChain;
use super::byte_filter::ByteFilter;
use super::core::{Core, ENDED, nanos};
use super::edits::{Edit, Names};
use super::idle::{IdleKind, LastIo};
use super::spare_buffers::SpareBuffers;
use super::stats::{IdleCounts, LoopTotals, Meter, Passed, SessionStats, Throughput};
use super::{MessageFilter, SessionId};
use crate::buffer::Buffer;
use crate::codec::Codec;
use crate::connection::TcpConnection;

/// What all sessions of a service on one loop share.
pub(super) struct LoopShared {
    pub(super) totals: Arc<LoopTotals>,
    pub(super) attributes: AttributeStores,
    pub(super) spare_buffers: SpareBuffers,
}

/// Makes the store of a session's attributes.
pub(super) type AttributeStores = Arc<dyn Fn(SessionId) -> Box<dyn AttributeStore> + Send + Sync>;

impl LoopShared {
    pub(super) fn attributes(&self, id: SessionId) -> Box<dyn AttributeStore> {
        (self.attributes)(id)
    }
}

/// Changes of filters that are not made yet.
pub(super) struct PendingEdits<C: Codec> {
    pub(super) messages: Vec<Edit<dyn MessageFilter<C>>>,
    pub(super) bytes: Vec<Edit<dyn ByteFilter>>,
}

impl<C: Codec> Default for PendingEdits<C> {
    fn default() -> Self {
        Self { messages: Vec::new(), bytes: Vec::new() }
    }
}

pub(super) struct Body<C: Codec> {
    pub(super) codec: C,
    /// What was written by the callback under way. It is the loop's, lent for as long as a callback runs.
    pub(super) staging: Buffer,
    pub(super) bytes: Option<Box<ByteChain>>,
    pub(super) filter_names: Names,
    pub(super) byte_filter_names: Names,
    pub(super) edits: Option<Box<PendingEdits<C>>>,
    pub(super) shared: Rc<LoopShared>,
    /// What the loop's totals have of this session.
    pub(super) published: Passed,
    pub(super) core: Core,
}

impl<C: Codec> Body<C> {
    pub(super) fn held_output(&self) -> usize {
        self.staging.readable() + self.bytes.as_ref().map_or(0, |bytes| bytes.held_output())
    }

    pub(super) fn passed(&self, conn: &TcpConnection<'_>) -> Passed {
        let (bytes_in, bytes_out) = conn.bytes();
        let (messages_in, messages_out) = (self.core.messages_in, self.core.writes.accepted());
        Passed { bytes_in, bytes_out, messages_in, messages_out }
    }

    /// Adds what has passed to the loop's totals.
    #[inline]
    pub(super) fn publish(&mut self, conn: &TcpConnection<'_>) {
        let passed = self.passed(conn);
        self.shared.totals.add(passed.since(self.published));
        self.published = passed;
    }

    pub(super) fn stats(&mut self, conn: &TcpConnection<'_>, last: LastIo) -> SessionStats {
        let passed = self.passed(conn);
        let of_connection = conn.stats();
        let core = &mut self.core;
        let now = conn.nanos();
        let interval = nanos(core.config.throughput_interval);
        let meter = core.meter.get_or_insert_with(|| Box::new(Meter::since(conn.created())));
        meter.update(passed, now, interval);
        let throughput = meter.throughput();
        let idle = |kind| core.idle.count(kind, last);
        SessionStats {
            bytes_in: passed.bytes_in,
            bytes_out: passed.bytes_out,
            messages_in: passed.messages_in,
            messages_out: passed.messages_out,
            pending_messages: core.writes.pending(),
            created: of_connection.created,
            last_read: of_connection.created + Duration::from_nanos(last.read.saturating_sub(conn.created())),
            last_written: of_connection.last_sent,
            idle_counts: IdleCounts {
                both: idle(IdleKind::Both),
                read: idle(IdleKind::Read),
                write: idle(IdleKind::Write),
            },
            throughput: if core.has(ENDED) { Throughput::default() } else { throughput },
            pending_bytes: of_connection.bytes_pending + self.held_output(),
        }
    }

    /// Averages the throughput anew if its interval is over.
    #[inline]
    pub(super) fn measure(&mut self, conn: &TcpConnection<'_>) {
        if self.core.meter.is_some() {
            let passed = self.passed(conn);
            let interval = nanos(self.core.config.throughput_interval);
            if let Some(meter) = &mut self.core.meter {
                meter.update(passed, conn.nanos(), interval);
            }
        }
    }
}
