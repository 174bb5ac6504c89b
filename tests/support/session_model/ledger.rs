//! What is known of each session, and what must hold of it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use campana::TimerId;
use campana::session::{SessionState, WriteError, WriteId};

use super::case::Reaction;

/// The longest message.
pub(super) const MOST: usize = 10_000;

#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Book>>);

impl Ledger {
    pub(super) fn open(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }
}

#[derive(Default)]
pub(super) struct Book {
    pub(super) records: Vec<Record>,
    pub(super) reactions: VecDeque<Reaction>,
    /// Panics that are meant.
    pub(super) panics: u64,
    pub(super) stops: bool,
    next_text: usize,
}

impl Book {
    /// Text unlike any before it.
    pub(super) fn text(&mut self, len: u16) -> String {
        self.next_text += 1;
        let letter = |at: usize| char::from(b'a' + ((at * at + self.next_text) % 26) as u8);
        (0..usize::from(len)).map(letter).collect()
    }
}

/// One session.
#[derive(Default)]
pub(super) struct Record {
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) in_callback: bool,
    pub(super) opened: bool,
    /// It was told that nothing more comes in.
    pub(super) input_closed: bool,
    pub(super) closed: bool,
    pub(super) peer_ended: bool,
    pub(super) is_high: bool,
    pub(super) errors: u64,
    pub(super) messages_in: u64,
    /// The message that filters have let in up to now.
    pub(super) current: Option<String>,
    pub(super) is_shut_down: bool,
    pub(super) timers: Vec<(u64, TimerId)>,
    pub(super) next_token: u64,
    pub(super) keys: BTreeSet<u8>,
}

/// What the peer sends.
#[derive(Default)]
pub(super) struct Input {
    frames: VecDeque<Frame>,
    /// What is made and not sent.
    pub(super) made: VecDeque<u8>,
    sent: usize,
    end: usize,
    /// Changes all bytes that are made.
    key: u8,
    pub(super) is_broken: bool,
}

struct Frame {
    /// Where in the stream it is known what it is.
    known_at: usize,
    content: Content,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Content {
    Text(String),
    Layer(u8),
    NotText,
    TooLong,
}

impl Input {
    pub(super) fn make(&mut self, content: Content) {
        let bytes = match &content {
            Content::Text(text) => text.as_bytes().to_vec(),
            Content::Layer(key) => format!("layer {key}").into_bytes(),
            Content::NotText => vec![0xff; 3],
            Content::TooLong => Vec::new(),
        };
        let announced = if content == Content::TooLong { u16::MAX } else { bytes.len() as u16 };
        self.end += 2 + bytes.len();
        let framed = announced.to_be_bytes().into_iter().chain(bytes);
        self.made.extend(framed.map(|byte| byte ^ self.key));
        if let Content::Layer(key) = content {
            self.key ^= key;
        }
        self.frames.push_back(Frame { known_at: self.end, content });
    }

    pub(super) fn take_made(&mut self, most: usize) -> Vec<u8> {
        let bytes: Vec<u8> = self.made.drain(..most.min(self.made.len())).collect();
        self.sent += bytes.len();
        bytes
    }

    /// A frame has come in: which is it?
    pub(super) fn next(&mut self) -> Content {
        let frame = self.frames.pop_front().expect("something that the peer has not made");
        assert!(frame.known_at <= self.sent && !self.is_broken, "something that the peer has not sent");
        self.is_broken = frame.content == Content::TooLong;
        frame.content
    }

    /// Whether all has been decoded that was sent, as far as it can be.
    pub(super) fn is_done(&self) -> bool {
        self.is_broken || self.frames.front().is_none_or(|frame| frame.known_at > self.sent)
    }
}

/// What the session writes.
#[derive(Default)]
pub(super) struct Output {
    /// What the peer is to see of it, and where in it each write ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// A write that has passed all filters, and may be accepted yet.
    tentative: Option<Vec<u8>>,
    /// What the layers that are there change each byte by.
    pub(super) key: u8,
    pub(super) layers: [Option<u8>; 3],
    pub(super) received: usize,
    reported: u64,
}

impl Output {
    pub(super) fn accepted(&self) -> u64 {
        self.ends.len() as u64
    }

    /// A write has passed all filters.
    pub(super) fn tentative(&mut self, encoded: impl IntoIterator<Item = u8>) {
        self.tentative = Some(encoded.into_iter().map(|byte| byte ^ self.key).collect());
    }

    /// What has become of a write that its writer knows of.
    pub(super) fn confirm(&mut self, result: &Result<WriteId, WriteError>, state: SessionState) {
        match result {
            Ok(id) => {
                self.commit();
                assert_eq!(id.number(), self.accepted(), "ids rise by one");
            }
            Err(WriteError::Full | WriteError::TooLarge) => assert_eq!(state, SessionState::Closing),
            Err(_) => {}
        }
        self.tentative = None;
    }

    /// What has become of the last write, if nobody was told: it is among those that are accepted.
    pub(super) fn settle(&mut self, accepted: u64) {
        if accepted > self.accepted() {
            self.commit();
        }
        self.tentative = None;
        assert_eq!(accepted, self.accepted(), "writes are counted");
    }

    fn commit(&mut self) {
        self.bytes.extend(self.tentative.take().expect("a write passes the filters"));
        self.ends.push(self.bytes.len());
    }

    pub(super) fn report(&mut self, up_to: u64) {
        assert!(self.reported < up_to && up_to <= self.accepted(), "{up_to} after {}", self.reported);
        self.reported = up_to;
    }

    /// The session is told of what was not written.
    pub(super) fn end(&self, unwritten: Option<WriteId>) {
        let first_unwritten = (self.reported < self.accepted()).then_some(self.reported + 1);
        assert_eq!(unwritten.map(WriteId::number), first_unwritten, "each write is resolved once");
    }

    /// The peer has received this.
    pub(super) fn check(&mut self, received: &[u8]) {
        let expected = self.bytes.iter().chain(self.tentative.iter().flatten()).skip(self.received);
        self.received += received.len();
        assert!(expected.take(received.len()).eq(received), "the peer receives what was written, in order");
        self.check_reported();
    }

    fn check_reported(&self) {
        if let Some(last) = self.reported.checked_sub(1) {
            assert!(self.ends[last as usize] <= self.received, "called written, and is not");
        }
    }

    /// All of it has got out.
    pub(super) fn check_all_out(&self) {
        assert_eq!(self.received, self.bytes.len(), "nothing is left unsent");
        assert_eq!(self.reported, self.accepted(), "each write is resolved");
    }
}
