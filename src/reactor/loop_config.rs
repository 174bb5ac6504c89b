//! How a loop behaves.

use std::time::Duration;

/// How a loop behaves; see the fields for the defaults.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoopConfig {
    /// What the loop calls itself in logs. Default: the name of the thread that makes it.
    pub name: Option<String>,
    /// The most readiness events taken in one turn. Default 1024; each costs 12 bytes of memory.
    pub events_per_turn: usize,
    /// The most posted tasks run in one turn, so that a flood of them leaves room for I/O and timers. Default 1024.
    pub tasks_per_turn: usize,
    /// For how long the loop looks again and again before it blocks. Default zero. It buys latency for the price of a core.
    pub busy_poll: Duration,
    /// From what duration on a stretch of callbacks is counted and logged as slow. Default 100 ms.
    pub slow_callback: Duration,
}

impl Default for LoopConfig {
    fn default() -> Self {
        Self {
            name: None,
            events_per_turn: 1024,
            tasks_per_turn: 1024,
            busy_poll: Duration::ZERO,
            slow_callback: Duration::from_millis(100),
        }
    }
}
