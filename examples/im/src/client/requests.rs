//! Requests that wait for their replies.

use std::collections::BTreeMap;
use std::fmt;

use super::{ClientContext, ClientHandler};
use crate::protocol::{Command, ErrorCode, Failure, Frame, Request};

/// Why a request was not done, or isn't known to be.
#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "it was answered or not")]
pub enum RequestError {
    /// The server says why not.
    Failed(Failure),
    /// The connection ended before a reply came: it may have been done or not.
    Lost,
}

impl RequestError {
    /// What the server says, unless it has said nothing.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Failed(failure) => Some(failure.code),
            Self::Lost => None,
        }
    }

    /// Whether the same may be done later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self.code(), None | Some(ErrorCode::Busy | ErrorCode::StorageFailed))
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Lost => f.write_str("the connection ended before the reply came"),
        }
    }
}

impl std::error::Error for RequestError {}

/// What is done with a reply.
pub(super) type Then<H> =
    Box<dyn FnOnce(&mut H, &mut ClientContext<'_, '_, H>, Result<Frame<'_>, RequestError>)>;

/// The requests of one connection.
pub(super) struct Requests<H: ClientHandler> {
    last: u32,
    waiting: BTreeMap<u32, Then<H>>,
    /// Those that could not be sent, and why not.
    refused: Vec<(Then<H>, Failure)>,
    /// Those that are not to be sent yet, if there may be such.
    held: Option<Held>,
}

/// Requests that are to be sent later, in their order.
#[derive(Debug, Default)]
pub(super) struct Held(Vec<(Command, u32, Vec<u8>)>);

impl Held {
    pub(super) fn add<R: Request>(&mut self, seq: u32, request: &R) -> Result<(), Failure> {
        let body = serde_json::to_vec(request)
            .map_err(|error| Failure::new(ErrorCode::BadRequest, error.to_string()))?;
        self.0.push((R::COMMAND, seq, body));
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Command, u32, &[u8])> {
        self.0.iter().map(|(command, seq, body)| (*command, *seq, &body[..]))
    }
}

impl<H: ClientHandler> Requests<H> {
    pub(super) fn new() -> Self {
        Self { last: 0, waiting: BTreeMap::new(), refused: Vec::new(), held: None }
    }

    /// A number that no request that waits has; never zero, which events have.
    pub(super) fn number(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.waiting.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    pub(super) fn wait(&mut self, seq: u32, then: Then<H>) {
        self.waiting.insert(seq, then);
    }

    pub(super) fn take(&mut self, seq: u32) -> Option<Then<H>> {
        self.waiting.remove(&seq)
    }

    /// The first one that waits.
    pub(super) fn take_first(&mut self) -> Option<Then<H>> {
        self.waiting.pop_first().map(|(_, then)| then)
    }

    pub(super) fn refuse(&mut self, seq: u32, failure: Failure) {
        self.refused.extend(self.waiting.remove(&seq).map(|then| (then, failure)));
    }

    pub(super) fn take_refused(&mut self) -> Vec<(Then<H>, Failure)> {
        std::mem::take(&mut self.refused)
    }

    /// Sends nothing from now on, until it is [released](Self::release).
    pub(super) fn hold(&mut self) {
        self.held = Some(Held::default());
    }

    /// Where requests go that are not to be sent yet, if none is.
    pub(super) fn held(&mut self) -> Option<&mut Held> {
        self.held.as_mut()
    }

    pub(super) fn release(&mut self) -> Held {
        self.held.take().unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
