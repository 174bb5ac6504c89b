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
//!         while let Some(end) = input.peek().iter().position(|byte| *byte == b'\n') {
//!             let _ = conn.send(input.peek()[..=end].to_ascii_uppercase());
//!             input.retrieve(end + 1);
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
//! ```
//!
//! With a [seed](TestLoop::seed), chance takes part: what peers send arrives in pieces and with delays, writes are taken in part
//! or not at once, and the poller reports what isn't so. A handler must give the same answers all the same; see
//! [`TestLoop::seed`].

mod peer;
mod source;
mod test_loop;

pub use peer::Peer;
pub use test_loop::TestLoop;
