//! What is known of each connection, and what must hold of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use campana::connection::ConnectionState;
use campana::reactor::HandlerHandle;
use campana::testing::Peer;
use campana::{CloseReason, ConnectionId, Deadline, TcpConnection, TimerId};

use super::case::Reaction;
use super::subject::Subject;

/// The longest packet that the system takes.
pub(super) const LONGEST_PACKET: usize = 212_960;

pub(super) struct Ledger {
    pub(super) records: Vec<Record>,
    pub(super) reactions: VecDeque<Reaction>,
    pub(super) handle: Option<HandlerHandle<Subject>>,
    /// The server, or the loop, is asked to end.
    pub(super) stops: bool,
    /// Panics of callbacks that are meant.
    pub(super) panics: usize,
    pub(super) in_callback: bool,
    packets: bool,
}

/// One connection.
pub(super) struct Record {
    pub(super) id: ConnectionId,
    /// Not there during `on_connect`.
    pub(super) peer: Option<Peer>,
    /// What the connection has accepted to send.
    pub(super) output: Flow,
    /// What the peer sends.
    pub(super) input: Flow,
    /// How much of the input was left unread.
    pub(super) unread: usize,
    /// Reading was resumed, so that what was left unread is due to come again.
    pub(super) awaits_unread: bool,
    pub(super) peer_ended: bool,
    /// Something has happened after which the connection may be reset.
    pub(super) broken: bool,
    /// The peer has made the connection fail.
    pub(super) failed: bool,
    pub(super) window_is_open: bool,
    pub(super) is_above_high: bool,
    pub(super) read_closed: bool,
    /// The user has asked for an end, in whatever way.
    pub(super) asked_to_close: bool,
    /// It is to be closed at a certain time.
    pub(super) has_close_time: bool,
    /// A callback of it has panicked.
    pub(super) panicked: bool,
    /// It is over. How many bytes have reached the kernel by then.
    pub(super) closed: Option<u64>,
    pub(super) timers: BTreeMap<u64, (TimerId, Instant)>,
    pub(super) next_token: u64,
}

/// Bytes on their way in one direction: the position in the flow says what each is, so that only numbers are kept.
pub(super) struct Flow {
    salt: usize,
    pub(super) produced: usize,
    pub(super) consumed: usize,
    /// The lengths of packets that were produced and not consumed yet.
    packets: Option<VecDeque<usize>>,
}

impl Flow {
    fn new(salt: usize, packets: bool) -> Self {
        Self { salt, produced: 0, consumed: 0, packets: packets.then(VecDeque::new) }
    }

    /// The next bytes, which count as produced.
    pub(super) fn produce(&mut self, len: usize) -> Vec<u8> {
        let bytes = self.preview(len);
        self.commit(len);
        bytes
    }

    /// What would be the next bytes.
    pub(super) fn preview(&self, len: usize) -> Vec<u8> {
        (self.produced..self.produced + len).map(|position| self.byte(position)).collect()
    }

    pub(super) fn commit(&mut self, len: usize) {
        self.produced += len;
        if let Some(packets) = &mut self.packets {
            packets.push_back(len);
        }
    }

    /// Looks whether these are the bytes that come next, `ahead` of what is consumed.
    pub(super) fn check(&self, bytes: &[u8], what: &str) {
        assert!(self.consumed + bytes.len() <= self.produced, "{what}: more bytes than there ever were");
        for (offset, byte) in bytes.iter().enumerate() {
            assert_eq!(*byte, self.byte(self.consumed + offset), "{what}: byte {offset} of {}", bytes.len());
        }
    }

    pub(super) fn consume(&mut self, len: usize) {
        self.consumed += len;
    }

    /// Looks whether this is the next packet, and counts it as consumed.
    pub(super) fn consume_packet(&mut self, packet: &[u8], what: &str) {
        let len = self.packets.as_mut().and_then(VecDeque::pop_front);
        assert_eq!(len, Some(packet.len()), "{what}: another packet");
        self.check(packet, what);
        self.consume(packet.len());
    }

    fn byte(&self, position: usize) -> u8 {
        ((position.wrapping_mul(0x9e37_79b1) >> 7) ^ self.salt) as u8
    }
}

impl Record {
    pub(super) fn new(id: ConnectionId, index: usize, packets: bool) -> Self {
        Self {
            id,
            peer: None,
            output: Flow::new(2 * index, packets),
            input: Flow::new(2 * index + 1, packets),
            unread: 0,
            awaits_unread: false,
            peer_ended: false,
            broken: false,
            failed: false,
            window_is_open: true,
            is_above_high: false,
            read_closed: false,
            asked_to_close: false,
            has_close_time: false,
            panicked: false,
            closed: None,
            timers: BTreeMap::new(),
            next_token: 0,
        }
    }

    /// Takes what the peer has been sent.
    fn check_peer(&mut self) {
        let Some(peer) = &self.peer else { return };
        if self.output.packets.is_some() {
            for packet in peer.receive_packets() {
                self.output.consume_packet(&packet, "output");
            }
        } else {
            let bytes = peer.receive();
            self.output.check(&bytes, "output");
            self.output.consume(bytes.len());
        }
        if let Some(bytes_out) = self.closed {
            assert_eq!(self.output.consumed as u64, bytes_out, "bytes that have left are counted");
        } else if peer.is_read_closed() {
            assert_eq!(self.output.consumed, self.output.produced, "the end comes behind all output");
        }
    }

    /// Whether this reason can be.
    pub(super) fn check_reason(&self, reason: &CloseReason, conn: &mut TcpConnection<'_>, stops: bool) {
        let now = conn.context().now();
        let config = conn.config();
        let stats = conn.stats();
        let discarded = stats.bytes_discarded;
        let stuck = now.duration_since(stats.last_sent);
        let silence = now.duration_since(stats.last_received.max(stats.last_sent));
        let plausible = match reason {
            CloseReason::Local => self.asked_to_close || self.peer_ended,
            CloseReason::Peer => self.peer_ended && discarded == 0,
            CloseReason::Reset => self.broken,
            CloseReason::TimedOut(Deadline::Idle) => config.idle.is_some_and(|idle| silence >= idle),
            CloseReason::TimedOut(Deadline::WriteStall) => {
                config.write_stall.is_some_and(|stall| stuck >= stall)
            }
            CloseReason::TimedOut(Deadline::Linger) => {
                (self.asked_to_close || stops) && (self.has_close_time || stuck >= config.linger)
            }
            CloseReason::TimedOut(Deadline::Transport) => self.broken,
            CloseReason::SlowConsumer | CloseReason::Protocol(_) => true,
            CloseReason::HandlerPanicked => self.panicked,
            CloseReason::Stopping => stops || self.asked_to_close,
            _ => false,
        };
        assert!(plausible, "closed with {reason:?}, for no reason");
    }
}

impl Ledger {
    pub(super) fn new(packets: bool) -> Self {
        Self {
            records: Vec::new(),
            reactions: VecDeque::new(),
            handle: None,
            stops: false,
            panics: 0,
            in_callback: false,
            packets,
        }
    }

    pub(super) fn is_packets(&self) -> bool {
        self.packets
    }

    pub(super) fn open(&self) -> impl Iterator<Item = usize> {
        let records = self.records.iter().enumerate();
        records.filter(|(_, record)| record.closed.is_none()).map(|(index, _)| index)
    }

    /// The latest connection has its peer.
    pub(super) fn connected(&mut self, peer: Peer) {
        let record = self.records.last_mut().unwrap();
        assert_eq!(record.id, peer.id(), "on_connect is called at once");
        if record.panicked {
            // It was on_connect, so that no on_close follows.
            assert!(peer.close_reason().is_some());
            record.closed = Some(record.output.consumed as u64 + peer.receive().len() as u64);
            return;
        }
        record.peer = Some(peer);
    }

    pub(super) fn check_peers(&mut self) {
        self.records.iter_mut().for_each(Record::check_peer);
    }

    /// What holds of an open connection when nothing is under way.
    pub(super) fn check_at_rest(&mut self, index: usize, conn: &TcpConnection<'_>, now: Instant) {
        let record = &mut self.records[index];
        record.check_peer();
        let stats = conn.stats();
        let accounted = record.output.consumed + stats.bytes_pending + stats.bytes_discarded as usize;
        assert_eq!(accounted, record.output.produced, "output is sent, pending, or counted as discarded");
        assert_eq!(stats.bytes_out as usize, record.output.consumed);
        assert!(stats.bytes_in as usize <= record.input.produced);
        if record.window_is_open && !record.broken {
            assert_eq!(stats.bytes_pending, 0, "output waits for nothing");
        }
        if conn.state() != ConnectionState::Connected {
            return;
        }
        assert!(!record.is_above_high || stats.bytes_pending > 0, "no low water after high water");
        assert!(record.timers.values().all(|(_, due)| *due > now), "a timer is late");
        assert_eq!(conn.unread_input().len(), record.unread);
        assert!(conn.is_reading_paused() || !record.awaits_unread, "unread input has not come again");
        if !conn.is_reading_paused() && !record.broken {
            let delivered = record.input.consumed + record.unread;
            assert_eq!(delivered, record.input.produced, "all that came in is delivered");
            assert_eq!(record.read_closed, record.peer_ended, "and so is the end");
        }
    }
}
