//! What a session keeps beside the user's object, its codec and its filters.

use std::any::Any;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;

use super::SessionId;
use super::attributes::AttributeStore;
use super::config::SessionConfig;
use super::directory::BoundKey;
use super::idle::{IdleClock, IdleKind, LastIo};
use super::stats::Meter;
use super::writes::Writes;
use crate::buffer::Buffer;
use crate::connection::CloseReason;
use crate::reactor::TimerId;

/// Delivery was stopped, by those whom [`Seldom`] names.
pub(super) const PAUSED: u16 = 1;
/// Delivery was stopped until byte filters have got rid of what they have.
pub(super) const HELD: u16 = 1 << 1;
/// `close` was called.
pub(super) const CLOSING: u16 = 1 << 2;
/// `abort` was called.
pub(super) const ABORTING: u16 = 1 << 3;
/// `shutdown` was called.
pub(super) const SHUT_DOWN: u16 = 1 << 4;
/// Filters have been changed.
pub(super) const EDITED: u16 = 1 << 5;
pub(super) const UNAUTHENTICATED: u16 = 1 << 6;
/// A deadline may have come nearer.
pub(super) const REARM: u16 = 1 << 7;
/// It looked idle, and another look is under way.
pub(super) const PROBED: u16 = 1 << 8;
/// The peer's end came while delivery was stopped.
pub(super) const END_PENDING: u16 = 1 << 9;
/// Filters write their last words.
pub(super) const LAST_WORDS: u16 = 1 << 10;
/// The connection has been told to close or to abort.
pub(super) const CONNECTION_TOLD: u16 = 1 << 11;
/// The connection has ended.
pub(super) const ENDED: u16 = 1 << 12;
/// The connection is one of packets: each message is one.
pub(super) const PACKETS: u16 = 1 << 13;
/// The connection has been told to shut down.
pub(super) const FIN_TOLD: u16 = 1 << 14;
/// The connection has said that its output is above the high-water mark.
pub(super) const ABOVE_HIGH: u16 = 1 << 15;

/// No such moment.
pub(super) const NEVER: u64 = u64::MAX;

pub(super) struct Core {
    pub(super) id: SessionId,
    pub(super) flags: u16,
    /// Gives each filter a number by which its timers know it; the session has zero.
    pub(super) next_serial: u32,
    pub(super) config: Rc<SessionConfig>,
    pub(super) writes: Writes,
    /// Where the output begins that is staged, in bytes that the codec has given since the connection's beginning.
    pub(super) base: u64,
    /// How many bytes may be staged.
    pub(super) room: usize,
    /// How many bytes of what is staged are whole messages.
    pub(super) staged: usize,
    pub(super) messages_in: u64,
    /// When a message was last delivered that had been held back, in nanoseconds.
    pub(super) last_delivered: u64,
    /// Since when a part of a message has been there.
    pub(super) frame_since: u64,
    /// When the session began, in nanoseconds.
    began: u64,
    pub(super) idle: IdleClock,
    pub(super) timer: Option<TimerId>,
    pub(super) armed_for: u64,
    /// From the first question on that needs it.
    pub(super) meter: Option<Box<Meter>>,
    pub(super) seldom: Option<Box<Seldom>>,
}

/// What many sessions never need.
#[derive(Default)]
pub(super) struct Seldom {
    pub(super) timers: Slab<SessionTimer>,
    pub(super) attributes: Option<Box<dyn AttributeStore>>,
    /// What the session is found by.
    pub(super) keys: Vec<Box<dyn BoundKey>>,
    /// After what silence the session closes, in nanoseconds.
    pub(super) silence: Option<u64>,
    /// Who has stopped delivery: the session, as zero, and filters.
    pub(super) paused_by: Vec<u32>,
    /// How many messages, and what is none, had come in when a panic was last passed over.
    pub(super) passed_over: u64,
    /// Something has come in after which nothing more can be made out.
    pub(super) has_lost_place: bool,
    /// How often what came in was no message.
    pub(super) decode_errors: u64,
    /// What was left of the input when the peer's end came, or of a packet, and delivery was stopped.
    pub(super) rest: Buffer,
    /// Why the session is closing, if this side has a reason.
    pub(super) reason: Option<CloseReason>,
}

pub(super) struct SessionTimer {
    pub(super) owner: u32,
    pub(super) token: u64,
    pub(super) id: Option<TimerId>,
}

/// What a deadline that has come brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expired {
    Authentication,
    Frame,
    Silence,
    Idle(IdleKind),
}

impl Core {
    pub(super) fn new(id: SessionId, config: Rc<SessionConfig>, now: u64) -> Self {
        let unauthenticated = if config.authentication.is_some() { UNAUTHENTICATED } else { 0 };
        Self {
            id,
            flags: REARM | unauthenticated,
            next_serial: 1,
            config,
            writes: Writes::default(),
            base: 0,
            room: 0,
            staged: 0,
            messages_in: 0,
            last_delivered: 0,
            frame_since: NEVER,
            began: now,
            idle: IdleClock::default(),
            timer: None,
            armed_for: NEVER,
            meter: None,
            seldom: None,
        }
    }

    #[inline]
    pub(super) fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    #[inline]
    pub(super) fn set(&mut self, flags: u16, on: bool) {
        if on { self.flags |= flags } else { self.flags &= !flags }
    }

    #[inline]
    pub(super) fn accepts_writes(&self) -> bool {
        !self.has(CLOSING | ABORTING | SHUT_DOWN | ENDED) || self.has(LAST_WORDS)
    }

    /// Whether decoding goes on with the next message as it has with the last one.
    #[inline]
    pub(super) fn flows(&self) -> bool {
        !self.has(PAUSED | CLOSING | ABORTING | EDITED | UNAUTHENTICATED | ENDED)
    }

    /// Whether messages may be delivered at all.
    pub(super) fn delivers(&self) -> bool {
        !self.has(PAUSED | CLOSING | ABORTING | ENDED)
    }

    /// Whether the connection is still to be told of an end that was asked for.
    #[inline]
    pub(super) fn has_to_end(&self) -> bool {
        (self.has(CLOSING | ABORTING) && !self.has(CONNECTION_TOLD))
            || (self.has(SHUT_DOWN) && !self.has(FIN_TOLD | CONNECTION_TOLD))
    }

    pub(super) fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }

    /// The reason that stands is the first.
    pub(super) fn note_reason(&mut self, reason: CloseReason) {
        self.seldom().reason.get_or_insert(reason);
    }

    pub(super) fn take_reason(&mut self) -> Option<CloseReason> {
        self.seldom.as_mut()?.reason.take()
    }

    fn idle_time(&self, kind: IdleKind) -> Option<u64> {
        let time = match kind {
            IdleKind::Both => self.config.idle_both,
            IdleKind::Read => self.config.idle_read,
            IdleKind::Write => self.config.idle_write,
        };
        // Zero would be told for ever.
        time.map(nanos).filter(|&time| time > 0)
    }

    fn idle_deadline(&self, kind: IdleKind, last: LastIo) -> u64 {
        self.idle_time(kind).map_or(NEVER, |time| self.idle.deadline(kind, last, time))
    }

    fn frame_deadline(&self) -> u64 {
        match self.config.frame_deadline {
            Some(time) if self.frame_since != NEVER && !self.has(PAUSED | HELD) => {
                self.frame_since.saturating_add(nanos(time))
            }
            _ => NEVER,
        }
    }

    fn authentication_deadline(&self) -> u64 {
        match &self.config.authentication {
            Some(authentication) if self.has(UNAUTHENTICATED) => {
                self.began.saturating_add(nanos(authentication.deadline))
            }
            _ => NEVER,
        }
    }

    fn silence_deadline(&self, last: LastIo) -> u64 {
        let silence = self.seldom.as_ref().and_then(|seldom| seldom.silence);
        silence.map_or(NEVER, |silence| last.read.max(last.write).saturating_add(silence))
    }

    /// When [`expired`](Self::expired) has something to say next.
    pub(super) fn next_deadline(&self, last: LastIo) -> u64 {
        let idle = IdleKind::ALL.map(|kind| self.idle_deadline(kind, last)).into_iter().fold(NEVER, u64::min);
        let final_ones = [self.frame_deadline(), self.authentication_deadline(), self.silence_deadline(last)];
        final_ones.into_iter().fold(idle, u64::min)
    }

    /// Which deadlines have come, the more final ones first.
    pub(super) fn expired(&self, last: LastIo, now: u64) -> Option<Expired> {
        if self.authentication_deadline() <= now {
            return Some(Expired::Authentication);
        }
        if self.frame_deadline() <= now {
            return Some(Expired::Frame);
        }
        if self.silence_deadline(last) <= now {
            return Some(Expired::Silence);
        }
        IdleKind::ALL.into_iter().find(|&kind| self.idle_deadline(kind, last) <= now).map(Expired::Idle)
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

/// The text that a panic came with.
pub(super) fn panic_message(payload: &(dyn Any + Send)) -> String {
    match payload.downcast_ref::<&str>() {
        Some(text) => (*text).to_owned(),
        None => payload.downcast_ref::<String>().cloned().unwrap_or_else(|| "no message".to_owned()),
    }
}
