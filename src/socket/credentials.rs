//! Who is at the other end of a Unix socket.

use std::io;
use std::os::fd::AsFd;

use rustix::net::sockopt;

use super::stream::Socket;

/// The process at the other end of a Unix socket, as it was when it connected or listened.
///
/// The system vouches for it; the peer can't choose it. The process may have ended since, or have
/// passed the socket on, so authorise by `uid` and `gid` and take `pid` for information.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerCredentials {
    /// The process id.
    pub pid: i32,
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
}

impl PeerCredentials {
    /// No process of any user.
    #[cfg(feature = "control")]
    pub(crate) const NOBODY: Self = Self { pid: 0, uid: u32::MAX, gid: u32::MAX };
}

impl Socket {
    /// The credentials of the peer of a Unix socket (`SO_PEERCRED`).
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) for TCP, whose peers have none.
    pub fn peer_credentials(&self) -> io::Result<PeerCredentials> {
        if self.is_tcp() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "only the peer of a Unix socket has credentials: authenticate a TCP peer otherwise",
            ));
        }
        let found = sockopt::socket_peercred(self.as_fd())?;
        Ok(PeerCredentials { pid: found.pid.as_raw_pid(), uid: found.uid.as_raw(), gid: found.gid.as_raw() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_peer_is_known_by_process_user_and_group() {
        for (ours, _theirs) in [Socket::pair_stream().unwrap(), Socket::pair_packet().unwrap()] {
            let peer = ours.peer_credentials().unwrap();
            assert_eq!(peer.pid, std::process::id().cast_signed());
            assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
            assert_eq!(peer.gid, rustix::process::getegid().as_raw());
        }
    }

    #[test]
    fn a_tcp_peer_has_no_credentials() {
        let (ours, _theirs) = crate::socket::stream::tests::tcp_pair("127.0.0.1:0");
        let error = ours.peer_credentials().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
}
