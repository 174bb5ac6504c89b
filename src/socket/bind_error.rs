//! Why a listener couldn't be made.

use std::fmt;
use std::io;

use rustix::io::Errno;

use super::address::Address;

/// Why a [`Listener`](super::Listener) couldn't be made.
#[non_exhaustive]
pub struct BindError {
    /// The address that was asked for.
    pub address: Address,
    /// What the system said.
    pub source: io::Error,
}

impl BindError {
    fn hint(&self) -> &'static str {
        let unix = self.address.is_unix();
        match self.source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::ADDRINUSE) if unix => {
                "; another process has this socket open: stop it or choose another name"
            }
            Some(Errno::ADDRINUSE) => {
                "; another server listens there: stop it, choose another port, or set reuse_port on both"
            }
            Some(Errno::ACCESS | Errno::PERM) if unix => {
                "; the process may not write to this directory: choose another or change its mode"
            }
            Some(Errno::ACCESS | Errno::PERM) => {
                "; ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one or grant it"
            }
            Some(Errno::ADDRNOTAVAIL) => {
                "; this machine has no such address: use one of its own, 0.0.0.0 or [::]"
            }
            Some(Errno::AFNOSUPPORT) => "; this machine has no IPv6: use an IPv4 address",
            Some(Errno::NOENT | Errno::NOTDIR) => "; create the directory first",
            Some(Errno::ROFS) => "; the file system is read-only: choose another directory",
            Some(Errno::MFILE | Errno::NFILE) => "; raise the limit of open files",
            _ => "",
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, source } = self;
        write!(f, "cannot listen on {address}: {source}{}", self.hint())
    }
}

/// The same text: it is what a `main` prints that returns the error, and the advice in it is meant for whoever reads that.
impl fmt::Debug for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::listener::tests::bind_error;
    use crate::socket::unix_path::tests::Scratch;

    #[test]
    fn hints_say_what_to_change() {
        let scratch = Scratch::new();
        let missing = Address::unix_path(scratch.path("no/such/s")).unwrap();
        let foreign: Address = "192.0.2.1:0".parse().unwrap();
        for (address, hint) in [(missing, "create the directory"), (foreign, "its own")] {
            let error = bind_error(&address);
            assert!(error.to_string().contains(hint), "{error}");
        }
        let denied = BindError { address: "127.0.0.1:80".parse().unwrap(), source: Errno::ACCESS.into() };
        assert!(denied.to_string().contains("CAP_NET_BIND_SERVICE"));
        assert_eq!(format!("{denied:?}"), denied.to_string());
    }
}
