//! Where a socket is, or its peer: an IP address with a port, or a Unix name.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use rustix::net::{AddressFamily, SocketAddrAny};

use super::address_error::AddressError;
use super::unix_name::UnixName;

/// An address that a socket can listen on or connect to.
///
/// It has a text form, the same for reading and writing:
///
/// | text | meaning |
/// | --- | --- |
/// | `127.0.0.1:80`, `[::1]:0` | TCP over IPv4 or IPv6; port 0 lets the system choose |
/// | `unix:/run/app.sock` | a Unix stream socket at a path |
/// | `unix:@app` | a Unix stream socket with an abstract name |
/// | `seqpacket:/run/app.sock`, `seqpacket:@app` | the same with `SOCK_SEQPACKET`, which keeps packets apart |
/// | `unix:`, `seqpacket:` | a peer without a name; written only, never read |
///
/// A path that starts with `@` is written `unix:./@name`. Bytes of a name that aren't printable are
/// shown as escapes, for people; reading takes every byte as it is.
///
/// ```
/// use campana::socket::Address;
///
/// let address: Address = "unix:/run/app.sock".parse()?;
/// assert_eq!(address.as_pathname(), Some("/run/app.sock".as_ref()));
/// assert_eq!(address.to_string(), "unix:/run/app.sock");
///
/// let address: Address = "[::1]:7000".parse()?;
/// assert_eq!(address.port(), Some(7000));
/// # Ok::<(), campana::socket::AddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Inet(SocketAddr),
    /// A Unix stream socket.
    Unix(UnixName),
    /// A Unix `SOCK_SEQPACKET` socket: connected like a stream, but each send is a packet of its own.
    SeqPacket(UnixName),
}

impl Address {
    /// The Unix stream address of a path in the file system.
    ///
    /// # Errors
    ///
    /// [`AddressError`] if the path is empty, holds a NUL byte or has more than 107 bytes.
    pub fn unix_path(path: impl AsRef<Path>) -> Result<Self, AddressError> {
        Ok(Self::Unix(UnixName::from_path(path.as_ref())?))
    }

    /// The packet address of a path in the file system.
    ///
    /// # Errors
    ///
    /// As [`unix_path`](Self::unix_path).
    pub fn seqpacket_path(path: impl AsRef<Path>) -> Result<Self, AddressError> {
        Ok(Self::SeqPacket(UnixName::from_path(path.as_ref())?))
    }

    /// The Unix stream address with an abstract name, which lives in no directory and goes with its
    /// socket.
    ///
    /// Any process in the same network namespace can connect to it: check the
    /// [credentials](super::Socket::peer_credentials).
    ///
    /// # Errors
    ///
    /// [`AddressError`] if the name is empty or has more than 107 bytes.
    pub fn unix_abstract(name: impl AsRef<[u8]>) -> Result<Self, AddressError> {
        Ok(Self::Unix(UnixName::from_abstract(name.as_ref())?))
    }

    /// The packet address with an abstract name.
    ///
    /// # Errors
    ///
    /// As [`unix_abstract`](Self::unix_abstract).
    pub fn seqpacket_abstract(name: impl AsRef<[u8]>) -> Result<Self, AddressError> {
        Ok(Self::SeqPacket(UnixName::from_abstract(name.as_ref())?))
    }

    /// The IP address, if this is an address of TCP.
    pub fn ip(&self) -> Option<IpAddr> {
        self.as_inet().map(|inet| inet.ip())
    }

    /// The port, if this is an address of TCP.
    pub fn port(&self) -> Option<u16> {
        self.as_inet().map(|inet| inet.port())
    }

    /// The IP address and port, if this is an address of TCP.
    pub fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(inet) => Some(*inet),
            _ => None,
        }
    }

    /// The path in the file system, if this is a Unix address that has one.
    pub fn as_pathname(&self) -> Option<&Path> {
        self.unix_name()?.as_pathname()
    }

    /// The abstract name without its leading NUL, if this is a Unix address that has one.
    pub fn as_abstract(&self) -> Option<&[u8]> {
        self.unix_name()?.as_abstract()
    }

    /// Whether this is a Unix address of either kind.
    pub fn is_unix(&self) -> bool {
        self.unix_name().is_some()
    }

    /// Whether sockets of this address keep packets apart (`SOCK_SEQPACKET`).
    pub fn is_packet(&self) -> bool {
        matches!(self, Self::SeqPacket(_))
    }

    fn unix_name(&self) -> Option<&UnixName> {
        match self {
            Self::Inet(_) => None,
            Self::Unix(name) | Self::SeqPacket(name) => Some(name),
        }
    }

    pub(super) fn family(&self) -> AddressFamily {
        match self {
            Self::Inet(SocketAddr::V4(_)) => AddressFamily::INET,
            Self::Inet(SocketAddr::V6(_)) => AddressFamily::INET6,
            Self::Unix(_) | Self::SeqPacket(_) => AddressFamily::UNIX,
        }
    }

    /// The address that a system call reported; `packet` is what the socket is, as a Unix address
    /// doesn't tell.
    ///
    /// `ask_again` is for the rare path that can't be read from `any`; see
    /// [`UnixName::from_system`].
    pub(super) fn from_system(
        any: SocketAddrAny,
        packet: bool,
        ask_again: impl FnOnce() -> io::Result<socket2::SockAddr>,
    ) -> io::Result<Self> {
        if any.address_family() != AddressFamily::UNIX {
            return Ok(Self::Inet(SocketAddr::try_from(any)?));
        }
        let name = UnixName::from_system(any, ask_again)?;
        Ok(Self::from_unix_name(name, packet))
    }

    pub(crate) fn unnamed(packet: bool) -> Self {
        Self::from_unix_name(UnixName::unnamed(), packet)
    }

    fn from_unix_name(name: UnixName, packet: bool) -> Self {
        if packet { Self::SeqPacket(name) } else { Self::Unix(name) }
    }
}

impl From<SocketAddr> for Address {
    fn from(inet: SocketAddr) -> Self {
        Self::Inet(inet)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(inet) => inet.fmt(f),
            Self::Unix(name) => write!(f, "unix:{name}"),
            Self::SeqPacket(name) => write!(f, "seqpacket:{name}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(name) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(name.parse()?));
        }
        if let Some(name) = text.strip_prefix("seqpacket:") {
            return Ok(Self::SeqPacket(name.parse()?));
        }
        match text.parse() {
            Ok(inet) => Ok(Self::Inet(inet)),
            Err(_) => Err(explain_inet(text)),
        }
    }
}

fn explain_inet(text: &str) -> AddressError {
    match text.parse() {
        Ok(ip) => AddressError::NoPort { ip },
        Err(_) => AddressError::NotLiteral { text: text.into() },
    }
}

#[cfg(test)]
mod tests;
