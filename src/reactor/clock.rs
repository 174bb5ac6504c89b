//! The loop's time.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Where a loop's nanoseconds begin: when the loop was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch {
    instant: Instant,
    /// What the system's monotonic clock, which [`Instant`] shows too, said at that instant or right after it.
    nanos: u64,
}

impl Epoch {
    pub(super) fn now() -> Self {
        Self { instant: Instant::now(), nanos: system_nanos() }
    }

    /// How long ago it was, in nanoseconds. As a number, since an [`Instant`] would have to be taken apart each time.
    #[inline]
    pub(super) fn elapsed(self) -> u64 {
        system_nanos().saturating_sub(self.nanos)
    }
}

fn system_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Since the system started: neither is negative, nor does it overflow for 584 years.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The loop's clock: monotonic, in nanoseconds since the loop was made.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Epoch,
    nanos: u64,
    /// Time passes by hand only, for tests.
    held: bool,
}

impl Clock {
    /// A clock whose numbers count from `epoch` on, which is its time until it is read.
    pub(super) fn since(epoch: Epoch) -> Self {
        Self { epoch, nanos: 0, held: false }
    }

    #[inline]
    pub(super) fn read(&mut self) {
        if !self.held {
            self.nanos = self.epoch.elapsed();
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
        let since = time.saturating_duration_since(self.epoch.instant);
        since.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(since.subsec_nanos()))
    }

    /// `delay` from the loop's time on; the end of time if that is later still.
    pub(crate) fn after(&self, delay: Duration) -> u64 {
        self.nanos().saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The instant of a number of nanoseconds.
    pub(crate) fn instant_of(&self, nanos: u64) -> Instant {
        self.epoch.instant + Duration::from_nanos(nanos)
    }
}
