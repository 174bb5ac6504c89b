//! A session that writes down what it is told, and does what the test says.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::fmt;
use std::sync::{Arc, Mutex};

use campana::CloseReason;
use campana::codec::{Lines, Text};
use campana::session::{
    ErrorAction, Idle, IdleKind, Session, SessionContext, SessionError, SessionService, Sessions, WriteId,
};
use campana::testing::TestLoop;

/// What a session is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    Open,
    Message(String),
    Written(u64),
    HighWater,
    LowWater,
    Idle(IdleKind, u32),
    InputClosed,
    Timer(u64),
    Error(String),
    Stopping,
    Close(String, Option<u64>),
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Message(text) => write!(f, "message {text}"),
            Self::Written(up_to) => write!(f, "written {up_to}"),
            Self::HighWater => f.write_str("high water"),
            Self::LowWater => f.write_str("low water"),
            Self::Idle(kind, count) => write!(f, "idle {kind:?} {count}"),
            Self::InputClosed => f.write_str("input closed"),
            Self::Timer(token) => write!(f, "timer {token}"),
            Self::Error(text) => write!(f, "error: {text}"),
            Self::Stopping => f.write_str("stopping"),
            Self::Close(reason, None) => write!(f, "close: {reason}"),
            Self::Close(reason, Some(unwritten)) => write!(f, "close: {reason}; unwritten from {unwritten}"),
        }
    }
}

/// What all sessions of a test were told, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Told>>>);

impl Log {
    pub(crate) fn push(&self, told: Told) {
        self.0.lock().unwrap().push(told);
    }

    /// Takes all out.
    pub(crate) fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Takes all out as text.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.take().iter().map(Told::to_string).collect()
    }

    /// Takes all out as text, without what was said of writes.
    pub(crate) fn lines_but_written(&self) -> Vec<String> {
        let told = self.take();
        told.iter().filter(|told| !matches!(told, Told::Written(_))).map(Told::to_string).collect()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Told) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|told| wanted(told)).count()
    }
}

/// What the probe does by itself, if the test's action hasn't seen to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// What a session does that overrides nothing.
    Usual,
    Nothing,
    /// For errors: what follows from them.
    Error(ErrorAction),
}

pub(crate) type Cx<'a> = SessionContext<'a, Probe>;
pub(crate) type Act = Arc<dyn Fn(&Told, &mut Cx<'_>) -> Then + Send + Sync>;

/// The session. What it is told is written down before the test's action runs.
pub(crate) struct Probe {
    log: Log,
    act: Act,
}

impl Probe {
    pub(crate) fn new(log: &Log, act: &Act) -> Self {
        Self { log: log.clone(), act: Arc::clone(act) }
    }

    fn told(&mut self, told: Told, cx: &mut Cx<'_>) -> Then {
        self.log.push(told.clone());
        (self.act)(&told, cx)
    }
}

impl Session for Probe {
    type Codec = Text<Lines>;

    fn on_open(&mut self, cx: &mut Cx<'_>) {
        self.told(Told::Open, cx);
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, message: &str) {
        self.told(Told::Message(message.to_owned()), cx);
    }

    fn on_written(&mut self, cx: &mut Cx<'_>, up_to: WriteId) {
        self.told(Told::Written(up_to.number()), cx);
    }

    fn on_high_water(&mut self, cx: &mut Cx<'_>) {
        self.told(Told::HighWater, cx);
    }

    fn on_low_water(&mut self, cx: &mut Cx<'_>) {
        self.told(Told::LowWater, cx);
    }

    fn on_idle(&mut self, cx: &mut Cx<'_>, idle: Idle) {
        if self.told(Told::Idle(idle.kind, idle.count), cx) == Then::Usual && idle.kind == IdleKind::Both {
            cx.close_because(CloseReason::TimedOut(campana::Deadline::Idle));
        }
    }

    fn on_input_closed(&mut self, cx: &mut Cx<'_>) {
        if self.told(Told::InputClosed, cx) == Then::Usual {
            cx.close();
        }
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, token: u64) {
        self.told(Told::Timer(token), cx);
    }

    fn on_error(&mut self, cx: &mut Cx<'_>, error: &SessionError) -> ErrorAction {
        match self.told(Told::Error(error.to_string()), cx) {
            Then::Error(action) => action,
            _ => ErrorAction::Close,
        }
    }

    fn on_stopping(&mut self, cx: &mut Cx<'_>) {
        if self.told(Told::Stopping, cx) == Then::Usual {
            cx.close_when_silent(std::time::Duration::from_secs(1));
        }
    }

    fn on_close(&mut self, cx: &mut Cx<'_>, reason: &CloseReason, unwritten: Option<WriteId>) {
        self.told(Told::Close(reason.to_string(), unwritten.map(WriteId::number)), cx);
    }
}

pub(crate) type ProbeLoop = TestLoop<Sessions<Probe>>;

/// A service of lines of text.
pub(crate) fn lines() -> SessionService<Probe> {
    SessionService::new(|| Text::over(Lines::new()))
}

/// A loop of probes, and what they are told.
pub(crate) fn probes(
    service: SessionService<Probe>,
    act: impl Fn(&Told, &mut Cx<'_>) -> Then + Send + Sync + 'static,
) -> (ProbeLoop, Log) {
    let log = Log::default();
    let (of_sessions, act): (_, Act) = (log.clone(), Arc::new(act));
    let test = TestLoop::sessions(service, move |_| Probe::new(&of_sessions, &act));
    (test, log)
}

/// Does something for one message, and the usual otherwise.
pub(crate) fn on_message(
    act: impl Fn(&str, &mut Cx<'_>) + Send + Sync + 'static,
) -> impl Fn(&Told, &mut Cx<'_>) -> Then + Send + Sync + 'static {
    move |told, cx| {
        if let Told::Message(text) = told {
            act(text, cx);
        }
        Then::Usual
    }
}
