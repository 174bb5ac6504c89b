//! What sessions are called.

use std::fmt;

use crate::connection::ConnectionId;

/// Names one session of this process; never reused. It is shown as its connection is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    connection: ConnectionId,
    slot: u32,
}

impl SessionId {
    pub(super) fn new(connection: ConnectionId, slot: u32) -> Self {
        Self { connection, slot }
    }

    /// The session's connection.
    #[must_use]
    pub fn connection(self) -> ConnectionId {
        self.connection
    }

    /// Where its loop keeps it.
    pub(super) fn slot(self) -> usize {
        self.slot as usize
    }

    pub(super) fn loop_number(self) -> u32 {
        self.connection.loop_number()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}
