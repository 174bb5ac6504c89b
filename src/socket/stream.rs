//! A connected socket.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, FdFlags};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, SocketType, ipproto,
    sockopt,
};

use socket2::SockRef;

use super::address::Address;
use super::options::{KeepAlive, SocketOptions};

/// The most slices that the kernel takes in one call.
const IOV_MAX: usize = 1024;

/// A connected socket, or one that is connecting: TCP, Unix stream or Unix `SOCK_SEQPACKET`.
///
/// It is non-blocking and close-on-exec, closes when it is dropped, and knows no event loop. Every
/// call that can't go on fails with [`WouldBlock`](io::ErrorKind::WouldBlock); none raises `SIGPIPE`;
/// all start over when a signal interrupts them.
///
/// ```
/// use campana::socket::Socket;
///
/// let (left, right) = Socket::pair_stream()?;
/// left.send(b"ping")?;
/// let mut input = Vec::with_capacity(64);
/// assert_eq!(right.recv(&mut input)?, 4);
/// assert_eq!(input, b"ping");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    kind: Kind,
}

/// What sort of socket a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    UnixStream,
    UnixPacket,
}

impl Kind {
    pub(super) fn of_address(address: &Address) -> Self {
        match address {
            Address::Inet(_) => Self::Tcp,
            Address::Unix(_) => Self::UnixStream,
            Address::SeqPacket(_) => Self::UnixPacket,
        }
    }

    /// Finds out what `fd` is.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is none of these, the system's error if it isn't a socket.
    pub(super) fn of_descriptor(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let family = sockopt::socket_domain(fd)?;
        let socket_type = sockopt::socket_type(fd)?;
        match (family, socket_type) {
            (AddressFamily::UNIX, SocketType::STREAM) => Ok(Self::UnixStream),
            (AddressFamily::UNIX, SocketType::SEQPACKET) => Ok(Self::UnixPacket),
            (AddressFamily::INET | AddressFamily::INET6, SocketType::STREAM)
                if matches!(sockopt::socket_protocol(fd)?, Some(ipproto::TCP | ipproto::MPTCP)) =>
            {
                Ok(Self::Tcp)
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this descriptor is neither a TCP nor a Unix stream nor a SOCK_SEQPACKET socket",
            )),
        }
    }

    pub(super) fn is_packet(self) -> bool {
        self == Self::UnixPacket
    }
}

/// What [`Socket::recv_packet`] brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Packet {
    /// How many bytes were appended; 0 for an empty packet and at the end of file.
    pub len: usize,
    /// Whether the packet was longer than the room for it; the rest of it is lost.
    pub truncated: bool,
    /// Whether this is no packet: the peer will send nothing more.
    pub end_of_file: bool,
}

impl Socket {
    /// Starts to connect to an address. The flag is true if the connection is there already, as is
    /// usual with Unix sockets; if not, wait until the socket is writable and ask
    /// [`take_error`](Self::take_error) how it went.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if a Unix listener's backlog is full: nothing is
    /// under way then, try again later. Otherwise what the system says to the options, the local
    /// address or the connection.
    pub fn connect(address: &Address, options: &SocketOptions) -> io::Result<(Self, bool)> {
        let socket = Self::create(address)?;
        options.apply(&socket)?;
        if let (Some(local), Address::Inet(_)) = (options.local_address, address) {
            rustix::net::bind(socket.as_fd(), &local)?;
        }
        let started = match address {
            Address::Inet(inet) => rustix::net::connect(socket.as_fd(), inet),
            Address::Unix(name) | Address::SeqPacket(name) => {
                rustix::net::connect(socket.as_fd(), &name.to_system()?)
            }
        };
        match started {
            Ok(()) => Ok((socket, true)),
            // An interrupted connect goes on in the background, as one in progress does.
            Err(Errno::INPROGRESS | Errno::INTR) => Ok((socket, false)),
            Err(error) => Err(error.into()),
        }
    }

    /// Two Unix stream sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// What the system says, such as that there are no descriptors left.
    pub fn pair_stream() -> io::Result<(Self, Self)> {
        Self::pair(SocketType::STREAM, Kind::UnixStream)
    }

    /// Two Unix `SOCK_SEQPACKET` sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// As [`pair_stream`](Self::pair_stream).
    pub fn pair_packet() -> io::Result<(Self, Self)> {
        Self::pair(SocketType::SEQPACKET, Kind::UnixPacket)
    }

    /// Takes over a connected socket from elsewhere, and makes it non-blocking and close-on-exec.
    ///
    /// Non-blocking is a property that all duplicates of a descriptor share, those in other processes
    /// too.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is a listening socket, a datagram socket or
    /// another that this type can't be; the system's error if it isn't a socket.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let kind = Kind::of_descriptor(fd.as_fd())?;
        if sockopt::socket_acceptconn(&fd)? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this socket listens: make a Listener of it",
            ));
        }
        set_flags(fd.as_fd())?;
        Ok(Self { fd, kind })
    }

    /// Whether it keeps packets apart (`SOCK_SEQPACKET`).
    #[inline]
    pub fn is_packet(&self) -> bool {
        self.kind.is_packet()
    }

    /// Whether it is a TCP socket.
    #[inline]
    pub fn is_tcp(&self) -> bool {
        self.kind == Kind::Tcp
    }

    /// Appends what has arrived to the spare capacity of `into`, with one system call, and says how
    /// many bytes; 0 is the end of file.
    ///
    /// `into` never grows. Descriptors that the peer passed are closed unseen. For a packet socket use
    /// [`recv_packet`](Self::recv_packet), which tells an empty packet from the end of file.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if `into` has no spare capacity, where 0 bytes
    /// would look like the end of file; otherwise what the system says.
    #[inline]
    pub fn recv(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        require_room(into)?;
        retry(|| {
            let (len, _) = rustix::net::recv(&self.fd, spare_capacity(into), RecvFlags::empty())?;
            Ok(len)
        })
    }

    /// Appends one packet to the spare capacity of `into`.
    ///
    /// A packet costs one system call. Linux reports an empty packet and the end of file alike, as 0
    /// bytes; this asks further then, and takes it for the end only if the peer has shut down or
    /// closed and nothing is left to read. Hence an end is never missed, and never reported while the
    /// peer is there; but *empty* packets that were the last before it are not seen. (The system
    /// shows them with `SO_PASSCRED` alone, which gives the socket a name as a side effect.)
    ///
    /// Descriptors that the peer passed are closed unseen.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    #[inline]
    pub fn recv_packet(&self, into: &mut Vec<u8>) -> io::Result<Packet> {
        require_room(into)?;
        let (len, real_len) = retry(|| rustix::net::recv(&self.fd, spare_capacity(into), RecvFlags::TRUNC))?;
        let end_of_file = real_len == 0 && self.nothing_more_comes()?;
        Ok(Packet { len, truncated: real_len > len, end_of_file })
    }

    /// Sends bytes and says how many the kernel took: perhaps fewer on a stream, all of them as one
    /// packet on a packet socket.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the peer is gone or this side has shut down; for a
    /// packet that is larger than the send buffer allows, `EMSGSIZE`, which no waiting cures.
    #[inline]
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| rustix::net::send(&self.fd, bytes, SendFlags::NOSIGNAL))
    }

    /// Sends several slices with one system call and says how many bytes the kernel took; on a packet
    /// socket they are one packet.
    ///
    /// The kernel takes 1024 slices at most. A stream sends the first 1024 of a longer list, which is
    /// a short write like any other; a packet of more fails with `EMSGSIZE`.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    #[inline]
    pub fn send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let slices = match slices.get(..IOV_MAX) {
            Some(first) if !self.is_packet() => first,
            _ => slices,
        };
        retry(|| {
            let mut control = SendAncillaryBuffer::default();
            rustix::net::sendmsg(&self.fd, slices, &mut control, SendFlags::NOSIGNAL)
        })
    }

    /// Ends the output: the peer reads the end of file after what was sent. Reading goes on.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the connection is gone, or not there yet.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.fd, Shutdown::Write)?)
    }

    /// Takes the pending error off the socket (`SO_ERROR`).
    ///
    /// It is gone afterwards, and a read that would have reported it may report the end of file
    /// instead: remember it.
    ///
    /// # Errors
    ///
    /// What the system says if it can't be asked.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        let pending = sockopt::socket_error(&self.fd)?;
        Ok(pending.err().map(io::Error::from))
    }

    /// The address at this end.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_address(&self) -> io::Result<Address> {
        let any = rustix::net::getsockname(&self.fd)?;
        Address::from_system(any, self.is_packet(), || SockRef::from(self).local_addr())
    }

    /// The address at the other end.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) while connecting and once the connection is reset.
    pub fn peer_address(&self) -> io::Result<Address> {
        match rustix::net::getpeername(&self.fd)? {
            Some(any) => Address::from_system(any, self.is_packet(), || SockRef::from(self).peer_addr()),
            None => Ok(Address::unnamed(self.is_packet())),
        }
    }

    /// Sends small segments at once, or holds them back for an acknowledgement (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// What the system says; this and the other TCP options don't exist on Unix sockets.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        Ok(sockopt::set_tcp_nodelay(&self.fd, on)?)
    }

    /// Probes the peer when nothing moves, or stops doing so.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for times or counts beyond what the system takes
    /// (1 to 32767 seconds, 1 to 127 probes).
    pub fn set_keepalive(&self, keepalive: Option<KeepAlive>) -> io::Result<()> {
        if let Some(keepalive) = keepalive {
            sockopt::set_tcp_keepidle(&self.fd, keepalive.idle)?;
            sockopt::set_tcp_keepintvl(&self.fd, keepalive.interval)?;
            sockopt::set_tcp_keepcnt(&self.fd, keepalive.count)?;
        }
        Ok(sockopt::set_socket_keepalive(&self.fd, keepalive.is_some())?)
    }

    /// Ends the connection when sent data isn't acknowledged for this long; `None` leaves it to the
    /// system. Counted in milliseconds, rounded up.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for more than 2^31 - 1 milliseconds (24 days).
    pub fn set_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        let millis = timeout.map_or(0, |timeout| timeout.as_nanos().div_ceil(1_000_000).max(1));
        let millis = u32::try_from(millis).map_err(|_| Errno::INVAL)?;
        Ok(sockopt::set_tcp_user_timeout(&self.fd, millis)?)
    }

    /// Sets the size of the kernel's receive buffer, in bytes. Linux reserves twice as much, within
    /// `net.core.rmem_max`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        Ok(sockopt::set_socket_recv_buffer_size(&self.fd, bytes)?)
    }

    /// The size of the kernel's receive buffer in bytes, as reserved: twice what was set.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn recv_buffer_size(&self) -> io::Result<usize> {
        Ok(sockopt::socket_recv_buffer_size(&self.fd)?)
    }

    /// Sets the size of the kernel's send buffer, in bytes. Linux reserves twice as much, within
    /// `net.core.wmem_max`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        Ok(sockopt::set_socket_send_buffer_size(&self.fd, bytes)?)
    }

    /// The size of the kernel's send buffer in bytes, as reserved: twice what was set.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn send_buffer_size(&self) -> io::Result<usize> {
        Ok(sockopt::socket_send_buffer_size(&self.fd)?)
    }

    /// Makes closing reset the connection: the peer sees `ECONNRESET`, what it hasn't read yet may be
    /// lost, and no state stays behind in the kernel.
    ///
    /// A lingering close with a time is not offered: it blocks even a non-blocking socket.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn reset_on_close(&self) -> io::Result<()> {
        Ok(sockopt::set_socket_linger(&self.fd, Some(Duration::ZERO))?)
    }

    /// Acknowledges data at once, or lets the system delay it. Linux falls back to its own judgement
    /// after a while: set it again after each read for which it matters.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_quick_ack(&self, on: bool) -> io::Result<()> {
        Ok(sockopt::set_tcp_quickack(&self.fd, on)?)
    }

    /// Whether a read of 0 bytes was the end of file rather than an empty packet.
    ///
    /// With the peer still there it was an empty packet. If it has shut down, bytes that are left in
    /// the queue prove that what was read before them was a packet.
    #[cold]
    pub(super) fn nothing_more_comes(&self) -> io::Result<bool> {
        if !self.is_packet() {
            return Ok(true);
        }
        let mut polled = [PollFd::new(&self.fd, PollFlags::RDHUP)];
        retry(|| rustix::event::poll(&mut polled, Some(&Timespec::default())))?;
        let hung_up = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        Ok(polled[0].revents().intersects(hung_up) && rustix::io::ioctl_fionread(&self.fd)? == 0)
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn from_accepted(fd: OwnedFd, kind: Kind) -> Self {
        Self { fd, kind }
    }

    /// An unconnected socket of the kind that `address` needs.
    pub(super) fn create(address: &Address) -> io::Result<Self> {
        let kind = Kind::of_address(address);
        let (socket_type, protocol) = match kind {
            Kind::Tcp => (SocketType::STREAM, Some(ipproto::TCP)),
            Kind::UnixStream => (SocketType::STREAM, None),
            Kind::UnixPacket => (SocketType::SEQPACKET, None),
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(address.family(), socket_type, flags, protocol)?;
        Ok(Self { fd, kind })
    }

    fn pair(socket_type: SocketType, kind: Kind) -> io::Result<(Self, Self)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (left, right) = rustix::net::socketpair(AddressFamily::UNIX, socket_type, flags, None)?;
        Ok((Self { fd: left, kind }, Self { fd: right, kind }))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.fd
    }
}

/// Starts a call over for as long as signals interrupt it.
#[inline]
pub(super) fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

#[inline]
pub(super) fn require_room(into: &Vec<u8>) -> io::Result<()> {
    if into.len() < into.capacity() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "there is no spare capacity to receive into: reserve some",
    ))
}

/// Makes a descriptor non-blocking and close-on-exec.
pub(super) fn set_flags(fd: BorrowedFd<'_>) -> io::Result<()> {
    rustix::io::ioctl_fionbio(fd, true)?;
    Ok(rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC)?)
}

#[cfg(test)]
pub(super) mod tests;
