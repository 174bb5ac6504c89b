//! Passing open descriptors to another process over a Unix socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::stream::{Socket, require_room, retry};

/// The most descriptors that one message can carry.
pub const MAX_DESCRIPTORS: usize = 253;

/// What [`Socket::recv_with_descriptors`] brought.
#[derive(Debug)]
#[non_exhaustive]
pub struct Received {
    /// How many bytes were appended.
    pub len: usize,
    /// The descriptors that came along, all close-on-exec.
    pub descriptors: Vec<OwnedFd>,
    /// Whether a packet was longer than the room for it; the rest of it is lost. Never for a stream.
    pub truncated: bool,
    /// Whether more descriptors came than were asked for. All of them were closed then, as which of
    /// them arrived says nothing; `descriptors` is empty.
    pub descriptors_truncated: bool,
    /// Whether the peer will send nothing more.
    pub end_of_file: bool,
}

impl Socket {
    /// Sends bytes and, with the first of them, duplicates of some descriptors. Unix sockets only.
    ///
    /// If it returns a smaller number than there are bytes, the descriptors are on their way: send
    /// the rest without them.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for more than [`MAX_DESCRIPTORS`], and for no
    /// bytes on a stream, with which the descriptors would be lost;
    /// [`Unsupported`](io::ErrorKind::Unsupported) for TCP. Otherwise as [`send`](Self::send).
    pub fn send_with_descriptors(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.require_unix()?;
        if descriptors.is_empty() {
            return self.send(bytes);
        }
        if descriptors.len() > MAX_DESCRIPTORS {
            return Err(invalid("a message carries 253 descriptors at most: send several messages"));
        }
        if bytes.is_empty() && !self.is_packet() {
            return Err(invalid("descriptors travel with bytes on a stream: send at least one byte"));
        }
        let mut space = control_space(descriptors.len());
        let slices = [IoSlice::new(bytes)];
        retry(|| {
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(descriptors));
            rustix::net::sendmsg(self.as_fd(), &slices, &mut control, SendFlags::NOSIGNAL)
        })
    }

    /// Appends what has arrived to the spare capacity of `into`, and takes up to `max` descriptors
    /// that came along. Unix sockets only.
    ///
    /// On a stream the bytes end where other descriptors begin, so that each message's descriptors
    /// come with its own bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if `into` has no spare capacity,
    /// [`Unsupported`](io::ErrorKind::Unsupported) for TCP. Otherwise as [`recv`](Self::recv).
    pub fn recv_with_descriptors(&self, into: &mut Vec<u8>, max: usize) -> io::Result<Received> {
        self.require_unix()?;
        require_room(into)?;
        let max = max.min(MAX_DESCRIPTORS);
        let start = into.len();
        into.resize(into.capacity(), 0);
        let result = self.recv_message(&mut into[start..], max);
        let len = result.as_ref().map_or(0, |received| received.len);
        into.truncate(start + len);
        result
    }

    fn recv_message(&self, room: &mut [u8], max: usize) -> io::Result<Received> {
        let mut space = control_space(max);
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(room)];
        let message =
            retry(|| rustix::net::recvmsg(self.as_fd(), &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC))?;
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(arrived) = message {
                descriptors.extend(arrived);
            }
        }
        // Control data is padded to a word, so one more may arrive than there was room for, without
        // the kernel's calling it truncated.
        let descriptors_truncated = message.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > max;
        let end_of_file = message.bytes == 0
            && descriptors.is_empty()
            && !descriptors_truncated
            && self.nothing_more_comes()?;
        if descriptors_truncated {
            descriptors.clear();
        }
        Ok(Received {
            len: message.bytes,
            descriptors,
            truncated: message.flags.contains(ReturnFlags::TRUNC),
            descriptors_truncated,
            end_of_file,
        })
    }

    fn require_unix(&self) -> io::Result<()> {
        if self.is_tcp() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "descriptors are passed over Unix sockets only",
            ));
        }
        Ok(())
    }
}

fn control_space(descriptors: usize) -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(descriptors))]
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests;
