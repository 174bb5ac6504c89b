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
    /// There is more to come of the same input: the filter is called again once what it gave has been made use of.
    More,
    /// It goes on with its input after this time, or as soon as it is called again.
    After(Duration),
}

/// What a byte filter's callbacks answer; an error ends the session, as its place in the stream is lost.
pub type ByteResult = Result<Progress, Box<dyn Error + Send + Sync>>;

/// What makes other bytes of the bytes of a session: compression, encryption, a tap, a brake.
///
/// ```text
///                 head               tail
///   connection ──> filter ──> ... ──> filter ──> codec      decode
///   connection <── filter <── ... <── filter <── codec      encode
/// ```
///
/// A filter takes bytes out of its input, and may leave some there; what it keeps inside itself it must give with the next call of
/// [`encode`](Self::encode) at the latest, so that nothing waits where nobody counts it. Bytes that wait in the inputs of `encode`
/// count as pending output, with [`hard_cap`](crate::ConnectionConfig::hard_cap) for their limit; while bytes wait in those of
/// `decode`, nothing is read from the connection once they are more than a read brings.
pub trait ByteFilter: Any {
    /// Called when the filter's place is taken, with the session or later; what is put into
    /// [`reply`](ByteContext::reply) is sent to the peer.
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
    /// Input that makes no sense; it ends the session.
    fn decode(&mut self, cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult;

    /// Makes of bytes that come from the codec what the peer is to see.
    ///
    /// # Errors
    ///
    /// Whatever keeps the filter from working; it ends the session.
    fn encode(&mut self, cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult;

    /// Called when the peer will send no more; `decode` has had all that came.
    ///
    /// # Errors
    ///
    /// If the peer's stream ought to have gone on.
    fn on_input_closed(&mut self, _cx: &mut ByteContext<'_>) -> ByteResult {
        Ok(Progress::Done)
    }

    /// Called before the connection is closed in good order, and before the filter is taken out: what is put into `output` is the
    /// last that it sends.
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

    /// Bytes for the peer that no input of `encode` brought, a handshake's, say: from the filter's own place outwards.
    pub fn reply(&mut self) -> &mut Buffer {
        self.reply
    }
}

impl fmt::Debug for ByteContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteContext").field("session", &self.id).finish_non_exhaustive()
    }
}
