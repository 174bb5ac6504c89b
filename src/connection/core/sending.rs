//! Output: when it is written, and what waits.

use std::io::{self, IoSlice};

use super::{
    ABOVE_HIGH, BLOCKED, CLOSING, Core, DEADLINE_CHANGED, Due, ENDED, FIN_SENT, Follow, NEVER, PACKET_COST,
    PACKETS, PROBED, READ_CLOSED, REPORTS_WRITES, SHUT_DOWN, WRITE_FAILED,
};
use crate::connection::lender::Lender;
use crate::connection::output::{MAX_SLICES, Output};
use crate::connection::transport::Transport;
use crate::connection::{CloseReason, SendError};

impl Core {
    /// Accepts output. Answers what has to follow.
    #[inline(always)]
    pub(crate) fn send(
        &mut self,
        io: &impl Transport,
        lender: &mut Lender,
        output: Output<'_>,
        now: u64,
    ) -> Result<Follow, SendError> {
        if self.has(CLOSING | ENDED | SHUT_DOWN | WRITE_FAILED | PACKETS) {
            return self.send_unusually(io, output, now);
        }
        let len = output.len();
        let pending = self.output.as_ref().map_or(0, |queue| queue.len());
        if pending + len > self.config.hard_cap {
            self.end(CloseReason::SlowConsumer);
            return Err(SendError::Full);
        }
        if len == 0 {
            return Ok(Follow::Nothing);
        }
        let mut sent = 0;
        if len >= self.config.defer_output && pending == 0 && !self.has(BLOCKED) {
            match io.send(output.as_slice()) {
                Ok(taken) if taken == len => {
                    self.sends += 1;
                    self.count_output(taken, now);
                    if !self.has(REPORTS_WRITES) {
                        return Ok(Follow::Nothing);
                    }
                    self.mark_due(Due::WRITE_COMPLETE);
                    return Ok(Follow::Up);
                }
                result => {
                    sent = self.attempt(now, result).unwrap_or(0);
                    if self.has(WRITE_FAILED) {
                        return Err(SendError::Closed);
                    }
                    self.block(now);
                }
            }
        }
        self.sends += 1;
        let queue = self.output.get_or_insert_with(|| lender.lend_queue());
        queue.push(output, sent);
        let pending = queue.len();
        if self.has(BLOCKED) {
            self.check_high_water(now);
            return Ok(Follow::Up);
        }
        if pending >= self.config.defer_output {
            self.flush(io, lender, now);
            return Ok(Follow::Up);
        }
        Ok(Follow::Flush)
    }

    /// Packets, and what is not accepted any more.
    #[cold]
    fn send_unusually(
        &mut self,
        io: &impl Transport,
        output: Output<'_>,
        now: u64,
    ) -> Result<Follow, SendError> {
        if self.has(CLOSING | ENDED | WRITE_FAILED) {
            return Err(SendError::Closed);
        }
        if self.has(SHUT_DOWN) {
            return Err(SendError::ShutDown);
        }
        self.send_packet(io, output, now).map(|()| Follow::Up)
    }

    /// A packet gains nothing from waiting for others: it goes out at once if it can.
    fn send_packet(&mut self, io: &impl Transport, output: Output<'_>, now: u64) -> Result<(), SendError> {
        let len = output.len();
        // Each packet that waits has a cost of its own, be it an empty one.
        let waiting = self.packets.as_ref().map_or(0, |queue| queue.len() + queue.packets() * PACKET_COST);
        if waiting + len > self.config.hard_cap {
            self.end(CloseReason::SlowConsumer);
            return Err(SendError::Full);
        }
        if !self.has(BLOCKED) {
            let result = io.send(output.as_slice());
            if result.as_ref().is_err_and(is_too_large) {
                return Err(SendError::TooLarge);
            }
            let sent = self.attempt(now, result);
            if self.has(WRITE_FAILED) {
                return Err(SendError::Closed);
            }
            if sent.is_some() {
                self.sends += 1;
                self.mark_written();
                return Ok(());
            }
            self.block(now);
        } else if len > io.packet_capacity() {
            return Err(SendError::TooLarge);
        }
        self.sends += 1;
        self.packets.get_or_insert_default().push(output);
        self.check_high_water(now);
        Ok(())
    }

    /// Writes what is pending, as far as the kernel takes it, and then what follows from that.
    pub(crate) fn flush(&mut self, io: &impl Transport, lender: &mut Lender, now: u64) {
        if self.has(ENDED) {
            return;
        }
        if !self.has(BLOCKED) {
            self.flush_stream(io, lender, now);
            self.flush_packets(io, now);
            if self.has(BLOCKED) {
                self.check_high_water(now);
            }
        }
        if self.has(ABOVE_HIGH) && self.pending() <= self.config.low_water {
            self.set(ABOVE_HIGH, false);
            self.high_since = NEVER;
            self.mark_crossing(Due::LOW_WATER, Due::HIGH_WATER);
        }
        if !self.has_pending() {
            self.finish_output(io);
        }
    }

    fn flush_stream(&mut self, io: &impl Transport, lender: &mut Lender, now: u64) {
        let Some(mut queue) = self.output.take() else { return };
        while !queue.is_empty() {
            let wanted;
            let sent = if queue.is_single() {
                wanted = queue.len();
                self.attempt(now, io.send(queue.first()))
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let count = queue.slices(&mut slices);
                wanted = slices[..count].iter().map(|slice| slice.len()).sum();
                self.attempt(now, io.send_vectored(&slices[..count]))
            };
            let sent = sent.unwrap_or(0);
            queue.consume(sent);
            if sent < wanted {
                self.output = Some(queue);
                // A failed write has ended the output, and counts what is dropped.
                if self.has(WRITE_FAILED) {
                    self.discard_output()
                } else {
                    self.block(now)
                }
                return;
            }
        }
        lender.take_back_queue(queue);
        self.stalled_since = NEVER;
        self.mark_written();
    }

    fn flush_packets(&mut self, io: &impl Transport, now: u64) {
        let Some(mut queue) = self.packets.take() else { return };
        while let Some(packet) = queue.first() {
            if self.attempt(now, io.send(packet)).is_none() {
                self.packets = Some(queue);
                if self.has(WRITE_FAILED) {
                    self.discard_output()
                } else {
                    self.block(now)
                }
                return;
            }
            queue.pop();
        }
        self.stalled_since = NEVER;
        self.mark_written();
    }

    /// All output is out: what was waiting for that can go on.
    fn finish_output(&mut self, io: &impl Transport) {
        if !self.has(SHUT_DOWN) || self.has(FIN_SENT) {
            return;
        }
        if self.has(READ_CLOSED) {
            // Closing the descriptor says the same as a shutdown before it.
            self.set(FIN_SENT, true);
            return self.end_if_finished();
        }
        match io.shutdown_write() {
            Ok(()) => self.set(FIN_SENT, true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => self.end(CloseReason::Reset),
            Err(error) => self.end(CloseReason::of_error(error)),
        }
    }

    /// What a write has brought. Answers how much went out, if it was possible at all; a failure is noted.
    #[inline]
    fn attempt(&mut self, now: u64, written: io::Result<usize>) -> Option<usize> {
        match written {
            Ok(sent) => {
                self.count_output(sent, now);
                if self.stalled_since != NEVER {
                    self.stalled_since = now;
                }
                Some(sent)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => {
                self.write_failed(CloseReason::of_error(error), now);
                None
            }
        }
    }

    #[inline]
    fn count_output(&mut self, sent: usize, now: u64) {
        self.bytes_out += sent as u64;
        self.last_sent = now;
        self.set(PROBED, false);
    }

    /// Nothing more can be sent; but what the peer sent before it went may still be read, so the end comes with the reads.
    fn write_failed(&mut self, reason: CloseReason, now: u64) {
        self.set(WRITE_FAILED, true);
        self.set(BLOCKED, false);
        self.note_reason(reason, true);
        self.discard_output();
        if self.has(READ_CLOSED) {
            self.end(CloseReason::Reset);
        } else {
            self.hung_up(now);
        }
    }

    /// Whether a write has failed, so that what is left to be read has to be read now.
    pub(crate) fn is_broken(&self) -> bool {
        self.has(WRITE_FAILED) && !self.has(ENDED)
    }

    fn block(&mut self, now: u64) {
        self.set(BLOCKED, true);
        if self.stalled_since == NEVER {
            self.stalled_since = now;
            self.set(DEADLINE_CHANGED, true);
        }
    }

    /// The kernel says that it takes output again.
    pub(crate) fn unblock(&mut self) {
        self.set(BLOCKED, false);
    }

    fn check_high_water(&mut self, now: u64) {
        if !self.has(ABOVE_HIGH) && self.pending() > self.config.high_water {
            self.set(ABOVE_HIGH | DEADLINE_CHANGED, true);
            self.high_since = now;
            self.mark_crossing(Due::HIGH_WATER, Due::LOW_WATER);
        }
    }

    /// A water mark was crossed. If the user hasn't heard of the crossing the other way yet, neither is news any more.
    fn mark_crossing(&mut self, this: Due, other: Due) {
        if self.due.0 & other.0 == 0 {
            self.mark_due(this);
        } else {
            self.due.0 &= !other.0;
        }
    }

    pub(super) fn discard_output(&mut self) {
        let discarded = self.output.take().map_or(0, |queue| queue.len());
        let in_packets = self.packets.take().map_or(0, |queue| queue.len());
        self.bytes_discarded += (discarded + in_packets) as u64;
        self.stalled_since = NEVER;
        self.high_since = NEVER;
    }
}

fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}
