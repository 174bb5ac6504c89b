//! How many messages of which kind.

use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::Codec;
use crate::reactor::Counter;
use crate::session::{FilterContext, MessageFilter, SessionId, Verdict};

/// Counts the messages of sessions, and their bytes, by kinds of which you say what they are.
///
/// Clones share the counts, which any thread may read at any time. Each loop counts for itself, so that counting costs a few
/// nanoseconds and no memory, however many loops there are.
///
/// ```
/// use campana::codec::{Lines, Text};
/// use campana::session::filters::{Counted, MessageKinds, StatisticsTap};
/// use campana::session::{Session, SessionContext, SessionService};
/// use campana::testing::TestLoop;
///
/// #[derive(Clone)]
/// struct Lengths;
///
/// impl MessageKinds<Text<Lines>> for Lengths {
///     const LABELS: &'static [&'static str] = &["short", "long"];
///
///     fn received(&self, line: &&str) -> Counted {
///         Counted { kind: usize::from(line.len() > 10), bytes: line.len() }
///     }
///
///     fn written(&self, line: &&str) -> Counted {
///         self.received(line)
///     }
/// }
///
/// struct Echo;
///
/// impl Session for Echo {
///     type Codec = Text<Lines>;
///
///     fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
///         let _ = cx.write(line);
///     }
/// }
///
/// let tap = StatisticsTap::new(Lengths);
/// let of_sessions = tap.clone();
/// let service = SessionService::new(|| Text::over(Lines::new())).filter("tap", move || of_sessions.clone());
///
/// let mut test = TestLoop::sessions(service, |_| Echo);
/// test.connect().send("one\ntwo\nas long as it gets\n");
/// test.run_until_idle();
/// let snapshot = tap.snapshot();
/// assert_eq!((snapshot.kinds[0].label, snapshot.kinds[0].received.messages), ("short", 2));
/// assert_eq!((snapshot.kinds[1].label, snapshot.kinds[1].written.bytes), ("long", 18));
/// ```
///
/// It counts what passes its place: at the head all that comes in, at the tail what reaches the session. What is written may still
/// be refused on its way from there.
#[derive(Clone, Debug)]
pub struct StatisticsTap<K> {
    kinds: K,
    loops: Arc<Loops>,
    /// Of the loop on which the session lives; known from the first event on.
    own: Option<Arc<LoopCounts>>,
}

/// Which kinds of messages a [`StatisticsTap`] counts.
pub trait MessageKinds<C: Codec>: 'static {
    /// The kinds, by what they are called. Messages are told apart by places in this list.
    const LABELS: &'static [&'static str];

    /// The kind of a message that has come in.
    fn received(&self, message: &C::In<'_>) -> Counted;

    /// The kind of a message that is to be written.
    fn written(&self, message: &C::Out<'_>) -> Counted;
}

/// What a message counts as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "users make it")]
pub struct Counted {
    /// The place of its kind among the [labels](MessageKinds::LABELS). Places that aren't there count as
    /// [other](TapSnapshot::other).
    pub kind: usize,
    /// How many bytes of payload are added to the kind's.
    pub bytes: usize,
}

/// The counts of a [`StatisticsTap`] at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct TapSnapshot {
    /// The counts of each kind, in the order of the labels.
    pub kinds: Vec<KindCounts>,
    /// Messages of kinds that have no label.
    pub other: KindCounts,
    /// Messages that were written encoded, once for many sessions: of which kind can't be seen any more. Bytes are those on the wire.
    pub encoded: MessageCounts,
}

/// The counts of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct KindCounts {
    /// What the kind is called.
    pub label: &'static str,
    /// What has come in.
    pub received: MessageCounts,
    /// What was written.
    pub written: MessageCounts,
}

/// How many messages, and how many bytes of payload in them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct MessageCounts {
    /// How many messages.
    pub messages: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// The counts of each loop that has had sessions, by its number.
type Loops = Mutex<Vec<(u32, Arc<LoopCounts>)>>;

/// What one loop has counted. The loop alone writes it.
#[derive(Debug)]
#[repr(align(128))]
struct LoopCounts {
    labels: &'static [&'static str],
    /// One more than there are labels, for the others.
    received: Box<[Pair]>,
    written: Box<[Pair]>,
    encoded: Pair,
}

#[derive(Debug, Default)]
struct Pair {
    messages: Counter,
    bytes: Counter,
}

impl Pair {
    #[inline]
    fn add(&self, bytes: usize) {
        self.messages.add(1);
        self.bytes.add(bytes as u64);
    }

    fn add_to(&self, counts: &mut MessageCounts) {
        counts.messages += self.messages.value();
        counts.bytes += self.bytes.value();
    }
}

impl LoopCounts {
    fn new(labels: &'static [&'static str]) -> Self {
        let pairs = || (0..=labels.len()).map(|_| Pair::default()).collect();
        Self { labels, received: pairs(), written: pairs(), encoded: Pair::default() }
    }
}

#[inline]
fn count(pairs: &[Pair], counted: Counted) {
    let last = pairs.len() - 1;
    if let Some(pair) = pairs.get(counted.kind.min(last)) {
        pair.add(counted.bytes);
    }
}

impl<K> StatisticsTap<K> {
    /// A tap that counts these kinds; all counts are zero.
    #[must_use]
    pub fn new(kinds: K) -> Self {
        Self { kinds, loops: Arc::default(), own: None }
    }

    /// The counts of all sessions so far. The numbers are read one by one while loops run, so that two of them may be a message
    /// apart. May be called from any thread.
    #[must_use]
    pub fn snapshot(&self) -> TapSnapshot {
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let mut snapshot = TapSnapshot::default();
        let Some((_, first)) = loops.first() else { return snapshot };
        snapshot.kinds =
            first.labels.iter().map(|label| KindCounts { label, ..KindCounts::default() }).collect();
        snapshot.other.label = "other";
        for (_, counts) in loops.iter() {
            let TapSnapshot { kinds, other, encoded } = &mut snapshot;
            let sums = kinds.iter_mut().chain([other]);
            for ((sum, received), written) in sums.zip(&counts.received).zip(&counts.written) {
                received.add_to(&mut sum.received);
                written.add_to(&mut sum.written);
            }
            counts.encoded.add_to(encoded);
        }
        snapshot
    }

    fn own<C: Codec>(&mut self, id: SessionId) -> &LoopCounts
    where
        K: MessageKinds<C>,
    {
        let loops = &self.loops;
        self.own.get_or_insert_with(|| of_loop(loops, id.connection().loop_number(), K::LABELS))
    }

    /// Counts the first message of a session, out of the way of the others.
    #[cold]
    #[inline(never)]
    fn count_first<C: Codec>(&mut self, id: SessionId, counted: Counted, pairs: OfWay) -> Verdict
    where
        K: MessageKinds<C>,
    {
        count(pairs(self.own(id)), counted);
        Verdict::Pass
    }
}

/// The counts of what comes in, or of what goes out.
type OfWay = fn(&LoopCounts) -> &[Pair];

#[cold]
fn of_loop(loops: &Loops, number: u32, labels: &'static [&'static str]) -> Arc<LoopCounts> {
    let mut loops = loops.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, known)) = loops.iter().find(|(known, _)| *known == number) {
        return Arc::clone(known);
    }
    let counts = Arc::new(LoopCounts::new(labels));
    loops.push((number, Arc::clone(&counts)));
    counts
}

impl<C: Codec, K: MessageKinds<C>> MessageFilter<C> for StatisticsTap<K> {
    #[inline]
    fn on_message(&mut self, cx: &mut FilterContext<'_, C>, message: &mut C::In<'_>) -> Verdict {
        let counted = self.kinds.received(message);
        let Some(own) = &self.own else { return self.count_first(cx.id(), counted, |own| &own.received) };
        count(&own.received, counted);
        Verdict::Pass
    }

    #[inline]
    fn on_write(&mut self, cx: &mut FilterContext<'_, C>, message: &mut C::Out<'_>) -> Verdict {
        let counted = self.kinds.written(message);
        let Some(own) = &self.own else { return self.count_first(cx.id(), counted, |own| &own.written) };
        count(&own.written, counted);
        Verdict::Pass
    }

    fn on_write_encoded(&mut self, cx: &mut FilterContext<'_, C>, encoded: &[u8]) -> Verdict {
        self.own(cx.id()).encoded.add(encoded.len());
        Verdict::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_all_loops_are_added_up_and_unknown_kinds_are_others() {
        let tap = StatisticsTap::new(());
        for (number, bytes) in [(3, 10), (5, 20), (3, 30)] {
            let own = of_loop(&tap.loops, number, &["one", "two"]);
            for kind in [0, 1, 2, usize::MAX] {
                count(&own.received, Counted { kind, bytes });
            }
            own.encoded.add(bytes);
        }
        let snapshot = tap.snapshot();
        let received = |counts: &KindCounts| (counts.label, counts.received.messages, counts.received.bytes);
        assert_eq!(snapshot.kinds.iter().map(received).collect::<Vec<_>>(), [("one", 3, 60), ("two", 3, 60)]);
        assert_eq!(received(&snapshot.other), ("other", 6, 120));
        assert_eq!((snapshot.encoded.messages, snapshot.encoded.bytes), (3, 60));
        assert_eq!(tap.loops.lock().unwrap().len(), 2);
    }
}
