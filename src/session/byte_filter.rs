//! Byte filters: what sees the bytes between the codec and the connection.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use super::SessionId;
use crate::buffer::Buffer;

/// How far a byte filter has come with its input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Progress {
    /// As far as it gets with what there is. What it has left in its input is there again with what comes next.
    Done,
    /// There is more to come of what it has taken, or would be of what it has left: the same call comes again, once what this one
    /// gave has been made use of. A call that neither takes nor gives anything counts as [`Done`](Self::Done).
    More,
    /// The same call comes again after this time at the latest, with or without input.
    After(Duration),
}

/// What a byte filter's callbacks answer; an error ends the session, as its place in the stream is lost. A text will do for one.
pub type ByteResult = Result<Progress, Box<dyn Error + Send + Sync>>;

/// What makes other bytes of the bytes of a session: compression, encryption, a tap, a brake.
///
/// ```text
///                 head               tail
///   connection ──> filter ──> ... ──> filter ──> codec      decode
///   connection <── filter <── ... <── filter <── codec      encode
/// ```
///
/// A filter takes bytes out of its input, puts others behind what `output` holds already, and may leave some of the input where it
/// is. What it leaves is counted and limited: in `encode` as pending output, with
/// [`hard_cap`](crate::ConnectionConfig::hard_cap), in `decode` by [`input_limit`](crate::ConnectionConfig::input_limit); nothing
/// is read from the connection while a filter asks for time with input left, or for another call. What it keeps inside itself
/// nobody counts, so by the time that it answers anything but [`Progress::More`], all that it makes of what it has taken has to be
/// in `output`. A [write](super::WriteId) counts as written when all has reached the kernel that came of the batch it was part of.
///
/// An error or a panic ends the use of the filter: it isn't called any more, and what waits for it is lost. What came before it
/// in the stream is still delivered.
///
/// On a connection of packets each is a call of its own, and what is left of one joins the next. So only filters that leave nothing
/// make sense there.
///
/// ```
/// use campana::Buffer;
/// use campana::session::{ByteContext, ByteFilter, ByteResult, Progress};
///
/// /// Hides bytes from the eye, though from nothing else.
/// struct Mask(u8);
///
/// impl Mask {
///     fn pass(&self, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
///         let passed = input.readable();
///         output.append(input.take());
///         let first = output.readable() - passed;
///         output.peek_mut()[first..].iter_mut().for_each(|byte| *byte ^= self.0);
///         Ok(Progress::Done)
///     }
/// }
///
/// impl ByteFilter for Mask {
///     fn decode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
///         self.pass(input, output)
///     }
///
///     fn encode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
///         self.pass(input, output)
///     }
/// }
/// ```
pub trait ByteFilter: Any {
    /// Called when the filter's place is taken, with the session or later. After [`Progress::After`] it is `decode` that is called.
    ///
    /// # Errors
    ///
    /// Whatever keeps the filter from working; it ends the session.
    fn on_open(&mut self, _cx: &mut ByteContext<'_>) -> ByteResult {
        Ok(Progress::Done)
    }

    /// Makes of bytes that came from the peer what the codec is to see. One call must not add more than some 64 KiB to `output`:
    /// if there would be more, it answers [`Progress::More`]. So what a few bytes of input expand to takes up no memory.
    ///
    /// # Errors
    ///
    /// Input that makes no sense; it ends the session, once what is in `output` has been delivered.
    fn decode(&mut self, cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult;

    /// Makes of bytes that come from the codec what the peer is to see.
    ///
    /// # Errors
    ///
    /// Whatever keeps the filter from working; it ends the session.
    fn encode(&mut self, cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult;

    /// Called when the peer will send no more; `decode` has had all that came. If that has left some of it, that is an error
    /// anyway.
    ///
    /// # Errors
    ///
    /// If the peer's stream ought to have gone on.
    fn on_input_closed(&mut self, _cx: &mut ByteContext<'_>) -> ByteResult {
        Ok(Progress::Done)
    }

    /// Called when `encode` has taken all, before the connection is closed in good order, and before the filter is taken out. What is
    /// put into `output` is the last that it sends.
    ///
    /// # Errors
    ///
    /// As for `encode`.
    fn finish(&mut self, _cx: &mut ByteContext<'_>, _output: &mut Buffer) -> ByteResult {
        Ok(Progress::Done)
    }
}

/// What a byte filter has of its session.
pub struct ByteContext<'a> {
    pub(super) id: SessionId,
    pub(super) now: Instant,
    pub(super) reply: &'a mut Buffer,
}

impl ByteContext<'_> {
    /// Which session it is.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The loop's time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Bytes for the peer that no input of `encode` brought, a handshake's, say: from the filter's own place outwards, behind what
    /// the call puts into `output` on the same way.
    pub fn reply(&mut self) -> &mut Buffer {
        self.reply
    }
}

impl fmt::Debug for ByteContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteContext").field("session", &self.id).finish_non_exhaustive()
    }
}
