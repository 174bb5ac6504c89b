use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use super::*;
use crate::connection::lender::Lender;
use crate::connection::transport::{Packet, Transport};
use crate::connection::{Deadline, SendError};

const SECOND: u64 = 1_000_000_000;

/// A peer by script: what it sends, how much it takes at a time, and when it fails.
#[derive(Default)]
struct Script {
    incoming: RefCell<VecDeque<io::Result<Vec<u8>>>>,
    /// How many bytes each write takes; zero, or an end of the list, is a full socket.
    room: RefCell<VecDeque<usize>>,
    outgoing: RefCell<Vec<u8>>,
    packets: RefCell<Vec<Vec<u8>>>,
    broken: Cell<bool>,
    fins: Cell<u32>,
}

impl Script {
    fn with_room(room: &[usize]) -> Self {
        Self { room: RefCell::new(room.iter().copied().collect()), ..Self::default() }
    }

    fn take_room(&self) -> io::Result<usize> {
        if self.broken.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match self.room.borrow_mut().pop_front() {
            None | Some(0) => Err(io::ErrorKind::WouldBlock.into()),
            Some(room) => Ok(room),
        }
    }
}

impl Transport for Script {
    fn recv(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let next = self.incoming.borrow_mut().pop_front().unwrap_or(Err(io::ErrorKind::WouldBlock.into()))?;
        into.extend_from_slice(&next);
        Ok(next.len())
    }

    fn recv_packet(&self, into: &mut Vec<u8>) -> io::Result<Packet> {
        self.recv(into).map(Packet::Whole)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        assert_eq!(self.fins.get(), 0, "output after the end of the output");
        let taken = self.take_room()?.min(bytes.len());
        self.outgoing.borrow_mut().extend_from_slice(&bytes[..taken]);
        self.packets.borrow_mut().push(bytes.to_vec());
        Ok(taken)
    }

    fn send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.send(&joined)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.fins.set(self.fins.get() + 1);
        Ok(())
    }

    fn packet_capacity(&self) -> usize {
        1000
    }
}

fn core_with(change: impl FnOnce(&mut ConnectionConfig)) -> Core {
    let mut config = ConnectionConfig::default();
    change(&mut config);
    let mut core = Core::new(Rc::new(config), false, 0);
    core.report_writes();
    core
}

fn dues(core: &mut Core) -> Vec<Due> {
    let mut due_now = core.due_now();
    std::iter::from_fn(|| core.take_due(&mut due_now)).collect()
}

fn accepted(sent: Sent) {
    assert!(!matches!(sent, Sent::Refused(_)), "{sent:?}");
}

#[test]
fn small_sends_wait_and_leave_in_one_write() {
    let script = Script::with_room(&[1000]);
    let (mut core, mut lender) = (core_with(|_| ()), Lender::default());
    for _ in 0..3 {
        assert_eq!(core.send(&script, &mut lender, "abc", 1), Sent::FlushLater);
    }
    assert!(script.packets.borrow().is_empty());
    core.flush(&script, &mut lender, 1);
    assert_eq!(*script.packets.borrow(), [b"abcabcabc"]);
    assert_eq!(dues(&mut core), [Due::WRITE_COMPLETE]);
    assert!(core.output.is_none(), "the queue goes back");
}

#[test]
fn a_large_send_leaves_at_once_and_what_is_left_of_it_waits() {
    let script = Script::with_room(&[5000]);
    let (mut core, mut lender) = (core_with(|_| ()), Lender::default());
    assert_eq!(core.send(&script, &mut lender, vec![7; 6000], 1), Sent::Changed);
    assert_eq!((script.outgoing.borrow().len(), core.pending()), (5000, 1000));
    assert!(core.is_blocked());
    assert_eq!(dues(&mut core), [Due::WRITE_PROGRESS]);
}

#[test]
fn water_marks_are_crossed_once_each_way() {
    let script = Script::default();
    let (mut core, mut lender) =
        (core_with(|config| (config.high_water, config.low_water) = (100, 50)), Lender::default());
    accepted(core.send(&script, &mut lender, vec![1; 5000], 1));
    accepted(core.send(&script, &mut lender, vec![1; 5000], 1));
    assert_eq!(dues(&mut core), [Due::HIGH_WATER]);
    script.room.borrow_mut().extend([9000, 960, 40]);
    for expected in
        [&[Due::WRITE_PROGRESS][..], &[Due::LOW_WATER, Due::WRITE_PROGRESS], &[Due::WRITE_COMPLETE]]
    {
        core.unblock();
        core.flush(&script, &mut lender, 2);
        assert_eq!(dues(&mut core), expected);
    }
}

#[test]
fn the_hard_cap_ends_the_connection() {
    let script = Script::default();
    let (mut core, mut lender) = (core_with(|config| config.hard_cap = 10), Lender::default());
    accepted(core.send(&script, &mut lender, "1234567890", 1));
    assert_eq!(core.send(&script, &mut lender, "1", 1), Sent::Refused(SendError::Full));
    assert_eq!(dues(&mut core), [Due::CLOSE]);
    assert!(matches!(core.take_reason(), CloseReason::SlowConsumer));
    assert_eq!(core.bytes_discarded(), 10);
}

#[test]
fn a_peer_that_closes_first_still_gets_what_is_pending() {
    let script = Script::default();
    let (mut core, mut lender) = (core_with(|_| ()), Lender::default());
    accepted(core.send(&script, &mut lender, "reply", 1));
    script.incoming.borrow_mut().push_back(Ok(Vec::new()));
    assert!(matches!(core.receive_stream(&script, Buffer::new().spare(READ_SIZE), 1), Received::EndOfStream));
    core.close(None, 1);
    core.flush(&script, &mut lender, 1);
    assert!(!core.is_ended());
    script.room.borrow_mut().push_back(100);
    core.unblock();
    core.flush(&script, &mut lender, 2);
    assert_eq!(*script.outgoing.borrow(), b"reply");
    assert!(core.is_ended());
    assert!(matches!(core.take_reason(), CloseReason::Peer));
}

#[test]
fn closing_waits_for_the_peer_until_the_linger_deadline() {
    let script = Script::default();
    let (mut core, mut lender) =
        (core_with(|config| config.linger = Duration::from_secs(2)), Lender::default());
    core.close(None, SECOND);
    core.flush(&script, &mut lender, SECOND);
    assert_eq!((script.fins.get(), core.is_ended()), (1, false));
    assert_eq!(core.next_deadline(), 3 * SECOND);
    assert_eq!(core.expire(3 * SECOND - 1), Expired::Nothing);
    assert_eq!(core.expire(3 * SECOND), Expired::Changed);
    assert!(matches!(core.take_reason(), CloseReason::Local));
}

#[test]
fn a_peer_that_still_reads_is_waited_for_when_closing() {
    let script = Script::default();
    let (mut core, mut lender) =
        (core_with(|config| config.linger = Duration::from_secs(5)), Lender::default());
    accepted(core.send(&script, &mut lender, "a long reply", 0));
    core.flush(&script, &mut lender, 0);
    core.close(None, 0);
    for second in [4, 8, 12] {
        script.room.borrow_mut().push_back(4);
        core.unblock();
        core.flush(&script, &mut lender, second * SECOND);
        assert_eq!(core.expire(second * SECOND), Expired::Nothing);
    }
    assert_eq!((&script.outgoing.borrow()[..], script.fins.get()), (&b"a long reply"[..], 1));
    assert_eq!(core.next_deadline(), 17 * SECOND, "and then for its own end");
}

#[test]
fn output_left_at_the_linger_deadline_is_the_reason() {
    let script = Script::default();
    let (mut core, mut lender) = (core_with(|_| ()), Lender::default());
    accepted(core.send(&script, &mut lender, "never taken", 0));
    core.close(None, 0);
    core.flush(&script, &mut lender, 0);
    core.expire(core.next_deadline());
    assert!(matches!(core.take_reason(), CloseReason::TimedOut(Deadline::Linger)));
    assert_eq!(core.bytes_discarded(), 11);
}

#[test]
fn a_stall_counts_from_the_last_progress() {
    let script = Script::with_room(&[1]);
    let (mut core, mut lender) =
        (core_with(|config| config.write_stall = Some(Duration::from_secs(30))), Lender::default());
    accepted(core.send(&script, &mut lender, "abc", 100 * SECOND));
    core.flush(&script, &mut lender, 100 * SECOND);
    assert_eq!(core.next_deadline(), 130 * SECOND, "not from the last write before");
    script.room.borrow_mut().push_back(1);
    core.unblock();
    core.flush(&script, &mut lender, 120 * SECOND);
    assert_eq!(core.expire(130 * SECOND), Expired::Nothing);
    assert_eq!(core.next_deadline(), 150 * SECOND);
    assert_eq!(core.expire(150 * SECOND), Expired::Changed);
    assert!(matches!(core.take_reason(), CloseReason::TimedOut(Deadline::WriteStall)));
}

#[test]
fn an_idle_connection_is_looked_at_once_more() {
    let script = Script::default();
    let mut core = core_with(|config| config.idle = Some(Duration::from_secs(1)));
    assert_eq!(core.expire(SECOND), Expired::Probe);
    script.incoming.borrow_mut().push_back(Ok(b"was there".to_vec()));
    core.receive_stream(&script, Buffer::new().spare(READ_SIZE), SECOND);
    assert_eq!(core.expire(SECOND), Expired::Nothing);
    assert_eq!(core.expire(2 * SECOND), Expired::Probe);
    assert_eq!(core.expire(2 * SECOND), Expired::Changed);
    assert!(matches!(core.take_reason(), CloseReason::TimedOut(Deadline::Idle)));
}

#[test]
fn a_failed_write_leaves_what_can_be_read_to_be_read() {
    let script = Script::default();
    let (mut core, mut lender) = (core_with(|_| ()), Lender::default());
    script.broken.set(true);
    script.incoming.borrow_mut().push_back(Ok(b"last words".to_vec()));
    assert_eq!(core.send(&script, &mut lender, vec![0; 5000], 0), Sent::Refused(SendError::Closed));
    assert!(core.is_broken());
    let mut input = Buffer::new();
    assert!(matches!(core.receive_stream(&script, input.spare(READ_SIZE), 0), Received::Data { .. }));
    assert_eq!(input.peek(), b"last words");
    assert!(matches!(core.receive_stream(&script, input.spare(READ_SIZE), 0), Received::Ended));
    assert!(matches!(core.take_reason(), CloseReason::Reset));
}

#[test]
fn unread_input_is_bounded() {
    let mut core = core_with(|config| config.input_limit = 10);
    core.keep_unread(Box::new(Buffer::from(&[0; 10][..])));
    assert!(!core.is_ended());
    core.keep_unread(Box::new(Buffer::from(&[0; 11][..])));
    assert!(matches!(core.take_reason(), CloseReason::Protocol(_)));
}

#[test]
fn a_packet_that_is_too_long_is_refused_and_nothing_else() {
    let script = Script { room: RefCell::new([2000, 0].into()), ..Script::default() };
    let mut lender = Lender::default();
    let mut core = Core::new(Rc::new(ConnectionConfig::default()), true, 0);
    accepted(core.send(&script, &mut lender, "", 0));
    accepted(core.send(&script, &mut lender, "waits", 0));
    assert_eq!(core.send(&script, &mut lender, vec![0; 1001], 0), Sent::Refused(SendError::TooLarge));
    accepted(core.send(&script, &mut lender, vec![0; 1000], 0));
    assert_eq!((core.pending(), core.is_ended()), (1005, false));
}
