//! Reads, but for the usual one that gets all there is, which is in [`Group::on_ready`](crate::connection::group::Group::on_ready).

use super::Table;
use crate::buffer::Buffer;
use crate::connection::core::{READ_SIZE, Received};
use crate::reactor::{Flags, LoopContext, Ready};

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
    /// A packet that was too long.
    Oversized,
    /// The peer will send no more.
    Closed,
    /// There may be something to be read, but not now.
    Left,
    Nothing,
}

/// Unread input up to this many bytes is moved to the shared buffer for the next read, instead of being read behind.
const MOVED_TO_SCRATCH: usize = 4 * 1024;

impl Table {
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
            Received::Oversized if entry.core.is_open() => return Input::Oversized,
            Received::Oversized => Input::Discarded,
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
}
