//! A callback reactor in the tradition of muduo: one event loop per thread, and layers on top of each other.
//!
//! You write callbacks. A callback gets its own state and the whole loop at once, both as plain `&mut`, so that nothing needs a
//! shared pointer or a lock; callbacks come one after the other and never nest. What other threads hold are handles that keep
//! nothing alive and give errors after the end. Limits, deadlines and back-pressure are on by default.
//!
//! # A first server
//!
//! ```no_run
//! use campana::{EventLoop, TcpServer};
//!
//! fn main() -> std::io::Result<()> {
//!     let mut event_loop = EventLoop::new()?;
//!     TcpServer::bind("127.0.0.1:7000")?
//!         .threads(4)
//!         .on_data(|conn, input| conn.send(input.take()))
//!         .start(&mut event_loop)?;
//!     event_loop.run()
//! }
//! ```
//!
//! Closures do for servers without state. With state, write a [`Handler`]: one value for each loop, shared by all its
//! connections, and a state of your own for each connection.
//!
//! ```
//! use campana::{Buffer, CloseReason, EventLoop, Handler, TcpClient, TcpConnection, TcpServer};
//!
//! #[derive(Default)]
//! struct Greeter {
//!     greeted: usize,
//! }
//!
//! impl Handler for Greeter {
//!     type State = usize;
//!
//!     fn on_connect(&mut self, _conn: &mut TcpConnection<'_>) -> usize {
//!         self.greeted += 1;
//!         self.greeted
//!     }
//!
//!     fn on_data(&mut self, number: &mut usize, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
//!         let name = String::from_utf8_lossy(input.take());
//!         let _ = conn.send(format!("hello {name}, you are number {number}"));
//!         conn.close();
//!     }
//!
//!     fn on_close(&mut self, number: usize, _conn: &mut TcpConnection<'_>, reason: CloseReason) {
//!         println!("{number}: {reason}");
//!     }
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     let mut event_loop = EventLoop::new()?;
//!     let server =
//!         TcpServer::bind("127.0.0.1:0")?.start_with(&mut event_loop, |_, _| Greeter::default())?;
//!     TcpClient::new(&server.local_addresses()[0])?
//!         .on_connect(|conn| conn.send("you"))
//!         .on_data(|_conn, input| println!("{}", String::from_utf8_lossy(input.take())))
//!         .on_close(|conn, _reason| conn.context().quit())
//!         .start(&mut event_loop);
//!     event_loop.run()
//! }
//! ```
//!
//! # Layers
//!
//! Each can be used without those above it:
//!
//! - [`socket`]: sockets, listeners, addresses and options; system calls with a safe signature.
//! - [`reactor`]: [`EventLoop`], channels for any descriptor, timers, tasks from other threads, pools of threads, UDP, signals.
//! - [`connection`]: [`TcpServer`] and [`TcpClient`], [`TcpConnection`] and [`Handler`]; TCP, Unix streams and packets alike.
//! - [`buffer`]: the [`Buffer`] between connections and handlers.
//! - [`codec`]: messages out of a buffer and into one: [`Codec`](codec::Codec), frames by length, lines, text, JSON.
//! - [`session`]: an object of yours for each connection, typed messages, filters, keys to find sessions by.
//! - `control` (a feature): requests in JSON over a Unix socket, to look into a running server and to steer it.
//! - [`testing`]: handlers and their connections under test, without sockets and without waiting.
//!
//! # Features
//!
//! - `compression`: streams between sessions compressed by deflate (`session::byte_filters::Compression`).
//! - `control`: control sockets, and a client for them (the module `control`).
//! - `json`: messages that are JSON values, by way of serde (`codec::Json`).
//! - `signal`: `SIGINT`, `SIGTERM` and others as callbacks of a loop (the module `reactor::signal`).
//!
//! # More to read
//!
//! In the directory `docs` of the package: a guide, how to port a server from muduo name by name, what those who run servers
//! need to know, what can go wrong and which tests show what follows, the architecture, and benchmarks.

#![warn(clippy::unwrap_used, clippy::expect_used)]

pub mod buffer;
pub mod codec;
pub mod connection;
#[cfg(feature = "control")]
pub mod control;
mod growth;
pub mod reactor;
pub mod session;
pub mod socket;
pub mod testing;

pub use buffer::Buffer;
pub use connection::{
    Backoff, ClientHandle, CloseReason, ConnectError, ConnectionConfig, ConnectionHandle, ConnectionId,
    ConnectionStats, Deadline, Handler, Output, SendError, ServerHandle, TcpClient, TcpConnection, TcpServer,
};
pub use reactor::{EventLoop, HandlerHandle, LoopContext, LoopHandle, TimerId};
pub use socket::Address;

/// What a loop keeps for the layer above it. The reactor has a place for it and doesn't know what it is.
pub(crate) type Upper = connection::Table;

/// The pages of `docs`, so that the Rust in them is compiled and run with the other doc tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../docs/architecture.md")]
    mod architecture {}
    #[cfg(feature = "control")]
    #[doc = include_str!("../docs/control.md")]
    mod control {}
    #[cfg(feature = "signal")]
    #[doc = include_str!("../docs/guide.md")]
    mod guide {}
    #[doc = include_str!("../docs/operations.md")]
    mod operations {}
    #[doc = include_str!("../docs/porting-from-muduo.md")]
    mod porting_from_muduo {}
    #[doc = include_str!("../docs/sessions.md")]
    mod sessions {}
}
