//! A page of rows in some order, without keeping more rows than it takes to find it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What rows are sorted by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum SortValue {
    Number(u64),
    Text(String),
    Serial((u32, u64)),
}

impl SortValue {
    /// The same order as that of the numbers, which are not negative.
    pub(super) fn of_rate(rate: f64) -> Self {
        Self::Number(rate.to_bits())
    }
}

/// Which rows are asked for, once they are sorted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Page {
    pub(super) offset: usize,
    pub(super) limit: usize,
    pub(super) descending: bool,
}

/// A row's place: by its value, and among equals by its number.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    value: Directed,
    serial: (u32, u64),
}

/// All values of one page are of one direction.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Directed {
    Ascending(SortValue),
    Descending(Reverse<SortValue>),
}

struct Ranked<R> {
    rank: Rank,
    /// Boxed, as rows are long and are moved often while they find their places.
    row: Box<R>,
}

impl<R> PartialEq for Ranked<R> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<R> Eq for Ranked<R> {}

impl<R> PartialOrd for Ranked<R> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> Ord for Ranked<R> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// The first rows of those that were offered, as many as it takes to have the page whatever else there is elsewhere.
pub(super) struct Best<R> {
    page: Page,
    capacity: usize,
    /// The last one of them is at the top.
    rows: BinaryHeap<Ranked<R>>,
}

impl<R> Best<R> {
    pub(super) fn new(page: Page) -> Self {
        let capacity = if page.limit == 0 { 0 } else { page.offset.saturating_add(page.limit) };
        Self { page, capacity, rows: BinaryHeap::new() }
    }

    /// Offers a row, which is made only if it is among the first. `serial` tells it from all others.
    pub(super) fn offer(&mut self, value: SortValue, serial: (u32, u64), make: impl FnOnce() -> R) {
        let value = if self.page.descending {
            Directed::Descending(Reverse(value))
        } else {
            Directed::Ascending(value)
        };
        let rank = Rank { value, serial };
        if self.rows.len() < self.capacity {
            self.rows.push(Ranked { rank, row: Box::new(make()) });
        } else if let Some(mut last) = self.rows.peek_mut()
            && rank < last.rank
        {
            *last = Ranked { rank, row: Box::new(make()) };
        }
    }

    /// The page, of the first rows of several places.
    pub(super) fn page(parts: impl IntoIterator<Item = Self>, page: Page) -> Vec<R> {
        let mut rows: Vec<_> = parts.into_iter().flat_map(|part| part.rows.into_vec()).collect();
        if page.offset >= rows.len() {
            return Vec::new();
        }
        // Sorting all that lies before a page far behind would take a while, and nobody is shown it.
        if page.offset > 0 {
            rows.select_nth_unstable(page.offset);
            rows.drain(..page.offset);
        }
        if page.limit < rows.len() {
            rows.select_nth_unstable(page.limit);
            rows.truncate(page.limit);
        }
        rows.sort_unstable();
        rows.into_iter().map(|ranked| *ranked.row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(values: &[u64], parts: usize, page: Page) -> Vec<(u64, usize)> {
        let mut best: Vec<_> = (0..parts).map(|_| Best::new(page)).collect();
        for (place, &value) in values.iter().enumerate() {
            best[place % parts].offer(SortValue::Number(value), (1, place as u64), || (value, place));
        }
        Best::page(best, page)
    }

    /// Some numbers, with repetitions.
    fn numbers(count: u64) -> Vec<u64> {
        (0..count).map(|i| i.wrapping_mul(2_654_435_761) % 97).collect()
    }

    #[test]
    fn every_page_is_that_of_all_rows_sorted() {
        let values = numbers(500);
        for descending in [false, true] {
            let mut sorted: Vec<_> = values.iter().copied().enumerate().map(|(i, n)| (n, i)).collect();
            sorted.sort_by_key(|&(n, i)| (if descending { 1000 - n } else { n }, i));
            for (parts, offset, limit) in
                [(1, 0, 10), (3, 0, 500), (4, 7, 50), (2, 490, 50), (5, 499, 1), (3, 120, 0)]
            {
                let end = (offset + limit).min(500);
                let page = Page { offset, limit, descending };
                assert_eq!(pages(&values, parts, page), sorted[offset..end.max(offset)], "{page:?}");
            }
        }
    }

    #[test]
    fn a_page_behind_the_end_is_empty() {
        for offset in [500, 501, usize::MAX] {
            let page = Page { offset, limit: 50, descending: false };
            assert_eq!(pages(&numbers(500), 3, page), []);
        }
        assert_eq!(pages(&[], 2, Page { offset: 0, limit: 50, descending: true }), []);
    }

    #[test]
    fn no_more_rows_are_kept_than_the_page_needs_nor_made_than_get_in() {
        let page = Page { offset: 5, limit: 5, descending: false };
        let (mut best, mut made) = (Best::new(page), 0);
        for value in 0..1000 {
            best.offer(SortValue::Number(value), (1, value), || made += 1);
        }
        assert_eq!((best.rows.len(), made), (10, 10));
    }

    #[test]
    fn rates_are_in_the_order_of_the_numbers() {
        let rates = [0.0, 1e-9, 0.5, 1.0, 3.25, 1e6, 1e12];
        assert!(rates.windows(2).all(|two| SortValue::of_rate(two[0]) < SortValue::of_rate(two[1])));
    }
}
