//! Transfers with a script instead of a socket: the same code, in places of its own, so that what a socket needs stays in
//! one piece.

use super::{Core, Received, Sent};
use crate::connection::lender::Lender;
use crate::connection::output::Output;
use crate::connection::script::Script;

impl Core {
    #[cold]
    pub(crate) fn receive_from_script(&mut self, script: &Script, into: &mut Vec<u8>, now: u64) -> Received {
        self.receive_stream(script, into, now)
    }

    #[cold]
    pub(crate) fn send_to_script(
        &mut self,
        script: &Script,
        lender: &mut Lender,
        output: Output<'_>,
        now: u64,
    ) -> Sent {
        self.send(script, lender, output, now)
    }

    #[cold]
    pub(crate) fn flush_to_script(&mut self, script: &Script, lender: &mut Lender, now: u64) {
        self.flush(script, lender, now);
    }
}
