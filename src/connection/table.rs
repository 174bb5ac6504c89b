//! The connections of one loop, and what is done to them from outside their callbacks.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fmt, io};

use slab::Slab;

use super::core::{Core, Due, Expired, READ_SIZE, Received, Sent};
use super::entry::Entry;
use super::handle::Link;
use super::lender::Lender;
use super::output::Output;
use super::transport::Wire;
use super::{CloseReason, ConnectionConfig, SendError};
use crate::buffer::Buffer;
use crate::growth::make_room;
use crate::reactor::{ChannelId, Flags, LoopContext, Parts, Ready, TimerId};
use crate::socket::Address;

/// Names one connection of this process; never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    loop_number: u32,
    index: u32,
    generation: u64,
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

/// What a read has brought for the handler.
pub(crate) enum Input {
    /// Bytes in the shared buffer, for a member of the group; there may be more of them if `more`.
    Data {
        member: u32,
        more: bool,
    },
    /// Bytes in a buffer of the connection's own. There may be more of them.
    Own {
        buffer: Box<Buffer>,
        member: u32,
    },
    /// Bytes that nobody wants any more, as the connection is closing. There may be more of them.
    Discarded,
    /// The peer will send no more.
    Closed,
    /// There may be something to be read, but not now.
    Left,
    Nothing,
}

/// Unread input up to this many bytes is moved to the shared buffer for the next read, instead of being read behind.
const MOVED_TO_SCRATCH: usize = 4 * 1024;

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

    #[inline]
    pub(crate) fn send(context: &mut LoopContext, key: u32, output: Output<'_>) -> Result<(), SendError> {
        match output {
            Output::Slice(bytes) => Self::send_slice(context, key, bytes),
            output => Self::send_shared(context, key, output),
        }
    }

    // Two copies of the same, as most of what is sent are slices, which have nothing to be told apart and dropped.

    #[inline(never)]
    fn send_slice(context: &mut LoopContext, key: u32, bytes: &[u8]) -> Result<(), SendError> {
        if Self::of(context).entries[key as usize].core.append(bytes) {
            return Ok(());
        }
        Self::send_first_slice(context, key, bytes)
    }

    #[inline(never)]
    fn send_first_slice(context: &mut LoopContext, key: u32, bytes: &[u8]) -> Result<(), SendError> {
        Self::send_any(context, key, bytes)
    }

    #[inline(never)]
    fn send_shared(context: &mut LoopContext, key: u32, output: Output<'_>) -> Result<(), SendError> {
        Self::send_any(context, key, output)
    }

    #[inline(always)]
    fn send_any<'o>(
        context: &mut LoopContext,
        key: u32,
        output: impl AsRef<[u8]> + Into<Output<'o>>,
    ) -> Result<(), SendError> {
        let (table, parts) = context.split_upper();
        let entry = &mut table.entries[key as usize];
        let now = parts.clock.nanos();
        let sent = match &entry.wire {
            Some(Wire::Socket(socket)) => entry.core.send(socket, &mut table.lender, output, now),
            Some(Wire::Script(script)) => {
                entry.core.send_to_script(script, &mut table.lender, output.into(), now)
            }
            None => return Err(SendError::Closed),
        };
        match sent {
            Sent::Done => return Ok(()),
            Sent::FlushLater => entry.flush_later(key, &mut table.flush_list),
            Sent::Changed => Self::follow_up_send(context, key),
            Sent::Refused(error) => {
                Self::follow_up_send(context, key);
                return Err(error);
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn follow_up_send(context: &mut LoopContext, key: u32) {
        context.with_table(|table, parts| table.follow_up(key, parts));
    }

    /// Flushes a connection at the end of the batch.
    pub(crate) fn flush_later(&mut self, key: u32) {
        self.entries[key as usize].flush_later(key, &mut self.flush_list);
    }

    /// Flushes a connection now.
    pub(crate) fn flush(&mut self, key: u32, parts: &mut Parts<'_>) {
        let entry = &mut self.entries[key as usize];
        entry.flush(&mut self.lender, parts.clock.nanos());
        entry.follow_up(key, parts);
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
            entry.timers.get_or_insert_default().0.push((timer, token));
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

    /// Reads once for the handler; `taken` counts what has been read this turn, in bytes.
    pub(crate) fn read(
        context: &mut LoopContext,
        scratch: &mut Buffer,
        ready: Ready,
        taken: &mut usize,
    ) -> Input {
        let (table, parts) = context.split_upper();
        let entry = &mut table.entries[ready.key as usize];
        let Some(wire) = &entry.wire else { return Input::Nothing };
        if let Some(buffer) = entry.core.take_redelivery() {
            return Input::Own { buffer, member: entry.member };
        }
        if !entry.core.wants_input() {
            // Unless it is paused, there is nothing that readiness could be for any more.
            let paused = entry.core.is_paused() && entry.core.is_open();
            return if paused { Input::Left } else { Input::Nothing };
        }
        if !ready.flags.has(Flags::READABLE) {
            return Input::Nothing;
        }
        if *taken > 0 && *taken >= entry.core.config().read_budget {
            return Input::Left;
        }
        let now = parts.clock.nanos();
        let mut own = entry.core.input.take();
        scratch.retrieve_all();
        if let Some(little) = own.take_if(|own| own.readable() <= MOVED_TO_SCRATCH) {
            scratch.append(little.peek());
            table.lender.take_back_buffer(little);
        }
        let before = entry.core.bytes_in;
        let received = match &mut own {
            Some(own) => entry.core.receive_stream(wire, own.spare(READ_SIZE / 2), now),
            None if entry.core.is_packets() => entry.core.receive_packet(wire, scratch, now),
            None => entry.core.receive_stream(wire, scratch.spare(READ_SIZE), now),
        };
        // Empty packets are not free either.
        *taken += ((entry.core.bytes_in - before) as usize).max(64);
        match (own, received) {
            (Some(buffer), Received::Data { .. }) if entry.core.is_open() => {
                return Input::Own { buffer, member: entry.member };
            }
            (Some(buffer), _) if entry.core.is_open() => entry.core.input = Some(buffer),
            (Some(buffer), _) => table.lender.take_back_buffer(buffer),
            (None, _) => {}
        }
        Self::received(context, scratch, ready, received)
    }

    /// Does what follows from a read into the shared buffer.
    pub(crate) fn received(
        context: &mut LoopContext,
        scratch: &mut Buffer,
        ready: Ready,
        received: Received,
    ) -> Input {
        let (table, mut parts) = context.split_upper();
        let entry = &mut table.entries[ready.key as usize];
        let input = match received {
            Received::Data { drained } => {
                let drained = drained && entry.drains_with(ready);
                if entry.core.is_open() {
                    return Input::Data { member: entry.member, more: !drained };
                }
                if drained { Input::Nothing } else { Input::Discarded }
            }
            Received::WouldBlock | Received::Ended => Input::Nothing,
            Received::EndOfStream => Input::Closed,
        };
        if !scratch.is_empty() {
            entry.keep_unread(scratch, &mut table.lender);
        }
        entry.follow_up(ready.key, &mut parts);
        input
    }

    /// Keeps what a handler has left unread in the shared buffer.
    #[inline(never)]
    pub(crate) fn keep_unread(context: &mut LoopContext, key: u32, scratch: &mut Buffer) {
        let (table, mut parts) = context.split_upper();
        let entry = &mut table.entries[key as usize];
        entry.keep_unread(scratch, &mut table.lender);
        entry.follow_up(key, &mut parts);
    }

    /// Takes back a connection's own input buffer, with what the handler has left in it.
    pub(crate) fn give_back(context: &mut LoopContext, key: u32, buffer: Box<Buffer>) {
        let (table, mut parts) = context.split_upper();
        let entry = &mut table.entries[key as usize];
        if buffer.is_empty() || !entry.core.is_open() {
            table.lender.take_back_buffer(buffer);
        } else {
            entry.core.keep_unread(buffer);
        }
        entry.follow_up(key, &mut parts);
    }

    /// Flushes what the callbacks of a batch have left to be written.
    pub(crate) fn flush_all(context: &mut LoopContext) {
        if Self::of(context).flush_list.is_empty() {
            return;
        }
        let (table, mut parts) = context.split_upper();
        let mut list = std::mem::take(&mut table.flush_list);
        for key in list.drain(..) {
            if let Some(entry) = table.entries.get_mut(key as usize) {
                entry.in_flush_list = false;
                entry.flush(&mut table.lender, parts.clock.nanos());
                entry.follow_up(key, &mut parts);
            }
        }
        table.flush_list = list;
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
