//! The thread that writes: group commit.

use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::Receiver;
use rusqlite::Connection;

use super::Job;
use super::error::storage_failed;
use super::operation::{Operation, Panicked, caught};
use super::store::{MemberCache, Store};

/// Most operations of a transaction: how much a crash of the disk can make fail together, and what the first one waits for.
const BATCH: usize = 256;

/// Does what is queued until it is told to close.
pub(super) fn run(connection: Connection, jobs: &Receiver<Job>) {
    let mut writer =
        Writer { now: latest_time(&connection), connection, members: MemberCache::default(), failing: false };
    let mut closing = false;
    while !closing && let Ok(Job::Run(first)) = jobs.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH && !closing {
            match jobs.try_recv() {
                Ok(Job::Run(operation)) => batch.push(operation),
                Ok(Job::Close) => closing = true,
                Err(_) => break,
            }
        }
        writer.commit(batch);
    }
    if let Err((_, error)) = writer.connection.close() {
        log::warn!("closing the database: {error}");
    }
}

struct Writer {
    connection: Connection,
    now: i64,
    members: MemberCache,
    /// Whether the last batch could not be committed: said once, not for each batch of a disk that stays full.
    failing: bool,
}

impl Writer {
    fn commit(&mut self, mut batch: Vec<Box<dyn Operation>>) {
        self.now = self.now.max(wall_clock());
        let committed = match caught(|| self.transaction(&mut batch)) {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(Panicked) => Err("an operation panicked".to_owned()),
        };
        match committed {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    log::info!("the database takes writes again");
                }
                for operation in batch {
                    let _ = caught(|| operation.finish());
                }
            }
            Err(error) => {
                self.members.clear();
                if !self.connection.is_autocommit()
                    && let Err(error) = self.connection.execute_batch("ROLLBACK")
                {
                    log::error!("a transaction could not be rolled back: {error}");
                }
                if !std::mem::replace(&mut self.failing, true) {
                    log::error!("{} operations could not be stored: {error}", batch.len());
                }
                for operation in batch {
                    let _ = caught(|| operation.refuse(storage_failed()));
                }
            }
        }
    }

    /// One transaction with a savepoint for each operation, so that one that fails takes nothing of the others with it.
    fn transaction(&self, batch: &mut [Box<dyn Operation>]) -> rusqlite::Result<()> {
        let execute = |sql| self.connection.prepare_cached(sql)?.execute(()).map(drop);
        execute("BEGIN IMMEDIATE")?;
        let store = Store { connection: &self.connection, now: self.now, members: &self.members };
        for operation in batch {
            execute("SAVEPOINT operation")?;
            if let Err(failed) = operation.run(&store) {
                if let Some(error) = failed.database {
                    log::warn!("an operation failed: {error}");
                }
                // Fails if the database has rolled back everything by itself, as it may if the disk is full.
                execute("ROLLBACK TO operation")?;
            }
            execute("RELEASE operation")?;
        }
        execute("COMMIT")
    }
}

/// The time of the last message, behind which the clock must not fall if it was set back in the meantime.
fn latest_time(connection: &Connection) -> i64 {
    let latest =
        connection.query_row("SELECT time FROM messages ORDER BY id DESC LIMIT 1", (), |row| row.get(0));
    latest.unwrap_or(0)
}

/// Milliseconds since 1970.
fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
