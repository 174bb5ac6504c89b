//! What a session has done, and what all of a service's have.

use std::time::Instant;

use crate::reactor::Counter;

/// The figures of one session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionStats {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes that the kernel has taken.
    pub bytes_out: u64,
    /// Messages that were decoded, those included that a filter has dropped.
    pub messages_in: u64,
    /// Messages that were accepted for writing.
    pub messages_out: u64,
    /// Bytes that wait to be taken by the kernel.
    pub pending_bytes: usize,
    /// Messages of which something may wait to be taken by the kernel.
    pub pending_messages: usize,
    /// When the session began.
    pub created: Instant,
    /// When something was last received, or a message delivered; `created` if nothing was.
    pub last_read: Instant,
    /// When the kernel last took output; `created` if it took none.
    pub last_written: Instant,
    /// How often the session was told since then that nothing happens.
    pub idle_counts: IdleCounts,
    /// Averages over the [throughput interval](super::SessionConfig::throughput_interval); zeros once the session has ended.
    pub throughput: Throughput,
}

/// How often a session was told that it is idle since something last happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct IdleCounts {
    /// Neither received nor sent.
    pub both: u32,
    /// Nothing received.
    pub read: u32,
    /// Nothing sent.
    pub write: u32,
}

/// How much passes in a second.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct Throughput {
    /// Bytes received.
    pub bytes_in: f64,
    /// Bytes sent.
    pub bytes_out: f64,
    /// Messages received.
    pub messages_in: f64,
    /// Messages sent.
    pub messages_out: f64,
}

/// The figures of all sessions of a service, those that have ended included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ServiceStats {
    /// Sessions that are open now.
    pub sessions: usize,
    /// The most that were open at a time.
    pub most_sessions: usize,
    /// Sessions that were opened.
    pub opened: u64,
    /// Sessions that have ended.
    pub closed: u64,
    /// Bytes received, up to the last message of each session.
    pub bytes_in: u64,
    /// Bytes that the kernel has taken, likewise.
    pub bytes_out: u64,
    /// Messages that were decoded.
    pub messages_in: u64,
    /// Messages that were accepted for writing.
    pub messages_out: u64,
    /// Errors that [`on_error`](super::Session::on_error) was called for: decoding, filters, panics.
    pub errors: u64,
    /// Writes that were refused because more was pending than may be.
    pub refused_writes: u64,
}

/// What has passed up to a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) messages_in: u64,
    pub(super) messages_out: u64,
}

impl Passed {
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            bytes_in: self.bytes_in - earlier.bytes_in,
            bytes_out: self.bytes_out - earlier.bytes_out,
            messages_in: self.messages_in - earlier.messages_in,
            messages_out: self.messages_out - earlier.messages_out,
        }
    }
}

/// Averages over an interval. It is asked when there is an occasion, and needs no timer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    since: u64,
    passed: Passed,
    throughput: Throughput,
}

impl Meter {
    pub(super) fn since(now: u64) -> Self {
        Self { since: now, passed: Passed::default(), throughput: Throughput::default() }
    }

    /// Averages anew if the interval is over; nothing if it isn't. Times are in nanoseconds.
    pub(super) fn update(&mut self, passed: Passed, now: u64, interval: u64) {
        let nanos = now.saturating_sub(self.since);
        if nanos < interval.max(1) {
            return;
        }
        let delta = passed.since(self.passed);
        let a_second = |count: u64| count as f64 * 1e9 / nanos as f64;
        self.throughput = Throughput {
            bytes_in: a_second(delta.bytes_in),
            bytes_out: a_second(delta.bytes_out),
            messages_in: a_second(delta.messages_in),
            messages_out: a_second(delta.messages_out),
        };
        self.since = now;
        self.passed = passed;
    }

    pub(super) fn throughput(&self) -> Throughput {
        self.throughput
    }
}

/// What the sessions of one loop have done, those that have ended included. The loop alone writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct LoopTotals {
    pub(super) opened: Counter,
    pub(super) closed: Counter,
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    pub(super) messages_in: Counter,
    pub(super) messages_out: Counter,
    pub(super) errors: Counter,
    pub(super) refused_writes: Counter,
}

impl LoopTotals {
    #[inline]
    pub(super) fn add(&self, delta: Passed) {
        self.bytes_in.add(delta.bytes_in);
        self.bytes_out.add(delta.bytes_out);
        self.messages_in.add(delta.messages_in);
        self.messages_out.add(delta.messages_out);
    }

    pub(super) fn add_to(&self, stats: &mut ServiceStats) {
        stats.opened += self.opened.value();
        stats.closed += self.closed.value();
        stats.bytes_in += self.bytes_in.value();
        stats.bytes_out += self.bytes_out.value();
        stats.messages_in += self.messages_in.value();
        stats.messages_out += self.messages_out.value();
        stats.errors += self.errors.value();
        stats.refused_writes += self.refused_writes.value();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_is_an_average_over_the_last_whole_interval() {
        let second = 1_000_000_000;
        let mut meter = Meter::since(0);
        let passed = |messages_in| Passed { messages_in, ..Passed::default() };
        meter.update(passed(10), second, 3 * second);
        assert_eq!(meter.throughput(), Throughput::default());
        meter.update(passed(30), 3 * second, 3 * second);
        assert_eq!(meter.throughput().messages_in, 10.0);
        meter.update(passed(30), 5 * second, 3 * second);
        assert_eq!(meter.throughput().messages_in, 10.0);
        meter.update(passed(30), 6 * second, 3 * second);
        assert_eq!(meter.throughput().messages_in, 0.0);
    }
}
