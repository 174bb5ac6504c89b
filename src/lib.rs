//! A callback reactor in the tradition of muduo: one event loop per thread, and four layers on top of each other.

#![warn(clippy::unwrap_used, clippy::expect_used)]

pub mod buffer;
pub mod connection;
pub mod reactor;
pub mod socket;

pub use buffer::Buffer;
pub use connection::{
    Backoff, ClientHandle, CloseReason, ConnectError, ConnectionConfig, ConnectionHandle, ConnectionId,
    ConnectionStats, Deadline, Handler, Output, SendError, ServerHandle, TcpClient, TcpConnection, TcpServer,
};
pub use reactor::{EventLoop, HandlerHandle, LoopContext, LoopHandle, TimerId};
pub use socket::Address;
