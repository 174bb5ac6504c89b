//! Control sockets: bound, served, stopped.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::access::Access;
use super::address::ToControlAddress;
use super::session::{Shared, Totals};
use super::{ControlConfig, ControlSession, Router};
use crate::codec::RawBytes;
use crate::connection::{ConnectionConfig, ServerHandle, TcpServer};
use crate::reactor::LoopContext;
use crate::session::{Opening, SessionManager, SessionService, Sessions};
use crate::socket::{Address, ListenOptions, Listener, PeerCredentials};

/// A control socket on its way: named, configured, and not started yet.
///
/// ```no_run
/// use campana::EventLoop;
/// use campana::control::{Command, ControlServer, Router};
///
/// let mut event_loop = EventLoop::new()?;
/// let mut router = Router::new();
/// router.add(Command::new("stop", "Ends the program.").answers(|call, _: ()| {
///     call.context().quit();
///     Ok("as you wish")
/// }))?;
/// ControlServer::bind("/run/app.sock").start(&mut event_loop, router)?;
/// event_loop.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a control server does nothing until it is started"]
pub struct ControlServer {
    place: Place,
    options: ListenOptions,
    config: ControlConfig,
    connection: ConnectionConfig,
    authorize: Authorize,
    adapt: Option<Adapt>,
}

type Authorize = Box<dyn Fn(&PeerCredentials) -> Access + Send + Sync>;
type Adapt = Box<dyn FnOnce(SessionService<ControlSession>) -> SessionService<ControlSession> + Send>;

enum Place {
    Address(io::Result<Address>),
    Listener(Listener),
}

impl ControlServer {
    /// A control socket at a path, or, as `@name`, in the abstract namespace. A path gets the mode 0600; the path of a socket that
    /// nobody has open any more is replaced.
    pub fn bind(address: impl ToControlAddress) -> Self {
        Self::at(Place::Address(address.to_control_address()))
    }

    /// A control socket that listens already: one that a predecessor has handed over.
    pub fn from_listener(listener: Listener) -> Self {
        Self::at(Place::Listener(listener))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            options: ListenOptions::new().unix_mode(0o600),
            config: ControlConfig::default(),
            connection: ConnectionConfig::default(),
            authorize: Box::new(Access::of_same_user),
            adapt: None,
        }
    }

    /// The permissions of the path: who may connect. Default 0600. Abstract names have none.
    pub fn mode(mut self, mode: u32) -> Self {
        self.options = self.options.unix_mode(mode);
        self
    }

    /// How many who connect may wait to be accepted.
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.options = self.options.backlog(backlog);
        self
    }

    /// Who may do what. Default: [`Access::of_same_user`].
    pub fn authorize(
        mut self,
        authorize: impl Fn(&PeerCredentials) -> Access + Send + Sync + 'static,
    ) -> Self {
        self.authorize = Box::new(authorize);
        self
    }

    /// Changes the limits of sessions.
    pub fn configure(mut self, change: impl FnOnce(&mut ControlConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Changes limits and deadlines of sessions' connections: how much may wait to be read by a client, and for how long. Its
    /// `packet_limit` is [`max_request`](ControlConfig::max_request), whatever is set here.
    pub fn configure_connections(mut self, change: impl FnOnce(&mut ConnectionConfig)) -> Self {
        change(&mut self.connection);
        self
    }

    /// Changes what sessions are made of: filters, attributes, and what [`ControlConfig`] has not.
    pub fn service(
        mut self,
        adapt: impl FnOnce(SessionService<ControlSession>) -> SessionService<ControlSession> + Send + 'static,
    ) -> Self {
        self.adapt = Some(Box::new(adapt));
        self
    }

    /// Starts to serve on a loop: all sessions live there.
    ///
    /// # Errors
    ///
    /// [`BindError`](crate::socket::BindError), as an `io::Error`, which says what is wrong with the address;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a listener that has no packets; otherwise what the system says.
    pub fn start(self, on: &mut impl AsMut<LoopContext>, router: Router) -> io::Result<ControlHandle> {
        let listener = match self.place {
            Place::Address(address) => Listener::bind(&address?, &self.options)?,
            Place::Listener(listener) if listener.is_packet() => listener,
            Place::Listener(listener) => {
                let text = format!(
                    "{} has no packets: a control socket is a seqpacket one",
                    listener.local_address()?
                );
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
        // That of a listener which was handed over may be relative to another directory than this process is in.
        let path = listener.local_address()?.as_pathname().and_then(|path| OpenPath::new(path).ok());
        let connection = connection_config(self.connection, &self.config);
        let server = TcpServer::from_listeners(vec![listener])
            .max_connections(self.config.max_sessions)
            .configure(|config| *config = connection);
        let (service, shared) = of_sessions(self.config, self.authorize, self.adapt, router);
        let (server, sessions) = service.serve(server, on, factory(&shared))?;
        let _ = shared.server.set(server.clone());
        Ok(ControlHandle { server, sessions, path, shared })
    }

    /// The handler of connections that come from elsewhere, and the limits that hold for them.
    pub(crate) fn handler(self, router: Router) -> (Sessions<ControlSession>, ConnectionConfig) {
        let connection = connection_config(self.connection, &self.config);
        let (service, shared) = of_sessions(self.config, self.authorize, self.adapt, router);
        (service.handler(factory(&shared)), connection)
    }
}

fn connection_config(connection: ConnectionConfig, config: &ControlConfig) -> ConnectionConfig {
    ConnectionConfig { packet_limit: config.max_request, ..connection }
}

/// What sessions are made of, and what they share.
fn of_sessions(
    config: ControlConfig,
    authorize: Authorize,
    adapt: Option<Adapt>,
    router: Router,
) -> (SessionService<ControlSession>, Arc<Shared>) {
    let inactivity = config.inactivity;
    let service =
        SessionService::new(|| RawBytes).configure(move |session| session.idle_both = Some(inactivity));
    let service = match adapt {
        Some(adapt) => adapt(service),
        None => service,
    };
    let (totals, server) = (Totals::default(), OnceLock::new());
    (service, Arc::new(Shared { router, config, authorize, totals, server }))
}

fn factory(shared: &Arc<Shared>) -> impl Fn(&mut Opening<'_>) -> ControlSession + Send + Sync + 'static {
    let shared = Arc::clone(shared);
    move |opening| {
        // A socket without credentials belongs to nobody.
        let peer = opening.peer_credentials().unwrap_or(PeerCredentials::NOBODY);
        ControlSession::new(Arc::clone(&shared), peer)
    }
}

impl fmt::Debug for ControlServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlServer").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A way to reach a control socket, and to stop it, from any thread; cheap to clone. Dropping it does nothing to the socket.
#[derive(Clone)]
pub struct ControlHandle {
    server: ServerHandle<Sessions<ControlSession>>,
    sessions: SessionManager<ControlSession>,
    path: Option<OpenPath>,
    shared: Arc<Shared>,
}

/// What a control socket has done, all its sessions together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ControlStats {
    /// Requests that were received, those included that were invalid.
    pub requests: u64,
    /// Replies that were sent, errors included.
    pub replies: u64,
    /// Error replies that were sent.
    pub errors: u64,
    /// Requests that were refused because too many waited for their answers.
    pub busy: u64,
    /// Peers that were refused because of who they are.
    pub refused: u64,
    /// Sessions that ended because of their errors.
    pub ended_for_errors: u64,
    /// Sessions that ended because nothing happened.
    pub ended_inactive: u64,
}

impl ControlHandle {
    /// The server behind it: its addresses and figures, and to pause it.
    #[must_use]
    pub fn server(&self) -> &ServerHandle<Sessions<ControlSession>> {
        &self.server
    }

    /// Its sessions.
    #[must_use]
    pub fn sessions(&self) -> &SessionManager<ControlSession> {
        &self.sessions
    }

    /// Its limits.
    #[must_use]
    pub fn config(&self) -> &ControlConfig {
        &self.shared.config
    }

    /// What it has done.
    #[must_use]
    pub fn stats(&self) -> ControlStats {
        let totals = &self.shared.totals;
        ControlStats {
            requests: totals.requests.value(),
            replies: totals.replies.value(),
            errors: totals.errors.value(),
            busy: totals.busy.value(),
            refused: totals.refused.value(),
            ended_for_errors: totals.ended_for_errors.value(),
            ended_inactive: totals.ended_inactive.value(),
        }
    }

    /// Changes the permissions of the path, for those who connect from now on.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) for an abstract name, and for a path that this process can't see;
    /// [`NotFound`](io::ErrorKind::NotFound) if the path is not this socket's any more; otherwise what the system says.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        match &self.path {
            Some(path) => path.set_mode(mode),
            None => {
                let text = "this control socket has no path with permissions: authorize peers instead";
                Err(io::Error::new(io::ErrorKind::Unsupported, text))
            }
        }
    }

    /// Stops: the path is removed, nobody is accepted any more, sessions end when what they have asked is answered, and what
    /// is left after `deadline` is closed by force.
    pub fn stop(&self, deadline: Duration) {
        self.server.stop(deadline);
    }
}

impl fmt::Debug for ControlHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlHandle")
            .field("server", &self.server)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// The path of a socket that listens.
#[derive(Clone, Debug)]
struct OpenPath {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl OpenPath {
    fn new(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let found = fs::symlink_metadata(&path)?;
        Ok(Self { path, device: found.dev(), inode: found.ino() })
    }

    fn set_mode(&self, mode: u32) -> io::Result<()> {
        let found = fs::symlink_metadata(&self.path)?;
        if !found.file_type().is_socket() || (found.dev(), found.ino()) != (self.device, self.inode) {
            let text = format!("{} is not this control socket any more", self.path.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode & 0o7777))
    }
}
