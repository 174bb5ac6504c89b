//! What a client's callbacks do with the connection.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campana::reactor::TimerId;
use campana::session::byte_filters::Compression;
use campana::session::{SessionContext, WriteError};
use campana::{Address, LoopContext};

use super::inbox::Inbox;
use super::requests::{Requests, Then};
use super::session::{ACKNOWLEDGE, ClientSession, REFUSED};
use super::{ClientHandler, RequestError, Shared};
use crate::protocol::{
    Acknowledge, Compress, ErrorCode, Failure, LogIn, LogOut, LoggedIn, Outgoing, Request,
};

/// A server is trusted with whatever deflate can do: text that repeats itself shrinks to a thousandth.
const MAX_RATIO: u32 = 2000;
/// How long acknowledgements wait for further ones.
const ACKNOWLEDGE_DELAY: Duration = Duration::from_millis(50);

/// A connection, as a callback of a [`ClientHandler`] has it.
pub struct ClientContext<'a, 'b, H: ClientHandler> {
    pub(super) session: &'a mut SessionContext<'b, ClientSession<H>>,
    pub(super) requests: &'a mut Requests<H>,
    pub(super) inbox: &'a mut Inbox,
    pub(super) shared: &'a Arc<Shared<H>>,
}

impl<H: ClientHandler> ClientContext<'_, '_, H> {
    /// Sends a request. `then` is called once: with its reply, or with what has kept it from coming. It isn't called before the
    /// callback under way has returned.
    pub fn request<R: Request + 'static>(
        &mut self,
        request: &R,
        then: impl FnOnce(&mut H, &mut ClientContext<'_, '_, H>, Result<R::Reply, RequestError>) + 'static,
    ) {
        let then: Then<H> = Box::new(move |handler, cx, frame| {
            let reply = frame.and_then(|frame| frame.parse_reply::<R>().map_err(RequestError::Failed));
            then(handler, cx, reply);
        });
        let seq = self.requests.number();
        let sent = match self.requests.held() {
            Some(held) => held.add::<R>(seq, request),
            None => self.write(Outgoing::request(seq, request)),
        };
        self.requests.wait(seq, then);
        if let Err(failure) = sent {
            self.refuse(seq, failure);
        }
    }

    /// Answers a request that could not be sent, soon.
    fn refuse(&mut self, seq: u32, failure: Failure) {
        self.requests.refuse(seq, failure);
        self.session.set_timer(Duration::ZERO, REFUSED);
    }

    fn write(&mut self, message: Outgoing<'_>) -> Result<(), Failure> {
        match self.session.write(message) {
            // What a closing session hasn't sent is resolved at its end, like all else that waits.
            Ok(_) | Err(WriteError::Closed | WriteError::Full) => Ok(()),
            Err(error) => Err(Failure::new(ErrorCode::BadRequest, error.to_string())),
        }
    }

    /// Logs in; [`on_logged_in`](ClientHandler::on_logged_in) is told of the answer.
    pub fn log_in(&mut self, log_in: &LogIn) {
        self.request(log_in, |handler, cx, answer| match answer {
            Ok(logged_in) if cx.shared.compress => cx.compress(logged_in),
            answer => handler.on_logged_in(cx, answer),
        });
    }

    /// Has what follows compressed, before anything else is done. Until the answer has come nothing may be sent behind the request.
    fn compress(&mut self, logged_in: LoggedIn) {
        let compress = Compress { method: "deflate".to_owned() };
        self.request(&compress, |handler, cx, reply| {
            let held = cx.requests.release();
            if reply.is_ok() {
                let filter = Compression::new().max_ratio(MAX_RATIO);
                // It is asked for once a connection, and nobody else adds filters.
                let _ = cx.session.byte_filters().add_last("compression", Box::new(filter));
            }
            for (command, seq, body) in held.iter() {
                if let Err(failure) = cx.write(Outgoing::encoded(command, seq, body)) {
                    cx.refuse(seq, failure);
                }
            }
            if reply != Err(RequestError::Lost) {
                handler.on_logged_in(cx, Ok(logged_in));
            }
        });
        self.requests.hold();
    }

    /// Sends what is still to be acknowledged, logs out, and ends the client.
    pub fn log_out(&mut self) {
        self.acknowledge_noted();
        self.request(&LogOut {}, |_, cx, _| cx.stop());
    }

    /// Says that messages up to a position needn't be sent again. It is told to the server soon, together with what else is
    /// acknowledged.
    pub fn acknowledge(&mut self, position: i64) {
        if self.inbox.note(position) {
            self.session.set_timer(ACKNOWLEDGE_DELAY, ACKNOWLEDGE);
        }
    }

    /// Tells the server now what is still to be acknowledged.
    pub fn acknowledge_noted(&mut self) {
        if let Some(position) = self.inbox.take_noted() {
            // If it fails the messages come again after the next log-in.
            self.request(&Acknowledge { position }, |_, _, _| {});
        }
    }

    /// Forgets what has come before, as another user is to log in.
    pub fn forget_positions(&mut self) {
        *self.shared.lock(&self.shared.handled) = None;
    }

    /// How many requests wait for their replies.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.requests.len()
    }

    /// Ends the client, and the connection in good order; there is no other one.
    pub fn stop(&mut self) {
        self.shared.stop();
    }

    /// Ends this connection at once; there will be another one.
    pub fn abort(&mut self) {
        self.session.abort();
    }

    /// Calls [`on_timer`](ClientHandler::on_timer) with `token`, which is below 2^63, after `delay`, unless this connection has
    /// ended by then.
    pub fn set_timer(&mut self, delay: Duration, token: u64) -> TimerId {
        self.session.set_timer(delay, token)
    }

    /// Cancels a timer; `false` if it was none, or not any more.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.session.cancel_timer(timer)
    }

    /// The loop's time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.session.now()
    }

    /// The loop.
    pub fn context(&mut self) -> &mut LoopContext {
        self.session.context()
    }

    /// The server's address.
    #[must_use]
    pub fn server_address(&self) -> Address {
        self.session.peer_address()
    }
}

impl<H: ClientHandler> fmt::Debug for ClientContext<'_, '_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientContext")
            .field("session", &self.session)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}
