//! The server: sessions on the loops of a [`TcpServer`], and behind them the threads of storage and passwords.
//!
//! A request comes in on a loop and is looked at there, by its session. If it needs the disk it is queued for the storage thread,
//! which answers behind the commit, by way of the session's handle; the loop goes on meanwhile. Sessions share who is online, and
//! the ways to the other threads, and nothing else.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use campana::control::inspect::Inspector;
use campana::session::{Authentication, SessionManager, SessionService, Sessions};
use campana::{Address, EventLoop, LoopContext, ServerHandle, TcpServer};

use crate::passwords::{Attempts, Passwords};
use crate::protocol::{FrameCodec, MAX_FRAME_BEFORE_LOG_IN};
use crate::storage::Storage;

mod account;
mod answers;
mod compression;
mod delivery;
mod directory;
mod feed;
mod friends;
mod groups;
mod log_in;
mod messages;
mod online;
mod peer;
mod session;
mod shared;
#[cfg(test)]
mod tests;
mod texts;

use session::Chat;
use shared::Shared;

/// How a server is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The addresses that it listens on.
    pub listen: Vec<Address>,
    /// The directory of its database.
    pub data: PathBuf,
    /// Threads that serve connections; none means that the base loop does. Default 0.
    pub threads: usize,
    /// Threads that hash passwords. Default 2.
    pub password_threads: usize,
    /// Memory for a password's hash in KiB, which is what makes guessing expensive. Default 19 456.
    pub password_memory: u32,
    /// After what silence a client is dropped. Default 30 s.
    pub silence: Duration,
    /// How long a connection may take to log in. Default 10 s.
    pub log_in_deadline: Duration,
    /// For how long a client may take nothing of what waits for it. Default 30 s.
    pub stall: Duration,
}

impl Config {
    /// A server that keeps its database in `data`, and listens nowhere yet.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            listen: Vec::new(),
            data: data.into(),
            threads: 0,
            password_threads: 2,
            password_memory: 19_456,
            silence: Duration::from_secs(30),
            log_in_deadline: Duration::from_secs(10),
            stall: Duration::from_secs(30),
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    handle: ServerHandle<Sessions<Chat>>,
    sessions: SessionManager<Chat>,
    shared: Arc<Shared>,
}

impl Server {
    /// Opens the database and listens.
    ///
    /// # Errors
    ///
    /// If either can't be, with a text that says what is the matter.
    pub fn start(config: &Config, event_loop: &mut EventLoop) -> io::Result<Self> {
        let tcp = bind(&config.listen)?
            .threads(config.threads)
            .name("im")
            .configure(|connection| connection.write_stall = Some(config.stall));
        let shared = Arc::new(Shared::new(
            Storage::open(&config.data)?,
            Passwords::start(config.password_threads, config.password_memory)?,
            Attempts::default(),
        ));
        let (silence, log_in_deadline) = (config.silence, config.log_in_deadline);
        let of_sessions = Arc::clone(&shared);
        let started = SessionService::new(|| FrameCodec::new(MAX_FRAME_BEFORE_LOG_IN))
            .configure(move |session| {
                session.idle_both = None;
                session.idle_read = Some(silence / session::IDLE_LIMIT);
                let mut authentication = Authentication::default();
                authentication.deadline = log_in_deadline;
                // The codec refuses longer ones by their length already.
                authentication.max_frame = 4 + MAX_FRAME_BEFORE_LOG_IN;
                session.authentication = Some(authentication);
            })
            .serve(tcp, event_loop, move |opening| {
                Chat::new(Arc::clone(&of_sessions), &opening.peer_address())
            });
        match started {
            Ok((handle, sessions)) => Ok(Self { handle, sessions, shared }),
            Err(error) => {
                shared.close();
                Err(error)
            }
        }
    }

    /// The addresses that it listens on, with the ports that the system chose if that was left to it.
    #[must_use]
    pub fn local_addresses(&self) -> &[Address] {
        self.handle.local_addresses()
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.sessions.len()
    }

    /// What looks into it.
    pub fn inspector(&self) -> Inspector {
        Inspector::new().service("im", &self.handle, &self.sessions)
    }

    /// What stops it.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { handle: self.handle.clone() }
    }

    /// Does what is queued, closes the database, and waits for that: to be called after the loop has ended.
    pub fn close(&self) {
        self.shared.close();
    }
}

/// Stops a server, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    handle: ServerHandle<Sessions<Chat>>,
}

impl Stopper {
    /// Lets nobody in any more, answers what is under way and closes the sessions, by force after a deadline; then runs `then` on
    /// the base loop. May be called again for an earlier deadline.
    pub fn stop(&self, deadline: Duration, then: impl FnOnce(&mut LoopContext) + Send + 'static) {
        self.handle.stop_then(deadline, then);
    }
}

fn bind(addresses: &[Address]) -> io::Result<TcpServer> {
    let Some((first, others)) = addresses.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no address to listen on"));
    };
    let mut server = TcpServer::bind(first)?;
    for address in others {
        server = server.and_bind(address)?;
    }
    Ok(server)
}
