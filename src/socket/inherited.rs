//! Listeners that a service manager opened.

use std::io;
use std::os::fd::RawFd;

use rustix::process::{PidfdFlags, PidfdGetfdFlags};

use super::listener::Listener;

/// The first descriptor that a service manager hands over.
const FIRST_INHERITED: RawFd = 3;

impl Listener {
    /// The listeners that a service manager handed over with `LISTEN_PID` and `LISTEN_FDS` (systemd's
    /// socket activation), in its order; none if these aren't set or are meant for another process.
    ///
    /// Each is a duplicate of the descriptor that was handed over, which itself stays open, so the
    /// address goes on listening after the listener is dropped, until the process ends. Call this
    /// once.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) if the variables can't be read as numbers;
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) where a sandbox forbids
    /// `pidfd_getfd`; otherwise as [`from_fd`](Self::from_fd).
    pub fn inherited() -> io::Result<Vec<Self>> {
        let pid = std::env::var("LISTEN_PID").ok();
        let count = std::env::var("LISTEN_FDS").ok();
        match (pid, count) {
            (Some(pid), Some(count)) if number::<u32>("LISTEN_PID", &pid)? == std::process::id() => {
                Self::inherited_from(FIRST_INHERITED, number("LISTEN_FDS", &count)?)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn inherited_from(first: RawFd, count: u16) -> io::Result<Vec<Self>> {
        let this = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
        (first..)
            .take(count.into())
            .map(|fd| {
                let flags = PidfdGetfdFlags::empty();
                Self::from_fd(rustix::process::pidfd_getfd(&this, fd, flags)?)
            })
            .collect()
    }
}

fn number<T: std::str::FromStr>(variable: &str, text: &str) -> io::Result<T> {
    text.parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{variable} is {text:?}: it must be a number"))
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::socket::Socket;

    #[test]
    fn nothing_is_inherited_without_the_variables() {
        assert!(Listener::inherited().unwrap().is_empty());
        let error = number::<u16>("LISTEN_FDS", "two").unwrap_err();
        assert!(error.to_string().contains("LISTEN_FDS"));
    }

    #[test]
    fn an_inherited_descriptor_that_does_not_listen_is_an_error() {
        let (connected, _other) = Socket::pair_stream().unwrap();
        let error = Listener::inherited_from(connected.as_raw_fd(), 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
