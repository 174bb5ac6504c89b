//! Connections: one peer each, with buffers, limits, deadlines and figures; and the servers and clients that make them.
//!
//! A [`TcpServer`] or [`TcpClient`] gives its connections to a [`Handler`]; a handler sees each as a [`TcpConnection`], other
//! threads as a [`ConnectionHandle`]. What the bytes mean is left to the user.

mod acceptor;
mod admission;
mod client;
mod client_handle;
mod client_source;
mod config;
mod connector;
mod core;
mod entry;
mod group;
mod handle;
mod handler;
#[cfg(feature = "control")]
mod inspection;
mod lender;
mod listeners;
mod output;
mod reason;
mod script;
mod server;
mod server_handle;
mod server_source;
mod stats;
mod table;
mod tcp_connection;
mod transport;

pub use self::core::ConnectionState;
pub use admission::ServerFigures;
pub use client::TcpClient;
pub use client_handle::ClientHandle;
pub use config::ConnectionConfig;
pub use connector::{Backoff, ConnectError, Endpoint, ToEndpoint};
pub(crate) use group::Group;
pub use handle::ConnectionHandle;
pub(crate) use handler::OnConnectFailed;
pub use handler::{Callbacks, Handler, Returned};
#[cfg(feature = "control")]
pub(crate) use inspection::{ConnectionFigures, InspectedConnection};
pub use output::Output;
pub use reason::{CloseReason, Deadline, SendError};
pub(crate) use script::{Noise, Script};
pub use server::{Spread, TcpServer};
pub use server_handle::ServerHandle;
pub use stats::ConnectionStats;
pub use table::ConnectionId;
pub(crate) use table::Table;
pub use tcp_connection::TcpConnection;
pub(crate) use transport::Wire;
