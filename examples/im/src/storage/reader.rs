//! The thread that only reads.

use crossbeam_channel::Receiver;
use rusqlite::Connection;

use super::Job;
use super::store::{MemberCache, Store};

/// Does what is queued until it is told to close.
pub(super) fn run(connection: Connection, jobs: &Receiver<Job>) {
    // Never filled: what other threads commit would not be noticed.
    let members = MemberCache::default();
    let store = Store { connection: &connection, now: 0, members: &members };
    while let Ok(Job::Run(mut operation)) = jobs.recv() {
        if let Err(error) = read(&store, operation.as_mut()) {
            log::error!("the database can't be read: {error}");
        }
        operation.finish();
    }
}

/// One transaction, so that an operation of several queries sees one state.
fn read(store: &Store<'_>, operation: &mut dyn super::Operation) -> rusqlite::Result<()> {
    let execute = |sql| store.connection.prepare_cached(sql)?.execute(()).map(drop);
    execute("BEGIN")?;
    if let Err(failed) = operation.run(store)
        && let Some(error) = failed.database
    {
        log::error!("a query failed: {error}");
    }
    execute("COMMIT")
}
