//! What a session and its filters see of the session and do to it alike.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::attributes::Attributes;
use super::body::Body;
use super::core::{
    ABORTING, CLOSING, CONNECTION_TOLD, END_PENDING, ENDED, HELD, NEVER, PAUSED, REARM, SHUT_DOWN,
    SessionTimer, UNAUTHENTICATED, nanos,
};
use super::edits::{ByteFilterEdits, FilterEdits};
use super::idle::{IdleKind, LastIo};
use super::{SessionConfig, SessionId, SessionState, SessionStats};
use crate::buffer::Buffer;
use crate::codec::Codec;
use crate::connection::{CloseReason, ConnectionConfig, TcpConnection};
use crate::reactor::{LoopContext, TimerId};
use crate::socket::{Address, PeerCredentials, Socket, TcpInfo};

/// A timer of the session's deadlines.
pub(super) const DEADLINE: u64 = u64::MAX;
/// A timer of zero: messages that were held back are delivered.
pub(super) const RESUME: u64 = u64::MAX - 1;
/// A timer of byte filters.
pub(super) const BYTES: u64 = u64::MAX - 2;

/// A session as its own callbacks and its filters see it.
///
/// Nothing that is called here blocks, and nothing calls the session back before it returns.
pub struct SessionView<'a, C: Codec> {
    pub(super) conn: TcpConnection<'a>,
    pub(super) body: &'a mut Body<C>,
    /// Whose timers are set and who pauses: the session, which is zero, or a filter.
    owner: u32,
}

/// What it is.
impl<C: Codec> SessionView<'_, C> {
    /// Which session this is.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.body.core.id
    }

    /// Where the session is in its life.
    #[must_use]
    pub fn state(&self) -> SessionState {
        let core = &self.body.core;
        if core.has(ENDED) {
            return SessionState::Closed;
        }
        if core.has(CLOSING | ABORTING) {
            return SessionState::Closing;
        }
        let last = self.last_io();
        let is_idle = |kind| core.idle.count(kind, last) > 0;
        let (read, write, both) =
            (is_idle(IdleKind::Read), is_idle(IdleKind::Write), is_idle(IdleKind::Both));
        if read || write || both { SessionState::Idle { read, write, both } } else { SessionState::Connected }
    }

    /// The peer's address; unnamed for most Unix peers.
    #[must_use]
    pub fn peer_address(&self) -> Address {
        self.conn.peer_address()
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// As [`TcpConnection::local_address`].
    pub fn local_address(&self) -> io::Result<Address> {
        self.conn.local_address()
    }

    /// Who the peer is, on a Unix socket.
    ///
    /// # Errors
    ///
    /// As [`TcpConnection::peer_credentials`].
    pub fn peer_credentials(&self) -> io::Result<PeerCredentials> {
        self.conn.peer_credentials()
    }

    /// The kernel's figures of a TCP connection.
    ///
    /// # Errors
    ///
    /// As [`TcpConnection::tcp_info`].
    pub fn tcp_info(&self) -> io::Result<TcpInfo> {
        self.conn.tcp_info()
    }

    /// The socket, to set options; see [`TcpConnection::socket`].
    #[must_use]
    pub fn socket(&self) -> Option<&Socket> {
        self.conn.socket()
    }

    /// The loop's time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.conn.now()
    }

    /// When something was last received, or a message delivered that had been held back; when the connection was made if nothing was.
    #[must_use]
    pub fn last_read(&self) -> Instant {
        self.instant(self.last_io().read)
    }

    /// When the kernel last took output; when the connection was made if it took none.
    #[must_use]
    pub fn last_written(&self) -> Instant {
        self.instant(self.last_io().write)
    }

    /// The loop: its timers, its tasks, what is kept for each loop.
    pub fn context(&mut self) -> &mut LoopContext {
        self.conn.context()
    }

    /// The codec, to change its limits: once a peer has logged in, say.
    pub fn codec(&mut self) -> &mut C {
        &mut self.body.codec
    }

    /// What the session has done so far.
    #[must_use]
    pub fn stats(&mut self) -> SessionStats {
        let last = self.last_io();
        self.body.stats(&self.conn, last)
    }

    /// What the user keeps with the session.
    pub fn attributes(&mut self) -> Attributes<'_> {
        let Body { core, shared, .. } = &mut *self.body;
        let id = core.id;
        Attributes::new(&mut **core.seldom().attributes.get_or_insert_with(|| shared.attributes(id)))
    }
}

/// Its limits.
impl<C: Codec> SessionView<'_, C> {
    /// The limits and deadlines in force.
    #[must_use]
    pub fn config(&self) -> &SessionConfig {
        &self.body.core.config
    }

    /// Changes limits and deadlines of this session alone.
    pub fn configure(&mut self, change: impl FnOnce(&mut SessionConfig)) {
        let core = &mut self.body.core;
        change(std::rc::Rc::make_mut(&mut core.config));
        core.set(REARM, true);
    }

    /// Changes limits and deadlines of this session's connection alone.
    pub fn configure_connection(&mut self, change: impl FnOnce(&mut ConnectionConfig)) {
        self.conn.configure(change);
        self.measure_room();
    }

    /// The peer is known: what [`SessionConfig::authentication`] asks for does not hold any more.
    pub fn set_authenticated(&mut self) {
        self.body.core.set(UNAUTHENTICATED, false);
    }

    /// Whether the peer is known, or needn't be.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        !self.body.core.has(UNAUTHENTICATED)
    }
}

/// Its flow.
impl<C: Codec> SessionView<'_, C> {
    /// Stops reading, and delivering messages, those included that have been received already. Nothing is lost. The session and its
    /// filters pause each for themselves: reading goes on when all who have paused have resumed, or are removed.
    pub fn pause_reading(&mut self) {
        let core = &mut self.body.core;
        let paused_by = &mut core.seldom().paused_by;
        if !paused_by.contains(&self.owner) {
            paused_by.push(self.owner);
        }
        core.set(PAUSED, true);
        self.conn.pause_reading();
    }

    /// Reads and delivers again, unless another has paused as well: first what was held back, not before the callback under way
    /// has returned.
    pub fn resume_reading(&mut self) {
        let owner = self.owner;
        self.end_pauses(|by| by == owner);
    }

    /// Whether reading is paused, by the session or by a filter.
    #[must_use]
    pub fn is_reading_paused(&self) -> bool {
        self.body.core.has(PAUSED)
    }

    /// How many bytes of output wait to be taken by the kernel.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.conn.pending_output() + self.body.held_output()
    }

    /// How many writes may not have reached the kernel yet.
    #[must_use]
    pub fn pending_writes(&self) -> usize {
        self.body.core.writes.pending()
    }

    /// Hands what was written to the connection now instead of when the callback returns, and lets that write it.
    pub fn flush(&mut self) {
        self.hand_over();
        self.conn.flush();
    }
}

/// Its end.
impl<C: Codec> SessionView<'_, C> {
    /// Closes the session once all that was written has reached the peer, as [`TcpConnection::close`] does. No message is
    /// delivered any more, and none accepted. Does nothing the second time.
    pub fn close(&mut self) {
        self.body.core.set(CLOSING, true);
    }

    /// Closes the session as [`close`](Self::close) does, and says why.
    pub fn close_because(&mut self, reason: CloseReason) {
        if !self.body.core.has(CLOSING | ABORTING | ENDED) {
            self.body.core.note_reason(reason);
            self.close();
        }
    }

    /// Ends the session at once: what has not reached the kernel never does. Does nothing the second time.
    pub fn abort(&mut self) {
        let core = &mut self.body.core;
        if !core.has(ABORTING | ENDED) {
            core.set(ABORTING, true);
            // The connection may have been told to close in good order, and has to be told anew.
            core.set(CONNECTION_TOLD, false);
        }
    }

    /// Writes nothing more after what is pending, and says so to the peer (FIN); messages are still delivered.
    pub fn shutdown(&mut self) {
        self.body.core.set(SHUT_DOWN, true);
    }

    /// Closes the session in good order as soon as nothing has been received or sent for so long, counted from the last byte.
    pub fn close_when_silent(&mut self, silence: Duration) {
        let core = &mut self.body.core;
        core.seldom().silence = Some(nanos(silence));
        core.set(REARM, true);
    }
}

/// Its timers and filters.
impl<C: Codec> SessionView<'_, C> {
    /// Calls `on_timer` of whoever sets the timer, the session or a filter, with `token` after `delay`, unless the session has
    /// ended by then.
    pub fn set_timer(&mut self, delay: Duration, token: u64) -> TimerId {
        let timers = &mut self.body.core.seldom().timers;
        let key = timers.insert(SessionTimer { owner: self.owner, token, id: None });
        let id = self.conn.set_timer(delay, key as u64);
        if let Some(timer) = timers.get_mut(key) {
            timer.id = Some(id);
        }
        id
    }

    /// Cancels a timer of this session; `false` if it has fired, was cancelled, or is none of its.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        let timers = &mut self.body.core.seldom().timers;
        let key = timers.iter().find(|(_, of_session)| of_session.id == Some(timer)).map(|(key, _)| key);
        key.is_some_and(|key| {
            timers.remove(key);
            self.conn.cancel_timer(timer)
        })
    }

    /// The message filters, to be changed.
    pub fn filters(&mut self) -> FilterEdits<'_, C> {
        let body = &mut *self.body;
        FilterEdits {
            names: &mut body.filter_names,
            edits: &mut body.edits.get_or_insert_default().messages,
            flags: &mut body.core.flags,
        }
    }

    /// The byte filters, to be changed. What has been written before goes through those that were there then, what is written
    /// from here on, and what has been received and not decoded yet, through those that are there with the change.
    ///
    /// So a filter that both sides agree upon comes in right behind the message that says so:
    ///
    /// ```
    /// use campana::codec::{Lines, Text};
    /// use campana::session::{ByteFilter, Session, SessionContext};
    ///
    /// fn switch_on<S>(cx: &mut SessionContext<'_, S>, filter: impl ByteFilter)
    /// where
    ///     S: Session<Codec = Text<Lines>>,
    /// {
    ///     let _ = cx.write("yes");
    ///     let _ = cx.byte_filters().add_last("compression", Box::new(filter));
    ///     let _ = cx.write("this goes through the filter");
    /// }
    /// ```
    ///
    /// What a filter nearer to the codec than a new one still holds back goes through the new one; what one that is taken out holds
    /// back goes on without it.
    pub fn byte_filters(&mut self) -> ByteFilterEdits<'_> {
        self.hand_over();
        let body = &mut *self.body;
        ByteFilterEdits {
            names: &mut body.byte_filter_names,
            edits: &mut body.edits.get_or_insert_default().bytes,
            flags: &mut body.core.flags,
        }
    }
}

/// For the layer's own use.
impl<'a, C: Codec> SessionView<'a, C> {
    #[inline]
    pub(super) fn new(conn: TcpConnection<'a>, body: &'a mut Body<C>) -> Self {
        Self { conn, body, owner: 0 }
    }

    #[inline]
    pub(super) fn reborrow_for(&mut self, owner: u32) -> SessionView<'_, C> {
        SessionView { conn: self.conn.reborrow(), body: self.body, owner }
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.conn.now() - Duration::from_nanos(self.conn.nanos().saturating_sub(nanos))
    }

    pub(super) fn last_io(&self) -> LastIo {
        let (read, write) = self.conn.last_io();
        LastIo { read: read.max(self.body.core.last_delivered), write }
    }

    /// Takes what was held back of the input's end, or of a packet.
    pub(super) fn take_rest(&mut self) -> Buffer {
        match &mut self.body.core.seldom {
            Some(seldom) => std::mem::take(&mut seldom.rest),
            None => Buffer::new(),
        }
    }

    /// Ends the pauses of some of those who have paused, and reads again if none is left.
    pub(super) fn end_pauses(&mut self, ends: impl Fn(u32) -> bool) {
        let core = &mut self.body.core;
        if !core.has(PAUSED) {
            return;
        }
        let paused_by = &mut core.seldom().paused_by;
        paused_by.retain(|&by| !ends(by));
        if paused_by.is_empty() {
            core.set(PAUSED, false);
            self.continue_reading();
        }
    }

    /// Reads again, if nothing keeps it from that.
    pub(super) fn continue_reading(&mut self) {
        if self.body.core.has(PAUSED) {
            return;
        }
        let holds_rest = self.body.core.seldom.as_ref().is_some_and(|seldom| !seldom.rest.is_empty());
        if holds_rest || self.body.bytes.is_some() || self.body.core.has(END_PENDING) {
            // What byte filters hold back goes on as well.
            self.conn.set_timer(Duration::ZERO, RESUME);
        }
        if !self.body.core.has(HELD) {
            let (now, holds_plain) =
                (self.conn.nanos(), self.body.bytes.as_ref().is_some_and(|bytes| !bytes.plain.is_empty()));
            let holds = holds_plain || !self.conn.unread_input().is_empty();
            let core = &mut self.body.core;
            if holds {
                core.last_delivered = now;
            }
            if core.frame_since != NEVER {
                // The peer could not go on with its message meanwhile.
                core.frame_since = now;
                core.set(REARM, true);
            }
            self.conn.resume_reading();
        }
    }
}

impl<C: Codec> fmt::Debug for SessionView<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionView")
            .field("id", &self.id())
            .field("peer", &self.peer_address())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
