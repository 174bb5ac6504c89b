//! What is written: encoded behind what is staged, handed to the connection, and accounted for.

use super::body::Body;
use super::core::{ABORTING, CLOSING, CONNECTION_TOLD, EDITED, FIN_TOLD, PACKETS};
use super::{SessionView, WriteError, WriteId};
use crate::codec::{Codec, EncodeError};
use crate::connection::{CloseReason, SendError};

/// Staged output of so many bytes is handed to the connection before the callback returns.
const FLUSH_AT: usize = 16 * 1024;

impl<C: Codec> SessionView<'_, C> {
    /// Encodes a message behind those that are staged.
    #[inline]
    pub(super) fn encode(&mut self, message: C::Out<'_>) -> Result<WriteId, WriteError> {
        let body = &mut *self.body;
        if let Err(error) = body.codec.encode(message, &mut body.staging) {
            return Err(self.not_encoded(error));
        }
        self.accept_staged()
    }

    #[cold]
    fn not_encoded(&mut self, error: EncodeError) -> WriteError {
        let Body { core, staging, .. } = &mut *self.body;
        // A codec ought to leave nothing; if it does, the peer would take it for the beginning of the next message.
        staging.unwrite(staging.readable().saturating_sub(core.staged));
        error.into()
    }

    /// Takes bytes for a message that someone has encoded.
    pub(super) fn send_encoded(&mut self, encoded: &bytes::Bytes) -> Result<WriteId, WriteError> {
        if self.body.bytes.is_some() || encoded.len() < FLUSH_AT || self.body.core.has(PACKETS) {
            self.body.staging.append(encoded);
            return self.accept_staged();
        }
        self.hand_over();
        let core = &mut self.body.core;
        if encoded.len() > core.room || core.writes.pending() >= core.config.pending_writes {
            return Err(self.overflow());
        }
        let id = core.writes.accept(core.base + encoded.len() as u64);
        let _ = self.conn.send(encoded);
        self.measure_room();
        Ok(id)
    }

    #[inline]
    fn accept_staged(&mut self) -> Result<WriteId, WriteError> {
        let Body { core, staging, bytes, .. } = &mut *self.body;
        let staged = staging.readable();
        // Whether there is room for a packet, and whether there ever can be, the connection knows.
        let goes_at_once = core.has(PACKETS) && bytes.is_none();
        if (staged > core.room && !goes_at_once) || core.writes.pending() >= core.config.pending_writes {
            staging.unwrite(staged - core.staged);
            return Err(self.overflow());
        }
        if core.has(PACKETS) {
            return self.send_packet();
        }
        let id = core.writes.accept(core.base + staged as u64);
        core.staged = staged;
        if staged >= FLUSH_AT {
            self.hand_over();
        }
        Ok(id)
    }

    /// Sends what is staged as one packet.
    #[inline(never)]
    fn send_packet(&mut self) -> Result<WriteId, WriteError> {
        let end = self.body.core.base + self.body.staging.readable() as u64;
        if self.body.bytes.is_none() {
            match self.conn.send(&mut self.body.staging) {
                Ok(()) => {}
                Err(SendError::TooLarge) => return Err(WriteError::TooLarge),
                Err(SendError::Full) => return Err(self.overflow()),
                Err(_) => return Err(WriteError::Closed),
            }
        }
        let id = self.body.core.writes.accept(end);
        self.hand_over();
        self.measure_room();
        Ok(id)
    }

    #[cold]
    fn overflow(&mut self) -> WriteError {
        self.body.shared.totals.refused_writes.add(1);
        self.body.core.note_reason(CloseReason::SlowConsumer);
        self.abort();
        WriteError::Full
    }

    /// Hands what is staged to the connection.
    pub(super) fn hand_over(&mut self) {
        if !self.body.staging.is_empty() {
            self.hand_over_last();
            self.measure_room();
        }
    }

    /// Hands what is staged to the connection when nothing more will be staged in this event.
    #[inline]
    pub(super) fn hand_over_last(&mut self) {
        if self.body.staging.is_empty() {
            return;
        }
        if self.body.core.has(EDITED) {
            self.apply_byte_edits();
        }
        if self.body.bytes.is_some() {
            self.hand_over_filtered();
        } else {
            // An error is the connection's end, which tells what was not written.
            let _ = self.conn.send(&mut self.body.staging);
            self.body.core.staged = 0;
        }
    }

    /// Notes how much may be staged, and where in the stream it will lie.
    #[inline]
    pub(super) fn measure_room(&mut self) {
        let output = self.conn.output();
        let body = &mut *self.body;
        let core = &mut body.core;
        match &mut body.bytes {
            None => {
                core.base = output.written + output.pending as u64;
                core.room = output.hard_cap.saturating_sub(output.pending);
                core.writes.settle(output.written);
            }
            Some(bytes) => {
                core.base = bytes.given();
                core.room = output.hard_cap.saturating_sub(output.pending + bytes.held_output());
                core.writes.settle(bytes.written(output.written));
            }
        }
    }

    /// Does to the connection what was asked for, closes it, aborts it, or shuts it down, unless byte filters have to be waited for.
    pub(super) fn tell_connection(&mut self) {
        self.conn.refuse_sends();
        if self.body.core.has(ABORTING) {
            let reason = self.body.core.take_reason().unwrap_or(CloseReason::Local);
            self.body.staging.retrieve_all();
            self.conn.end(reason);
        } else if !self.finish_bytes() {
            return;
        } else if self.body.core.has(CLOSING) {
            let reason = self.body.core.take_reason();
            self.conn.close_with(reason);
        } else {
            self.body.core.set(FIN_TOLD, true);
            return self.conn.shutdown();
        }
        self.body.core.set(CONNECTION_TOLD | FIN_TOLD, true);
    }
}
