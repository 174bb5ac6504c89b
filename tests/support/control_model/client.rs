//! What one client has sent and received, and what it has to receive.

use std::collections::{BTreeMap, VecDeque};

use campana::connection::{CloseReason, Deadline};
use campana::control::ControlCounts;
use campana::session::SessionId;
use campana::testing::Peer;
use serde_json::{Value, json};

use super::case::{Answer, Limits};
use super::oracle::{Content, Expected, Members, Reply, expected};

pub(super) struct Client {
    pub(super) peer: Peer,
    pub(super) session: SessionId,
    limits: Limits,
    /// What is to become of the packets that were sent, but for those of which it has.
    expected: VecDeque<Expected>,
    /// Requests that wait for a later answer: their ids.
    later: Vec<Option<String>>,
    /// Later answers that were given and have not come yet.
    given: Vec<(Option<String>, Answer)>,
    sent: u64,
    replies: u64,
    errors: u64,
    errors_in_a_row: u64,
    /// Nothing more is to come.
    has_ended: bool,
    pub(super) sends_no_more: bool,
    pub(super) is_gone: bool,
    /// Deadlines may have ended the session.
    pub(super) time_passed: bool,
}

impl Client {
    pub(super) fn new(peer: Peer, session: SessionId, limits: Limits) -> Self {
        Self {
            peer,
            session,
            limits,
            expected: VecDeque::new(),
            later: Vec::new(),
            given: Vec::new(),
            sent: 0,
            replies: 0,
            errors: 0,
            errors_in_a_row: 0,
            has_ended: false,
            sends_no_more: false,
            is_gone: false,
            time_passed: false,
        }
    }

    pub(super) fn send(&mut self, packet: &[u8]) {
        self.peer.send(packet);
        let expected = expected(packet, self.limits);
        self.sent += u64::from(expected.is_some());
        self.expected.extend(expected);
    }

    /// A request is answered that was put off.
    pub(super) fn answers(&mut self, id: Option<&str>, answer: Answer) {
        self.given.push((id.map(str::to_owned), answer));
    }

    /// Takes what has come.
    pub(super) fn receive(&mut self) {
        for packet in self.peer.receive_packets() {
            let text = String::from_utf8(packet).expect("UTF-8");
            let received = Received::parse(&text);
            assert!(!self.has_ended, "a reply behind the last: {text}");
            self.replies += 1;
            if received.is_ok() {
                self.errors_in_a_row = 0;
            } else {
                self.errors += 1;
                self.errors_in_a_row += 1;
            }
            self.find(&received, &text);
            let reaches = |count: u64, limit: u64| limit != 0 && count >= limit;
            self.has_ended |= reaches(self.errors, self.limits.max_errors())
                || reaches(self.errors_in_a_row, self.limits.max_consecutive_errors());
        }
    }

    /// Finds what a reply is the answer to.
    fn find(&mut self, received: &Received, text: &str) {
        // Those behind requests that were put off are answered before these.
        let put_off =
            self.expected.iter().take_while(|expected| matches!(expected, Expected::Later { .. })).count();
        match self.expected.get(put_off) {
            Some(Expected::Reply(reply) | Expected::End(reply)) if received.is(reply) => {
                let answered = self.expected.remove(put_off);
                self.has_ended |= matches!(answered, Some(Expected::End(_)));
                return self.put_off(put_off);
            }
            _ => {}
        }
        let busy = self.expected.iter().take(put_off).position(|expected| match expected {
            Expected::Later { id } => received.is_busy(id.as_deref()),
            _ => false,
        });
        if let Some(index) = busy {
            self.expected.remove(index);
            return self.put_off(index);
        }
        let given = self.given.iter().position(|(id, answer)| received.is_later(id.as_deref(), *answer));
        let Some(index) = given else {
            panic!("{text} is the answer to nothing: {:?} was to come, or {:?}", self.expected, self.given);
        };
        let (id, answer) = self.given.remove(index);
        self.has_ended |= matches!(answer, Answer::ReplyAndEnd);
        // It was put off before it was answered.
        if let Some(index) = self.later.iter().position(|later| *later == id) {
            self.later.remove(index);
        } else {
            let index =
                self.expected.iter().position(|expected| *expected == Expected::Later { id: id.clone() });
            self.expected.remove(index.expect("it was asked for"));
        }
    }

    /// So many requests were put off, as what was behind them is answered.
    fn put_off(&mut self, count: usize) {
        for expected in self.expected.drain(..count) {
            if let Expected::Later { id } = expected {
                self.later.push(id);
            }
        }
    }

    /// What holds when nothing is under way.
    pub(super) fn check_settled(&mut self, counts: Option<ControlCounts>, waiting: usize) {
        if self.is_gone {
            return;
        }
        while let Some(Expected::Later { .. } | Expected::Terminate) = self.expected.front() {
            match self.expected.pop_front() {
                Some(Expected::Later { id }) => self.later.push(id),
                _ => {
                    self.has_ended = true;
                    self.expected.clear();
                }
            }
        }
        let reason = self.peer.close_reason();
        if self.has_ended {
            assert!(self.peer.is_read_closed() || reason.is_some(), "it should have ended");
            return;
        }
        if self.peer.is_read_closed() || reason.is_some() {
            let is_over = self.sends_no_more && self.later.is_empty() && self.expected.is_empty();
            assert!(
                is_over || self.time_passed,
                "it ended for no reason: {reason:?}, {:?} missing",
                self.expected
            );
            if matches!(reason, Some(CloseReason::TimedOut(Deadline::Idle))) {
                assert_eq!(waiting, 0, "it ended inactive while a request was worked on");
            }
            self.has_ended = true;
            self.expected.clear();
            return;
        }
        assert!(self.expected.is_empty(), "not answered: {:?}", self.expected);
        assert!(self.given.is_empty(), "did not arrive: {:?}", self.given);
        assert_eq!(self.later.len(), waiting);
        assert!(waiting <= self.limits.max_in_flight());
        assert!(
            !self.sends_no_more || waiting > 0,
            "nothing more is asked or answered, and it should have ended"
        );
        let counts = counts.expect("a session");
        assert_eq!(
            [
                counts.in_msg_count,
                counts.out_msg_count,
                counts.out_err_msg_count,
                counts.out_consecutive_err_msg_count,
                counts.in_flight as u64,
            ],
            [self.sent, self.replies, self.errors, self.errors_in_a_row, waiting as u64]
        );
    }
}

/// A reply as it came.
#[derive(Debug)]
struct Received {
    id: Option<String>,
    answer: Result<String, Errors>,
}

#[derive(Debug)]
struct Errors {
    code: String,
    /// Compared only where they are a handler's own.
    errors: Vec<String>,
    /// Each with its text.
    base: BTreeMap<String, String>,
}

impl Received {
    /// Checks that it has the shape that all replies have.
    fn parse(text: &str) -> Self {
        let members: Members = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(members.are_unique(), "{text}");
        assert_eq!(members.raw("version"), Some("1"), "{text}");
        let id = members.raw("id").map(|_| members.value::<String>("id").expect(text));
        let own: &[&str] = match members.value::<bool>("ok").expect(text) {
            true => &["version", "id", "ok", "result"],
            false => &["version", "id", "ok", "code", "errors"],
        };
        let others = members.0.iter().filter(|(name, _)| !own.contains(&&**name));
        let base =
            others.map(|(name, value)| (name.clone(), value.get().to_owned())).collect::<BTreeMap<_, _>>();
        if own.contains(&"result") {
            assert!(base.is_empty(), "{text}");
            return Self { id, answer: Ok(members.raw("result").expect(text).to_owned()) };
        }
        let code = members.value("code").expect(text);
        let errors: Vec<String> = members.value("errors").expect(text);
        assert!(!errors.is_empty(), "{text}");
        assert!(errors.len() < 20 || code != "invalid_request", "{text}");
        Self { id, answer: Err(Errors { code, errors, base }) }
    }

    fn is_busy(&self, id: Option<&str>) -> bool {
        self.id.as_deref() == id && self.answer.as_ref().is_err_and(|errors| errors.code == "busy")
    }

    fn is_ok(&self) -> bool {
        self.answer.is_ok()
    }

    fn is(&self, expected: &Reply) -> bool {
        self.id == expected.id
            && match (&self.answer, &expected.content) {
                (Ok(result), Content::Result(expected)) => result == expected,
                (Ok(result), Content::Help) => result.starts_with(r#"{"commands":["#),
                (Err(errors), Content::Error(code)) => errors.code == *code,
                (Err(is), Content::Failure { code, errors, base }) => {
                    (&is.code, &is.errors, &is.base) == (code, errors, base)
                }
                _ => false,
            }
    }

    fn is_later(&self, id: Option<&str>, answer: Answer) -> bool {
        self.id.as_deref() == id
            && match (&self.answer, answer) {
                (Ok(result), Answer::Reply | Answer::ReplyAndEnd) => {
                    serde_json::from_str(result).is_ok_and(|result: Value| result == json!({ "later": id }))
                }
                (Err(errors), Answer::Fail) => errors.code == "later",
                (Err(errors), Answer::Drop) => errors.code == "dropped",
                _ => false,
            }
    }
}
