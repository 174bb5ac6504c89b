//! Servers: what listens where, on how many loops, within what limits.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::admission::{Gate, Limits};
use super::handler::{Callbacks, closure_setters};
use super::listeners::deal_out;
use super::server_source::{ServerShared, add_base_source, add_loop_source};
use super::{ConnectionConfig, Handler, ServerHandle, TcpConnection};
use crate::reactor::{LoopConfig, LoopContext, LoopPool, PoolConfig, ThreadInit};
use crate::socket::{ListenOptions, Listener, ToAddress};

/// A server on its way: bound, configured, and not started yet.
///
/// It serves TCP and Unix sockets, streams and packets, on any number of addresses. What it does with connections is said
/// either by closures, as here, or by a [`Handler`] for each loop: [`start_with`](Self::start_with).
///
/// ```no_run
/// use campana::{EventLoop, TcpServer};
///
/// let mut event_loop = EventLoop::new()?;
/// TcpServer::bind("127.0.0.1:7000")?
///     .threads(4)
///     .on_data(|conn, input| conn.send(input.take()))
///     .start(&mut event_loop)?;
/// event_loop.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct TcpServer {
    listeners: Vec<Listener>,
    callbacks: Callbacks,
    connection: ConnectionConfig,
    pool: PoolConfig,
    spread: Spread,
    limits: Limits,
}

/// How a server with threads spreads connections over its loops.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Spread {
    /// Each loop has a listener of its own on each TCP address (SO_REUSEPORT), and the kernel spreads connections by a hash of
    /// their addresses. Where there can be one listener only, its connections are handed over to one loop after the other: on
    /// Unix addresses, and on a listener that another user bound, as a service manager does, or this process before it gave
    /// up its privileges.
    #[default]
    ListenerPerLoop,
    /// The base loop accepts, and hands over to one loop after the other.
    RoundRobin,
    /// The base loop accepts, and hands over to the loop with the fewest connections.
    LeastConnections,
}

impl TcpServer {
    /// Listens on an address: `127.0.0.1:7000`, `[::1]:0`, `unix:/path`, `unix:@abstract`, `seqpacket:/path`, or whatever
    /// else is a [`ToAddress`].
    ///
    /// Connections are accepted from [`start`](Self::start) on; those who come before wait.
    ///
    /// # Errors
    ///
    /// [`BindError`](crate::socket::BindError), as an `io::Error`, which names the address and what is wrong with it.
    pub fn bind(address: impl ToAddress) -> io::Result<Self> {
        Self::bind_with(address, &ListenOptions::default())
    }

    /// Listens on an address, with options of the listening socket.
    ///
    /// # Errors
    ///
    /// As for [`bind`](Self::bind).
    pub fn bind_with(address: impl ToAddress, options: &ListenOptions) -> io::Result<Self> {
        let listener = Listener::bind(&address.to_address()?, options)?;
        Ok(Self::from_listeners(vec![listener]))
    }

    /// Serves sockets that listen already: inherited ones
    /// ([`Listener::inherited`], systemd's socket activation), or such as were handed over by a predecessor
    /// ([`ServerHandle::duplicate_listeners`]).
    ///
    /// Several listeners of one TCP address are dealt out to the loops, each of which accepts from one at least: with
    /// fewer of them than loops the missing ones are made, and with more of them a loop has several.
    #[must_use]
    pub fn from_listeners(listeners: Vec<Listener>) -> Self {
        let limits = Limits {
            connections: default_max_connections(),
            per_address: None,
            shed_after: Duration::from_secs(2),
        };
        Self {
            listeners,
            callbacks: Callbacks::default(),
            connection: ConnectionConfig::default(),
            pool: PoolConfig { name: "server".to_owned(), ..PoolConfig::default() },
            spread: Spread::default(),
            limits,
        }
    }

    /// Listens on one more address.
    ///
    /// # Errors
    ///
    /// As for [`bind`](Self::bind).
    pub fn and_bind(self, address: impl ToAddress) -> io::Result<Self> {
        self.and_bind_with(address, &ListenOptions::default())
    }

    /// Listens on one more address, with options of the listening socket.
    ///
    /// # Errors
    ///
    /// As for [`bind`](Self::bind).
    pub fn and_bind_with(mut self, address: impl ToAddress, options: &ListenOptions) -> io::Result<Self> {
        self.listeners.push(Listener::bind(&address.to_address()?, options)?);
        Ok(self)
    }

    /// How many threads, with a loop each, serve connections. Default 0: the loop that the server is started on does it all.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.pool.threads = threads;
        self
    }

    /// What the threads are called, with a hyphen and their number behind it. Default `server`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.pool.name = name.into();
        self
    }

    /// Binds the threads to these processors, in turn.
    #[must_use]
    pub fn pin_to(mut self, processors: impl Into<Vec<usize>>) -> Self {
        self.pool.pin_to = processors.into();
        self
    }

    /// How the threads' loops behave.
    #[must_use]
    pub fn event_loops(mut self, config: LoopConfig) -> Self {
        self.pool.event_loop = config;
        self
    }

    /// Calls `init` on each thread before its loop runs; without [`threads`](Self::threads) with the loop that the server is
    /// started on.
    #[must_use]
    pub fn thread_init(mut self, init: impl Fn(&mut LoopContext) + Send + Sync + 'static) -> Self {
        let init: ThreadInit = Arc::new(init);
        self.pool.init = Some(init);
        self
    }

    /// How connections are spread over the threads. Default: a listener for each loop.
    #[must_use]
    pub fn spread(mut self, spread: Spread) -> Self {
        self.spread = spread;
        self
    }

    /// The most connections at a time; one more is closed as soon as it is accepted. Default: three quarters of the limit on
    /// descriptors, and 10 000 at most. Memory is bounded by this times a connection's hard cap and input limit.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.limits.connections = connections;
        self
    }

    /// The most connections of one IP address at a time. Default: no such limit.
    #[must_use]
    pub fn max_per_address(mut self, connections: usize) -> Self {
        self.limits.per_address = Some(connections);
        self
    }

    /// For how long those who come are left waiting when descriptors have run out, before they are refused. Default 2 s.
    #[must_use]
    pub fn shed_after(mut self, time: Duration) -> Self {
        self.limits.shed_after = time;
        self
    }

    /// Changes the limits, deadlines and socket options of each connection.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut ConnectionConfig)) -> Self {
        change(&mut self.connection);
        self
    }

    closure_setters!(callbacks);

    /// Starts to serve, with the closures that were set.
    ///
    /// # Errors
    ///
    /// As for [`start_with`](Self::start_with).
    pub fn start(self, base: &mut impl AsMut<LoopContext>) -> io::Result<ServerHandle<Callbacks>> {
        let callbacks = self.callbacks.clone();
        self.start_with(base, move |_, _| callbacks.clone())
    }

    /// Starts to serve, with a handler for each loop: `make` is called on each loop's own thread, so that a handler needs neither
    /// locks nor `Send`. It is given the server's handle, by which handlers reach each other.
    ///
    /// `base` is the event loop, or the context of one that runs. When this returns, every loop accepts.
    ///
    /// # Errors
    ///
    /// What the system says to threads, loops, and one more listener for each; `Other` if `make` or `thread_init` panicked on a
    /// thread. Nothing of the server is left then.
    pub fn start_with<H: Handler>(
        self,
        base: &mut impl AsMut<LoopContext>,
        make: impl Fn(&mut LoopContext, &ServerHandle<H>) -> H + Send + Sync + 'static,
    ) -> io::Result<ServerHandle<H>> {
        let context = base.as_mut();
        let mut listeners = self.listeners;
        let mut addresses = Vec::new();
        for listener in &mut listeners {
            listener.set_accepted_options(&self.connection.socket)?;
            let address = listener.local_address()?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let gate = Gate::new(self.limits);
        let shared = Arc::new(ServerShared::new(context.handle().clone(), addresses, gate));
        let handle = ServerHandle::new(Arc::clone(&shared));

        if self.pool.threads == 0 {
            if let Some(init) = &self.pool.init {
                init(context);
            }
            let source = add_loop_source(context, &handle, self.connection, listeners, false, &make)?;
            shared.workers_started(&[context.own_source_handle::<H>(source)]);
            handle.started(source);
            return Ok(handle);
        }

        let pool = LoopPool::with_config(context.handle(), self.pool)?;
        let (of_base, of_loops) = deal_out(listeners, self.spread, pool.handles().len())?;
        let make = Arc::new(make);
        let mut workers = Vec::new();
        for (event_loop, listeners) in pool.handles().iter().zip(of_loops) {
            let (report, reports) = crossbeam_channel::bounded(1);
            let (make, handle, config) = (Arc::clone(&make), handle.clone(), self.connection.clone());
            let posted = event_loop.post(move |context| {
                let source = add_loop_source(context, &handle, config, listeners, true, &*make);
                let _ = report.send(source.map(|source| context.own_source_handle::<H>(source)));
            });
            posted.map_err(io::Error::other)?;
            let started = reports.recv().map_err(|_| io::Error::other("the handler's factory panicked"))?;
            workers.push(started?);
        }
        shared.workers_started(&workers);
        let source = add_base_source(context, &handle, pool, workers, self.spread, of_base)?;
        handle.started(source);
        // Not before the last loop was there: even the first connection may want to reach all handlers.
        handle.resume_accepting();
        Ok(handle)
    }
}

fn default_max_connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / 4 * 3).unwrap_or(usize::MAX).min(10_000)
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ListenerPerLoop => "listener per loop",
            Self::RoundRobin => "round robin",
            Self::LeastConnections => "least connections",
        })
    }
}
