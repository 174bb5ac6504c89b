//! One connection's state machine, buffers and deadlines, with no socket and no clock.
//!
//! System calls go through a [`Transport`], time comes in as `now`, and what is to be done comes out: callbacks that are
//! [due](Due), a flush that is wanted, a deadline. So everything that a connection does can be driven by a script.
//!
//! ```text
//!   Connected ──close()──> Disconnecting ──flushed, peer closed, or linger deadline──> Disconnected
//!       │                        │
//!       └── reset, force_close, panic, deadline, both directions closed ──────────────────^
//! ```

use std::io::{self, IoSlice};
use std::rc::Rc;

use super::lender::Lender;
use super::output::{MAX_SLICES, Output, OutputQueue, PacketQueue};
use super::{CloseReason, ConnectionConfig, Deadline, SendError};
use crate::buffer::Buffer;

/// The system calls of a connection.
pub(crate) trait Transport {
    /// Appends what there is to `into`'s spare capacity: one call, zero at the end of the stream.
    fn recv(&self, into: &mut Vec<u8>) -> io::Result<usize>;
    /// Appends one packet.
    fn recv_packet(&self, into: &mut Vec<u8>) -> io::Result<Packet>;
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
    fn send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    fn shutdown_write(&self) -> io::Result<()>;
    /// The longest packet that can be sent.
    fn packet_capacity(&self) -> usize;
}

/// What a read of a packet brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Packet {
    Whole(usize),
    Truncated,
    EndOfStream,
}

/// What a read of a connection brought.
#[derive(Debug)]
pub(crate) enum Received {
    /// Bytes; the kernel has no more of them if `drained`.
    Data { drained: bool },
    /// The peer will send no more.
    EndOfStream,
    /// Nothing at the moment.
    WouldBlock,
    /// The connection has ended by it.
    Ended,
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
    reason: Option<CloseReason>,
    pub(crate) input: Option<Box<Buffer>>,
    output: Option<Box<OutputQueue>>,
    packets: Option<Box<PacketQueue>>,
    config: Rc<ConnectionConfig>,
    /// Since when the kernel has taken nothing of what is pending.
    stalled_since: u64,
    /// Since when the output has been above the high-water mark.
    high_since: u64,
    /// When a closing connection is closed by force.
    linger_until: u64,
    /// When a paused connection that was reset is closed by force.
    hung_up_until: u64,
    /// After what silence a stopping connection closes, in nanoseconds.
    silence: u64,
    pub(crate) created: u64,
    pub(crate) last_received: u64,
    pub(crate) last_sent: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) reads: u64,
    pub(crate) sends: u64,
    pub(crate) bytes_discarded: u64,
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
            high_since: NEVER,
            linger_until: NEVER,
            hung_up_until: NEVER,
            silence: NEVER,
            created: now,
            last_received: now,
            last_sent: now,
            bytes_in: 0,
            bytes_out: 0,
            reads: 0,
            sends: 0,
            bytes_discarded: 0,
        }
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

    // ---- output

    /// Accepts output. Answers whether a flush has to follow at the end of the batch.
    pub(crate) fn send(
        &mut self,
        io: &impl Transport,
        lender: &mut Lender,
        output: Output<'_>,
        now: u64,
    ) -> Result<bool, SendError> {
        if self.has(CLOSING | ENDED | SHUT_DOWN | WRITE_FAILED) {
            let shut_down = self.has(SHUT_DOWN) && !self.has(CLOSING | ENDED | WRITE_FAILED);
            return Err(if shut_down { SendError::ShutDown } else { SendError::Closed });
        }
        if self.has(PACKETS) {
            return self.send_packet(io, output, now).map(|()| false);
        }
        let len = output.len();
        let pending = self.pending();
        if pending + len > self.config.hard_cap {
            self.end(CloseReason::SlowConsumer);
            return Err(SendError::Full);
        }
        if len == 0 {
            return Ok(false);
        }
        let mut sent = 0;
        if pending == 0 && len >= self.config.defer_output && !self.has(BLOCKED) {
            sent = self.attempt(now, || io.send(output.as_slice())).unwrap_or(0);
            if self.has(WRITE_FAILED) {
                return Err(SendError::Closed);
            }
            if sent == len {
                self.sends += 1;
                self.mark_written();
                return Ok(false);
            }
            self.block(now);
        }
        self.sends += 1;
        let queue = self.output.get_or_insert_with(|| lender.lend_queue());
        queue.push(output, sent);
        let pending = queue.len();
        if self.has(BLOCKED) {
            self.check_high_water(now);
            return Ok(false);
        }
        if pending >= self.config.defer_output {
            self.flush(io, lender, now);
            return Ok(false);
        }
        Ok(true)
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
            let mut too_large = false;
            let sent = self.attempt(now, || {
                let result = io.send(output.as_slice());
                too_large = result.as_ref().is_err_and(is_too_large);
                if too_large { Ok(0) } else { result }
            });
            if too_large {
                return Err(SendError::TooLarge);
            }
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
                self.attempt(now, || io.send(queue.first()))
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let count = queue.slices(&mut slices);
                wanted = slices[..count].iter().map(|slice| slice.len()).sum();
                self.attempt(now, || io.send_vectored(&slices[..count]))
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
            if self.attempt(now, || io.send(packet)).is_none() {
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

    /// One write. Answers how much went out, if it was possible at all; a failure is noted.
    #[inline(always)]
    fn attempt(&mut self, now: u64, write: impl FnOnce() -> io::Result<usize>) -> Option<usize> {
        match write() {
            Ok(sent) => {
                self.bytes_out += sent as u64;
                self.last_sent = now;
                self.set(PROBED, false);
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

    fn discard_output(&mut self) {
        let discarded = self.output.take().map_or(0, |queue| queue.len());
        let in_packets = self.packets.take().map_or(0, |queue| queue.len());
        self.bytes_discarded += (discarded + in_packets) as u64;
        self.stalled_since = NEVER;
        self.high_since = NEVER;
    }

    // ---- input

    /// Reads once, behind what `into` holds.
    #[inline(always)]
    pub(crate) fn receive(&mut self, io: &impl Transport, into: &mut Buffer, now: u64) -> Received {
        if self.has(PACKETS) {
            return self.receive_packet(io, into, now);
        }
        let into = into.spare(READ_SIZE / 2);
        let room = into.capacity() - into.len();
        match io.recv(into) {
            Ok(0) => self.end_of_stream(),
            Ok(n) => {
                self.count_input(n, now);
                Received::Data { drained: n < room }
            }
            Err(error) => self.read_failed(error),
        }
    }

    fn receive_packet(&mut self, io: &impl Transport, into: &mut Buffer, now: u64) -> Received {
        match io.recv_packet(into.spare(self.config.packet_limit.max(1))) {
            Ok(Packet::EndOfStream) => self.end_of_stream(),
            Ok(Packet::Whole(n)) if n <= self.config.packet_limit => {
                self.count_input(n, now);
                Received::Data { drained: false }
            }
            Ok(Packet::Whole(_) | Packet::Truncated) => {
                let limit = self.config.packet_limit;
                self.end(CloseReason::Protocol(format!("packet of more than {limit} bytes").into()));
                Received::Ended
            }
            Err(error) => self.read_failed(error),
        }
    }

    fn count_input(&mut self, n: usize, now: u64) {
        self.bytes_in += n as u64;
        self.reads += 1;
        self.last_received = now;
        self.set(PROBED, false);
    }

    fn end_of_stream(&mut self) -> Received {
        self.set(READ_CLOSED, true);
        if !self.has(SHUT_DOWN) {
            self.set(PEER_CLOSED_FIRST, true);
        }
        if self.has(WRITE_FAILED) {
            self.end(CloseReason::Reset);
        } else if self.has(CLOSING) {
            self.end_if_finished();
        }
        if self.has(ENDED) { Received::Ended } else { Received::EndOfStream }
    }

    fn read_failed(&mut self, error: io::Error) -> Received {
        if error.kind() == io::ErrorKind::WouldBlock {
            if !self.has(WRITE_FAILED) {
                return Received::WouldBlock;
            }
            self.end(CloseReason::Reset);
        } else {
            self.end(CloseReason::of_error(error));
        }
        Received::Ended
    }

    /// Keeps what the handler left unread. Too much of it ends the connection.
    pub(crate) fn keep_unread(&mut self, input: Box<Buffer>) {
        let limit = self.config.input_limit;
        if input.readable() > limit {
            self.end(CloseReason::Protocol(format!("more than {limit} bytes of input left unread").into()));
        } else {
            self.input = Some(input);
        }
    }

    /// Both directions are closed and the user has been told: there is nothing left to wait for.
    pub(crate) fn end_if_finished(&mut self) {
        let closed_by_both = self.has(READ_CLOSED) && self.has(FIN_SENT);
        let nothing_left = self.has(CLOSING) && self.has(READ_CLOSED) && !self.has_pending();
        if closed_by_both || nothing_left {
            self.end(self.peaceful_reason());
        }
    }

    /// `broken`: the poller has reported an error before, and will not do it again.
    pub(crate) fn pause(&mut self, broken: bool, now: u64) {
        if self.is_open() {
            self.set(PAUSED, true);
            if broken || self.has(WRITE_FAILED) {
                self.hung_up(now);
            }
        }
    }

    /// Answers whether reading was paused.
    pub(crate) fn resume(&mut self) -> bool {
        let was_paused = self.has(PAUSED);
        self.set(PAUSED, false);
        self.hung_up_until = NEVER;
        self.set(REDELIVER, was_paused && self.input.is_some());
        was_paused
    }

    /// What was left unread, if it has to be handed over again although nothing came in, because reading was paused.
    #[inline]
    pub(crate) fn take_redelivery(&mut self) -> Option<Box<Buffer>> {
        if !self.has(REDELIVER) {
            return None;
        }
        self.set(REDELIVER, false);
        self.input.take()
    }

    /// The poller reported an error. While reading is paused that is all one learns, and the connection is not kept for ever
    /// for it. A hang-up without an error is the end of both directions in good order, which reads find behind all that was
    /// sent before it: nothing of that may be lost, however long reading is paused.
    pub(crate) fn hung_up(&mut self, now: u64) {
        if self.has(PAUSED) && self.hung_up_until == NEVER {
            self.hung_up_until = now.saturating_add(nanos(self.config.linger));
            self.set(DEADLINE_CHANGED, true);
        }
    }

    /// After the end of the input the poller reported an error, or that there is no output any more either.
    pub(crate) fn gone(&mut self, error: Option<io::Error>) {
        let reason = match error {
            Some(error) => CloseReason::of_error(error),
            None if self.has_pending() => CloseReason::Reset,
            None => self.peaceful_reason(),
        };
        self.end(reason);
    }

    // ---- the end

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
        self.reason.get_or_insert(reason);
        self.set(CLOSING | SHUT_DOWN | DEADLINE_CHANGED, true);
        self.input = None;
        self.linger_until = self.linger_until.min(now.saturating_add(nanos(self.config.linger)));
    }

    /// Shut down now, and closed by force after `delay` nanoseconds.
    pub(crate) fn close_by(&mut self, deadline: u64) {
        self.shut_down();
        self.linger_until = self.linger_until.min(deadline);
        self.set(DEADLINE_CHANGED, true);
    }

    pub(crate) fn close_when_silent(&mut self, silence: u64) {
        self.silence = silence;
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
    fn note_reason(&mut self, reason: CloseReason, is_failure: bool) {
        let was_peaceful = matches!(self.reason, Some(CloseReason::Local | CloseReason::Peer));
        if self.reason.is_none() || (was_peaceful && is_failure) {
            self.reason = Some(reason);
        }
    }

    pub(crate) fn take_reason(&mut self) -> CloseReason {
        self.reason.take().unwrap_or(CloseReason::Local)
    }

    fn peaceful_reason(&self) -> CloseReason {
        if self.has(PEER_CLOSED_FIRST) { CloseReason::Peer } else { CloseReason::Local }
    }

    // ---- deadlines

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
            self.linger_until,
            self.hung_up_until,
            after(self.stalled_since, self.config.write_stall.map(nanos)),
            after(self.high_since, self.config.slow_consumer.map(nanos)),
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
        if self.linger_until <= now {
            let lingers = self.has_pending();
            let reason =
                if lingers { CloseReason::TimedOut(Deadline::Linger) } else { self.peaceful_reason() };
            self.end(reason);
            return Expired::Changed;
        }
        if self.hung_up_until <= now {
            self.end(CloseReason::Reset);
            return Expired::Changed;
        }
        if after(self.stalled_since, self.config.write_stall.map(nanos)) <= now {
            self.end(CloseReason::TimedOut(Deadline::WriteStall));
            return Expired::Changed;
        }
        if after(self.high_since, self.config.slow_consumer.map(nanos)) <= now {
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

    fn silent_since(&self) -> u64 {
        self.last_received.max(self.last_sent)
    }

    /// A closing connection has its linger deadline instead.
    fn idle_time(&self) -> Option<u64> {
        self.config.idle.filter(|_| !self.has(CLOSING)).map(nanos)
    }

    fn silence_time(&self) -> Option<u64> {
        (self.silence != NEVER && !self.has(CLOSING)).then_some(self.silence)
    }

    // ---- callbacks

    /// Tells the handler whenever all output has reached the kernel.
    pub(crate) fn report_writes(&mut self) {
        self.set(REPORTS_WRITES, true);
    }

    #[inline]
    fn mark_written(&mut self) {
        if self.has(REPORTS_WRITES) {
            self.mark_due(Due::WRITE_COMPLETE);
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
        if self.has_pending() {
            // More was sent since; it is due again when that is out too.
            self.due.0 &= !Due::WRITE_COMPLETE.0;
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

fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

/// `NEVER` counts as such on both sides.
fn after(since: u64, time: Option<u64>) -> u64 {
    time.map_or(NEVER, |time| since.saturating_add(time))
}

#[cfg(test)]
mod tests;
