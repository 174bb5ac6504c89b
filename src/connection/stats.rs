//! What a connection has done so far.

use std::time::Instant;

/// The figures of one connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes that the kernel has taken for sending.
    pub bytes_out: u64,
    /// Reads that brought something: chunks of a stream, or packets.
    pub reads: u64,
    /// Sends that were accepted.
    pub sends: u64,
    /// Bytes that were accepted for sending and discarded, because the connection ended first.
    pub bytes_discarded: u64,
    /// Bytes that wait to be taken by the kernel.
    pub bytes_pending: usize,
    /// Bytes that the handler has left in the input buffer.
    pub bytes_unread: usize,
    /// When the connection was established.
    pub created: Instant,
    /// When something was last received; `created` if nothing was.
    pub last_received: Instant,
    /// When the kernel last took output; `created` if it took none.
    pub last_sent: Instant,
}
