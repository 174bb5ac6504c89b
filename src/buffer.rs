//! The byte buffer between a connection and its handler.
//!
//! A [`Buffer`] collects what arrives until it makes a whole message, and takes what is to be sent. It knows no
//! socket and no message format: codecs are built on it, connections read into it.

use std::mem;
use std::string::FromUtf8Error;

use bytes::{Buf as _, BufMut, Bytes};
use memchr::{memchr, memchr_iter};

mod integers;
mod traits;

/// Bytes kept free in front of the content, enough for the header of any common framing.
const PREPEND: usize = 8;

/// Smallest storage ever allocated, so that a few small appends don't each reallocate.
const SMALLEST: usize = 64;

/// From this many bytes on, allocating new storage later costs less than copying the content now.
const HAND_OVER_FROM: usize = 1024;

/// Bytes that are appended at the end and retrieved from the front.
///
/// The storage is one allocation, with cheap room on both sides of the content:
///
/// ```text
///   0            read           write          capacity
///   | prependable  |   readable   |   writable   |
///   |              | <- content ->|              |
///        prepend() ^              ^ append()
/// ```
///
/// Retrieving only moves `read`, and once everything is retrieved both marks are back at the start for free.
/// Content is moved only when it pays: over any sequence of calls the bytes moved are proportional to the bytes
/// put in and taken out. The room in front lets a length header be put before a finished message without moving it.
///
/// [`Buffer::new`] allocates nothing. Storage never shrinks of itself: see [`shrink`](Self::shrink).
///
/// Methods that take a count panic when it exceeds what is [`readable`](Self::readable), since that is a mistake of
/// the caller; methods that depend on what a peer has sent so far (`read_u32`, [`try_take_n`](Self::try_take_n),
/// [`find_crlf`](Self::find_crlf), ...) return an `Option` instead.
///
/// ```
/// use campana::Buffer;
///
/// let mut buffer = Buffer::new();
/// buffer.append(b"hello");
/// buffer.prepend_u16(5);
/// assert_eq!(buffer.peek(), b"\x00\x05hello");
///
/// let length = buffer.read_u16().map(usize::from);
/// assert_eq!(length.and_then(|n| buffer.try_take_n(n)), Some(&b"hello"[..]));
/// assert!(buffer.is_empty());
/// ```
///
/// # With other crates
///
/// A `Buffer` is a [`bytes::Buf`], and reads and writes through [`std::io`]'s traits. [`bytes::BufMut`] is an
/// `unsafe` trait, which this crate can't implement: [`buf_mut`](Self::buf_mut) lends an implementation.
///
/// [`bytes::Buf`] and [`std::io::Read`] each have a `take` of their own, which takes the buffer by value. Where
/// one of them is in scope, call [`take`](Self::take) of a buffer that you own as `Buffer::take(&mut buffer)`.
/// Nothing changes for a `&mut Buffer`, which is what callbacks are given.
#[derive(Default)]
pub struct Buffer {
    /// The prependable and the readable bytes; the spare capacity is the writable part.
    bytes: Vec<u8>,
    /// Where the readable bytes begin. Equal to `bytes.len()` when there are none, wherever that is: the marks go
    /// back to the start with the next change, because a slice from `take` may still be in use until then.
    read: usize,
}

impl Buffer {
    /// An empty buffer, which owns no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), read: 0 }
    }

    /// An empty buffer with room for `writable` bytes (and the prependable space before them).
    #[must_use]
    pub fn with_capacity(writable: usize) -> Self {
        let mut buffer = Self::new();
        buffer.reserve(writable);
        buffer
    }

    /// Number of bytes that can be retrieved.
    #[inline]
    #[must_use]
    pub fn readable(&self) -> usize {
        self.bytes.len() - self.read
    }

    /// Number of bytes that can be retrieved: [`readable`](Self::readable) under its usual Rust name.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.readable()
    }

    /// Whether there is nothing to retrieve.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read == self.bytes.len()
    }

    /// Number of bytes that can be prepended without moving the content.
    #[must_use]
    pub fn prependable(&self) -> usize {
        if self.is_empty() { self.read.min(PREPEND) } else { self.read }
    }

    /// Number of bytes that can be appended without allocating or moving the content.
    #[must_use]
    pub fn writable(&self) -> usize {
        self.capacity() - self.prependable() - self.readable()
    }

    /// Size of the storage in bytes: prependable, readable and writable together.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// All readable bytes, which stay in the buffer.
    #[inline]
    #[must_use]
    pub fn peek(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    /// All readable bytes, to be changed in place (unmasking, decrypting).
    #[inline]
    #[must_use]
    pub fn peek_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.read..]
    }

    /// Drops the first `n` readable bytes.
    ///
    /// # Panics
    ///
    /// If fewer than `n` bytes are readable.
    #[inline]
    pub fn retrieve(&mut self, n: usize) {
        self.check(n);
        self.read += n;
    }

    /// Drops all readable bytes, and keeps the storage.
    #[inline]
    pub fn retrieve_all(&mut self) {
        self.read = self.bytes.len();
    }

    /// Drops all readable bytes, and keeps the storage: [`retrieve_all`](Self::retrieve_all) under its usual Rust name.
    pub fn clear(&mut self) {
        self.retrieve_all();
    }

    /// Takes all readable bytes, without a copy: the buffer is empty from here on, and the slice stays valid for as
    /// long as it is borrowed.
    ///
    /// This makes `conn.send(input.take())` the shortest echo: the bytes go to the socket straight from the buffer
    /// that they were read into.
    ///
    /// ```
    /// # use campana::Buffer;
    /// let mut buffer = Buffer::from(&b"all of it"[..]);
    /// let taken = buffer.take();
    /// assert_eq!(taken, b"all of it");
    /// assert!(buffer.is_empty());
    /// ```
    #[inline]
    pub fn take(&mut self) -> &[u8] {
        let start = mem::replace(&mut self.read, self.bytes.len());
        &self.bytes[start..]
    }

    /// Takes the first `n` readable bytes, without a copy.
    ///
    /// # Panics
    ///
    /// If fewer than `n` bytes are readable. Use [`try_take_n`](Self::try_take_n) where `n` came from a peer.
    #[inline]
    pub fn take_n(&mut self, n: usize) -> &[u8] {
        self.check(n);
        let start = self.read;
        self.read += n;
        &self.bytes[start..self.read]
    }

    /// Takes the first `n` readable bytes without a copy, or takes nothing if there aren't that many yet.
    #[inline]
    pub fn try_take_n(&mut self, n: usize) -> Option<&[u8]> {
        (n <= self.readable()).then(|| self.take_n(n))
    }

    /// Takes the first `n` readable bytes as a copy that can be kept and shared.
    ///
    /// # Panics
    ///
    /// If fewer than `n` bytes are readable.
    pub fn take_bytes(&mut self, n: usize) -> Bytes {
        Bytes::copy_from_slice(self.take_n(n))
    }

    /// Takes all readable bytes to be kept and shared.
    ///
    /// Where the content is large and fills at least half of the storage, the storage itself is handed over, and the
    /// buffer allocates anew when it is next filled. Otherwise the content is copied.
    pub fn take_all_bytes(&mut self) -> Bytes {
        let readable = self.readable();
        if readable < HAND_OVER_FROM || readable < self.capacity() / 2 {
            return self.take_bytes(readable);
        }
        let Self { bytes, read } = mem::take(self);
        let mut shared = Bytes::from(bytes);
        shared.advance(read);
        shared
    }

    /// Takes all readable bytes as text.
    ///
    /// # Errors
    ///
    /// If they aren't UTF-8. The buffer is empty in this case too; the bytes are in the error.
    pub fn take_string(&mut self) -> Result<String, FromUtf8Error> {
        String::from_utf8(self.take().to_vec())
    }

    /// Puts `bytes` after the content.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Puts `bytes` before the content.
    ///
    /// Free up to [`prependable`](Self::prependable) bytes, of which there are 8 in a buffer that has been filled by
    /// appending; beyond that the content is moved.
    pub fn prepend(&mut self, bytes: &[u8]) {
        self.rewind_if_empty();
        if self.read < bytes.len() {
            self.make_front_room(bytes.len());
        }
        let end = self.read;
        self.read -= bytes.len();
        self.bytes[self.read..end].copy_from_slice(bytes);
    }

    /// Takes back the last `n` bytes that were appended.
    ///
    /// # Panics
    ///
    /// If fewer than `n` bytes are readable.
    pub fn unwrite(&mut self, n: usize) {
        self.check(n);
        self.bytes.truncate(self.bytes.len() - n);
    }

    /// Makes room for appending `additional` bytes without further allocation.
    ///
    /// # Panics
    ///
    /// If the storage would exceed `isize::MAX` bytes. Don't pass on a length that a peer has announced before it is
    /// checked against a limit.
    #[inline]
    pub fn reserve(&mut self, additional: usize) {
        self.rewind_if_empty();
        if self.bytes.capacity() - self.bytes.len() < additional {
            self.make_room(additional);
        }
    }

    /// Gives back storage, so that room for about `reserve` more bytes is left.
    ///
    /// An empty buffer that is shrunk to a reserve of zero owns no memory.
    pub fn shrink(&mut self, reserve: usize) {
        if self.is_empty() && reserve == 0 {
            *self = Self::new();
            return;
        }
        let wanted = PREPEND.saturating_add(self.readable()).saturating_add(reserve);
        if wanted < self.capacity() {
            self.move_into(Vec::with_capacity(wanted), PREPEND);
        }
    }

    /// Exchanges content and storage with `other`.
    pub fn swap(&mut self, other: &mut Self) {
        mem::swap(self, other);
    }

    /// A [`BufMut`] that appends to this buffer, for encoders written against that trait.
    ///
    /// ```
    /// use bytes::BufMut;
    /// use campana::Buffer;
    ///
    /// fn encode(id: u32, name: &str, mut out: impl BufMut) {
    ///     out.put_u32(id);
    ///     out.put_slice(name.as_bytes());
    /// }
    ///
    /// let mut buffer = Buffer::new();
    /// encode(7, "seven", buffer.buf_mut());
    /// assert_eq!(buffer.peek(), b"\x00\x00\x00\x07seven");
    /// ```
    pub fn buf_mut(&mut self) -> impl BufMut + '_ {
        // The vector grows on its own from here on, and would carry what was retrieved along for ever.
        if self.retrieved() > 0 && self.retrieved() >= self.readable() {
            self.compact();
        }
        self.spare(SMALLEST)
    }

    /// Where the first CR LF begins, counted from the start of the readable bytes.
    #[must_use]
    pub fn find_crlf(&self) -> Option<usize> {
        self.find_crlf_from(0)
    }

    /// Where the first CR LF begins that doesn't begin before `offset`; both count from the start of the readable
    /// bytes.
    ///
    /// A scanner that found nothing goes on from `readable() - 1` when more has arrived, since a CR may have been the
    /// last byte.
    #[must_use]
    pub fn find_crlf_from(&self, offset: usize) -> Option<usize> {
        let rest = self.peek().get(offset..)?;
        memchr_iter(b'\n', rest).find(|&lf| lf > 0 && rest[lf - 1] == b'\r').map(|lf| offset + lf - 1)
    }

    /// Where the first LF is, counted from the start of the readable bytes.
    #[must_use]
    pub fn find_eol(&self) -> Option<usize> {
        self.find(b'\n')
    }

    /// Where the first LF at or after `offset` is; both count from the start of the readable bytes.
    #[must_use]
    pub fn find_eol_from(&self, offset: usize) -> Option<usize> {
        self.find_from(b'\n', offset)
    }

    /// Where the first `byte` is, counted from the start of the readable bytes.
    #[must_use]
    pub fn find(&self, byte: u8) -> Option<usize> {
        self.find_from(byte, 0)
    }

    /// Where the first `byte` at or after `offset` is; both count from the start of the readable bytes.
    ///
    /// An offset beyond the readable bytes finds nothing.
    #[must_use]
    pub fn find_from(&self, byte: u8, offset: usize) -> Option<usize> {
        memchr(byte, self.peek().get(offset..)?).map(|found| offset + found)
    }

    /// The storage with room for at least `at_least` more bytes, for the kernel to read into its spare capacity.
    ///
    /// What is pushed to it has been appended to the buffer. The caller must not remove or change what is there.
    #[inline]
    pub(crate) fn spare(&mut self, at_least: usize) -> &mut Vec<u8> {
        self.reserve(at_least);
        &mut self.bytes
    }

    /// As [`spare`](Self::spare), without the content.
    #[inline]
    pub(crate) fn cleared(&mut self, at_least: usize) -> &mut Vec<u8> {
        self.bytes.truncate(PREPEND);
        self.read = self.bytes.len();
        if self.bytes.capacity() - self.bytes.len() < at_least {
            self.make_room(at_least);
        }
        &mut self.bytes
    }

    #[inline]
    fn check(&self, n: usize) {
        let readable = self.readable();
        assert!(
            n <= readable,
            "{n} bytes asked for, but only {readable} are readable: check `readable()` first"
        );
    }

    #[inline]
    fn rewind_if_empty(&mut self) {
        if self.is_empty() {
            self.bytes.truncate(PREPEND);
            self.read = self.bytes.len();
        }
    }

    #[cold]
    fn make_room(&mut self, additional: usize) {
        let (readable, retrieved, capacity) = (self.readable(), self.retrieved(), self.capacity());
        let needed = PREPEND.saturating_add(readable).saturating_add(additional);
        // Each byte moved to the front is paid for by one that was retrieved before it, so the sum stays linear.
        if retrieved >= readable && needed <= capacity {
            self.compact();
        } else if retrieved == 0 && capacity > 0 {
            // Nothing to leave behind, so the allocator may grow the storage where it is.
            self.bytes.reserve(additional);
        } else {
            let doubled = capacity.saturating_mul(2).max(SMALLEST);
            self.move_into(Vec::with_capacity(needed.max(doubled)), PREPEND);
        }
    }

    /// What compacting would free.
    fn retrieved(&self) -> usize {
        self.read.saturating_sub(PREPEND)
    }

    fn compact(&mut self) {
        let readable = self.readable();
        self.bytes.copy_within(self.read.., PREPEND);
        self.bytes.truncate(PREPEND + readable);
        self.read = PREPEND;
    }

    #[cold]
    fn make_front_room(&mut self, additional: usize) {
        let readable = self.readable();
        // A share of the content is left free in front: moving it again is paid for by prepending that much.
        let front = additional.saturating_add(PREPEND.max(readable / 4));
        let needed = front.saturating_add(readable);
        if needed <= self.capacity() {
            let end = self.bytes.len();
            self.bytes.resize(needed, 0);
            self.bytes.copy_within(self.read..end, front);
            self.read = front;
        } else {
            self.move_into(Vec::with_capacity(needed), front);
        }
    }

    fn move_into(&mut self, mut storage: Vec<u8>, front: usize) {
        storage.resize(front, 0);
        storage.extend_from_slice(self.peek());
        self.bytes = storage;
        self.read = front;
    }
}

#[cfg(test)]
mod tests;
