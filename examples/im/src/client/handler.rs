//! What a program does with its connection to a server.

use std::time::Duration;

use campana::connection::ConnectError;
use campana::{CloseReason, LoopContext};

use super::{Arrival, ClientContext, RequestError, ServerEvent};
use crate::protocol::{LogIn, LoggedIn, Message};

/// One user of a server, as a program: told of what the server says, on the client's loop, one callback at a time.
///
/// It outlives connections. Requests end with their connection: what was not answered by then gets
/// [`RequestError::Lost`], before [`on_disconnected`](Self::on_disconnected) is called.
pub trait ClientHandler: Sized + Send + 'static {
    /// Who is logged in on each new connection. By default nobody is, and the handler logs in when it likes.
    fn credentials(&self) -> Option<LogIn> {
        None
    }

    /// Called when there is a connection, before anybody is logged in.
    fn on_connected(&mut self, _cx: &mut ClientContext<'_, '_, Self>) {}

    /// Called when a log-in was answered, be it the client's own by [`credentials`](Self::credentials) or by
    /// [`ClientContext::log_in`].
    fn on_logged_in(
        &mut self,
        _cx: &mut ClientContext<'_, '_, Self>,
        _answer: Result<LoggedIn, RequestError>,
    ) {
    }

    /// Called for each message that the server delivers. Once it is stored, printed or whatever is done with messages, say so:
    /// [`ClientContext::acknowledge`].
    fn on_message(&mut self, cx: &mut ClientContext<'_, '_, Self>, message: Message, arrival: Arrival);

    /// Called for all else that the server says of its own accord. After [`ServerEvent::Kicked`] the client doesn't connect again.
    fn on_event(&mut self, cx: &mut ClientContext<'_, '_, Self>, event: ServerEvent);

    /// Called when a timer of this connection is due.
    fn on_timer(&mut self, _cx: &mut ClientContext<'_, '_, Self>, _token: u64) {}

    /// Called for [`Client::notify`](super::Client::notify); without a context if there is no connection.
    fn on_notified(&mut self, _cx: Option<&mut ClientContext<'_, '_, Self>>) {}

    /// Called when the connection has ended; there will be another one if `again`.
    fn on_disconnected(&mut self, _context: &mut LoopContext, _reason: &CloseReason, _again: bool) {}

    /// Called when an attempt to connect has failed; the next one is after `retry`, if there is one.
    fn on_connect_failed(
        &mut self,
        _context: &mut LoopContext,
        _error: &ConnectError,
        _retry: Option<Duration>,
    ) {
    }
}
