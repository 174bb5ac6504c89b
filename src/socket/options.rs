//! What to set on sockets and listeners when they are made.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::stream::Socket;

/// When to probe a connection on which nothing moves, and when to give it up.
///
/// The system counts in whole seconds; fractions are rounded up.
///
/// ```
/// use std::time::Duration;
/// use campana::socket::{KeepAlive, SocketOptions};
///
/// // A peer that vanished is noticed after 60 + 3 * 10 seconds.
/// let probes = KeepAlive::new(Duration::from_secs(60), Duration::from_secs(10), 3);
/// let options = SocketOptions::new().keepalive(probes);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepAlive {
    /// How long nothing arrives before the first probe.
    pub idle: Duration,
    /// How long to wait between probes.
    pub interval: Duration,
    /// How many unanswered probes end the connection with a time-out.
    pub count: u32,
}

impl KeepAlive {
    /// Probes after `idle`, then every `interval`, and gives up after `count` of them.
    pub const fn new(idle: Duration, interval: Duration, count: u32) -> Self {
        Self { idle, interval, count }
    }
}

/// Options of a connected socket, set before it connects or when it is accepted.
///
/// What has no meaning for a Unix socket is skipped there: only the buffer sizes have.
///
/// ```
/// use std::time::Duration;
/// use campana::socket::SocketOptions;
///
/// let options = SocketOptions::new()
///     .nodelay(false)
///     .user_timeout(Duration::from_secs(30));
/// # let _ = options;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    pub(super) nodelay: bool,
    pub(super) keepalive: Option<KeepAlive>,
    pub(super) user_timeout: Option<Duration>,
    pub(super) reset_on_close: bool,
    pub(super) recv_buffer_size: Option<usize>,
    pub(super) send_buffer_size: Option<usize>,
    pub(super) local_address: Option<SocketAddr>,
}

impl SocketOptions {
    /// The defaults: small segments are sent at once, everything else as the system has it.
    pub const fn new() -> Self {
        Self {
            nodelay: true,
            keepalive: None,
            user_timeout: None,
            reset_on_close: false,
            recv_buffer_size: None,
            send_buffer_size: None,
            local_address: None,
        }
    }

    /// Whether small segments are sent at once instead of being held back for an acknowledgement
    /// (`TCP_NODELAY`). On by default.
    #[must_use]
    pub const fn nodelay(mut self, on: bool) -> Self {
        self.nodelay = on;
        self
    }

    /// Probes the peer when nothing moves. Off by default.
    #[must_use]
    pub const fn keepalive(mut self, keepalive: KeepAlive) -> Self {
        self.keepalive = Some(keepalive);
        self
    }

    /// Ends the connection when sent data isn't acknowledged for this long (`TCP_USER_TIMEOUT`, in
    /// milliseconds). By default the system retries for some 15 minutes.
    ///
    /// The system looks only when a retransmission or probe is due, so it can take longer: 1.5 s
    /// against a peer that had stopped reading ended after 2.0 s.
    #[must_use]
    pub const fn user_timeout(mut self, timeout: Duration) -> Self {
        self.user_timeout = Some(timeout);
        self
    }

    /// Whether closing resets the connection instead of ending it in good order. Off by default.
    ///
    /// See [`Socket::reset_on_close`].
    #[must_use]
    pub const fn reset_on_close(mut self, on: bool) -> Self {
        self.reset_on_close = on;
        self
    }

    /// The size of the kernel's receive buffer in bytes; setting it turns the kernel's own sizing
    /// off. Linux reserves twice as much and reports that.
    #[must_use]
    pub const fn recv_buffer_size(mut self, bytes: usize) -> Self {
        self.recv_buffer_size = Some(bytes);
        self
    }

    /// The size of the kernel's send buffer in bytes; setting it turns the kernel's own sizing off.
    /// Linux reserves twice as much and reports that. It also bounds the size of a packet.
    #[must_use]
    pub const fn send_buffer_size(mut self, bytes: usize) -> Self {
        self.send_buffer_size = Some(bytes);
        self
    }

    /// The address that a client connects from; port 0 lets the system choose one. It does nothing
    /// for accepted and for Unix sockets.
    #[must_use]
    pub const fn local_address(mut self, address: SocketAddr) -> Self {
        self.local_address = Some(address);
        self
    }

    /// Sets all of this on a socket, except for the local address.
    ///
    /// # Errors
    ///
    /// What the system says to the first option that it refuses.
    pub fn apply(&self, socket: &Socket) -> io::Result<()> {
        self.apply_buffer_sizes(socket)?;
        if !socket.is_tcp() {
            return Ok(());
        }
        socket.set_nodelay(self.nodelay)?;
        if let Some(keepalive) = self.keepalive {
            socket.set_keepalive(Some(keepalive))?;
        }
        if self.user_timeout.is_some() {
            socket.set_user_timeout(self.user_timeout)?;
        }
        if self.reset_on_close {
            socket.reset_on_close()?;
        }
        Ok(())
    }

    pub(super) fn apply_buffer_sizes(&self, socket: &Socket) -> io::Result<()> {
        if let Some(bytes) = self.recv_buffer_size {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer_size {
            socket.set_send_buffer_size(bytes)?;
        }
        Ok(())
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// How a [`Listener`](super::Listener) is bound.
///
/// ```
/// use campana::socket::{ListenOptions, SocketOptions};
///
/// let options = ListenOptions::new()
///     .backlog(512)
///     .unix_mode(0o660)
///     .accepted(SocketOptions::new().nodelay(false));
/// # let _ = options;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenOptions {
    pub(super) backlog: u32,
    pub(super) reuse_address: bool,
    pub(super) reuse_port: bool,
    pub(super) v6only: Option<bool>,
    pub(super) unix_mode: Option<u32>,
    pub(super) accepted: SocketOptions,
}

impl ListenOptions {
    /// The defaults: a backlog of 4096, `SO_REUSEADDR` on, `SO_REUSEPORT` off.
    pub const fn new() -> Self {
        Self {
            backlog: 4096,
            reuse_address: true,
            reuse_port: false,
            v6only: None,
            unix_mode: None,
            accepted: SocketOptions::new(),
        }
    }

    /// How many established connections may wait to be accepted. 4096 by default; the system lowers
    /// it to `net.core.somaxconn`.
    #[must_use]
    pub const fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Whether a server may bind at once to an address with connections of its predecessor that are
    /// still being wound up (`SO_REUSEADDR`). On by default; two listening servers exclude each
    /// other all the same.
    #[must_use]
    pub const fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Whether *other processes* of the same user that also ask for it may listen on the same
    /// address (`SO_REUSEPORT`); the system then spreads connections over all. Off by default.
    ///
    /// Several listeners within one process don't need it: see
    /// [`Listener::share`](super::Listener::share).
    #[must_use]
    pub const fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Whether an IPv6 listener refuses IPv4. By default as the system has it, where `[::]:80`
    /// usually serves both.
    #[must_use]
    pub const fn v6only(mut self, on: bool) -> Self {
        self.v6only = Some(on);
        self
    }

    /// The permission bits of a Unix path, such as `0o660`. By default those that the process's umask
    /// leaves. They are in force before the first connection can be made.
    #[must_use]
    pub const fn unix_mode(mut self, mode: u32) -> Self {
        self.unix_mode = Some(mode);
        self
    }

    /// The options of accepted sockets.
    #[must_use]
    pub const fn accepted(mut self, options: SocketOptions) -> Self {
        self.accepted = options;
        self
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self::new()
    }
}
