//! Control sockets: requests and replies in JSON over a Unix SOCK_SEQPACKET socket, to look into a running server and to steer it.
//!
//! ```text
//!   Router         commands: name, typed parameters, role, handler
//!   ControlSession a session as any other: limits, counters, policies
//!   ControlServer  a socket at a path, who may connect, who may do what
//!   ControlClient  asks, and waits for the answer; needs no loop
//!   inspect        commands that every server can have: loops, connections, sessions, metrics, kick, drain
//!   Handover       passes listening sockets to a successor, which asks for them by a Predecessor
//! ```
//!
//! One packet is one request, and is answered by one packet:
//!
//! ```text
//!   request  {"version":1, "command":"add", "params":{"a":1,"b":2}, "id":"7"}
//!   reply    {"version":1, "id":"7", "ok":true, "result":3}
//!   error    {"version":1, "id":"7", "ok":false, "code":"failed", "errors":["too large"]}
//! ```
//!
//! `params` may be left out, and so may `id`, which the reply repeats. Several requests may be under way; their answers come in any
//! order. A request that breaks these rules gets an error, and the session goes on.

mod access;
mod address;
mod call;
mod client;
mod command;
mod config;
mod envelope;
mod excerpt;
mod exchange;
mod failure;
mod handover;
pub mod inspect;
mod parameters;
mod predecessor;
mod responder;
mod router;
mod server;
mod session;

pub use access::Access;
pub use address::ToControlAddress;
pub use call::Call;
pub use client::{ClientError, ControlClient, ErrorReply, Reply};
pub use command::{Command, CommandBuilder, Parameter};
pub use config::ControlConfig;
pub use exchange::ControlCounts;
pub use failure::Failure;
pub use handover::Handover;
pub use predecessor::Predecessor;
pub use responder::{ReplyError, Responder};
pub use router::{CommandError, Router};
pub use server::{ControlHandle, ControlServer, ControlStats};
pub use session::ControlSession;
