//! A callback reactor in the tradition of muduo: one event loop per thread, and four layers on top of each other.

pub mod buffer;
pub mod connection;
pub mod reactor;
pub mod socket;

pub use buffer::Buffer;
pub use connection::{
    CloseReason, ConnectionHandle, ConnectionId, Handler, Output, ServerHandle, TcpClient, TcpConnection,
    TcpServer,
};
pub use reactor::{EventLoop, LoopContext, LoopHandle};
pub use socket::Address;
