//! A handler that writes down what it is told, and does what the test says.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use campana::connection::{ConnectError, ConnectionStats};
use campana::{Buffer, CloseReason, ConnectionId, Handler, LoopContext, TcpConnection};

use super::PATIENCE;

/// Which callback is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) enum Moment {
    Connect,
    Data,
    WriteComplete,
    HighWater,
    LowWater,
    ReadClosed,
    Timer(u64),
    Stopping,
    Close,
}

impl Moment {
    /// What a handler does that overrides nothing; input is discarded.
    pub(crate) fn usual(self, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        match self {
            Self::Data => input.retrieve_all(),
            Self::ReadClosed => conn.close(),
            Self::Stopping => conn.close_when_silent(Duration::from_secs(1)),
            _ => {}
        }
    }
}

/// One line of the log.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Called(Moment),
    /// What `on_data` was given, before the test's action had it.
    Data(Vec<u8>),
    Closed(String, ConnectionStats),
    ConnectFailed(String, Option<Duration>),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Called(moment) => write!(f, "{moment:?}"),
            Self::Data(bytes) if bytes.len() <= 32 => write!(f, "Data({})", bytes.escape_ascii()),
            Self::Data(bytes) => write!(f, "Data({} bytes)", bytes.len()),
            Self::Closed(reason, _) => write!(f, "Closed({reason})"),
            Self::ConnectFailed(error, retry) => write!(f, "ConnectFailed({error}, {})", retry.is_some()),
        }
    }
}

/// What happened, in its order, over all connections and threads of a test.
#[derive(Clone, Default)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    events: Mutex<Vec<(Option<ConnectionId>, Event)>>,
    news: Condvar,
    states: AtomicUsize,
    nested: AtomicUsize,
}

impl Log {
    pub(crate) fn push(&self, id: Option<ConnectionId>, event: Event) {
        self.shared.events.lock().unwrap().push((id, event));
        self.shared.news.notify_all();
    }

    /// All events as text.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.shared.events.lock().unwrap().iter().map(|(_, event)| event.to_string()).collect()
    }

    fn last_lines(&self) -> Vec<String> {
        let lines = self.lines();
        lines[lines.len().saturating_sub(30)..].to_vec()
    }

    /// One connection's events as text.
    pub(crate) fn lines_of(&self, wanted: ConnectionId) -> Vec<String> {
        let events = self.shared.events.lock().unwrap();
        events.iter().filter(|(id, _)| *id == Some(wanted)).map(|(_, event)| event.to_string()).collect()
    }

    /// The connections, in the order in which they were first heard of.
    pub(crate) fn ids(&self) -> Vec<ConnectionId> {
        let mut ids = Vec::new();
        for id in self.shared.events.lock().unwrap().iter().filter_map(|(id, _)| *id) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    pub(crate) fn count(&self, moment: Moment) -> usize {
        let events = self.shared.events.lock().unwrap();
        events.iter().filter(|(_, event)| is(event, moment)).count()
    }

    /// Everything that came in, joined.
    pub(crate) fn data(&self) -> Vec<u8> {
        let events = self.shared.events.lock().unwrap();
        let pieces = events.iter().filter_map(|(_, event)| match event {
            Event::Data(bytes) => Some(&bytes[..]),
            _ => None,
        });
        pieces.collect::<Vec<_>>().concat()
    }

    /// Why connections ended, in their order.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let events = self.shared.events.lock().unwrap();
        let closed = events.iter().filter_map(|(_, event)| match event {
            Event::Closed(reason, _) => Some(reason.clone()),
            _ => None,
        });
        closed.collect()
    }

    /// The figures of the connection that ended last.
    pub(crate) fn last_stats(&self) -> Option<ConnectionStats> {
        let events = self.shared.events.lock().unwrap();
        events.iter().rev().find_map(|(_, event)| match event {
            Event::Closed(_, stats) => Some(stats.clone()),
            _ => None,
        })
    }

    /// Waits until the log satisfies `condition`.
    ///
    /// # Panics
    ///
    /// If it doesn't in time; the text shows the log.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition(self) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}; the log ends with {:#?}", self.last_lines());
            let events = self.shared.events.lock().unwrap();
            drop(self.shared.news.wait_timeout(events, left.min(Duration::from_millis(20))));
        }
    }

    /// Waits for so many calls of a callback.
    #[track_caller]
    pub(crate) fn wait_count(&self, moment: Moment, count: usize) {
        self.wait(&format!("{count} of {moment:?}"), |log| log.count(moment) >= count);
    }

    /// Waits for the end of a connection, and tells why it ended.
    #[track_caller]
    pub(crate) fn wait_closed(&self) -> String {
        self.wait_count(Moment::Close, 1);
        self.reasons().remove(0)
    }

    /// How many states of connections exist.
    pub(crate) fn states(&self) -> usize {
        self.shared.states.load(Ordering::SeqCst)
    }

    /// That every connection had one `on_connect` first and one `on_close` last, that no callback ran inside another, and that
    /// no state is left.
    #[track_caller]
    pub(crate) fn assert_whole_lives(&self, connections: usize) {
        let ids = self.ids();
        assert_eq!(ids.len(), connections, "{:#?}", self.lines());
        for id in ids {
            let lines = self.lines_of(id);
            let starts = lines.iter().filter(|line| *line == "Connect").count();
            let ends = lines.iter().filter(|line| line.starts_with("Closed")).count();
            let is_whole = lines[0] == "Connect" && lines[lines.len() - 1].starts_with("Closed");
            assert!(starts == 1 && ends == 1 && is_whole, "{lines:#?}");
        }
        assert_eq!(self.states(), 0, "states are left");
        assert_eq!(self.shared.nested.load(Ordering::SeqCst), 0, "callbacks were nested");
    }
}

fn is(event: &Event, moment: Moment) -> bool {
    match event {
        Event::Called(called) => *called == moment,
        Event::Data(_) => moment == Moment::Data,
        Event::Closed(..) => moment == Moment::Close,
        Event::ConnectFailed(..) => false,
    }
}

/// What a test does in callbacks. The buffer is the input in `on_data`, and an empty one elsewhere.
pub(crate) type Act = Arc<dyn Fn(Moment, &mut TcpConnection<'_>, &mut Buffer) + Send + Sync>;

/// The handler. It writes down what is called before the test's action runs.
pub(crate) struct Recorder {
    log: Log,
    act: Act,
    inside: bool,
}

/// Counts itself.
pub(crate) struct State {
    shared: Arc<Shared>,
}

impl Drop for State {
    fn drop(&mut self) {
        self.shared.states.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Recorder {
    pub(crate) fn new(
        log: &Log,
        act: impl Fn(Moment, &mut TcpConnection<'_>, &mut Buffer) + Send + Sync + 'static,
    ) -> Self {
        Self { log: log.clone(), act: Arc::new(act), inside: false }
    }

    pub(crate) fn with(log: &Log, act: &Act) -> Self {
        Self { log: log.clone(), act: Arc::clone(act), inside: false }
    }

    fn called(&mut self, moment: Moment, conn: &mut TcpConnection<'_>) {
        self.log.push(Some(conn.id()), Event::Called(moment));
        self.act(moment, conn, &mut Buffer::new());
    }

    fn act(&mut self, moment: Moment, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        if std::mem::replace(&mut self.inside, true) {
            self.log.shared.nested.fetch_add(1, Ordering::SeqCst);
        }
        let inside = Inside(&mut self.inside);
        (self.act)(moment, conn, input);
        drop(inside);
    }
}

/// Tells the end of a callback, be it a panic.
struct Inside<'a>(&'a mut bool);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        *self.0 = false;
    }
}

impl Handler for Recorder {
    type State = State;

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) -> State {
        self.called(Moment::Connect, conn);
        self.log.shared.states.fetch_add(1, Ordering::SeqCst);
        State { shared: Arc::clone(&self.log.shared) }
    }

    fn on_data(&mut self, _: &mut State, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        self.log.push(Some(conn.id()), Event::Data(input.peek().to_vec()));
        self.act(Moment::Data, conn, input);
    }

    fn on_write_complete(&mut self, _: &mut State, conn: &mut TcpConnection<'_>) {
        self.called(Moment::WriteComplete, conn);
    }

    fn on_high_water(&mut self, _: &mut State, conn: &mut TcpConnection<'_>) {
        self.called(Moment::HighWater, conn);
    }

    fn on_low_water(&mut self, _: &mut State, conn: &mut TcpConnection<'_>) {
        self.called(Moment::LowWater, conn);
    }

    fn on_read_closed(&mut self, _: &mut State, conn: &mut TcpConnection<'_>) {
        self.called(Moment::ReadClosed, conn);
    }

    fn on_timer(&mut self, _: &mut State, conn: &mut TcpConnection<'_>, token: u64) {
        self.called(Moment::Timer(token), conn);
    }

    fn on_stopping(&mut self, _: &mut State, conn: &mut TcpConnection<'_>) {
        self.called(Moment::Stopping, conn);
    }

    fn on_close(&mut self, state: State, conn: &mut TcpConnection<'_>, reason: CloseReason) {
        drop(state);
        let id = conn.id();
        let stats = conn.stats();
        self.log.push(Some(id), Event::Closed(reason.to_string(), stats));
        self.act(Moment::Close, conn, &mut Buffer::new());
    }

    fn on_connect_failed(&mut self, _: &mut LoopContext, error: &ConnectError, retry: Option<Duration>) {
        self.log.push(None, Event::ConnectFailed(error.to_string(), retry));
    }
}
