//! Which entries of a slab are free, handed out again neighbour by neighbour.
//!
//! A stack of free indices would hand them out in the order in which timers happened to end, that is all over memory: a
//! miss of the cache and of the page tables for each timer set. Here the unit of the stack is a group of 64.

/// A set of indices. One that isn't in it may be inserted, and any that is in it can be taken.
#[derive(Debug, Default)]
pub(super) struct FreeIndices {
    /// A bit for each index.
    groups: Vec<u64>,
    /// The groups that aren't empty, each once.
    occupied: Vec<u32>,
}

impl FreeIndices {
    pub(super) fn insert(&mut self, index: u32) {
        let (number, bit) = (index / GROUP, index % GROUP);
        if self.groups.len() <= number as usize {
            self.groups.resize(number as usize + 1, 0);
        }
        let group = &mut self.groups[number as usize];
        if *group == 0 {
            self.occupied.push(number);
        }
        *group |= 1 << bit;
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        let number = *self.occupied.last()?;
        let group = &mut self.groups[number as usize];
        let bit = group.trailing_zeros();
        // Clears the lowest bit.
        *group &= *group - 1;
        if *group == 0 {
            self.occupied.pop();
        }
        Some(number * GROUP + bit)
    }
}

const GROUP: u32 = u64::BITS;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::FreeIndices;

    #[test]
    fn each_index_comes_out_once_for_each_time_it_went_in() {
        let mut free = FreeIndices::default();
        let mut expected = BTreeSet::new();
        for round in 0..2_000_u32 {
            let index = round * 7_919 % 300;
            if round % 3 < 2 {
                if expected.insert(index) {
                    free.insert(index);
                }
            } else if let Some(index) = free.take() {
                assert!(expected.remove(&index), "{index} was not free");
            }
        }
        while let Some(index) = free.take() {
            assert!(expected.remove(&index), "{index} was not free");
        }
        assert_eq!(expected, BTreeSet::new());
    }

    #[test]
    fn neighbours_come_out_together() {
        let mut free = FreeIndices::default();
        for index in (0..128).map(|n| n * 37 % 128) {
            free.insert(index);
        }
        let taken: Vec<u32> = std::iter::from_fn(|| free.take()).collect();
        assert!(taken[..64].is_sorted() && taken[64..].is_sorted());
    }
}
