//! A model of sessions: any sequence of what sessions, their filters, their peers and the manager do, and what must hold all the same.
//!
//! Property tests and fuzz targets run the same: bytes are decoded to a [`Case`], which is played on a loop under test.

mod case;
mod ledger;
mod subject;

use std::time::Duration;

use campana::codec::{LengthPrefixed, Text};
use campana::session::{SessionService, SessionState, Sessions};
use campana::testing::{Peer, TestLoop};

use case::PeerAct;
#[allow(unused_imports, reason = "fuzzing decodes whole cases")]
pub(crate) use case::{Case, Step};
use ledger::{Content, Ledger, MOST};
use subject::{Gauge, Subject};

/// More sessions than this at once show nothing more.
const MOST_SESSIONS: usize = 4;

/// Plays a case.
///
/// # Panics
///
/// If anything that is promised doesn't hold.
pub(crate) fn play(case: &Case) {
    let mut model = Model::new(case);
    for step in &case.steps {
        model.step(step);
        model.check();
    }
    model.end();
}

struct Model {
    test: TestLoop<Sessions<Subject>>,
    ledger: Ledger,
    /// The peers of all sessions, in the order of the ledger's records.
    peers: Vec<Peer>,
}

impl Model {
    fn new(case: &Case) -> Self {
        let ledger = Ledger::default();
        let (of_filters, of_sessions, is_tight) = (ledger.clone(), ledger.clone(), case.is_tight);
        let service = SessionService::new(|| Text::over(LengthPrefixed::new(2).max(MOST)))
            .filter("gauge", move || Gauge::new(of_filters.clone()))
            .configure(move |config| {
                config.idle_both = None;
                config.idle_read = Some(Duration::from_secs(60));
                if is_tight {
                    config.pending_writes = 20;
                }
            });
        let mut test = TestLoop::sessions(service, move |_| Subject::new(of_sessions.clone()))
            .allow_panics()
            .configure(|config| {
                (config.high_water, config.low_water) = (600, 300);
                if is_tight {
                    (config.hard_cap, config.input_limit) = (3000, 15_000);
                }
            });
        if let Some(seed) = case.seed {
            test = test.seed(seed);
        }
        let mut model = Self { test, ledger, peers: Vec::new() };
        model.connect();
        model
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Connect => self.connect(),
            Step::React(reaction) | Step::ReactAlso(reaction) => {
                self.ledger.open().reactions.push_back(reaction.clone());
            }
            Step::Act(on, act) | Step::ActAlso(on, act) => {
                let Some(index) = self.pick(*on) else { return };
                let (peer, act) = (self.peers[index].clone(), act.clone());
                self.test.with_session(&peer, move |subject, cx| subject.act(cx, &act));
            }
            Step::Peer(on, act) | Step::PeerAlso(on, act) | Step::PeerOnceMore(on, act) => {
                if let Some(index) = self.pick(*on) {
                    self.peer_acts(index, act);
                }
            }
            Step::Broadcast(len) => {
                let text = self.ledger.open().text(len.0);
                let _ = self.test.manager().all().send(&text);
            }
            Step::SendToKey(key, len) => {
                let text = self.ledger.open().text(len.0);
                let _ = self.test.manager().keyed(&(key % 3)).send(&text);
            }
            Step::HandleSend(on, len) => {
                let text = self.ledger.open().text(len.0);
                let Some(index) = self.pick(*on) else { return };
                if let Some(session) = self.test.session(&self.peers[index]) {
                    let _ = session.send(&text);
                }
            }
            Step::HandleClose(on) => {
                let Some(index) = self.pick(*on) else { return };
                if let Some(session) = self.test.session(&self.peers[index]) {
                    let _ = session.close();
                }
            }
            Step::Turn | Step::TurnAlso => self.test.turn(),
            Step::Idle => self.test.run_until_idle(),
            Step::Advance(time) => self.test.advance(Duration::from_millis((*time).into())),
            Step::HoldUp(time) => self.test.hold_up(Duration::from_millis((*time).into())),
            Step::Stop => {
                self.ledger.open().stops = true;
                self.test.stop();
            }
        }
    }

    fn connect(&mut self) {
        if self.open().count() < MOST_SESSIONS {
            let peer = self.test.connect();
            self.peers.push(peer);
        }
    }

    fn open(&self) -> impl Iterator<Item = usize> {
        let records = self.ledger.open().records.iter().map(|record| record.closed).collect::<Vec<_>>();
        records.into_iter().enumerate().filter(|(_, closed)| !closed).map(|(index, _)| index)
    }

    /// One of the sessions that are open.
    fn pick(&self, on: u8) -> Option<usize> {
        let open: Vec<usize> = self.open().collect();
        open.get(usize::from(on) % open.len().max(1)).copied()
    }

    fn peer_acts(&mut self, index: usize, act: &PeerAct) {
        let mut book = self.ledger.open();
        let peer = &self.peers[index];
        let text = match act {
            PeerAct::Message(len) | PeerAct::MessageAlso(len) => book.text(len.0.clamp(1, MOST as u16)),
            _ => String::new(),
        };
        let record = &mut book.records[index];
        match act {
            PeerAct::Message(_) | PeerAct::MessageAlso(_) => record.input.make(Content::Text(text)),
            PeerAct::NotText => record.input.make(Content::NotText),
            PeerAct::TooLong => record.input.make(Content::TooLong),
            PeerAct::Layer(key) => record.input.make(Content::Layer(*key)),
            PeerAct::Send(_) | PeerAct::SendAll | PeerAct::SendAllAlso if !record.peer_ended => {
                let most = if let PeerAct::Send(bytes) = act { usize::from(*bytes) } else { usize::MAX };
                peer.send(record.input.take_made(most));
            }
            PeerAct::Send(_) | PeerAct::SendAll | PeerAct::SendAllAlso => {}
            PeerAct::Shutdown => peer.shutdown(),
            PeerAct::Close => peer.close(),
            PeerAct::Reset => peer.reset(),
            PeerAct::Window(bytes) => peer.set_window((*bytes).into()),
            PeerAct::WindowOpens => peer.set_window(usize::MAX),
            PeerAct::WriteFails => peer.fail_next_write(std::io::ErrorKind::BrokenPipe),
            PeerAct::WriteBlocks => peer.fail_next_write(std::io::ErrorKind::WouldBlock),
            PeerAct::Spurious => peer.report_readiness(),
        }
        record.peer_ended |= matches!(act, PeerAct::Shutdown | PeerAct::Close | PeerAct::Reset);
    }

    /// What holds after each step.
    fn check(&mut self) {
        let panics = self.test.context().handle().figures().panics;
        let mut book = self.ledger.open();
        assert_eq!(panics, book.panics, "panics are contained and counted, and only those that are meant");
        for (record, peer) in book.records.iter_mut().zip(&self.peers) {
            record.output.check(&peer.receive());
        }
    }

    /// The peers take everything, the sessions go on, and much time passes. What was closing must have ended by then, and the rest
    /// ends with the loop.
    fn end(mut self) {
        self.ledger.open().reactions.clear();
        self.peers.iter().for_each(|peer| peer.set_window(usize::MAX));
        self.test.manager().all().run(|_, cx| cx.resume_reading());
        self.test.advance(Duration::from_secs(3600));
        self.test.manager().all().run(|subject, cx| {
            assert!(!matches!(cx.state(), SessionState::Closing), "a closing session ends in the end");
            assert!(!cx.is_reading_paused());
            subject.check_at_rest();
        });
        self.test.turn();
        self.check();
        let manager = self.test.manager();
        let open: Vec<usize> = self.open().collect();
        assert_eq!(manager.len(), open.len());
        for &index in &open {
            self.ledger.open().records[index].output.check_all_out();
        }
        drop(self.test);
        let mut book = self.ledger.open();
        for (record, peer) in book.records.iter_mut().zip(&self.peers) {
            assert!(record.closed, "each session is told of its end");
            record.output.check(&peer.receive());
        }
        assert!(manager.is_empty() && (0..3u8).all(|key| manager.keyed(&key).is_empty()), "nobody is left");
        let stats = manager.stats();
        let sessions = book.records.len() as u64;
        assert_eq!((stats.opened, stats.closed), (sessions, sessions));
        let sum = |figure: fn(&ledger::Record) -> u64| book.records.iter().map(figure).sum::<u64>();
        assert_eq!(stats.messages_in, sum(|record| record.messages_in));
        assert_eq!(stats.messages_out, sum(|record| record.output.accepted()));
        assert_eq!(stats.errors, sum(|record| record.errors));
        assert_eq!(stats.bytes_out, sum(|record| record.output.received as u64));
    }
}
