//! Latencies, counted in buckets.

use std::time::Duration;

/// Buckets of each power of two: what is read from them is at most 1/32 too high.
const STEPS: u64 = 32;

/// A histogram of durations, of nanoseconds to centuries, in constant memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn add(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = bucket(nanos);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (sum, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += count;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// The duration that so many of all don't exceed: 0.99 for all but one of a hundred.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = (share * self.count as f64).ceil() as u64;
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank && below > 0 {
                return Duration::from_nanos(end_of(bucket).min(self.max));
            }
        }
        Duration::ZERO
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }
}

/// Values below `STEPS` have a bucket each; of those above, the five bits behind the first one tell it.
fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let power = u64::from(nanos.ilog2() - STEPS.ilog2());
    (STEPS * power + (nanos >> power)) as usize
}

/// The highest value of a bucket.
fn end_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let power = bucket / STEPS - 1;
    let first = (STEPS + bucket % STEPS) << power;
    first + ((1 << power) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_that_ends_at_most_a_thirty_second_above_it() {
        let mut before = 0;
        for value in (0..70_u32).chain([1000, 1023, 1024, 123_456_789]) {
            let value = u64::from(value);
            let bucket = bucket(value);
            assert!(bucket >= before, "{value}");
            before = bucket;
            let end = end_of(bucket);
            assert!(end >= value && end <= value + value / STEPS, "{value} {end}");
        }
        assert_eq!(end_of(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        let mut late = Histogram::default();
        for millis in 1..=99 {
            histogram.add(Duration::from_millis(millis));
        }
        late.add(Duration::from_secs(7));
        histogram.merge(&late);
        let is_about = |share, millis: u64| {
            let got = histogram.quantile(share);
            let low = Duration::from_millis(millis);
            assert!(got >= low && got <= low + low / 32, "{share}: {got:?}");
        };
        is_about(0.5, 50);
        is_about(0.9, 90);
        is_about(0.99, 99);
        assert_eq!(
            (histogram.quantile(1.0), histogram.max()),
            (Duration::from_secs(7), Duration::from_secs(7))
        );
    }
}
