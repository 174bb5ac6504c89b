//! Deadlines: the earliest, and what they bring.

use super::{CLOSING, Core, DEADLINE_CHANGED, ENDED, Expired, NEVER, PROBED, nanos};
use crate::connection::{CloseReason, Deadline};

impl Core {
    /// Whether the next deadline may have become an earlier one since the last call.
    pub(crate) fn take_deadline_changed(&mut self) -> bool {
        let changed = self.has(DEADLINE_CHANGED);
        self.set(DEADLINE_CHANGED, false);
        changed && !self.has(ENDED)
    }

    /// When [`expire`](Self::expire) has to be called next.
    pub(crate) fn next_deadline(&self) -> u64 {
        let silent_since = self.silent_since();
        [
            self.seldom().close_by,
            self.linger_until(),
            after(self.stalled_since, self.config.write_stall.map(nanos)),
            after(self.seldom().high_since, self.config.slow_consumer.map(nanos)),
            after(silent_since, self.idle_time()),
            after(silent_since, self.silence_time()),
        ]
        .into_iter()
        .fold(NEVER, u64::min)
    }

    /// Does what is due at `now`.
    pub(crate) fn expire(&mut self, now: u64) -> Expired {
        if self.has(ENDED) {
            return Expired::Nothing;
        }
        let lingered = self.linger_until() <= now;
        if self.seldom().close_by <= now || (lingered && self.has(CLOSING)) {
            let lingers = self.has_pending();
            let reason =
                if lingers { CloseReason::TimedOut(Deadline::Linger) } else { self.peaceful_reason() };
            self.end(reason);
            return Expired::Changed;
        }
        if lingered {
            self.end(CloseReason::Reset);
            return Expired::Changed;
        }
        if after(self.stalled_since, self.config.write_stall.map(nanos)) <= now {
            self.end(CloseReason::TimedOut(Deadline::WriteStall));
            return Expired::Changed;
        }
        if after(self.seldom().high_since, self.config.slow_consumer.map(nanos)) <= now {
            self.end(CloseReason::SlowConsumer);
            return Expired::Changed;
        }
        let idle = after(self.silent_since(), self.idle_time()) <= now;
        let silent = after(self.silent_since(), self.silence_time()) <= now;
        if !idle && !silent {
            return Expired::Nothing;
        }
        if !self.has(PROBED) && self.wants_input() {
            self.set(PROBED, true);
            return Expired::Probe;
        }
        if idle {
            self.end(CloseReason::TimedOut(Deadline::Idle));
        } else {
            self.close(Some(CloseReason::Stopping), now);
        }
        Expired::Changed
    }

    /// Counts from the last bytes that the kernel took, so that a peer that reads slowly still gets them all.
    fn linger_until(&self) -> u64 {
        if self.lingers_since == NEVER {
            return NEVER;
        }
        after(self.lingers_since.max(self.last_sent), Some(nanos(self.config.linger)))
    }

    fn silent_since(&self) -> u64 {
        self.last_received.max(self.last_sent)
    }

    /// A closing connection has its linger deadline instead.
    fn idle_time(&self) -> Option<u64> {
        self.config.idle.filter(|_| !self.has(CLOSING)).map(nanos)
    }

    fn silence_time(&self) -> Option<u64> {
        Some(self.seldom().silence).filter(|&silence| silence != NEVER && !self.has(CLOSING))
    }
}

/// `NEVER` counts as such on both sides.
fn after(since: u64, time: Option<u64>) -> u64 {
    time.map_or(NEVER, |time| since.saturating_add(time))
}
