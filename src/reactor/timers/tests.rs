use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::{TimerId, TimerQueue};

const TICK: u64 = 1 << 20;

/// Takes out the batch under way, finishing each timer.
fn drain<T>(timers: &mut TimerQueue<T>) -> Vec<T> {
    let mut fired = Vec::new();
    while let Some((id, _, payload)) = timers.pop_due() {
        timers.finish(id);
        fired.push(payload);
    }
    fired
}

fn fire_at<T>(timers: &mut TimerQueue<T>, now: u64) -> Vec<T> {
    timers.advance(now);
    drain(timers)
}

#[test]
fn nothing_fires_before_its_deadline_even_within_a_tick() {
    for deadline in [1, 17, TICK - 1, TICK, TICK + 1, 64 * TICK + 5, 1 << 40, u64::MAX - 1, u64::MAX] {
        let mut timers = TimerQueue::new();
        timers.insert(deadline, ());
        assert_eq!(fire_at(&mut timers, 0), []);
        assert_eq!(fire_at(&mut timers, deadline / 2), []);
        assert_eq!(fire_at(&mut timers, deadline - 1), []);
        assert_eq!(timers.next_deadline(), Some(deadline));
        assert_eq!(fire_at(&mut timers, deadline), [()]);
        assert!(timers.is_empty());
    }
}

#[test]
fn equal_deadlines_fire_in_the_order_they_were_set() {
    let mut timers = TimerQueue::new();
    let deadline = 5_000 * TICK + 3;
    let mut set = 0;
    // From ever nearer, so that the same deadline is put in at every level that it passes through.
    for now in [0, 4_000 * TICK, 4_990 * TICK, 5_000 * TICK] {
        assert!(fire_at(&mut timers, now).is_empty());
        for _ in 0..100 {
            timers.insert(deadline, set);
            set += 1;
        }
    }
    assert_eq!(fire_at(&mut timers, deadline), (0..set).collect::<Vec<_>>());
}

#[test]
fn different_deadlines_fire_in_their_order_within_one_batch() {
    // Some in one tick, some in one slot of a higher level, some far apart; more than one block of each.
    for spacing in [1, 1_000, TICK / 2, 3 * TICK, 1 << 33, 1 << 52] {
        for count in [2, 31, 32, 33, 64, 65, 500] {
            let mut timers = TimerQueue::new();
            let mut expected: Vec<u64> = (0..count).map(|n| 7 + n * 37 % count * spacing).collect();
            for &deadline in &expected {
                timers.insert(deadline, deadline);
            }
            expected.sort_unstable();
            assert_eq!(timers.next_deadline(), Some(7));
            assert_eq!(fire_at(&mut timers, u64::MAX), expected, "{count} timers, {spacing} ns apart");
        }
    }
}

#[test]
fn past_deadlines_fire_first_and_in_their_order() {
    let mut timers = TimerQueue::new();
    assert_eq!(fire_at(&mut timers, 100), [0; 0]);
    for deadline in [101, 100, 30, 0, 30] {
        timers.insert(deadline, deadline);
    }
    assert_eq!(timers.next_deadline(), Some(0));
    assert_eq!(fire_at(&mut timers, 101), [0, 30, 30, 100, 101]);
}

#[test]
fn a_timer_set_while_a_batch_is_taken_out_waits_for_the_next() {
    let mut timers = TimerQueue::new();
    timers.insert(10, "first");
    timers.insert(20, "second");
    timers.advance(50);
    let (id, deadline, payload) = timers.pop_due().unwrap();
    assert_eq!((deadline, payload), (10, "first"));
    timers.finish(id);
    timers.insert(0, "zero");
    timers.insert(15, "between");
    timers.insert(50, "now");
    assert_eq!(drain(&mut timers), ["second"]);
    assert_eq!(timers.len(), 3);
    assert_eq!(timers.next_deadline(), Some(0));
    assert_eq!(fire_at(&mut timers, 50), ["zero", "between", "now"]);
}

#[test]
fn advancing_within_a_batch_merges_what_is_left_of_it() {
    let mut timers = TimerQueue::new();
    for deadline in [10, 20, 30, 40] {
        timers.insert(deadline, deadline);
    }
    timers.advance(30);
    let (id, _, _) = timers.pop_due().unwrap();
    timers.finish(id);
    timers.insert(25, 25);
    assert_eq!(timers.next_deadline(), Some(20));
    assert_eq!(fire_at(&mut timers, 40), [20, 25, 30, 40]);
}

#[test]
fn a_sibling_of_the_batch_can_still_be_cancelled() {
    let mut timers = TimerQueue::new();
    timers.insert(1, "one");
    let sibling = timers.insert(2, "two");
    timers.insert(3, "three");
    timers.advance(3);
    let (id, _, _) = timers.pop_due().unwrap();
    timers.finish(id);
    assert_eq!(timers.cancel(sibling), Some("two"));
    assert_eq!(timers.len(), 1);
    assert_eq!(drain(&mut timers), ["three"]);
}

#[test]
fn cancelling_all_siblings_finishes_the_batch() {
    let mut timers = TimerQueue::new();
    let ids = [timers.insert(1, ()), timers.insert(2, ())];
    timers.advance(3);
    for id in ids {
        assert_eq!(timers.cancel(id), Some(()));
    }
    assert_eq!(timers.next_deadline(), None);
    assert!(timers.pop_due().is_none());
}

#[test]
fn an_id_is_dead_once_its_timer_fired_or_was_cancelled() {
    let mut timers = TimerQueue::new();
    let cancelled = timers.insert(1 << 30, 1);
    assert_eq!(timers.deadline(cancelled), Some(1 << 30));
    assert_eq!(timers.cancel(cancelled), Some(1));
    let fired = timers.insert(5, 2);
    assert_eq!(fire_at(&mut timers, 5), [2]);
    // Takes over the same entry.
    let living = timers.insert(1 << 30, 3);
    for dead in [cancelled, fired, TimerId { index: 77, generation: 0 }] {
        assert_ne!(dead, living);
        assert_eq!(timers.deadline(dead), None);
        assert_eq!(timers.cancel(dead), None);
        timers.finish(dead);
        assert_eq!(timers.reinsert(dead, 9, 4), Err(4));
    }
    assert_eq!(timers.len(), 1);
    assert_eq!(timers.cancel(living), Some(3));
}

#[test]
fn a_repeating_timer_keeps_its_id() {
    let mut timers = TimerQueue::new();
    let id = timers.insert(10, "tick");
    for round in 1..5 {
        timers.advance(round * 10);
        let (popped, deadline, payload) = timers.pop_due().unwrap();
        assert_eq!((popped, deadline), (id, round * 10));
        assert_eq!((timers.len(), timers.deadline(id)), (0, None));
        assert_eq!(timers.reinsert(id, (round + 1) * 10, payload), Ok(()));
        assert_eq!(timers.deadline(id), Some((round + 1) * 10));
        assert!(timers.pop_due().is_none());
    }
    assert_eq!(timers.cancel(id), Some("tick"));
    assert!(timers.is_empty());
}

#[test]
fn a_repeating_timer_that_is_always_due_runs_once_a_batch() {
    let mut timers = TimerQueue::new();
    let id = timers.insert(0, ());
    for _ in 0..3 {
        timers.advance(100);
        assert_eq!(timers.pop_due(), Some((id, 0, ())));
        assert_eq!(timers.reinsert(id, 0, ()), Ok(()));
        assert!(timers.pop_due().is_none());
    }
}

#[test]
fn a_running_timer_cancelled_by_itself_is_not_set_again() {
    let mut timers = TimerQueue::new();
    let id = timers.insert(10, "tick");
    timers.advance(10);
    let (_, _, payload) = timers.pop_due().unwrap();
    assert_eq!(timers.cancel(id), None);
    assert_eq!(timers.cancel(id), None);
    assert_eq!(timers.reinsert(id, 20, payload), Err("tick"));
    assert_eq!(timers.reinsert(id, 20, "again"), Err("again"));
    assert!(timers.is_empty());
    assert_eq!(fire_at(&mut timers, 100), [""; 0]);
    let next = timers.insert(200, "next");
    assert_eq!((next.index, timers.entries.len()), (id.index, 1), "the entry is free again");
}

#[test]
fn a_running_timer_does_not_share_its_entry() {
    let mut timers = TimerQueue::new();
    let id = timers.insert(10, 1);
    timers.advance(10);
    let _ = timers.pop_due().unwrap();
    let other = timers.insert(10, 2);
    assert_ne!(id.index, other.index);
    assert_eq!(timers.reinsert(id, 10, 1), Ok(()));
    timers.advance(10);
    assert_eq!(drain(&mut timers), [2, 1]);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "neither finished nor reinserted")]
fn leaving_a_timer_running_is_a_bug() {
    let mut timers = TimerQueue::new();
    timers.insert(1, ());
    timers.insert(2, ());
    timers.advance(2);
    let _ = timers.pop_due();
    let _ = timers.pop_due();
}

#[test]
fn time_does_not_run_backwards() {
    let mut timers = TimerQueue::new();
    timers.advance(1_000);
    timers.insert(900, "past");
    timers.insert(1_001, "future");
    assert_eq!(fire_at(&mut timers, 5), ["past"]);
    assert_eq!(fire_at(&mut timers, 1_000), [""; 0]);
    assert_eq!(fire_at(&mut timers, 1_001), ["future"]);
}

#[test]
fn a_jump_of_centuries_moves_each_timer_once_a_level_at_most() {
    let mut timers = TimerQueue::new();
    for n in 0..64 {
        timers.insert(1 << n, n);
    }
    // Slot by slot this would be 2^44 steps.
    assert_eq!(fire_at(&mut timers, u64::MAX), (0..64).collect::<Vec<_>>());
    timers.insert(u64::MAX, 64);
    assert_eq!(timers.next_deadline(), Some(u64::MAX));
    assert_eq!(fire_at(&mut timers, u64::MAX), [64]);
}

#[test]
fn the_next_deadline_is_exact_again_after_an_early_wake_up() {
    let mut timers = TimerQueue::new();
    let early = timers.insert(200 * TICK, 1);
    timers.insert(200 * TICK + 900, 2);
    timers.cancel(early);
    assert_eq!(timers.next_deadline(), Some(200 * TICK));
    assert_eq!(fire_at(&mut timers, 200 * TICK), [0; 0]);
    assert_eq!(timers.next_deadline(), Some(200 * TICK + 900));
}

#[test]
fn the_next_deadline_is_exact_when_a_cancellation_empties_its_slot() {
    let mut timers = TimerQueue::new();
    let near = timers.insert(3 * TICK, 1);
    timers.insert(5_000 * TICK + 1, 2);
    timers.cancel(near);
    assert_eq!(timers.next_deadline(), Some(5_000 * TICK + 1));
}

#[test]
fn setting_and_cancelling_for_ever_takes_no_more_memory() {
    let mut timers = TimerQueue::new();
    let mut pending = std::collections::VecDeque::new();
    let mut memory = None;
    for n in 0..100_000_u64 {
        timers.advance(n * 100_000);
        assert_eq!(drain(&mut timers), [(); 0]);
        pending.push_back(timers.insert(n * 100_000 + 30_000_000_000, ()));
        pending.push_back(timers.insert(0, ()));
        if pending.len() > 1_000 {
            for id in pending.drain(..900) {
                timers.cancel(id);
            }
        }
        let late = pending.back().copied().unwrap();
        timers.cancel(late);
        if n == 50_000 {
            memory = Some((timers.entries.capacity(), timers.late.capacity()));
        }
    }
    assert_eq!(memory, Some((timers.entries.capacity(), timers.late.capacity())));
    assert!(timers.wheel.memory() < 1_000 * 16, "{}", timers.wheel.memory());
}

#[test]
fn shrinking_gives_memory_back_and_leaves_old_ids_dead() {
    let mut timers = TimerQueue::new();
    let ids: Vec<_> = (0..10_000).map(|n| timers.insert(n * TICK, n)).collect();
    timers.shrink();
    assert_eq!(timers.len(), 10_000, "pending timers are left alone");
    assert_eq!(fire_at(&mut timers, 10_000 * TICK).len(), 10_000);
    timers.shrink();
    assert_eq!((timers.entries.capacity(), timers.wheel.memory()), (0, 0));
    let living = timers.insert(u64::MAX, 7);
    for id in ids {
        assert_eq!(timers.cancel(id), None);
    }
    assert_eq!(timers.cancel(living), Some(7));
}

#[test]
fn an_entry_is_given_up_before_its_ids_repeat() {
    let mut timers = TimerQueue::new();
    timers.first_generation = u32::MAX - 2;
    let last_but_one = timers.insert(1, ());
    timers.cancel(last_but_one);
    let last = timers.insert(1, ());
    timers.cancel(last);
    let other = timers.insert(1, ());
    assert_eq!((last_but_one.index, last.index, other.index), (0, 0, 1));
}

#[test]
fn payloads_are_dropped_with_the_queue() {
    struct Payload(Rc<Cell<u32>>);
    impl Drop for Payload {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let dropped = Rc::new(Cell::new(0));
    let mut timers = TimerQueue::new();
    for deadline in [0, 5, u64::MAX] {
        timers.insert(deadline, Payload(Rc::clone(&dropped)));
    }
    timers.advance(5);
    drop(timers);
    assert_eq!(dropped.get(), 3);
}

#[derive(Clone, Debug)]
enum Step {
    Insert { ahead: u64 },
    InsertAt { deadline: u64 },
    InsertSameAs { pick: usize },
    InsertMany { ahead: u64, spread: u64, count: u64 },
    Cancel { pick: usize },
    CancelMany { modulus: usize },
    Advance { by: u64, actions: Vec<InBatch> },
    AdvanceToNext,
}

/// What a callback does, after which one of the batch.
#[derive(Clone, Debug)]
enum InBatch {
    Nothing,
    Insert { ahead: u64 },
    InsertPast { behind: u64 },
    CancelAny { pick: usize },
    CancelSelf,
    Repeat { ahead: u64 },
    CancelSelfAndRepeat,
}

fn duration() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        0..10_u64,
        0..2 * TICK,
        0..200 * TICK,
        0..10_000 * TICK,
        (0..64_u32, any::<u64>()).prop_map(|(bits, n)| n >> bits),
        Just(u64::MAX),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => duration().prop_map(|ahead| Step::Insert { ahead }),
        1 => prop_oneof![Just(0), Just(u64::MAX), any::<u64>()].prop_map(|deadline| Step::InsertAt { deadline }),
        2 => any::<usize>().prop_map(|pick| Step::InsertSameAs { pick }),
        1 => (duration(), duration(), 1..300_u64)
            .prop_map(|(ahead, spread, count)| Step::InsertMany { ahead, spread, count }),
        3 => any::<usize>().prop_map(|pick| Step::Cancel { pick }),
        1 => (1..5_usize).prop_map(|modulus| Step::CancelMany { modulus }),
        4 => (duration(), proptest::collection::vec(in_batch(), 0..12))
            .prop_map(|(by, actions)| Step::Advance { by: by / 2, actions }),
        2 => Just(Step::AdvanceToNext),
    ]
}

fn in_batch() -> impl Strategy<Value = InBatch> {
    prop_oneof![
        Just(InBatch::Nothing),
        duration().prop_map(|ahead| InBatch::Insert { ahead }),
        duration().prop_map(|behind| InBatch::InsertPast { behind }),
        any::<usize>().prop_map(|pick| InBatch::CancelAny { pick }),
        Just(InBatch::CancelSelf),
        duration().prop_map(|ahead| InBatch::Repeat { ahead }),
        Just(InBatch::CancelSelfAndRepeat),
    ]
}

/// Does everything twice: in the queue, and in a sorted map that is right beyond doubt.
#[derive(Default)]
struct Model {
    now: u64,
    next_sequence: u64,
    pending: BTreeMap<(u64, u64), TimerId>,
    /// Every id there ever was, with its key; the payload is the sequence number it was first set with.
    ids: Vec<(TimerId, u64)>,
    keys: BTreeMap<u64, (u64, u64)>,
    cancelled_since_exact: bool,
}

impl Model {
    fn insert(&mut self, timers: &mut TimerQueue<u64>, deadline: u64) {
        let payload = self.next_sequence;
        let id = timers.insert(deadline, payload);
        self.ids.push((id, payload));
        self.enqueue(id, payload, deadline);
    }

    fn enqueue(&mut self, id: TimerId, payload: u64, deadline: u64) {
        let key = (deadline, self.next_sequence);
        self.next_sequence += 1;
        self.pending.insert(key, id);
        self.keys.insert(payload, key);
    }

    fn cancel(&mut self, timers: &mut TimerQueue<u64>, pick: usize) {
        if self.ids.is_empty() {
            return;
        }
        let (id, payload) = self.ids[pick % self.ids.len()];
        let key = self.keys.get(&payload).copied();
        assert_eq!(timers.deadline(id), key.map(|(deadline, _)| deadline));
        assert_eq!(timers.cancel(id), key.map(|_| payload));
        if let Some(key) = key {
            self.keys.remove(&payload);
            self.pending.remove(&key);
            self.cancelled_since_exact = true;
        }
    }

    fn check(&self, timers: &TimerQueue<u64>) {
        assert_eq!(timers.len(), self.pending.len());
        assert_eq!(timers.is_empty(), self.pending.is_empty());
        let earliest = self.pending.keys().next().map(|&(deadline, _)| deadline);
        let next = timers.next_deadline();
        assert_eq!(next.is_some(), earliest.is_some());
        assert!(next <= earliest, "{next:?} would be late for {earliest:?}");
        if !self.cancelled_since_exact {
            assert_eq!(next, earliest);
        }
    }

    fn advance(&mut self, timers: &mut TimerQueue<u64>, now: u64, actions: &[InBatch]) {
        self.now = now;
        // What is set from here on isn't part of the batch.
        let end_of_batch = self.next_sequence;
        timers.advance(now);
        let mut actions = actions.iter();
        loop {
            self.check(timers);
            let expected =
                self.pending.range(..=(now, u64::MAX)).find(|&(&(_, sequence), _)| sequence < end_of_batch);
            let expected = expected.map(|(&key, &id)| (key, id));
            let Some((id, deadline, payload)) = timers.pop_due() else {
                assert_eq!(expected, None, "must have fired");
                break;
            };
            assert_eq!(expected, Some((self.keys[&payload], id)));
            assert_eq!(deadline, self.keys[&payload].0);
            let key = self.keys.remove(&payload).unwrap();
            self.pending.remove(&key);
            match actions.next().unwrap_or(&InBatch::Nothing) {
                InBatch::Nothing => timers.finish(id),
                InBatch::Insert { ahead } => {
                    self.insert(timers, now.saturating_add(*ahead));
                    timers.finish(id);
                }
                InBatch::InsertPast { behind } => {
                    self.insert(timers, now.saturating_sub(*behind));
                    timers.finish(id);
                }
                InBatch::CancelAny { pick } => {
                    self.cancel(timers, *pick);
                    timers.finish(id);
                }
                InBatch::CancelSelf => {
                    assert_eq!(timers.cancel(id), None);
                    timers.finish(id);
                }
                InBatch::Repeat { ahead } => {
                    let deadline = now.saturating_add(*ahead);
                    assert_eq!(timers.reinsert(id, deadline, payload), Ok(()));
                    self.enqueue(id, payload, deadline);
                }
                InBatch::CancelSelfAndRepeat => {
                    assert_eq!(timers.cancel(id), None);
                    assert_eq!(timers.reinsert(id, now, payload), Err(payload));
                }
            }
        }
        if self.pending.is_empty() {
            self.cancelled_since_exact = false;
        }
    }

    fn apply(&mut self, timers: &mut TimerQueue<u64>, step: &Step) {
        match step {
            Step::Insert { ahead } => self.insert(timers, self.now.saturating_add(*ahead)),
            Step::InsertAt { deadline } => self.insert(timers, *deadline),
            Step::InsertSameAs { pick } => {
                if let Some(&(deadline, _)) = self.pending.keys().nth(pick % self.pending.len().max(1)) {
                    self.insert(timers, deadline);
                }
            }
            Step::InsertMany { ahead, spread, count } => {
                for n in 0..*count {
                    let offset = (spread / count).saturating_mul(n * 7_919 % count);
                    self.insert(timers, self.now.saturating_add(*ahead).saturating_add(offset));
                }
            }
            Step::Cancel { pick } => self.cancel(timers, *pick),
            Step::CancelMany { modulus } => {
                for pick in (0..self.ids.len()).filter(|pick| pick % 5 < *modulus) {
                    self.cancel(timers, pick);
                }
            }
            Step::Advance { by, actions } => {
                self.advance(timers, self.now.saturating_add(*by), actions);
            }
            Step::AdvanceToNext => {
                if let Some(next) = timers.next_deadline() {
                    self.advance(timers, self.now.max(next), &[]);
                }
            }
        }
        self.check(timers);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_behaves_like_a_sorted_map(steps in proptest::collection::vec(step(), 1..60)) {
        let mut timers = TimerQueue::new();
        let mut model = Model::default();
        for step in &steps {
            model.apply(&mut timers, step);
        }
        // Waking up at each next deadline, as a loop would, always gets there.
        for _ in 0..20 {
            model.apply(&mut timers, &Step::AdvanceToNext);
        }
        model.advance(&mut timers, u64::MAX, &[]);
        prop_assert!(timers.is_empty());
    }
}
