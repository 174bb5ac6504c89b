//! Sessions for those who look at a running server: some slots of a loop's table at a time.

use std::ops::Range;

use super::edits::Name;
use super::idle::IdleKind;
use super::stats::Passed;
use super::{
    IdleCounts, Session, SessionId, SessionManager, SessionState, SessionView, Sessions, Throughput,
};
use crate::codec::Codec;
use crate::connection::ConnectionConfig;
use crate::reactor::{HandlerHandle, LoopContext, caught, discard};
use crate::socket::Address;

/// A session that is looked at, whatever its messages are; what is asked for is worked out then.
pub(crate) trait InspectedSession {
    fn id(&self) -> SessionId;
    fn peer(&self) -> Address;
    fn state(&self) -> SessionState;
    fn is_authenticated(&self) -> bool;
    /// The names of the keys of its attributes, in order.
    fn attributes(&mut self) -> Vec<&'static str>;
    fn filters(&self) -> &[Name];
    fn byte_filters(&self) -> &[Name];
    fn figures(&self) -> SessionFigures;
    /// What passes in a second. The first question has the session measure it from then on.
    fn throughput(&mut self) -> Throughput;
}

/// A session's figures; times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionFigures {
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) pending_bytes: usize,
    pub(crate) pending_messages: usize,
    pub(crate) age: u64,
    pub(crate) since_read: u64,
    pub(crate) since_written: u64,
    pub(crate) idle: IdleCounts,
}

impl<C: Codec> InspectedSession for SessionView<'_, C> {
    fn id(&self) -> SessionId {
        self.id()
    }

    fn peer(&self) -> Address {
        self.peer_address()
    }

    fn state(&self) -> SessionState {
        self.state()
    }

    fn is_authenticated(&self) -> bool {
        self.is_authenticated()
    }

    fn attributes(&mut self) -> Vec<&'static str> {
        let Some(seldom) = &self.body.core.seldom else { return Vec::new() };
        let Some(store) = &seldom.attributes else { return Vec::new() };
        let mut names = Vec::new();
        // The store is the user's, and one that panics is no reason to go without all other sessions.
        if let Err(payload) = caught(|| names = store.ids().iter().map(|id| id.name()).collect()) {
            discard(payload);
            self.conn.context().report_panic("attribute store");
        }
        names.sort_unstable();
        names
    }

    fn filters(&self) -> &[Name] {
        &self.body.filter_names
    }

    fn byte_filters(&self) -> &[Name] {
        &self.body.byte_filter_names
    }

    fn figures(&self) -> SessionFigures {
        let (last, now) = (self.last_io(), self.conn.nanos());
        let Passed { bytes_in, bytes_out, messages_in, messages_out } = self.body.passed(&self.conn);
        let idle = |kind| self.body.core.idle.count(kind, last);
        SessionFigures {
            bytes_in,
            bytes_out,
            messages_in,
            messages_out,
            pending_bytes: self.pending_bytes(),
            pending_messages: self.pending_writes(),
            age: now.saturating_sub(self.conn.created()),
            since_read: now.saturating_sub(last.read),
            since_written: now.saturating_sub(last.write),
            idle: IdleCounts {
                both: idle(IdleKind::Both),
                read: idle(IdleKind::Read),
                write: idle(IdleKind::Write),
            },
        }
    }

    fn throughput(&mut self) -> Throughput {
        self.stats().throughput
    }
}

impl<S: Session> Sessions<S> {
    /// Looks at the sessions in some slots. A session keeps its slot for life, so that whoever goes through all slots meets each that
    /// is there all along once. Answers whether there are slots behind these.
    pub(crate) fn inspect(
        &mut self,
        context: &mut LoopContext,
        slots: Range<usize>,
        look: &mut dyn FnMut(&mut dyn InspectedSession),
    ) -> bool {
        let count = self.live.capacity();
        for slot in slots.start..slots.end.min(count) {
            let Some(live) = self.live.get_mut(slot) else { continue };
            if let Some(conn) = context.connection(live.body.core.id.connection()) {
                look(&mut SessionView::new(conn, &mut live.body));
            }
        }
        slots.end < count
    }

    /// The session in some slots that is looked for; and whether there are slots behind these.
    pub(crate) fn find(
        &self,
        slots: Range<usize>,
        is_it: impl Fn(SessionId) -> bool,
    ) -> (Option<SessionId>, bool) {
        let count = self.live.capacity();
        let live = (slots.start..slots.end.min(count)).filter_map(|slot| self.live.get(slot));
        let found = live.map(|live| live.body.core.id).find(|&id| is_it(id));
        (found, slots.end < count)
    }
}

impl<C: Codec> SessionView<'_, C> {
    /// The limits and deadlines of the connection.
    pub(crate) fn connection_config(&self) -> &ConnectionConfig {
        self.conn.config()
    }
}

impl<S: Session> SessionManager<S> {
    /// The loops that have had sessions of the service: what their connections' ids begin with, and the handler.
    pub(crate) fn handlers(&self) -> Vec<(u32, HandlerHandle<Sessions<S>>)> {
        self.loops(|loops| loops.iter().map(|worker| (worker.number, worker.handler.clone())).collect())
    }
}
