//! The thread that only reads.

use crossbeam_channel::Receiver;
use rusqlite::Connection;

use super::Job;
use super::operation::{Operation, Panicked, caught};
use super::store::{MemberCache, Store};

/// Does what is queued until it is told to close.
pub(super) fn run(connection: Connection, jobs: &Receiver<Job>) {
    // Never filled: what other threads commit would not be noticed.
    let members = MemberCache::default();
    let store = Store { connection: &connection, now: 0, members: &members };
    while let Ok(Job::Run(mut operation)) = jobs.recv() {
        match caught(|| read(&store, operation.as_mut())) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                log::error!("the database can't be read: {error}");
                end_transaction(&connection);
            }
            Err(Panicked) => end_transaction(&connection),
        }
        let _ = caught(|| operation.finish());
    }
}

fn end_transaction(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        log::error!("a transaction could not be ended: {error}");
    }
}

/// One transaction, so that an operation of several queries sees one state.
fn read(store: &Store<'_>, operation: &mut dyn Operation) -> rusqlite::Result<()> {
    let execute = |sql| store.connection.prepare_cached(sql)?.execute(()).map(drop);
    execute("BEGIN")?;
    if let Err(failed) = operation.run(store)
        && let Some(error) = failed.database
    {
        log::error!("a query failed: {error}");
    }
    execute("COMMIT")
}
