//! The connections of one loop, and what is done to them from outside their callbacks.

mod reading;
mod sending;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fmt, io};

use slab::Slab;

use super::core::{Core, Due, Expired};
use super::entry::Entry;
use super::handle::Link;
use super::lender::Lender;
use super::transport::Wire;
use super::{CloseReason, ConnectionConfig};
use crate::growth::make_room;
use crate::reactor::{ChannelId, Flags, LoopContext, Parts, Ready, TimerId};
use crate::socket::Address;

pub(crate) use reading::Input;

/// Names one connection of this process; never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    loop_number: u32,
    index: u32,
    generation: u64,
}

impl ConnectionId {
    /// Tells one loop of this process from the others.
    pub(crate) fn loop_number(self) -> u32 {
        self.loop_number
    }

    /// What its text names it by: the loop's number, and its own among all connections that the loop has had.
    #[cfg(feature = "control")]
    pub(crate) fn serial(self) -> (u32, u64) {
        (self.loop_number, self.generation)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.loop_number, self.generation)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionId({self})")
    }
}

/// All connections of one loop.
#[derive(Debug)]
pub(crate) struct Table {
    loop_number: u32,
    next_generation: u64,
    pub(crate) entries: Slab<Entry>,
    lender: Lender,
    flush_list: Vec<u32>,
}

impl Default for Table {
    fn default() -> Self {
        static LOOPS: AtomicU32 = AtomicU32::new(0);
        Self {
            loop_number: LOOPS.fetch_add(1, Ordering::Relaxed) + 1,
            next_generation: 0,
            entries: Slab::new(),
            lender: Lender::default(),
            flush_list: Vec::new(),
        }
    }
}

impl Table {
    /// The table of a loop.
    #[inline]
    pub(crate) fn of(context: &mut LoopContext) -> &mut Self {
        context.split_upper().0
    }

    #[cfg(feature = "control")]
    pub(super) fn number(&self) -> u32 {
        self.loop_number
    }

    pub(crate) fn find(&self, id: ConnectionId) -> Option<u32> {
        let entry = self.entries.get(id.index as usize)?;
        let is_it = id.loop_number == self.loop_number && entry.generation == id.generation;
        is_it.then_some(id.index)
    }

    pub(crate) fn id_of(&self, key: u32) -> ConnectionId {
        ConnectionId { loop_number: self.loop_number, generation: self.entry(key).generation, index: key }
    }

    /// # Panics
    ///
    /// If there is no such connection, which those who hold a view of it rule out.
    #[inline]
    pub(crate) fn entry(&self, key: u32) -> &Entry {
        &self.entries[key as usize]
    }

    #[inline]
    pub(crate) fn entry_mut(&mut self, key: u32) -> &mut Entry {
        &mut self.entries[key as usize]
    }

    pub(crate) fn is_of_source(&self, key: u32, source: u32) -> bool {
        self.entries.get(key as usize).is_some_and(|entry| entry.source == source)
    }

    /// Does what follows from a change of a core's state.
    #[inline]
    pub(crate) fn follow_up(&mut self, key: u32, parts: &mut Parts<'_>) {
        self.entries[key as usize].follow_up(key, parts);
    }

    /// A timer of a connection is due: answers the token if the user has set it.
    pub(crate) fn timer_fired(&mut self, key: u32, timer: TimerId, parts: &mut Parts<'_>) -> Option<u64> {
        let now = parts.clock.nanos();
        let entry = &mut self.entries[key as usize];
        if let Some(token) = entry.timers.as_mut().and_then(|timers| timers.take(timer)) {
            return Some(token).filter(|_| entry.core.is_open());
        }
        if entry.deadline_timer != Some(timer) {
            return None;
        }
        entry.deadline_timer = None;
        entry.armed_for = u64::MAX;
        // The loop may have been held up, rather than the peer: look before it is judged. And what a timer before this one has
        // sent still waits for the end of the batch.
        entry.core.unblock();
        self.flush(key, parts);
        let entry = &mut self.entries[key as usize];
        if entry.core.expire(now) == Expired::Probe {
            parts.channels.set(entry.channel, Flags::READABLE, true);
        }
        if !entry.core.is_open() {
            // A paused connection, too, drains what the peer still sends.
            parts.channels.set(entry.channel, Flags::READING, true);
            self.flush_later(key);
        }
        self.follow_up(key, parts);
        if !self.entries[key as usize].core.is_ended() {
            self.entries[key as usize].arm(key, parts);
        }
        None
    }

    pub(crate) fn set_user_timer(
        &mut self,
        key: u32,
        deadline: u64,
        token: u64,
        parts: &mut Parts<'_>,
    ) -> TimerId {
        let entry = &mut self.entries[key as usize];
        let timer = parts.set_timer(entry.source, key, deadline);
        if entry.wire.is_some() {
            entry.timers.get_or_insert_default().add(timer, token);
        } else {
            parts.cancel_timer(timer);
        }
        timer
    }

    pub(crate) fn cancel_user_timer(&mut self, key: u32, timer: TimerId, parts: &mut Parts<'_>) -> bool {
        let timers = self.entries[key as usize].timers.as_mut();
        if timers.and_then(|timers| timers.take(timer)).is_none() {
            return false;
        }
        parts.cancel_timer(timer);
        true
    }

    /// The channel of a connection has more to say than that there is input: writes what was blocked.
    pub(crate) fn take_up(&mut self, ready: Ready, parts: &mut Parts<'_>) {
        let entry = &mut self.entries[ready.key as usize];
        if entry.waits_for_writable && ready.flags.has(Flags::WRITABLE) {
            // Taken up by the write that follows: if that is blocked again, there will be another event.
            parts.channels.set(entry.channel, Flags::WRITABLE, false);
            entry.core.unblock();
            self.flush(ready.key, parts);
        }
        if ready.flags.has(Flags::ERROR | Flags::HANG_UP) {
            self.hung_up(ready.key, parts);
        }
    }

    /// Looks whether the poller has reported an error, or that both directions are closed, and does what follows from it.
    pub(crate) fn hung_up(&mut self, key: u32, parts: &mut Parts<'_>) {
        let entry = &mut self.entries[key as usize];
        let flags = parts.channels.flags(entry.channel);
        if entry.core.is_read_closed() && flags.has(Flags::ERROR | Flags::HANG_UP) {
            // No read will tell of it any more.
            let error = entry.wire.as_ref().and_then(|wire| wire.take_error().ok()?);
            entry.core.gone(error);
        } else if flags.has(Flags::ERROR) {
            entry.core.hung_up(parts.clock.nanos());
        }
        self.follow_up(key, parts);
    }

    /// Adds a connection for a source, which is told of it by the key. It counts among the loop's connections already, from the
    /// moment on that the loop was chosen for it.
    pub(crate) fn insert(
        context: &mut LoopContext,
        source: u32,
        wire: Wire,
        peer: Address,
        config: Rc<ConnectionConfig>,
    ) -> io::Result<u32> {
        use std::os::fd::AsRawFd;

        let now = context.clock().nanos();
        let key = Self::of(context).entries.vacant_key() as u32;
        let channel = match &wire {
            Wire::Socket(socket) => context.add_channel(source, key, socket.as_raw_fd())?,
            Wire::Script(_) => context.add_own_channel(source, key),
        };
        let table = Self::of(context);
        table.next_generation += 1;
        let entry = Entry {
            core: Core::new(config, wire.is_packet(), now),
            is_tcp: wire.is_tcp(),
            wire: Some(wire),
            generation: table.next_generation,
            channel,
            source,
            member: u32::MAX,
            peer,
            local: None,
            link: None,
            timers: None,
            deadline_timer: None,
            armed_for: u64::MAX,
            deferred: false,
            in_flush_list: false,
            waits_for_writable: false,
        };
        make_room(&mut table.entries);
        table.entries.insert(entry);
        context.channel_set(channel, Flags::HANDS_OVER, true);
        context.with_table(|table, parts| table.follow_up(key, parts));
        Ok(key)
    }

    /// Closes the descriptor of a connection that has ended, and what else it holds of the loop. Its entry stays until
    /// `on_close` has been called. Answers the reason, once.
    pub(crate) fn shut(context: &mut LoopContext, key: u32) -> Option<CloseReason> {
        let entry = Self::of(context).entry_mut(key);
        let wire = entry.wire.take()?;
        entry.local = wire.local_address().ok().map(Box::new);
        let channel = entry.channel;
        let reason = entry.core.take_reason();
        context.remove_channel(channel);
        match wire {
            Wire::Socket(socket) => drop(socket),
            Wire::Script(script) => script.shut(&reason),
        }
        context.handle().counters().connections.fetch_sub(1, Ordering::Relaxed);
        context.with_table(|table, parts| {
            let entry = table.entry_mut(key);
            let of_user = entry.timers.take().map_or(Vec::new(), |timers| timers.0);
            for timer in of_user.into_iter().map(|(timer, _)| timer).chain(entry.deadline_timer.take()) {
                parts.cancel_timer(timer);
            }
            if let Some(link) = entry.link.take() {
                link.close();
            }
        });
        Some(reason)
    }

    /// The channel of a connection, unless it has ended.
    pub(crate) fn channel_of(&self, id: ConnectionId) -> Option<ChannelId> {
        let entry = self.entry(self.find(id)?);
        entry.wire.as_ref().map(|_| entry.channel)
    }

    /// Forgets a connection whose `on_close` has been called.
    pub(crate) fn remove(&mut self, key: u32) {
        self.entries.remove(key as usize);
        // It may be on the flush list still, where another connection under the same key would do no harm.
    }

    /// What is due to be called back for a connection of `source`; nothing if it is gone.
    pub(crate) fn take_deferred(&mut self, key: u32, source: u32) -> Option<Due> {
        let entry = self.entries.get_mut(key as usize).filter(|entry| entry.source == source)?;
        entry.deferred = false;
        Some(entry.core.due_now())
    }

    pub(crate) fn link(&mut self, key: u32) -> Arc<Link> {
        let id = self.id_of(key);
        let entry = self.entry_mut(key);
        if let Some(link) = &entry.link {
            return Arc::clone(link);
        }
        let link =
            Arc::new(Link::new(id, entry.peer.clone(), entry.core.config().hard_cap, entry.wire.is_some()));
        if entry.wire.is_some() {
            entry.link = Some(Arc::clone(&link));
        }
        link
    }
}

impl LoopContext {
    /// Runs something on this loop's connections with the parts of the loop that it needs.
    #[inline]
    pub(crate) fn with_table<R>(&mut self, run: impl FnOnce(&mut Table, &mut Parts<'_>) -> R) -> R {
        let (table, mut parts) = self.split_upper();
        run(table, &mut parts)
    }
}
