//! The connections of a server's loops: filtered, sorted, a page at a time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::gather::{Gather, GiveUp, Share};
use super::loops::InspectedLoop;
use super::paging::{Best, Page, SortValue};
use super::text::{Needle, as_text, as_text_if_any, fitting, millis, names};
use crate::connection::{ConnectionFigures, ConnectionId, ConnectionState, InspectedConnection};
use crate::reactor::{LoopContext, SourceId};
use crate::socket::Address;

/// How many slots of a loop's table are looked at before the loop's other work has its turn.
pub(super) const CHUNK: usize = 256;

/// What connections are sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ConnectionSort {
    #[default]
    Id,
    Peer,
    BytesIn,
    BytesOut,
    Reads,
    Sends,
    Pending,
    Unread,
    AgeMs,
    IdleMs,
}

impl ConnectionSort {
    /// Whether the largest come first unless something else is said.
    pub(super) fn is_descending(self) -> bool {
        !matches!(self, Self::Id | Self::Peer)
    }

    fn value(self, conn: &InspectedConnection<'_>, figures: &ConnectionFigures) -> SortValue {
        SortValue::Number(match self {
            Self::Id => return SortValue::Serial(conn.id().serial()),
            Self::Peer => return SortValue::Text(conn.peer().to_string()),
            Self::BytesIn => figures.bytes_in,
            Self::BytesOut => figures.bytes_out,
            Self::Reads => figures.reads,
            Self::Sends => figures.sends,
            Self::Pending => figures.pending as u64,
            Self::Unread => figures.unread as u64,
            // In nanoseconds, which their milliseconds keep the order of.
            Self::AgeMs => figures.age,
            Self::IdleMs => figures.idle,
        })
    }
}

/// Which connections are asked for.
pub(super) struct ConnectionQuery {
    /// The only server whose connections are of interest.
    pub(super) server: Option<Arc<str>>,
    pub(super) filter: Option<String>,
    pub(super) sort: ConnectionSort,
    pub(super) page: Page,
}

/// One connection, as it was when its loop was asked.
#[derive(Debug, Serialize)]
pub(super) struct ConnectionRow {
    #[serde(serialize_with = "as_text")]
    pub(super) id: ConnectionId,
    #[serde(rename = "loop", serialize_with = "as_text")]
    event_loop: Arc<str>,
    #[serde(serialize_with = "as_text_if_any")]
    pub(super) server: Option<Arc<str>>,
    #[serde(serialize_with = "as_text")]
    peer: Address,
    #[serde(serialize_with = "as_text_if_any")]
    local: Option<Address>,
    state: &'static str,
    bytes_in: u64,
    bytes_out: u64,
    reads: u64,
    sends: u64,
    pending: usize,
    unread: usize,
    age_ms: u64,
    idle_ms: u64,
    reading_paused: bool,
}

/// A page of the connections of all loops.
#[derive(Debug, Serialize)]
pub(super) struct Connections {
    /// How many there are.
    pub(super) total: u64,
    /// How many of them were asked for.
    pub(super) matched: u64,
    pub(super) offset: usize,
    #[serde(serialize_with = "fitting")]
    pub(super) connections: Vec<ConnectionRow>,
    /// Loops that are held up, whose connections are missing.
    pub(super) unanswered: Vec<String>,
}

/// What one loop has found so far.
pub(super) struct Found {
    total: u64,
    matched: u64,
    best: Best<ConnectionRow>,
}

/// Goes through the connections of all `loops`, and has `then` called with what was found when the last loop is through, or whoever
/// asks gives up.
///
/// Each loop looks at [`CHUNK`] slots a turn.
pub(super) fn connections(
    loops: &[InspectedLoop],
    query: ConnectionQuery,
    then: impl FnOnce(Connections) + Send + 'static,
) -> GiveUp<Found> {
    let (page, query) = (query.page, Arc::new(query));
    let gather = Gather::new(move |parts: Vec<Found>, unanswered| {
        let total = parts.iter().map(|part| part.total).sum();
        let matched = parts.iter().map(|part| part.matched).sum();
        let connections = Best::page(parts.into_iter().map(|part| part.best), page);
        let unanswered = names(unanswered);
        then(Connections { total, matched, offset: page.offset, connections, unanswered });
    });
    for event_loop in loops {
        let walk = Walk {
            query: Arc::clone(&query),
            event_loop: Arc::clone(&event_loop.name),
            servers: event_loop.servers.clone(),
            next_slot: 0,
            text: String::new(),
            share: gather.share(&event_loop.name, Found { total: 0, matched: 0, best: Best::new(page) }),
        };
        // What is refused is dropped, and is an answer by that.
        let _ = event_loop.handle.post(|context| walk.go_on(context));
    }
    gather.give_up()
}

/// The way through one loop's connections.
struct Walk {
    query: Arc<ConnectionQuery>,
    event_loop: Arc<str>,
    servers: Vec<(SourceId, Arc<str>)>,
    next_slot: usize,
    /// Where names are written to be searched.
    text: String,
    share: Share<Found>,
}

impl Walk {
    fn go_on(mut self, context: &mut LoopContext) {
        // Many may have been given up while something else held the loop.
        if !self.share.is_wanted() {
            return;
        }
        let slots = self.next_slot..self.next_slot + CHUNK;
        self.next_slot = slots.end;
        if context.inspect_connections(slots, |conn| self.look_at(conn)) {
            context.run_later(|context| self.go_on(context));
        }
    }

    fn look_at(&mut self, conn: &InspectedConnection<'_>) {
        let Self { query, event_loop, servers, text, share, .. } = self;
        let found = share.part();
        found.total += 1;
        let source = conn.source();
        let server = servers.iter().find(|(id, _)| *id == source).map(|(_, name)| name);
        if query.server.is_some() && query.server.as_ref() != server {
            return;
        }
        if let Some(filter) = &query.filter {
            let mut needle = Needle::new(filter, text);
            let matches = needle.is_in(&conn.id())
                || needle.is_in(conn.peer())
                || server.is_some_and(|name| needle.is_in(name))
                || needle.is_in(event_loop)
                || conn.local().is_some_and(|local| needle.is_in(&local));
            if !matches {
                return;
            }
        }
        found.matched += 1;
        let (id, figures) = (conn.id(), conn.figures());
        found.best.offer(query.sort.value(conn, &figures), id.serial(), || ConnectionRow {
            id,
            event_loop: Arc::clone(event_loop),
            server: server.cloned(),
            peer: conn.peer().clone(),
            local: conn.local(),
            state: state_name(conn.state()),
            bytes_in: figures.bytes_in,
            bytes_out: figures.bytes_out,
            reads: figures.reads,
            sends: figures.sends,
            pending: figures.pending,
            unread: figures.unread,
            age_ms: millis(figures.age),
            idle_ms: millis(figures.idle),
            reading_paused: conn.is_reading_paused(),
        });
    }
}

fn state_name(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Connected => "connected",
        ConnectionState::Disconnecting => "disconnecting",
        ConnectionState::Disconnected => "disconnected",
    }
}
