//! Which writes have reached the kernel.

use std::fmt;

/// Names one write of a session: 1 for the first, and rising by one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WriteId(u64);

impl WriteId {
    /// The number of the write, from 1 on.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Room for so many ends is kept when there are none.
const KEPT: usize = 32;

/// The writes of a session: ids, and where in the stream those end that may still be pending.
///
/// Positions count bytes from the connection's beginning. Whoever has the positions says how far the kernel has come, and learns
/// which writes that settles.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// How many were accepted; the id of the last one.
    accepted: u64,
    /// The ends of the last of them: first of `settled` that are written, then of those that may be pending.
    ends: Vec<u64>,
    settled: usize,
    /// The last one of which the session was told.
    reported: u64,
}

impl Writes {
    #[inline]
    pub(super) fn accept(&mut self, end: u64) -> WriteId {
        self.accepted += 1;
        // Output that the connection has dropped makes positions fall back; those before are then never reached.
        let end = self.ends.last().map_or(end, |&before| end.max(before));
        self.ends.push(end);
        WriteId(self.accepted)
    }

    #[inline]
    pub(super) fn pending(&self) -> usize {
        self.ends.len() - self.settled
    }

    /// The kernel has taken all up to `position`.
    #[inline]
    pub(super) fn settle(&mut self, position: u64) {
        match self.ends.last() {
            None => {}
            Some(&last) if last <= position => {
                self.ends.clear();
                self.settled = 0;
                if self.ends.capacity() > KEPT {
                    self.ends.shrink_to(KEPT);
                }
            }
            Some(_) => self.settle_some(position),
        }
    }

    fn settle_some(&mut self, position: u64) {
        self.settled += self.ends[self.settled..].partition_point(|&end| end <= position);
        // Each that is moved is paid for by one that was settled.
        if self.settled > self.pending() {
            self.ends.drain(..self.settled);
            self.settled = 0;
        }
    }

    /// The last write that has reached the kernel, if that is news.
    pub(super) fn take_news(&mut self) -> Option<WriteId> {
        let written = self.accepted - self.pending() as u64;
        let is_news = written > self.reported;
        self.reported = written;
        is_news.then_some(WriteId(written))
    }

    /// The first write that has not reached the kernel.
    pub(super) fn first_unwritten(&self) -> Option<WriteId> {
        let pending = self.pending() as u64;
        (pending > 0).then(|| WriteId(self.accepted - pending + 1))
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_by_one_from_one() {
        let mut writes = Writes::default();
        assert_eq!([10, 20, 30].map(|end| writes.accept(end).number()), [1, 2, 3]);
    }

    #[test]
    fn a_write_is_written_when_its_last_byte_is() {
        let mut writes = Writes::default();
        for end in [10, 20, 30] {
            writes.accept(end);
        }
        writes.settle(9);
        assert_eq!(writes.take_news(), None);
        assert_eq!(writes.first_unwritten(), Some(WriteId(1)));
        writes.settle(20);
        assert_eq!(writes.take_news(), Some(WriteId(2)));
        assert_eq!(writes.take_news(), None);
        assert_eq!(writes.first_unwritten(), Some(WriteId(3)));
        writes.settle(30);
        assert_eq!(writes.take_news(), Some(WriteId(3)));
        assert_eq!((writes.pending(), writes.first_unwritten()), (0, None));
    }

    #[test]
    fn writes_are_settled_one_by_one_while_others_come() {
        let mut writes = Writes::default();
        for end in 1..=1000 {
            writes.accept(2 * end - 1);
            writes.accept(2 * end);
            writes.settle(end);
            assert_eq!(writes.take_news(), Some(WriteId(end)));
            assert_eq!((writes.pending(), writes.first_unwritten()), (end as usize, Some(WriteId(end + 1))));
            assert!(writes.ends.len() <= 2 * writes.pending() + 1);
        }
    }

    #[test]
    fn an_empty_write_is_written_with_those_before_it() {
        let mut writes = Writes::default();
        writes.accept(0);
        writes.settle(0);
        assert_eq!(writes.take_news(), Some(WriteId(1)));
    }

    #[test]
    fn an_empty_write_behind_one_that_was_dropped_is_not_written() {
        let mut writes = Writes::default();
        writes.accept(100);
        writes.accept(50);
        writes.settle(50);
        assert_eq!(writes.take_news(), None);
        assert_eq!(writes.first_unwritten(), Some(WriteId(1)));
    }

    #[test]
    fn a_burst_leaves_no_memory_behind() {
        let mut writes = Writes::default();
        for end in 0..10_000 {
            writes.accept(end);
        }
        writes.settle(10_000);
        assert!(writes.ends.capacity() < 100, "{}", writes.ends.capacity());
    }
}
