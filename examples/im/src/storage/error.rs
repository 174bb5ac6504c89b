//! Why an operation gave nothing.

use crate::protocol::{ErrorCode, Failure};

/// Why an operation gave nothing. Whatever it was, nothing of the operation is kept.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// What was asked for can't be.
    Refused(Failure),
    /// The database failed: no space, an I/O error.
    Database(rusqlite::Error),
}

impl StoreError {
    pub(super) fn refused(code: ErrorCode, text: &str) -> Self {
        Self::Refused(Failure::new(code, text))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(failure) => failure,
            // What exactly is wrong with the server's disk is for its log.
            StoreError::Database(_) => storage_failed(),
        }
    }
}

/// What a client is told if the database fails.
pub(super) fn storage_failed() -> Failure {
    Failure::new(ErrorCode::StorageFailed, "the server could not store or read it: try again later")
}
