//! What goes wrong in a session, and what is then to be done.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::codec::{DecodeError, EncodeError};
use crate::connection::SendError;

/// What has gone wrong in a session; for [`Session::on_error`](super::Session::on_error).
#[derive(Debug)]
#[non_exhaustive]
pub enum SessionError {
    /// What came in is no message.
    Decode(DecodeError),
    /// A packet was longer than [`packet_limit`](crate::ConnectionConfig::packet_limit), and is gone.
    PacketTooLong {
        /// How long one may be, in bytes.
        limit: usize,
    },
    /// A message filter has failed.
    Filter {
        /// The filter's name.
        name: Cow<'static, str>,
        /// What it says.
        error: Box<dyn Error + Send + Sync>,
    },
    /// A byte filter has failed, and with it lost its place in the stream.
    ByteFilter {
        /// The filter's name.
        name: Cow<'static, str>,
        /// What it says.
        error: Box<dyn Error + Send + Sync>,
    },
    /// A callback of the session, its codec or a filter panicked.
    Panicked {
        /// The panic's message, if it had one.
        message: String,
    },
}

impl SessionError {
    /// Whether the session can go on with the next message. It can't if that can't be found, or if a byte filter has lost its
    /// place in the stream.
    #[must_use]
    pub fn is_recoverable(&self) -> bool {
        match self {
            Self::Decode(error) => error.is_recoverable(),
            Self::ByteFilter { .. } => false,
            Self::PacketTooLong { .. } | Self::Filter { .. } | Self::Panicked { .. } => true,
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => error.fmt(f),
            Self::PacketTooLong { limit } => write!(f, "packet of more than {limit} bytes"),
            Self::Filter { name, error } | Self::ByteFilter { name, error } => {
                write!(f, "filter {name}: {error}")
            }
            Self::Panicked { message } => write!(f, "a callback panicked: {message}"),
        }
    }
}

impl Error for SessionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Decode(error) => error.source(),
            Self::Filter { error, .. } | Self::ByteFilter { error, .. } => error.source(),
            Self::PacketTooLong { .. } | Self::Panicked { .. } => None,
        }
    }
}

impl From<DecodeError> for SessionError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// What follows from an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum ErrorAction {
    /// The session is closed; what is pending, a last message of `on_error` included, still goes out.
    #[default]
    Close,
    /// The session is aborted: nothing more goes out.
    Abort,
    /// The session goes on with the next message. If there [can't be one](SessionError::is_recoverable), it is closed.
    Continue,
}

/// Why a message was not accepted for writing. Nothing of it was sent, and it has no id.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// The session is closing or closed, or its output was [shut down](super::SessionView::shutdown).
    Closed,
    /// More is pending than [`hard_cap`](crate::ConnectionConfig::hard_cap) allows, or more writes than
    /// [`pending_writes`](super::SessionConfig::pending_writes); the session is aborted for it, as a slow consumer.
    Full,
    /// The codec can't encode it.
    Encode(EncodeError),
    /// It is larger than a packet of the connection can be.
    TooLarge,
    /// A filter has kept it from going out.
    Dropped {
        /// The filter's name.
        filter: Cow<'static, str>,
    },
    /// A filter has failed.
    Filter {
        /// The filter's name.
        name: Cow<'static, str>,
        /// What it says.
        error: Box<dyn Error + Send + Sync>,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => SendError::Closed.fmt(f),
            Self::Full => f.write_str(
                "the peer does not keep up and the output limit is reached: send less, or raise `hard_cap` or \
                 `pending_writes`",
            ),
            Self::Encode(error) => error.fmt(f),
            Self::TooLarge => SendError::TooLarge.fmt(f),
            Self::Dropped { filter } => write!(f, "filter {filter} does not let the message out"),
            Self::Filter { name, error } => write!(f, "filter {name}: {error}"),
        }
    }
}

impl Error for WriteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Encode(error) => error.source(),
            Self::Filter { error, .. } => error.source(),
            _ => None,
        }
    }
}

impl From<EncodeError> for WriteError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}
