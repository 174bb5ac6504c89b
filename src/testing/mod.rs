//! Handlers under test: their connections without sockets, and time without waiting.
//!
//! A [`TestLoop`] runs a [`Handler`](crate::Handler) on an event loop whose clock stands still until the test moves it. Its
//! connections lead to [`Peer`]s, which are the test: a peer sends, receives, takes its time, closes and resets, and the
//! connection can't tell it from one behind a kernel. Everything between the handler and the wire is what runs in a server:
//! turns, readiness, timers, deferred callbacks, buffers, limits and deadlines. So a test says exactly when what happens, runs
//! in microseconds, and gives the same result each time.
//!
//! ```
//! use std::time::Duration;
//!
//! use campana::connection::{CloseReason, Deadline};
//! use campana::testing::TestLoop;
//! use campana::{Buffer, Handler, TcpConnection};
//!
//! /// Answers each line in capitals.
//! struct Shout;
//!
//! impl Handler for Shout {
//!     type State = ();
//!
//!     fn on_connect(&mut self, conn: &mut TcpConnection<'_>) {
//!         let _ = conn.send("ready\n");
//!     }
//!
//!     fn on_data(&mut self, (): &mut (), conn: &mut TcpConnection<'_>, input: &mut Buffer) {
//!         while let Some(end) = input.find_eol() {
//!             let _ = conn.send(input.take_n(end + 1).to_ascii_uppercase());
//!         }
//!     }
//! }
//!
//! let mut test = TestLoop::new(Shout).configure(|config| config.idle = Some(Duration::from_secs(60)));
//! let peer = test.connect();
//! test.turn();
//! assert_eq!(peer.receive(), b"ready\n");
//!
//! // A line in two pieces.
//! peer.send("hel");
//! test.turn();
//! assert_eq!(peer.receive(), b"");
//! peer.send("lo\n");
//! test.turn();
//! assert_eq!(peer.receive(), b"HELLO\n");
//!
//! // A minute passes at once.
//! test.advance(Duration::from_secs(60));
//! assert!(matches!(peer.close_reason(), Some(CloseReason::TimedOut(Deadline::Idle))));
//!
//! // Whatever the pieces are in which it comes and goes, the answers are the same.
//! for seed in 0..100 {
//!     let mut test = TestLoop::new(Shout).seed(seed);
//!     let peers = [test.connect(), test.connect()];
//!     for peer in &peers {
//!         peer.send("one\ntwo\n");
//!     }
//!     test.run_until_idle();
//!     for peer in &peers {
//!         assert_eq!(peer.receive(), b"ready\nONE\nTWO\n");
//!     }
//! }
//! ```
//!
//! With a [seed](TestLoop::seed), chance takes part: what peers send arrives in pieces and with delays, writes are taken in part
//! or not at once, and the poller reports what isn't so. A handler must give the same answers all the same; see
//! [`TestLoop::seed`].
//!
//! A [`Link`] puts two loops back to back, sessions on both sides for instance, with delays, pieces and loss of connection in
//! between.
//!
//! What a test should know:
//!
//! - The time that stands still is the loop's, [`LoopContext::now`](crate::LoopContext::now). A handler that asks
//!   [`Instant::now`](std::time::Instant::now) sees another one.
//! - Nobody waits for other threads. What they have posted is taken up by the next turn, so join them before it.
//! - What only a kernel knows isn't there: [`socket`](crate::TcpConnection::socket) is nothing, `tcp_info` and
//!   `peer_credentials` are errors. Nor are there servers and attempts to connect, and so no
//!   [`ServerHandle`](crate::ServerHandle) and no call of [`on_connect_failed`](crate::Handler::on_connect_failed).

#[cfg(feature = "control")]
mod control;
mod link;
mod peer;
mod sessions;
mod source;
mod test_loop;

pub use link::{Link, Loss};
pub use peer::Peer;
pub use test_loop::TestLoop;
