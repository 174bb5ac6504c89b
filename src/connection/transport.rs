//! What a connection needs of the system, and sockets as that.

use std::io::{self, IoSlice};

use crate::socket::Socket;

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

impl Transport for Socket {
    #[inline]
    fn recv(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        Self::recv(self, into)
    }

    fn recv_packet(&self, into: &mut Vec<u8>) -> io::Result<Packet> {
        let packet = Self::recv_packet(self, into)?;
        Ok(match packet {
            _ if packet.end_of_file => Packet::EndOfStream,
            _ if packet.truncated => Packet::Truncated,
            _ => Packet::Whole(packet.len),
        })
    }

    #[inline]
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::send(self, bytes)
    }

    fn send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::send_vectored(self, slices)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        Self::shutdown_write(self)
    }

    fn packet_capacity(&self) -> usize {
        // The kernel keeps some of the send buffer for itself.
        self.send_buffer_size().map_or(usize::MAX, |size| size.saturating_sub(32))
    }
}
