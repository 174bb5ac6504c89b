//! What to set on a UDP socket when it is made.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::sockopt;

/// How a [`UdpSocket`](super::UdpSocket) is bound, and the bounds of what it does.
///
/// ```
/// use campana::reactor::UdpOptions;
///
/// let options = UdpOptions::new().recv_buffer_size(4 << 20).max_datagram(2048);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpOptions {
    reuse_port: bool,
    v6only: Option<bool>,
    broadcast: bool,
    recv_buffer_size: Option<usize>,
    send_buffer_size: Option<usize>,
    pub(super) max_datagram: usize,
    pub(super) datagrams_per_batch: usize,
    pub(super) send_queue_limit: usize,
}

impl UdpOptions {
    /// The defaults: nothing is truncated, batches of up to 64 datagrams, a send queue of up to 1 MiB.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            reuse_port: false,
            v6only: None,
            broadcast: false,
            recv_buffer_size: None,
            send_buffer_size: None,
            max_datagram: LONGEST_DATAGRAM,
            datagrams_per_batch: 64,
            send_queue_limit: 1 << 20,
        }
    }

    /// Whether other sockets of the same user that also ask for it may be bound to the same address (`SO_REUSEPORT`): one a loop,
    /// for instance. The system then chooses by a hash of both addresses. Off by default.
    #[must_use]
    pub const fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Whether an IPv6 socket refuses IPv4. By default as the system has it, where `[::]:53` usually serves both.
    #[must_use]
    pub const fn v6only(mut self, on: bool) -> Self {
        self.v6only = Some(on);
        self
    }

    /// Whether datagrams may be sent to broadcast addresses (`SO_BROADCAST`). Off by default.
    #[must_use]
    pub const fn broadcast(mut self, on: bool) -> Self {
        self.broadcast = on;
        self
    }

    /// The size of the kernel's receive buffer in bytes. What arrives while it is full is lost without a word. Linux reserves
    /// twice as much, and no more than twice `net.core.rmem_max`.
    #[must_use]
    pub const fn recv_buffer_size(mut self, bytes: usize) -> Self {
        self.recv_buffer_size = Some(bytes);
        self
    }

    /// The size of the kernel's send buffer in bytes. Linux reserves twice as much, and no more than twice `net.core.wmem_max`.
    #[must_use]
    pub const fn send_buffer_size(mut self, bytes: usize) -> Self {
        self.send_buffer_size = Some(bytes);
        self
    }

    /// How many bytes of a datagram are received; the rest of a longer one is lost, which it says of itself. By default 65 535,
    /// more than any has. A smaller bound gives more datagrams a batch: the receive buffer, one a loop, is 64 KiB and the
    /// largest datagram of the loop's sockets long.
    #[must_use]
    pub const fn max_datagram(mut self, bytes: usize) -> Self {
        self.max_datagram = if bytes == 0 { 1 } else { bytes };
        self
    }

    /// The most datagrams received in one turn of the loop, so that a flood leaves room for everything else. 64 by default.
    #[must_use]
    pub const fn datagrams_per_batch(mut self, datagrams: usize) -> Self {
        self.datagrams_per_batch = if datagrams == 0 { 1 } else { datagrams };
        self
    }

    /// How much memory what waits to be sent may take, in bytes; some 140 bytes a datagram are counted on top of its length. 1 MiB
    /// by default. What doesn't fit is dropped and counted.
    #[must_use]
    pub const fn send_queue_limit(mut self, bytes: usize) -> Self {
        self.send_queue_limit = bytes;
        self
    }

    pub(super) fn apply(&self, socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
        if self.reuse_port {
            sockopt::set_socket_reuseport(socket, true)?;
        }
        if let (Some(v6only), true) = (self.v6only, address.is_ipv6()) {
            sockopt::set_ipv6_v6only(socket, v6only)?;
        }
        if self.broadcast {
            sockopt::set_socket_broadcast(socket, true)?;
        }
        if let Some(bytes) = self.recv_buffer_size {
            sockopt::set_socket_recv_buffer_size(socket, bytes)?;
        }
        if let Some(bytes) = self.send_buffer_size {
            sockopt::set_socket_send_buffer_size(socket, bytes)?;
        }
        Ok(())
    }
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The length field of UDP has 16 bits.
const LONGEST_DATAGRAM: usize = 65_535;
