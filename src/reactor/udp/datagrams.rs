//! A batch of received datagrams, back to back in one buffer.

use std::net::SocketAddr;

/// One received datagram, which lies in the loop's receive buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Datagram<'a> {
    /// What it carries; possibly nothing, which is a datagram all the same.
    pub bytes: &'a [u8],
    /// Who sent it. A socket that serves both IPv6 and IPv4 names an IPv4 sender `[::ffff:a.b.c.d]`, and can answer there.
    pub from: SocketAddr,
    /// Whether it was longer than [`UdpOptions::max_datagram`](super::UdpOptions::max_datagram); the rest of it is lost.
    pub truncated: bool,
}

/// A batch of received datagrams, in the order in which they arrived.
#[derive(Clone, Copy, Debug)]
pub struct Datagrams<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Datagrams<'a> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none: an error is all that the socket had to report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The datagrams, one after the other.
    #[must_use]
    pub fn iter(&self) -> DatagramsIter<'a> {
        DatagramsIter { bytes: self.bytes, spans: self.spans.iter() }
    }
}

impl<'a> IntoIterator for Datagrams<'a> {
    type Item = Datagram<'a>;
    type IntoIter = DatagramsIter<'a>;

    fn into_iter(self) -> DatagramsIter<'a> {
        self.iter()
    }
}

/// The datagrams of a batch, one after the other.
#[derive(Clone, Debug)]
pub struct DatagramsIter<'a> {
    bytes: &'a [u8],
    spans: std::slice::Iter<'a, Span>,
}

impl<'a> Iterator for DatagramsIter<'a> {
    type Item = Datagram<'a>;

    fn next(&mut self) -> Option<Datagram<'a>> {
        let span = self.spans.next()?;
        let (bytes, rest) = self.bytes.split_at(span.len);
        self.bytes = rest;
        Some(Datagram { bytes, from: span.from, truncated: span.truncated })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl ExactSizeIterator for DatagramsIter<'_> {}

#[derive(Clone, Copy, Debug)]
struct Span {
    len: usize,
    from: SocketAddr,
    truncated: bool,
}

/// The receive buffer.
#[derive(Debug, Default)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    used: usize,
    spans: Vec<Span>,
}

/// How much room there is beside the largest datagram, so that small ones come in large batches.
const ROOM_FOR_MORE: usize = 64 * 1024;

impl Arena {
    /// Makes room for a batch of datagrams of at most this length.
    pub(super) fn reserve(&mut self, max_datagram: usize) {
        let wanted = max_datagram.saturating_add(ROOM_FOR_MORE);
        if self.bytes.len() < wanted {
            self.bytes = vec![0; wanted];
        }
    }

    /// Room for one more datagram; nothing if it isn't certain to fit.
    pub(super) fn room(&mut self, max_datagram: usize) -> Option<&mut [u8]> {
        self.bytes.get_mut(self.used..self.used + max_datagram)
    }

    /// Takes note of what was received into the room.
    pub(super) fn push(&mut self, len: usize, from: SocketAddr, truncated: bool) {
        self.used += len;
        self.spans.push(Span { len, from, truncated });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub(super) fn datagrams(&self) -> Datagrams<'_> {
        Datagrams { bytes: &self.bytes[..self.used], spans: &self.spans }
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.spans.clear();
    }
}
