//! A socket that others connect to.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
#[cfg(feature = "control")]
use std::path::PathBuf;
#[cfg(feature = "control")]
use std::sync::{Arc, atomic::AtomicBool};

use rustix::net::{SocketFlags, sockopt};
use socket2::SockRef;

use super::address::Address;
use super::bind_error::BindError;
use super::options::{ListenOptions, SocketOptions};
use super::stream::{Kind, Socket, retry, set_flags};
#[cfg(feature = "control")]
use super::unix_path::PathIdentity;
use super::unix_path::{OwnPath, remove_stale};

/// A listening socket, which hands out a [`Socket`] for each connection.
///
/// It is non-blocking and close-on-exec. A Unix path that it made is removed when it is dropped,
/// unless something else is at that path by then.
///
/// ```
/// use campana::socket::{ListenOptions, Listener};
///
/// let listener = Listener::bind(&"127.0.0.1:0".parse()?, &ListenOptions::default())?;
/// assert_ne!(listener.local_address()?.port(), Some(0));
/// // Nobody has connected yet.
/// assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    // Dropped before the socket: for as long as that is open, nobody takes the path for stale and no
    // other file can get its inode number.
    path: Option<OwnPath>,
    socket: Socket,
    options: ListenOptions,
}

impl Listener {
    /// Binds to an address and listens on it.
    ///
    /// A second server on the same address fails, whether or not the first one
    /// [shares](Self::share) its address among listeners of its own; only if both set
    /// [`ListenOptions::reuse_port`] do they coexist.
    ///
    /// The path of a Unix socket that nobody has open any more is replaced. One that a process still
    /// has open is left alone, and so is any file that isn't a socket.
    ///
    /// # Errors
    ///
    /// [`BindError`], which names the address and says what may be done about it.
    pub fn bind(address: &Address, options: &ListenOptions) -> Result<Self, BindError> {
        let bound = match address.as_pathname() {
            Some(path) => Self::bind_path(address, path, options),
            None => Self::create(address, options, options.reuse_port)
                .and_then(|socket| bind_socket(socket, address)),
        };
        bound
            .and_then(|socket| Self::listen(socket, address, options))
            .map_err(|source| BindError { address: address.clone(), source })
    }

    /// Takes over a socket that listens already, such as one that was inherited, and makes it
    /// non-blocking and close-on-exec.
    ///
    /// The path of a Unix socket stays when this is dropped, as it belongs to whoever made it, unless
    /// [`own_path`](Self::own_path) is called. The options of accepted sockets are left as they are;
    /// see [`set_accepted_options`](Self::set_accepted_options).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the socket doesn't listen, or is neither TCP
    /// nor Unix stream nor Unix packets; the system's error if it isn't a socket.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let kind = Kind::of_descriptor(fd.as_fd())?;
        if !sockopt::socket_acceptconn(&fd)? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this socket doesn't listen: pass one on which listen() was called",
            ));
        }
        set_flags(fd.as_fd())?;
        Ok(Self { socket: Socket::from_accepted(fd, kind), options: ListenOptions::new(), path: None })
    }

    /// A second descriptor of the same listening socket, for another process: both accept from one
    /// backlog, which outlives either of them.
    ///
    /// The path of a Unix socket stays with the listener that this was made from.
    ///
    /// # Errors
    ///
    /// What the system says, when descriptors have run out for one.
    pub fn try_clone(&self) -> io::Result<Self> {
        let duplicate = Socket::from_accepted(self.socket.as_fd().try_clone_to_owned()?, self.kind());
        let path = self.path.as_ref().and_then(OwnPath::of_duplicate);
        Ok(Self { socket: duplicate, options: self.options.clone(), path })
    }

    /// One more listener on the same address in this process, so that each event loop has its own;
    /// the system spreads new connections over all of them. TCP only.
    ///
    /// The first listener is bound without `SO_REUSEPORT`, hence exclusively, and gets it here, after
    /// the fact; Linux then lets siblings join that have it from the start. Another server still
    /// can't bind, unless it runs as the same user and sets `SO_REUSEPORT` itself, which means that it
    /// wants to share.
    ///
    /// Every one of them has a backlog of its own: connections that wait in it are reset when that
    /// listener is dropped. Accept them first.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) for Unix sockets; otherwise what the system says.
    pub fn share(&self) -> io::Result<Self> {
        if !self.socket.is_tcp() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a Unix address has one listener: accept in one loop and hand over",
            ));
        }
        sockopt::set_socket_reuseport(&self.socket, true)?;
        let address = self.local_address()?;
        let mut options = self.options.clone();
        if matches!(address, Address::Inet(inet) if inet.is_ipv6()) {
            options.v6only = Some(sockopt::ipv6_v6only(&self.socket)?);
        }
        let socket = bind_socket(Self::create(&address, &options, true)?, &address)?;
        Self::listen(socket, &address, &options)
    }

    /// Takes the next waiting connection, with the address that it comes from.
    ///
    /// It costs one system call. The address is the one that came with the connection, so there is one
    /// even if the peer has reset it since.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if none waits. `EMFILE`, `ENFILE`, `ENOBUFS` and
    /// `ENOMEM` mean that the system has run out of something while connections wait, and
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) that one has gone; none of these is the
    /// end of the listener.
    #[inline]
    pub fn accept(&self) -> io::Result<(Socket, Address)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (fd, peer) = retry(|| rustix::net::acceptfrom_with(&self.socket, flags))?;
        let packet = self.is_packet();
        let socket = Socket::from_accepted(fd, self.kind());
        if !socket.is_tcp() {
            // A TCP socket has inherited what was set on the listener; a Unix one inherits nothing.
            self.options.accepted.apply_buffer_sizes(&socket)?;
        }
        let peer = match peer {
            Some(any) => Address::from_system(any, packet, || SockRef::from(&socket).peer_addr())?,
            None => Address::unnamed(packet),
        };
        Ok((socket, peer))
    }

    /// Sets the options of sockets accepted from now on.
    ///
    /// They are set on the listening socket, from which Linux hands them down to each connection, so
    /// that accepting costs no further calls. Options that aren't set leave what was set before.
    ///
    /// # Errors
    ///
    /// What the system says to the first option that it refuses.
    pub fn set_accepted_options(&mut self, options: &SocketOptions) -> io::Result<()> {
        options.apply(&self.socket)?;
        self.options.accepted = options.clone();
        Ok(())
    }

    /// The address that it listens on, with the port that the system chose if that was left to it.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_address(&self) -> io::Result<Address> {
        self.socket.local_address()
    }

    /// Whether it accepts packet sockets (`SOCK_SEQPACKET`).
    pub fn is_packet(&self) -> bool {
        self.socket.is_packet()
    }

    /// Leaves the path of a Unix socket in place when this is dropped, for a successor that has taken
    /// over the descriptor.
    pub fn keep_path(&mut self) {
        if let Some(path) = &mut self.path {
            path.keep();
        }
    }

    /// Removes the path of a Unix socket when this is dropped, as if this had made it: for a successor
    /// whose predecessor [keeps](Self::keep_path) it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if it has no path, or if what is there by now is no
    /// socket; otherwise what the system says to a look at the path.
    pub fn own_path(&mut self) -> io::Result<()> {
        let address = self.local_address()?;
        let path = address.as_pathname().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{address} has no path to be removed"))
        })?;
        self.path = Some(OwnPath::take_socket(path)?);
        Ok(())
    }

    fn kind(&self) -> Kind {
        self.socket.kind()
    }

    /// The file of a Unix socket that this, or the listener that it is a duplicate of, owns.
    #[cfg(feature = "control")]
    pub(crate) fn path_identity(&self) -> Option<PathIdentity> {
        self.path.as_ref()?.identity()
    }

    /// The descriptor alone, whoever owns the path.
    #[cfg(feature = "control")]
    pub(crate) fn into_descriptor(mut self) -> OwnedFd {
        self.keep_path();
        self.socket.into()
    }

    /// [Owns](Self::own_path) the path, which is answered, once `given` is set, if this is the file that is there then.
    #[cfg(feature = "control")]
    pub(crate) fn own_path_when(
        &mut self,
        given: Arc<AtomicBool>,
        identity: PathIdentity,
    ) -> io::Result<Option<PathBuf>> {
        let address = self.local_address()?;
        let Some(name) = address.as_pathname() else { return Ok(None) };
        let path = std::path::absolute(name)?;
        self.path = Some(OwnPath::of_other(path.clone(), identity, given));
        Ok(Some(path))
    }

    fn create(address: &Address, options: &ListenOptions, reuse_port: bool) -> io::Result<Socket> {
        let socket = Socket::create(address)?;
        if let Address::Inet(inet) = address {
            sockopt::set_socket_reuseaddr(&socket, options.reuse_address)?;
            if reuse_port {
                sockopt::set_socket_reuseport(&socket, true)?;
            }
            if let (Some(v6only), true) = (options.v6only, inet.is_ipv6()) {
                sockopt::set_ipv6_v6only(&socket, v6only)?;
            }
        }
        // Before it listens, so that the buffer size can count for the window that is offered.
        options.accepted.apply(&socket)?;
        Ok(socket)
    }

    fn bind_path(address: &Address, path: &Path, options: &ListenOptions) -> io::Result<Socket> {
        let bind = || bind_socket(Self::create(address, options, false)?, address);
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(address, path)?;
                bind()
            }
            result => result,
        }
    }

    fn listen(socket: Socket, address: &Address, options: &ListenOptions) -> io::Result<Self> {
        let path = address.as_pathname().map(OwnPath::take).transpose()?;
        if let (Some(path), Some(mode)) = (&path, options.unix_mode) {
            // Nobody can connect before listen(), so the wider permissions never counted.
            path.set_mode(mode)?;
        }
        let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
        rustix::net::listen(&socket, backlog)?;
        Ok(Self { socket, options: options.clone(), path })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

pub(super) fn bind_socket(socket: Socket, address: &Address) -> io::Result<Socket> {
    match address {
        Address::Inet(inet) => rustix::net::bind(&socket, inet)?,
        Address::Unix(name) | Address::SeqPacket(name) => {
            rustix::net::bind(&socket, &name.to_system()?)?;
        }
    }
    Ok(socket)
}

#[cfg(test)]
pub(super) mod tests;
