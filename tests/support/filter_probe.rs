//! Sessions and message filters that write down, in one log, what they are called for, and do what the test says.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::sync::{Arc, Mutex};

use campana::CloseReason;
use campana::codec::{Lines, Text};
use campana::session::{
    ErrorAction, FilterContext, Idle, MessageFilter, Session, SessionContext, SessionError, SessionService,
    Sessions, Verdict, WriteId,
};
use campana::testing::{Peer, TestLoop};

pub(crate) type Cx<'a> = FilterContext<'a, Text<Lines>>;

/// What was called, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// What was called since this was last asked.
    pub(crate) fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    Open,
    Message(&'a str),
    Write(&'a str),
    Encoded(&'a str),
    Idle,
    InputClosed,
    Closing,
    Timer(u64),
    Close,
}

pub(crate) type Act = fn(Event<'_>, &mut Cx<'_>) -> Verdict;

/// A filter that notes what it is called for, and does what the test says.
#[derive(Clone)]
pub(crate) struct Probe {
    pub(crate) name: &'static str,
    pub(crate) log: Log,
    pub(crate) act: Act,
}

impl Probe {
    fn event(&mut self, cx: &mut Cx<'_>, event: Event<'_>) -> Verdict {
        self.log.note(format!("{}: {event:?}", self.name));
        (self.act)(event, cx)
    }
}

impl MessageFilter<Text<Lines>> for Probe {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Verdict {
        self.event(cx, Event::Open)
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, line: &mut &str) -> Verdict {
        self.event(cx, Event::Message(line))
    }

    fn on_write(&mut self, cx: &mut Cx<'_>, line: &mut &str) -> Verdict {
        self.event(cx, Event::Write(line))
    }

    fn on_write_encoded(&mut self, cx: &mut Cx<'_>, encoded: &[u8]) -> Verdict {
        self.event(cx, Event::Encoded(std::str::from_utf8(encoded).unwrap()))
    }

    fn on_idle(&mut self, cx: &mut Cx<'_>, _idle: Idle) -> Verdict {
        self.event(cx, Event::Idle)
    }

    fn on_input_closed(&mut self, cx: &mut Cx<'_>) -> Verdict {
        self.event(cx, Event::InputClosed)
    }

    fn on_closing(&mut self, cx: &mut Cx<'_>) {
        self.event(cx, Event::Closing);
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, token: u64) -> Verdict {
        self.event(cx, Event::Timer(token))
    }

    fn on_close(&mut self, cx: &mut Cx<'_>, _reason: &CloseReason) {
        self.event(cx, Event::Close);
    }
}

pub(crate) fn pass(_: Event<'_>, _: &mut Cx<'_>) -> Verdict {
    Verdict::Pass
}

/// A session that notes what it is called for, and echoes, unless the test says something else of a message.
pub(crate) struct Host {
    pub(crate) log: Log,
    pub(crate) act: fn(&Log, &mut SessionContext<'_, Host>, &str) -> bool,
    pub(crate) on_error: ErrorAction,
}

impl Host {
    pub(crate) fn note(&self, event: Event<'_>) {
        self.log.note(format!("session: {event:?}"));
    }
}

impl Session for Host {
    type Codec = Text<Lines>;

    fn on_open(&mut self, _cx: &mut SessionContext<'_, Self>) {
        self.note(Event::Open);
    }

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        self.note(Event::Message(line));
        if !(self.act)(&self.log, cx, line)
            && let Err(error) = cx.write(line)
        {
            self.log.note(format!("session: write: {error}"));
        }
    }

    fn on_idle(&mut self, _cx: &mut SessionContext<'_, Self>, _idle: Idle) {
        self.note(Event::Idle);
    }

    fn on_input_closed(&mut self, cx: &mut SessionContext<'_, Self>) {
        self.note(Event::InputClosed);
        cx.close();
    }

    fn on_error(&mut self, _cx: &mut SessionContext<'_, Self>, error: &SessionError) -> ErrorAction {
        self.log.note(format!("session: error: {error}"));
        self.on_error
    }

    fn on_close(&mut self, _cx: &mut SessionContext<'_, Self>, reason: &CloseReason, _: Option<WriteId>) {
        self.log.note(format!("session: closed: {reason}"));
    }
}

/// A service whose sessions have these filters, and its log.
pub(crate) struct Bench {
    pub(crate) log: Log,
    pub(crate) service: SessionService<Host>,
    pub(crate) act: fn(&Log, &mut SessionContext<'_, Host>, &str) -> bool,
    pub(crate) on_error: ErrorAction,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let service = SessionService::new(|| Text::over(Lines::new()));
        Self { log: Log::default(), service, act: |_, _, _| false, on_error: ErrorAction::Close }
    }

    pub(crate) fn filter(mut self, name: &'static str, act: Act) -> Self {
        let probe = Probe { name, log: self.log.clone(), act };
        self.service = self.service.filter(name, move || probe.clone());
        self
    }

    /// What the session does with a message; it echoes those for which `act` answers `false`.
    pub(crate) fn session(mut self, act: fn(&Log, &mut SessionContext<'_, Host>, &str) -> bool) -> Self {
        self.act = act;
        self
    }

    pub(crate) fn on_error(mut self, action: ErrorAction) -> Self {
        self.on_error = action;
        self
    }

    pub(crate) fn start(self) -> (TestLoop<Sessions<Host>>, Log) {
        let Self { log, service, act, on_error } = self;
        let of_sessions = log.clone();
        let test = TestLoop::sessions(service, move |_| Host { log: of_sessions.clone(), act, on_error });
        (test, log)
    }
}

/// Adds a filter called as its text says, which passes everything.
pub(crate) fn probe(log: &Log, name: &'static str) -> Box<Probe> {
    Box::new(Probe { name, log: log.clone(), act: pass })
}

pub(crate) fn connected(test: &mut TestLoop<Sessions<Host>>, log: &Log) -> Peer {
    let peer = test.connect();
    test.run_until_idle();
    log.taken();
    peer
}

pub(crate) fn say(test: &mut TestLoop<Sessions<Host>>, peer: &Peer, text: &str) {
    peer.send(text);
    test.run_until_idle();
}
