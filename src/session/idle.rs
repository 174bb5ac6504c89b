//! When a session is idle, and how often it has been told.

/// That nothing has happened on a session for the time that was set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Idle {
    /// What has not happened.
    pub kind: IdleKind,
    /// How often that was told since it last happened, this time included.
    pub count: u32,
}

/// What has not happened on a session that is idle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum IdleKind {
    /// Neither of the others.
    Both,
    /// Nothing was received: neither bytes nor messages.
    Read,
    /// The kernel has taken no byte. So a peer that takes a long message slowly is not idle.
    Write,
}

impl IdleKind {
    pub(super) const ALL: [Self; 3] = [Self::Both, Self::Read, Self::Write];
}

/// When something last came in and went out, in nanoseconds of the loop's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LastIo {
    pub(super) read: u64,
    pub(super) write: u64,
}

impl LastIo {
    fn of(self, kind: IdleKind) -> u64 {
        match kind {
            IdleKind::Both => self.read.max(self.write),
            IdleKind::Read => self.read,
            IdleKind::Write => self.write,
        }
    }
}

/// What was told of each kind. It is asked when a timer is due, and not told of what happens: that costs nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct IdleClock {
    told_at: [u64; 3],
    counts: [u32; 3],
}

impl IdleClock {
    /// When it is to be told next that the session is idle, if nothing happens until then.
    pub(super) fn deadline(&self, kind: IdleKind, last: LastIo, time: u64) -> u64 {
        last.of(kind).max(self.told_at[kind as usize]).saturating_add(time)
    }

    /// It is told now.
    pub(super) fn tell(&mut self, kind: IdleKind, last: LastIo, now: u64) -> Idle {
        let count = self.count(kind, last) + 1;
        self.told_at[kind as usize] = now;
        self.counts[kind as usize] = count;
        Idle { kind, count }
    }

    /// How often it was told since something last happened.
    pub(super) fn count(&self, kind: IdleKind, last: LastIo) -> u32 {
        if self.told_at[kind as usize] > last.of(kind) { self.counts[kind as usize] } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_again_and_again_and_counted() {
        let mut clock = IdleClock::default();
        let last = LastIo { read: 100, write: 40 };
        assert_eq!(clock.deadline(IdleKind::Both, last, 10), 110);
        assert_eq!(clock.deadline(IdleKind::Write, last, 10), 50);
        assert_eq!(clock.tell(IdleKind::Read, last, 111).count, 1);
        assert_eq!(clock.deadline(IdleKind::Read, last, 10), 121);
        assert_eq!(clock.tell(IdleKind::Read, last, 121).count, 2);
        assert_eq!(clock.count(IdleKind::Write, last), 0);
    }

    #[test]
    fn what_happens_sets_the_count_back() {
        let mut clock = IdleClock::default();
        clock.tell(IdleKind::Both, LastIo { read: 0, write: 0 }, 10);
        let last = LastIo { read: 0, write: 12 };
        assert_eq!(clock.count(IdleKind::Both, last), 0);
        assert_eq!(clock.deadline(IdleKind::Both, last, 10), 22);
        assert_eq!(clock.tell(IdleKind::Both, last, 22).count, 1);
    }
}
