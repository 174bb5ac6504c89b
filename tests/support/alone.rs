//! Tests of one program that don't run at once, as they count or change what the whole process has one of.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits for the tests that have called this before; the next one goes on when the guard is dropped.
pub(crate) fn one_at_a_time() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}
