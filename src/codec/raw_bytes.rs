//! No frames at all.

use super::{Codec, DecodeError, EncodeError, Framing};
use crate::buffer::Buffer;

/// Bytes as they come: a message is all that has arrived.
///
/// ```text
///   +-----------+           +-----------+
///   | whatever  |   ----->  | whatever  |
///   +-----------+           +-----------+
/// ```
///
/// On a stream a message's bounds mean nothing, for they depend on how the bytes arrived. On packet sockets (SOCK_SEQPACKET) a
/// packet is a message, so that this is the framing to put others over; an empty packet is none, though.
///
/// ```
/// use campana::Buffer;
/// use campana::codec::{Codec, DecodeError, RawBytes};
///
/// let mut input = Buffer::from(&b"whatever"[..]);
/// assert_eq!(RawBytes.decode(&mut input)?, Some(&b"whatever"[..]));
/// assert_eq!(RawBytes.decode(&mut input)?, None);
/// # Ok::<(), DecodeError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs, reason = "there is nothing to set about it")]
pub struct RawBytes;

impl Codec for RawBytes {
    type In<'a> = &'a [u8];
    type Out<'a> = &'a [u8];

    #[inline]
    fn decode<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<&'a [u8]>, DecodeError> {
        Ok(if input.is_empty() { None } else { Some(input.take()) })
    }

    #[inline]
    fn encode(&self, message: &[u8], output: &mut Buffer) -> Result<(), EncodeError> {
        output.append(message);
        Ok(())
    }
}

impl Framing for RawBytes {
    fn seal(&self, _output: &mut Buffer, _start: usize) -> Result<(), EncodeError> {
        Ok(())
    }
}
