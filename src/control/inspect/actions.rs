//! What is done to one connection, or to its session if it has one.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::Value;

use super::connections::CHUNK;
use super::gather::{Gather, Share};
use super::inspected::Inspected;
use crate::codec::Codec;
use crate::connection::{ConnectionConfig, ConnectionId, TcpConnection};
use crate::control::Failure;
use crate::reactor::{HandlerHandle, LoopContext};
use crate::session::{Session, SessionConfig, SessionView, Sessions};

/// What the text of a connection's id names it by, and that of its session: the number of its loop, and its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Serial(u32, u64);

impl TryFrom<String> for Serial {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no id of a connection, which are such as 1-17"))
    }
}

impl Serial {
    pub(super) fn loop_number(self) -> u32 {
        self.0
    }

    pub(super) fn names(self, id: ConnectionId) -> bool {
        id.serial() == (self.0, self.1)
    }

    /// Reads what is shown of an id; nothing if it is shown in no such way.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (loop_number, number) = text.split_once('-')?;
        let serial = Self(loop_number.parse().ok()?, number.parse().ok()?);
        // One text for one id: no signs, no leading zeros.
        (serial.to_string() == text).then_some(serial)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// A connection that something is done to, by way of its session if it has one.
pub(super) trait Target {
    /// Ends it in good order, or at once.
    fn end(&mut self, at_once: bool);
    fn connection(&self) -> &ConnectionConfig;
    fn configure_connection(&mut self, change: &mut dyn FnMut(&mut ConnectionConfig));
    /// Nothing for a connection without a session.
    fn session(&self) -> Option<&SessionConfig>;
    fn configure_session(&mut self, change: &mut dyn FnMut(&mut SessionConfig));
}

impl Target for TcpConnection<'_> {
    fn end(&mut self, at_once: bool) {
        if at_once { self.force_close() } else { self.close() }
    }

    fn connection(&self) -> &ConnectionConfig {
        self.config()
    }

    fn configure_connection(&mut self, change: &mut dyn FnMut(&mut ConnectionConfig)) {
        self.configure(change);
    }

    fn session(&self) -> Option<&SessionConfig> {
        None
    }

    fn configure_session(&mut self, _change: &mut dyn FnMut(&mut SessionConfig)) {}
}

impl<C: Codec> Target for SessionView<'_, C> {
    fn end(&mut self, at_once: bool) {
        if at_once { self.abort() } else { self.close() }
    }

    fn connection(&self) -> &ConnectionConfig {
        self.connection_config()
    }

    fn configure_connection(&mut self, change: &mut dyn FnMut(&mut ConnectionConfig)) {
        self.configure_connection(change);
    }

    fn session(&self) -> Option<&SessionConfig> {
        Some(self.config())
    }

    fn configure_session(&mut self, change: &mut dyn FnMut(&mut SessionConfig)) {
        self.configure(change);
    }
}

/// What has come of an action, to be answered.
pub(super) type Outcome = Result<Value, Failure>;

/// What is to be done to the connection that is looked for.
pub(super) struct Errand {
    serial: Serial,
    act: Mutex<Option<Act>>,
}

type Act = Box<dyn FnOnce(&mut dyn Target) -> Outcome + Send>;

impl Errand {
    /// Done by whoever finds it; ids are one's alone.
    fn run(&self, target: &mut dyn Target) -> Option<Outcome> {
        let act = self.act.lock().unwrap_or_else(PoisonError::into_inner).take();
        act.map(|act| act(target))
    }
}

/// Looks for a connection, does something to it on its loop, and has `then` called with what has come of it: nothing if there is no
/// such connection.
pub(super) fn reach(
    inspected: &Arc<Inspected>,
    serial: Serial,
    act: impl FnOnce(&mut dyn Target) -> Outcome + Send + 'static,
    then: impl FnOnce(Option<Outcome>) + Send + 'static,
) {
    let errand = Arc::new(Errand { serial, act: Mutex::new(Some(Box::new(act))) });
    let (all, of_connection) = (Arc::clone(inspected), Arc::clone(&errand));
    let sessions = Gather::new(move |outcomes, _| match outcome_of(outcomes) {
        Some(outcome) => then(Some(outcome)),
        None => reach_connection(&all, &of_connection, then),
    });
    for (name, service) in inspected.services() {
        service.look_for(serial, &mut || Search::new(&errand, &sessions, name));
    }
}

/// As [`reach`], for a connection that has no session.
fn reach_connection(
    inspected: &Inspected,
    errand: &Arc<Errand>,
    then: impl FnOnce(Option<Outcome>) + Send + 'static,
) {
    let gather = Gather::new(move |outcomes, _| then(outcome_of(outcomes)));
    for event_loop in &inspected.loops {
        let search = Search::new(errand, &gather, &event_loop.name);
        // What is refused is dropped, and is an answer by that.
        let _ = event_loop.handle.post(|context| {
            if context.loop_number() == search.errand.serial.loop_number() {
                search.through_connections(context);
            }
        });
    }
}

fn outcome_of(outcomes: Vec<Option<Outcome>>) -> Option<Outcome> {
    outcomes.into_iter().flatten().next()
}

/// The way through one loop's connections, or its sessions of one service.
pub(super) struct Search {
    errand: Arc<Errand>,
    next_slot: usize,
    share: Share<Option<Outcome>>,
}

impl Search {
    fn new(errand: &Arc<Errand>, gather: &Gather<Option<Outcome>>, name: &Arc<str>) -> Self {
        Self { errand: Arc::clone(errand), next_slot: 0, share: gather.share(name, None) }
    }

    fn next_slots(&mut self) -> Range<usize> {
        let slots = self.next_slot..self.next_slot + CHUNK;
        self.next_slot = slots.end;
        slots
    }

    fn through_connections(mut self, context: &mut LoopContext) {
        let (serial, mut found) = (self.errand.serial, None);
        let more = context.inspect_connections(self.next_slots(), |conn| {
            if serial.names(conn.id()) {
                found = Some(conn.id());
            }
        });
        match found.and_then(|id| context.connection(id)) {
            Some(mut conn) => {
                *self.share.part() = self.errand.run(&mut conn);
                self.share.decide();
            }
            None if more => context.run_later(|context| self.through_connections(context)),
            None => {}
        }
    }

    /// Goes through a service's sessions on the loop of a handler.
    pub(super) fn through_sessions<S: Session>(mut self, handler: HandlerHandle<Sessions<S>>) {
        let again = handler.clone();
        // What is refused is dropped, and is an answer by that.
        let _ = handler.run(move |sessions, context| {
            let serial = self.errand.serial;
            match sessions.find(self.next_slots(), |id| serial.names(id.connection())) {
                (Some(id), _) => {
                    let (errand, outcome) = (Arc::clone(&self.errand), self.share.part());
                    sessions.with(context, id, |_, cx| *outcome = errand.run(&mut **cx));
                }
                (None, true) => self.through_sessions(again),
                (None, false) => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown_and_in_no_other_way() {
        for text in ["1-17", "4294967295-18446744073709551615", "0-0"] {
            assert_eq!(Serial::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "-",
            "17",
            "1-",
            "-17",
            "+1-17",
            "1-+17",
            "01-17",
            "1-017",
            "1-17 ",
            "1-17-3",
            "1--17",
            "a-b",
            "4294967296-1",
        ] {
            assert_eq!(Serial::parse(text), None, "{text:?}");
        }
    }
}
