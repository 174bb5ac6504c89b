//! Frames that are text.

use super::{Codec, DecodeError, EncodeError, Framing};
use crate::buffer::Buffer;

/// UTF-8 text in the frames of `F`.
///
/// ```text
///   Text::over(LengthPrefixed::new(2))
///   +-----------+----------------+            +------------+
///   | length: 2 | UTF-8          |   ----->   | &str       |
///   +-----------+----------------+            +------------+
/// ```
///
/// A message that is not UTF-8 is an error, and [decoding can go on](DecodeError::is_recoverable) with the next one.
///
/// ```
/// use campana::Buffer;
/// use campana::codec::{Codec, DecodeError, Lines, Text};
///
/// let mut codec = Text::over(Lines::new());
/// let mut input = Buffer::from(&b"gr\xc3\xbcezi\n\xff\nhello\n"[..]);
/// assert_eq!(codec.decode(&mut input)?, Some("grüezi"));
/// assert!(matches!(codec.decode(&mut input), Err(DecodeError::NotUtf8(_))));
/// assert_eq!(codec.decode(&mut input)?, Some("hello"));
/// # Ok::<(), DecodeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Text<F> {
    framing: F,
}

impl<F: Framing> Text<F> {
    /// Text over a framing.
    #[must_use]
    pub const fn over(framing: F) -> Self {
        Self { framing }
    }

    /// The framing, to change its limits.
    pub const fn framing_mut(&mut self) -> &mut F {
        &mut self.framing
    }
}

impl<F: Framing> Codec for Text<F> {
    type In<'a> = &'a str;
    type Out<'a> = &'a str;

    #[inline]
    fn decode<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<&'a str>, DecodeError> {
        as_text(self.framing.decode(input)?)
    }

    fn decode_eof<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<&'a str>, DecodeError> {
        as_text(self.framing.decode_eof(input)?)
    }

    #[inline]
    fn encode(&self, message: &str, output: &mut Buffer) -> Result<(), EncodeError> {
        self.framing.encode(message.as_bytes(), output)
    }
}

fn as_text(frame: Option<&[u8]>) -> Result<Option<&str>, DecodeError> {
    frame.map(std::str::from_utf8).transpose().map_err(DecodeError::NotUtf8)
}
