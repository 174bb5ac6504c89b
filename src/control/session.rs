//! A control session: requests in, replies out.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::io::Errno;
use serde::Serialize;

use super::access::Access;
use super::call::Call;
use super::envelope::{self, Request, Violation, write_failure, write_reply};
use super::failure::{Failure, code};
use super::responder::Answer;
use super::{ControlConfig, Router};
use crate::codec::RawBytes;
use crate::connection::{CloseReason, ServerHandle};
use crate::reactor::Counter;
use crate::session::{
    ErrorAction, Idle, IdleKind, Session, SessionContext, SessionError, Sessions, WriteError,
};
use crate::socket::PeerCredentials;

type Context<'a> = SessionContext<'a, ControlSession>;

/// A peer of a control socket, as a [`Session`] like any other: it is found by its
/// [`SessionManager`](crate::session::SessionManager), has idle times, filters, attributes and statistics.
pub struct ControlSession {
    shared: Arc<Shared>,
    exchange: Exchange,
}

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

/// What the sessions of a control socket share.
pub(super) struct Shared {
    pub(super) router: Router,
    pub(super) config: ControlConfig,
    pub(super) authorize: Box<dyn Fn(&PeerCredentials) -> Access + Send + Sync>,
    pub(super) totals: Totals,
    /// The server behind the socket, from its start on.
    pub(super) server: OnceLock<ServerHandle<Sessions<ControlSession>>>,
}

/// What the sessions of a control socket have counted together. All of them are on one loop, which alone writes here.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) requests: Counter,
    pub(super) replies: Counter,
    pub(super) errors: Counter,
    pub(super) busy: Counter,
    pub(super) refused: Counter,
    pub(super) ended_for_errors: Counter,
    pub(super) ended_inactive: Counter,
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

impl ControlSession {
    pub(super) fn new(shared: Arc<Shared>, peer: PeerCredentials) -> Self {
        let access = (shared.authorize)(&peer);
        let exchange = Exchange {
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
        };
        Self { shared, exchange }
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> ControlCounts {
        self.exchange.counts
    }

    /// Who the peer is, as the kernel says.
    #[must_use]
    pub fn peer(&self) -> PeerCredentials {
        self.exchange.peer
    }

    /// What the peer may do.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.exchange.access
    }

    /// After what time without a byte in either direction a session ends; zero is never.
    #[must_use]
    pub fn inactivity(cx: &SessionContext<'_, Self>) -> Duration {
        cx.config().idle_both.unwrap_or(Duration::ZERO)
    }

    /// Sets after what time without a byte in either direction a session ends; zero is never. The time counts from the last
    /// byte.
    pub fn set_inactivity(cx: &mut SessionContext<'_, Self>, time: Duration) {
        cx.configure(|config| config.idle_both = Some(time));
    }

    /// Answers a request that was put off.
    pub(super) fn answer_later(&mut self, cx: &mut SessionContext<'_, Self>, answer: Answer) {
        self.exchange.answer_later(&self.shared, cx, answer);
    }
}

impl Session for ControlSession {
    type Codec = RawBytes;

    const WANTS_WRITTEN: bool = false;

    fn on_open(&mut self, cx: &mut SessionContext<'_, Self>) {
        if self.exchange.access == Access::Refused {
            self.shared.totals.refused.add(1);
            let text = format!("user {} may not use this control socket", self.exchange.peer.uid);
            let refused = CloseReason::Refused(text.clone().into());
            self.exchange.fail(&self.shared, cx, &Failure::new(text).code(code::REFUSED));
            // Those who may do nothing are not to keep the places of others, and so are not waited for to close as well.
            cx.configure_connection(|connection| connection.linger = Duration::ZERO);
            pass_over_input(cx);
            cx.close_because(refused);
        }
    }

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, packet: &[u8]) {
        let Self { shared, exchange } = self;
        exchange.counts.in_msg_count += 1;
        shared.totals.requests.add(1);
        match envelope::parse(packet) {
            Ok(request) => exchange.run(shared, cx, &request),
            Err(Violation { id, failure }) => {
                exchange.begin(id.as_deref());
                exchange.fail(shared, cx, &failure);
            }
        }
        // The high-water mark is told at the turn's end, by which answers could be far above it.
        let high_water = cx.connection_config().high_water;
        if cx.pending_bytes() > high_water {
            cx.flush();
            if cx.pending_bytes() > high_water {
                cx.pause_reading();
            }
        }
    }

    /// Who doesn't read the answers is not read from either.
    fn on_high_water(&mut self, cx: &mut SessionContext<'_, Self>) {
        cx.pause_reading();
    }

    fn on_low_water(&mut self, cx: &mut SessionContext<'_, Self>) {
        cx.resume_reading();
    }

    fn on_idle(&mut self, cx: &mut SessionContext<'_, Self>, idle: Idle) {
        if idle.kind == IdleKind::Both && self.exchange.counts.in_flight == 0 {
            self.shared.totals.ended_inactive.add(1);
            cx.close_because(CloseReason::TimedOut(crate::Deadline::Idle));
        }
    }

    fn on_input_closed(&mut self, cx: &mut SessionContext<'_, Self>) {
        self.exchange.end_when_answered(cx);
    }

    fn on_stopping(&mut self, cx: &mut SessionContext<'_, Self>) {
        self.exchange.end_when_answered(cx);
    }

    fn on_error(&mut self, cx: &mut SessionContext<'_, Self>, error: &SessionError) -> ErrorAction {
        let Self { shared, exchange } = self;
        match error {
            SessionError::Panicked { message } => {
                log::error!("a command of a control socket panicked: {message}");
                if exchange.take_pending() {
                    let failure = Failure::new("the command's handler panicked").code(code::PANICKED);
                    exchange.fail(shared, cx, &failure);
                } else if std::mem::take(&mut exchange.ends_after_reply) {
                    exchange.ends_with.push(exchange.put_off);
                }
                ErrorAction::Continue
            }
            SessionError::PacketTooLong { limit } => {
                exchange.counts.in_msg_count += 1;
                shared.totals.requests.add(1);
                exchange.begin(None);
                let text = format!("the request has more than {limit} bytes: send less at a time");
                exchange.fail(shared, cx, &Failure::new(text).code(code::INVALID_REQUEST));
                ErrorAction::Continue
            }
            _ => ErrorAction::Close,
        }
    }
}

impl Exchange {
    pub(super) fn id(&self) -> Option<&str> {
        self.has_id.then_some(&*self.id)
    }

    /// Whether a request waits for an answer from this callback, which the caller is to give now.
    pub(super) fn take_pending(&mut self) -> bool {
        std::mem::take(&mut self.is_pending)
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
    fn begin(&mut self, id: Option<&str>) {
        self.ends_after_reply = false;
        self.has_id = id.is_some();
        self.id.clear();
        self.id.push_str(id.unwrap_or_default());
    }

    fn run(&mut self, shared: &Shared, cx: &mut Context<'_>, request: &Request<'_>) {
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

    fn fail(&mut self, shared: &Shared, cx: &mut Context<'_>, failure: &Failure) {
        self.answer::<()>(shared, cx, Err(failure));
    }

    fn answer_later(&mut self, shared: &Shared, cx: &mut Context<'_>, answer: Answer) {
        self.counts.in_flight -= 1;
        self.begin(answer.id.as_deref());
        if answer.descriptors.is_empty() {
            self.send(shared, cx, &answer.bytes, answer.is_error);
        } else if let Err(failure) = pass_descriptors(cx, &answer) {
            self.fail(shared, cx, &failure);
        } else {
            self.count(shared, cx, false);
        }
        if answer.ends_session || self.ends_with.contains(&answer.number) {
            cx.close();
        } else if self.ends_when_answered {
            self.end_when_answered(cx);
        }
    }

    /// Ends the session as soon as nothing waits for its answer.
    fn end_when_answered(&mut self, cx: &mut Context<'_>) {
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

/// Takes in what a peer has sent that is closed at once: the system would report a reset to it otherwise, before the reply.
fn pass_over_input(cx: &Context<'_>) {
    let Some(socket) = cx.socket() else { return };
    let mut packet = Vec::with_capacity(1);
    for _ in 0..MOST_PASSED_OVER {
        packet.clear();
        if !socket.recv_packet(&mut packet).is_ok_and(|packet| !packet.end_of_file) {
            return;
        }
    }
}

/// How many packets are taken in of a peer that is closed at once. Who has sent more has not waited for an answer.
const MOST_PASSED_OVER: usize = 16;

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

impl fmt::Debug for ControlSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlSession")
            .field("peer", &self.exchange.peer)
            .field("counts", &self.exchange.counts)
            .finish_non_exhaustive()
    }
}
