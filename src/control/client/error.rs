//! Why a request has no result.

use std::error::Error;
use std::fmt;
use std::io;

use super::reply::ErrorReply;

/// Why a call of a [`ControlClient`](super::ControlClient) has no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The system said no, to the connection or to a packet.
    Io(io::Error),
    /// The time for the call is over.
    TimedOut,
    /// The server has closed the connection, and all that it sent before has been taken.
    Disconnected,
    /// The server answered with an error.
    Failed(ErrorReply),
    /// What came is no reply as the protocol has it. The text says why not.
    Malformed(String),
    /// The reply is in order, but its result is not of the type that was asked for.
    UnexpectedResult(serde_json::Error),
    /// The parameters can't be written as JSON.
    InvalidParams(serde_json::Error),
    /// The request is larger than a packet can be. It was not sent.
    TooLarge {
        /// How many bytes the request has.
        length: usize,
    },
    /// So many requests wait for their replies, or so large are the replies that came and were not taken, that there can't be
    /// more of them.
    Full,
    /// No request of this id is in flight: it was never sent, or its reply has been taken.
    NotInFlight,
    /// The result came with more descriptors than were asked for, or than this process may open. All of them are closed.
    DescriptorsLost {
        /// How many were asked for.
        max: usize,
    },
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => fmt::Display::fmt(error, f),
            Self::TimedOut => f.write_str(
                "no answer in time: see whether the server is busy, or give it more with `set_timeout`",
            ),
            Self::Disconnected => f.write_str(
                "the server has closed the connection, as it does at its end and at its limits (sessions, errors, silence): \
                 connect again",
            ),
            Self::Failed(error) => fmt::Display::fmt(error, f),
            Self::Malformed(why) => {
                write!(f, "what came is no reply: {why}; see whether this is a control socket")
            }
            Self::UnexpectedResult(error) => write!(f, "the result is not of the type asked for: {error}"),
            Self::InvalidParams(error) => write!(f, "the parameters can't be written as JSON: {error}"),
            Self::TooLarge { length } => write!(
                f,
                "a request of {length} bytes is larger than a packet can be: send less at a time, or raise \
                 net.core.wmem_max"
            ),
            Self::Full => {
                f.write_str("too many replies are outstanding: take some with `wait` or `receive` first")
            }
            Self::NotInFlight => f.write_str("no request of this id waits for a reply: send one first"),
            Self::DescriptorsLost { max } => write!(
                f,
                "more than {max} descriptors came, or more than this process may open: ask for more, or raise the \
                 limit of open files"
            ),
        }
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // What is shown in its place is not its cause as well.
            Self::Io(error) => error.source(),
            Self::UnexpectedResult(error) | Self::InvalidParams(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
