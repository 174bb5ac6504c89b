//! What a connection needs of the system, and what has it: sockets, and scripts that play their part.

use std::io::{self, IoSlice};
use std::rc::Rc;

use super::script::Script;
use crate::socket::{Address, Socket};

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

/// What a connection's bytes go through.
///
/// One pointer for a script, so that the connections of a server, which all have sockets, pay no more for the choice than
/// the two words that it takes.
#[derive(Debug)]
pub(crate) enum Wire {
    Socket(Socket),
    /// The other end is a test's.
    Script(Rc<Script>),
}

impl Wire {
    pub(crate) fn as_socket(&self) -> Option<&Socket> {
        match self {
            Self::Socket(socket) => Some(socket),
            Self::Script(_) => None,
        }
    }

    pub(crate) fn is_packet(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.is_packet(),
            Self::Script(script) => script.is_packet(),
        }
    }

    pub(crate) fn is_tcp(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.is_tcp(),
            Self::Script(script) => script.is_tcp(),
        }
    }

    pub(crate) fn local_address(&self) -> io::Result<Address> {
        match self {
            Self::Socket(socket) => socket.local_address(),
            Self::Script(script) => Ok(script.local_address()),
        }
    }

    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Socket(socket) => socket.take_error(),
            Self::Script(script) => Ok(script.take_error()),
        }
    }
}

impl Transport for Wire {
    #[inline]
    fn recv(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => Transport::recv(socket, into),
            Self::Script(script) => script.recv(into),
        }
    }

    #[inline]
    fn recv_packet(&self, into: &mut Vec<u8>) -> io::Result<Packet> {
        match self {
            Self::Socket(socket) => Transport::recv_packet(socket, into),
            Self::Script(script) => script.recv_packet(into),
        }
    }

    #[inline]
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => Transport::send(socket, bytes),
            Self::Script(script) => script.send(bytes),
        }
    }

    #[inline]
    fn send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => Transport::send_vectored(socket, slices),
            Self::Script(script) => script.send_vectored(slices),
        }
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Socket(socket) => Transport::shutdown_write(socket),
            Self::Script(script) => script.shutdown_write(),
        }
    }

    fn packet_capacity(&self) -> usize {
        match self {
            Self::Socket(socket) => Transport::packet_capacity(socket),
            Self::Script(script) => script.packet_capacity(),
        }
    }
}
