//! The user's side of connections: a trait, and closures for those who need no state.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{CloseReason, ConnectError, SendError, TcpConnection};
use crate::buffer::Buffer;
use crate::reactor::LoopContext;

/// What a server or client does with its connections: one value a loop, shared by all its connections there.
///
/// A callback has its own state and the whole loop at once, so what connections share is plain `&mut self`, and no lock, cell
/// or reference count is needed. A handler is made on the loop's thread and never leaves it: it need not be `Send`.
///
/// Callbacks are called by the loop alone, one after the other, never from inside a call that a callback makes. For each
/// connection `on_connect` comes first and `on_close` last, each exactly once. A callback that panics ends its connection
/// with [`CloseReason::HandlerPanicked`] and nothing else; only if it was `on_connect` there is no state, and no `on_close`.
///
/// ```
/// use campana::{Buffer, Handler, TcpConnection};
///
/// /// Echoes, and counts what it has echoed to each peer and to all.
/// #[derive(Default)]
/// struct Echo {
///     total: usize,
/// }
///
/// impl Handler for Echo {
///     type State = usize;
///
///     fn on_connect(&mut self, _conn: &mut TcpConnection<'_>) -> usize {
///         0
///     }
///
///     fn on_data(&mut self, echoed: &mut usize, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
///         *echoed += input.readable();
///         self.total += input.readable();
///         // An error means that the connection is ending, which on_close will tell.
///         let _ = conn.send(input.take());
///     }
/// }
/// ```
pub trait Handler: 'static {
    /// What is kept for each connection; handed to `on_close` at its end.
    type State: 'static;

    /// Called when a connection is established, before anything else is.
    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) -> Self::State;

    /// Called when bytes have come in; `input` holds them after those that earlier calls have left in it. What this call leaves
    /// is there again when more comes. Of a packet (SOCK_SEQPACKET) nothing can be left: each call gets one whole packet, which
    /// may be empty.
    fn on_data(&mut self, state: &mut Self::State, conn: &mut TcpConnection<'_>, input: &mut Buffer);

    /// Whether [`on_write_complete`](Self::on_write_complete) is to be called at all. Asked once for each connection, before
    /// `on_connect`. By default it is; whoever has no use for it saves the loop a round of callbacks for every message.
    fn wants_write_complete(&self) -> bool {
        true
    }

    /// Called when a packet was longer than [`packet_limit`](super::ConnectionConfig::packet_limit); it is gone. By default that is
    /// a protocol error, which ends the connection.
    fn on_packet_too_long(&mut self, _state: &mut Self::State, conn: &mut TcpConnection<'_>) {
        let limit = conn.config().packet_limit;
        conn.end(CloseReason::Protocol(format!("packet of more than {limit} bytes").into()));
    }

    /// Called when all output has reached the kernel.
    fn on_write_complete(&mut self, _state: &mut Self::State, _conn: &mut TcpConnection<'_>) {}

    /// Called when a part of the output has reached the kernel and more waits. Only for connections that
    /// [`on_write_complete`](Self::on_write_complete) is called for.
    fn on_write_progress(&mut self, _state: &mut Self::State, _conn: &mut TcpConnection<'_>) {}

    /// Called when the kernel takes no more output, and more waits than the high-water mark. Once for each crossing.
    fn on_high_water(&mut self, _state: &mut Self::State, _conn: &mut TcpConnection<'_>) {}

    /// Called when the output that waits has fallen to the low-water mark, after it was above the high one.
    fn on_low_water(&mut self, _state: &mut Self::State, _conn: &mut TcpConnection<'_>) {}

    /// Called when the peer will send no more; sending to it may go on. By default the connection is closed, which still
    /// delivers all pending output.
    fn on_read_closed(&mut self, _state: &mut Self::State, conn: &mut TcpConnection<'_>) {
        conn.close();
    }

    /// Called when a timer set by [`TcpConnection::set_timer`] is due, with the number that was given to it.
    fn on_timer(&mut self, _state: &mut Self::State, _conn: &mut TcpConnection<'_>, _token: u64) {}

    /// Called when the server begins to stop. By default the connection is closed once it has been silent for a
    /// second, so that exchanges under way end well; what is left at the deadline of the stop is closed by force.
    fn on_stopping(&mut self, _state: &mut Self::State, conn: &mut TcpConnection<'_>) {
        conn.close_when_silent(Duration::from_secs(1));
    }

    /// Closes a connection in good order, as its client is stopped. A layer above has more to do for that than the connection has.
    #[doc(hidden)]
    fn close_stopped(&mut self, _state: &mut Self::State, conn: &mut TcpConnection<'_>) {
        conn.close_with(Some(CloseReason::Stopping));
    }

    /// Called last. The descriptor is closed already; `conn` still tells names, addresses and figures.
    fn on_close(&mut self, _state: Self::State, _conn: &mut TcpConnection<'_>, _reason: CloseReason) {}

    /// Called when a client could not connect, with the time after which it tries again; `None` if it won't.
    fn on_connect_failed(
        &mut self,
        _context: &mut LoopContext,
        _error: &ConnectError,
        _retry: Option<Duration>,
    ) {
    }
}

/// What a closure of [`TcpServer::on_data`](super::TcpServer::on_data) and its like may return: nothing, or a send's result.
///
/// A send fails because its connection is ending, so that there is nothing to be done about it.
pub trait Returned: sealed::Sealed {}

impl Returned for () {}
impl Returned for Result<(), SendError> {}

mod sealed {
    use crate::connection::SendError;

    pub trait Sealed {}
    impl Sealed for () {}
    impl Sealed for Result<(), SendError> {}
}

type OnConnection = Arc<dyn Fn(&mut TcpConnection<'_>) + Send + Sync>;
type OnData = Arc<dyn Fn(&mut TcpConnection<'_>, &mut Buffer) + Send + Sync>;
type OnClose = Arc<dyn Fn(&mut TcpConnection<'_>, &CloseReason) + Send + Sync>;
pub(crate) type OnConnectFailed =
    Arc<dyn Fn(&mut LoopContext, &ConnectError, Option<Duration>) + Send + Sync>;

/// A [`Handler`] made of closures, which keeps no state; all loops share it.
#[derive(Clone, Default)]
pub struct Callbacks {
    pub(super) connect: Option<OnConnection>,
    pub(super) data: Option<OnData>,
    pub(super) write_complete: Option<OnConnection>,
    pub(super) high_water: Option<OnConnection>,
    pub(super) low_water: Option<OnConnection>,
    pub(super) read_closed: Option<OnConnection>,
    pub(super) close: Option<OnClose>,
    pub(super) connect_failed: Option<OnConnectFailed>,
}

impl Handler for Callbacks {
    type State = ();

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) {
        run(self.connect.as_ref(), conn);
    }

    fn on_data(&mut self, (): &mut (), conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        match &self.data {
            Some(callback) => callback(conn, input),
            None => input.retrieve_all(),
        }
    }

    fn wants_write_complete(&self) -> bool {
        self.write_complete.is_some()
    }

    fn on_write_complete(&mut self, (): &mut (), conn: &mut TcpConnection<'_>) {
        run(self.write_complete.as_ref(), conn);
    }

    fn on_high_water(&mut self, (): &mut (), conn: &mut TcpConnection<'_>) {
        run(self.high_water.as_ref(), conn);
    }

    fn on_low_water(&mut self, (): &mut (), conn: &mut TcpConnection<'_>) {
        run(self.low_water.as_ref(), conn);
    }

    fn on_read_closed(&mut self, (): &mut (), conn: &mut TcpConnection<'_>) {
        match &self.read_closed {
            Some(callback) => callback(conn),
            None => conn.close(),
        }
    }

    fn on_close(&mut self, (): (), conn: &mut TcpConnection<'_>, reason: CloseReason) {
        if let Some(callback) = &self.close {
            callback(conn, &reason);
        }
    }

    fn on_connect_failed(
        &mut self,
        context: &mut LoopContext,
        error: &ConnectError,
        retry: Option<Duration>,
    ) {
        if let Some(callback) = &self.connect_failed {
            callback(context, error, retry);
        }
    }
}

fn run(callback: Option<&OnConnection>, conn: &mut TcpConnection<'_>) {
    if let Some(callback) = callback {
        callback(conn);
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").finish_non_exhaustive()
    }
}

/// The setters of closures, which servers and clients have alike.
macro_rules! closure_setters {
    ($($field:ident).+) => {
        /// Calls `callback` when a connection is established.
        #[must_use]
        pub fn on_connect<R: crate::connection::Returned>(
            mut self,
            callback: impl Fn(&mut TcpConnection<'_>) -> R + Send + Sync + 'static,
        ) -> Self {
            self.$($field).+.connect = Some(std::sync::Arc::new(move |conn| drop(callback(conn))));
            self
        }

        /// Calls `callback` when bytes have come in, as for [`Handler::on_data`]. Without it what comes in is discarded.
        #[must_use]
        pub fn on_data<R: crate::connection::Returned>(
            mut self,
            callback: impl Fn(&mut TcpConnection<'_>, &mut crate::buffer::Buffer) -> R + Send + Sync + 'static,
        ) -> Self {
            self.$($field).+.data = Some(std::sync::Arc::new(move |conn, input| drop(callback(conn, input))));
            self
        }

        /// Calls `callback` when all output of a connection has reached the kernel.
        #[must_use]
        pub fn on_write_complete<R: crate::connection::Returned>(
            mut self,
            callback: impl Fn(&mut TcpConnection<'_>) -> R + Send + Sync + 'static,
        ) -> Self {
            self.$($field).+.write_complete = Some(std::sync::Arc::new(move |conn| drop(callback(conn))));
            self
        }

        /// Calls `callback` when output has piled up to more than the high-water mark.
        #[must_use]
        pub fn on_high_water(mut self, callback: impl Fn(&mut TcpConnection<'_>) + Send + Sync + 'static) -> Self {
            self.$($field).+.high_water = Some(std::sync::Arc::new(callback));
            self
        }

        /// Calls `callback` when output has fallen to the low-water mark again.
        #[must_use]
        pub fn on_low_water<R: crate::connection::Returned>(
            mut self,
            callback: impl Fn(&mut TcpConnection<'_>) -> R + Send + Sync + 'static,
        ) -> Self {
            self.$($field).+.low_water = Some(std::sync::Arc::new(move |conn| drop(callback(conn))));
            self
        }

        /// Calls `callback` when the peer will send no more. Without it the connection is closed then, once its output is out.
        #[must_use]
        pub fn on_read_closed<R: crate::connection::Returned>(
            mut self,
            callback: impl Fn(&mut TcpConnection<'_>) -> R + Send + Sync + 'static,
        ) -> Self {
            self.$($field).+.read_closed = Some(std::sync::Arc::new(move |conn| drop(callback(conn))));
            self
        }

        /// Calls `callback` when a connection has ended.
        #[must_use]
        pub fn on_close(
            mut self,
            callback: impl Fn(&mut TcpConnection<'_>, &crate::connection::CloseReason) + Send + Sync + 'static,
        ) -> Self {
            self.$($field).+.close = Some(std::sync::Arc::new(callback));
            self
        }
    };
}

pub(super) use closure_setters;
