//! What a UDP socket has to send, and the sending of it in batches.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

use super::UdpStats;

/// The most datagrams sent with one system call.
pub(super) const BATCH: usize = 64;

/// Memory that a drained queue may keep for the next time, in bytes.
const KEPT: usize = 128 * 1024;

/// Datagrams back to back in one buffer, and where each goes.
#[derive(Default)]
pub(super) struct SendQueue {
    bytes: Vec<u8>,
    /// What lies before it has been sent.
    start: usize,
    entries: VecDeque<Entry>,
}

struct Entry {
    len: usize,
    /// Nothing for the peer that the socket is connected to.
    to: Option<SocketAddrAny>,
}

/// What a datagram counts for while it waits, in bytes.
pub(super) fn cost(bytes: &[u8]) -> usize {
    bytes.len() + size_of::<Entry>()
}

impl SendQueue {
    /// How many datagrams wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What those that wait cost.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() - self.start + self.entries.len() * size_of::<Entry>()
    }

    pub(super) fn push(&mut self, bytes: &[u8], to: Option<SocketAddr>) {
        self.bytes.extend_from_slice(bytes);
        self.entries.push_back(Entry { len: bytes.len(), to: to.map(SocketAddrAny::from) });
    }

    /// Sends what the system takes. Answers whether that was everything.
    pub(super) fn flush(
        &mut self,
        socket: BorrowedFd<'_>,
        stats: &mut UdpStats,
        error: &mut Option<io::Error>,
    ) -> bool {
        // An error may be that of an earlier datagram, which the network has refused since: the first one in the queue is given
        // up only if it fails again.
        let mut failure = None;
        while !self.entries.is_empty() {
            match self.send_batch(socket) {
                Ok(sent) => {
                    failure = None;
                    for _ in 0..sent {
                        stats.datagrams_out += 1;
                        stats.bytes_out += self.pop() as u64;
                    }
                }
                Err(Errno::AGAIN) => {
                    self.compact();
                    return false;
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    if failure != Some(errno) {
                        stats.errors += 1;
                        *error = Some(errno.into());
                    }
                    if failure.is_some() {
                        stats.datagrams_dropped += 1;
                        self.pop();
                        failure = None;
                    } else {
                        failure = Some(errno);
                    }
                }
            }
        }
        self.bytes.clear();
        self.start = 0;
        self.bytes.shrink_to(KEPT);
        self.entries.shrink_to(KEPT / size_of::<Entry>());
        true
    }

    fn send_batch(&self, socket: BorrowedFd<'_>) -> rustix::io::Result<usize> {
        let count = self.entries.len().min(BATCH);
        let mut rest = &self.bytes[self.start..];
        let mut slices = Vec::with_capacity(count);
        for entry in self.entries.iter().take(count) {
            let (bytes, behind) = rest.split_at(entry.len);
            slices.push(IoSlice::new(bytes));
            rest = behind;
        }
        let mut controls: Vec<_> = (0..count).map(|_| SendAncillaryBuffer::default()).collect();
        let each = self.entries.iter().zip(&slices).zip(&mut controls);
        let mut messages: Vec<_> = each
            .map(|((entry, slice), control)| match &entry.to {
                Some(to) => MMsgHdr::new_with_addr(to, std::slice::from_ref(slice), control),
                None => MMsgHdr::new(std::slice::from_ref(slice), control),
            })
            .collect();
        sendmmsg(socket, &mut messages, SendFlags::NOSIGNAL)
    }

    /// How many bytes of memory it holds.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Takes the first one out. Answers its length.
    fn pop(&mut self) -> usize {
        let len = self.entries.pop_front().map_or(0, |entry| entry.len);
        self.start += len;
        len
    }

    /// Gives the room of what has been sent back, once it is the larger part.
    fn compact(&mut self) {
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}
