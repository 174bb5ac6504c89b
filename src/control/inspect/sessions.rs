//! The sessions of services: filtered, sorted, a page at a time.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::actions::{Search, Serial};
use super::connections::CHUNK;
use super::gather::{Gather, GiveUp, Share};
use super::loops::InspectedLoop;
use super::paging::{Best, Page, SortValue};
use super::text::{Needle, as_text, fitting, millis, names};
use crate::reactor::{HandlerHandle, LoopHandle};
use crate::session::{
    IdleCounts, InspectedSession, ServiceStats, Session, SessionFigures, SessionId, SessionManager,
    SessionState, Sessions, Throughput,
};
use crate::socket::Address;

/// What sessions are sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SessionSort {
    #[default]
    Id,
    Peer,
    MessagesIn,
    MessagesOut,
    BytesIn,
    BytesOut,
    PendingBytes,
    PendingMessages,
    AgeMs,
    LastReadMs,
    LastWrittenMs,
    #[serde(rename = "throughput.bytes_in")]
    BytesInRate,
    #[serde(rename = "throughput.bytes_out")]
    BytesOutRate,
    #[serde(rename = "throughput.messages_in")]
    MessagesInRate,
    #[serde(rename = "throughput.messages_out")]
    MessagesOutRate,
}

impl SessionSort {
    /// Whether the largest come first unless something else is said.
    pub(super) fn is_descending(self) -> bool {
        !matches!(self, Self::Id | Self::Peer)
    }

    fn value(self, session: &mut dyn InspectedSession, figures: &SessionFigures) -> SortValue {
        let rate = match self {
            Self::Id => return SortValue::Serial(session.id().connection().serial()),
            Self::Peer => return SortValue::Text(session.peer().to_string()),
            Self::MessagesIn => return SortValue::Number(figures.messages_in),
            Self::MessagesOut => return SortValue::Number(figures.messages_out),
            Self::BytesIn => return SortValue::Number(figures.bytes_in),
            Self::BytesOut => return SortValue::Number(figures.bytes_out),
            Self::PendingBytes => return SortValue::Number(figures.pending_bytes as u64),
            Self::PendingMessages => return SortValue::Number(figures.pending_messages as u64),
            // In nanoseconds, which their milliseconds keep the order of.
            Self::AgeMs => return SortValue::Number(figures.age),
            Self::LastReadMs => return SortValue::Number(figures.since_read),
            Self::LastWrittenMs => return SortValue::Number(figures.since_written),
            Self::BytesInRate => session.throughput().bytes_in,
            Self::BytesOutRate => session.throughput().bytes_out,
            Self::MessagesInRate => session.throughput().messages_in,
            Self::MessagesOutRate => session.throughput().messages_out,
        };
        SortValue::of_rate(rate)
    }
}

/// Which sessions are asked for.
pub(super) struct SessionQuery {
    /// The only service whose sessions are of interest.
    pub(super) service: Option<Arc<str>>,
    pub(super) filter: Option<String>,
    pub(super) sort: SessionSort,
    pub(super) page: Page,
}

/// One session, as it was when its loop was asked.
#[derive(Debug, Serialize)]
pub(super) struct SessionRow {
    #[serde(serialize_with = "as_text")]
    pub(super) id: SessionId,
    #[serde(serialize_with = "as_text")]
    service: Arc<str>,
    #[serde(rename = "loop", serialize_with = "as_text")]
    event_loop: Arc<str>,
    #[serde(serialize_with = "as_text")]
    peer: Address,
    state: &'static str,
    authenticated: bool,
    attributes: Vec<&'static str>,
    filters: Vec<Cow<'static, str>>,
    byte_filters: Vec<Cow<'static, str>>,
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    pending_bytes: usize,
    pending_messages: usize,
    age_ms: u64,
    last_read_ms: u64,
    last_written_ms: u64,
    #[serde(with = "IdleRow")]
    idle: IdleCounts,
    #[serde(with = "ThroughputRow")]
    throughput: Throughput,
}

#[derive(Serialize)]
#[serde(remote = "IdleCounts")]
struct IdleRow {
    read: u32,
    write: u32,
    both: u32,
}

#[derive(Serialize)]
#[serde(remote = "Throughput")]
struct ThroughputRow {
    bytes_in: f64,
    bytes_out: f64,
    messages_in: f64,
    messages_out: f64,
}

/// A page of the sessions of all services.
#[derive(Debug, Serialize)]
pub(super) struct SessionPage {
    /// How many there are.
    pub(super) total: u64,
    /// How many of them were asked for.
    pub(super) matched: u64,
    pub(super) offset: usize,
    #[serde(serialize_with = "fitting")]
    pub(super) sessions: Vec<SessionRow>,
    /// Loops that are held up, some of whose sessions are missing.
    pub(super) unanswered: Vec<String>,
}

/// What one loop has found so far.
pub(super) struct Found {
    total: u64,
    matched: u64,
    best: Best<SessionRow>,
}

/// A service, whatever its sessions are.
pub(super) trait InspectedService: Send + Sync {
    fn stats(&self) -> ServiceStats;

    /// Has each loop go through its sessions, [`CHUNK`] slots a turn.
    fn walk(&self, start: &mut dyn FnMut(&LoopHandle) -> Walk);

    /// Has a loop look for the session of this serial; or none, if none of this number has had sessions.
    fn look_for(&self, serial: Serial, start: &mut dyn FnMut() -> Search);
}

/// Goes through the sessions of all `services`, and has `then` called with what was found when the last loop is through, or whoever
/// asks gives up.
pub(super) fn sessions<'a>(
    loops: &[InspectedLoop],
    services: impl Iterator<Item = (&'a Arc<str>, &'a dyn InspectedService)>,
    query: SessionQuery,
    then: impl FnOnce(SessionPage) + Send + 'static,
) -> GiveUp<Found> {
    let (page, query) = (query.page, Arc::new(query));
    let gather = Gather::new(move |parts: Vec<Found>, unanswered| {
        let total = parts.iter().map(|part| part.total).sum();
        let matched = parts.iter().map(|part| part.matched).sum();
        let sessions = Best::page(parts.into_iter().map(|part| part.best), page);
        let unanswered = names(unanswered);
        then(SessionPage { total, matched, offset: page.offset, sessions, unanswered });
    });
    for (name, service) in services {
        service.walk(&mut |handle| {
            let event_loop = InspectedLoop::name_of(loops, handle);
            Walk {
                query: Arc::clone(&query),
                service: Arc::clone(name),
                next_slot: 0,
                text: String::new(),
                share: gather.share(&event_loop, Found { total: 0, matched: 0, best: Best::new(page) }),
                event_loop,
            }
        });
    }
    gather.give_up()
}

impl<S: Session> InspectedService for SessionManager<S> {
    fn stats(&self) -> ServiceStats {
        self.stats()
    }

    fn walk(&self, start: &mut dyn FnMut(&LoopHandle) -> Walk) {
        for (_, handler) in self.handlers() {
            let walk = start(handler.loop_handle());
            walk.go_on(handler);
        }
    }

    fn look_for(&self, serial: Serial, start: &mut dyn FnMut() -> Search) {
        for (number, handler) in self.handlers() {
            if number == serial.loop_number() {
                start().through_sessions(handler);
            }
        }
    }
}

/// The way through the sessions of one service on one loop.
pub(super) struct Walk {
    query: Arc<SessionQuery>,
    service: Arc<str>,
    event_loop: Arc<str>,
    next_slot: usize,
    /// Where names are written to be searched.
    text: String,
    share: Share<Found>,
}

impl Walk {
    fn go_on<S: Session>(mut self, handler: HandlerHandle<Sessions<S>>) {
        let again = handler.clone();
        // What is refused is dropped, and is an answer by that.
        let _ = handler.run(move |sessions, context| {
            // Many may have been given up while something else held the loop.
            if !self.share.is_wanted() {
                return;
            }
            let slots = self.next_slot..self.next_slot + CHUNK;
            self.next_slot = slots.end;
            if sessions.inspect(context, slots, &mut |session| self.look_at(session)) {
                self.go_on(again);
            }
        });
    }

    fn look_at(&mut self, session: &mut dyn InspectedSession) {
        let Self { query, service, event_loop, text, share, .. } = self;
        let found = share.part();
        found.total += 1;
        if query.service.as_ref().is_some_and(|only| only != service) {
            return;
        }
        let id = session.id();
        if let Some(filter) = &query.filter {
            let mut needle = Needle::new(filter, text);
            let matches = needle.is_in(&id)
                || needle.is_in(&session.peer())
                || needle.is_in(service)
                || needle.is_in(event_loop);
            if !matches {
                return;
            }
        }
        found.matched += 1;
        let figures = session.figures();
        let value = query.sort.value(session, &figures);
        found.best.offer(value, id.connection().serial(), || SessionRow {
            id,
            service: Arc::clone(service),
            event_loop: Arc::clone(event_loop),
            peer: session.peer(),
            state: state_name(session.state()),
            authenticated: session.is_authenticated(),
            attributes: session.attributes(),
            filters: session.filters().to_vec(),
            byte_filters: session.byte_filters().to_vec(),
            messages_in: figures.messages_in,
            messages_out: figures.messages_out,
            bytes_in: figures.bytes_in,
            bytes_out: figures.bytes_out,
            pending_bytes: figures.pending_bytes,
            pending_messages: figures.pending_messages,
            age_ms: millis(figures.age),
            last_read_ms: millis(figures.since_read),
            last_written_ms: millis(figures.since_written),
            idle: figures.idle,
            throughput: session.throughput(),
        });
    }
}

fn state_name(state: SessionState) -> &'static str {
    match state {
        SessionState::Connected => "connected",
        SessionState::Idle { .. } => "idle",
        SessionState::Closing => "closing",
        SessionState::Closed => "closed",
    }
}
