//! A running client on its loop.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::client_handle::ClientShared;
use super::connector::{Backoff, Endpoint, Retries, look_up};
use super::group::Group;
use super::server_source::downcast;
use super::transport::Wire;
use super::{ClientHandle, ConnectError, Handler, TcpClient, TcpConnection};
use crate::buffer::Buffer;
use crate::reactor::{ChannelId, Flags, LoopContext, Ready, Source, SourceId, TimerId};
use crate::socket::{Address, Socket, SocketOptions};

/// Set in the keys of what is the client's rather than a connection's.
const CLIENT: u32 = 1 << 31;
const DEADLINE: u32 = CLIENT | 1;
const RETRY: u32 = CLIENT | 2;
const SAME_ADDRESS: u32 = CLIENT | 3;
/// When a Unix listener whose backlog is full is tried again: the kernel doesn't tell when there is room.
const BACKLOG_PAUSE: Duration = Duration::from_millis(10);

/// A client on its loop: looking up, connecting, waiting to try again, or connected.
pub(super) struct ClientSource<H: Handler> {
    own: SourceId,
    group: Group<H>,
    endpoint: Endpoint,
    options: SocketOptions,
    connect_timeout: Duration,
    retries: Retries,
    retries_first: bool,
    reconnect: bool,
    phase: Phase,
    /// In nanoseconds of the loop's clock.
    connected_at: u64,
    /// Tells the answer to an old look-up from one that is waited for.
    attempt: u64,
    deadline: Option<TimerId>,
    pause: Option<TimerId>,
    shared: Arc<ClientShared>,
}

enum Phase {
    /// For the next attempt, or for an answer.
    Waiting,
    Connecting {
        socket: Socket,
        channel: ChannelId,
        others: VecDeque<Address>,
    },
    Connected,
    Ended,
}

impl<H: Handler> ClientSource<H> {
    /// Adds a client to a loop, which makes its first attempt when the call under way has returned.
    pub(super) fn start(client: TcpClient, context: &mut LoopContext, handler: H) -> ClientHandle<H> {
        let shared = Arc::new(ClientShared::new(context.handle().clone()));
        let retry = client.retry.or(client.reconnect.then(Backoff::default));
        let own = context.add_source(|_, own| Self {
            own,
            options: client.connection.socket.clone(),
            group: Group::new(own.index, handler, client.connection, None),
            endpoint: client.endpoint,
            connect_timeout: client.connect_timeout,
            retries: Retries::new(retry),
            retries_first: client.retry.is_some(),
            reconnect: client.reconnect,
            phase: Phase::Waiting,
            connected_at: 0,
            attempt: 0,
            deadline: None,
            pause: None,
            shared: Arc::clone(&shared),
        });
        let _ = shared.source.set(own);
        context.defer_to_source(own.index, CLIENT);
        ClientHandle::new(shared)
    }

    fn begin_attempt(&mut self, context: &mut LoopContext) {
        self.attempt += 1;
        let deadline = context.clock().after(self.connect_timeout);
        self.deadline = Some(context.set_source_timer(self.own.index, DEADLINE, deadline));
        match &self.endpoint {
            Endpoint::Address(address) => self.connect(context, VecDeque::from([address.clone()]), None),
            Endpoint::Host(host, port) => {
                let (attempt, own, event_loop) = (self.attempt, self.own, context.handle().clone());
                let started = look_up(host.clone(), *port, move |found| {
                    let _ = event_loop.post_to_source(own, move |source, context| {
                        if let Some(client) = downcast::<Self>(source) {
                            client.looked_up(context, attempt, found);
                        }
                    });
                });
                if let Err(error) = started {
                    self.failed(context, ConnectError::Lookup(error));
                }
            }
        }
    }

    fn looked_up(&mut self, context: &mut LoopContext, attempt: u64, found: io::Result<Vec<Address>>) {
        if attempt != self.attempt || !matches!(self.phase, Phase::Waiting) || self.deadline.is_none() {
            return;
        }
        match found {
            Ok(addresses) => self.connect(context, addresses.into(), None),
            Err(error) => self.failed(context, ConnectError::Lookup(error)),
        }
    }

    /// Tries one address after the other; `error` is that of the one before.
    fn connect(
        &mut self,
        context: &mut LoopContext,
        mut addresses: VecDeque<Address>,
        error: Option<ConnectError>,
    ) {
        let mut error = error;
        while let Some(address) = addresses.pop_front() {
            match Socket::connect(&address, &self.options) {
                Ok((socket, true)) => return self.connected(context, socket, addresses),
                Ok((socket, false)) => {
                    match context.add_channel(self.own.index, CLIENT, socket.as_raw_fd()) {
                        Ok(channel) => {
                            context.channel_set(channel, Flags::READING, false);
                            context.channel_set(channel, Flags::WRITING, true);
                            self.phase = Phase::Connecting { socket, channel, others: addresses };
                            return;
                        }
                        Err(failure) => error = Some(ConnectError::Io(failure)),
                    }
                }
                Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => {
                    let again = context.clock().after(BACKLOG_PAUSE);
                    self.pause = Some(context.set_source_timer(self.own.index, SAME_ADDRESS, again));
                    return;
                }
                Err(failure) => error = Some(ConnectError::of_error(failure)),
            }
        }
        let no_address = || ConnectError::Lookup(io::Error::other("the name has no addresses"));
        self.failed(context, error.unwrap_or_else(no_address));
    }

    /// The socket that connects is writable, which says that it has connected, or failed.
    fn connecting_is_ready(&mut self, context: &mut LoopContext) {
        let Phase::Connecting { socket, channel, .. } = &self.phase else { return };
        let outcome = match socket.take_error() {
            Ok(None) => match socket.peer_address() {
                // Not yet: the poller's word was no more than a hint.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    return context.channel_set(*channel, Flags::WRITABLE, false);
                }
                outcome => outcome.map(|_| ()),
            },
            Ok(Some(error)) | Err(error) => Err(error),
        };
        let Phase::Connecting { socket, channel, others } =
            std::mem::replace(&mut self.phase, Phase::Waiting)
        else {
            return;
        };
        context.remove_channel(channel);
        match outcome {
            Ok(()) => self.connected(context, socket, others),
            Err(error) => {
                drop(socket);
                self.connect(context, others, Some(ConnectError::of_error(error)));
            }
        }
    }

    fn connected(&mut self, context: &mut LoopContext, socket: Socket, others: VecDeque<Address>) {
        let addresses = socket.peer_address().and_then(|peer| Ok((socket.local_address()?, peer)));
        let peer = match addresses {
            Ok((local, peer)) if local == peer && !peer.is_unix() => {
                drop(socket);
                return self.connect(context, others, Some(ConnectError::SelfConnected));
            }
            Ok((_, peer)) => peer,
            Err(error) => return self.connect(context, others, Some(ConnectError::of_error(error))),
        };
        self.cancel_timers(context);
        self.retries.succeeded();
        self.connected_at = context.clock().nanos();
        self.phase = Phase::Connected;
        context.handle().counters().connections.fetch_add(1, Ordering::Relaxed);
        match self.group.register(context, Wire::Socket(socket), peer) {
            Ok(key) => {
                // Before on_connect, in which it may be asked for.
                let handle = TcpConnection::new(context, key).handle();
                self.shared.lock().connection = Some(handle);
                self.group.begin(context, key);
            }
            Err(error) => {
                self.phase = Phase::Waiting;
                self.failed(context, ConnectError::Io(error));
            }
        }
    }

    fn failed(&mut self, context: &mut LoopContext, error: ConnectError) {
        self.cancel_timers(context);
        self.phase = Phase::Waiting;
        let retry = if self.retries_first { self.retries.failed() } else { None };
        match retry {
            Some(delay) => self.try_again_after(context, delay),
            None => self.end(context),
        }
        self.group.handler.on_connect_failed(context, &error, retry);
    }

    fn try_again_after(&mut self, context: &mut LoopContext, delay: Duration) {
        let at = context.clock().after(delay);
        self.pause = Some(context.set_source_timer(self.own.index, RETRY, at));
    }

    /// Looks whether the connection has ended, after callbacks of its have been called.
    fn check_connection(&mut self, context: &mut LoopContext) {
        if !matches!(self.phase, Phase::Connected) || !self.group.is_empty() {
            return;
        }
        self.shared.lock().connection = None;
        self.phase = Phase::Waiting;
        let lasted = Duration::from_nanos(context.clock().nanos().saturating_sub(self.connected_at));
        match self.reconnect.then(|| self.retries.lost(lasted)).flatten() {
            Some(delay) => {
                // Once it has been connected, a failure to connect again is no reason to give up.
                self.retries_first = true;
                self.try_again_after(context, delay);
            }
            None => self.end(context),
        }
    }

    pub(super) fn stop(&mut self, context: &mut LoopContext) {
        self.reconnect = false;
        match std::mem::replace(&mut self.phase, Phase::Waiting) {
            Phase::Connected => {
                self.phase = Phase::Connected;
                self.group.close_all(context);
            }
            Phase::Connecting { socket, channel, .. } => {
                context.remove_channel(channel);
                drop(socket);
                self.end(context);
            }
            Phase::Waiting => self.end(context),
            Phase::Ended => self.phase = Phase::Ended,
        }
    }

    fn end(&mut self, context: &mut LoopContext) {
        self.cancel_timers(context);
        self.phase = Phase::Ended;
        // Dropping it, when the callback under way has returned, is what its handles are told of.
        context.retire_source(self.own.index);
    }

    fn cancel_timers(&mut self, context: &mut LoopContext) {
        for timer in [self.deadline.take(), self.pause.take()].into_iter().flatten() {
            context.cancel(timer);
        }
    }
}

impl<H: Handler> Source for ClientSource<H> {
    fn on_ready(
        &mut self,
        context: &mut LoopContext,
        scratch: &mut Buffer,
        _channel: ChannelId,
        ready: Ready,
    ) -> bool {
        if ready.key != CLIENT {
            return self.group.on_ready(context, scratch, ready);
        }
        self.connecting_is_ready(context);
        true
    }

    fn on_timer(&mut self, context: &mut LoopContext, key: u32, timer: TimerId) {
        match key {
            DEADLINE => {
                self.deadline = None;
                if let Phase::Connecting { socket, channel, .. } =
                    std::mem::replace(&mut self.phase, Phase::Waiting)
                {
                    context.remove_channel(channel);
                    drop(socket);
                }
                self.failed(context, ConnectError::TimedOut);
            }
            RETRY => {
                self.pause = None;
                self.begin_attempt(context);
            }
            SAME_ADDRESS => {
                self.pause = None;
                if let Endpoint::Address(address) = &self.endpoint {
                    self.connect(context, VecDeque::from([address.clone()]), None);
                }
            }
            _ => self.group.on_timer(context, key, timer),
        }
    }

    fn on_deferred(&mut self, context: &mut LoopContext, key: u32) {
        match key {
            CLIENT if matches!(self.phase, Phase::Waiting) && self.attempt == 0 => {
                self.begin_attempt(context)
            }
            CLIENT => {}
            _ => {
                self.group.on_deferred(context, key);
                self.check_connection(context);
            }
        }
    }

    fn on_panic(&mut self, context: &mut LoopContext, _own: u32) {
        self.group.on_panic(context);
        self.check_connection(context);
    }

    fn on_loop_end(&mut self, context: &mut LoopContext) {
        if let Phase::Connecting { socket, channel, .. } = std::mem::replace(&mut self.phase, Phase::Ended) {
            context.remove_channel(channel);
            drop(socket);
        }
        self.group.on_loop_end(context);
        self.shared.end();
    }

    fn handler(&mut self) -> &mut dyn Any {
        &mut self.group.handler
    }
}

impl<H: Handler> Drop for ClientSource<H> {
    fn drop(&mut self) {
        self.shared.end();
    }
}
