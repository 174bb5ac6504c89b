//! What a Unix socket is called.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rustix::net::{SocketAddrAny, SocketAddrUnix};

use super::address_error::AddressError;

/// The longest path or abstract name of a Unix socket, in bytes.
///
/// `sun_path` has 108, of which a path needs one for its terminating NUL and an abstract name one
/// for its leading NUL.
pub(super) const MAX_UNIX_NAME: usize = 107;

/// What precedes `sun_path` in a Unix address: the address family.
const UNIX_HEADER: usize = 2;

/// The name of a Unix socket: a path, an abstract name, or none.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnixName {
    /// As in `sun_path`: an abstract name has its leading NUL, a path no trailing one.
    bytes: Option<Arc<[u8]>>,
}

impl UnixName {
    /// The path in the file system, if the socket was bound to one.
    pub fn as_pathname(&self) -> Option<&Path> {
        match self.bytes.as_deref()? {
            [0, ..] => None,
            path => Some(Path::new(OsStr::from_bytes(path))),
        }
    }

    /// The abstract name without its leading NUL, if the socket has one.
    pub fn as_abstract(&self) -> Option<&[u8]> {
        match self.bytes.as_deref()? {
            [0, name @ ..] => Some(name),
            _ => None,
        }
    }

    /// Whether there is no name, as with most clients.
    pub fn is_unnamed(&self) -> bool {
        self.bytes.is_none()
    }

    pub(super) fn from_path(path: &Path) -> Result<Self, AddressError> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() {
            return Err(AddressError::EmptyName);
        }
        if bytes.contains(&0) {
            return Err(AddressError::NulInPath);
        }
        if bytes.len() > MAX_UNIX_NAME {
            return Err(AddressError::NameTooLong { len: bytes.len() });
        }
        Ok(Self { bytes: Some(bytes.into()) })
    }

    pub(super) fn from_abstract(name: &[u8]) -> Result<Self, AddressError> {
        if name.is_empty() {
            return Err(AddressError::EmptyName);
        }
        if name.len() > MAX_UNIX_NAME {
            return Err(AddressError::NameTooLong { len: name.len() });
        }
        Ok(Self { bytes: Some([&[0], name].concat().into()) })
    }

    pub(super) const fn unnamed() -> Self {
        Self { bytes: None }
    }

    /// The name in an address that a system call reported.
    ///
    /// A path may fill `sun_path` to its last byte, and the system then reports it with a NUL beyond
    /// the end of `sockaddr_un`, which rustix takes for impossible and panics. Any peer can choose
    /// such a path, so `ask_again` gets it in another way.
    pub(super) fn from_system(
        any: SocketAddrAny,
        ask_again: impl FnOnce() -> io::Result<socket2::SockAddr>,
    ) -> io::Result<Self> {
        let bytes = match any.addr_len() as usize {
            ..=UNIX_HEADER => None,
            len if len > UNIX_HEADER + MAX_UNIX_NAME + 1 => {
                ask_again()?.as_pathname().map(|path| path.as_os_str().as_bytes().into())
            }
            _ => sun_path(&SocketAddrUnix::try_from(any)?),
        };
        Ok(Self { bytes })
    }

    pub(super) fn to_system(&self) -> io::Result<SocketAddrUnix> {
        let unix = match self.bytes.as_deref() {
            None => return Err(AddressError::Unnamed.into()),
            Some([0, name @ ..]) => SocketAddrUnix::new_abstract_name(name)?,
            Some(path) => SocketAddrUnix::new(path)?,
        };
        Ok(unix)
    }
}

impl FromStr for UnixName {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix('@') {
            Some(name) => Self::from_abstract(name.as_bytes()),
            None => Self::from_path(Path::new(text)),
        }
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.bytes.as_deref() {
            None => return Ok(()),
            Some([0, name @ ..]) => {
                f.write_char('@')?;
                name
            }
            Some(path) => {
                if path.starts_with(b"@") {
                    f.write_str("./")?;
                }
                path
            }
        };
        for chunk in name.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    f.write_char(c)?;
                }
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unnamed() { f.write_str("(unnamed)") } else { fmt::Display::fmt(self, f) }
    }
}

fn sun_path(unix: &SocketAddrUnix) -> Option<Arc<[u8]>> {
    match unix.abstract_name() {
        Some(name) => Some([&[0], name].concat().into()),
        // rustix leaves the NUL on a path of 107 bytes.
        None => unix.path_bytes().map(|path| path.strip_suffix(&[0]).unwrap_or(path).into()),
    }
}
