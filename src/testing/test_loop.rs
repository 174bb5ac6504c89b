//! A loop that a test turns by hand.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::Peer;
use super::source::TestSource;
use crate::connection::{
    ConnectionConfig, ConnectionId, Group, Handler, Noise, Script, Table, TcpConnection,
};
use crate::reactor::{EventLoop, Flags, HandlerHandle, LoopContext, LoopHandle, SourceId};
use crate::socket::Address;

/// An event loop with a handler under test and connections to [`Peer`]s.
///
/// Nothing happens by itself: callbacks are called in [`connect`](Self::connect), [`turn`](Self::turn) and what is made of
/// turns, and the time of the loop, deadlines included, is what [`advance`](Self::advance) makes it. When it is dropped, the
/// loop ends, and open connections get their `on_close`.
///
/// A panic of the handler, which a loop catches and counts, is a panic of the test too, so that assertions in callbacks hold;
/// see [`allow_panics`](Self::allow_panics).
pub struct TestLoop<H: Handler> {
    event_loop: EventLoop,
    source: SourceId,
    peers: Vec<Peer>,
    connected: u16,
    noise: Option<Noise>,
    /// Dropped after the loop, whose end calls back too.
    verdict: Verdict,
    handler: PhantomData<H>,
}

/// How many turns something may take to come to rest.
const MOST_TURNS: usize = 100_000;
/// How many deadlines may be due in a time that is to pass.
const MOST_DEADLINES: usize = 10_000_000;

impl<H: Handler> TestLoop<H> {
    /// Makes a loop for a handler, with connections of the default configuration.
    ///
    /// # Panics
    ///
    /// If the system has no descriptors left for a poller.
    pub fn new(handler: H) -> Self {
        let mut event_loop =
            EventLoop::new().unwrap_or_else(|error| panic!("no event loop can be made: {error}"));
        event_loop.hold_clock();
        let source = event_loop.context().add_source(|_, own| TestSource {
            group: Group::new(own.index, handler, ConnectionConfig::default(), None),
        });
        let verdict = Verdict { handle: event_loop.handle(), allowed: false, seed: None };
        let (peers, noise, handler) = (Vec::new(), None, PhantomData);
        Self { event_loop, source, peers, connected: 0, noise, verdict, handler }
    }

    /// Changes the limits and deadlines of the connections to come.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut ConnectionConfig)) -> Self {
        self.with_source(|source, _| source.group.configure(change));
        self
    }

    /// Lets chance take part, the same for the same seed, in the connections to come.
    ///
    /// In each turn only a part of what peers have sent may arrive, writes may be taken in part or not at once, the poller may
    /// say of something only later, or say what isn't so, and which connection is called first is open. Nothing that a peer
    /// does gets lost, and [`run_until_idle`](Self::run_until_idle) and [`advance`](Self::advance) still wait for all of it.
    /// So what holds after these without a seed has to hold with each seed, but for the order of what several peers do at
    /// once; and a loop over some hundred seeds is a good test. What holds after a single [`turn`](Self::turn) need not.
    ///
    /// If the test panics, the seed is printed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.noise = Some(Noise::new(seed));
        self.verdict.seed = Some(seed);
        self
    }

    /// Leaves panics of the handler to the loop, which catches and counts them and goes on. Without this call they fail the
    /// test.
    #[must_use]
    pub fn allow_panics(mut self) -> Self {
        self.verdict.allowed = true;
        self
    }

    /// Connects a peer by TCP, under an address made up for it, and calls `on_connect`. What that sends may leave in the next
    /// turn only.
    ///
    /// # Panics
    ///
    /// As [`turn`](Self::turn).
    pub fn connect(&mut self) -> Peer {
        let port = 49152 | self.connected;
        self.connect_from(Address::Inet(SocketAddr::from(([192, 0, 2, 1], port))))
    }

    /// Connects a peer by a Unix packet socket (SOCK_SEQPACKET), and calls `on_connect`.
    ///
    /// # Panics
    ///
    /// As [`turn`](Self::turn).
    pub fn connect_packet(&mut self) -> Peer {
        self.connect_from(Address::unnamed(true))
    }

    /// Connects a peer of a given address, which says whether it is TCP, a Unix stream or a Unix packet socket, and calls
    /// `on_connect`.
    ///
    /// # Panics
    ///
    /// As [`turn`](Self::turn).
    pub fn connect_from(&mut self, address: Address) -> Peer {
        let local = match &address {
            Address::Inet(_) => Address::Inet(SocketAddr::from(([192, 0, 2, 2], 7000))),
            _ => Address::unnamed(address.is_packet()),
        };
        self.connected = self.connected.wrapping_add(1) & 0x3fff;
        let noise = self.noise.as_mut().map(|noise| Noise::new(noise.next()));
        let script = Rc::new(Script::new(local, noise));
        let mut id = None;
        self.with_source(|source, context| {
            source.connect(context, Rc::clone(&script), address, |named| id = Some(named));
        });
        let Some(id) = id else { unreachable!("a connection has its id before user code is called") };
        let peer = Peer { script, id };
        self.peers.push(peer.clone());
        self.verdict.check();
        peer
    }

    /// Lets what peers have done arrive, and does one turn of the loop.
    ///
    /// # Panics
    ///
    /// If a callback panics, unless [that is allowed](Self::allow_panics).
    pub fn turn(&mut self) {
        let first = match &mut self.noise {
            Some(noise) if !self.peers.is_empty() => noise.next() as usize % self.peers.len(),
            _ => 0,
        };
        self.peers.rotate_left(first);
        for index in 0..self.peers.len() {
            let Peer { script, id } = &self.peers[index];
            script.arrive();
            let news = script.take_news();
            if news == Flags::NONE {
                continue;
            }
            if let Some(channel) = Table::of(self.event_loop.context()).channel_of(*id) {
                self.event_loop.report(channel, news);
            }
        }
        if let Err(error) = self.event_loop.turn(Some(Duration::ZERO)) {
            panic!("the poller failed: {error}");
        }
        self.peers.retain(|peer| !peer.script.is_shut());
        self.verdict.check();
    }

    /// Does turns, one at least, until nothing is under way any more: what peers have done has arrived, and there is nothing left
    /// to be done before the next deadline.
    ///
    /// # Panics
    ///
    /// As [`turn`](Self::turn), and if there is always something left to be done, as when a task posts itself again each time.
    pub fn run_until_idle(&mut self) {
        for _ in 0..MOST_TURNS {
            self.turn();
            let has_work =
                self.event_loop.has_work() || self.event_loop.time_to_deadline() == Some(Duration::ZERO);
            if !has_work && self.peers.iter().all(|peer| peer.script.is_quiet()) {
                return;
            }
        }
        panic!("the loop has not come to rest after {MOST_TURNS} turns");
    }

    /// Lets time pass. What is under way is done first; then the clock goes from deadline to deadline, as it would, and what is
    /// due at each is done, and what follows from it.
    ///
    /// # Panics
    ///
    /// As [`run_until_idle`](Self::run_until_idle).
    pub fn advance(&mut self, time: Duration) {
        let mut left = time;
        self.run_until_idle();
        for _ in 0..MOST_DEADLINES {
            match self.event_loop.time_to_deadline() {
                Some(step) if step <= left => {
                    self.event_loop.advance_clock(step);
                    left -= step;
                    self.run_until_idle();
                }
                _ => {
                    self.event_loop.advance_clock(left);
                    return self.run_until_idle();
                }
            }
        }
        panic!("{left:?} of {time:?} are left after {MOST_DEADLINES} deadlines");
    }

    /// Holds the loop up, as a slow callback or a busy machine does: the clock jumps, and the next turn finds all that became due
    /// meanwhile at once.
    pub fn hold_up(&mut self, time: Duration) {
        self.event_loop.advance_clock(time);
    }

    /// The time until something is due.
    pub(super) fn time_to_deadline(&self) -> Option<Duration> {
        self.event_loop.time_to_deadline()
    }

    /// Begins to stop, as a server does: each connection gets `on_stopping` in the next turn. Nothing is closed by force, until
    /// this is dropped.
    pub fn stop(&mut self) {
        self.with_source(|source, context| source.group.announce_stop(context));
    }

    /// The handler, to look at it and to change it.
    pub fn handler(&mut self) -> &mut H {
        match self.event_loop.source_mut::<TestSource<H>>(self.source) {
            Some(source) => &mut source.group.handler,
            None => unreachable!("the source stays for as long as its loop"),
        }
    }

    /// A way to reach the handler from anywhere, other threads included, as
    /// [`ServerHandle::handlers`](crate::ServerHandle::handlers) gives one for each loop.
    pub fn handler_handle(&mut self) -> HandlerHandle<H> {
        let source = self.source;
        self.context().own_source_handle(source)
    }

    /// The loop's context: its time, timers, tasks, handle and figures.
    pub fn context(&mut self) -> &mut LoopContext {
        self.event_loop.context()
    }

    /// A connection as its handler sees it; nothing if it has ended. What is done here takes effect in the next turn.
    pub fn connection(&mut self, id: ConnectionId) -> Option<TcpConnection<'_>> {
        self.context().connection(id)
    }

    fn with_source(&mut self, run: impl FnOnce(&mut TestSource<H>, &mut LoopContext)) {
        self.event_loop.with_source(self.source, run);
    }
}

impl<H: Handler> AsMut<LoopContext> for TestLoop<H> {
    fn as_mut(&mut self) -> &mut LoopContext {
        self.context()
    }
}

impl<H: Handler> fmt::Debug for TestLoop<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestLoop")
            .field("seed", &self.verdict.seed)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

/// Fails the test for a panic that the loop has caught, and says with which seed it failed.
struct Verdict {
    handle: LoopHandle,
    allowed: bool,
    seed: Option<u64>,
}

impl Verdict {
    fn check(&self) {
        if !self.allowed && self.handle.counters().panics.value() > 0 {
            panic!("a callback panicked, with the message above");
        }
    }
}

impl Drop for Verdict {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        } else if let Some(seed) = self.seed {
            eprintln!("note: the seed of the test loop was {seed}");
        }
    }
}
