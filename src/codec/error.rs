//! Why bytes are no message, and why a message can't be made into bytes.

use std::error::Error;
use std::fmt;
use std::str::Utf8Error;

/// Why the input can't be decoded.
#[derive(Debug)]
#[non_exhaustive]
pub enum DecodeError {
    /// A frame's length field says more than the limit.
    TooLong {
        /// What the length field says, before any adjustment.
        announced: u64,
        /// How many bytes of content are allowed.
        max: usize,
    },
    /// A frame's length field says less than a frame has, as zero and, after adjustment, negative lengths do.
    TooShort {
        /// What the length field says, before any adjustment.
        announced: u64,
        /// How many bytes of content are needed.
        min: usize,
    },
    /// A variable-length number does not end, or is larger than 64 bits.
    BadVarint,
    /// A line is longer than the limit.
    LineTooLong {
        /// How many bytes are allowed, without the line's end.
        max: usize,
        /// Whether the line is left out and decoding goes on behind it.
        skipped: bool,
    },
    /// The peer has closed inside a message.
    Incomplete {
        /// How many bytes of it have arrived.
        received: usize,
    },
    /// A message that has to be text is not UTF-8.
    NotUtf8(Utf8Error),
    /// A message, which was taken out of the input, means nothing to the codec above the framing.
    Invalid(Box<dyn Error + Send + Sync>),
    /// The input is such that the next message can't be found.
    Broken(Box<dyn Error + Send + Sync>),
}

impl DecodeError {
    /// An error of one message, which was taken out of the input; see [`Invalid`](Self::Invalid). A text will do.
    pub fn invalid(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Invalid(error.into())
    }

    /// An error after which no further message can be found; see [`Broken`](Self::Broken). A text will do.
    pub fn broken(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Broken(error.into())
    }

    /// Whether decoding can go on with the next message. If not, the connection has no further use but for a last reply.
    #[must_use]
    pub fn is_recoverable(&self) -> bool {
        matches!(self, Self::NotUtf8(_) | Self::Invalid(_) | Self::LineTooLong { skipped: true, .. })
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { announced, max } => write!(
                f,
                "a frame's length field says {announced}, the limit is {max} bytes of content: raise `max` if such \
                 frames are meant, or see whether both sides agree on width, byte order and adjustment"
            ),
            Self::TooShort { announced, min } => write!(
                f,
                "a frame's length field says {announced}, but its content has at least {min} bytes: lower `min` if \
                 such frames are meant, or see whether both sides agree on what the length counts"
            ),
            Self::BadVarint => f.write_str(
                "a frame's length has more than 64 bits or no end: see whether the peer sends LEB128 lengths",
            ),
            Self::LineTooLong { max, .. } => write!(
                f,
                "a line has more than {max} bytes: raise `max` if such lines are meant, or see whether both sides \
                 agree on how a line ends"
            ),
            Self::Incomplete { received } => write!(
                f,
                "incomplete frame: the peer closed when {received} bytes of it had arrived; it has to send the rest \
                 before it closes"
            ),
            Self::NotUtf8(error) => {
                write!(f, "the message is not UTF-8: {error}; take it as bytes if it needn't be text")
            }
            Self::Invalid(error) | Self::Broken(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl Error for DecodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotUtf8(error) => Some(error),
            // What is shown in its place is not its cause as well.
            Self::Invalid(error) | Self::Broken(error) => error.source(),
            _ => None,
        }
    }
}

/// Why a message can't be encoded. Nothing of it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum EncodeError {
    /// The content is longer than the limit, or than the length field can say.
    TooLong {
        /// How many bytes of content there are.
        length: usize,
        /// How many are allowed.
        max: usize,
    },
    /// The content is shorter than a frame's has to be, or than the length field can say.
    TooShort {
        /// How many bytes of content there are.
        length: usize,
        /// How many are needed.
        min: usize,
    },
    /// The content hasn't the one length that all frames have.
    WrongLength {
        /// How many bytes of content there are.
        length: usize,
        /// How many a frame has.
        expected: usize,
    },
    /// The content ends a line in its midst, so that the peer would see two, or something else than was meant.
    LineEndInside {
        /// Where, in bytes from the content's start.
        position: usize,
    },
    /// The codec above the framing can't encode the message.
    Invalid(Box<dyn Error + Send + Sync>),
}

impl EncodeError {
    /// An error of a codec above the framing; see [`Invalid`](Self::Invalid). A text will do.
    pub fn invalid(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Invalid(error.into())
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length, max } => write!(
                f,
                "the message has {length} bytes, a frame takes {max}: send it in parts, or raise `max` (or the width \
                 of the length field) on both sides"
            ),
            Self::TooShort { length, min } => write!(
                f,
                "the message has {length} bytes, a frame has at least {min}: make it longer, or lower `min` on both \
                 sides"
            ),
            Self::WrongLength { length, expected } => write!(
                f,
                "the message has {length} bytes, each frame has {expected}: pad or split it, or use frames that say \
                 their length"
            ),
            Self::LineEndInside { position } => write!(
                f,
                "the message has a line end at byte {position}, where the peer would take it for two: split it, or \
                 escape line ends"
            ),
            Self::Invalid(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl Error for EncodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Invalid(error) => error.source(),
            _ => None,
        }
    }
}
