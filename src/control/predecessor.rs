//! Graceful restart, the successor's side: listening sockets come from the process that runs already.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::handover::{Draining, HandedOver, Offer, Offers};
use super::{ClientError, ControlClient, ToControlAddress};
use crate::socket::{Listener, MAX_DESCRIPTORS, PathIdentity};

/// A process that runs already, whose listening sockets are taken over from it: it has registered a [`Handover`](super::Handover).
///
/// First it is asked, and goes on as if nothing were. Its sockets are this process's as well from then on, so that servers can be
/// started on them; when all that can fail has been done, [`take_over`](Self::take_over) tells it to accept nobody any more. Until
/// then this can be dropped, or the process may crash, and the predecessor has noticed nothing.
///
/// ```no_run
/// use std::time::Duration;
/// use campana::control::{ControlServer, Handover, Predecessor, Router};
/// use campana::{EventLoop, LoopContext, TcpServer};
///
/// const CONTROL: &str = "/run/app.sock";
///
/// let mut event_loop = EventLoop::new()?;
/// let mut predecessor = Predecessor::find(CONTROL)?;
/// let server = match &mut predecessor {
///     Some(predecessor) => TcpServer::from_listeners(predecessor.listeners("main")),
///     None => TcpServer::bind("0.0.0.0:7000")?,
/// };
/// let server = server.threads(4).on_data(|conn, input| conn.send(input.take())).start(&mut event_loop)?;
///
/// let mut router = Router::new();
/// Handover::new().server("main", &server).on_drained(LoopContext::quit).register(&mut router)?;
/// let control = match predecessor.as_mut().and_then(Predecessor::control_listener) {
///     Some(listener) => ControlServer::from_listener(listener),
///     None => ControlServer::bind(CONTROL),
/// };
/// control.start(&mut event_loop, router)?;
/// if let Some(predecessor) = predecessor {
///     predecessor.take_over(Duration::from_secs(10))?;
/// }
/// event_loop.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// All of this blocks, for ten seconds at most: do it before the loop runs, or on another thread.
#[must_use = "the predecessor goes on until it is told that this process has taken over"]
pub struct Predecessor {
    client: ControlClient,
    /// Its process, as far as the system lets it be watched.
    process: Option<OwnedFd>,
    /// Those that nobody has taken yet, each with the server that it is of.
    offered: Vec<(Option<String>, Listener)>,
    taken: Vec<String>,
    takes_control: bool,
    /// Those that are removed with their listeners, each with the server that it is of.
    paths: Vec<(Option<String>, PathBuf, PathIdentity)>,
    /// Whether the paths of Unix sockets are this process's by now.
    given: Arc<AtomicBool>,
}

impl Predecessor {
    /// Asks the process behind a control socket for its listening sockets.
    ///
    /// # Errors
    ///
    /// [`Io`](ClientError::Io) if there is no such process, or with
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if it belongs neither to this user nor to root;
    /// [`Failed`](ClientError::Failed) if it does not hand over: because it doesn't know how to, or another successor is starting,
    /// or has taken over. Otherwise any [`ClientError`].
    pub fn ask(address: impl ToControlAddress) -> Result<Self, ClientError> {
        Self::of(ControlClient::connect(address)?)
    }

    /// As [`ask`](Self::ask), and nothing if there is no such process: no socket, or one that nobody has open any more.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub fn find(address: impl ToControlAddress) -> Result<Option<Self>, ClientError> {
        match ControlClient::connect(address) {
            Ok(client) => Self::of(client).map(Some),
            Err(ClientError::Io(error)) if is_nobody(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn of(mut client: ControlClient) -> Result<Self, ClientError> {
        let uid = client.peer_credentials()?.uid;
        let own = rustix::process::geteuid().as_raw();
        if uid != 0 && uid != own {
            let text = format!(
                "the control socket is user {uid}'s, this process user {own}'s: start it as that user"
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text).into());
        }
        let (offers, descriptors): (Offers, _) =
            client.request_with_descriptors("handover", &(), MAX_DESCRIPTORS)?;
        let process = offers.pid.and_then(Pid::from_raw);
        let process = process.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        let given = Arc::new(AtomicBool::new(false));
        let mut paths = Vec::new();
        let offered = pair(offers.listeners, descriptors, &given, &mut paths)?;
        Ok(Self { client, process, offered, taken: Vec::new(), takes_control: false, paths, given })
    }

    /// The servers that there are listeners of.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<&str> = self.offered.iter().filter_map(|(name, _)| name.as_deref()).collect();
        names.dedup();
        names.into_iter()
    }

    /// The listeners of one of its servers, for [`TcpServer::from_listeners`](crate::TcpServer::from_listeners); none if it has no
    /// server of this name, or if they were taken before.
    ///
    /// Those who wait for a listener that is dropped are reset when the predecessor stops accepting: start the server with all of
    /// them. Whole servers may be left where they are, the predecessor then takes in those who wait for them.
    pub fn listeners(&mut self, server: &str) -> Vec<Listener> {
        let listeners = self.take(Some(server));
        if !listeners.is_empty() {
            self.taken.push(server.to_owned());
        }
        listeners
    }

    /// The listener of its control socket, for [`ControlServer::from_listener`](super::ControlServer::from_listener): by it the
    /// next successor comes. Nothing if it was taken before.
    pub fn control_listener(&mut self) -> Option<Listener> {
        let listener = self.take(None).pop();
        self.takes_control |= listener.is_some();
        listener
    }

    /// Says that this process serves: the predecessor accepts nobody any more, and ends its connections after `deadline` at the
    /// latest. Answers which of its servers do so: none, if its process has ended by now. The paths of Unix sockets are removed by
    /// this process from now on.
    ///
    /// # Errors
    ///
    /// Any [`ClientError`]. This process should end then: both accept, or the other one was stopped and has removed the paths of
    /// Unix sockets, by which nobody finds this one any more.
    pub fn take_over(mut self, deadline: Duration) -> Result<Vec<String>, ClientError> {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        let taken = std::mem::take(&mut self.taken);
        self.paths
            .retain(|(server, ..)| server.as_ref().map_or(self.takes_control, |name| taken.contains(name)));
        let params = HandedOver { deadline_ms, servers: Some(taken), control: self.takes_control };
        let draining = match self.client.request("handed_over", &params) {
            Ok(Draining { draining }) => draining,
            // It was killed, say: there is nobody any more who could be told.
            Err(ClientError::Disconnected | ClientError::Io(_)) if self.has_ended() && self.has_paths() => {
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        self.given.store(true, Ordering::Release);
        Ok(draining)
    }

    /// Whether the paths of what is taken are still there.
    fn has_paths(&self) -> bool {
        self.paths.iter().all(|(_, path, identity)| identity.is_at(path))
    }

    /// Whether its process has ended. A process's sockets are closed some time before it is gone.
    fn has_ended(&self) -> bool {
        let Some(process) = &self.process else { return false };
        let deadline = Instant::now() + WAIT_FOR_END;
        loop {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
            match rustix::event::poll(&mut [PollFd::new(process, PollFlags::IN)], left.as_ref()) {
                Err(Errno::INTR) => {}
                ended => return ended.is_ok_and(|events| events > 0),
            }
        }
    }

    fn take(&mut self, server: Option<&str>) -> Vec<Listener> {
        let taken = self.offered.extract_if(.., |(name, _)| name.as_deref() == server);
        taken.map(|(_, listener)| listener).collect()
    }
}

/// For how long a process that does not answer is waited for to end.
const WAIT_FOR_END: Duration = Duration::from_secs(1);

/// Whether there is nobody to be connected to.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn pair(
    offers: Vec<Offer>,
    descriptors: Vec<OwnedFd>,
    given: &Arc<AtomicBool>,
    paths: &mut Vec<(Option<String>, PathBuf, PathIdentity)>,
) -> Result<Vec<(Option<String>, Listener)>, ClientError> {
    if offers.len() != descriptors.len() {
        let (offers, descriptors) = (offers.len(), descriptors.len());
        let text = format!("{offers} listeners were announced, and {descriptors} descriptors came");
        return Err(ClientError::Malformed(text));
    }
    let paired = offers.into_iter().zip(descriptors).map(|(offer, descriptor)| {
        let mut listener = Listener::from_fd(descriptor)?;
        if let Some(identity) = offer.path
            && let Some(path) = listener.own_path_when(Arc::clone(given), identity)?
        {
            paths.push((offer.server.clone(), path, identity));
        }
        Ok((offer.server, listener))
    });
    Ok(paired.collect::<io::Result<_>>()?)
}

impl fmt::Debug for Predecessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Predecessor")
            .field("client", &self.client)
            .field("offered", &self.offered)
            .finish_non_exhaustive()
    }
}
