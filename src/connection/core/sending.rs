//! Output: when it is written, and what waits.

use std::io::{self, IoSlice};

use super::{
    ABOVE_HIGH, BLOCKED, CLOSING, Core, DEADLINE_CHANGED, Due, ENDED, FIN_SENT, NEVER, PACKET_COST, PACKETS,
    PROBED, READ_CLOSED, SHUT_DOWN, Sent, WRITE_FAILED,
};
use crate::connection::lender::Lender;
use crate::connection::output::{MAX_SLICES, Output, OutputQueue};
use crate::connection::transport::Transport;
use crate::connection::{CloseReason, SendError};

impl Core {
    /// Puts bytes behind others that wait for the end of the batch. Answers whether that is all there is to be done about them.
    #[inline]
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        let Some(queue) = &mut self.output else { return false };
        let waiting = queue.len() + bytes.len();
        if self.flags & (CLOSING | ENDED | SHUT_DOWN | WRITE_FAILED | BLOCKED) != 0
            || waiting >= self.config.defer_output
            || waiting > self.config.hard_cap
            || bytes.is_empty()
        {
            return false;
        }
        queue.push_slice(bytes);
        self.sends += 1;
        true
    }

    /// Accepts output, or refuses it.
    #[inline(always)]
    pub(crate) fn send<'o>(
        &mut self,
        io: &impl Transport,
        lender: &mut Lender,
        output: impl AsRef<[u8]> + Into<Output<'o>>,
        now: u64,
    ) -> Sent {
        let len = output.as_ref().len();
        // Nothing at all is as unusual as too much.
        let is_usual = !self.has(CLOSING | ENDED | SHUT_DOWN | WRITE_FAILED | PACKETS | BLOCKED)
            && self.output.is_none()
            && len.wrapping_sub(1) < self.config.hard_cap
            && len >= self.config.defer_output;
        if !is_usual {
            return self.enqueue(io, lender, output.into(), now);
        }
        match io.send(output.as_ref()) {
            Ok(sent) if sent == len => {
                self.sends += 1;
                self.count_output(sent, now);
                self.mark_written();
                if self.has_due() { Sent::Changed } else { Sent::Done }
            }
            result => self.enqueue_rest(lender, output.into(), result, now),
        }
    }

    /// Accepts what is not written at once, or not at all.
    #[inline(always)]
    fn enqueue(&mut self, io: &impl Transport, lender: &mut Lender, output: Output<'_>, now: u64) -> Sent {
        if self.has(CLOSING | ENDED | SHUT_DOWN | WRITE_FAILED | PACKETS) {
            return self.send_unusually(io, output, now);
        }
        let len = output.len();
        let waiting = self.output.as_ref().map_or(0, |queue| queue.len());
        if waiting + len > self.config.hard_cap {
            self.end(CloseReason::SlowConsumer);
            return Sent::Refused(SendError::Full);
        }
        if len == 0 {
            return Sent::Done;
        }
        self.sends += 1;
        self.output.get_or_insert_with(|| lender.lend_queue()).push(output, 0);
        if self.has(BLOCKED) {
            self.check_high_water(now);
            return Sent::Changed;
        }
        if waiting + len >= self.config.defer_output {
            self.flush(io, lender, now);
            return Sent::Changed;
        }
        Sent::FlushLater
    }

    /// Queues what the kernel has not taken.
    #[cold]
    fn enqueue_rest(
        &mut self,
        lender: &mut Lender,
        output: Output<'_>,
        written: io::Result<usize>,
        now: u64,
    ) -> Sent {
        let sent = self.attempt(now, written).unwrap_or(0);
        if self.has(WRITE_FAILED) {
            return Sent::Refused(SendError::Closed);
        }
        self.block(now);
        if sent > 0 {
            self.mark_progress();
        }
        self.sends += 1;
        self.output.get_or_insert_with(|| lender.lend_queue()).push(output, sent);
        self.check_high_water(now);
        Sent::Changed
    }

    /// Packets, and what is not accepted any more.
    #[cold]
    fn send_unusually(&mut self, io: &impl Transport, output: Output<'_>, now: u64) -> Sent {
        if self.has(CLOSING | ENDED | WRITE_FAILED) {
            return Sent::Refused(SendError::Closed);
        }
        if self.has(SHUT_DOWN) {
            return Sent::Refused(SendError::ShutDown);
        }
        match self.send_packet(io, output, now) {
            Ok(()) => Sent::Changed,
            Err(error) => Sent::Refused(error),
        }
    }

    /// A packet gains nothing from waiting for others: it goes out at once if it can.
    fn send_packet(&mut self, io: &impl Transport, output: Output<'_>, now: u64) -> Result<(), SendError> {
        let len = output.len();
        // Each packet that waits has a cost of its own, be it an empty one.
        let waiting = self.packets.as_ref().map_or(0, |queue| queue.len() + queue.packets() * PACKET_COST);
        if waiting + len > self.config.hard_cap {
            if len > io.packet_capacity() {
                return Err(SendError::TooLarge);
            }
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
    #[inline]
    pub(crate) fn flush(&mut self, io: &impl Transport, lender: &mut Lender, now: u64) {
        if self.has(ENDED) {
            return;
        }
        if !self.has(BLOCKED) {
            if let Some(queue) = self.output.take() {
                self.flush_stream(io, lender, queue, now);
            }
            if self.has(PACKETS) {
                self.flush_packets(io, now);
            }
        }
        if self.has(BLOCKED | ABOVE_HIGH | SHUT_DOWN) {
            self.flushed(io, now);
        }
    }

    #[inline]
    fn flush_stream(
        &mut self,
        io: &impl Transport,
        lender: &mut Lender,
        mut queue: Box<OutputQueue>,
        now: u64,
    ) {
        let (wanted, written) =
            if queue.is_single() { (queue.len(), io.send(queue.first())) } else { gather(io, &queue) };
        match written {
            Ok(sent) if sent == queue.len() => {
                self.count_output(sent, now);
                queue.clear();
                lender.take_back_queue(queue);
                self.stalled_since = NEVER;
                self.mark_written();
            }
            written => self.flush_in_parts(io, lender, queue, (wanted, written), now),
        }
    }

    /// Goes on after the first write of a flush, which has not brought everything out.
    #[inline(never)]
    fn flush_in_parts(
        &mut self,
        io: &impl Transport,
        lender: &mut Lender,
        mut queue: Box<OutputQueue>,
        mut last: (usize, io::Result<usize>),
        now: u64,
    ) {
        loop {
            let (wanted, written) = last;
            let sent = self.attempt(now, written).unwrap_or(0);
            queue.consume(sent);
            if sent > 0 && !queue.is_empty() {
                self.mark_progress();
            }
            if sent < wanted {
                self.output = Some(queue);
                // A failed write has ended the output, and counts what is dropped.
                if self.has(WRITE_FAILED) {
                    self.discard_output();
                } else {
                    self.block(now);
                }
                return;
            }
            if queue.is_empty() {
                break;
            }
            last = gather(io, &queue);
        }
        lender.take_back_queue(queue);
        self.stalled_since = NEVER;
        self.mark_written();
    }

    /// Does what follows from a flush.
    #[inline(never)]
    fn flushed(&mut self, io: &impl Transport, now: u64) {
        if self.has(BLOCKED) {
            self.check_high_water(now);
        }
        if self.has(ABOVE_HIGH) && self.pending() <= self.config.low_water {
            self.set(ABOVE_HIGH, false);
            self.seldom_mut().high_since = NEVER;
            self.mark_crossing(Due::LOW_WATER, Due::HIGH_WATER);
        }
        if !self.has_pending() {
            self.finish_output(io, now);
        }
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
            if queue.packets() > 0 {
                self.mark_progress();
            }
        }
        self.stalled_since = NEVER;
        self.mark_written();
    }

    /// All output is out: what was waiting for that can go on.
    fn finish_output(&mut self, io: &impl Transport, now: u64) {
        if !self.has(SHUT_DOWN) || self.has(FIN_SENT | WRITE_FAILED) {
            return;
        }
        if self.has(READ_CLOSED) {
            // Closing the descriptor says the same as a shutdown before it.
            self.set(FIN_SENT, true);
            return self.end_if_finished();
        }
        match io.shutdown_write() {
            Ok(()) => self.set(FIN_SENT, true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                self.output_failed(CloseReason::Reset, false, now);
            }
            Err(error) => self.output_failed(CloseReason::of_error(error), false, now),
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
                self.output_failed(CloseReason::of_error(error), true, now);
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
    fn output_failed(&mut self, reason: CloseReason, is_failure: bool, now: u64) {
        self.set(WRITE_FAILED, true);
        self.set(BLOCKED, false);
        self.note_reason(reason, is_failure);
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
            self.seldom_mut().high_since = now;
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
        let discarded = (discarded + in_packets) as u64;
        if discarded > 0 {
            self.seldom_mut().bytes_discarded += discarded;
        }
        if let Some(seldom) = &mut self.seldom {
            seldom.high_since = NEVER;
        }
        self.stalled_since = NEVER;
    }
}

/// One write of as many pieces as it takes. Answers also of how many bytes.
#[inline(never)]
fn gather(io: &impl Transport, queue: &OutputQueue) -> (usize, io::Result<usize>) {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let count = queue.slices(&mut slices);
    let wanted = slices[..count].iter().map(|slice| slice.len()).sum();
    (wanted, io.send_vectored(&slices[..count]))
}

fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}
