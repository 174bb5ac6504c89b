//! Reaching a UDP socket that a loop drives: in its callbacks, and from other threads.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::{Sockets, State, UdpStats, queue};
use crate::reactor::{ChannelId, LoopContext, LoopGone, LoopHandle};

/// A way to reach a UDP socket of a loop from any thread; cheap to clone. Dropping it does nothing to the socket, which lives
/// until it is closed or its loop ends.
#[derive(Clone, Debug)]
pub struct UdpHandle {
    loop_handle: LoopHandle,
    channel: ChannelId,
    local_address: SocketAddr,
}

impl UdpHandle {
    pub(super) fn new(loop_handle: LoopHandle, channel: ChannelId, local_address: SocketAddr) -> Self {
        Self { loop_handle, channel, local_address }
    }

    /// The address that the socket is bound to, with the port that the system chose if that was left to it.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// The loop that the socket lives on.
    #[must_use]
    pub fn loop_handle(&self) -> &LoopHandle {
        &self.loop_handle
    }

    /// The socket, for any callback of its own loop, such as a timer that sends; nothing if it is closed, or on another loop.
    pub fn on<'a>(&self, context: &'a mut LoopContext) -> Option<UdpChannel<'a>> {
        if !context.handle().is_same_loop(&self.loop_handle) {
            return None;
        }
        let key = context.channel_key(self.channel)?;
        Some(UdpChannel::new(context, self.channel, key))
    }

    /// Runs `task` with the socket on its loop's thread. If the socket is closed by then, the task is dropped without being run.
    /// May be called from any thread.
    ///
    /// # Errors
    ///
    /// [`LoopGone`] if the loop has ended; the task is dropped then.
    pub fn post(&self, task: impl FnOnce(&mut UdpChannel<'_>) + Send + 'static) -> Result<(), LoopGone> {
        let handle = self.clone();
        self.loop_handle.post(move |context| {
            if let Some(mut socket) = handle.on(context) {
                task(&mut socket);
            }
        })
    }
}

/// A borrowed view of a UDP socket: what a callback may do with it.
///
/// What is sent is copied and collected. It leaves after the batch of callbacks under way, or when 64 datagrams have come
/// together, up to 64 of them with one system call. While the system takes no more, datagrams wait in a queue of at most
/// [`UdpOptions::send_queue_limit`](super::UdpOptions::send_queue_limit); what doesn't fit is dropped, the newest first, and counted.
pub struct UdpChannel<'a> {
    context: &'a mut LoopContext,
    id: ChannelId,
    key: u32,
}

impl<'a> UdpChannel<'a> {
    /// The view of a socket that is known to exist.
    pub(super) fn new(context: &'a mut LoopContext, id: ChannelId, key: u32) -> Self {
        Self { context, id, key }
    }

    /// The loop that drives it.
    pub fn context(&mut self) -> &mut LoopContext {
        self.context
    }

    /// Sends a datagram to `to`. `false` if it was dropped, because the queue is full or the socket closed.
    ///
    /// What the system finds wrong with a datagram comes to light when it leaves: it is counted in [`UdpStats::errors`] and
    /// kept for [`take_error`](Self::take_error), and the datagrams behind it go on.
    pub fn send_to(&mut self, bytes: &[u8], to: SocketAddr) -> bool {
        self.enqueue(bytes, Some(to))
    }

    /// Sends a datagram to the peer that the socket is [connected](super::UdpSocket::connect) to; as [`send_to`](Self::send_to). A socket
    /// without one fails with `EDESTADDRREQ`.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.enqueue(bytes, None)
    }

    /// The address that the socket is bound to; nothing if it is closed.
    #[must_use]
    pub fn local_address(&mut self) -> Option<SocketAddr> {
        Some(self.state()?.local_address)
    }

    /// What the socket has done so far; nothing if it is closed.
    #[must_use]
    pub fn stats(&mut self) -> Option<UdpStats> {
        let state = self.state()?;
        Some(UdpStats { bytes_queued: state.queue.bytes(), ..state.stats })
    }

    /// Takes the latest error of sending or receiving. Each is reported once, and none ends the socket.
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.state()?.error.take()
    }

    /// Closes the socket. What was sent before and the system takes at once still leaves; the rest of the queue is dropped.
    /// Nothing is received any more, and sending is answered with `false`. Calling it twice does nothing more.
    pub fn close(&mut self) {
        if self.state().is_none() {
            return;
        }
        let Some((sockets, parts)) = self.context.split::<Sockets>() else { return };
        let mut state = sockets.states.remove(self.key as usize);
        state.flush(parts.channels);
        self.context.close_channel(self.id);
    }

    fn enqueue(&mut self, bytes: &[u8], to: Option<SocketAddr>) -> bool {
        if self.state().is_none() {
            return false;
        }
        let Some((sockets, parts)) = self.context.split::<Sockets>() else { return false };
        let state = &mut sockets.states[self.key as usize];
        if !state.is_dirty {
            state.is_dirty = true;
            sockets.dirty.push(self.key);
        }
        if state.queue.len() >= queue::BATCH || !state.has_room(bytes) {
            state.flush(parts.channels);
        }
        let taken = state.has_room(bytes);
        if taken {
            state.queue.push(bytes, to);
        } else {
            state.stats.datagrams_dropped += 1;
        }
        taken
    }

    /// A closed socket's key may name another one by now.
    fn state(&mut self) -> Option<&mut State> {
        let state = self.context.local::<Sockets>().states.get_mut(self.key as usize);
        state.filter(|state| state.channel == self.id)
    }
}

impl fmt::Debug for UdpChannel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpChannel").field("id", &self.id).finish_non_exhaustive()
    }
}
