//! Answers that come later, or from another thread.

use std::error::Error;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::envelope::{write_failure, write_reply};
use super::failure::code;
use super::{ControlSession, Failure};
use crate::session::SessionHandle;

/// Answers one request, once, now or later, from any thread. If it is dropped instead, also by a panic, the request is answered
/// by an error with the code `dropped`.
#[must_use = "a responder that is dropped answers with an error"]
pub struct Responder {
    session: SessionHandle<ControlSession>,
    id: Option<String>,
    number: u64,
    ends_session: bool,
    is_done: bool,
    passed: Option<Arc<AtomicBool>>,
}

/// An answer on its way to the session's loop.
pub(super) struct Answer {
    pub(super) id: Option<String>,
    /// Which of the session's requests that were put off it answers.
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) is_error: bool,
    pub(super) ends_session: bool,
    pub(super) descriptors: Vec<OwnedFd>,
    /// Set when the descriptors are the client's.
    pub(super) passed: Option<Arc<AtomicBool>>,
}

impl Responder {
    pub(super) fn new(session: SessionHandle<ControlSession>, id: Option<String>, number: u64) -> Self {
        Self { session, id, number, ends_session: false, is_done: false, passed: None }
    }

    /// Has it noted when the descriptors that go along with the answer are the client's.
    pub(super) fn note_passed(&mut self, passed: &Arc<AtomicBool>) {
        self.passed = Some(Arc::clone(passed));
    }

    /// The request's id, if it has one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether somebody may still wait for the answer. Work that takes long may look now and then.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.session.is_open()
    }

    /// Ends the session once this request has been answered and the answer is delivered.
    pub fn end_after_reply(&mut self) {
        self.ends_session = true;
    }

    /// Answers with a result. May be called from any thread.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] if the session has ended.
    pub fn reply<R: Serialize>(self, result: R) -> Result<(), ReplyError> {
        self.reply_with_descriptors(result, Vec::new())
    }

    /// Answers with a result, and passes descriptors along with it, up to [253](crate::socket::MAX_DESCRIPTORS). They are closed
    /// here in any case. If the client has not read earlier answers yet, it gets an error with the code `busy`. May be called from
    /// any thread.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] if the session has ended.
    pub fn reply_with_descriptors<R: Serialize>(
        mut self,
        result: R,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), ReplyError> {
        let mut bytes = Vec::new();
        match write_reply(&mut bytes, self.id.as_deref(), &result) {
            Ok(()) => self.send(bytes, false, descriptors),
            Err(failure) => self.fail(failure),
        }
    }

    /// Answers with an error. May be called from any thread.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] if the session has ended.
    pub fn fail(mut self, failure: impl Into<Failure>) -> Result<(), ReplyError> {
        self.send_failure(&failure.into())
    }

    fn send_failure(&mut self, failure: &Failure) -> Result<(), ReplyError> {
        let mut bytes = Vec::new();
        write_failure(&mut bytes, self.id.as_deref(), failure);
        self.send(bytes, true, Vec::new())
    }

    fn send(&mut self, bytes: Vec<u8>, is_error: bool, descriptors: Vec<OwnedFd>) -> Result<(), ReplyError> {
        self.is_done = true;
        if !self.session.is_open() {
            return Err(ReplyError);
        }
        let (id, number, ends_session) = (self.id.take(), self.number, self.ends_session);
        let passed = self.passed.take();
        let answer = Answer { id, number, bytes, is_error, ends_session, descriptors, passed };
        self.session.run(move |session, cx| session.answer_later(cx, answer)).map_err(|_| ReplyError)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.is_done {
            let failure = Failure::new("the request was given up without an answer").code(code::DROPPED);
            // Nobody waits if this fails.
            let _ = self.send_failure(&failure);
        }
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("id", &self.id)
            .field("session", &self.session.id())
            .finish_non_exhaustive()
    }
}

/// Nobody waits for the answer any more: the session has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::exhaustive_structs, reason = "there is nothing to say about it")]
pub struct ReplyError;

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session has ended, nobody waits for the answer")
    }
}

impl Error for ReplyError {}
