//! The requests of a control session and their answers, one by one.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use serde::Serialize;

use super::access::Access;
use super::call::Call;
use super::envelope::{Request, write_failure, write_reply};
use super::failure::{Failure, code};
use super::responder::Answer;
use super::session::Shared;
use super::{ControlConfig, ControlSession};
use crate::connection::CloseReason;
use crate::session::{SessionContext, WriteError};
use crate::socket::PeerCredentials;

type Context<'a> = SessionContext<'a, ControlSession>;

/// What a control session has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ControlCounts {
    /// Requests that were received, those included that were invalid.
    pub in_msg_count: u64,
    /// Replies that were sent, errors included.
    pub out_msg_count: u64,
    /// Error replies that were sent.
    pub out_err_msg_count: u64,
    /// Error replies that were sent since the last that was none.
    pub out_consecutive_err_msg_count: u64,
    /// Requests that wait for an answer that comes later.
    pub in_flight: usize,
}

/// What a session knows beside its commands.
pub(super) struct Exchange {
    pub(super) peer: PeerCredentials,
    pub(super) access: Access,
    pub(super) counts: ControlCounts,
    pub(super) ends_after_reply: bool,
    /// A request waits for an answer from this callback.
    is_pending: bool,
    has_id: bool,
    id: String,
    /// Nothing more is asked: the session ends with its last answer.
    ends_when_answered: bool,
    /// How many requests have been put off, which numbers them.
    put_off: u64,
    /// The requests put off with whose answer the session ends.
    ends_with: Vec<u64>,
    reply: Vec<u8>,
}

impl Exchange {
    pub(super) fn new(peer: PeerCredentials, access: Access) -> Self {
        Self {
            peer,
            access,
            counts: ControlCounts::default(),
            ends_after_reply: false,
            is_pending: false,
            has_id: false,
            id: String::new(),
            ends_when_answered: false,
            put_off: 0,
            ends_with: Vec::new(),
            reply: Vec::new(),
        }
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.has_id.then_some(&*self.id)
    }

    /// Whether a request waits for an answer from this callback.
    pub(super) fn is_pending(&self) -> bool {
        self.is_pending
    }

    /// Answers the request later; what is given is the number that it then has.
    pub(super) fn put_off(&mut self) -> u64 {
        self.is_pending = false;
        self.counts.in_flight += 1;
        self.put_off += 1;
        self.put_off
    }

    /// Notes whose answer comes next.
    pub(super) fn begin(&mut self, id: Option<&str>) {
        self.ends_after_reply = false;
        self.has_id = id.is_some();
        self.id.clear();
        self.id.push_str(id.unwrap_or_default());
    }

    pub(super) fn run(&mut self, shared: &Shared, cx: &mut Context<'_>, request: &Request<'_>) {
        self.begin(request.id.as_deref());
        let Some(command) = shared.router.command(&request.command) else {
            return self.fail(shared, cx, &shared.router.unknown(&request.command));
        };
        if let Some(role) = command.role().filter(|role| !self.access.has_role(role)) {
            let text = format!("the command `{}` asks for the role `{role}`", command.name());
            return self.fail(shared, cx, &Failure::new(text).code(code::NOT_PERMITTED).with("role", role));
        }
        self.is_pending = true;
        let put_off = self.put_off;
        let mut call = Call { cx: cx.reborrow(), shared, exchange: self, command: command.name() };
        (command.run)(&mut call, request.params());
        // A handler that has terminated the session has nobody to answer.
        self.is_pending = false;
        if self.put_off != put_off && std::mem::take(&mut self.ends_after_reply) {
            self.ends_with.push(self.put_off);
        }
    }

    /// The handler panicked: answers the request, unless that was put off or done.
    pub(super) fn panicked(&mut self, shared: &Shared, cx: &mut Context<'_>) {
        if std::mem::take(&mut self.is_pending) {
            let failure = Failure::new("the command's handler panicked").code(code::PANICKED);
            self.fail(shared, cx, &failure);
        } else if std::mem::take(&mut self.ends_after_reply) {
            self.ends_with.push(self.put_off);
        }
    }

    /// Answers the request that was begun.
    pub(super) fn answer<R: Serialize>(
        &mut self,
        shared: &Shared,
        cx: &mut Context<'_>,
        result: Result<&R, &Failure>,
    ) {
        let mut reply = std::mem::take(&mut self.reply);
        reply.clear();
        let written = result.map(|result| write_reply(&mut reply, self.id(), result));
        let is_error = match written {
            Ok(Ok(())) => false,
            Ok(Err(failure)) => {
                write_failure(&mut reply, self.id(), &failure);
                true
            }
            Err(failure) => {
                write_failure(&mut reply, self.id(), failure);
                true
            }
        };
        // Not before: a result may panic while it is written.
        self.is_pending = false;
        self.send(shared, cx, &reply, is_error);
        if reply.capacity() <= KEPT {
            self.reply = reply;
        }
        if std::mem::take(&mut self.ends_after_reply) {
            cx.close();
        }
    }

    pub(super) fn fail(&mut self, shared: &Shared, cx: &mut Context<'_>, failure: &Failure) {
        self.answer::<()>(shared, cx, Err(failure));
    }

    pub(super) fn answer_later(&mut self, shared: &Shared, cx: &mut Context<'_>, answer: Answer) {
        self.counts.in_flight -= 1;
        self.begin(answer.id.as_deref());
        if answer.descriptors.is_empty() {
            self.send(shared, cx, &answer.bytes, answer.is_error);
        } else if let Err(failure) = pass_descriptors(cx, &answer) {
            self.fail(shared, cx, &failure);
        } else {
            if let Some(passed) = &answer.passed {
                passed.store(true, Ordering::Relaxed);
            }
            self.count(shared, cx, false);
        }
        if answer.ends_session || self.ends_with.contains(&answer.number) {
            cx.close();
        } else if self.ends_when_answered {
            self.end_when_answered(cx);
        }
    }

    /// Ends the session as soon as nothing waits for its answer.
    pub(super) fn end_when_answered(&mut self, cx: &mut Context<'_>) {
        self.ends_when_answered = true;
        if self.counts.in_flight == 0 {
            cx.close();
        }
    }

    /// Sends a reply; in the place of one that no packet can hold, an error.
    fn send(&mut self, shared: &Shared, cx: &mut Context<'_>, reply: &[u8], is_error: bool) {
        match cx.write(reply) {
            Ok(_) => self.count(shared, cx, is_error),
            Err(WriteError::TooLarge) => {
                let failure = too_large(reply);
                // If it is the id that is too long, there is none in the error.
                let is_sent = [self.id(), None].into_iter().any(|id| {
                    let mut instead = Vec::new();
                    write_failure(&mut instead, id, &failure);
                    cx.write(&instead).is_ok()
                });
                if is_sent {
                    self.count(shared, cx, true);
                }
            }
            // Those who can't be told are closed, or will be.
            Err(error) => log::debug!("a reply of {} bytes was not sent: {error}", reply.len()),
        }
    }

    /// Counts a reply, and ends a session that has got too many errors.
    fn count(&mut self, shared: &Shared, cx: &mut Context<'_>, is_error: bool) {
        let counts = &mut self.counts;
        counts.out_msg_count += 1;
        shared.totals.replies.add(1);
        if !is_error {
            counts.out_consecutive_err_msg_count = 0;
            return;
        }
        counts.out_err_msg_count += 1;
        counts.out_consecutive_err_msg_count += 1;
        shared.totals.errors.add(1);
        let reaches = |count: u64, limit: u64| limit != 0 && count >= limit;
        let ControlConfig { max_errors, max_consecutive_errors, .. } = shared.config;
        let text = if reaches(counts.out_consecutive_err_msg_count, max_consecutive_errors) {
            format!("{max_consecutive_errors} errors in a row")
        } else if reaches(counts.out_err_msg_count, max_errors) {
            format!("{max_errors} errors")
        } else {
            return;
        };
        shared.totals.ended_for_errors.add(1);
        cx.close_because(CloseReason::Protocol(text.into()));
    }
}

/// What is kept of a reply's memory for the next.
const KEPT: usize = 16 * 1024;

fn too_large(reply: &[u8]) -> Failure {
    let text = format!("the reply has {} bytes, more than a packet takes: ask for less", reply.len());
    Failure::new(text).code(code::TOO_LARGE)
}

/// Sends a reply with descriptors: at once, as they can't be queued, so that nothing may be before it.
fn pass_descriptors(cx: &mut Context<'_>, answer: &Answer) -> Result<(), Failure> {
    cx.flush();
    let busy = || {
        let text = "answers wait to be read: descriptors are passed only if none does";
        Failure::new(text).code(code::BUSY)
    };
    if cx.pending_bytes() > 0 {
        return Err(busy());
    }
    let Some(socket) = cx.socket() else {
        return Err(Failure::new("descriptors can't be passed here"));
    };
    let descriptors: Vec<_> = answer.descriptors.iter().map(AsFd::as_fd).collect();
    match socket.send_with_descriptors(&answer.bytes, &descriptors) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err(busy()),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) => Err(too_large(&answer.bytes)),
        Err(error) => Err(Failure::new(format!("the descriptors could not be passed: {error}"))),
    }
}
