//! The other end of a connection under test.

use std::fmt;
use std::io;
use std::rc::Rc;

use crate::connection::{CloseReason, ConnectionId, Script};

/// The other end of a connection of a [`TestLoop`](super::TestLoop), and what is between: the test plays both.
///
/// What a peer does is on its way then, and arrives in the next turn of the loop, in order. A peer reads all that comes as soon
/// as it comes, so that writes never block, unless [`set_window`](Self::set_window) says otherwise. It keeps its own side open
/// until it is told to [shut it down](Self::shutdown) or to [close](Self::close), and it may be asked when the connection has
/// ended, too.
#[derive(Clone)]
pub struct Peer {
    pub(super) script: Rc<Script>,
    pub(super) id: ConnectionId,
}

/// What it does.
impl Peer {
    /// Sends bytes. On a packet connection it is one packet, which may be empty.
    ///
    /// What is sent in several calls before a turn arrives together on TCP, and in one read for each call on a Unix stream.
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.script.push(bytes.as_ref());
    }

    /// Sends no more (FIN), and goes on reading. It doesn't wait for anything.
    pub fn shutdown(&self) {
        self.script.push_end();
    }

    /// Closes its socket: it sends no more, and reads no more. A Unix connection's next write finds a broken pipe; a TCP
    /// connection's is taken, and answered by a reset.
    pub fn close(&self) {
        self.script.push_gone();
    }

    /// Resets the connection. What it sent before can still be read.
    pub fn reset(&self) {
        self.fail(io::ErrorKind::ConnectionReset);
    }

    /// Lets the connection fail in another way than by a reset: `TimedOut`, `HostUnreachable` and the like. What was sent
    /// before can still be read.
    pub fn fail(&self, error: io::ErrorKind) {
        self.script.push_error(error);
    }
}

/// How the system takes what the connection writes.
impl Peer {
    /// Takes so many bytes from now on, and then no more: a write takes a part, and the next would block. It counts from each
    /// call anew; `usize::MAX`, as it is at first, is no limit. A packet is taken as a whole or not at all, and an empty one
    /// counts as a byte; one of more than 212 960 bytes is refused as too long, which is what Linux does by default.
    ///
    /// The loop is told that writing is possible again if a write would have blocked before, and `bytes` isn't zero.
    pub fn set_window(&self, bytes: usize) {
        self.script.set_window(bytes);
    }

    /// Lets the next write fail, and those after it with a broken pipe. With `WouldBlock` it is only put off.
    pub fn fail_next_write(&self, error: io::ErrorKind) {
        self.script.fail_next_write(error);
    }

    /// Lets the poller report that the connection is readable and writable, whether it is or not.
    pub fn report_readiness(&self) {
        self.script.report_spuriously();
    }
}

/// What it sees.
impl Peer {
    /// Which connection it is the other end of.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    pub(super) fn is_packet(&self) -> bool {
        self.script.is_packet()
    }

    /// Takes out what the connection has written since this was last asked; of packets all in one.
    #[must_use]
    pub fn receive(&self) -> Vec<u8> {
        self.script.take_written()
    }

    /// As [`receive`](Self::receive), packet by packet; of a stream it is all in one.
    #[must_use]
    pub fn receive_packets(&self) -> Vec<Vec<u8>> {
        self.script.take_packets()
    }

    /// Whether it has been told that the connection sends no more (FIN), behind all that it could receive.
    #[must_use]
    pub fn is_read_closed(&self) -> bool {
        self.script.has_fin()
    }

    /// Whether it has been reset, because the connection's socket was closed while something that this peer had sent was not
    /// read.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.script.has_reset()
    }

    /// Why the connection has ended; nothing if it hasn't. The handler gets the same in `on_close`.
    ///
    /// A connection that its handler closes in good order ends when this peer closes too, or at the linger time. Until then
    /// it is [`is_read_closed`](Self::is_read_closed) that shows it.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.script.close_reason()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id)
            .field("closed", &self.close_reason())
            .finish_non_exhaustive()
    }
}
