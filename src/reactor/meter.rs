//! How long callbacks hold the loop.

use std::time::Duration;

use super::LoopContext;
use super::figures::Counters;
use super::rate_limit::RateLimit;

/// Measures how long callbacks hold the loop, in stretches of thirty-two.
pub(super) struct Meter {
    /// In nanoseconds of the loop's clock.
    pub(super) stretch_began: u64,
    pub(super) calls: u32,
    slow: Duration,
    log_limit: RateLimit,
}

impl Meter {
    const STRETCH: u32 = 32;

    /// `slow`: from what duration on a stretch is counted and logged.
    pub(super) fn new(slow: Duration) -> Self {
        Self { stretch_began: 0, calls: 0, slow, log_limit: RateLimit::default() }
    }

    #[inline]
    pub(super) fn count_call(&mut self, counters: &Counters, context: &mut LoopContext) {
        self.calls += 1;
        if self.calls >= Self::STRETCH {
            self.measure(counters, context);
        }
    }

    pub(super) fn measure(&mut self, counters: &Counters, context: &mut LoopContext) {
        context.clock.read();
        let now = context.clock.nanos();
        let took = now - self.stretch_began;
        self.stretch_began = now;
        self.calls = 0;
        if took > counters.longest_callback.value() {
            counters.longest_callback.set(took);
        }
        let took = Duration::from_nanos(took);
        if took >= self.slow {
            counters.slow_callbacks.add(1);
            if self.log_limit.allows(now) {
                log::warn!("loop {}: callbacks held the loop for {took:?}", context.handle().name());
            }
        }
    }
}
