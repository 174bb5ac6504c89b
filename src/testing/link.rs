//! Two loops under test, back to back.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::{Peer, TestLoop};
use crate::connection::{Handler, Noise};

/// Two [`TestLoop`]s whose connections lead to each other, through a link that takes its time, and may be lost.
///
/// What one side writes arrives at the other, all of it and in its order, unless the connection is lost; so do the end of the
/// stream, and a reset. The clocks of both loops stand still, and [`advance`](Self::advance) moves them together.
///
/// With a [seed](Self::seed) bytes arrive in pieces, each later than it need be, and chance takes part in both loops, too. What
/// holds without a seed has to hold with each, but for what depends on when something arrives.
///
/// ```
/// use std::time::Duration;
///
/// use campana::codec::{Lines, Text};
/// use campana::session::{Session, SessionContext, SessionService};
/// use campana::testing::{Link, TestLoop};
///
/// /// Counts down, in turn with its peer.
/// #[derive(Default)]
/// struct Countdown {
///     last: Option<u32>,
/// }
///
/// impl Session for Countdown {
///     type Codec = Text<Lines>;
///
///     fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
///         let number: u32 = line.parse().unwrap();
///         self.last = Some(number);
///         match number.checked_sub(1) {
///             Some(next) => drop(cx.write(&next.to_string())),
///             None => cx.close(),
///         }
///     }
/// }
///
/// let side = || TestLoop::sessions(SessionService::new(|| Text::over(Lines::new())), |_| Countdown::default());
/// for seed in 0..20 {
///     let mut link = Link::new(side(), side()).latency(Duration::from_millis(50)).seed(seed);
///     let (left, right) = link.connect();
///     link.left().with_session(&left, |_, cx| drop(cx.write("9")));
///     link.advance(Duration::from_secs(1));
///     assert!(left.close_reason().is_some() && right.close_reason().is_some());
///     assert_eq!(link.left().manager().stats().messages_in, 5);
///     assert_eq!(link.right().manager().stats().messages_in, 5);
/// }
/// ```
pub struct Link<L: Handler, R: Handler> {
    left: TestLoop<L>,
    right: TestLoop<R>,
    wires: Vec<Wire>,
    /// How long the link has been there.
    now: Duration,
    latency: Duration,
    noise: Option<Noise>,
    /// How the next connection is to be lost, and after how many bytes.
    planned: Option<(u64, Loss)>,
    /// Dropped after the loops, which may panic.
    _note: SeedNote,
}

/// How a connection is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Loss {
    /// Both sides find it reset, behind what has arrived before.
    Reset,
    /// Nothing passes any more, and nobody is told: a cable was cut. What is written waits for ever.
    Silence,
}

/// How many times something may go back and forth before it has to come to rest.
const MOST_ROUNDS: usize = 1_000_000;

impl<L: Handler, R: Handler> Link<L, R> {
    /// A link without delay between two loops, which from now on belong to it.
    pub fn new(left: TestLoop<L>, right: TestLoop<R>) -> Self {
        let (wires, now, latency) = (Vec::new(), Duration::ZERO, Duration::ZERO);
        Self { left, right, wires, now, latency, noise: None, planned: None, _note: SeedNote(None) }
    }

    /// How long bytes are on their way; with a seed at most so long.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Lets chance take part, the same for the same seed, in the link and in [both loops](TestLoop::seed). If the test panics, the
    /// seed is printed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        self.left = self.left.seed(noise.next());
        self.right = self.right.seed(noise.next());
        self.noise = Some(noise);
        self._note = SeedNote(Some(seed));
        self
    }

    /// Connects the two loops by a stream, and calls `on_connect` of both. Gives what each connection takes for its peer: to tell
    /// the connections by, and to ask how they ended. To send and to receive is the link's.
    ///
    /// # Panics
    ///
    /// As [`TestLoop::turn`].
    pub fn connect(&mut self) -> (Peer, Peer) {
        let ends = (self.left.connect(), self.right.connect());
        self.wire(ends)
    }

    /// Connects the two loops by packets, of which each arrives as a whole.
    ///
    /// # Panics
    ///
    /// As [`TestLoop::turn`].
    pub fn connect_packet(&mut self) -> (Peer, Peer) {
        let ends = (self.left.connect_packet(), self.right.connect_packet());
        self.wire(ends)
    }

    fn wire(&mut self, (left, right): (Peer, Peer)) -> (Peer, Peer) {
        let lose_after = self.planned.take();
        let rightwards = Direction::new(left.clone(), right.clone());
        let leftwards = Direction::new(right.clone(), left.clone());
        self.wires.push(Wire { rightwards, leftwards, passed: 0, lose_after });
        (left, right)
    }

    /// Lets the next connection be lost when so many bytes have arrived, of both directions together.
    pub fn lose_next_after(&mut self, bytes: u64, loss: Loss) {
        self.planned = Some((bytes, loss));
    }

    /// Lets the next connection be lost within its first so many bytes, where and how the seed says.
    ///
    /// # Panics
    ///
    /// If there is no [seed](Self::seed).
    pub fn lose_next_within(&mut self, bytes: u64) {
        let Some(noise) = &mut self.noise else { panic!("chance needs a seed") };
        let point = noise.next() % bytes.max(1);
        let loss = if noise.once_in(2) { Loss::Reset } else { Loss::Silence };
        self.planned = Some((point, loss));
    }

    /// Lets all connections be lost now, with what is on its way.
    pub fn lose(&mut self, loss: Loss) {
        for wire in &mut self.wires {
            wire.lose(loss);
        }
    }

    /// Lets both loops and the link do all that there is to be done now, until nothing moves any more.
    ///
    /// # Panics
    ///
    /// As [`TestLoop::run_until_idle`], and if the two never come to rest.
    pub fn run_until_idle(&mut self) {
        for _ in 0..MOST_ROUNDS {
            self.left.run_until_idle();
            self.right.run_until_idle();
            if !self.pass() {
                return;
            }
        }
        panic!("the link has not come to rest after {MOST_ROUNDS} rounds");
    }

    /// Lets time pass on both sides and on the link, from one event to the next.
    ///
    /// # Panics
    ///
    /// As [`run_until_idle`](Self::run_until_idle).
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_until_idle();
        while self.now < end {
            let arrival = self.wires.iter().filter_map(Wire::next_arrival).min();
            let arrival = arrival.map(|arrival| arrival.saturating_sub(self.now));
            let deadlines = [self.left.time_to_deadline(), self.right.time_to_deadline(), arrival];
            let step = deadlines.into_iter().flatten().fold(end - self.now, Duration::min);
            self.left.hold_up(step);
            self.right.hold_up(step);
            self.now += step;
            self.run_until_idle();
        }
    }

    /// The loop that was given first.
    pub fn left(&mut self) -> &mut TestLoop<L> {
        &mut self.left
    }

    /// The loop that was given second.
    pub fn right(&mut self) -> &mut TestLoop<R> {
        &mut self.right
    }

    /// Takes up what was written, and brings on what is due. Answers whether anything has moved.
    fn pass(&mut self) -> bool {
        let mut moved = false;
        for wire in &mut self.wires {
            wire.rightwards.take_up(self.now, self.latency, self.noise.as_mut());
            wire.leftwards.take_up(self.now, self.latency, self.noise.as_mut());
            moved |= wire.deliver(self.now);
        }
        self.wires.retain(|wire| !wire.is_over());
        moved
    }
}

impl<L: Handler, R: Handler> fmt::Debug for Link<L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("connections", &self.wires.len())
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// One connection.
struct Wire {
    rightwards: Direction,
    leftwards: Direction,
    /// How many bytes have arrived.
    passed: u64,
    lose_after: Option<(u64, Loss)>,
}

impl Wire {
    fn lose(&mut self, loss: Loss) {
        for direction in [&mut self.rightwards, &mut self.leftwards] {
            direction.under_way.clear();
            direction.ended = true;
            match loss {
                Loss::Reset => direction.to.reset(),
                Loss::Silence => direction.from.set_window(0),
            }
        }
    }

    /// Brings on at most one piece each way, so that pieces stay apart.
    fn deliver(&mut self, now: Duration) -> bool {
        let mut moved = false;
        for is_right in [true, false] {
            let direction = if is_right { &mut self.rightwards } else { &mut self.leftwards };
            let Some(mut piece) = direction.take_due(now) else { continue };
            moved = true;
            if let (Some((point, loss)), What::Bytes(bytes)) = (self.lose_after, &mut piece) {
                let left = point.saturating_sub(self.passed);
                if bytes.len() as u64 >= left {
                    if !direction.to.is_packet() {
                        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                        direction.arrive(piece);
                    }
                    self.lose(loss);
                    return true;
                }
            }
            if let What::Bytes(bytes) = &piece {
                self.passed += bytes.len() as u64;
            }
            direction.arrive(piece);
        }
        moved
    }

    fn next_arrival(&self) -> Option<Duration> {
        let next = |direction: &Direction| direction.under_way.front().map(|&(due, _)| due);
        [next(&self.rightwards), next(&self.leftwards)].into_iter().flatten().min()
    }

    fn is_over(&self) -> bool {
        self.rightwards.ended && self.leftwards.ended && self.next_arrival().is_none()
    }
}

/// One way of a connection. Its ends are named by what the connections there take for their peers.
struct Direction {
    from: Peer,
    to: Peer,
    under_way: VecDeque<(Duration, What)>,
    sent_end: bool,
    /// The sender's descriptor is closed, or the connection is lost: nothing will follow.
    ended: bool,
}

/// What is on its way.
enum What {
    Bytes(Vec<u8>),
    EndOfStream,
    Gone,
    Reset,
}

impl Direction {
    fn new(from: Peer, to: Peer) -> Self {
        Self { from, to, under_way: VecDeque::new(), sent_end: false, ended: false }
    }

    /// Puts on its way what the sender has written since.
    fn take_up(&mut self, now: Duration, latency: Duration, mut noise: Option<&mut Noise>) {
        if self.ended {
            return;
        }
        for mut bytes in self.from.receive_packets() {
            while !bytes.is_empty() || self.from.is_packet() {
                let rest = match &mut noise {
                    Some(noise) if !self.from.is_packet() => bytes.split_off(noise.up_to(bytes.len())),
                    _ => Vec::new(),
                };
                self.put(What::Bytes(bytes), now, latency, &mut noise);
                bytes = rest;
                if self.from.is_packet() {
                    break;
                }
            }
        }
        if self.from.is_reset() {
            self.put(What::Reset, now, latency, &mut noise);
            self.ended = true;
        } else if self.from.close_reason().is_some() {
            self.put(What::Gone, now, latency, &mut noise);
            self.ended = true;
        } else if self.from.is_read_closed() && !self.sent_end {
            self.put(What::EndOfStream, now, latency, &mut noise);
            self.sent_end = true;
        }
    }

    fn put(&mut self, what: What, now: Duration, latency: Duration, noise: &mut Option<&mut Noise>) {
        let delay = match noise {
            Some(noise) => latency.mul_f64((noise.next() % 1025) as f64 / 1024.0),
            None => latency,
        };
        // It can't overtake what is before it.
        let before = self.under_way.back().map_or(Duration::ZERO, |&(due, _)| due);
        self.under_way.push_back((before.max(now + delay), what));
    }

    fn take_due(&mut self, now: Duration) -> Option<What> {
        self.under_way.front().filter(|(due, _)| *due <= now)?;
        self.under_way.pop_front().map(|(_, what)| what)
    }

    fn arrive(&self, what: What) {
        match what {
            What::Bytes(bytes) => self.to.send(bytes),
            What::EndOfStream => self.to.shutdown(),
            What::Gone => self.to.close(),
            What::Reset => self.to.reset(),
        }
    }
}

/// Says with which seed a test has failed.
struct SeedNote(Option<u64>);

impl Drop for SeedNote {
    fn drop(&mut self) {
        if let Some(seed) = self.0.filter(|_| std::thread::panicking()) {
            eprintln!("note: the seed of the link was {seed}");
        }
    }
}
