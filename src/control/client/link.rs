//! A packet socket that is waited for, up to a deadline.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::error::ClientError;
use super::reply::malformed;
use crate::socket::{Address, Socket, SocketOptions};

/// For how long to wait before connecting again to a listener whose backlog is full: doubled from the first to the second.
const CONNECT_AGAIN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// The send buffer's size in bytes, as set. Linux doubles it, and a packet may fill it: the system's default would keep requests
/// from being as large as servers take them.
const SEND_BUFFER: usize = 256 * 1024;

/// The moment at which a call gives up; none if it never does.
pub(super) type Deadline = Option<Instant>;

/// The connection to a server.
pub(super) struct Link {
    socket: Socket,
    /// As large as a reply may be, and cleared for each.
    buffer: Vec<u8>,
    /// Whether a reset was reported. Packets that came before it are read after it.
    reset: bool,
}

/// A packet that was received.
pub(super) struct Received<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) descriptors: Vec<OwnedFd>,
    /// Whether descriptors came that were closed, although some were asked for.
    pub(super) descriptors_lost: bool,
}

impl Link {
    pub(super) fn connect(
        address: &Address,
        deadline: Deadline,
        reply_limit: usize,
    ) -> Result<Self, ClientError> {
        let options = SocketOptions::new().send_buffer_size(SEND_BUFFER);
        let (mut pause, longest) = CONNECT_AGAIN;
        loop {
            let error = match Socket::connect(address, &options) {
                Ok((socket, _)) => {
                    return Ok(Self { socket, buffer: Vec::with_capacity(reply_limit), reset: false });
                }
                Err(error) => error,
            };
            if error.kind() != io::ErrorKind::WouldBlock {
                let text = format!("{address} can't be connected to: {error}");
                return Err(io::Error::new(error.kind(), text).into());
            }
            // The system has nothing that tells of room in a backlog.
            std::thread::sleep(remaining(deadline)?.map_or(pause, |left| pause.min(left)));
            pause = (2 * pause).min(longest);
        }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn set_reply_limit(&mut self, bytes: usize) {
        self.buffer = Vec::with_capacity(bytes.max(1));
    }

    /// Sends a packet, unless there is no room for it now.
    pub(super) fn try_send(&self, packet: &[u8]) -> Result<bool, ClientError> {
        let Err(error) = self.socket.send(packet) else { return Ok(true) };
        match error.kind() {
            io::ErrorKind::WouldBlock => Ok(false),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Err(ClientError::Disconnected),
            _ if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) => {
                Err(ClientError::TooLarge { length: packet.len() })
            }
            _ => Err(error.into()),
        }
    }

    /// Waits until there is room for a packet, or one has come. Says whether one has.
    pub(super) fn wait_for_room_or_packet(&self, deadline: Deadline) -> Result<bool, ClientError> {
        Ok(self.wait(PollFlags::OUT | PollFlags::IN, deadline)?.contains(PollFlags::IN))
    }

    /// Waits for a packet. Up to `descriptors` of those that came along are kept if it is something; others are closed.
    pub(super) fn receive(
        &mut self,
        deadline: Deadline,
        descriptors: Option<usize>,
    ) -> Result<Received<'_>, ClientError> {
        let arrived = loop {
            if let Some(arrived) = self.take(descriptors)? {
                break arrived;
            }
            self.wait(PollFlags::IN, deadline)?;
        };
        self.whole(arrived)
    }

    /// The packet that has come, if one has.
    pub(super) fn try_receive(&mut self) -> Result<Option<Received<'_>>, ClientError> {
        let Some(arrived) = self.take(None)? else { return Ok(None) };
        self.whole(arrived).map(Some)
    }

    fn whole(&self, arrived: Arrived) -> Result<Received<'_>, ClientError> {
        if arrived.truncated {
            let limit = self.buffer.capacity();
            return Err(malformed(format_args!(
                "it has more than {limit} bytes, which is the limit: raise it with `set_reply_limit`"
            )));
        }
        let Arrived { descriptors, descriptors_lost, .. } = arrived;
        Ok(Received { bytes: &self.buffer, descriptors, descriptors_lost })
    }

    /// Takes a packet into the buffer, if one has come.
    fn take(&mut self, descriptors: Option<usize>) -> Result<Option<Arrived>, ClientError> {
        loop {
            self.buffer.clear();
            match self.receive_into_buffer(descriptors) {
                Ok(arrived) if arrived.end_of_file => return Err(ClientError::Disconnected),
                Ok(arrived) => return Ok(Some(arrived)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() != io::ErrorKind::ConnectionReset => return Err(error.into()),
                Err(_) if self.reset => return Err(ClientError::Disconnected),
                Err(_) => self.reset = true,
            }
        }
    }

    fn receive_into_buffer(&mut self, descriptors: Option<usize>) -> io::Result<Arrived> {
        match descriptors {
            None => self.socket.recv_packet(&mut self.buffer).map(|packet| Arrived {
                truncated: packet.truncated,
                end_of_file: packet.end_of_file,
                descriptors: Vec::new(),
                descriptors_lost: false,
            }),
            Some(max) => self.socket.recv_with_descriptors(&mut self.buffer, max).map(|received| Arrived {
                truncated: received.truncated,
                end_of_file: received.end_of_file,
                descriptors: received.descriptors,
                descriptors_lost: received.descriptors_truncated,
            }),
        }
    }

    fn wait(&self, flags: PollFlags, deadline: Deadline) -> Result<PollFlags, ClientError> {
        loop {
            let mut polled = [PollFd::new(&self.socket, flags)];
            // Longer than the system can count is for ever.
            let limit = remaining(deadline)?.and_then(|left| Timespec::try_from(left).ok());
            match rustix::event::poll(&mut polled, limit.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(polled[0].revents()),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }
}

/// What is known of a packet besides its bytes, which are in the buffer.
struct Arrived {
    truncated: bool,
    end_of_file: bool,
    descriptors: Vec<OwnedFd>,
    descriptors_lost: bool,
}

/// How much time is left; nothing if there is no end to it.
///
/// # Errors
///
/// [`TimedOut`](ClientError::TimedOut) if none is.
pub(super) fn remaining(deadline: Deadline) -> Result<Option<Duration>, ClientError> {
    let Some(deadline) = deadline else { return Ok(None) };
    match deadline.checked_duration_since(Instant::now()) {
        None | Some(Duration::ZERO) => Err(ClientError::TimedOut),
        left => Ok(left),
    }
}
