//! How far the codec's output has come, seen from positions in some other stream that carries it.

use std::collections::VecDeque;

/// Room for so many marks is kept when there are none.
const KEPT: usize = 4;

/// Pairs of positions: when the stream has come so far, the codec's output has wholly come so far.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: VecDeque<(u64, u64)>,
    /// From the first position on the stream is the codec's output itself, which is there at the second.
    same: Option<(u64, u64)>,
}

impl Marks {
    pub(super) fn push(&mut self, position: u64, plain: u64) {
        // Output that the connection has dropped makes positions fall back; those before are then never reached.
        let position = self.marks.back().map_or(position, |&(before, _)| position.max(before));
        self.marks.push_back((position, plain));
    }

    /// From `position` on the stream is the codec's output from `plain` on, or it is so no more.
    pub(super) fn set_same(&mut self, same: Option<(u64, u64)>) {
        self.same = same;
    }

    /// Takes out what lies before `position`. Answers how far the codec's output has come with it, if that is known.
    pub(super) fn pass(&mut self, position: u64) -> Option<u64> {
        let passed = self.marks.partition_point(|&(at, _)| at <= position);
        let last = self.marks.drain(..passed).next_back();
        if self.marks.is_empty() && self.marks.capacity() > KEPT {
            self.marks.shrink_to(KEPT);
        }
        match self.same {
            Some((from, plain)) if from <= position => Some(plain + (position - from)),
            _ => last.map(|(_, plain)| plain),
        }
    }

    /// Takes all out, each moved by what is between `from` in this stream and `to` in the next.
    pub(super) fn drain_into(&mut self, next: &mut Self, from: u64, to: u64) {
        next.marks.extend(self.marks.drain(..).map(|(at, plain)| (to + at.saturating_sub(from), plain)));
    }

    /// The last one.
    pub(super) fn last(&self) -> Option<u64> {
        self.marks.back().map(|&(_, plain)| plain)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_once_its_position_is_passed() {
        let mut marks = Marks::default();
        marks.push(10, 100);
        marks.push(20, 200);
        assert_eq!(marks.pass(9), None);
        assert_eq!(marks.pass(19), Some(100));
        assert_eq!(marks.pass(20), Some(200));
        assert_eq!(marks.pass(30), None);
    }

    #[test]
    fn the_codecs_output_itself_needs_no_marks() {
        let mut marks = Marks::default();
        marks.push(10, 100);
        marks.set_same(Some((10, 150)));
        assert_eq!(marks.pass(9), None);
        assert_eq!(marks.pass(10), Some(150));
        assert_eq!(marks.pass(13), Some(153));
    }

    #[test]
    fn marks_move_with_what_they_mark() {
        let (mut marks, mut next) = (Marks::default(), Marks::default());
        marks.push(12, 100);
        marks.drain_into(&mut next, 10, 70);
        assert_eq!(next.pass(71), None);
        assert_eq!(next.pass(72), Some(100));
    }
}
