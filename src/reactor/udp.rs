//! UDP as a ready-made event source: datagrams come in batches and leave in batches.
//!
//! It is in this layer, not beside [`Socket`](crate::socket::Socket), because what it adds to the system's socket is what a loop
//! can do for it: the receive buffer that all UDP sockets of a loop share, and the sending of what a whole batch of callbacks
//! had to say with one system call. The bare socket is `std::net::UdpSocket`; one that was made elsewhere, such as one that has
//! joined a multicast group, is taken over by [`UdpSocket::from_std`].

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use slab::Slab;

pub use self::channel::{UdpChannel, UdpHandle};
use self::datagrams::Arena;
pub use self::datagrams::{Datagram, Datagrams, DatagramsIter};
pub use self::options::UdpOptions;
use self::queue::SendQueue;
use super::channel::{Channels, Flags, Ready};
use super::source::Source;
use super::{ChannelId, LoopContext};
use crate::buffer::Buffer;
use crate::socket::{Address, BindError, ToAddress};

mod channel;
mod datagrams;
mod options;
mod queue;
#[cfg(test)]
mod tests;

/// A UDP socket on its way: bound, and not driven by a loop yet.
///
/// ```
/// use campana::EventLoop;
/// use campana::reactor::UdpSocket;
///
/// let mut event_loop = EventLoop::new()?;
/// let echo = UdpSocket::bind("127.0.0.1:0")?.start(&mut event_loop, |socket, datagrams| {
///     for datagram in datagrams {
///         socket.send_to(datagram.bytes, datagram.from);
///     }
/// })?;
/// let client = UdpSocket::bind("127.0.0.1:0")?.connect(echo.local_address())?;
/// let client = client.start(&mut event_loop, |socket, datagrams| {
///     assert_eq!(datagrams.iter().next().map(|answer| answer.bytes), Some(&b"hello"[..]));
///     socket.context().quit();
/// })?;
/// client.post(|socket| {
///     socket.send(b"hello");
/// })?;
/// event_loop.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UdpSocket {
    descriptor: OwnedFd,
    local_address: SocketAddr,
    peer: Option<SocketAddr>,
    options: UdpOptions,
}

impl UdpSocket {
    /// Binds to an IP address and port; port 0 lets the system choose one. Datagrams that arrive before
    /// [`start`](Self::start) wait in the kernel's receive buffer.
    ///
    /// # Errors
    ///
    /// [`BindError`], as an `io::Error`, which names the address and what is wrong with it; `InvalidInput` for a Unix address.
    pub fn bind(address: impl ToAddress) -> io::Result<Self> {
        Self::bind_with(address, &UdpOptions::default())
    }

    /// Binds to an IP address and port, with options.
    ///
    /// # Errors
    ///
    /// As for [`bind`](Self::bind).
    pub fn bind_with(address: impl ToAddress, options: &UdpOptions) -> io::Result<Self> {
        let address = address.to_address()?;
        let bound = create(inet(&address)?, options).and_then(|descriptor| {
            let local_address = local_address(&descriptor)?;
            Ok(Self { descriptor, local_address, peer: None, options: options.clone() })
        });
        bound.map_err(|source| BindError { address, source }.into())
    }

    /// Takes over a socket that was made elsewhere, and makes it non-blocking.
    ///
    /// Only those options are of any effect that aren't the kernel's: the bound of a batch, of a datagram, and of the send queue.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn from_std(socket: std::net::UdpSocket, options: &UdpOptions) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let local_address = socket.local_addr()?;
        let peer = socket.peer_addr().ok();
        Ok(Self { descriptor: socket.into(), local_address, peer, options: options.clone() })
    }

    /// Binds the socket to one peer: it receives from nobody else, [`UdpChannel::send`] sends there, and a refusal by the peer's
    /// machine is reported. Nothing is sent by this call.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a Unix address; what the system says, if there is no way to the peer.
    pub fn connect(mut self, peer: impl ToAddress) -> io::Result<Self> {
        let inet = inet(&peer.to_address()?)?;
        rustix::net::connect(&self.descriptor, &inet)?;
        self.peer = Some(inet);
        self.local_address = local_address(&self.descriptor)?;
        Ok(self)
    }

    /// The address that it is bound to, with the port that the system chose if that was left to it.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Hands the socket to a loop, which calls `on_datagrams` with what was received, a batch at a time.
    ///
    /// The batch lies in a buffer that all UDP sockets of the loop share: receiving allocates nothing, and what is to be kept
    /// must be copied. A batch is bounded by [`UdpOptions::datagrams_per_batch`], and by the buffer's 64 KiB and one datagram
    /// more; if there was more to receive, the rest comes in the next turn, after everything else has had its turn.
    ///
    /// A batch is empty if all that there was is an error, such as the refusal of something that was sent before:
    /// [`UdpChannel::take_error`] says which. No error ends the socket. A callback that panics does: the panic is caught and
    /// counted, and the socket is closed.
    ///
    /// # Errors
    ///
    /// What the poller says to one more descriptor.
    pub fn start(
        self,
        event_loop: &mut impl AsMut<LoopContext>,
        on_datagrams: impl FnMut(&mut UdpChannel<'_>, Datagrams<'_>) + 'static,
    ) -> io::Result<UdpHandle> {
        let context = event_loop.as_mut();
        let sockets = context.local_or_insert_with(|context| {
            context.add_flush_hook(flush);
            Sockets::default()
        });
        let key = sockets.states.vacant_key() as u32;
        let descriptor = self.descriptor.as_raw_fd();
        let mut registered = Err(io::ErrorKind::Other.into());
        let source = context.add_source(|context, own| {
            registered = context.add_channel(own.index, key, descriptor);
            UdpSource { on_datagrams }
        });
        let channel = registered.inspect_err(|_| context.remove_source(source.index))?;
        let local_address = self.local_address;
        context.local::<Sockets>().states.insert(State::new(self, channel, source.index));
        Ok(UdpHandle::new(context.handle().clone(), channel, local_address))
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn inet(address: &Address) -> io::Result<SocketAddr> {
    address.as_inet().ok_or_else(|| {
        let text = format!("{address} is no address of UDP: use an IP address and a port");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

fn create(address: SocketAddr, options: &UdpOptions) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let descriptor = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    options.apply(&descriptor, address)?;
    rustix::net::bind(&descriptor, &address)?;
    Ok(descriptor)
}

fn local_address(descriptor: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(descriptor)?)?)
}

/// The figures of one UDP socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct UdpStats {
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Bytes received, not counting what was cut off.
    pub bytes_in: u64,
    /// Datagrams that the kernel has taken for sending.
    pub datagrams_out: u64,
    /// Bytes that the kernel has taken for sending.
    pub bytes_out: u64,
    /// Received datagrams that were longer than [`UdpOptions::max_datagram`] and have lost their end.
    pub datagrams_truncated: u64,
    /// Datagrams that were not sent, because the queue was full or the system refused them.
    pub datagrams_dropped: u64,
    /// Errors that the system reported, in receiving and in sending.
    pub errors: u64,
    /// Bytes of memory of datagrams that wait to be taken by the kernel, what is kept about each included.
    pub bytes_queued: usize,
}

/// All UDP sockets of a loop.
#[derive(Default)]
struct Sockets {
    states: Slab<State>,
    /// Those with something to send, each once; some may be closed by now.
    dirty: Vec<u32>,
    arena: Arena,
}

struct State {
    descriptor: OwnedFd,
    channel: ChannelId,
    source: u32,
    local_address: SocketAddr,
    peer: Option<SocketAddr>,
    options: UdpOptions,
    queue: SendQueue,
    /// The system has said `WouldBlock` to a send, and the poller not yet that it takes something again.
    is_blocked: bool,
    is_dirty: bool,
    error: Option<io::Error>,
    stats: UdpStats,
}

impl State {
    fn new(socket: UdpSocket, channel: ChannelId, source: u32) -> Self {
        Self {
            descriptor: socket.descriptor,
            channel,
            source,
            local_address: socket.local_address,
            peer: socket.peer,
            options: socket.options,
            queue: SendQueue::default(),
            is_blocked: false,
            is_dirty: false,
            error: None,
            stats: UdpStats::default(),
        }
    }

    fn has_room(&self, bytes: &[u8]) -> bool {
        self.queue.bytes() + queue::cost(bytes) <= self.options.send_queue_limit
    }

    fn flush(&mut self, channels: &mut Channels) {
        if self.is_blocked || self.queue.len() == 0 {
            return;
        }
        let State { queue, stats, error, .. } = self;
        self.is_blocked = !queue.flush(self.descriptor.as_fd(), stats, error);
        if self.is_blocked {
            channels.set(self.channel, Flags::WRITABLE, false);
            channels.set(self.channel, Flags::WRITING, true);
        }
    }

    fn unblock(&mut self, channels: &mut Channels) {
        self.is_blocked = false;
        channels.set(self.channel, Flags::WRITING, false);
        self.flush(channels);
    }

    /// Receives a batch. Answers whether the kernel has no more, and whether there was an error.
    fn receive(&mut self, arena: &mut Arena) -> (bool, bool) {
        let mut failed = false;
        arena.reserve(self.options.max_datagram);
        for _ in 0..self.options.datagrams_per_batch {
            let Some(room) = arena.room(self.options.max_datagram) else { break };
            match rustix::net::recvfrom(&self.descriptor, room, RecvFlags::TRUNC) {
                Ok((received, length, from)) => {
                    let from = from.and_then(|from| SocketAddr::try_from(from).ok()).or(self.peer);
                    // A UDP socket always says from where.
                    let Some(from) = from else { continue };
                    self.stats.datagrams_in += 1;
                    self.stats.bytes_in += received as u64;
                    self.stats.datagrams_truncated += u64::from(length > received);
                    arena.push(received, from, length > received);
                }
                Err(Errno::AGAIN) => return (true, failed),
                Err(Errno::INTR) => {}
                Err(error) => {
                    failed = true;
                    self.stats.errors += 1;
                    self.error = Some(error.into());
                }
            }
        }
        (false, failed)
    }
}

/// Sends what the batch of callbacks that has just ended had to say.
fn flush(context: &mut LoopContext) {
    let Some((sockets, parts)) = context.split::<Sockets>() else { return };
    for key in sockets.dirty.drain(..) {
        if let Some(state) = sockets.states.get_mut(key as usize) {
            state.is_dirty = false;
            state.flush(parts.channels);
        }
    }
}

struct UdpSource<F> {
    on_datagrams: F,
}

impl<F: FnMut(&mut UdpChannel<'_>, Datagrams<'_>) + 'static> Source for UdpSource<F> {
    fn on_ready(
        &mut self,
        context: &mut LoopContext,
        _scratch: &mut Buffer,
        channel: ChannelId,
        ready: Ready,
    ) -> bool {
        let Ready { key, flags } = ready;
        let Some((sockets, parts)) = context.split::<Sockets>() else { return false };
        // Lent for the call. After a panic it is gone, and the next call makes a new one.
        let mut arena = std::mem::take(&mut sockets.arena);
        let state = &mut sockets.states[key as usize];
        if state.is_blocked && flags.has(Flags::WRITABLE) {
            state.unblock(parts.channels);
        }
        let mut failed = false;
        if flags.has(Flags::READABLE) {
            let (drained, had_error) = state.receive(&mut arena);
            failed = had_error;
            if drained {
                parts.channels.clear_readable(channel);
            }
        }
        if failed || !arena.is_empty() {
            (self.on_datagrams)(&mut UdpChannel::new(context, channel, key), arena.datagrams());
        }
        arena.clear();
        let sockets = context.local::<Sockets>();
        if !sockets.states.is_empty() {
            sockets.arena = arena;
        }
        true
    }

    fn on_panic(&mut self, context: &mut LoopContext, own: u32) {
        context.remove_source(own);
        context.local::<Sockets>().states.retain(|_, state| state.source != own);
    }

    fn on_loop_end(&mut self, context: &mut LoopContext) {
        flush(context);
    }

    fn handler(&mut self) -> &mut dyn Any {
        &mut self.on_datagrams
    }
}
