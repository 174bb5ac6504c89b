//! A request that is being worked on.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::exchange::Exchange;
use super::failure::code;
use super::session::Shared;
use super::{Access, ControlCounts, ControlSession, Failure, Responder, Router};
use crate::connection::ServerHandle;
use crate::reactor::LoopContext;
use crate::session::{SessionContext, Sessions};
use crate::socket::PeerCredentials;

/// What a command's handler knows of its request, and has of the session that it came by.
pub struct Call<'a> {
    pub(super) cx: SessionContext<'a, ControlSession>,
    pub(super) shared: &'a Shared,
    pub(super) exchange: &'a mut Exchange,
    pub(super) command: &'a str,
}

impl<'a> Call<'a> {
    /// The command.
    #[must_use]
    pub fn command(&self) -> &str {
        self.command
    }

    /// The request's id, if it has one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.exchange.id()
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

    /// What the session has counted: this request is among what came in, and its answer not yet among what went out.
    #[must_use]
    pub fn counts(&self) -> ControlCounts {
        self.exchange.counts
    }

    /// The commands that there are.
    #[must_use]
    pub fn router(&self) -> &'a Router {
        &self.shared.router
    }

    /// The server behind the control socket; none under test, where there is no socket.
    pub(super) fn server(&self) -> Option<&'a ServerHandle<Sessions<ControlSession>>> {
        // Sessions run on the loop that the server is started on, hence after its start.
        self.shared.server.get()
    }

    /// The loop that the session is on.
    pub fn context(&mut self) -> &mut LoopContext {
        self.cx.context()
    }

    /// The session that the request came by: its attributes, filters, limits and figures.
    pub fn session(&mut self) -> &mut SessionContext<'a, ControlSession> {
        &mut self.cx
    }

    /// After what time without a byte in either direction the session ends; zero is never.
    pub fn set_inactivity(&mut self, time: Duration) {
        ControlSession::set_inactivity(&mut self.cx, time);
    }

    /// Ends the session once this request has been answered and the answer is delivered.
    pub fn end_after_reply(&mut self) {
        self.exchange.ends_after_reply = true;
    }

    /// Ends the session once what has been answered before is delivered; this request is not answered. Does nothing the second
    /// time.
    pub fn terminate(&mut self) {
        self.cx.close();
    }
}

/// How it is answered.
impl Call<'_> {
    pub(super) fn answer<R: Serialize>(&mut self, result: &Result<R, Failure>) {
        if self.exchange.is_pending() {
            self.exchange.answer(self.shared, &mut self.cx, result.as_ref());
        }
    }

    #[cold]
    pub(super) fn refuse_params(&mut self, errors: Vec<String>) {
        let mut errors = errors.into_iter();
        let failure = Failure::new(errors.next().unwrap_or_default()).code(code::INVALID_PARAMS);
        self.answer::<()>(&Err(errors.fold(failure, Failure::and)));
    }

    /// What answers the request later; nothing if too many wait for that already, which is answered.
    pub(super) fn responder(&mut self) -> Option<Responder> {
        let most = self.shared.config.max_in_flight;
        if self.exchange.counts.in_flight >= most {
            self.shared.totals.busy.add(1);
            let text = format!(
                "{most} requests of this session wait for their answers: wait for some, or raise `max_in_flight`"
            );
            self.answer::<()>(&Err(Failure::new(text).code(code::BUSY)));
            return None;
        }
        if !self.exchange.is_pending() {
            return None;
        }
        let id = self.exchange.id().map(str::to_owned);
        let number = self.exchange.put_off();
        Some(Responder::new(self.cx.handle(), id, number))
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("command", &self.command)
            .field("id", &self.id())
            .field("peer", &self.exchange.peer)
            .finish_non_exhaustive()
    }
}
