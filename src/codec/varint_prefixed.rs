//! Frames that begin with their length in as few bytes as it takes.

use super::{Codec, DEFAULT_MAX, DecodeError, EncodeError, Framing};
use crate::buffer::Buffer;

/// Most bytes of a 64-bit number in LEB128, of which each has seven bits.
const LONGEST: usize = 10;

/// Frames with a LEB128 length, as delimited protocol buffers have them.
///
/// ```text
///   +---------------------+----------------+            +----------------+
///   | length: 1 to 10     | content        |   ----->   | content        |
///   +---------------------+----------------+            +----------------+
///                         |<--- length --->|
/// ```
///
/// Each byte of the length has seven of its bits, the lowest first, and a high bit that says whether another one follows. Content
/// has 1 byte to 1 MiB by default. Lengths are written in as few bytes as possible; longer forms are read as well, up to ten
/// bytes.
///
/// A length beyond the limits is an error as soon as it is read, and [not recoverable](DecodeError::is_recoverable). Of the input
/// no more than `max` + 10 bytes have to be kept.
///
/// ```
/// use campana::Buffer;
/// use campana::codec::{Codec, VarintPrefixed};
///
/// let mut codec = VarintPrefixed::new();
/// let mut wire = Buffer::new();
/// codec.encode(&[b'x'; 300], &mut wire)?;
/// assert_eq!(wire.peek()[..3], [0xac, 0x02, b'x']);
/// assert_eq!(codec.decode(&mut wire)?, Some(&[b'x'; 300][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct VarintPrefixed {
    min: usize,
    max: usize,
}

impl VarintPrefixed {
    /// Frames with 1 byte to 1 MiB of content.
    #[must_use]
    pub const fn new() -> Self {
        Self { min: 1, max: DEFAULT_MAX }
    }

    /// Fewest bytes of content. By default 1, so that a length of zero is an error; with 0 there are empty messages, as protocol
    /// buffers have them.
    #[must_use]
    pub const fn min(mut self, bytes: usize) -> Self {
        self.min = bytes;
        self
    }

    /// Most bytes of content, 1 MiB by default. So much, and ten bytes, a peer can make one connection keep.
    #[must_use]
    pub const fn max(mut self, bytes: usize) -> Self {
        self.max = bytes;
        self
    }

    /// Changes [`max`](Self::max) from the next frame on: once a peer has logged in, say.
    pub const fn set_max(&mut self, bytes: usize) {
        self.max = bytes;
    }

    /// The lengths of the length and of the content, if the former is there.
    #[inline]
    fn frame(&self, input: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
        let Some((announced, prefix)) = read_varint(input)? else { return Ok(None) };
        if announced < self.min as u64 {
            return Err(DecodeError::TooShort { announced, min: self.min });
        }
        if announced > self.max as u64 {
            return Err(DecodeError::TooLong { announced, max: self.max });
        }
        Ok(Some((prefix, announced as usize)))
    }

    #[inline]
    fn check(&self, length: usize) -> Result<(), EncodeError> {
        if length < self.min {
            return Err(EncodeError::TooShort { length, min: self.min });
        }
        if length > self.max {
            return Err(EncodeError::TooLong { length, max: self.max });
        }
        Ok(())
    }
}

impl Default for VarintPrefixed {
    fn default() -> Self {
        Self::new()
    }
}

impl Codec for VarintPrefixed {
    type In<'a> = &'a [u8];
    type Out<'a> = &'a [u8];

    #[inline]
    fn decode<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<&'a [u8]>, DecodeError> {
        let Some((prefix, content)) = self.frame(input.peek())? else { return Ok(None) };
        Ok(input.try_take_n(prefix.saturating_add(content)).map(|frame| &frame[prefix..]))
    }

    #[inline]
    fn encode(&self, message: &[u8], output: &mut Buffer) -> Result<(), EncodeError> {
        self.check(message.len())?;
        let mut prefix = [0; LONGEST];
        let prefix = write_varint(message.len() as u64, &mut prefix);
        output.reserve(prefix.len() + message.len());
        output.append(prefix);
        output.append(message);
        Ok(())
    }
}

impl Framing for VarintPrefixed {
    fn seal(&self, output: &mut Buffer, start: usize) -> Result<(), EncodeError> {
        let length = output.readable() - start;
        self.check(length)?;
        let mut prefix = [0; LONGEST];
        let prefix = write_varint(length as u64, &mut prefix);
        output.append(prefix);
        // The width is known only now, so the content makes room for it.
        let frame = &mut output.peek_mut()[start..];
        frame.copy_within(..length, prefix.len());
        frame[..prefix.len()].copy_from_slice(prefix);
        Ok(())
    }
}

/// The number at the front and how many bytes it has, if all of them are there.
#[inline]
fn read_varint(input: &[u8]) -> Result<Option<(u64, usize)>, DecodeError> {
    let mut value = 0;
    for (index, &byte) in input.iter().take(LONGEST).enumerate() {
        // Of the tenth byte only one bit is left of the 64.
        if index == LONGEST - 1 && byte > 1 {
            return Err(DecodeError::BadVarint);
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok(Some((value, index + 1)));
        }
    }
    Ok(None)
}

fn write_varint(mut value: u64, into: &mut [u8; LONGEST]) -> &[u8] {
    let mut length = 0;
    loop {
        into[length] = value as u8 & 0x7f;
        value >>= 7;
        if value == 0 {
            return &into[..=length];
        }
        into[length] |= 0x80;
        length += 1;
    }
}
