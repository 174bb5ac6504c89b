//! Waiting in tests: for a condition, and never for ever.

use std::time::{Duration, Instant};

/// For how long a test waits for anything at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds, for what nothing reports.
///
/// # Panics
///
/// If it doesn't in time.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
