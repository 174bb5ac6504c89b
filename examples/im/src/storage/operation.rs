//! An operation while it waits, and its result while that waits for the commit.

use super::{Store, StoreError};
use crate::protocol::Failure;

/// One operation with what is to be done with its result.
pub(super) trait Operation: Send {
    /// Does it, and keeps the result.
    ///
    /// # Errors
    ///
    /// If it gave nothing, so that what it may have changed has to be undone.
    fn run(&mut self, store: &Store<'_>) -> Result<(), StoreFailed>;

    /// Gives the result out.
    fn finish(self: Box<Self>);

    /// Gives a failure out, whatever the result was.
    fn refuse(self: Box<Self>, failure: Failure);
}

/// Runs what is made of an operation's closures. A panic of theirs is a fault of one operation, and no reason to store nothing ever
/// again; the panic itself was reported by the panic hook.
pub(super) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|_| Panicked)
}

/// An operation panicked.
#[derive(Debug)]
pub(super) struct Panicked;

/// What went wrong in an operation, for whoever runs it.
#[derive(Debug)]
pub(super) struct StoreFailed {
    /// What the database said, if it was the database.
    pub(super) database: Option<String>,
}

/// An operation made of two closures.
pub(super) struct Pending<T, R, D> {
    run: Option<R>,
    done: D,
    result: Option<Result<T, Failure>>,
}

impl<T, R, D> Pending<T, R, D>
where
    T: Send + 'static,
    R: FnOnce(&Store<'_>) -> Result<T, StoreError> + Send + 'static,
    D: FnOnce(Result<T, Failure>) + Send + 'static,
{
    pub(super) fn boxed(run: R, done: D) -> Box<dyn Operation> {
        Box::new(Self { run: Some(run), done, result: None })
    }
}

impl<T, R, D> Operation for Pending<T, R, D>
where
    T: Send,
    R: FnOnce(&Store<'_>) -> Result<T, StoreError> + Send,
    D: FnOnce(Result<T, Failure>) + Send,
{
    fn run(&mut self, store: &Store<'_>) -> Result<(), StoreFailed> {
        let Some(run) = self.run.take() else { return Ok(()) };
        match run(store) {
            Ok(value) => {
                self.result = Some(Ok(value));
                Ok(())
            }
            Err(error) => {
                let database = match &error {
                    StoreError::Database(error) => Some(error.to_string()),
                    StoreError::Refused(_) => None,
                };
                self.result = Some(Err(error.into()));
                Err(StoreFailed { database })
            }
        }
    }

    fn finish(self: Box<Self>) {
        let result = self.result.unwrap_or_else(|| Err(super::error::storage_failed()));
        (self.done)(result);
    }

    fn refuse(self: Box<Self>, failure: Failure) {
        (self.done)(Err(failure));
    }
}
