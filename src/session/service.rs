//! Services: what kind of sessions there are, and how they begin.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::attributes::{AttributeId, AttributeStore};
use super::body::{AttributeStores, Body};
use super::core::EDITED;
use super::edits::{Edit, Name};
use super::{
    ByteFilter, MessageFilter, Opening, Session, SessionConfig, SessionId, SessionManager, Sessions,
};
use crate::connection::{ClientHandle, ServerHandle, TcpClient, TcpServer};
use crate::reactor::LoopContext;

/// After what silence a server's session ends, unless something else is said.
const SERVER_IDLE: Duration = Duration::from_secs(300);

/// The description of sessions: their codec, filters and configuration. [`serve`](Self::serve) and [`connect`](Self::connect)
/// make it run.
///
/// ```
/// use std::time::Duration;
///
/// use campana::codec::{Lines, Text};
/// use campana::session::{Session, SessionContext, SessionService};
/// use campana::{EventLoop, TcpServer};
///
/// struct Echo;
///
/// impl Session for Echo {
///     type Codec = Text<Lines>;
///
///     fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
///         let _ = cx.write(line);
///     }
/// }
///
/// let mut event_loop = EventLoop::new()?;
/// let (server, sessions) = SessionService::new(|| Text::over(Lines::new().max(1000)))
///     .configure(|config| config.idle_both = Some(Duration::from_secs(60)))
///     .serve(TcpServer::bind("127.0.0.1:0")?.threads(2), &mut event_loop, |_| Echo)?;
/// assert_eq!(sessions.len(), 0);
/// # server.stop(Duration::ZERO);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a service does nothing until it serves or connects"]
pub struct SessionService<S: Session> {
    codec: Box<dyn Fn() -> S::Codec + Send + Sync>,
    filters: Vec<(Name, FilterFactory<S>)>,
    byte_filters: Vec<(Name, ByteFilterFactory)>,
    attributes: AttributeStores,
    changes: Vec<Change>,
}

type Change = Box<dyn FnOnce(&mut SessionConfig)>;
type FilterFactory<S> = Box<dyn Fn() -> Box<dyn MessageFilter<<S as Session>::Codec>> + Send + Sync>;
type ByteFilterFactory = Box<dyn Fn() -> Box<dyn ByteFilter> + Send + Sync>;
type SessionFactory<S> = Box<dyn Fn(&mut Opening<'_>) -> S + Send + Sync>;

/// A service that runs: what its sessions are made of.
pub(super) struct Service<S: Session> {
    pub(super) codec: Box<dyn Fn() -> S::Codec + Send + Sync>,
    pub(super) factory: SessionFactory<S>,
    pub(super) filters: Vec<(Name, FilterFactory<S>)>,
    byte_filters: Vec<(Name, ByteFilterFactory)>,
    pub(super) attributes: AttributeStores,
    pub(super) config: SessionConfig,
}

impl<S: Session> SessionService<S> {
    /// Sessions whose messages are those of a codec: `codec` makes one for each session, and for what is encoded once for many.
    pub fn new(codec: impl Fn() -> S::Codec + Send + Sync + 'static) -> Self {
        Self {
            codec: Box::new(codec),
            filters: Vec::new(),
            byte_filters: Vec::new(),
            attributes: Arc::new(|_| Box::new(HashMap::<AttributeId, Box<dyn Any>>::new())),
            changes: Vec::new(),
        }
    }

    /// Adds a message filter at the tail of each session's chain, the nearest to the session; `make` makes one for each. To be
    /// shared by sessions, its state has to be shared by the filters that are made.
    ///
    /// # Panics
    ///
    /// If there is a message filter of this name already.
    pub fn filter<F: MessageFilter<S::Codec>>(
        mut self,
        name: impl Into<std::borrow::Cow<'static, str>>,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        let name = name.into();
        assert!(self.filters.iter().all(|(known, _)| *known != name), "there are two filters called {name}");
        self.filters.push((name, Box::new(move || Box::new(make()))));
        self
    }

    /// Adds a byte filter at the tail of each session's chain, the nearest to the codec; `make` makes one for each.
    ///
    /// # Panics
    ///
    /// If there is a byte filter of this name already.
    pub fn byte_filter<F: ByteFilter>(
        mut self,
        name: impl Into<std::borrow::Cow<'static, str>>,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        let name = name.into();
        assert!(
            self.byte_filters.iter().all(|(known, _)| *known != name),
            "there are two byte filters called {name}"
        );
        self.byte_filters.push((name, Box::new(move || Box::new(make()))));
        self
    }

    /// Changes the limits and deadlines of each session.
    pub fn configure(mut self, change: impl FnOnce(&mut SessionConfig) + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Where the attributes of each session are kept: `make` makes the store when a session first uses it. By default it is a
    /// hash map, which ends with the session.
    pub fn attributes<A: AttributeStore>(
        mut self,
        make: impl Fn(SessionId) -> A + Send + Sync + 'static,
    ) -> Self {
        self.attributes = Arc::new(move |id| Box::new(make(id)));
        self
    }

    /// Starts a server whose connections each have a session, which `factory` makes on the connection's loop. The server's own
    /// closures (`on_data` and the like) are not called; its limits, threads and addresses hold.
    ///
    /// # Errors
    ///
    /// As [`TcpServer::start_with`].
    pub fn serve(
        self,
        server: TcpServer,
        base: &mut impl AsMut<LoopContext>,
        factory: impl Fn(&mut Opening<'_>) -> S + Send + Sync + 'static,
    ) -> io::Result<(ServerHandle<Sessions<S>>, SessionManager<S>)> {
        let config = SessionConfig { idle_both: Some(SERVER_IDLE), ..SessionConfig::default() };
        let manager = self.run(config, Box::new(factory));
        let of_loops = manager.clone();
        let server = server.start_with(base, move |_, _| Sessions::new(of_loops.clone()))?;
        Ok((server, manager))
    }

    /// Starts a client whose connection has a session; if it connects again, a new one, for which `factory` is called again. What
    /// is to outlast a connection is shared with it, or kept [on the loop](Opening::context). The client's own closures are not
    /// called, but for [`on_connect_failed`](TcpClient::on_connect_failed).
    pub fn connect(
        self,
        client: TcpClient,
        on: &mut impl AsMut<LoopContext>,
        factory: impl Fn(&mut Opening<'_>) -> S + Send + Sync + 'static,
    ) -> (ClientHandle<Sessions<S>>, SessionManager<S>) {
        let manager = self.run(SessionConfig::default(), Box::new(factory));
        let mut sessions = Sessions::new(manager.clone());
        sessions.connect_failed = client.connect_failed();
        (client.start_with(on, sessions), manager)
    }

    /// The handler of one loop, with the configuration of a server; for connections that come from elsewhere.
    pub(crate) fn handler(
        self,
        factory: impl Fn(&mut Opening<'_>) -> S + Send + Sync + 'static,
    ) -> Sessions<S> {
        let config = SessionConfig { idle_both: Some(SERVER_IDLE), ..SessionConfig::default() };
        Sessions::new(self.run(config, Box::new(factory)))
    }

    fn run(self, mut config: SessionConfig, factory: SessionFactory<S>) -> SessionManager<S> {
        for change in self.changes {
            change(&mut config);
        }
        let Self { codec, filters, byte_filters, attributes, .. } = self;
        SessionManager::new(Service { codec, factory, filters, byte_filters, attributes, config })
    }
}

impl<S: Session> Service<S> {
    pub(super) fn filter_names(&self) -> (Vec<Name>, Vec<Name>) {
        let names = self.filters.iter().map(|(name, _)| name.clone()).collect();
        (names, self.byte_filters.iter().map(|(name, _)| name.clone()).collect())
    }

    /// Gives a session that is about to open the byte filters that all begin with.
    pub(super) fn add_byte_filters(&self, body: &mut Body<S::Codec>) {
        if self.byte_filters.is_empty() {
            return;
        }
        let inserts = self.byte_filters.iter().enumerate();
        let inserts = inserts.map(|(place, (name, make))| Edit::Insert(place, name.clone(), make()));
        body.edits.get_or_insert_default().bytes.extend(inserts);
        body.core.set(EDITED, true);
    }
}

impl<S: Session> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |names: &mut dyn Iterator<Item = &Name>| names.cloned().collect::<Vec<_>>();
        f.debug_struct("SessionService")
            .field("filters", &names(&mut self.filters.iter().map(|(name, _)| name)))
            .field("byte_filters", &names(&mut self.byte_filters.iter().map(|(name, _)| name)))
            .finish_non_exhaustive()
    }
}
