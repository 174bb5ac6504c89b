//! One connection's state machine, buffers and deadlines, with no socket and no clock.
//!
//! System calls go through a [`Transport`](super::transport::Transport), time comes in as `now`, and what is to be done comes out: callbacks that are
//! [due](Due), a flush that is wanted, a deadline. So everything that a connection does can be driven by a script.
//!
//! ```text
//!   Connected ──close()──> Disconnecting ──flushed, peer closed, or linger deadline──> Disconnected
//!       │                        │
//!       └── reset, force_close, panic, deadline, both directions closed ──────────────────^
//! ```

mod deadlines;
mod ending;
mod receiving;
mod scripted;
mod sending;

use std::rc::Rc;

use super::output::{OutputQueue, PacketQueue};
use super::{CloseReason, ConnectionConfig, SendError};
use crate::buffer::Buffer;

/// What a read of a connection brought.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Received {
    /// Bytes; the kernel has no more of them if `drained`.
    Data { drained: bool },
    /// A packet that was longer than it may be; what could be read of it is gone.
    Oversized,
    /// The peer will send no more.
    EndOfStream,
    /// Nothing at the moment.
    WouldBlock,
    /// The connection has ended by it.
    Ended,
}

/// What has become of a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// Accepted, and nothing has to follow.
    Done,
    /// Accepted, with a flush to follow at the end of the batch.
    FlushLater,
    /// Accepted, and the state may have changed by it.
    Changed,
    Refused(SendError),
}

/// What a deadline asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expired {
    /// Nothing is due yet.
    Nothing,
    /// It looks idle: read once more before it is believed, for the loop may have been held up rather than the peer.
    Probe,
    /// The state has changed by it.
    Changed,
}

/// Callbacks that are due, as a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Due(u8);

impl Due {
    pub(crate) const HIGH_WATER: Self = Self(1);
    pub(crate) const LOW_WATER: Self = Self(1 << 1);
    pub(crate) const WRITE_COMPLETE: Self = Self(1 << 2);
    pub(crate) const CLOSE: Self = Self(1 << 3);
    pub(crate) const STOPPING: Self = Self(1 << 4);
    pub(crate) const WRITE_PROGRESS: Self = Self(1 << 5);
}

/// The states of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Established, though one direction may be closed.
    Connected,
    /// Being closed: pending output is flushed, and then the peer is given time to close as well.
    Disconnecting,
    /// Ended.
    Disconnected,
}

const READ_CLOSED: u16 = 1;
const PEER_CLOSED_FIRST: u16 = 1 << 1;
const SHUT_DOWN: u16 = 1 << 2;
const FIN_SENT: u16 = 1 << 3;
const PAUSED: u16 = 1 << 4;
const CLOSING: u16 = 1 << 5;
const ENDED: u16 = 1 << 6;
const BLOCKED: u16 = 1 << 7;
const WRITE_FAILED: u16 = 1 << 8;
const ABOVE_HIGH: u16 = 1 << 9;
const PROBED: u16 = 1 << 10;
const REDELIVER: u16 = 1 << 11;
const PACKETS: u16 = 1 << 12;
const DEADLINE_CHANGED: u16 = 1 << 13;
const REPORTS_WRITES: u16 = 1 << 14;

/// No such moment.
const NEVER: u64 = u64::MAX;

/// What a packet that waits counts for, beside its bytes, towards the hard cap.
const PACKET_COST: usize = 64;

/// How many bytes a read asks for: so that a message of any usual size is one read.
pub(crate) const READ_SIZE: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Core {
    flags: u16,
    due: Due,
    /// In a box, as most of a connection's life there is none.
    reason: Option<Box<CloseReason>>,
    pub(crate) input: Option<Box<Buffer>>,
    output: Option<Box<OutputQueue>>,
    packets: Option<Box<PacketQueue>>,
    config: Rc<ConnectionConfig>,
    /// Since when the kernel has taken nothing of what is pending.
    stalled_since: u64,
    /// Since when the connection is closing, or, before that, reset while it was paused.
    lingers_since: u64,
    pub(crate) created: u64,
    pub(crate) last_received: u64,
    pub(crate) last_sent: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) reads: u64,
    pub(crate) sends: u64,
    seldom: Option<Box<Seldom>>,
}

/// What few connections ever need.
#[derive(Clone, Debug)]
struct Seldom {
    /// Since when the output has been above the high-water mark.
    high_since: u64,
    /// When a closing connection is closed by force.
    close_by: u64,
    /// After what silence a stopping connection closes, in nanoseconds.
    silence: u64,
    bytes_discarded: u64,
}

impl Seldom {
    const NONE: Self = Self { high_since: NEVER, close_by: NEVER, silence: NEVER, bytes_discarded: 0 };
}

impl Core {
    pub(crate) fn new(config: Rc<ConnectionConfig>, packets: bool, now: u64) -> Self {
        Self {
            flags: DEADLINE_CHANGED | if packets { PACKETS } else { 0 },
            due: Due(0),
            reason: None,
            input: None,
            output: None,
            packets: None,
            config,
            stalled_since: NEVER,
            lingers_since: NEVER,
            created: now,
            last_received: now,
            last_sent: now,
            bytes_in: 0,
            bytes_out: 0,
            reads: 0,
            sends: 0,
            seldom: None,
        }
    }

    fn seldom(&self) -> &Seldom {
        self.seldom.as_deref().unwrap_or(&Seldom::NONE)
    }

    fn seldom_mut(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_with(|| Box::new(Seldom::NONE))
    }

    pub(crate) fn bytes_discarded(&self) -> u64 {
        self.seldom().bytes_discarded
    }

    pub(crate) fn state(&self) -> ConnectionState {
        if self.has(ENDED) {
            ConnectionState::Disconnected
        } else if self.has(CLOSING) {
            ConnectionState::Disconnecting
        } else {
            ConnectionState::Connected
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.has(ENDED)
    }

    /// Whether the user still hears of what comes in.
    pub(crate) fn is_open(&self) -> bool {
        !self.has(CLOSING | ENDED)
    }

    pub(crate) fn is_read_closed(&self) -> bool {
        self.has(READ_CLOSED)
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.has(SHUT_DOWN)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.has(PAUSED)
    }

    /// Whether reading is anything but the usual: there is something to be seen to before.
    #[inline]
    pub(crate) fn reads_unusually(&self) -> bool {
        self.has(PACKETS | REDELIVER | PAUSED | READ_CLOSED | CLOSING | ENDED) || self.input.is_some()
    }

    /// Whether reads make sense: not while paused, unless it is to drain what a closing peer still sends.
    pub(crate) fn wants_input(&self) -> bool {
        !self.has(READ_CLOSED | ENDED) && (!self.has(PAUSED) || self.has(CLOSING))
    }

    /// Whether the kernel has to say that it takes output again.
    pub(crate) fn is_blocked(&self) -> bool {
        self.has(BLOCKED) && !self.has(ENDED)
    }

    pub(crate) fn is_packets(&self) -> bool {
        self.has(PACKETS)
    }

    pub(crate) fn config(&self) -> &ConnectionConfig {
        &self.config
    }

    /// Changes the configuration of this connection alone.
    pub(crate) fn configure(&mut self, change: impl FnOnce(&mut ConnectionConfig)) {
        change(Rc::make_mut(&mut self.config));
        self.set(DEADLINE_CHANGED, true);
    }

    pub(crate) fn pending(&self) -> usize {
        match (&self.output, &self.packets) {
            (Some(queue), _) => queue.len(),
            (_, Some(queue)) => queue.len(),
            _ => 0,
        }
    }

    fn has_pending(&self) -> bool {
        self.output.is_some() || self.packets.is_some()
    }

    /// Tells the handler whenever all output has reached the kernel.
    pub(crate) fn report_writes(&mut self) {
        self.set(REPORTS_WRITES, true);
    }

    #[inline]
    fn mark_written(&mut self) {
        if self.has(REPORTS_WRITES) {
            self.due.0 &= !Due::WRITE_PROGRESS.0;
            self.mark_due(Due::WRITE_COMPLETE);
        }
    }

    /// A part of the output is out.
    fn mark_progress(&mut self) {
        if self.has(REPORTS_WRITES) {
            self.mark_due(Due::WRITE_PROGRESS);
        }
    }

    pub(crate) fn mark_due(&mut self, what: Due) {
        self.due.0 |= what.0;
    }

    pub(crate) fn has_due(&self) -> bool {
        self.due.0 != 0
    }

    /// Whether anything about the connection may have to be made known outside of it.
    #[inline]
    pub(crate) fn needs_follow_up(&self) -> bool {
        self.has_due() || self.has(BLOCKED | WRITE_FAILED | DEADLINE_CHANGED)
    }

    /// What is due at the moment, to be taken out one by one, and the close that this may bring about.
    pub(crate) fn due_now(&self) -> Due {
        Due(self.due.0 | Due::CLOSE.0)
    }

    /// Takes one callback out of those that are due and among `wanted`, where it is then no more. An ended connection has only
    /// its close.
    pub(crate) fn take_due(&mut self, wanted: &mut Due) -> Option<Due> {
        if self.has(ENDED) {
            self.due.0 &= Due::CLOSE.0;
        }
        if self.has_pending() && self.due.0 & Due::WRITE_COMPLETE.0 != 0 {
            // More was sent since; it is due again when that is out too.
            self.due.0 = self.due.0 & !Due::WRITE_COMPLETE.0 | Due::WRITE_PROGRESS.0;
            wanted.0 |= Due::WRITE_PROGRESS.0;
        }
        let both = self.due.0 & wanted.0;
        let lowest = both & both.wrapping_neg();
        self.due.0 &= !lowest;
        wanted.0 &= !lowest;
        (lowest != 0).then_some(Due(lowest))
    }

    #[inline]
    fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    #[inline]
    fn set(&mut self, flags: u16, on: bool) {
        if on { self.flags |= flags } else { self.flags &= !flags }
    }
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests;
