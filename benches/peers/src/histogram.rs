//! Latencies, counted in buckets of about three per cent.

/// Counts of nanoseconds: exact below 64, then 32 buckets for each power of two.
#[derive(Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

const PRECISION: u32 = 5;

impl Histogram {
    pub fn new() -> Self {
        Self { counts: vec![0; (64 - PRECISION as usize + 1) << PRECISION], total: 0, max: 0 }
    }

    #[inline]
    pub fn record(&mut self, nanos: u64, times: u64) {
        self.counts[Self::bucket(nanos)] += times;
        self.total += times;
        self.max = self.max.max(nanos);
    }

    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// The upper bound of a quantile, in nanoseconds.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let wanted = (self.total as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Self::upper_bound(bucket).min(self.max);
            }
        }
        0
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    #[inline]
    fn bucket(nanos: u64) -> usize {
        let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(PRECISION + 1);
        ((shift as usize) << PRECISION) + (nanos >> shift) as usize
    }

    fn upper_bound(bucket: usize) -> u64 {
        let shift = (bucket >> PRECISION).saturating_sub(1);
        let mantissa = bucket - (shift << PRECISION);
        ((mantissa as u64 + 1) << shift) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_the_values_up_to_its_bound_and_no_others() {
        for value in (0..5_000).chain([123_456, 987_654_321, u64::MAX >> 1]) {
            let bucket = Histogram::bucket(value);
            assert!(Histogram::upper_bound(bucket) >= value);
            assert!(bucket == 0 || Histogram::upper_bound(bucket - 1) < value);
            assert!(Histogram::upper_bound(bucket) as f64 <= value as f64 * 1.04 + 1.0);
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::new();
        for value in 1..=1000 {
            histogram.record(value, 1);
        }
        assert!((500..=516).contains(&histogram.quantile(0.5)));
        assert!((990..=1000).contains(&histogram.quantile(0.99)));
        assert_eq!(histogram.max(), 1000);
    }
}
