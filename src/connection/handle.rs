//! A connection as other threads see it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::output::Output;
use super::{ConnectionId, SendError, TcpConnection};
use crate::reactor::{LoopGone, LoopHandle};
use crate::socket::Address;

/// A connection, from any thread and for any time: cheap to clone, and it keeps nothing of the connection alive.
///
/// What is called on it happens on the connection's loop, in the order in which one thread calls it. After the connection's
/// end [`send`](Self::send) is an error and the other calls do nothing. What is sent once the connection is being closed, or
/// crosses its end on the way, is lost with it, as output that the peer never reads is.
#[derive(Clone)]
pub struct ConnectionHandle {
    loop_handle: LoopHandle,
    link: Arc<Link>,
}

impl ConnectionHandle {
    pub(super) fn new(loop_handle: LoopHandle, link: Arc<Link>) -> Self {
        Self { loop_handle, link }
    }

    /// Which connection this is.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.link.id
    }

    /// The peer's address.
    #[must_use]
    pub fn peer_address(&self) -> &Address {
        &self.link.peer
    }

    /// The loop that the connection lives on.
    #[must_use]
    pub fn loop_handle(&self) -> &LoopHandle {
        &self.loop_handle
    }

    /// Whether the connection has not ended yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.link.open.load(Ordering::Acquire) && self.loop_handle.is_alive()
    }

    /// Sends bytes. Slices are copied, [`Bytes`](bytes::Bytes) are shared. May be called from any thread.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] after the end; [`SendError::Full`] if more than the connection's hard cap of bytes is under way to
    /// its loop, where a send counts for 128 bytes at least, in which case nothing is sent and the connection goes on.
    pub fn send<'a>(&self, output: impl Into<Output<'a>>) -> Result<(), SendError> {
        let bytes = output.into().into_bytes();
        let size = bytes.len();
        if !self.is_open() {
            return Err(SendError::Closed);
        }
        let place = self.reserve(size).ok_or(SendError::Full)?;
        let sent = self.run(move |conn| {
            drop(place);
            // An error here is the connection's end, which on_close tells.
            let _ = conn.send(bytes);
        });
        sent.map_err(|LoopGone| SendError::Closed)
    }

    /// As [`TcpConnection::shutdown`]. May be called from any thread.
    ///
    /// # Errors
    ///
    /// [`LoopGone`] if the connection's loop has ended.
    pub fn shutdown(&self) -> Result<(), LoopGone> {
        self.run(|conn| conn.shutdown())
    }

    /// As [`TcpConnection::close`]. May be called from any thread.
    ///
    /// # Errors
    ///
    /// [`LoopGone`] if the connection's loop has ended.
    pub fn close(&self) -> Result<(), LoopGone> {
        self.run(|conn| conn.close())
    }

    /// As [`TcpConnection::force_close`]. May be called from any thread.
    ///
    /// # Errors
    ///
    /// [`LoopGone`] if the connection's loop has ended.
    pub fn force_close(&self) -> Result<(), LoopGone> {
        self.run(|conn| conn.force_close())
    }

    /// Runs `task` with the connection on its loop. It is dropped, without being run, if the connection has ended by then. May
    /// be called from any thread.
    ///
    /// # Errors
    ///
    /// [`LoopGone`] if the connection's loop has ended.
    pub fn run(&self, task: impl FnOnce(&mut TcpConnection<'_>) + Send + 'static) -> Result<(), LoopGone> {
        let id = self.link.id;
        self.loop_handle.post(move |context| {
            if let Some(mut conn) = context.connection(id) {
                task(&mut conn);
            }
        })
    }
}

impl ConnectionHandle {
    /// Whether the layer above still takes what is to be sent: it isn't closing either.
    pub(crate) fn takes_sends(&self) -> bool {
        self.is_open() && !self.link.refuses.load(Ordering::Acquire)
    }

    /// Room for so many bytes on their way to the loop, given back when it is dropped; nothing if that would be more than the hard
    /// cap.
    pub(crate) fn reserve(&self, size: usize) -> Option<UnderWay> {
        self.link.reserve(size).then(|| UnderWay { link: Arc::clone(&self.link), size })
    }
}

/// Bytes that are on their way to a loop.
#[derive(Debug)]
pub(crate) struct UnderWay {
    link: Arc<Link>,
    size: usize,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.link.release(self.size);
    }
}

impl fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionHandle")
            .field("id", &self.link.id)
            .field("peer", &self.link.peer)
            .field("open", &self.is_open())
            .finish()
    }
}

/// What a send that is under way counts for at least, be it empty: about what it takes up in the loop's queue.
const SEND_COST: usize = 128;

/// What a connection and its handles share; made when the first handle is.
#[derive(Debug)]
pub(crate) struct Link {
    id: ConnectionId,
    peer: Address,
    open: AtomicBool,
    /// The layer above has begun to close it.
    refuses: AtomicBool,
    /// Bytes that are under way to the loop; short sends count for more than they have.
    under_way: AtomicUsize,
    limit: usize,
}

impl Link {
    pub(super) fn new(id: ConnectionId, peer: Address, limit: usize, open: bool) -> Self {
        let (open, refuses, under_way) = (AtomicBool::new(open), AtomicBool::new(false), AtomicUsize::new(0));
        Self { id, peer, open, refuses, under_way, limit }
    }

    pub(super) fn refuse_sends(&self) {
        self.refuses.store(true, Ordering::Release);
    }

    pub(super) fn close(&self) {
        self.open.store(false, Ordering::Release);
    }

    fn reserve(&self, size: usize) -> bool {
        let before = self.under_way.fetch_add(size.max(SEND_COST), Ordering::Relaxed);
        let fits = before.saturating_add(size) <= self.limit;
        if !fits {
            self.release(size);
        }
        fits
    }

    fn release(&self, size: usize) {
        self.under_way.fetch_sub(size.max(SEND_COST), Ordering::Relaxed);
    }
}
