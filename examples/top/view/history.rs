//! The samples of the last moments.

use std::collections::VecDeque;
use std::time::Duration;

use super::figures::{Figures, Sample};

/// How many values of lateness are kept, which is more than a terminal is wide.
const KEPT: usize = 500;

/// The samples that rates are computed from, and how late things were in the time before.
#[derive(Debug, Default)]
pub(crate) struct History {
    samples: VecDeque<Sample>,
    /// The newest first; none where nothing was counted.
    lateness: VecDeque<Option<usize>>,
}

impl History {
    /// Takes a sample, and gives what it means against an earlier one.
    ///
    /// That is the latest which is at least half an interval older: a sample that was asked for out of turn follows the one
    /// before it so closely that a rate between the two would be chance.
    pub(crate) fn take(&mut self, sample: Sample, interval: Duration) -> Figures {
        let age = |of: &Sample| sample.loops.at.saturating_duration_since(of.loops.at);
        let in_turn = self.samples.back().is_some_and(|last| age(last) >= interval / 2);
        let reference = self.samples.iter().rposition(|of| age(of) >= interval / 2).unwrap_or(0);
        self.samples.drain(..reference.min(self.samples.len()));
        let figures = Figures::of(&sample, self.samples.front());
        self.samples.push_back(sample);
        if in_turn {
            self.lateness.push_front(figures.lateness);
            self.lateness.truncate(KEPT);
        }
        figures
    }

    /// Compares with nothing from before, as the next sample may be of another server.
    pub(crate) fn forget(&mut self) {
        self.samples.clear();
    }

    /// Buckets of the 99th percentile of lateness, the newest first.
    pub(crate) fn lateness(&self) -> impl ExactSizeIterator<Item = Option<usize>> {
        self.lateness.iter().copied()
    }
}
