//! Frames that all have the same length.

use super::{Codec, DecodeError, EncodeError, Framing};
use crate::buffer::Buffer;

/// Frames of one length.
///
/// ```text
///   FixedLength::new(3)
///   +-----+-----+--            +-----+   +-----+
///   | one | two |    ----->    | one |   | two |
///   +-----+-----+--            +-----+   +-----+
/// ```
///
/// ```
/// use campana::Buffer;
/// use campana::codec::{Codec, DecodeError, FixedLength};
///
/// let mut codec = FixedLength::new(3);
/// let mut input = Buffer::from(&b"onetwoth"[..]);
/// assert_eq!(codec.decode(&mut input)?, Some(&b"one"[..]));
/// assert_eq!(codec.decode(&mut input)?, Some(&b"two"[..]));
/// assert_eq!(codec.decode(&mut input)?, None);
/// assert!(matches!(codec.decode_eof(&mut input), Err(DecodeError::Incomplete { received: 2 })));
/// # Ok::<(), DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FixedLength {
    length: usize,
}

impl FixedLength {
    /// Frames of `length` bytes, which is also what a peer can make one connection keep.
    ///
    /// # Panics
    ///
    /// If `length` is zero: there would be no end of empty frames.
    #[must_use]
    pub const fn new(length: usize) -> Self {
        assert!(length > 0, "frames of fixed length have one byte at least");
        Self { length }
    }
}

impl Codec for FixedLength {
    type In<'a> = &'a [u8];
    type Out<'a> = &'a [u8];

    #[inline]
    fn decode<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<&'a [u8]>, DecodeError> {
        Ok(input.try_take_n(self.length))
    }

    #[inline]
    fn encode(&self, message: &[u8], output: &mut Buffer) -> Result<(), EncodeError> {
        self.encode_with(output, |content| {
            content.append(message);
            Ok(())
        })
    }
}

impl Framing for FixedLength {
    #[inline]
    fn seal(&self, output: &mut Buffer, start: usize) -> Result<(), EncodeError> {
        let length = output.readable() - start;
        if length != self.length {
            return Err(EncodeError::WrongLength { length, expected: self.length });
        }
        Ok(())
    }
}
