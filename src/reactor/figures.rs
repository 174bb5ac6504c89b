//! What a loop has done so far, readable from any thread while it runs.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How many buckets a [`LatenessHistogram`] has.
pub const LATENESS_BUCKETS: usize = 32;

/// A copy of a loop's figures, taken at one moment.
///
/// The numbers are read one by one while the loop runs, so that two of them may be a turn apart.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LoopFigures {
    /// Turns of the loop.
    pub turns: u64,
    /// Readiness events that the poller reported, wake-ups included.
    pub events: u64,
    /// Events that named a channel which was closed earlier in the same batch.
    pub stale_events: u64,
    /// Tasks that ran: those posted by other threads, and those of [`run_later`](super::LoopContext::run_later).
    pub tasks: u64,
    /// Timers that fired.
    pub timers: u64,
    /// Wake-ups by other threads.
    pub wakeups: u64,
    /// Panics that were caught in callbacks, tasks, timers and destructors.
    pub panics: u64,
    /// Stretches of callbacks that took longer than [`LoopConfig::slow_callback`](super::LoopConfig::slow_callback).
    pub slow_callbacks: u64,
    /// The longest time that callbacks held the loop.
    ///
    /// The clock is read after every thirty-two callbacks, and twice a turn: what is named here is the longest stretch between,
    /// so that no single callback took longer.
    pub longest_callback: Duration,
    /// Channels that are registered now.
    pub channels: usize,
    /// Connections that the loop owns or has been promised.
    pub connections: usize,
    /// Timers that are pending now.
    pub timers_pending: usize,
    /// How late timers fired, after their deadline.
    pub timer_lateness: LatenessHistogram,
    /// How late posted tasks ran, after they were posted. Tasks that the loop takes over together all count as late as the one
    /// that was posted first; as its run counts the last reading of the clock before it, up to thirty-one callbacks earlier.
    pub task_lateness: LatenessHistogram,
}

/// How many times something was late, by powers of two of a microsecond.
///
/// Bucket 0 counts what was less than 1 us late, bucket `i` what was at least `2^(i-1)` us and less than `2^i` us late; the last
/// bucket is open at the top.
#[derive(Clone, Debug, Default)]
pub struct LatenessHistogram {
    counts: [u64; LATENESS_BUCKETS],
    sum: Duration,
}

impl LatenessHistogram {
    /// The counts, bucket by bucket.
    #[must_use]
    pub fn counts(&self) -> &[u64; LATENESS_BUCKETS] {
        &self.counts
    }

    /// How many values were counted in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How late all of them were together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// An upper bound of the given quantile (`0.5` is the median), to a factor of two; zero if nothing was counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        let total = self.total();
        let wanted = (total as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_micros(1 << bucket);
            }
        }
        Duration::ZERO
    }
}

/// The live counters behind [`LoopFigures`]. Only the loop's own thread writes the plain ones, so that a load and a store do.
///
/// Aligned so that counting doesn't take from other threads the cache line of what lies beside it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) turns: Counter,
    pub(crate) events: Counter,
    pub(crate) stale_events: Counter,
    pub(crate) tasks: Counter,
    pub(crate) timers: Counter,
    pub(crate) wakeups: Counter,
    pub(crate) panics: Counter,
    pub(crate) slow_callbacks: Counter,
    pub(crate) longest_callback: Counter,
    pub(crate) channels: Counter,
    pub(crate) timers_pending: Counter,
    /// Written by other threads too: a connection counts from the moment that it is handed to the loop.
    pub(crate) connections: AtomicUsize,
    pub(crate) timer_lateness: Lateness,
    pub(crate) task_lateness: Lateness,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> LoopFigures {
        LoopFigures {
            turns: self.turns.value(),
            events: self.events.value(),
            stale_events: self.stale_events.value(),
            tasks: self.tasks.value(),
            timers: self.timers.value(),
            wakeups: self.wakeups.value(),
            panics: self.panics.value(),
            slow_callbacks: self.slow_callbacks.value(),
            longest_callback: Duration::from_nanos(self.longest_callback.value()),
            channels: self.channels.value() as usize,
            connections: self.connections.load(Ordering::Relaxed),
            timers_pending: self.timers_pending.value() as usize,
            timer_lateness: self.timer_lateness.snapshot(),
            task_lateness: self.task_lateness.snapshot(),
        }
    }
}

/// A number that one thread writes and all may read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.set(self.value().wrapping_add(n));
    }

    #[inline]
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Lateness {
    /// In nanoseconds.
    sum: Counter,
    counts: [Counter; LATENESS_BUCKETS],
}

impl Lateness {
    pub(crate) fn record(&self, nanos: u64) {
        let micros = nanos / 1000;
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.counts[bucket.min(LATENESS_BUCKETS - 1)].add(1);
        self.sum.add(nanos);
    }

    fn snapshot(&self) -> LatenessHistogram {
        LatenessHistogram {
            counts: std::array::from_fn(|bucket| self.counts[bucket].value()),
            sum: Duration::from_nanos(self.sum.value()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_lateness_is_exact() {
        let lateness = Lateness::default();
        for nanos in [0, 1, 999, 1_500, 2_000_000_000] {
            lateness.record(nanos);
        }
        assert_eq!(lateness.snapshot().sum(), Duration::from_nanos(2_000_002_500));
    }

    #[test]
    fn lateness_falls_into_powers_of_two_of_a_microsecond() {
        let lateness = Lateness::default();
        for nanos in [0, 999, 1_000, 1_999, 2_000, 3_999, u64::MAX] {
            lateness.record(nanos);
        }
        let histogram = lateness.snapshot();
        assert_eq!(histogram.counts()[..3], [2, 2, 2]);
        assert_eq!(histogram.counts()[LATENESS_BUCKETS - 1], 1);
        assert_eq!(histogram.total(), 7);
        assert_eq!(histogram.quantile(0.5), Duration::from_micros(2));
        assert_eq!(LatenessHistogram::default().quantile(0.99), Duration::ZERO);
    }
}
