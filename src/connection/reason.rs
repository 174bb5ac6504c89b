//! Why a connection ended, and why a send was refused.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// Why a connection ended; the last thing that a handler hears of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it.
    Local,
    /// The peer closed it, or closed its sending side first and this side then closed the rest.
    Peer,
    /// The peer reset it, or went away with data of ours unread.
    Reset,
    /// A deadline passed.
    TimedOut(Deadline),
    /// The peer reads too slowly: the output passed its hard cap, or was above its high-water mark for too long.
    SlowConsumer,
    /// The peer broke the protocol; the text says how.
    Protocol(Cow<'static, str>),
    /// This side's rules forbid it to go on: an address that is not allowed, too much at a time. The text says which.
    Refused(Cow<'static, str>),
    /// A callback of this connection panicked.
    HandlerPanicked,
    /// Its server or client is stopping, or the loop ends.
    Stopping,
    /// A system call failed.
    Io(io::Error),
}

impl CloseReason {
    /// The reason behind an error of a read or a write.
    pub(crate) fn of_error(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Self::Reset
            }
            // What the kernel says when TCP_USER_TIMEOUT or the keep-alive gives up.
            io::ErrorKind::TimedOut => Self::TimedOut(Deadline::Transport),
            _ => Self::Io(error),
        }
    }
}

impl CloseReason {
    /// The same again; of a system call's error its number or kind.
    pub(crate) fn duplicate(&self) -> Self {
        match self {
            Self::Local => Self::Local,
            Self::Peer => Self::Peer,
            Self::Reset => Self::Reset,
            Self::TimedOut(deadline) => Self::TimedOut(*deadline),
            Self::SlowConsumer => Self::SlowConsumer,
            Self::Protocol(text) => Self::Protocol(text.clone()),
            Self::Refused(text) => Self::Refused(text.clone()),
            Self::HandlerPanicked => Self::HandlerPanicked,
            Self::Stopping => Self::Stopping,
            Self::Io(error) => Self::Io(match error.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => error.kind().into(),
            }),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("closed by this side"),
            Self::Peer => f.write_str("closed by the peer"),
            Self::Reset => f.write_str("reset by the peer"),
            Self::TimedOut(deadline) => write!(f, "timed out: {deadline}"),
            Self::SlowConsumer => f.write_str("the peer reads too slowly"),
            Self::Protocol(text) => write!(f, "protocol error: {text}"),
            Self::Refused(text) => write!(f, "refused: {text}"),
            Self::HandlerPanicked => f.write_str("a callback panicked"),
            Self::Stopping => f.write_str("stopping"),
            Self::Io(error) => write!(f, "I/O error: {error}"),
        }
    }
}

/// Which deadline passed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Deadline {
    /// Nothing was received or sent for the idle time.
    Idle,
    /// Output was pending and the kernel took none of it.
    WriteStall,
    /// The connection was closing, or had been reset, and output was still pending at the end of the linger time.
    Linger,
    /// TCP itself gave up on the peer: its user time-out or keep-alive.
    Transport,
    /// Something else took too long, which the text names.
    Named(&'static str),
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::WriteStall => "no progress in sending",
            Self::Linger => "output left when closing",
            Self::Transport => "the peer does not answer",
            Self::Named(what) => what,
        })
    }
}

/// Why output was not accepted. None of it was sent, and none of it will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is closed, or being closed.
    Closed,
    /// `shutdown` was called before: there is no more output on this connection.
    ShutDown,
    /// The pending output would pass the hard cap. By a [`TcpConnection`](super::TcpConnection) the connection is closed for it;
    /// a [`ConnectionHandle`](super::ConnectionHandle) only refuses.
    Full,
    /// The packet is longer than the socket's send buffer takes. The connection goes on.
    TooLarge,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the connection is closed",
            Self::ShutDown => "the sending side was shut down before",
            Self::Full => {
                "the peer does not keep up and the output limit is reached: send less, or raise `hard_cap`"
            }
            Self::TooLarge => {
                "the packet is larger than the socket's send buffer: split it, or raise `send_buffer_size`"
            }
        })
    }
}

impl std::error::Error for SendError {}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> Self {
        let kind = match error {
            SendError::Closed | SendError::ShutDown => io::ErrorKind::BrokenPipe,
            SendError::Full => io::ErrorKind::WouldBlock,
            SendError::TooLarge => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}
