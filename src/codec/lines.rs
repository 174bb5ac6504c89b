//! Lines of text or other bytes.

use memchr::{memchr, memchr_iter};

use super::{Codec, DecodeError, EncodeError, Framing};
use crate::buffer::Buffer;

/// Lines, given without their end.
///
/// ```text
///   Lines::new()
///   +-------+----+-------+----+----+----+           +-------+   +-------+   +--+
///   | one   | LF | two   | CR | LF | LF |   ----->  | one   |   | two   |   |  |
///   +-------+----+-------+----+----+----+           +-------+   +-------+   +--+
/// ```
///
/// By default a line ends with LF or CR LF and is written with LF; see [`LineEnding`]. An empty line is an empty message. A line
/// is bytes; [`Text`](super::Text) over lines makes it UTF-8.
///
/// A line of more than `max` bytes (8 KiB by default, the end not counted) is an error. By default it is the connection's last,
/// as it usually means that the peer speaks another protocol: decoding doesn't go on, however often it is asked. With
/// [`skip_too_long`](Self::skip_too_long) the error is given once, the line is left out, up to its end, without being kept,
/// and the next one is decoded.
///
/// A line that the peer's close cuts off is an incomplete frame, since half a command may be another one; with
/// [`accept_unended`](Self::accept_unended) it is a line as others.
///
/// No byte is searched twice, in however many pieces a line arrives. Of the input `max` + 2 bytes have to be kept.
///
/// ```
/// use campana::Buffer;
/// use campana::codec::{Codec, DecodeError, Lines};
///
/// let mut codec = Lines::new().max(10).skip_too_long();
/// let mut input = Buffer::from(&b"one\r\n0123456789+\ntwo\nthr"[..]);
/// assert_eq!(codec.decode(&mut input)?, Some(&b"one"[..]));
/// assert!(matches!(codec.decode(&mut input), Err(DecodeError::LineTooLong { max: 10, .. })));
/// assert_eq!(codec.decode(&mut input)?, Some(&b"two"[..]));
/// assert_eq!(codec.decode(&mut input)?, None);
/// input.append(b"ee\n");
/// assert_eq!(codec.decode(&mut input)?, Some(&b"three"[..]));
/// # Ok::<(), DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lines {
    ending: LineEnding,
    max: usize,
    skip_too_long: bool,
    accept_unended: bool,
    /// How many bytes at the front of the input are known to hold no line end.
    scanned: usize,
    /// What comes next belongs to a line that is left out.
    skipping: bool,
}

/// What ends a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineEnding {
    /// LF or CR LF is read, LF is written. Messages can't end with CR.
    #[default]
    Either,
    /// LF alone. A CR before it belongs to the line.
    Lf,
    /// CR LF alone. Any other CR or LF belongs to the line.
    CrLf,
}

impl Lines {
    /// Lines of up to 8 KiB that end with LF or CR LF.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ending: LineEnding::Either,
            max: 8 * 1024,
            skip_too_long: false,
            accept_unended: false,
            scanned: 0,
            skipping: false,
        }
    }

    /// What ends a line.
    #[must_use]
    pub const fn ending(mut self, ending: LineEnding) -> Self {
        self.ending = ending;
        self
    }

    /// Most bytes of a line, its end not counted; 8 KiB by default. So much a peer can make one connection keep.
    #[must_use]
    pub const fn max(mut self, bytes: usize) -> Self {
        self.max = bytes;
        self
    }

    /// Changes [`max`](Self::max) from the next line on: once a peer has logged in, say.
    pub const fn set_max(&mut self, bytes: usize) {
        self.max = bytes;
    }

    /// Leaves lines that are too long out and goes on behind them, after an error for each.
    #[must_use]
    pub const fn skip_too_long(mut self) -> Self {
        self.skip_too_long = true;
        self
    }

    /// Takes bytes without a line end before the peer's close for a line, instead of an incomplete frame.
    #[must_use]
    pub const fn accept_unended(mut self) -> Self {
        self.accept_unended = true;
        self
    }

    /// Drops what belongs to a line that is left out, and says whether all of it has come.
    fn skip(&mut self, input: &mut Buffer) -> bool {
        match self.ending.find(input.peek(), 0) {
            Some((_, line)) => {
                input.retrieve(line);
                self.skipping = false;
            }
            None => input.retrieve(input.readable() - self.ending.begun(input.peek())),
        }
        !self.skipping
    }

    /// Most bytes that have to be looked at to find a line or to know that it is too long.
    #[inline]
    fn longest(&self) -> usize {
        self.max.saturating_add(self.ending.longest())
    }

    /// What there is instead of a line within the limit: a line that is longer, `too_long` with its end, or the beginning of one.
    #[cold]
    fn no_line<T>(&mut self, input: &mut Buffer, too_long: Option<usize>) -> Result<Option<T>, DecodeError> {
        let longest = self.longest();
        match too_long {
            Some(line) => self.refuse(input, line, false),
            None if input.readable() < longest => {
                self.scanned = input.readable();
                Ok(None)
            }
            None => {
                let keep = self.ending.begun(&input.peek()[..longest]);
                self.refuse(input, longest - keep, true)
            }
        }
    }

    /// Whether something can be one line.
    #[inline]
    fn check(&self, content: &[u8]) -> Result<(), EncodeError> {
        if content.len() > self.max {
            return Err(EncodeError::TooLong { length: content.len(), max: self.max });
        }
        match self.ending.find_inside(content) {
            Some(position) => Err(EncodeError::LineEndInside { position }),
            None => Ok(()),
        }
    }

    fn refuse<T>(&mut self, input: &mut Buffer, bytes: usize, goes_on: bool) -> Result<T, DecodeError> {
        self.scanned = 0;
        if self.skip_too_long {
            input.retrieve(bytes);
            self.skipping = goes_on;
        }
        Err(DecodeError::LineTooLong { max: self.max, skipped: self.skip_too_long })
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

impl LineEnding {
    /// How it is written.
    const fn written(self) -> &'static [u8] {
        match self {
            Self::CrLf => b"\r\n",
            Self::Either | Self::Lf => b"\n",
        }
    }

    /// Most bytes of an end.
    const fn longest(self) -> usize {
        match self {
            Self::Lf => 1,
            Self::Either | Self::CrLf => 2,
        }
    }

    /// The first line of `bytes`, of which those before `from` are known to hold no end: its length without and with its end.
    #[inline]
    fn find(self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        let follows_cr = |lf: usize| lf > 0 && bytes[lf - 1] == b'\r';
        let rest = &bytes[from..];
        let lf = from
            + match self {
                Self::Either | Self::Lf => memchr(b'\n', rest),
                Self::CrLf => memchr_iter(b'\n', rest).find(|&lf| follows_cr(from + lf)),
            }?;
        let ends_with_cr = self != Self::Lf && follows_cr(lf);
        Some((lf - usize::from(ends_with_cr), lf + 1))
    }

    /// How many bytes at the back may be the first part of an end that is needed as a whole.
    fn begun(self, bytes: &[u8]) -> usize {
        usize::from(self == Self::CrLf && bytes.last() == Some(&b'\r'))
    }

    /// Where a line end, or what would join the one behind it, lies in what is to be one line.
    fn find_inside(self, content: &[u8]) -> Option<usize> {
        match (self, content) {
            (Self::Either, [start @ .., b'\r']) => Some(memchr(b'\n', start).unwrap_or(start.len())),
            _ => self.find(content, 0).map(|(content, _)| content),
        }
    }
}

impl Codec for Lines {
    type In<'a> = &'a [u8];
    type Out<'a> = &'a [u8];

    #[inline]
    fn decode<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<&'a [u8]>, DecodeError> {
        if self.skipping && !self.skip(input) {
            return Ok(None);
        }
        // More is not looked at, so that it doesn't matter how much has arrived.
        let window = &input.peek()[..self.longest().min(input.readable())];
        match self.ending.find(window, self.scanned.min(window.len())) {
            Some((content, line)) if content <= self.max => {
                self.scanned = 0;
                Ok(Some(&input.take_n(line)[..content]))
            }
            found => self.no_line(input, found.map(|(_, line)| line)),
        }
    }

    fn decode_eof<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<&'a [u8]>, DecodeError> {
        let received = input.readable();
        if self.skipping || received == 0 {
            input.retrieve_all();
            return Ok(None);
        }
        if !self.accept_unended {
            return Err(DecodeError::Incomplete { received });
        }
        let ends_with_cr = self.ending != LineEnding::Lf && input.peek().last() == Some(&b'\r');
        let content = received - usize::from(ends_with_cr);
        if content > self.max {
            return self.refuse(input, received, false);
        }
        self.scanned = 0;
        Ok(Some(&input.take_n(received)[..content]))
    }

    #[inline]
    fn encode(&self, message: &[u8], output: &mut Buffer) -> Result<(), EncodeError> {
        self.check(message)?;
        output.reserve(message.len() + self.ending.longest());
        output.append(message);
        output.append(self.ending.written());
        Ok(())
    }
}

impl Framing for Lines {
    fn seal(&self, output: &mut Buffer, start: usize) -> Result<(), EncodeError> {
        self.check(&output.peek()[start..])?;
        output.append(self.ending.written());
        Ok(())
    }
}
