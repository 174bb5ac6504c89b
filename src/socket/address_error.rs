//! Why something is no address.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::unix_name::MAX_UNIX_NAME;

/// Why something is no [`Address`](super::Address).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// The text is no literal address; a host name, perhaps.
    NotLiteral {
        /// The text as it was given.
        text: String,
    },
    /// The text is an IP address without a port.
    NoPort {
        /// The address that was given.
        ip: IpAddr,
    },
    /// The path or abstract name is empty.
    EmptyName,
    /// The path holds a NUL byte, at which the system would cut it off.
    NulInPath,
    /// The path or abstract name doesn't fit a Unix address.
    NameTooLong {
        /// Its length in bytes; 107 is the limit.
        len: usize,
    },
    /// The address of an unnamed peer, which nothing can be bound or connected to.
    Unnamed,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLiteral { text } => write!(
                f,
                "{text:?} is not an address: write 127.0.0.1:80, [::1]:80, unix:/path, unix:@name, \
                 seqpacket:/path or seqpacket:@name; a host name has to be looked up first"
            ),
            Self::NoPort { ip } => write!(f, "{ip} has no port: write {}", SocketAddr::new(*ip, 80)),
            Self::EmptyName => f.write_str(
                "a Unix address needs a name: write unix:/path or unix:@name (seqpacket: likewise)",
            ),
            Self::NulInPath => f.write_str("the path of a Unix socket holds a NUL byte: remove it"),
            Self::NameTooLong { len } => write!(
                f,
                "the name of a Unix socket has {len} bytes, the limit is {MAX_UNIX_NAME}: \
                 use a shorter path, a relative one or an abstract name"
            ),
            Self::Unnamed => f.write_str(
                "this is the address of an unnamed Unix socket: use the address its peer listens on",
            ),
        }
    }
}

impl std::error::Error for AddressError {}

impl From<AddressError> for io::Error {
    fn from(error: AddressError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}
