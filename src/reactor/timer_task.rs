//! What a timer does when it is due.

use super::LoopContext;
use super::context::LocalTask;

/// Three words, so that an entry of the timers takes half a cache line.
pub(crate) enum TimerTask {
    Once(LocalTask),
    Every(Box<dyn Repeating>),
    Source { source: u32, key: u32 },
}

impl TimerTask {
    pub(super) fn once(task: impl FnOnce(&mut LoopContext) + 'static) -> Self {
        Self::Once(Box::new(task))
    }

    /// `period` is in nanoseconds.
    pub(super) fn every(period: u64, task: impl FnMut(&mut LoopContext) + 'static) -> Self {
        Self::Every(Box::new(Every { period, task }))
    }
}

/// What runs again and again.
pub(crate) trait Repeating {
    fn run(&mut self, context: &mut LoopContext);

    /// In nanoseconds.
    fn period(&self) -> u64;
}

struct Every<F> {
    period: u64,
    task: F,
}

impl<F: FnMut(&mut LoopContext)> Repeating for Every<F> {
    fn run(&mut self, context: &mut LoopContext) {
        (self.task)(context);
    }

    fn period(&self) -> u64 {
        self.period
    }
}

#[cfg(test)]
mod tests {
    use super::TimerTask;

    #[test]
    fn a_task_takes_three_words_or_none() {
        assert_eq!(size_of::<Option<TimerTask>>(), 24);
    }
}
