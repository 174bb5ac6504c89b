//! Sockets as the operating system has them: addresses, connecting, listening, options, and the
//! calls that move bytes, packets and descriptors.
//!
//! Everything here is one or a few system calls with a safe signature. Nothing waits: every socket
//! is non-blocking, and a call that cannot go on says [`WouldBlock`](std::io::ErrorKind::WouldBlock).
//! *When* to call is the reactor's affair, buffering and the life of a connection are the connection
//! layer's, and looking up host names is left to whoever may block. So is UDP the reactor's: the bare
//! socket is in `std::net`, and what there is to add to it are batches, which take a loop.
//!
//! ```
//! use campana::socket::{Address, ListenOptions, Listener, Socket, SocketOptions};
//!
//! # fn wait(fd: &impl std::os::fd::AsFd, flags: rustix::event::PollFlags) {
//! # rustix::event::poll(&mut [rustix::event::PollFd::new(fd, flags)], None).unwrap();
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = Listener::bind(&"127.0.0.1:0".parse()?, &ListenOptions::default())?;
//! let server: Address = listener.local_address()?;
//!
//! let (client, _connected) = Socket::connect(&server, &SocketOptions::default())?;
//! # wait(&listener, rustix::event::PollFlags::IN);
//! let (accepted, peer) = listener.accept()?;
//! assert_eq!(peer, client.local_address()?);
//!
//! # wait(&client, rustix::event::PollFlags::OUT);
//! client.send(b"hello")?;
//! let mut input = Vec::with_capacity(64);
//! # wait(&accepted, rustix::event::PollFlags::IN);
//! accepted.recv(&mut input)?;
//! assert_eq!(input, b"hello");
//! # Ok(())
//! # }
//! ```

mod address;
mod address_error;
mod bind_error;
mod credentials;
mod descriptors;
mod inherited;
mod listener;
mod options;
mod stream;
mod tcp_info;
mod to_address;
mod unix_name;
mod unix_path;

pub use address::Address;
pub use address_error::AddressError;
pub use bind_error::BindError;
pub use credentials::PeerCredentials;
pub use descriptors::{MAX_DESCRIPTORS, Received};
pub use listener::Listener;
pub use options::{KeepAlive, ListenOptions, SocketOptions};
pub use stream::{Packet, Socket};
pub use tcp_info::{TcpInfo, TcpState};
pub use to_address::ToAddress;
pub use unix_name::UnixName;
#[cfg(feature = "control")]
pub(crate) use unix_path::PathIdentity;
