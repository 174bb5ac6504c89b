//! Sends, and the flush at the end of a batch.

use super::Table;
use crate::connection::SendError;
use crate::connection::core::Sent;
use crate::connection::output::Output;
use crate::connection::transport::Wire;
use crate::reactor::{LoopContext, Parts};

impl Table {
    #[inline]
    pub(crate) fn send(context: &mut LoopContext, key: u32, output: Output<'_>) -> Result<(), SendError> {
        match output {
            Output::Slice(bytes) => Self::send_slice(context, key, bytes),
            output => Self::send_shared(context, key, output),
        }
    }

    // Two copies of the same, as most of what is sent are slices, which have nothing to be told apart and dropped.

    #[inline(never)]
    fn send_slice(context: &mut LoopContext, key: u32, bytes: &[u8]) -> Result<(), SendError> {
        if Self::of(context).entries[key as usize].core.append(bytes) {
            return Ok(());
        }
        Self::send_first_slice(context, key, bytes)
    }

    #[inline(never)]
    fn send_first_slice(context: &mut LoopContext, key: u32, bytes: &[u8]) -> Result<(), SendError> {
        Self::send_any(context, key, bytes)
    }

    #[inline(never)]
    fn send_shared(context: &mut LoopContext, key: u32, output: Output<'_>) -> Result<(), SendError> {
        Self::send_any(context, key, output)
    }

    #[inline(always)]
    fn send_any<'o>(
        context: &mut LoopContext,
        key: u32,
        output: impl AsRef<[u8]> + Into<Output<'o>>,
    ) -> Result<(), SendError> {
        let (table, parts) = context.split_upper();
        let entry = &mut table.entries[key as usize];
        let now = parts.clock.nanos();
        let sent = match &entry.wire {
            Some(Wire::Socket(socket)) => entry.core.send(socket, &mut table.lender, output, now),
            Some(Wire::Script(script)) => {
                entry.core.send_to_script(script, &mut table.lender, output.into(), now)
            }
            None => return Err(SendError::Closed),
        };
        match sent {
            Sent::Done => return Ok(()),
            Sent::FlushLater => entry.flush_later(key, &mut table.flush_list),
            Sent::Changed => Self::follow_up_send(context, key),
            Sent::Refused(error) => {
                Self::follow_up_send(context, key);
                return Err(error);
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn follow_up_send(context: &mut LoopContext, key: u32) {
        context.with_table(|table, parts| table.follow_up(key, parts));
    }

    /// Flushes a connection at the end of the batch.
    pub(crate) fn flush_later(&mut self, key: u32) {
        self.entries[key as usize].flush_later(key, &mut self.flush_list);
    }

    /// Flushes a connection now.
    pub(crate) fn flush(&mut self, key: u32, parts: &mut Parts<'_>) {
        let entry = &mut self.entries[key as usize];
        entry.flush(&mut self.lender, parts.clock.nanos());
        entry.follow_up(key, parts);
    }

    /// Flushes what the callbacks of a batch have left to be written.
    pub(crate) fn flush_all(context: &mut LoopContext) {
        if Self::of(context).flush_list.is_empty() {
            return;
        }
        let (table, mut parts) = context.split_upper();
        let mut list = std::mem::take(&mut table.flush_list);
        for key in list.drain(..) {
            if let Some(entry) = table.entries.get_mut(key as usize) {
                entry.in_flush_list = false;
                entry.flush(&mut table.lender, parts.clock.nanos());
                entry.follow_up(key, &mut parts);
            }
        }
        table.flush_list = list;
    }
}
