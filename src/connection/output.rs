//! What can be sent, and where it waits until the kernel takes it.
//!
//! [`Output`] is the argument of every `send`. A byte stream's pending output waits in an `OutputQueue`, a packet
//! socket's in a `PacketQueue`. Neither knows a socket: the connection asks for what to write next and says how
//! much of it has gone.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;

use bytes::{Buf as _, Bytes, BytesMut};

use crate::buffer::Buffer;

mod packets;

pub(crate) use packets::PacketQueue;

/// Shared bytes are queued as they are from this length on, and copied below it.
///
/// A shared chunk costs two atomic operations, a queue entry and an entry of its own in the vectored write, which is
/// about what copying half a kilobyte costs. Copying what is smaller also joins runs of small messages into one
/// chunk, keeps a few bytes from holding a large allocation alive, and bounds the queue's bookkeeping to less than a
/// tenth of its content.
const SHARE_FROM: usize = 512;

/// Most chunks given to one vectored write: enough to fill a socket's send buffer, at 1 KiB of stack.
pub(crate) const MAX_SLICES: usize = 64;

/// What can be sent: slices are copied if they have to wait, [`Bytes`] are shared.
///
/// Every `send` takes `impl Into<Output>`, so it is seldom named. Sending one [`Bytes`] to a thousand connections
/// keeps one copy of it, from 512 bytes on; below that a copy is cheaper than sharing.
///
/// ```
/// use bytes::Bytes;
/// use campana::{Buffer, Output};
///
/// fn length<'a>(output: impl Into<Output<'a>>) -> usize {
///     output.into().len()
/// }
///
/// let mut buffer = Buffer::from(&b"all of it"[..]);
/// assert_eq!(length("text"), 4);
/// assert_eq!(length(format!("{}", 12)), 2);
/// assert_eq!(length(Bytes::from_static(b"shared")), 6);
/// assert_eq!(length(&mut buffer), 9);
/// assert!(buffer.is_empty());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Output<'a> {
    /// Borrowed bytes: written from where they are if the socket takes them at once, copied if they must wait.
    Slice(&'a [u8]),
    /// Bytes that are handed over.
    Owned(Vec<u8>),
    /// Bytes that others may hold too. As long as they wait, all of the allocation that they are part of stays alive.
    Shared(Bytes),
}

impl Output<'_> {
    /// The bytes to be sent.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Slice(bytes) => bytes,
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// Number of bytes to be sent.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// The bytes to be sent, to be kept: copied if they were borrowed.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Slice(bytes) => Bytes::copy_from_slice(bytes),
            Self::Owned(bytes) => Bytes::from(bytes),
            Self::Shared(bytes) => bytes,
        }
    }

    /// Whether there is nothing to be sent.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl AsRef<[u8]> for Output<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl<'a> From<&'a [u8]> for Output<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Slice(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Output<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Slice(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Output<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Slice(bytes)
    }
}

impl<'a> From<&'a str> for Output<'a> {
    fn from(text: &'a str) -> Self {
        Self::Slice(text.as_bytes())
    }
}

impl<'a> From<&'a String> for Output<'a> {
    fn from(text: &'a String) -> Self {
        Self::Slice(text.as_bytes())
    }
}

impl From<Vec<u8>> for Output<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(bytes)
    }
}

impl From<String> for Output<'_> {
    fn from(text: String) -> Self {
        Self::Owned(text.into_bytes())
    }
}

impl From<Bytes> for Output<'_> {
    fn from(bytes: Bytes) -> Self {
        Self::Shared(bytes)
    }
}

/// Shares the bytes.
impl From<&Bytes> for Output<'_> {
    fn from(bytes: &Bytes) -> Self {
        Self::Shared(bytes.clone())
    }
}

impl From<BytesMut> for Output<'_> {
    fn from(bytes: BytesMut) -> Self {
        Self::Shared(bytes.freeze())
    }
}

/// Takes all readable bytes; the buffer is empty afterwards, whether or not they can be sent.
impl<'a> From<&'a mut Buffer> for Output<'a> {
    fn from(buffer: &'a mut Buffer) -> Self {
        Self::Slice(buffer.take())
    }
}

/// A byte stream's pending output: copied and shared chunks, in the order of the sends.
///
/// All copied bytes lie in one buffer, whatever lies between them in the stream; a shared chunk remembers how many of
/// them go before it. So neither kind of send allocates once the queue has been in use. An empty one can be used again as it is.
#[derive(Debug, Default)]
pub(crate) struct OutputQueue {
    copied: Buffer,
    shared: VecDeque<SharedChunk>,
    /// How many of the copied bytes come after the last shared chunk.
    tail: usize,
    /// Bytes in all chunks.
    len: usize,
}

#[derive(Debug)]
struct SharedChunk {
    /// How many copied bytes come between the shared chunk before this one and this one.
    copied_before: usize,
    bytes: Bytes,
}

impl OutputQueue {
    /// Number of bytes that wait.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Queues what is left of `output` after its first `sent` bytes, which the socket has taken already.
    ///
    /// # Panics
    ///
    /// If `output` is shorter than that.
    #[inline(always)]
    pub(crate) fn push(&mut self, output: Output<'_>, sent: usize) {
        match output {
            Output::Slice(bytes) => self.push_slice(&bytes[sent..]),
            Output::Owned(bytes) if bytes.len() < sent + SHARE_FROM => self.push_slice(&bytes[sent..]),
            Output::Owned(bytes) => self.push_shared(Bytes::from(bytes).slice(sent..)),
            Output::Shared(bytes) => self.push_shared(bytes.slice(sent..)),
        }
    }

    /// Queues a copy of `bytes`.
    #[inline]
    pub(crate) fn push_slice(&mut self, bytes: &[u8]) {
        self.copied.append(bytes);
        self.tail += bytes.len();
        self.len += bytes.len();
    }

    /// Queues `bytes` without a copy, or a copy if they are few.
    pub(crate) fn push_shared(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE_FROM {
            return self.push_slice(&bytes);
        }
        self.len += bytes.len();
        self.shared.push_back(SharedChunk { copied_before: mem::take(&mut self.tail), bytes });
    }

    /// The longest piece from the front that lies in one place; empty only if the queue is.
    #[inline]
    pub(crate) fn first(&self) -> &[u8] {
        match self.shared.front() {
            None => self.copied.peek(),
            Some(chunk) if chunk.copied_before == 0 => &chunk.bytes,
            Some(chunk) => &self.copied.peek()[..chunk.copied_before],
        }
    }

    /// Whether [`first`](Self::first) is all there is, so that a plain write does.
    #[inline]
    pub(crate) fn is_single(&self) -> bool {
        self.first().len() == self.len
    }

    /// Puts the pieces from the front into `into`, as many as it holds, and tells how many they are.
    ///
    /// [`MAX_SLICES`] of them are enough for one vectored write.
    pub(crate) fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slot, piece) in into.iter_mut().zip(self.pieces()) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// Drops the first `n` bytes, which the socket has taken. They may end anywhere in a chunk.
    ///
    /// # Panics
    ///
    /// If fewer than `n` bytes wait.
    #[inline]
    pub(crate) fn consume(&mut self, n: usize) {
        assert!(n <= self.len, "{n} bytes consumed of {} that waited", self.len);
        self.len -= n;
        if self.shared.is_empty() {
            self.copied.retrieve(n);
            self.tail -= n;
        } else {
            self.consume_chunks(n);
        }
    }

    /// Drops everything: the socket has taken it, or nobody will.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.copied.retrieve_all();
        if !self.shared.is_empty() {
            self.shared.clear();
        }
        self.tail = 0;
        self.len = 0;
    }

    /// Memory in bytes that the queue itself holds, without the shared chunks' content.
    pub(crate) fn capacity(&self) -> usize {
        self.copied.capacity() + self.shared.capacity() * size_of::<SharedChunk>()
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut copied = self.copied.peek();
        let chunks = self.shared.iter().map(|chunk| (chunk.copied_before, &chunk.bytes[..]));
        chunks
            .chain([(self.tail, &[][..])])
            .flat_map(move |(copied_before, shared)| {
                let (before, rest) = copied.split_at(copied_before);
                copied = rest;
                [before, shared]
            })
            .filter(|piece| !piece.is_empty())
    }

    fn consume_chunks(&mut self, mut n: usize) {
        while n > 0 {
            let Some(chunk) = self.shared.front_mut() else {
                self.copied.retrieve(n);
                self.tail -= n;
                return;
            };
            let from_copied = n.min(chunk.copied_before);
            self.copied.retrieve(from_copied);
            chunk.copied_before -= from_copied;
            n -= from_copied;

            if n < chunk.bytes.len() {
                chunk.bytes.advance(n);
                return;
            }
            n -= chunk.bytes.len();
            self.shared.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
