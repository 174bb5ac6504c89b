//! One handler and its connections on one loop: where callbacks are called.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use slab::Slab;

use super::core::{Due, READ_SIZE, Received};
use super::table::{Input, Table};
use super::transport::Wire;
use super::{CloseReason, ConnectionConfig, ConnectionId, Handler, TcpConnection};
use crate::buffer::Buffer;
use crate::growth::make_room;
use crate::reactor::{Flags, LoopContext, Ready, TimerId};
use crate::socket::Address;

/// A handler, the states of its connections, and what else they share.
///
/// It is the user's half of these connections; the loop's half is in the [`Table`], apart, so that a callback can borrow both.
pub(crate) struct Group<H: Handler> {
    source: u32,
    pub(crate) handler: H,
    members: Slab<Member<H::State>>,
    config: Rc<ConnectionConfig>,
    observer: Option<Arc<dyn Observer>>,
    /// The connection whose callback is under way, in case that it panics; else [`NOBODY`].
    running: u32,
}

/// No connection's key.
const NOBODY: u32 = u32::MAX;

struct Member<S> {
    key: u32,
    state: S,
}

/// Who wants to know when connections come and go: the server that counts them.
pub(crate) trait Observer: Send + Sync {
    fn connection_ended(&self, peer: &Address);
}

impl<H: Handler> Group<H> {
    pub(crate) fn new(
        source: u32,
        handler: H,
        config: ConnectionConfig,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        Self { source, handler, members: Slab::new(), config: Rc::new(config), observer, running: NOBODY }
    }

    /// Changes the configuration of the connections to come.
    pub(crate) fn configure(&mut self, change: impl FnOnce(&mut ConnectionConfig)) {
        change(Rc::make_mut(&mut self.config));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adopts a connected socket, or what plays its part, which the loop's figures count already, and calls `on_connect`.
    pub(crate) fn add(&mut self, context: &mut LoopContext, wire: Wire, peer: Address) -> io::Result<()> {
        let key = self.register(context, wire, peer)?;
        self.begin(context, key);
        Ok(())
    }

    /// Adopts a connected socket. [`begin`](Self::begin) has to follow.
    pub(crate) fn register(
        &mut self,
        context: &mut LoopContext,
        wire: Wire,
        peer: Address,
    ) -> io::Result<u32> {
        let inserted = Table::insert(context, self.source, wire, peer.clone(), Rc::clone(&self.config));
        inserted.inspect_err(|_| {
            context.handle().counters().connections.fetch_sub(1, Ordering::Relaxed);
            if let Some(observer) = &self.observer {
                observer.connection_ended(&peer);
            }
        })
    }

    /// Calls `on_connect` of a connection that has just been registered.
    pub(crate) fn begin(&mut self, context: &mut LoopContext, key: u32) {
        self.running = key;
        if self.handler.wants_write_complete() {
            Table::of(context).entry_mut(key).core.report_writes();
        }
        let state = self.handler.on_connect(&mut TcpConnection::new(context, key));
        self.running = NOBODY;
        make_room(&mut self.members);
        let member = self.members.insert(Member { key, state }) as u32;
        Table::of(context).entry_mut(key).member = member;
    }

    /// The channel of one of its connections has something to say. Answers whether there may be more input, left for the next
    /// turn.
    #[inline]
    pub(crate) fn on_ready(&mut self, context: &mut LoopContext, scratch: &mut Buffer, ready: Ready) -> bool {
        let (table, parts) = context.split_upper();
        let entry = table.entry_mut(ready.key);
        if !ready.flags.says_only_readable() || entry.core.reads_unusually() {
            return self.on_ready_by_steps(context, scratch, ready, None);
        }
        let received = entry.receive(scratch.cleared(READ_SIZE), parts.clock.nanos());
        if !matches!(received, Received::Data { drained: true }) || !entry.is_tcp {
            return self.on_ready_by_steps(context, scratch, ready, Some(received));
        }
        if let Some(member) = self.members.get_mut(entry.member as usize) {
            self.running = ready.key;
            self.handler.on_data(&mut member.state, &mut TcpConnection::new(context, ready.key), scratch);
            self.running = NOBODY;
        }
        if !scratch.is_empty() {
            Table::keep_unread(context, ready.key, scratch);
        }
        false
    }

    /// Everything but input that one read gets all of. `received` is what that read has brought, if it was tried.
    #[inline(never)]
    fn on_ready_by_steps(
        &mut self,
        context: &mut LoopContext,
        scratch: &mut Buffer,
        ready: Ready,
        mut received: Option<Received>,
    ) -> bool {
        let key = ready.key;
        if ready.flags.has(Flags::WRITING | Flags::ERROR | Flags::HANG_UP) {
            context.with_table(|table, parts| table.take_up(ready, parts));
        }
        let mut taken = 0;
        loop {
            let input = match received.take() {
                None => Table::read(context, scratch, ready, &mut taken),
                Some(received) => {
                    taken = scratch.readable();
                    Table::received(context, scratch, ready, received)
                }
            };
            match input {
                Input::Data { member, more } => {
                    self.call(context, key, member, |handler, state, conn| {
                        handler.on_data(state, conn, scratch);
                    });
                    if !scratch.is_empty() {
                        Table::keep_unread(context, key, scratch);
                    }
                    if !more {
                        return false;
                    }
                }
                Input::Own { mut buffer, member } => {
                    self.call(context, key, member, |handler, state, conn| {
                        handler.on_data(state, conn, &mut buffer);
                    });
                    Table::give_back(context, key, buffer);
                }
                Input::Oversized => {
                    self.run(context, key, |handler, state, conn| handler.on_packet_too_long(state, conn));
                }
                Input::Discarded => {}
                Input::Closed => {
                    self.run(context, key, |handler, state, conn| handler.on_read_closed(state, conn));
                    context.with_table(|table, parts| {
                        table.entry_mut(key).core.end_if_finished();
                        // A hang-up that came together with the end of the stream is not reported again.
                        table.hung_up(key, parts);
                    });
                    return false;
                }
                Input::Left => return true,
                Input::Nothing => return false,
            }
        }
    }

    pub(crate) fn on_timer(&mut self, context: &mut LoopContext, key: u32, timer: TimerId) {
        if !Table::of(context).is_of_source(key, self.source) {
            return;
        }
        if let Some(token) = context.with_table(|table, parts| table.timer_fired(key, timer, parts)) {
            self.run(context, key, |handler, state, conn| handler.on_timer(state, conn, token));
        }
    }

    /// Calls back what is due for a connection. What these callbacks make due themselves is for the next turn: one that sends
    /// more whenever all is written would otherwise keep the loop to itself, as long as the kernel takes it.
    pub(crate) fn on_deferred(&mut self, context: &mut LoopContext, key: u32) {
        let Some(mut due_now) = Table::of(context).take_deferred(key, self.source) else { return };
        while let Some(due) = Table::of(context).entry_mut(key).core.take_due(&mut due_now) {
            match due {
                Due::HIGH_WATER => {
                    self.run(context, key, |handler, state, conn| handler.on_high_water(state, conn))
                }
                Due::LOW_WATER => {
                    self.run(context, key, |handler, state, conn| handler.on_low_water(state, conn))
                }
                Due::STOPPING => {
                    self.run(context, key, |handler, state, conn| handler.on_stopping(state, conn))
                }
                Due::WRITE_PROGRESS => {
                    self.run(context, key, |handler, state, conn| handler.on_write_progress(state, conn))
                }
                Due::CLOSE => return self.finish(context, key),
                _ => self.run(context, key, |handler, state, conn| handler.on_write_complete(state, conn)),
            }
        }
    }

    /// A callback panicked: its connection ends.
    pub(crate) fn on_panic(&mut self, context: &mut LoopContext) {
        let key = std::mem::replace(&mut self.running, NOBODY);
        if key == NOBODY {
            return;
        }
        let table = Table::of(context);
        let entry = table.entry(key);
        if entry.wire.is_none() {
            // It was on_close.
            table.remove(key);
        } else if entry.member == u32::MAX {
            // It was on_connect, so that there is no state that on_close could be given.
            self.end_without_state(context, key);
        } else {
            TcpConnection::new(context, key).end(CloseReason::HandlerPanicked);
        }
    }

    /// Tells every connection that the end is near.
    pub(crate) fn announce_stop(&mut self, context: &mut LoopContext) {
        for (_, member) in &self.members {
            context.with_table(|table, parts| {
                table.entry_mut(member.key).core.mark_due(Due::STOPPING);
                table.follow_up(member.key, parts);
            });
        }
    }

    /// Closes every connection in good order.
    pub(crate) fn close_all(&mut self, context: &mut LoopContext) {
        let keys: Vec<u32> = self.members.iter().map(|(_, member)| member.key).collect();
        for key in keys {
            self.run(context, key, |handler, state, conn| handler.close_stopped(state, conn));
        }
    }

    /// Ends every connection.
    pub(crate) fn end_all(&mut self, context: &mut LoopContext) {
        for (_, member) in &self.members {
            TcpConnection::new(context, member.key).end(CloseReason::Stopping);
        }
    }

    /// The loop ends: the last callbacks are called at once, as nobody comes to call them later.
    pub(crate) fn on_loop_end(&mut self, context: &mut LoopContext) {
        self.end_all(context);
        let keys: Vec<u32> = self.members.iter().map(|(_, member)| member.key).collect();
        for key in keys {
            self.finish(context, key);
        }
    }

    pub(crate) fn ids(&self, context: &mut LoopContext) -> Vec<ConnectionId> {
        let table = Table::of(context);
        self.members.iter().map(|(_, member)| table.id_of(member.key)).collect()
    }

    /// Calls a callback, unless the connection has ended or is being closed already.
    #[inline]
    fn run(
        &mut self,
        context: &mut LoopContext,
        key: u32,
        callback: impl FnOnce(&mut H, &mut H::State, &mut TcpConnection<'_>),
    ) {
        let entry = Table::of(context).entry(key);
        if entry.core.is_open() {
            let member = entry.member;
            self.call(context, key, member, callback);
        }
    }

    #[inline(always)]
    fn call(
        &mut self,
        context: &mut LoopContext,
        key: u32,
        member: u32,
        callback: impl FnOnce(&mut H, &mut H::State, &mut TcpConnection<'_>),
    ) {
        if let Some(member) = self.members.get_mut(member as usize) {
            self.running = key;
            callback(&mut self.handler, &mut member.state, &mut TcpConnection::new(context, key));
            self.running = NOBODY;
        }
    }

    fn finish(&mut self, context: &mut LoopContext, key: u32) {
        let Some(reason) = Table::shut(context, key) else { return };
        let entry = Table::of(context).entry(key);
        let member = entry.member as usize;
        if let Some(observer) = &self.observer {
            observer.connection_ended(&entry.peer);
        }
        if self.members.contains(member) {
            let state = self.members.remove(member).state;
            self.running = key;
            self.handler.on_close(state, &mut TcpConnection::new(context, key), reason);
            self.running = NOBODY;
        }
        Table::of(context).remove(key);
    }

    fn end_without_state(&mut self, context: &mut LoopContext, key: u32) {
        Table::of(context).entry_mut(key).core.end(CloseReason::HandlerPanicked);
        self.finish(context, key);
    }
}
