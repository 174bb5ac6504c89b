//! Passwords: hashed with argon2id on threads of their own, and protected against guessing.
//!
//! A hash is made to be slow and to need memory, so no loop and no storage thread computes one. Passwords come in as they were
//! typed, are never logged, and leave as hashes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use argon2::Params;
use crossbeam_channel::{Receiver, Sender};

use crate::protocol::{ErrorCode, Failure};

mod attempts;
mod hasher;
#[cfg(test)]
mod tests;

pub(crate) use attempts::{Attempt, Attempts};
use hasher::Hasher;

/// How many passwords may wait for a thread: some ten seconds of work, which is what a client waits for.
const QUEUE: usize = 256;
/// How many may wait when one more is hashed: anyone may register as often as they like, and is not to keep users from logging in.
const QUEUE_OF_NEW: usize = QUEUE / 2;
/// Passes over the memory, as recommended for 19 MiB.
const PASSES: u32 = 2;

/// The threads that hash and check passwords. Shared by all loops.
pub(crate) struct Passwords {
    jobs: Sender<Job>,
    closing: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

enum Job {
    Hash { password: String, done: Done<String> },
    Check { password: String, hash: Option<String>, done: Done<bool> },
    Close,
}

type Done<T> = Box<dyn FnOnce(Result<T, Failure>) + Send>;

impl Passwords {
    /// Starts the threads; each hash takes so many KiB of memory, at least 8, which each thread keeps.
    pub(crate) fn start(threads: usize, memory: u32) -> io::Result<Self> {
        let params = Params::new(memory, PASSES, 1, None).map_err(io::Error::other)?;
        let nobody = Hasher::new(params.clone()).hash("nobody's").map_err(io::Error::other)?;
        let (jobs, queue) = crossbeam_channel::bounded(QUEUE);
        let closing = Arc::new(AtomicBool::new(false));
        let mut started = Vec::new();
        for number in 0..threads.max(1) {
            let (queue, params, nobody) = (queue.clone(), params.clone(), nobody.clone());
            let closing = Arc::clone(&closing);
            let thread = Builder::new().name(format!("passwords-{number}"));
            started.push(thread.spawn(move || work(&queue, &closing, Hasher::new(params), &nobody))?);
        }
        Ok(Self { jobs, closing, threads: Mutex::new(started) })
    }

    /// Hashes a password. `done` is called on one of the threads, or at once on this one if too many wait:
    /// half of what may wait to be checked.
    pub(crate) fn hash(&self, password: String, done: impl FnOnce(Result<String, Failure>) + Send + 'static) {
        let job = Job::Hash { password, done: Box::new(done) };
        if self.jobs.len() < QUEUE_OF_NEW { self.queue(job) } else { job.refuse() }
    }

    /// Checks a password against a hash. Without one, as for a user that there isn't, it takes as long and is always wrong.
    pub(crate) fn check(
        &self,
        password: String,
        hash: Option<String>,
        done: impl FnOnce(Result<bool, Failure>) + Send + 'static,
    ) {
        self.queue(Job::Check { password, hash, done: Box::new(done) });
    }

    /// Refuses what is queued, for which nobody waits any more, ends the threads, and waits for that.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        for _ in &threads {
            // An error: the threads have ended.
            let _ = self.jobs.send(Job::Close);
        }
        for thread in threads {
            if thread.join().is_err() {
                log::error!("a thread of the passwords has panicked");
            }
        }
    }

    fn queue(&self, job: Job) {
        if let Err(refused) = self.jobs.try_send(job) {
            refused.into_inner().refuse();
        }
    }
}

impl Job {
    fn refuse(self) {
        let failure = Failure::new(ErrorCode::Busy, "too many passwords wait to be checked: try again later");
        match self {
            Self::Hash { done, .. } => done(Err(failure)),
            Self::Check { done, .. } => done(Err(failure)),
            Self::Close => {}
        }
    }
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords").field("waiting", &self.jobs.len()).finish_non_exhaustive()
    }
}

fn work(queue: &Receiver<Job>, closing: &AtomicBool, mut hasher: Hasher, nobody: &str) {
    while let Ok(job) = queue.recv() {
        match job {
            Job::Close => break,
            job if closing.load(Ordering::Relaxed) => job.refuse(),
            Job::Hash { password, done } => done(hasher.hash(&password).map_err(|error| {
                log::error!("a password can't be hashed: {error}");
                let text = "the server can't hash passwords now: try again later";
                Failure::new(ErrorCode::StorageFailed, text)
            })),
            Job::Check { password, hash: Some(hash), done } => done(Ok(hasher.is_right(&password, &hash))),
            Job::Check { password, hash: None, done } => {
                hasher.is_right(&password, nobody);
                done(Ok(false));
            }
        }
    }
}
