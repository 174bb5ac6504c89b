//! The loop's time.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The loop's clock: monotonic, in nanoseconds since the loop was made.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    /// The system's monotonic clock, which [`Instant`] shows too, at the epoch or right after it.
    epoch_nanos: u64,
    nanos: u64,
    /// Time passes by hand only, for tests.
    held: bool,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { epoch: Instant::now(), epoch_nanos: system_nanos(), nanos: 0, held: false }
    }

    /// Reads the system's clock. As a number, since an [`Instant`] would have to be taken apart each time.
    #[inline]
    pub(super) fn read(&mut self) {
        if !self.held {
            self.nanos = system_nanos() - self.epoch_nanos;
        }
    }

    /// Stands still from now on, until somebody [advances](Self::advance) it.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.nanos = self.after(time);
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

fn system_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Since the system started: neither is negative, nor does it overflow for 584 years.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
