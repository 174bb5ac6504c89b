//! Clients: one connection at a time, established again if wanted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::client_source::ClientSource;
use super::connector::{Backoff, Endpoint, ToEndpoint};
use super::handler::{Callbacks, OnConnectFailed, closure_setters};
use super::{ClientHandle, ConnectError, ConnectionConfig, Handler, TcpConnection};
use crate::reactor::LoopContext;

/// A client on its way: configured, and not started yet.
///
/// It connects to one endpoint, over TCP or a Unix socket, and lives on one loop. What it does with its connection is said by
/// closures or by a [`Handler`], as for a [`TcpServer`](super::TcpServer).
///
/// ```no_run
/// use campana::{EventLoop, TcpClient};
///
/// let mut event_loop = EventLoop::new()?;
/// TcpClient::new("localhost:7000")?
///     .on_connect(|conn| conn.send("hello"))
///     .on_data(|conn, input| {
///         println!("{}", String::from_utf8_lossy(input.take()));
///         conn.close();
///     })
///     .on_close(|conn, _| conn.context().quit())
///     .start(&mut event_loop);
/// event_loop.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TcpClient {
    pub(super) endpoint: Endpoint,
    callbacks: Callbacks,
    pub(super) connection: ConnectionConfig,
    pub(super) connect_timeout: Duration,
    pub(super) retry: Option<Backoff>,
    pub(super) reconnect: bool,
}

impl TcpClient {
    /// A client of an endpoint: `127.0.0.1:7000`, `example.com:80`, `unix:/path`, `seqpacket:@abstract`. Nothing happens yet.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the text names no endpoint.
    pub fn new(endpoint: impl ToEndpoint) -> io::Result<Self> {
        Ok(Self {
            endpoint: endpoint.to_endpoint()?,
            callbacks: Callbacks::default(),
            connection: ConnectionConfig::default(),
            connect_timeout: Duration::from_secs(10),
            retry: None,
            reconnect: false,
        })
    }

    /// How long one attempt may take, from looking the name up to being connected. Default 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Tries again when an attempt fails, be it the first one. Default: a failure is the end.
    #[must_use]
    pub fn retry(mut self, backoff: Backoff) -> Self {
        self.retry = Some(backoff);
        self
    }

    /// Connects again when the connection has ended, unless this side stopped the client, with the delays of
    /// [`retry`](Self::retry). Default: the end of the connection is the end of the client.
    #[must_use]
    pub fn reconnect(mut self) -> Self {
        self.reconnect = true;
        self
    }

    /// Changes the limits, deadlines and socket options of the connection.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut ConnectionConfig)) -> Self {
        change(&mut self.connection);
        self
    }

    closure_setters!(callbacks);

    /// Calls `callback` when an attempt to connect has failed, with the time after which there will be another; `None` if there
    /// won't.
    #[must_use]
    pub fn on_connect_failed(
        mut self,
        callback: impl Fn(&mut LoopContext, &ConnectError, Option<Duration>) + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.connect_failed = Some(Arc::new(callback));
        self
    }

    pub(crate) fn connect_failed(&self) -> Option<OnConnectFailed> {
        self.callbacks.connect_failed.clone()
    }

    /// Starts to connect, with the closures that were set. `on` is an event loop, or the context of one that runs. No callback
    /// is called before this returns.
    pub fn start(self, on: &mut impl AsMut<LoopContext>) -> ClientHandle<Callbacks> {
        let callbacks = self.callbacks.clone();
        self.start_with(on, callbacks)
    }

    /// Starts to connect, with a handler of one's own, which lasts over all connections of this client.
    pub fn start_with<H: Handler>(self, on: &mut impl AsMut<LoopContext>, handler: H) -> ClientHandle<H> {
        ClientSource::start(self, on.as_mut(), handler)
    }
}
