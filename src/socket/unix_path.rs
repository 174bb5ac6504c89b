//! The path of a listening Unix socket: made, replaced if stale, removed.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::address::Address;

/// A path that a listener made, or was given by its predecessor, and which it removes again if it is still its own.
#[derive(Debug)]
pub(super) struct OwnPath {
    /// Absolute, so that a change of the working directory doesn't matter.
    path: PathBuf,
    /// None if the path is to stay.
    identity: Option<PathIdentity>,
    /// Whether it has been given away to this process yet; none if it was made here.
    given: Option<Arc<AtomicBool>>,
}

/// Which file is at a path, by device and inode number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct PathIdentity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

#[cfg(feature = "control")]
impl PathIdentity {
    /// Whether this file is at a path.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| identity(&found) == *self)
    }
}

impl OwnPath {
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        let identity = identity(&fs::symlink_metadata(path)?);
        Ok(Self { path: std::path::absolute(path)?, identity: Some(identity), given: None })
    }

    /// A path that another listener, or another process, owns until `given` is set.
    pub(super) fn of_other(path: PathBuf, identity: PathIdentity, given: Arc<AtomicBool>) -> Self {
        Self { path, identity: Some(identity), given: Some(given) }
    }

    /// The same path for a duplicate of the socket, which doesn't own it. Nothing if this doesn't either.
    pub(super) fn of_duplicate(&self) -> Option<Self> {
        let identity = self.identity.filter(|_| self.is_given())?;
        Some(Self::of_other(self.path.clone(), identity, Arc::default()))
    }

    /// The file that it is or was, unless it is to stay.
    #[cfg(feature = "control")]
    pub(super) fn identity(&self) -> Option<PathIdentity> {
        self.identity
    }

    /// As [`take`](Self::take), of a path that others may have been at.
    pub(super) fn take_socket(path: &Path) -> io::Result<Self> {
        if !fs::symlink_metadata(path)?.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} isn't a socket, hence not the listener's", path.display()),
            ));
        }
        Self::take(path)
    }

    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode & 0o7777))
    }

    pub(super) fn keep(&mut self) {
        self.identity = None;
    }

    fn is_given(&self) -> bool {
        self.given.as_ref().is_none_or(|given| given.load(Ordering::Acquire))
    }
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        let Some(own) = self.identity.filter(|_| self.is_given()) else {
            return;
        };
        let is_own = fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == own);
        if is_own && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Removes the socket at `path` if no process has it open.
///
/// The question is put with a datagram socket: the kernel answers `EPROTOTYPE` if a stream or packet
/// socket is behind the path, listening or about to, and `ECONNREFUSED` only if none is. A live
/// server never notices.
pub(super) fn remove_stale(address: &Address, path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "something that isn't a socket has this path: remove it or choose another",
        ));
    }
    let (Address::Unix(name) | Address::SeqPacket(name)) = address else {
        return Err(Errno::ADDRINUSE.into());
    };
    let probe = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    match rustix::net::connect(&probe, &name.to_system()?) {
        Err(Errno::CONNREFUSED) => {}
        // Without permission to connect there is no telling.
        Ok(()) | Err(_) => return Err(Errno::ADDRINUSE.into()),
    }
    // Another server that found the same may have replaced it in the meantime.
    if identity(&fs::symlink_metadata(path)?) != identity(&found) {
        return Err(Errno::ADDRINUSE.into());
    }
    fs::remove_file(path)
}

fn identity(metadata: &fs::Metadata) -> PathIdentity {
    PathIdentity { device: metadata.dev(), inode: metadata.ino() }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::socket::listener::bind_socket;
    use crate::socket::listener::tests::{bind, bind_error, ping};
    use crate::socket::{ListenOptions, Listener, Socket};

    /// A directory of the test's own, removed with what is in it.
    pub(in crate::socket) struct Scratch(PathBuf);

    impl Scratch {
        pub(in crate::socket) fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("campana-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub(in crate::socket) fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_path_is_removed_on_drop() {
        let scratch = Scratch::new();
        let path = scratch.path("s");
        let listener = bind(&format!("unix:{}", path.display()));
        assert!(path.exists());
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_stays_when_it_is_kept_for_a_successor() {
        let scratch = Scratch::new();
        let path = scratch.path("s");
        let mut listener = bind(&format!("unix:{}", path.display()));
        let successor = Listener::from_fd(listener.as_fd().try_clone_to_owned().unwrap()).unwrap();
        listener.keep_path();
        drop(listener);
        assert!(path.exists());
        ping(&successor);
        drop(successor);
        assert!(path.exists());
    }

    #[test]
    fn a_path_that_is_given_away_is_removed_only_if_it_is_still_the_same_file() {
        let scratch = Scratch::new();
        let path = scratch.path("s");
        let claim = |identity: PathIdentity, is_given: bool| {
            drop(OwnPath::of_other(path.clone(), identity, Arc::new(AtomicBool::new(is_given))));
            path.exists()
        };
        let mut listener = bind(&format!("unix:{}", path.display()));
        let own = listener.path_identity().unwrap();
        listener.keep_path();
        let other = PathIdentity { inode: own.inode + 1, ..own };
        assert!(listener.try_clone().unwrap().path_identity().is_none(), "it is nobody's by now");
        assert!(claim(own, false), "it was not given away yet");
        assert!(claim(other, true), "something else was given away");
        assert!(!claim(own, true));
    }

    #[test]
    fn a_duplicate_knows_the_path_and_leaves_it_to_its_owner() {
        let scratch = Scratch::new();
        let listener = bind(&format!("unix:{}", scratch.path("s").display()));
        let duplicate = listener.try_clone().unwrap();
        assert_eq!(duplicate.path_identity(), listener.path_identity());
        assert_eq!(duplicate.try_clone().unwrap().path_identity(), None);
        drop(duplicate);
        assert!(scratch.path("s").exists());
        let taken_over = Listener::from_fd(listener.as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(taken_over.path_identity(), None, "whose it is, is not known");
    }

    #[test]
    fn a_path_that_something_else_took_is_left_alone() {
        let scratch = Scratch::new();
        let path = scratch.path("s");
        let listener = bind(&format!("unix:{}", path.display()));
        fs::rename(&path, scratch.path("moved")).unwrap();
        fs::write(&path, "not yours").unwrap();
        drop(listener);
        assert_eq!(fs::read_to_string(&path).unwrap(), "not yours");
    }

    #[test]
    fn a_stale_path_is_replaced() {
        for scheme in ["unix", "seqpacket"] {
            let scratch = Scratch::new();
            let address = format!("{scheme}:{}", scratch.path("s").display());
            let mut dead = bind(&address);
            dead.keep_path();
            drop(dead);
            assert!(scratch.path("s").exists());
            ping(&bind(&address));
        }
    }

    #[test]
    fn a_path_in_use_is_left_alone_and_its_server_does_not_notice() {
        let scratch = Scratch::new();
        let path = scratch.path("s");
        let first = bind(&format!("unix:{}", path.display()));
        for address in [Address::unix_path(&path).unwrap(), Address::seqpacket_path(&path).unwrap()] {
            let error = bind_error(&address);
            assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains("stop it"), "{error}");
        }
        assert_eq!(first.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        ping(&first);
    }

    #[test]
    fn a_socket_that_is_bound_and_about_to_listen_counts_as_in_use() {
        let scratch = Scratch::new();
        let address = Address::unix_path(scratch.path("s")).unwrap();
        let _starting = bind_socket(Socket::create(&address).unwrap(), &address).unwrap();
        let error = bind_error(&address);
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_file_or_link_at_the_path_is_left_alone() {
        let scratch = Scratch::new();
        let path = scratch.path("f");
        fs::write(&path, "data").unwrap();
        let link = scratch.path("l");
        std::os::unix::fs::symlink(scratch.path("nowhere"), &link).unwrap();
        for path in [&path, &link] {
            let error = bind_error(&Address::unix_path(path).unwrap());
            assert!(error.to_string().contains("isn't a socket"), "{error}");
            assert!(fs::symlink_metadata(path).is_ok());
        }
    }

    #[test]
    fn a_path_gets_the_mode_that_was_asked_for() {
        let scratch = Scratch::new();
        let address = Address::unix_path(scratch.path("s")).unwrap();
        for mode in [0o600, 0o666, 0o660] {
            let options = ListenOptions::new().unix_mode(mode);
            let _listener = Listener::bind(&address, &options).unwrap();
            let found = fs::metadata(scratch.path("s")).unwrap().permissions();
            assert_eq!(found.mode() & 0o777, mode);
        }
    }
}
