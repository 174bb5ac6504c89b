//! Codecs whose messages are bytes, for others to be put over them.

use super::{Codec, EncodeError};
use crate::buffer::Buffer;

/// A codec that says where messages begin and end, and leaves what they mean to the one above it.
///
/// What it decodes are slices of the input: nothing is copied and nothing allocated. To keep a message, copy it
/// ([`Bytes::copy_from_slice`](bytes::Bytes::copy_from_slice), `to_vec`).
///
/// ```
/// use campana::Buffer;
/// use campana::codec::{EncodeError, Framing, VarintPrefixed};
///
/// // Written in place, without knowing its length beforehand.
/// fn encode_point(framing: &impl Framing, x: i32, y: i32, output: &mut Buffer) -> Result<(), EncodeError> {
///     framing.encode_with(output, |content| {
///         content.append_i32(x);
///         content.append_i32(y);
///         Ok(())
///     })
/// }
///
/// let mut output = Buffer::new();
/// encode_point(&VarintPrefixed::new(), 1, -1, &mut output)?;
/// assert_eq!(output.peek(), b"\x08\x00\x00\x00\x01\xff\xff\xff\xff");
/// # Ok::<(), EncodeError>(())
/// ```
pub trait Framing: for<'a> Codec<In<'a> = &'a [u8], Out<'a> = &'a [u8]> {
    /// How many bytes are left free in front of a frame's content, for [`seal`](Self::seal) to fill in.
    fn headroom(&self) -> usize {
        0
    }

    /// Makes a frame of what was appended to `output` since it had `start` readable bytes, [headroom](Self::headroom) included.
    ///
    /// # Errors
    ///
    /// If the content can't be framed. What was appended is the caller's to take back.
    fn seal(&self, output: &mut Buffer, start: usize) -> Result<(), EncodeError>;

    /// Appends a frame, whose content is what `write` appends.
    ///
    /// # Errors
    ///
    /// What `write` gives, or the content can't be framed. `output` is then as it was.
    ///
    /// # Panics
    ///
    /// If `write` takes away what was in `output` before.
    #[inline]
    fn encode_with(
        &self,
        output: &mut Buffer,
        write: impl FnOnce(&mut Buffer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError>
    where
        Self: Sized,
    {
        let start = output.readable();
        reserve_headroom(output, self.headroom());
        let result = write(output).and_then(|()| self.seal(output, start));
        if result.is_err() {
            output.unwrite(output.readable() - start);
        }
        result
    }
}

#[inline]
fn reserve_headroom(output: &mut Buffer, mut bytes: usize) {
    const ZEROS: [u8; 16] = [0; 16];
    while bytes > 0 {
        let n = bytes.min(ZEROS.len());
        output.append(&ZEROS[..n]);
        bytes -= n;
    }
}
