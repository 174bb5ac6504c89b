//! The loop's time.

use std::time::{Duration, Instant};

/// The loop's clock: monotonic, in nanoseconds since the loop was made where a plain number is wanted.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    pub(super) now: Instant,
    /// `now` as a number: it is asked for several times a message, and read but once a few.
    nanos: u64,
    /// Time passes by hand only, for tests.
    held: bool,
}

impl Clock {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { epoch: now, now, nanos: 0, held: false }
    }

    pub(super) fn read(&mut self) -> Instant {
        if !self.held {
            self.set(Instant::now());
        }
        self.now
    }

    /// Stands still from now on, until somebody [advances](Self::advance) it.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.set(self.now + time);
    }

    #[inline]
    fn set(&mut self, now: Instant) {
        self.now = now;
        self.nanos = self.nanos_of(now);
    }

    /// The loop's time.
    #[inline]
    pub(crate) fn nanos(&self) -> u64 {
        self.nanos
    }

    /// A time before the loop was made counts as that moment. The number lasts for 584 years.
    pub(crate) fn nanos_of(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.epoch);
        since.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(since.subsec_nanos()))
    }

    /// `delay` from the loop's time on; the end of time if that is later still.
    pub(crate) fn after(&self, delay: Duration) -> u64 {
        self.nanos().saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The instant of a number of nanoseconds.
    pub(crate) fn instant_of(&self, nanos: u64) -> Instant {
        self.epoch + Duration::from_nanos(nanos)
    }
}
