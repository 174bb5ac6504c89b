//! Input: what a read brings, and what is left unread.

use std::io;

use super::{
    CLOSING, Core, DEADLINE_CHANGED, ENDED, FIN_SENT, NEVER, PAUSED, PEER_CLOSED_FIRST, PROBED, READ_CLOSED,
    REDELIVER, Received, SHUT_DOWN, WRITE_FAILED,
};
use crate::buffer::Buffer;
use crate::connection::CloseReason;
use crate::connection::transport::{Packet, Transport};

impl Core {
    /// Reads once from a stream, into the spare room of `into`.
    #[inline(always)]
    pub(crate) fn receive_stream(&mut self, io: &impl Transport, into: &mut Vec<u8>, now: u64) -> Received {
        let room = into.capacity() - into.len();
        match io.recv(into) {
            Ok(n) if n > 0 => {
                self.count_input(n, now);
                Received::Data { drained: n < room }
            }
            Ok(_) => self.end_of_stream(),
            Err(error) => self.read_failed(error),
        }
    }

    /// Reads one packet.
    pub(crate) fn receive_packet(&mut self, io: &impl Transport, into: &mut Buffer, now: u64) -> Received {
        match io.recv_packet(into.spare(self.config.packet_limit.max(1))) {
            Ok(Packet::EndOfStream) => self.end_of_stream(),
            Ok(Packet::Whole(n)) if n <= self.config.packet_limit => {
                self.count_input(n, now);
                Received::Data { drained: false }
            }
            Ok(Packet::Whole(_) | Packet::Truncated) => {
                into.retrieve_all();
                self.count_input(0, now);
                Received::Oversized
            }
            Err(error) => self.read_failed(error),
        }
    }

    #[inline]
    fn count_input(&mut self, n: usize, now: u64) {
        self.bytes_in += n as u64;
        self.reads += 1;
        self.last_received = now;
        self.set(PROBED, false);
    }

    #[cold]
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

    #[cold]
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
        if !self.has(CLOSING) {
            self.lingers_since = NEVER;
        }
        if was_paused && self.input.is_some() {
            self.set(REDELIVER, true);
        }
        was_paused
    }

    /// Lets what was left unread be handed over again. Answers whether there is anything.
    pub(crate) fn redeliver(&mut self) -> bool {
        let has_input = self.input.is_some();
        self.set(REDELIVER, has_input);
        has_input
    }

    /// What was left unread, if it has to be handed over again although nothing came in, because reading was paused.
    #[inline]
    pub(crate) fn take_redelivery(&mut self) -> Option<Box<Buffer>> {
        if !self.has(REDELIVER) || self.has(PAUSED) {
            return None;
        }
        self.set(REDELIVER, false);
        self.input.take()
    }

    /// The poller reported an error. While reading is paused that is all one learns, and the connection is not kept for ever
    /// for it. A hang-up without an error is the end of both directions in good order, which reads find behind all that was
    /// sent before it: nothing of that may be lost, however long reading is paused.
    pub(crate) fn hung_up(&mut self, now: u64) {
        if self.has(PAUSED) && self.lingers_since == NEVER {
            self.lingers_since = now;
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
}
