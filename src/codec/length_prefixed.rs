//! Frames that begin with their length.

use super::{Codec, DEFAULT_MAX, DecodeError, EncodeError, Framing};
use crate::buffer::Buffer;

/// Frames with a length field of fixed width.
///
/// ```text
///   LengthPrefixed::new(4)                         a message
///   +----------------+----------------+            +----------------+
///   | length: 4      | content        |   ----->   | content        |
///   +----------------+----------------+            +----------------+
///                    |<--- length --->|
/// ```
///
/// The field is an unsigned integer of 1 to 8 bytes, big-endian unless [`little_endian`](Self::little_endian) is called. By default
/// it counts the bytes behind it, stands at the front, is left out of messages, and content has 1 byte to 1 MiB. The rest of the
/// settings is for protocols that do otherwise: bytes in front of the field, a length that counts more or less than the content,
/// messages that keep their header:
///
/// ```text
///   LengthPrefixed::new(2).offset(1).adjustment(-3).strip(0)
///   +---------+-----------+----------------+       +---------+-----------+----------------+
///   | type: 1 | length: 2 | content        | ----> | type    | length    | content        |
///   +---------+-----------+----------------+       +---------+-----------+----------------+
///   |<-- offset                            |       The length counts the whole frame, of which 3 bytes are not behind it.
///   |<-------------- length -------------->|       Nothing is stripped.
/// ```
///
/// Encoding is the way back: a frame is as many zero bytes as are stripped, then the message, with the length written into its
/// field, wherever that lies.
///
/// ```
/// use campana::Buffer;
/// use campana::codec::{Codec, LengthPrefixed};
///
/// let mut codec = LengthPrefixed::new(2).offset(1).adjustment(-3).strip(0);
/// let mut wire = Buffer::new();
/// codec.encode(b"T\0\0hello", &mut wire)?;
/// assert_eq!(wire.peek(), b"T\x00\x08hello");
/// assert_eq!(codec.decode(&mut wire)?, Some(&b"T\x00\x08hello"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A length beyond the limits is an error as soon as it is read, and [not recoverable](DecodeError::is_recoverable). Of the input
/// no more than a whole frame has to be kept: `max`, and the bytes in front of the content.
#[derive(Clone, Debug)]
pub struct LengthPrefixed {
    width: u8,
    little_endian: bool,
    offset: usize,
    adjustment: i64,
    /// The header's length if it wasn't set.
    strip: Option<usize>,
    min: usize,
    max: usize,
    limits: Limits,
}

/// What follows from the settings, worked out once instead of for each frame.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    /// What a length field may say; nothing if the first is above the second.
    announced: (u64, u64),
    /// Four bytes, big-endian, at the front, stripped, and counting the content: has a shorter way.
    usual: bool,
}

/// Bytes in front of the content of usual frames.
const USUAL_HEADER: usize = size_of::<u32>();

impl LengthPrefixed {
    /// Frames that begin with a big-endian length of `width` bytes.
    ///
    /// # Panics
    ///
    /// If `width` is not one of 1 to 8.
    #[must_use]
    pub fn new(width: usize) -> Self {
        assert!(matches!(width, 1..=8), "a length field has 1 to 8 bytes");
        let (little_endian, offset, adjustment, strip) = (false, 0, 0, None);
        let (min, max, limits) = (1, DEFAULT_MAX, Limits::default());
        Self { width: width as u8, little_endian, offset, adjustment, strip, min, max, limits }.settled()
    }

    /// Takes the length field's least significant byte for its first.
    #[must_use]
    pub fn little_endian(self) -> Self {
        Self { little_endian: true, ..self }.settled()
    }

    /// How many bytes are in front of the length field; none by default.
    #[must_use]
    pub fn offset(self, bytes: usize) -> Self {
        Self { offset: bytes, ..self }.settled()
    }

    /// What to add to the length field's value to get the number of bytes behind the field: if it counts itself too, minus its
    /// width. By default zero.
    #[must_use]
    pub fn adjustment(self, bytes: i64) -> Self {
        Self { adjustment: bytes, ..self }.settled()
    }

    /// How many bytes at a frame's front are not given with the message: by default all up to the end of the length field, with 0
    /// none.
    #[must_use]
    pub fn strip(self, bytes: usize) -> Self {
        Self { strip: Some(bytes), ..self }.settled()
    }

    /// Fewest bytes behind the length field. By default 1, so that a length of zero is an error; with 0 there are empty messages.
    #[must_use]
    pub fn min(self, bytes: usize) -> Self {
        Self { min: bytes, ..self }.settled()
    }

    /// Most bytes behind the length field, 1 MiB by default. So much, and the header, a peer can make one connection keep.
    #[must_use]
    pub fn max(self, bytes: usize) -> Self {
        Self { max: bytes, ..self }.settled()
    }

    /// Changes [`max`](Self::max) from the next frame on: once a peer has logged in, say.
    pub fn set_max(&mut self, bytes: usize) {
        self.max = bytes;
        self.limits = self.work_out();
    }

    fn settled(mut self) -> Self {
        self.limits = self.work_out();
        self
    }

    /// Bytes up to the end of the length field.
    fn header(&self) -> usize {
        self.offset.saturating_add(self.width.into())
    }

    fn stripped(&self) -> usize {
        self.strip.unwrap_or(self.header())
    }

    /// Fewest bytes behind the length field: a message doesn't begin behind its frame's end.
    fn least(&self) -> usize {
        self.min.max(self.stripped().saturating_sub(self.header()))
    }

    fn work_out(&self) -> Limits {
        let (header, stripped, least) = (self.header(), self.stripped(), self.least());
        let adjustment = i128::from(self.adjustment);
        let lowest = (least as i128 - adjustment).max(0);
        let highest = (self.max as i128 - adjustment).min(i128::from(u64::MAX >> (64 - 8 * self.width)));
        // Both are between 0 and `u64::MAX` then, as nothing is below the former or above the latter.
        let announced = if lowest <= highest { (lowest as u64, highest as u64) } else { (1, 0) };
        let usual = (self.width, header, stripped, self.little_endian, adjustment) == (4, 4, 4, false, 0);
        Limits { announced, usual }
    }

    #[inline]
    fn allows(&self, announced: u64) -> bool {
        let (lowest, highest) = self.limits.announced;
        lowest <= announced && announced <= highest
    }

    /// The length of the frame at the front, if its length field is there.
    fn frame(&self, input: &[u8]) -> Result<Option<usize>, DecodeError> {
        let Some(announced) = self.read_field(input) else { return Ok(None) };
        if !self.allows(announced) {
            return Err(self.refuse(announced));
        }
        // From `least` to `max`, so that it is a `usize`.
        let content = announced.wrapping_add(self.adjustment as u64) as usize;
        Ok(Some(self.header().saturating_add(content)))
    }

    fn read_field(&self, input: &[u8]) -> Option<u64> {
        let field = input.get(self.offset..self.header())?;
        let shifted = |value, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.little_endian {
            field.iter().rev().fold(0, shifted)
        } else {
            field.iter().fold(0, shifted)
        })
    }

    fn write_field(&self, announced: u64, field: &mut [u8]) {
        if self.little_endian {
            field.copy_from_slice(&announced.to_le_bytes()[..self.width.into()]);
        } else {
            field.copy_from_slice(&announced.to_be_bytes()[8 - usize::from(self.width)..]);
        }
    }

    #[cold]
    fn refuse(&self, announced: u64) -> DecodeError {
        let least = self.least();
        if i128::from(announced) + i128::from(self.adjustment) < least as i128 {
            DecodeError::TooShort { announced, min: least }
        } else {
            DecodeError::TooLong { announced, max: self.max }
        }
    }

    /// What the length field has to say for so many bytes behind it.
    #[inline]
    fn announce(&self, content: usize) -> Result<u64, EncodeError> {
        // Less than the adjustment wraps to more than the limit.
        let announced = (content as u64).wrapping_sub(self.adjustment as u64);
        if self.allows(announced) { Ok(announced) } else { Err(self.refuse_content(content)) }
    }

    #[cold]
    fn refuse_content(&self, content: usize) -> EncodeError {
        let adjustment = i128::from(self.adjustment);
        let least = adjustment.max(self.least() as i128);
        if (content as i128) < least {
            return EncodeError::TooShort { length: content, min: least.min(usize::MAX as i128) as usize };
        }
        let largest = i128::from(u64::MAX >> (64 - 8 * self.width)) + adjustment;
        EncodeError::TooLong { length: content, max: largest.clamp(0, self.max as i128) as usize }
    }

    // Out of line, so that the usual way is short.

    #[inline(never)]
    fn decode_unusual<'a>(&self, input: &'a mut Buffer) -> Result<Option<&'a [u8]>, DecodeError> {
        let Some(frame) = self.frame(input.peek())? else { return Ok(None) };
        Ok(input.try_take_n(frame).map(|frame| &frame[self.stripped()..]))
    }

    #[inline(never)]
    fn encode_unusual(&self, message: &[u8], output: &mut Buffer) -> Result<(), EncodeError> {
        if self.limits.usual {
            return Err(self.refuse_content(message.len()));
        }
        self.encode_with(output, |content| {
            content.append(message);
            Ok(())
        })
    }
}

impl Codec for LengthPrefixed {
    type In<'a> = &'a [u8];
    type Out<'a> = &'a [u8];

    #[inline(always)]
    fn decode<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<&'a [u8]>, DecodeError> {
        if !self.limits.usual {
            return self.decode_unusual(input);
        }
        let Some(field) = input.peek().first_chunk() else { return Ok(None) };
        let announced = u32::from_be_bytes(*field).into();
        if !self.allows(announced) {
            return Err(self.refuse(announced));
        }
        let frame = USUAL_HEADER.saturating_add(announced as usize);
        Ok(input.try_take_n(frame).map(|frame| &frame[USUAL_HEADER..]))
    }

    #[inline(always)]
    fn encode(&self, message: &[u8], output: &mut Buffer) -> Result<(), EncodeError> {
        let content = message.len();
        if !self.limits.usual || !self.allows(content as u64) {
            return self.encode_unusual(message, output);
        }
        let storage = output.spare(USUAL_HEADER + content);
        storage.extend_from_slice(&(content as u32).to_be_bytes());
        storage.extend_from_slice(message);
        Ok(())
    }
}

impl Framing for LengthPrefixed {
    #[inline]
    fn headroom(&self) -> usize {
        self.stripped()
    }

    #[inline]
    fn seal(&self, output: &mut Buffer, start: usize) -> Result<(), EncodeError> {
        let frame = &mut output.peek_mut()[start..];
        let (length, header, stripped) = (frame.len(), self.header(), self.stripped());
        let Some(field) = frame.get_mut(self.offset..header) else {
            return Err(EncodeError::TooShort {
                length: length.saturating_sub(stripped),
                min: header.saturating_sub(stripped),
            });
        };
        let announced = self.announce(length - header)?;
        self.write_field(announced, field);
        Ok(())
    }
}
