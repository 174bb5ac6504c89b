//! The handler under test: it does what it is told, and looks whether what it sees can be.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::rc::Rc;

use campana::connection::ConnectionState;
use campana::{Buffer, CloseReason, Handler, LoopContext, SendError, TcpConnection};

use super::case::{Act, Reaction, Take};
use super::ledger::{Ledger, Record};

pub(super) struct Subject {
    ledger: Rc<RefCell<Ledger>>,
}

impl Subject {
    pub(super) fn new(ledger: Rc<RefCell<Ledger>>) -> Self {
        Self { ledger }
    }

    fn enter(&self, index: usize, conn: &TcpConnection<'_>) -> Entered {
        let mut ledger = self.ledger.borrow_mut();
        assert!(!ledger.in_callback, "a callback inside a callback");
        ledger.in_callback = true;
        let record = &ledger.records[index];
        assert_eq!(record.id, conn.id(), "the state of another connection");
        assert!(record.closed.is_none(), "a callback after the last one");
        Entered(Rc::clone(&self.ledger))
    }

    fn reaction(&self) -> Option<Reaction> {
        self.ledger.borrow_mut().reactions.pop_front()
    }

    /// Does what is next to be done in a callback.
    fn react(&self, index: usize, conn: &mut TcpConnection<'_>) {
        if let Some(reaction) = self.reaction() {
            self.perform_all(index, conn, &reaction.acts);
        }
    }

    fn perform_all(&self, index: usize, conn: &mut TcpConnection<'_>, acts: &[Act]) {
        for act in acts {
            if matches!(act, Act::Panic) {
                self.ledger.borrow_mut().records[index].panicked = true;
                self.ledger.borrow_mut().panics += 1;
                // Without the panic hook, which fuzzers take for a crash.
                resume_unwind(Box::new("meant"));
            }
            perform(&self.ledger, index, conn, act);
        }
    }

    fn perform_posted(&mut self, context: &mut LoopContext, index: usize, act: &Act) {
        let id = self.ledger.borrow().records[index].id;
        if let Some(mut conn) = context.connection(id) {
            perform(&self.ledger, index, &mut conn, act);
        }
    }
}

/// A callback is under way.
struct Entered(Rc<RefCell<Ledger>>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.borrow_mut().in_callback = false;
    }
}

impl Handler for Subject {
    type State = usize;

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) -> usize {
        let mut ledger = self.ledger.borrow_mut();
        let index = ledger.records.len();
        let packets = ledger.is_packets();
        ledger.records.push(Record::new(conn.id(), index, packets));
        drop(ledger);
        let _entered = self.enter(index, conn);
        self.react(index, conn);
        index
    }

    fn on_data(&mut self, index: &mut usize, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        let _entered = self.enter(*index, conn);
        assert_eq!(conn.state(), ConnectionState::Connected);
        assert!(!conn.is_reading_paused() && conn.unread_input().is_empty());
        let reaction = self.reaction();
        {
            let mut ledger = self.ledger.borrow_mut();
            let packets = ledger.is_packets();
            let record = &mut ledger.records[*index];
            // Behind the end only what was left unread may come again, when reading is resumed.
            assert!(!record.read_closed || input.readable() == record.unread, "input after its end");
            if packets {
                record.input.consume_packet(input.peek(), "input");
            } else {
                assert!(
                    !input.is_empty() && input.readable() >= record.unread,
                    "unread input is there again"
                );
                record.input.check(input.peek(), "input");
                let taken = match reaction.as_ref().map_or(Take::All, |reaction| reaction.takes) {
                    Take::All => input.readable(),
                    Take::Nothing => 0,
                    Take::Some(most) => input.readable().min(usize::from(most)),
                };
                input.retrieve(taken);
                record.input.consume(taken);
                record.unread = input.readable();
                record.awaits_unread = false;
            }
        }
        self.perform_all(*index, conn, reaction.as_ref().map_or(&[], |reaction| &reaction.acts));
    }

    fn on_write_complete(&mut self, index: &mut usize, conn: &mut TcpConnection<'_>) {
        let _entered = self.enter(*index, conn);
        assert_eq!(conn.pending_output(), 0);
        self.react(*index, conn);
    }

    fn on_high_water(&mut self, index: &mut usize, conn: &mut TcpConnection<'_>) {
        let _entered = self.enter(*index, conn);
        let was_above = std::mem::replace(&mut self.ledger.borrow_mut().records[*index].is_above_high, true);
        assert!(!was_above, "high water twice");
        self.react(*index, conn);
    }

    fn on_low_water(&mut self, index: &mut usize, conn: &mut TcpConnection<'_>) {
        let _entered = self.enter(*index, conn);
        let was_above = std::mem::replace(&mut self.ledger.borrow_mut().records[*index].is_above_high, false);
        assert!(was_above, "low water without high water");
        self.react(*index, conn);
    }

    fn on_read_closed(&mut self, index: &mut usize, conn: &mut TcpConnection<'_>) {
        let _entered = self.enter(*index, conn);
        {
            let mut ledger = self.ledger.borrow_mut();
            let record = &mut ledger.records[*index];
            assert!(record.peer_ended && !record.read_closed, "the end of the input comes once");
            record.read_closed = true;
            assert_eq!(conn.unread_input().len(), record.unread);
            let delivered = record.input.consumed + record.unread;
            assert_eq!(delivered, record.input.produced, "the end comes behind all input");
        }
        self.react(*index, conn);
    }

    fn on_timer(&mut self, index: &mut usize, conn: &mut TcpConnection<'_>, token: u64) {
        let _entered = self.enter(*index, conn);
        let timer = self.ledger.borrow_mut().records[*index].timers.remove(&token);
        let (_, due) = timer.expect("a timer fires once, and not after it is cancelled");
        assert!(conn.context().now() >= due, "a timer is early");
        self.react(*index, conn);
    }

    fn on_stopping(&mut self, index: &mut usize, conn: &mut TcpConnection<'_>) {
        let _entered = self.enter(*index, conn);
        assert!(self.ledger.borrow().stops);
        self.react(*index, conn);
    }

    fn on_close(&mut self, index: usize, conn: &mut TcpConnection<'_>, reason: CloseReason) {
        let _entered = self.enter(index, conn);
        assert_eq!(conn.state(), ConnectionState::Disconnected);
        assert!(conn.unread_input().is_empty() && conn.pending_output() == 0);
        assert_eq!(conn.send("late"), Err(SendError::Closed));
        let stats = conn.stats();
        {
            let mut ledger = self.ledger.borrow_mut();
            let stops = ledger.stops;
            let record = &mut ledger.records[index];
            record.check_reason(&reason, conn, stops);
            assert_eq!((stats.bytes_out + stats.bytes_discarded) as usize, record.output.produced);
            assert!(stats.bytes_in as usize <= record.input.produced);
            assert!(stats.bytes_in as usize >= record.input.consumed + record.unread);
            record.closed = Some(stats.bytes_out);
        }
        self.react(index, conn);
    }
}

/// Does something to a connection, in a callback of its or from elsewhere.
pub(super) fn perform(ledger: &Rc<RefCell<Ledger>>, index: usize, conn: &mut TcpConnection<'_>, act: &Act) {
    if matches!(act, Act::Shutdown | Act::Close | Act::Fail | Act::ForceClose | Act::HandleClose)
        || matches!(act, Act::CloseAfter(_) | Act::CloseWhenSilent(_))
    {
        ledger.borrow_mut().records[index].asked_to_close = true;
    }
    match act {
        Act::Send { len, shared } => send(ledger, index, conn, *len as usize, *shared),
        Act::SendToOther { on, len } => {
            let other = {
                let ledger = ledger.borrow();
                let open: Vec<usize> = ledger.open().collect();
                open.get(usize::from(*on) % open.len().max(1))
                    .map(|other| (*other, ledger.records[*other].id))
            };
            if let Some((other, id)) = other
                && let Some(mut peer) = conn.peer(id)
            {
                send(ledger, other, &mut peer, *len as usize, false);
            }
        }
        Act::Flush => conn.flush(),
        Act::Shutdown => conn.shutdown(),
        Act::Close => conn.close(),
        Act::Fail => conn.fail("no such verb"),
        Act::ForceClose => {
            conn.force_close();
            assert_eq!(conn.state(), ConnectionState::Disconnected);
        }
        Act::CloseAfter(time) => {
            ledger.borrow_mut().records[index].has_close_time = true;
            conn.close_after(*time);
        }
        Act::CloseWhenSilent(time) => conn.close_when_silent(*time),
        Act::Pause => conn.pause_reading(),
        Act::Resume => {
            ledger.borrow_mut().records[index].awaits_unread |=
                conn.is_reading_paused() && !conn.unread_input().is_empty();
            conn.resume_reading();
        }
        Act::SetTimer(time) => {
            let due = conn.context().now() + *time;
            let mut ledger = ledger.borrow_mut();
            let record = &mut ledger.records[index];
            let token = record.next_token;
            record.next_token += 1;
            let timer = conn.set_timer(*time, token);
            if conn.state() == ConnectionState::Connected {
                record.timers.insert(token, (timer, due));
            }
        }
        Act::CancelTimer(which) => {
            let token = u64::from(*which);
            let set = ledger.borrow_mut().records[index].timers.remove(&token);
            if let Some((timer, _)) = set {
                let cancelled = conn.cancel_timer(timer);
                assert!(cancelled || conn.state() != ConnectionState::Connected);
                assert!(!conn.cancel_timer(timer), "cancelled twice");
            }
        }
        Act::Configure(setting) => conn.configure(|config| setting.apply(config)),
        Act::RunLater(act) => {
            let (ledger, act, id) = (Rc::clone(ledger), act.clone(), conn.id());
            conn.context().run_later(move |context| {
                if let Some(mut conn) = context.connection(id) {
                    perform(&ledger, index, &mut conn, &act);
                }
            });
        }
        Act::Post(act) => {
            let handle = ledger.borrow().handle.clone();
            let act = act.clone();
            if let Some(handle) = handle {
                // An error says that the loop ends.
                let _ = handle.run(move |subject: &mut Subject, context| {
                    subject.perform_posted(context, index, &act);
                });
            }
        }
        Act::HandleClose => {
            let handle = conn.handle();
            assert!(handle.is_open() || conn.state() == ConnectionState::Disconnected);
            let _ = handle.close();
        }
        // Only a callback of a connection's own may.
        Act::Panic => {}
    }
}

fn send(ledger: &Rc<RefCell<Ledger>>, index: usize, conn: &mut TcpConnection<'_>, len: usize, shared: bool) {
    let mut ledger = ledger.borrow_mut();
    let output = &mut ledger.records[index].output;
    let bytes = output.preview(len);
    let (was_open, before) = (conn.is_open(), conn.stats());
    let result = if shared { conn.send(bytes) } else { conn.send(&bytes[..]) };
    let after = conn.stats();
    match result {
        Ok(()) => {
            assert!(was_open);
            output.commit(len);
            assert!(after.bytes_pending <= conn.config().hard_cap.max(before.bytes_pending));
        }
        Err(error) => {
            assert_eq!(after.bytes_out, before.bytes_out, "nothing of it is sent");
            match error {
                SendError::Full => assert_eq!(conn.state(), ConnectionState::Disconnected),
                SendError::TooLarge => assert!(len > super::ledger::LONGEST_PACKET),
                SendError::ShutDown => assert_eq!(conn.state(), ConnectionState::Connected),
                _ => {}
            }
        }
    }
}
