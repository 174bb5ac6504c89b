//! A connection as its own loop sees it.

use std::fmt;
use std::io;
use std::time::Duration;

use super::core::ConnectionState;
use super::entry::Entry;
use super::output::Output;
use super::table::Table;
use super::{CloseReason, ConnectionConfig, ConnectionHandle, ConnectionId, ConnectionStats, SendError};
use crate::buffer::Buffer;
use crate::reactor::{Flags, HandlerHandle, LoopContext, TimerId};
use crate::socket::{Address, PeerCredentials, Socket, TcpInfo};

/// A borrowed view of one connection and, through it, of its whole loop.
///
/// It is named after muduo's, and serves TCP, Unix streams and Unix packet sockets (SOCK_SEQPACKET) alike; on the latter each
/// send is one packet. Nothing that is called on it blocks, and nothing calls back before it returns: `send`, `close` and the
/// like only record what is wanted, and callbacks come from the loop, one at a time. For another thread, or a later time, there
/// is [`handle`](Self::handle).
///
/// # Output
///
/// Small output waits for the end of the batch of callbacks that is under way and leaves in one write; large output is written
/// at once from where it lies. What the kernel doesn't take is queued, up to the
/// [hard cap](ConnectionConfig::hard_cap).
pub struct TcpConnection<'a> {
    context: &'a mut LoopContext,
    key: u32,
}

impl<'a> TcpConnection<'a> {
    /// A view of an entry that exists for as long as `context` is borrowed.
    #[inline]
    pub(super) fn new(context: &'a mut LoopContext, key: u32) -> Self {
        Self { context, key }
    }

    /// Which connection this is.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.table().id_of(self.key)
    }

    /// A way to reach this connection from any thread and at any time.
    #[must_use]
    pub fn handle(&mut self) -> ConnectionHandle {
        let link = Table::of(self.context).link(self.key);
        ConnectionHandle::new(self.context.handle().clone(), link)
    }

    /// The loop: its timers, its tasks, its other connections.
    pub fn context(&mut self) -> &mut LoopContext {
        self.context
    }

    /// Another connection of this loop; nothing if it has ended, or is another loop's.
    pub fn peer(&mut self, id: ConnectionId) -> Option<TcpConnection<'_>> {
        self.context.connection(id)
    }

    /// Where the connection is in its life.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        self.entry().core.state()
    }

    /// Whether output is still accepted: the connection is neither closing nor ended, nor shut down.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let core = &self.entry().core;
        core.is_open() && !core.is_shut_down()
    }

    /// The peer's address; unnamed for most Unix peers.
    #[must_use]
    pub fn peer_address(&self) -> Address {
        self.entry().peer.clone()
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// What the system says; in `on_close`, `NotConnected` if it said so before.
    pub fn local_address(&self) -> io::Result<Address> {
        let entry = self.entry();
        match (&entry.local, &entry.wire) {
            (Some(local), _) => Ok((**local).clone()),
            (None, Some(wire)) => wire.local_address(),
            (None, None) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends bytes: slices are copied if they have to wait, [`Bytes`](bytes::Bytes) are shared. On a packet socket it is one
    /// packet, which may be empty; an empty slice on a stream does nothing.
    ///
    /// ```
    /// # use campana::{Buffer, TcpConnection};
    /// fn on_data(conn: &mut TcpConnection<'_>, input: &mut Buffer) {
    ///     let _ = conn.send(input.take());
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError`]: closed, shut down, over the hard cap (which closes the connection), or too long for a packet. In each case
    /// nothing of it is sent, and but for the last the connection is ending, which `on_close` will tell.
    #[inline]
    pub fn send<'o>(&mut self, output: impl Into<Output<'o>>) -> Result<(), SendError> {
        Table::send(self.context, self.key, output.into())
    }

    /// Writes pending output now instead of at the end of the batch.
    pub fn flush(&mut self) {
        let key = self.key;
        self.context.with_table(|table, parts| table.flush(key, parts));
    }

    /// Sends no more after what is pending, and says so to the peer (FIN). Reading goes on, and the connection ends when the
    /// peer closes too. On a packet socket likewise.
    pub fn shutdown(&mut self) {
        self.change(|entry, _| entry.core.shut_down());
    }

    /// Closes in good order: pending output is delivered, the peer is told, and what it still sends is drained so that it sees
    /// no reset. A peer that does nothing for the [linger time](ConnectionConfig::linger) is waited for no longer. `on_data` isn't
    /// called any more.
    pub fn close(&mut self) {
        self.close_with(None);
    }

    /// Closes as [`close`](Self::close) does, because the peer broke the protocol; `on_close` gets the text.
    pub fn fail(&mut self, text: impl Into<std::borrow::Cow<'static, str>>) {
        self.close_with(Some(CloseReason::Protocol(text.into())));
    }

    /// Closes now. Pending output is discarded, and counted as such.
    pub fn force_close(&mut self) {
        self.end(CloseReason::Local);
    }

    /// Shuts down now, and closes by force what is left of the connection after `delay`.
    pub fn close_after(&mut self, delay: Duration) {
        let deadline = self.context.clock().after(delay);
        self.change(|entry, _| entry.core.close_by(deadline));
    }

    /// Closes in good order as soon as nothing has been received or sent for `silence`, which counts from the last byte, not
    /// from this call.
    pub fn close_when_silent(&mut self, silence: Duration) {
        let nanos = u64::try_from(silence.as_nanos()).unwrap_or(u64::MAX);
        self.change(|entry, _| entry.core.close_when_silent(nanos));
    }

    /// Stops reading, until [`resume_reading`](Self::resume_reading). The kernel's window then holds the peer back. Nothing is
    /// lost: what is in the input buffer stays there.
    ///
    /// If the peer resets the connection meanwhile, it is kept for the [linger time](ConnectionConfig::linger) so that what was
    /// sent before can still be read. A close in good order is noticed when reading goes on, behind all that was sent before.
    pub fn pause_reading(&mut self) {
        let now = self.context.clock().nanos();
        self.change(|entry, channels| {
            let broken = channels.flags(entry.channel).has(Flags::ERROR);
            entry.core.pause(broken, now);
            channels.set(entry.channel, Flags::READING, !entry.core.is_paused());
        });
    }

    /// Reads again. What was left in the input buffer is handed to `on_data` first.
    pub fn resume_reading(&mut self) {
        self.change(|entry, channels| {
            if entry.core.resume() {
                channels.set(entry.channel, Flags::READING, true);
                if entry.core.input.is_some() {
                    channels.set(entry.channel, Flags::READABLE, true);
                }
            }
        });
    }

    /// Whether reading is paused.
    #[must_use]
    pub fn is_reading_paused(&self) -> bool {
        self.entry().core.is_paused()
    }

    /// Whether the peer has said that it will send no more.
    #[must_use]
    pub fn is_read_closed(&self) -> bool {
        self.entry().core.is_read_closed()
    }

    /// What `on_data` has left unread: a last line without its end, say, when the peer has closed. Empty inside `on_data`, which
    /// has it in its own hands, and once the connection is closing.
    #[must_use]
    pub fn unread_input(&self) -> &[u8] {
        self.entry().core.input.as_ref().map_or(&[], |input| input.peek())
    }

    /// Calls `on_timer` with `token` after `delay`, unless the connection has ended by then.
    pub fn set_timer(&mut self, delay: Duration, token: u64) -> TimerId {
        let deadline = self.context.clock().after(delay);
        let key = self.key;
        self.context.with_table(|table, parts| table.set_user_timer(key, deadline, token, parts))
    }

    /// Cancels a timer of this connection; `false` if it has fired, was cancelled, or is none of its.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        let key = self.key;
        self.context.with_table(|table, parts| table.cancel_user_timer(key, timer, parts))
    }

    /// The limits and deadlines in force.
    #[must_use]
    pub fn config(&self) -> &ConnectionConfig {
        self.entry().core.config()
    }

    /// Changes limits and deadlines of this connection alone. The socket's options are not among them: see
    /// [`socket`](Self::socket).
    pub fn configure(&mut self, change: impl FnOnce(&mut ConnectionConfig)) {
        self.change(|entry, _| entry.core.configure(change));
    }

    /// The socket, to set options; nothing in `on_close`, and nothing if a [test](crate::testing) is the other end. To read or
    /// write it past the connection would break the stream.
    pub fn socket(&self) -> Option<&Socket> {
        self.entry().wire.as_ref()?.as_socket()
    }

    /// The kernel's figures of a TCP connection.
    ///
    /// # Errors
    ///
    /// `NotConnected` in `on_close`; `Unsupported` for a Unix socket; what the system says.
    pub fn tcp_info(&self) -> io::Result<TcpInfo> {
        self.socket().ok_or(io::ErrorKind::NotConnected)?.tcp_info()
    }

    /// Who the peer is, on a Unix socket.
    ///
    /// # Errors
    ///
    /// `NotConnected` in `on_close`; what the system says, for TCP above all.
    pub fn peer_credentials(&self) -> io::Result<PeerCredentials> {
        self.socket().ok_or(io::ErrorKind::NotConnected)?.peer_credentials()
    }

    /// How many bytes of output wait to be taken by the kernel.
    #[must_use]
    pub fn pending_output(&self) -> usize {
        self.entry().core.pending()
    }

    /// What the connection has done so far.
    #[must_use]
    pub fn stats(&self) -> ConnectionStats {
        let core = &self.entry().core;
        let clock = self.context.clock();
        ConnectionStats {
            bytes_in: core.bytes_in,
            bytes_out: core.bytes_out,
            reads: core.reads,
            sends: core.sends,
            bytes_discarded: core.bytes_discarded(),
            bytes_pending: core.pending(),
            bytes_unread: core.input.as_ref().map_or(0, |input| input.readable()),
            created: clock.instant_of(core.created),
            last_received: clock.instant_of(core.last_received),
            last_sent: clock.instant_of(core.last_sent),
        }
    }

    /// What the layer above has to know of the output.
    #[inline]
    pub(crate) fn output(&self) -> OutputState {
        let core = &self.entry().core;
        OutputState { written: core.bytes_out, pending: core.pending(), hard_cap: core.config().hard_cap }
    }

    /// Bytes received, and bytes that the kernel has taken.
    #[inline]
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let core = &self.entry().core;
        (core.bytes_in, core.bytes_out)
    }

    /// When something was last received, and when the kernel last took output, in nanoseconds.
    pub(crate) fn last_io(&self) -> (u64, u64) {
        let core = &self.entry().core;
        (core.last_received, core.last_sent)
    }

    /// When the connection was established, in nanoseconds.
    pub(crate) fn created(&self) -> u64 {
        self.entry().core.created
    }

    /// The loop's time in nanoseconds.
    #[inline]
    pub(crate) fn nanos(&self) -> u64 {
        self.context.clock().nanos()
    }

    /// The loop's time.
    pub(crate) fn now(&self) -> std::time::Instant {
        self.context.now()
    }

    pub(crate) fn is_packets(&self) -> bool {
        self.entry().core.is_packets()
    }

    /// The same view for a shorter time.
    #[inline]
    pub(crate) fn reborrow(&mut self) -> TcpConnection<'_> {
        TcpConnection { context: self.context, key: self.key }
    }

    /// Takes what `on_data` has left unread.
    pub(crate) fn take_unread(&mut self) -> Buffer {
        Table::of(self.context).entry_mut(self.key).core.input.take().map_or_else(Buffer::new, |input| *input)
    }

    /// Hands what was left unread to `on_data` once more, though nothing has come.
    pub(crate) fn redeliver(&mut self) {
        self.change(|entry, channels| {
            if entry.core.redeliver() {
                channels.set(entry.channel, Flags::READABLE, true);
            }
        });
    }

    /// Handles are to refuse what the layer above is asked to send by them.
    pub(crate) fn refuse_sends(&mut self) {
        if let Some(link) = &self.entry().link {
            link.refuse_sends();
        }
    }

    /// Lets the connection be read once more though nothing has been reported.
    pub(crate) fn look_again(&mut self) {
        self.change(|entry, channels| channels.set(entry.channel, Flags::READABLE, true));
    }

    /// A way to reach the handler that this connection belongs to. It is the caller's to say of which type that is.
    pub(crate) fn handler_handle<H: 'static>(&self) -> HandlerHandle<H> {
        let source = self.context.source_id(self.entry().source);
        self.context.own_source_handle(source)
    }

    pub(crate) fn end(&mut self, reason: CloseReason) {
        self.change(|entry, _| entry.core.end(reason));
    }

    pub(crate) fn close_with(&mut self, reason: Option<CloseReason>) {
        let now = self.context.clock().nanos();
        self.change(|entry, channels| {
            entry.core.close(reason, now);
            // A paused connection, too, drains what the peer still sends.
            channels.set(entry.channel, Flags::READING, true);
        });
    }

    fn table(&self) -> &Table {
        self.context.upper()
    }

    fn entry(&self) -> &Entry {
        self.table().entry(self.key)
    }

    /// Changes the connection's state. What follows from it in system calls happens at the end of the batch.
    fn change(&mut self, change: impl FnOnce(&mut Entry, &mut crate::reactor::Channels)) {
        let key = self.key;
        self.context.with_table(|table, parts| {
            change(table.entry_mut(key), parts.channels);
            table.follow_up(key, parts);
            if table.entry(key).core.is_shut_down() {
                table.flush_later(key);
            }
        });
    }
}

/// How far a connection's output has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutputState {
    /// Bytes that the kernel has taken.
    pub(crate) written: u64,
    /// Bytes that wait for it.
    pub(crate) pending: usize,
    /// How many may wait.
    pub(crate) hard_cap: usize,
}

impl fmt::Debug for TcpConnection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpConnection")
            .field("id", &self.id())
            .field("peer", &self.entry().peer)
            .finish_non_exhaustive()
    }
}

impl LoopContext {
    /// A connection of this loop; nothing if it has ended, or is another loop's.
    pub fn connection(&mut self, id: ConnectionId) -> Option<TcpConnection<'_>> {
        let table = Table::of(self);
        let key = table.find(id)?;
        table.entry(key).wire.as_ref()?;
        Some(TcpConnection::new(self, key))
    }

    /// The ids of all connections of this loop, whichever server or client they belong to.
    pub fn connections(&mut self) -> Vec<ConnectionId> {
        let table = Table::of(self);
        let open = table.entries.iter().filter(|(_, entry)| entry.wire.is_some());
        open.map(|(key, _)| table.id_of(key as u32)).collect()
    }
}
