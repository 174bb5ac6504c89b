//! The kernel's part of a connection, played by a test: what has arrived, what is taken, what fails.

mod noise;

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};

use rustix::io::Errno;

use super::CloseReason;
use super::transport::{Packet, Transport};
use crate::reactor::Flags;
use crate::socket::Address;

pub(crate) use noise::Noise;

/// A connection's socket as a test makes it out, and the way to its peer, which is the test.
///
/// It behaves as Linux does, within what is scripted: readiness is reported once for each change, what arrived before an error
/// can be read before it, an error is told once, and after it reads find the end and writes a broken pipe.
#[derive(Debug)]
pub(crate) struct Script {
    local: Address,
    state: RefCell<State>,
}

/// What Linux takes with a send buffer of the usual size.
const LONGEST_PACKET: usize = 212_992 - 32;

/// What a peer has sent.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Item {
    /// Part of a stream, or one packet.
    Bytes(Vec<u8>),
    EndOfStream,
    /// The peer has closed its descriptor: it sends no more, and takes no more either.
    Gone,
    Error(io::ErrorKind),
}

#[derive(Debug)]
struct State {
    /// Sent by the peer and not here yet, in order.
    in_flight: VecDeque<Item>,
    /// Here, and not read yet.
    arrived: VecDeque<Vec<u8>>,
    /// What the poller has to report.
    news: Flags,
    read_closed: bool,
    /// The peer has closed its descriptor, which a TCP connection learns only from the answer to what it sends next.
    gone: bool,
    /// It is over, and nothing more arrives.
    failed: bool,
    error: Option<io::ErrorKind>,
    write_error: Option<io::ErrorKind>,
    /// Nothing can be written any more.
    broken: bool,
    fin_sent: bool,
    /// How many bytes are taken before writes would block.
    window: usize,
    /// A write would have blocked, so that the next room for one is news.
    blocked: bool,
    /// What has been written: one stretch for a stream, else packet by packet.
    written: VecDeque<Vec<u8>>,
    /// The connection has closed its descriptor.
    closed: Option<CloseReason>,
    unread_at_close: bool,
    noise: Option<Noise>,
}

impl Script {
    pub(crate) fn new(local: Address, noise: Option<Noise>) -> Self {
        let state = State {
            in_flight: VecDeque::new(),
            arrived: VecDeque::new(),
            news: Flags::WRITABLE,
            read_closed: false,
            gone: false,
            failed: false,
            error: None,
            write_error: None,
            broken: false,
            fin_sent: false,
            window: usize::MAX,
            blocked: false,
            written: VecDeque::new(),
            closed: None,
            unread_at_close: false,
            noise,
        };
        Self { local, state: RefCell::new(state) }
    }

    fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }
}

/// What the connection sees.
impl Script {
    pub(crate) fn is_packet(&self) -> bool {
        self.local.is_packet()
    }

    pub(crate) fn is_tcp(&self) -> bool {
        self.local.as_inet().is_some()
    }

    pub(crate) fn local_address(&self) -> Address {
        self.local.clone()
    }

    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.state().error.take().map(io::Error::from)
    }

    /// The connection has closed its descriptor.
    #[cold]
    pub(crate) fn shut(&self, reason: &CloseReason) {
        let mut state = self.state();
        state.unread_at_close = !state.arrived.is_empty();
        state.closed = Some(reason.duplicate());
    }
}

impl Transport for Script {
    #[cold]
    fn recv(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let mut state = self.state();
        if !state.has_input()? {
            return Ok(0);
        }
        let before = into.len();
        while let Some(first) = state.arrived.front_mut() {
            let room = into.capacity() - into.len();
            if room < first.len() {
                into.extend(first.drain(..room));
                break;
            }
            into.append(first);
            state.arrived.pop_front();
            // A Unix stream may end a read where a write ended.
            if !self.is_tcp() {
                break;
            }
        }
        Ok(into.len() - before)
    }

    #[cold]
    fn recv_packet(&self, into: &mut Vec<u8>) -> io::Result<Packet> {
        let mut state = self.state();
        if !state.has_input()? {
            return Ok(Packet::EndOfStream);
        }
        let packet = state.arrived.pop_front().unwrap_or_default();
        let room = into.capacity() - into.len();
        into.extend_from_slice(&packet[..packet.len().min(room)]);
        Ok(if packet.len() > room { Packet::Truncated } else { Packet::Whole(packet.len()) })
    }

    #[cold]
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        if self.is_packet() {
            if bytes.len() > LONGEST_PACKET {
                return Err(Errno::MSGSIZE.into());
            }
            // An empty one needs a place too.
            state.take_room(bytes.len().max(1), true)?;
            state.written.push_back(bytes.to_vec());
            return Ok(bytes.len());
        }
        let taken = state.take_room(bytes.len(), false)?;
        state.append_written(&bytes[..taken]);
        Ok(taken)
    }

    #[cold]
    fn send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state();
        let mut left = state.take_room(slices.iter().map(|slice| slice.len()).sum(), false)?;
        let taken = left;
        for slice in slices {
            let part = slice.len().min(left);
            state.append_written(&slice[..part]);
            left -= part;
        }
        Ok(taken)
    }

    #[cold]
    fn shutdown_write(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.failed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        state.fin_sent = true;
        state.note_hang_up();
        Ok(())
    }

    #[cold]
    fn packet_capacity(&self) -> usize {
        LONGEST_PACKET
    }
}

/// What the peer does, and sees.
impl Script {
    /// Bytes, or a packet, that the peer sends.
    pub(crate) fn push(&self, bytes: &[u8]) {
        if !bytes.is_empty() || self.is_packet() {
            self.state().in_flight.push_back(Item::Bytes(bytes.to_vec()));
        }
    }

    /// The peer sends no more.
    pub(crate) fn push_end(&self) {
        self.state().in_flight.push_back(Item::EndOfStream);
    }

    /// The connection fails, behind what was sent before.
    pub(crate) fn push_error(&self, error: io::ErrorKind) {
        self.state().in_flight.push_back(Item::Error(error));
    }

    /// The peer closes its descriptor.
    pub(crate) fn push_gone(&self) {
        self.state().in_flight.push_back(Item::Gone);
    }

    pub(crate) fn fail_next_write(&self, error: io::ErrorKind) {
        self.state().write_error = Some(error);
    }

    /// Takes so many bytes from now on, and then no more.
    pub(crate) fn set_window(&self, bytes: usize) {
        let mut state = self.state();
        state.window = bytes;
        if bytes > 0 {
            state.unblock();
        }
    }

    /// The poller reports what isn't so.
    pub(crate) fn report_spuriously(&self) {
        let mut state = self.state();
        state.news = state.news | Flags::READABLE | Flags::WRITABLE;
    }

    /// What was sent arrives: all of it, or with noise perhaps a part.
    pub(crate) fn arrive(&self) {
        let is_packet = self.is_packet();
        let mut state = self.state();
        while let Some(mut item) = state.in_flight.pop_front() {
            let mut rest = None;
            if let Some(noise) = &mut state.noise {
                if noise.once_in(4) {
                    state.in_flight.push_front(item);
                    return;
                }
                if let Item::Bytes(bytes) = &mut item
                    && !is_packet
                    && bytes.len() > 1
                    && noise.once_in(2)
                {
                    rest = Some(bytes.split_off(noise.up_to(bytes.len() - 1)));
                }
            }
            state.take_in(item, self.is_tcp());
            if let Some(rest) = rest {
                state.in_flight.push_front(Item::Bytes(rest));
            }
        }
    }

    /// Takes out what the poller has to report; with noise perhaps only later.
    pub(crate) fn take_news(&self) -> Flags {
        let mut state = self.state();
        if let Some(noise) = &mut state.noise {
            if noise.once_in(4) {
                return Flags::NONE;
            }
            if noise.once_in(8) {
                state.news = state.news | Flags::READABLE;
            }
        }
        std::mem::replace(&mut state.news, Flags::NONE)
    }

    /// Whether nothing is on its way to the connection, which is open.
    pub(crate) fn is_quiet(&self) -> bool {
        let state = self.state();
        state.in_flight.is_empty() && state.news == Flags::NONE
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.state().closed.is_some()
    }

    /// Takes out what the connection has written since the last call.
    pub(crate) fn take_written(&self) -> Vec<u8> {
        let written = std::mem::take(&mut self.state().written);
        written
            .into_iter()
            .reduce(|mut all, next| {
                all.extend(next);
                all
            })
            .unwrap_or_default()
    }

    /// As [`take_written`](Self::take_written), packet by packet.
    pub(crate) fn take_packets(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.state().written).into()
    }

    /// Whether the peer is told that no more comes.
    pub(crate) fn has_fin(&self) -> bool {
        let state = self.state();
        state.fin_sent || (state.closed.is_some() && !state.unread_at_close)
    }

    /// Whether the peer is told that what it sent was not read.
    pub(crate) fn has_reset(&self) -> bool {
        self.state().unread_at_close
    }

    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.state().closed.as_ref().map(CloseReason::duplicate)
    }
}

impl State {
    fn take_in(&mut self, item: Item, is_tcp: bool) {
        if self.failed {
            return;
        }
        match item {
            Item::Bytes(_) if self.read_closed => {}
            Item::Bytes(bytes) => {
                self.arrived.push_back(bytes);
                self.news = self.news | Flags::READABLE;
            }
            Item::EndOfStream | Item::Gone => {
                self.read_closed = true;
                self.news = self.news | Flags::READABLE | Flags::READ_CLOSED;
                self.gone = item == Item::Gone && is_tcp;
                self.broken |= item == Item::Gone && !is_tcp;
                self.note_hang_up();
            }
            Item::Error(error) => {
                self.error = Some(error);
                (self.read_closed, self.broken, self.failed) = (true, true, true);
                let both = Flags::READABLE | Flags::WRITABLE | Flags::READ_CLOSED;
                self.news = self.news | both | Flags::HANG_UP | Flags::ERROR;
            }
        }
    }

    fn note_hang_up(&mut self) {
        if self.read_closed && (self.fin_sent || self.broken) {
            self.news = self.news | Flags::READABLE | Flags::WRITABLE | Flags::READ_CLOSED | Flags::HANG_UP;
        }
    }

    /// Whether there is something to read; `false` at the end.
    fn has_input(&mut self) -> io::Result<bool> {
        if !self.arrived.is_empty() {
            return Ok(true);
        }
        match self.error.take() {
            Some(error) => Err(error.into()),
            None if self.read_closed => Ok(false),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Room for `wanted` bytes, or for a part of them unless they go together.
    fn take_room(&mut self, wanted: usize, together: bool) -> io::Result<usize> {
        if let Some(error) = self.error.take() {
            return Err(error.into());
        }
        if let Some(error) = self.write_error.take() {
            let blocks = error == io::ErrorKind::WouldBlock;
            (self.blocked, self.broken) = (blocks, !blocks);
            if self.window > 0 {
                self.unblock();
            }
            return Err(error.into());
        }
        if self.broken || self.fin_sent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut taken = wanted.min(self.window);
        if let Some(noise) = &mut self.noise
            && taken > 0
        {
            if noise.once_in(4) {
                taken = 0;
            } else if !together && noise.once_in(2) {
                taken = noise.up_to(taken);
            }
        }
        if together && taken < wanted {
            taken = 0;
        }
        if self.window != usize::MAX {
            self.window -= taken;
        }
        if taken < wanted {
            self.blocked = true;
            if self.noise.is_some() && self.window >= if together { wanted } else { 1 } {
                self.unblock();
            }
        }
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if std::mem::take(&mut self.gone) {
            self.in_flight.push_back(Item::Error(io::ErrorKind::BrokenPipe));
        }
        Ok(taken)
    }

    fn unblock(&mut self) {
        if std::mem::take(&mut self.blocked) {
            self.news = self.news | Flags::WRITABLE;
        }
    }

    fn append_written(&mut self, bytes: &[u8]) {
        match self.written.back_mut() {
            Some(stretch) => stretch.extend_from_slice(bytes),
            None => self.written.push_back(bytes.to_vec()),
        }
    }
}
