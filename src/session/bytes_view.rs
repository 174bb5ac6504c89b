//! What a session's events have to do with byte filters.

use std::time::Duration;

use super::SessionView;
use super::body::Body;
use super::byte_chain::ByteChain;
use super::core::{ABOVE_HIGH, CLOSING, CONNECTION_TOLD, FIN_TOLD, HELD, PAUSED, nanos};
use super::view::{BYTES, RESUME};
use crate::buffer::Buffer;
use crate::codec::Codec;
use crate::connection::{CloseReason, Deadline, SendError};

impl<C: Codec> SessionView<'_, C> {
    /// Makes the changes of byte filters that were asked for.
    pub(super) fn apply_byte_edits(&mut self) {
        let Some(edits) = &mut self.body.edits else { return };
        let edits = std::mem::take(&mut edits.bytes);
        if edits.is_empty() {
            return;
        }
        let (now, output) = (self.conn.now(), self.conn.output());
        let Body { bytes, core, shared, .. } = &mut *self.body;
        let position = output.written + output.pending as u64;
        let bytes = bytes.get_or_insert_with(|| {
            let mut bytes = Box::new(ByteChain::new(core.id, shared.clone(), position));
            // The session has been told of it already.
            bytes.water.is_high = core.has(ABOVE_HIGH);
            bytes
        });
        bytes.apply(edits, now);
        self.after_bytes();
    }

    /// Hands what is staged to the byte filters, and what they make of it to the connection.
    pub(super) fn hand_over_filtered(&mut self) {
        let now = self.conn.now();
        let Body { bytes: Some(bytes), staging, core, .. } = &mut *self.body else { return };
        core.staged = 0;
        bytes.write(staging, now);
        self.after_bytes();
    }

    /// Does what follows from work of the byte filters.
    fn after_bytes(&mut self) {
        let Some(bytes) = &mut self.body.bytes else { return };
        let sent = if bytes.wire.is_empty() { Ok(()) } else { self.conn.send(&mut bytes.wire) };
        if sent.is_err() {
            bytes.lose_wire();
        }
        match sent {
            Ok(()) => {
                let output = self.conn.output();
                bytes.passed_to_wire(output.written + output.pending as u64);
            }
            Err(SendError::TooLarge) => {
                // The writes in it were accepted before the filters made it so large.
                self.body.core.note_reason(CloseReason::Io(SendError::TooLarge.into()));
                self.abort();
            }
            // Any other is the connection's end, which tells what was not written.
            Err(_) => {}
        }
        let Some(bytes) = &mut self.body.bytes else { return };
        bytes.ending.waits = false;
        bytes.rest();
        self.set_wake();
        self.check_water();
        self.measure_room();
    }

    /// Sets the timer for the first of the filters that wants to be called.
    fn set_wake(&mut self) {
        let inwards = !self.body.core.has(PAUSED);
        let Some(bytes) = &mut self.body.bytes else { return };
        let Some(time) = bytes.wake_at(inwards) else { return };
        if let Some((earlier, timer)) = bytes.timer.take() {
            if earlier <= time {
                bytes.timer = Some((earlier, timer));
                return;
            }
            self.conn.cancel_timer(timer);
        }
        let delay = time.saturating_duration_since(self.conn.now());
        bytes.timer = Some((time, self.conn.set_timer(delay, BYTES)));
    }

    /// The timer is due: what waits on the way out goes on.
    pub(super) fn wake_bytes(&mut self) {
        let now = self.conn.now();
        let Some(bytes) = &mut self.body.bytes else { return };
        bytes.timer = None;
        bytes.push(now);
        self.after_bytes();
    }

    /// Gives what has come from the connection to the byte filters, and lets them bring it nearer to the codec. Answers whether there
    /// may be more after it.
    pub(super) fn pull_bytes(&mut self, raw: &mut Buffer) -> bool {
        let (now, limit) = (self.conn.now(), self.conn.config().input_limit);
        let Some(bytes) = &mut self.body.bytes else { return false };
        if std::mem::take(&mut bytes.is_stopped) {
            // First comes what is decoded already, lest it grow with each stop.
            bytes.keep(raw);
            return true;
        }
        let more = bytes.pull(raw, limit, now);
        self.after_bytes();
        more
    }

    /// Stops reading as long as filters have enough, or goes on. `more` says that there is something to be pulled in the next turn.
    pub(super) fn hold_input(&mut self, more: bool) {
        let Body { bytes: Some(bytes), core, .. } = &mut *self.body else { return };
        let holds = bytes.holds_input();
        if holds != core.has(HELD) {
            core.set(HELD, holds);
            if holds {
                self.conn.pause_reading();
            } else {
                self.continue_reading();
            }
        }
        self.set_wake();
        if let Some(bytes) = &mut self.body.bytes
            && more
            && !bytes.is_resuming
        {
            bytes.is_resuming = true;
            self.conn.set_timer(Duration::ZERO, RESUME);
        }
    }

    /// The timer of [`hold_input`](Self::hold_input) is due.
    pub(super) fn resumed(&mut self) {
        if let Some(bytes) = &mut self.body.bytes {
            bytes.is_resuming = false;
        }
    }

    /// All that has come is pulled: now comes what has failed behind it, unless the codec was stopped before.
    pub(super) fn all_pulled(&mut self) {
        if let Some(bytes) = &mut self.body.bytes
            && !bytes.is_stopped
        {
            bytes.confirm_failure();
        }
    }

    /// Puts back what the codec has left, and notes whether it was stopped.
    pub(super) fn put_back_plain(&mut self, plain: Buffer, is_stopped: bool) {
        let limit = self.conn.config().input_limit;
        let Some(bytes) = &mut self.body.bytes else { return };
        bytes.is_stopped = is_stopped;
        bytes.put_back(plain);
        bytes.rest();
        if bytes.plain.readable() > limit && !is_stopped {
            let text = format!("more than {limit} bytes of input left unread");
            self.close_because(CloseReason::Protocol(text.into()));
        }
    }

    /// Tells the filters that nothing more will come. Answers whether all that came has come through them.
    pub(super) fn end_input(&mut self) -> bool {
        let now = self.conn.now();
        let Some(bytes) = &mut self.body.bytes else { return true };
        let has_ended = bytes.end_input(now);
        self.after_bytes();
        has_ended
    }

    /// Lets the byte filters put their last bytes. Answers whether all is out, and notes that the session's end waits if not.
    pub(super) fn finish_bytes(&mut self) -> bool {
        let now = self.conn.now();
        let Some(bytes) = &mut self.body.bytes else { return true };
        let is_out = bytes.finish(now);
        self.after_bytes();
        let Some(bytes) = &mut self.body.bytes else { return true };
        if bytes.failure.is_some() {
            return false;
        }
        if !is_out {
            bytes.ending.waits = true;
            self.wait_for_bytes();
        }
        is_out
    }

    /// A session that is closed waits for its byte filters as a connection does for its peer: for the linger time, from the last
    /// output on.
    fn wait_for_bytes(&mut self) {
        let Body { bytes: Some(bytes), core, .. } = &mut *self.body else { return };
        if !core.has(CLOSING) {
            return;
        }
        let now = self.conn.nanos();
        let begins = bytes.ending.since.is_none();
        let since = *bytes.ending.since.get_or_insert(now);
        let linger = nanos(self.conn.config().linger);
        let until = since.max(self.conn.last_io().1).saturating_add(linger);
        if until <= now {
            core.set(CONNECTION_TOLD | FIN_TOLD, true);
            self.conn.end(CloseReason::TimedOut(Deadline::Linger));
            return;
        }
        if begins {
            // A handshake may have to go on for what waits to get out.
            self.end_pauses(|_| true);
        }
        self.wake_in(Duration::from_nanos(until - now));
    }

    fn wake_in(&mut self, delay: Duration) {
        let time = self.conn.now() + delay;
        let Some(bytes) = &mut self.body.bytes else { return };
        if bytes.timer.is_none_or(|(earlier, _)| earlier > time) {
            if let Some((_, timer)) = bytes.timer.take() {
                self.conn.cancel_timer(timer);
            }
            bytes.timer = Some((time, self.conn.set_timer(delay, BYTES)));
        }
    }

    /// The connection's own output has crossed a mark. Answers whether the byte filters' counts with it, so that this need not be
    /// a crossing.
    pub(super) fn kernel_crossed(&mut self, is_high: bool) -> bool {
        self.body.core.set(ABOVE_HIGH, is_high);
        if self.body.bytes.is_none() {
            return false;
        }
        self.check_water();
        true
    }

    /// Notes whether the output that waits, here and at the connection, has crossed a mark.
    fn check_water(&mut self) {
        let (config, pending) = (self.conn.config(), self.conn.pending_output());
        let (high, low) = (config.high_water, config.low_water);
        let is_high_below = self.body.core.has(ABOVE_HIGH);
        let Some(bytes) = &mut self.body.bytes else { return };
        let held = bytes.held_output();
        let water = &mut bytes.water;
        let mark = if water.is_high { low } else { high };
        let is_high = held + pending > mark && (held > 0 || is_high_below);
        if is_high != water.is_high {
            water.is_high = is_high;
            // Two crossings of which nobody was told are none.
            water.is_news = !water.is_news;
        }
    }
}
