//! How a connection comes to its end.

use super::{CLOSING, Core, DEADLINE_CHANGED, Due, ENDED, PEER_CLOSED_FIRST, SHUT_DOWN};
use crate::connection::CloseReason;

impl Core {
    /// No more output after what is pending.
    pub(crate) fn shut_down(&mut self) {
        self.set(SHUT_DOWN, true);
    }

    /// Flush, say that no more comes, and wait for the peer to do the same.
    pub(crate) fn close(&mut self, reason: Option<CloseReason>, now: u64) {
        if !self.is_open() {
            return;
        }
        let reason = reason.unwrap_or_else(|| self.peaceful_reason());
        self.note_reason(reason, false);
        self.set(CLOSING | SHUT_DOWN | DEADLINE_CHANGED, true);
        self.input = None;
        self.lingers_since = now;
    }

    /// Shut down now, and closed by force after `delay` nanoseconds.
    pub(crate) fn close_by(&mut self, deadline: u64) {
        self.shut_down();
        let close_by = &mut self.seldom_mut().close_by;
        *close_by = deadline.min(*close_by);
        self.set(DEADLINE_CHANGED, true);
    }

    pub(crate) fn close_when_silent(&mut self, silence: u64) {
        self.seldom_mut().silence = silence;
        self.set(DEADLINE_CHANGED, true);
    }

    /// Ends the connection now.
    pub(crate) fn end(&mut self, reason: CloseReason) {
        if self.has(ENDED) {
            return;
        }
        let is_failure = self.has_pending() || matches!(reason, CloseReason::HandlerPanicked);
        self.note_reason(reason, is_failure);
        self.discard_output();
        self.input = None;
        self.set(ENDED, true);
        self.mark_due(Due::CLOSE);
    }

    /// The first reason stands, unless it is a close in good order that then failed.
    pub(super) fn note_reason(&mut self, reason: CloseReason, is_failure: bool) {
        let was_peaceful = matches!(self.reason.as_deref(), Some(CloseReason::Local | CloseReason::Peer));
        if self.reason.is_none() || (was_peaceful && is_failure) {
            self.reason = Some(Box::new(reason));
        }
    }

    pub(crate) fn take_reason(&mut self) -> CloseReason {
        self.reason.take().map_or(CloseReason::Local, |reason| *reason)
    }

    pub(super) fn peaceful_reason(&self) -> CloseReason {
        if self.has(PEER_CLOSED_FIRST) { CloseReason::Peer } else { CloseReason::Local }
    }
}
