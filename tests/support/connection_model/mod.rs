//! A model of connections: any sequence of what users, peers and the system do, and what must hold all the same.
//!
//! Property tests and fuzz targets run the same: bytes are decoded to a [`Case`], which is played on a loop under test.

mod case;
mod ledger;
mod subject;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use campana::connection::ConnectionState;
use campana::socket::Address;
use campana::testing::{Peer, TestLoop};

pub(crate) use case::Case;
use case::{PeerAct, Step};
use ledger::Ledger;
use subject::Subject;

/// More connections than this at once show nothing more.
const MOST_CONNECTIONS: usize = 6;

/// Plays a case.
///
/// # Panics
///
/// If anything that is promised doesn't hold.
pub(crate) fn play(case: &Case, packets: bool) {
    let mut model = Model::new(case, packets);
    for step in &case.steps {
        model.step(step);
        model.check();
    }
    model.end();
}

struct Model {
    test: TestLoop<Subject>,
    ledger: Rc<RefCell<Ledger>>,
    packets: bool,
}

impl Model {
    fn new(case: &Case, packets: bool) -> Self {
        let ledger = Rc::new(RefCell::new(Ledger::new(packets)));
        let mut test = TestLoop::new(Subject::new(Rc::clone(&ledger))).allow_panics().configure(|config| {
            // As low as what is sent is short.
            (config.high_water, config.low_water) = (6000, 3000);
            case.settings.iter().for_each(|setting| setting.apply(config));
        });
        if let Some(seed) = case.seed {
            test = test.seed(seed);
        }
        ledger.borrow_mut().handle = Some(test.handler_handle());
        let mut model = Self { test, ledger, packets };
        model.connect(true);
        model
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Connect { tcp } => self.connect(*tcp),
            Step::React(reaction) => self.ledger.borrow_mut().reactions.push_back(reaction.clone()),
            Step::Act { on, act } => {
                let Some((index, peer)) = self.pick(*on) else { return };
                let ledger = Rc::clone(&self.ledger);
                if let Some(mut conn) = self.test.connection(peer.id()) {
                    subject::perform(&ledger, index, &mut conn, act);
                }
            }
            Step::Peer { on, act } => {
                if let Some((index, peer)) = self.pick(*on) {
                    self.peer_acts(index, &peer, act);
                }
            }
            Step::Turn => self.test.turn(),
            Step::Idle => {
                self.test.run_until_idle();
                self.check_at_rest();
            }
            Step::Advance(time) => {
                self.test.advance(*time);
                self.check_at_rest();
            }
            Step::HoldUp(time) => self.test.hold_up(*time),
            Step::Stop => {
                self.ledger.borrow_mut().stops = true;
                self.test.stop();
            }
        }
    }

    fn connect(&mut self, tcp: bool) {
        if self.ledger.borrow().open().count() >= MOST_CONNECTIONS {
            return;
        }
        let peer = match (self.packets, tcp) {
            (true, _) => self.test.connect_packet(),
            (false, true) => self.test.connect(),
            (false, false) => self.test.connect_from(Address::unix_abstract("peer").unwrap()),
        };
        self.ledger.borrow_mut().connected(peer);
    }

    /// One of the connections that are open.
    fn pick(&self, on: u8) -> Option<(usize, Peer)> {
        let ledger = self.ledger.borrow();
        let open: Vec<usize> = ledger.open().collect();
        let index = *open.get(usize::from(on) % open.len().max(1))?;
        Some((index, ledger.records[index].peer.clone()?))
    }

    fn peer_acts(&mut self, index: usize, peer: &Peer, act: &PeerAct) {
        let mut ledger = self.ledger.borrow_mut();
        let record = &mut ledger.records[index];
        match act {
            PeerAct::Send(len) if !record.peer_ended => peer.send(record.input.produce(*len as usize)),
            PeerAct::Send(_) => {}
            PeerAct::Shutdown => {
                record.peer_ended = true;
                peer.shutdown();
            }
            PeerAct::Close => {
                (record.peer_ended, record.broken) = (true, true);
                peer.close();
            }
            PeerAct::Reset => {
                (record.peer_ended, record.broken, record.failed) = (true, true, true);
                peer.reset();
            }
            PeerAct::TimeOut => {
                (record.peer_ended, record.broken, record.failed) = (true, true, true);
                peer.fail(std::io::ErrorKind::TimedOut);
            }
            PeerAct::Window(bytes) => {
                record.window_is_open = *bytes == usize::MAX;
                peer.set_window(*bytes);
            }
            PeerAct::WriteFails => {
                record.broken = true;
                peer.fail_next_write(std::io::ErrorKind::BrokenPipe);
            }
            PeerAct::WriteBlocks => peer.fail_next_write(std::io::ErrorKind::WouldBlock),
            PeerAct::Spurious => peer.report_readiness(),
        }
    }

    /// What holds after each step.
    fn check(&mut self) {
        let panics = self.test.context().handle().figures().panics;
        let mut ledger = self.ledger.borrow_mut();
        assert_eq!(
            panics as usize, ledger.panics,
            "panics are contained and counted, and only those that are meant"
        );
        ledger.check_peers();
    }

    /// What holds when nothing is under way.
    fn check_at_rest(&mut self) {
        let open: Vec<usize> = self.ledger.borrow().open().collect();
        let figures = self.test.context().handle().figures();
        assert_eq!(figures.connections, open.len(), "connections are counted");
        assert_eq!(figures.channels, open.len(), "channels are counted");
        let timers = open.iter().map(|index| 1 + self.ledger.borrow().records[*index].next_token as usize);
        assert!(figures.timers_pending <= timers.sum(), "timers end with their connections");
        let now = self.test.context().now();
        for index in open {
            let peer = self.ledger.borrow().records[index].peer.clone().unwrap();
            let conn = self.test.connection(peer.id()).expect("open connections are found");
            self.ledger.borrow_mut().check_at_rest(index, &conn, now);
        }
    }

    /// The peers take everything, and much time passes. What was closing must have ended by then, and the rest ends with the
    /// loop.
    fn end(mut self) {
        for record in &mut self.ledger.borrow_mut().records {
            record.window_is_open = true;
            if let Some(peer) = &record.peer {
                peer.set_window(usize::MAX);
            }
        }
        self.test.run_until_idle();
        self.check_at_rest();
        self.test.advance(Duration::from_secs(3600));
        self.check_at_rest();
        let open: Vec<usize> = self.ledger.borrow().open().collect();
        for index in open {
            let peer = self.ledger.borrow().records[index].peer.clone().unwrap();
            let conn = self.test.connection(peer.id()).unwrap();
            assert_eq!(conn.state(), ConnectionState::Connected, "a closing connection ends in the end");
            assert!(!self.ledger.borrow().records[index].failed, "a reset connection ends in the end");
            assert!(conn.config().idle.is_none(), "a silent connection ends in the end");
            let done = conn.is_read_closed() && !conn.is_open();
            assert!(!done, "nothing is left of a connection that is closed in both directions");
        }
        let handle = self.test.context().handle().clone();
        self.ledger.borrow_mut().stops = true;
        drop(self.test);
        let mut ledger = self.ledger.borrow_mut();
        ledger.check_peers();
        assert_eq!(handle.figures().panics as usize, ledger.panics);
        assert_eq!(ledger.open().count(), 0, "each connection is told of its end");
        assert_eq!(handle.figures().connections, 0);
    }
}
