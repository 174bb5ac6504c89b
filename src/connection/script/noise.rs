//! Chance that can be repeated.

/// A source of random numbers, the same for the same seed: Steele, Lea and Flood's SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    /// A number from 1 to `most`, small ones as likely as large ones.
    pub(crate) fn up_to(&mut self, most: usize) -> usize {
        let bits = self.next() % u64::from(usize::BITS - most.leading_zeros()).max(1);
        let bound = (2_usize << bits).min(most.saturating_add(1)).max(2);
        1 + (self.next() % (bound as u64 - 1)) as usize
    }
}
