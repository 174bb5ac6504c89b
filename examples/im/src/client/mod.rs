//! A client of the protocol: one connection at a time, established again when it is lost.
//!
//! A program says what it does in a [`ClientHandler`]; a [`Client`] connects, logs in, matches replies to requests, sends
//! heart-beats and acknowledgements, and connects again with growing delays. The handler is the same over all connections.
//!
//! ```no_run
//! use campana::EventLoop;
//! use campana::connection::Endpoint;
//! use im::client::{Arrival, Client, ClientConfig, ClientContext, ClientHandler, ServerEvent};
//! use im::protocol::{ClientType, LogIn, Message, Status};
//!
//! struct Reader;
//!
//! impl ClientHandler for Reader {
//!     fn credentials(&self) -> Option<LogIn> {
//!         let (name, password) = ("ann".to_owned(), "correct horse".to_owned());
//!         Some(LogIn { name, password, client: ClientType::Pc, status: Status::Online })
//!     }
//!
//!     fn on_message(&mut self, cx: &mut ClientContext<'_, '_, Self>, message: Message, arrival: Arrival) {
//!         if arrival == Arrival::New {
//!             println!("{}", message.text);
//!         }
//!         cx.acknowledge(message.position);
//!     }
//!
//!     fn on_event(&mut self, _cx: &mut ClientContext<'_, '_, Self>, _event: ServerEvent) {}
//! }
//!
//! let mut event_loop = EventLoop::new()?;
//! let server: Endpoint = "127.0.0.1:7100".parse().map_err(std::io::Error::other)?;
//! Client::start(&ClientConfig::new(server), &mut event_loop, Reader)?;
//! event_loop.run()?;
//! # Ok::<(), std::io::Error>(())
//! ```

use std::fmt;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use campana::connection::{Backoff, Endpoint};
use campana::reactor::LoopContext;
use campana::session::{SessionHandle, SessionService, Sessions};
use campana::{ClientHandle, LoopHandle, TcpClient};

use crate::protocol::{FrameCodec, HEARTBEAT_INTERVAL};

mod context;
mod events;
mod handler;
mod inbox;
mod requests;
mod session;
#[cfg(test)]
mod tests;

pub use context::ClientContext;
pub use events::ServerEvent;
pub use handler::ClientHandler;
pub use inbox::Arrival;
pub use requests::RequestError;
use session::ClientSession;

/// A server that says nothing for so long, heart-beats notwithstanding, is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// Which server, and how persistently.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The server.
    pub server: Endpoint,
    /// What time passes between attempts to connect. By default 100 ms, doubling up to 10 s, for ever.
    pub retry: Backoff,
    /// Whether both directions are compressed after log-in, if the server can do that. Default: they are not.
    pub compress: bool,
}

impl ClientConfig {
    /// A server, and defaults.
    #[must_use]
    pub fn new(server: Endpoint) -> Self {
        let mut retry = Backoff::default();
        retry.initial = Duration::from_millis(100);
        retry.longest = Duration::from_secs(10);
        Self { server, retry, compress: false }
    }
}

/// A client that runs, from any thread. Dropping it does nothing to the client.
pub struct Client<H: ClientHandler> {
    shared: Arc<Shared<H>>,
    event_loop: LoopHandle,
}

impl<H: ClientHandler> Client<H> {
    /// Starts to connect. The handler's callbacks come from the loop `on`, none of them before this returns.
    ///
    /// # Errors
    ///
    /// If the endpoint is none.
    pub fn start(config: &ClientConfig, on: &mut impl AsMut<LoopContext>, handler: H) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(handler, config.compress));
        let of_failures = Arc::clone(&shared);
        let of_sessions = Arc::clone(&shared);
        let tcp = TcpClient::new(&config.server)?.retry(config.retry).reconnect().on_connect_failed(
            move |context, error, retry| {
                of_failures.with_parked(|handler| handler.on_connect_failed(context, error, retry));
            },
        );
        let (handle, _) = service().connect(tcp, on, move |_| ClientSession::new(&of_sessions));
        let _ = shared.handle.set(handle);
        Ok(Self { shared, event_loop: on.as_mut().handle().clone() })
    }

    /// Has [`on_notified`](ClientHandler::on_notified) called, unless the connection comes or goes meanwhile, which the handler is
    /// told of anyway. May be called from any thread.
    pub fn notify(&self) {
        let shared = Arc::clone(&self.shared);
        // Without its loop there is nobody to be told.
        let _ = self.event_loop.post(move |_| {
            let current = shared.lock(&shared.current).clone();
            match current {
                Some(session) => drop(session.run(ClientSession::notify)),
                None => shared.with_parked(|handler| handler.on_notified(None)),
            }
        });
    }

    /// Ends the client, and its connection in good order. May be called from any thread.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Whether the client has ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.handle.get().is_some_and(ClientHandle::is_stopped)
    }
}

impl<H: ClientHandler> Clone for Client<H> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), event_loop: self.event_loop.clone() }
    }
}

impl<H: ClientHandler> fmt::Debug for Client<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("loop", &self.event_loop).finish_non_exhaustive()
    }
}

/// What sessions of clients are made of.
fn service<H: ClientHandler>() -> SessionService<ClientSession<H>> {
    SessionService::new(FrameCodec::default).configure(|config| {
        config.idle_write = Some(HEARTBEAT_INTERVAL);
        config.idle_read = Some(SILENCE);
    })
}

/// What is left of a client between two connections.
struct Shared<H: ClientHandler> {
    /// The handler, while there is no session that has it.
    parked: Mutex<Option<H>>,
    /// The session, while there is one.
    current: Mutex<Option<SessionHandle<ClientSession<H>>>>,
    /// Up to where messages were handled, over all connections.
    handled: Mutex<Option<i64>>,
    handle: OnceLock<ClientHandle<Sessions<ClientSession<H>>>>,
    stopped: AtomicBool,
    compress: bool,
}

impl<H: ClientHandler> Shared<H> {
    fn new(handler: H, compress: bool) -> Self {
        Self {
            parked: Mutex::new(Some(handler)),
            current: Mutex::new(None),
            handled: Mutex::new(None),
            handle: OnceLock::new(),
            stopped: AtomicBool::new(false),
            compress,
        }
    }

    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_parked(&self, run: impl FnOnce(&mut H)) {
        if let Some(handler) = &mut *self.lock(&self.parked) {
            run(handler);
        }
    }

    fn stop(&self) {
        self.stopped.store(true, Relaxed);
        if let Some(handle) = self.handle.get() {
            handle.stop();
        }
    }
}
