//! What a loop keeps for one connection.

use std::sync::Arc;

use super::core::{Core, Received};
use super::handle::Link;
use super::lender::Lender;
use super::transport::Wire;
use crate::buffer::Buffer;
use crate::reactor::{ChannelId, Flags, Parts, Ready, TimerId};
use crate::socket::Address;

/// What a loop keeps for one connection: everything but the user's state.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) core: Core,
    /// Closed, and gone, from the moment on that `on_close` is called.
    pub(super) wire: Option<Wire>,
    pub(super) generation: u64,
    pub(super) channel: ChannelId,
    /// The source that its callbacks belong to.
    pub(super) source: u32,
    /// Where that source keeps its state.
    pub(super) member: u32,
    pub(super) peer: Address,
    /// Kept when the descriptor is closed.
    pub(super) local: Option<Box<Address>>,
    pub(super) link: Option<Arc<Link>>,
    /// Timers that the user has set; most connections have none.
    pub(super) timers: Option<Box<UserTimers>>,
    pub(super) deadline_timer: Option<TimerId>,
    pub(super) armed_for: u64,
    pub(super) deferred: bool,
    pub(super) in_flush_list: bool,
    pub(super) waits_for_writable: bool,
    pub(super) is_tcp: bool,
}

impl Entry {
    #[inline]
    pub(super) fn flush_later(&mut self, key: u32, flush_list: &mut Vec<u32>) {
        if !self.in_flush_list {
            self.in_flush_list = true;
            flush_list.push(key);
        }
    }

    /// Does what follows from a change of the core's state: callbacks, poller, deadline.
    #[inline]
    pub(super) fn follow_up(&mut self, key: u32, parts: &mut Parts<'_>) {
        if self.waits_for_writable || self.core.needs_follow_up() {
            self.follow_up_change(key, parts);
        }
    }

    fn follow_up_change(&mut self, key: u32, parts: &mut Parts<'_>) {
        if self.core.has_due() && !self.deferred {
            self.deferred = true;
            parts.deferred.push_back((self.source, key));
        }
        if self.core.is_blocked() != self.waits_for_writable {
            self.waits_for_writable = !self.waits_for_writable;
            if self.waits_for_writable {
                parts.channels.set(self.channel, Flags::WRITABLE, false);
            }
            parts.channels.set(self.channel, Flags::WRITING, self.waits_for_writable);
        }
        if self.core.is_broken() && self.core.wants_input() {
            // What the peer sent before it went is read now, up to the error that ends it.
            parts.channels.set(self.channel, Flags::READABLE, true);
        }
        if self.core.take_deadline_changed() {
            self.arm(key, parts);
        }
    }

    /// Sets the connection's one timer, if the next deadline is before the one that it is set for.
    pub(super) fn arm(&mut self, key: u32, parts: &mut Parts<'_>) {
        let deadline = self.core.next_deadline();
        if deadline < self.armed_for {
            if let Some(timer) = self.deadline_timer.take() {
                parts.cancel_timer(timer);
            }
            self.armed_for = deadline;
            self.deadline_timer = Some(parts.set_timer(self.source, key, deadline));
        }
    }

    /// Reads once from a stream, into the spare room of `into`.
    #[inline(always)]
    pub(super) fn receive(&mut self, into: &mut Vec<u8>, now: u64) -> Received {
        match &self.wire {
            Some(Wire::Socket(socket)) => self.core.receive_stream(socket, into, now),
            Some(Wire::Script(script)) => self.core.receive_from_script(script, into, now),
            None => Received::Ended,
        }
    }

    /// Writes what is pending.
    #[inline]
    pub(super) fn flush(&mut self, lender: &mut Lender, now: u64) {
        match &self.wire {
            Some(Wire::Socket(socket)) => self.core.flush(socket, lender, now),
            Some(Wire::Script(script)) => self.core.flush_to_script(script, lender, now),
            None => {}
        }
    }

    /// Whether a short read means that nothing is left. It does on TCP, unless there is more to be said than bytes: a hang-up or
    /// urgent data. In a Unix stream passed descriptors leave boundaries.
    #[inline]
    pub(super) fn drains_with(&self, ready: Ready) -> bool {
        self.is_tcp && !ready.flags.has(Flags::READ_CLOSED | Flags::HANG_UP | Flags::PRIORITY)
    }

    /// Keeps what a handler has left unread in the shared buffer. Of packets nothing is kept.
    pub(super) fn keep_unread(&mut self, scratch: &mut Buffer, lender: &mut Lender) {
        if !self.core.is_packets() && self.core.is_open() {
            let mut own = lender.lend_buffer();
            own.append(scratch.peek());
            self.core.keep_unread(own);
        }
        scratch.retrieve_all();
    }
}

/// The user's timers on one connection, with their tokens.
#[derive(Debug, Default)]
pub(super) struct UserTimers(pub(super) Vec<(TimerId, u64)>);

impl UserTimers {
    pub(super) fn add(&mut self, timer: TimerId, token: u64) {
        if self.0.is_empty() {
            // Most have one and no more, on each of very many connections.
            self.0.reserve_exact(1);
        }
        self.0.push((timer, token));
    }

    pub(super) fn take(&mut self, timer: TimerId) -> Option<u64> {
        let place = self.0.iter().position(|(id, _)| *id == timer)?;
        Some(self.0.swap_remove(place).1)
    }
}
