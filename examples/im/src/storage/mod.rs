//! Where everything is kept that has to outlive the process: an SQLite database, and the two threads that use it.
//!
//! Loops never wait for it. They queue an operation and what is to be done with its result, and go on. One thread writes: what
//! has queued up while it was at work becomes one transaction, and so one sync of the disk (group commit); results are given out
//! behind the commit, in the order of the operations. Another thread reads, so that pages of history don't hold up writes. Both
//! queues are bounded; what finds one full is refused as busy.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, TrySendError};
use rusqlite::Connection;

use crate::protocol::{ErrorCode, Failure};

mod conversations;
mod delivery;
mod error;
mod friends;
mod groups;
mod history;
mod messages;
mod operation;
mod reader;
mod schema;
mod store;
mod teams;
mod users;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use delivery::OpenedDevice;
pub(crate) use error::StoreError;
pub(crate) use friends::{ApplicationOutcome, Pair};
pub(crate) use messages::{NewMessage, Stored};
pub(crate) use store::Store;
pub(crate) use users::Credentials;

use operation::{Operation, Pending};

/// How many operations may wait for each of the two threads.
const QUEUE: usize = 4096;

/// The threads that use the database. Shared by all loops.
pub(crate) struct Storage {
    writer: Sender<Job>,
    reader: Sender<Job>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Locked for as long as the process lives, so that no second server writes into the same database.
    _lock: File,
}

/// What one of the threads gets to do.
enum Job {
    Run(Box<dyn Operation>),
    Close,
}

impl Storage {
    /// Opens the database of a directory; makes both if they aren't there.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let name = directory.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| explain(error, format_args!("can't create {name}")))?;
        let lock = lock(directory)?;
        let path = directory.join("im.db");
        // Made here, since SQLite would let others read it; its other files get the permissions of this one.
        private_file(&path)?;
        let open = |query_only| {
            connect(&path, query_only)
                .map_err(|error| io::Error::other(format!("can't open {}: {error}", path.display())))
        };
        let mut connection = open(false)?;
        schema::migrate(&mut connection)
            .map_err(|error| io::Error::other(format!("can't set up {}: {error}", path.display())))?;
        let (writer, writes) = crossbeam_channel::bounded(QUEUE);
        let (reader, reads) = crossbeam_channel::bounded(QUEUE);
        let read_only = open(true)?;
        let threads = vec![
            spawn("storage", move || writer::run(connection, &writes))?,
            spawn("reader", move || reader::run(read_only, &reads))?,
        ];
        Ok(Self { writer, reader, threads: Mutex::new(threads), _lock: lock })
    }

    /// Queues an operation that changes something. `done` is called with what it gave once that is on disk: on the storage thread,
    /// in the order in which operations were queued, or at once on this one if nothing can be queued.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Store<'_>) -> Result<T, StoreError> + Send + 'static,
        done: impl FnOnce(Result<T, Failure>) + Send + 'static,
    ) {
        queue(&self.writer, Pending::boxed(run, done));
    }

    /// Queues an operation that only reads. It sees everything whose results were given out before this call.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Store<'_>) -> Result<T, StoreError> + Send + 'static,
        done: impl FnOnce(Result<T, Failure>) + Send + 'static,
    ) {
        queue(&self.reader, Pending::boxed(run, done));
    }

    /// Whether so much waits that it had better not become much more: half of what may.
    pub(crate) fn is_crowded(&self) -> bool {
        self.writer.len().max(self.reader.len()) >= QUEUE / 2
    }

    /// Does what is queued, closes the database and waits for that. What is queued afterwards fails.
    pub(crate) fn close(&self) {
        for queue in [&self.reader, &self.writer] {
            // An error: the thread has ended.
            let _ = queue.send(Job::Close);
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        for thread in threads {
            if thread.join().is_err() {
                log::error!("a thread of the storage has panicked");
            }
        }
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage")
            .field("writes", &self.writer.len())
            .field("reads", &self.reader.len())
            .finish_non_exhaustive()
    }
}

fn queue(queue: &Sender<Job>, operation: Box<dyn Operation>) {
    let (job, failure) = match queue.try_send(Job::Run(operation)) {
        Ok(()) => return,
        Err(TrySendError::Full(job)) => {
            (job, Failure::new(ErrorCode::Busy, "too much waits to be stored: try again later"))
        }
        Err(TrySendError::Disconnected(job)) => {
            (job, Failure::new(ErrorCode::StorageFailed, "the database is closed"))
        }
    };
    if let Job::Run(operation) = job {
        operation.refuse(failure);
    }
}

fn connect(path: &Path, query_only: bool) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(128);
    // With synchronous=FULL each commit is synced, so that what was acknowledged survives a loss of power too.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;
         PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384;",
    )?;
    connection.pragma_update(None, "query_only", query_only)?;
    Ok(connection)
}

fn lock(directory: &Path) -> io::Result<File> {
    use rustix::fs::{FlockOperation, flock};
    let path = directory.join("lock");
    let file = private_file(&path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        explain(error.into(), format_args!("can't lock {}: does another server use it?", path.display()))
    })?;
    Ok(file)
}

/// Opens a file, which is made for this user alone if it isn't there.
fn private_file(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| explain(error, format_args!("can't open {}", path.display())))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn explain(error: io::Error, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
