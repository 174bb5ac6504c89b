//! A look at what passes.

use std::fmt::{self, Write as _};

use log::{Level, log_enabled};

use crate::buffer::Buffer;
use crate::session::{ByteContext, ByteFilter, ByteResult, Progress, SessionId};

/// What the lines are logged under.
const TARGET: &str = "campana::session::hex";

/// Bytes on a line.
const WIDTH: usize = 16;

/// Logs the bytes that pass, in both directions, as a hex dump under the target `campana::session::hex` at the level `trace`.
/// It changes nothing, and costs little where nobody listens.
///
/// ```text
///   4:17 in  00000000  68 65 6c 6c 6f 0a                                 hello.
///   4:17 out 00000000  6f 6e 65 20 74 77 6f 20  74 68 72 65 65 20 66 6f  one two three fo
///   4:17 out 00000010  75 72 0a                                          ur.
///   4:17 out 00000013  61000 more bytes
/// ```
///
/// A line has the session, the direction, the offset of its first byte in all that has passed in this direction since the tap was put
/// in, in hexadecimal, and up to 16 bytes. Of what passes at once only so much is shown as [`limit`](Self::limit) says.
#[derive(Clone, Debug)]
pub struct HexTap {
    limit: usize,
    inbound: u64,
    outbound: u64,
}

impl HexTap {
    /// A tap that shows up to 1024 bytes at once.
    #[must_use]
    pub fn new() -> Self {
        Self { limit: 1024, inbound: 0, outbound: 0 }
    }

    /// Shows up to so many bytes of those that pass at once, and only says of the others how many they are.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }
}

impl Default for HexTap {
    fn default() -> Self {
        Self::new()
    }
}

impl ByteFilter for HexTap {
    fn decode(&mut self, cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        dump(cx.id(), "in ", self.limit, &mut self.inbound, input.peek());
        output.append(input.take());
        Ok(Progress::Done)
    }

    fn encode(&mut self, cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        dump(cx.id(), "out", self.limit, &mut self.outbound, input.peek());
        output.append(input.take());
        Ok(Progress::Done)
    }
}

fn dump(id: SessionId, direction: &str, limit: usize, offset: &mut u64, bytes: &[u8]) {
    if log_enabled!(target: TARGET, Level::Trace) {
        let (shown, rest) = bytes.split_at(bytes.len().min(limit));
        for (line, bytes) in shown.chunks(WIDTH).enumerate() {
            let offset = *offset + (line * WIDTH) as u64;
            log::trace!(target: TARGET, "{id} {direction} {offset:08x}  {}", Line(bytes));
        }
        if !rest.is_empty() {
            let offset = *offset + shown.len() as u64;
            log::trace!(target: TARGET, "{id} {direction} {offset:08x}  {} more bytes", rest.len());
        }
    }
    *offset += bytes.len() as u64;
}

/// A line's bytes, as numbers and as text.
struct Line<'a>(&'a [u8]);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in 0..WIDTH {
            match self.0.get(place) {
                Some(byte) => write!(f, "{byte:02x} ")?,
                None => f.write_str("   ")?,
            }
            if place == WIDTH / 2 - 1 {
                f.write_char(' ')?;
            }
        }
        f.write_char(' ')?;
        for &byte in self.0 {
            f.write_char(if byte.is_ascii_graphic() || byte == b' ' { byte.into() } else { '.' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_numbers_and_text_in_their_columns() {
        let whole = Line(b"one two three fo").to_string();
        assert_eq!(whole, "6f 6e 65 20 74 77 6f 20  74 68 72 65 65 20 66 6f  one two three fo");
        let part = Line(b"ur\n\xff").to_string();
        assert_eq!(part, format!("{:<50}ur..", "75 72 0a ff"));
    }
}
