//! Sessions: one object of yours for each connection, with typed messages instead of bytes.
//!
//! ```no_run
//! use campana::codec::{Lines, Text};
//! use campana::session::{Session, SessionContext, SessionService};
//! use campana::{EventLoop, TcpServer};
//!
//! struct Echo;
//!
//! impl Session for Echo {
//!     type Codec = Text<Lines>;
//!     fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
//!         let _ = cx.write(line);
//!     }
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     let mut event_loop = EventLoop::new()?;
//!     let server = TcpServer::bind("127.0.0.1:7000")?.threads(2);
//!     SessionService::new(|| Text::over(Lines::new())).serve(server, &mut event_loop, |_| Echo)?;
//!     event_loop.run()
//! }
//! ```
//!
//! ```text
//!   Session           your object: on_open, on_message, on_written, on_idle, on_input_closed, on_error, on_close
//!   message filters   typed, one chain for each session, editable while it runs: MessageFilter
//!   codec             bytes <-> messages, the one place where the type changes: Codec
//!   byte filters      compression, shaping, a tap; editable too: ByteFilter
//!   connection        a stream (TCP, Unix), or packets
//! ```
//!
//! A [`SessionService`] says what sessions are made of, and [serves](SessionService::serve) or
//! [connects](SessionService::connect). The session factory that it is given makes a [`Session`] for each connection, on that
//! connection's loop, where it stays: it need not be `Send`. Its callbacks get a [`SessionContext`] to write and to do all else
//! with; other threads reach sessions by the [`SessionManager`]. A session never owns its connection: after the end, what is sent
//! is an error.
//!
//! Filters that many servers need are in [`filters`], and those for bytes in [`byte_filters`].
//!
//! # What is on by default
//!
//! Each is a field of [`SessionConfig`] or of the connection's [configuration](crate::ConnectionConfig), to be changed for all
//! sessions or for one:
//!
//! | | |
//! | --- | --- |
//! | a message takes longer than 30 s to arrive | the session is closed |
//! | a server's session is silent for 5 min in both directions | `on_idle`, which by default closes it |
//! | output of which the kernel takes nothing for 30 s | the session is aborted |
//! | more than 8 MiB or 65 536 writes are pending | [`WriteError::Full`], and the session is aborted |
//! | with [`Authentication`]: no log-in within 10 s, or a message over 4 KiB before it | the session is closed |
//! | what comes in is no message | `on_error`, which by default closes the session |
//! | a filter fails | `on_error`, likewise |
//! | what a peer has compressed expands to more than 100 times its length, and 1 MiB | `on_error`, likewise |
//! | a callback, the codec or a filter panics | `on_error`, likewise; other sessions aren't concerned |

use crate::codec::Codec;
use crate::connection::{CloseReason, Deadline};

mod attributes;
mod body;
mod byte_chain;
mod byte_filter;
pub mod byte_filters;
mod byte_stage;
mod bytes_view;
mod chain;
mod config;
mod context;
mod core;
mod directory;
mod edits;
mod error;
mod expiry;
mod filter;
pub mod filters;
mod id;
mod idle;
#[cfg(feature = "control")]
mod inspection;
mod live;
mod manager;
mod marks;
mod opening;
mod receiving;
mod service;
mod sessions;
mod spare_buffers;
mod state;
mod stats;
mod view;
mod writes;
mod writing;

pub use attributes::{AttributeId, AttributeKey, AttributeStore, Attributes};
pub use byte_filter::{ByteContext, ByteFilter, ByteResult, Progress};
pub use config::{Authentication, SessionConfig};
pub use context::SessionContext;
pub use directory::SessionKey;
pub use edits::{ByteFilterEdits, FilterEditError, FilterEdits, Filters};
pub use error::{ErrorAction, SessionError, WriteError};
pub use filter::{FilterContext, MessageFilter, Verdict};
pub use id::SessionId;
pub use idle::{Idle, IdleKind};
#[cfg(feature = "control")]
pub(crate) use inspection::{InspectedSession, SessionFigures};
pub use manager::{Audience, SessionHandle, SessionManager};
pub use opening::Opening;
pub use service::SessionService;
pub use sessions::Sessions;
pub use state::SessionState;
pub use stats::{IdleCounts, ServiceStats, SessionStats, Throughput};
pub use view::SessionView;
pub use writes::WriteId;

/// A message as a session's codec decodes it.
pub type In<'a, S> = <<S as Session>::Codec as Codec>::In<'a>;

/// A message as a session's codec takes it to be encoded.
pub type Out<'a, S> = <<S as Session>::Codec as Codec>::Out<'a>;

/// One conversation: a connection, with what you keep for it and what you do with its messages.
///
/// Callbacks come from the session's loop alone, one at a time, never from inside a call that one of them makes. `on_open` comes
/// first, unless a filter has refused the connection, and `on_close` last, exactly once.
pub trait Session: Sized + 'static {
    /// What makes messages of bytes, and bytes of messages.
    type Codec: Codec;

    /// Whether [`on_written`](Self::on_written) is to be called at all. Whoever has no use for it saves the loop a callback for
    /// each burst of messages by `false`.
    const WANTS_WRITTEN: bool = true;

    /// Called when the session is there, before anything else is.
    fn on_open(&mut self, _cx: &mut SessionContext<'_, Self>) {}

    /// Called for each message. It may borrow from the input, and `cx` may write while it does.
    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, message: In<'_, Self>);

    /// Called when writes have reached the kernel: all up to `up_to`. Those that never do
    /// [`on_close`](Self::on_close) names.
    fn on_written(&mut self, _cx: &mut SessionContext<'_, Self>, _up_to: WriteId) {}

    /// Called when the kernel takes no more output, and more waits than the connection's high-water mark. Once for each crossing.
    fn on_high_water(&mut self, _cx: &mut SessionContext<'_, Self>) {}

    /// Called when the output that waits has fallen to the low-water mark, after it was above the high one.
    fn on_low_water(&mut self, _cx: &mut SessionContext<'_, Self>) {}

    /// Called when nothing has happened for one of the [idle times](SessionConfig), and again after each such time. By default the
    /// session is closed if nothing was received *and* nothing sent.
    fn on_idle(&mut self, cx: &mut SessionContext<'_, Self>, idle: Idle) {
        if idle.kind == IdleKind::Both {
            cx.close_because(CloseReason::TimedOut(Deadline::Idle));
        }
    }

    /// Called when the peer will send no more; writing may go on. By default the session is closed, which still delivers all that
    /// was written.
    fn on_input_closed(&mut self, cx: &mut SessionContext<'_, Self>) {
        cx.close();
    }

    /// Called when a timer that the session has set is due.
    fn on_timer(&mut self, _cx: &mut SessionContext<'_, Self>, _token: u64) {}

    /// Called when what comes in is no message, a filter has failed, or a callback has panicked, be it one of the session's own. A
    /// last message can be written here. By default the session is then closed.
    fn on_error(&mut self, _cx: &mut SessionContext<'_, Self>, _error: &SessionError) -> ErrorAction {
        ErrorAction::Close
    }

    /// Called when the server begins to stop. By default the session is closed once it has been silent for a second.
    fn on_stopping(&mut self, cx: &mut SessionContext<'_, Self>) {
        cx.close_when_silent(std::time::Duration::from_secs(1));
    }

    /// Called last. `unwritten` is the first write that has not wholly reached the kernel; those after it haven't either.
    fn on_close(
        &mut self,
        _cx: &mut SessionContext<'_, Self>,
        _reason: &CloseReason,
        _unwritten: Option<WriteId>,
    ) {
    }
}
