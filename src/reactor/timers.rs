//! The timers of an event loop as a data structure: no clock, no descriptor, and no callback runs in here.
//!
//! Times are nanoseconds since an epoch of the caller's choice. The caller says what time it is with
//! [`TimerQueue::advance`], then takes out what is due one by one; waiting and calling back are the event loop's.

use self::free::FreeIndices;
use self::wheel::{Item, Wheel};

mod free;
mod wheel;

/// Names one timer of one event loop.
///
/// An id is never used for another timer. Once its timer has fired for the last time or was cancelled, it names nothing, and
/// using it does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

/// Timers in the order in which they fire, each with a payload.
///
/// - None is due before its deadline, to the nanosecond.
/// - Timers of one batch fire in the order of their deadlines, equal deadlines in the order they were set.
/// - A timer set while a batch is taken out is never part of that batch, whatever its deadline.
/// - A timer of the batch that has not been taken out yet can still be cancelled.
///
/// Setting and cancelling take constant time; a timer is moved at most once a level on its way. Memory grows with
/// the largest number of timers there ever were and is then reused, unless [`shrink`](Self::shrink) is called.
#[derive(Debug)]
pub(crate) struct TimerQueue<T> {
    wheel: Wheel,
    /// What was already past when it was set: the next batch begins with it.
    late: Vec<Item>,
    late_earliest: u64,
    /// The batch under way, from `due_next` on.
    due: Vec<Item>,
    due_next: usize,
    /// Living timers in `late` and `due`. The living in the wheel are those with a deadline after `wheel.now()`.
    outside_wheel: usize,
    len: usize,
    entries: Vec<Entry<T>>,
    /// The generation of each entry. Apart from the entries because it is all that sorting out cancelled items reads.
    generations: Vec<u32>,
    free: FreeIndices,
    /// What new entries start with, so that ids from before a `shrink` stay dead.
    first_generation: u32,
    running: Option<Running>,
}

impl<T> TimerQueue<T> {
    pub(crate) fn new() -> Self {
        Self {
            wheel: Wheel::new(),
            late: Vec::new(),
            late_earliest: u64::MAX,
            due: Vec::new(),
            due_next: 0,
            outside_wheel: 0,
            len: 0,
            entries: Vec::new(),
            generations: Vec::new(),
            free: FreeIndices::default(),
            first_generation: 0,
            running: None,
        }
    }

    /// Sets a timer. A deadline that is past makes it part of the next batch, not of the one under way.
    ///
    /// # Panics
    ///
    /// With more than 2^32 timers at a time.
    // Inlined so that the payload is written straight into its entry, not to the stack and copied from there.
    #[inline]
    pub(crate) fn insert(&mut self, deadline: u64, payload: T) -> TimerId {
        let entry = Entry { deadline, payload: Some(payload) };
        let index = match self.free.take() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                self.add_generation()
            }
        };
        self.enqueue(index, deadline)
    }

    /// Cancels a timer and gives its payload back, if it is pending.
    ///
    /// A timer that is running (see [`pop_due`](Self::pop_due)) has no payload to give, hence `None`; it is cancelled all
    /// the same, in that [`reinsert`](Self::reinsert) will refuse it.
    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<T> {
        if let Some(running) = &mut self.running
            && running.id == id
        {
            running.cancelled = true;
            return None;
        }
        if self.generations.get(id.index as usize) != Some(&id.generation) {
            return None;
        }
        let entry = &mut self.entries[id.index as usize];
        let payload = entry.payload.take()?;
        let deadline = entry.deadline;
        self.retire(id);
        self.len -= 1;
        if deadline > self.wheel.now() {
            self.wheel.forget(deadline, &self.generations);
        } else {
            self.forget_outside_wheel();
        }
        Some(payload)
    }

    /// Whether a timer has been taken out, and neither ended nor cancelled since.
    pub(crate) fn is_running(&self, id: TimerId) -> bool {
        self.running.is_some_and(|running| running.id == id && !running.cancelled)
    }

    /// When a timer is due, if it is pending.
    #[cfg(test)]
    fn deadline(&self, id: TimerId) -> Option<u64> {
        if self.generations.get(id.index as usize) != Some(&id.generation) {
            return None;
        }
        let entry = &self.entries[id.index as usize];
        entry.payload.is_some().then_some(entry.deadline)
    }

    /// How many timers are pending, including those of the batch under way that have not been taken out yet.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The earliest deadline of all that is pending, the batch under way included. `None` if nothing is pending.
    ///
    /// After a cancellation it may be too early, never too late: waking up then and advancing makes it exact again.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        if self.outside_wheel == 0 {
            return self.wheel.earliest();
        }
        let due = self.due.get(self.due_next).map_or(u64::MAX, |item| item.deadline);
        Some(due.min(self.late_earliest))
    }

    /// Moves everything with a deadline of `now` or before into the due batch, to be taken out with
    /// [`pop_due`](Self::pop_due).
    ///
    /// What is left of an earlier batch becomes part of the new one. Time doesn't run backwards: a `now` before that of an
    /// earlier call counts as that one.
    pub(crate) fn advance(&mut self, now: u64) {
        self.due.drain(..self.due_next);
        self.due_next = 0;
        if !self.late.is_empty() {
            self.due.append(&mut self.late);
            self.late_earliest = u64::MAX;
            if !self.due.is_sorted_by_key(|item| item.deadline) {
                self.due.sort_by_key(|item| item.deadline);
            }
        }
        // Everything in the wheel is later than everything that was outside of it.
        let before = self.due.len();
        self.wheel.advance(now, &self.generations, &mut self.due);
        self.outside_wheel += self.due.len() - before;
    }

    /// Takes the next timer out of the due batch; `None` when the batch is finished.
    ///
    /// The timer is *running* from then on: its payload is with the caller, its id stays reserved, and it isn't pending. The
    /// caller ends that, before it takes out the next one, by [`finish`](Self::finish) or, for a timer that repeats, by
    /// [`reinsert`](Self::reinsert).
    pub(crate) fn pop_due(&mut self) -> Option<(TimerId, u64, T)> {
        debug_assert!(
            self.running.is_none(),
            "the timer taken out before was neither finished nor reinserted"
        );
        if let Some(running) = self.running {
            self.finish(running.id);
        }
        while let Some(&item) = self.due.get(self.due_next) {
            if self.due_next.is_multiple_of(FETCH) {
                self.fetch_entries();
            }
            self.due_next += 1;
            if !item.is_alive(&self.generations) {
                continue;
            }
            if let Some(payload) = self.entries[item.index() as usize].payload.take() {
                let id = TimerId { index: item.index(), generation: item.generation() };
                self.running = Some(Running { id, cancelled: false });
                self.len -= 1;
                self.outside_wheel -= 1;
                if self.outside_wheel == 0 {
                    self.clear_outside_wheel();
                }
                return Some((id, item.deadline, payload));
            }
        }
        None
    }

    /// Ends a running timer; its id is dead. Does nothing for a timer that isn't running.
    pub(crate) fn finish(&mut self, id: TimerId) {
        if self.running.is_some_and(|running| running.id == id) {
            self.running = None;
            self.retire(id);
        }
    }

    /// Sets a running timer again, under the same id. The order among equal deadlines is that of a timer set now.
    ///
    /// # Errors
    ///
    /// Gives the payload back, and the timer has ended, if it was cancelled while it was running. Gives it back, too, if `id`
    /// isn't running.
    pub(crate) fn reinsert(&mut self, id: TimerId, deadline: u64, payload: T) -> Result<(), T> {
        match self.running {
            Some(running) if running.id == id => {
                self.running = None;
                if running.cancelled {
                    self.retire(id);
                    return Err(payload);
                }
                self.entries[id.index as usize] = Entry { deadline, payload: Some(payload) };
                self.enqueue(id.index, deadline);
                Ok(())
            }
            _ => Err(payload),
        }
    }

    /// Ends all timers; their payloads come in no particular order.
    pub(crate) fn into_payloads(self) -> impl Iterator<Item = T> {
        self.entries.into_iter().filter_map(|entry| entry.payload)
    }

    /// Gives the memory back that a peak left behind, if no timer is pending or running. Ids stay dead.
    pub(crate) fn shrink(&mut self) {
        if self.len > 0 || self.entries.capacity() <= KEPT_ENTRIES {
            return;
        }
        let highest = self.generations.iter().copied().max().unwrap_or(self.first_generation);
        if self.running.is_some() || highest == RETIRED {
            return;
        }
        self.first_generation = highest;
        self.generations = Vec::new();
        self.entries = Vec::new();
        self.free = FreeIndices::default();
        self.late = Vec::new();
        self.due = Vec::new();
        self.due_next = 0;
        self.wheel.shrink();
    }

    /// The generation that goes with an entry just added, whose index is returned.
    #[cold]
    fn add_generation(&mut self) -> u32 {
        let index = self.generations.len();
        assert!(index <= u32::MAX as usize, "too many timers");
        self.generations.push(self.first_generation);
        index as u32
    }

    #[inline(never)]
    fn enqueue(&mut self, index: u32, deadline: u64) -> TimerId {
        let generation = self.generations[index as usize];
        let item = Item::new(deadline, index, generation);
        self.len += 1;
        if deadline > self.wheel.now() {
            self.wheel.insert(item);
        } else {
            self.late.push(item);
            self.late_earliest = self.late_earliest.min(deadline);
            self.outside_wheel += 1;
        }
        TimerId { index, generation }
    }

    fn forget_outside_wheel(&mut self) {
        self.outside_wheel -= 1;
        if self.outside_wheel == 0 {
            self.clear_outside_wheel();
        } else if self.late.len() > 2 * self.outside_wheel + LATE_WASTE_ALLOWANCE {
            self.late.retain(|item| item.is_alive(&self.generations));
            self.late_earliest = self.late.iter().map(|item| item.deadline).min().unwrap_or(u64::MAX);
        }
    }

    fn clear_outside_wheel(&mut self) {
        self.late.clear();
        self.late_earliest = u64::MAX;
        self.due.clear();
        self.due_next = 0;
    }

    /// Makes an id dead and its entry free for another.
    fn retire(&mut self, id: TimerId) {
        let generation = &mut self.generations[id.index as usize];
        *generation += 1;
        if *generation != RETIRED {
            self.free.insert(id.index);
        }
    }

    /// Brings the entries that are due next into the cache, all at once instead of one after the other: they lie
    /// anywhere in memory, and waiting for them is most of what firing a timer costs.
    fn fetch_entries(&self) {
        for item in self.due[self.due_next..].iter().take(FETCH) {
            let index = item.index() as usize;
            std::hint::black_box((self.entries[index].deadline, self.generations[index]));
        }
    }
}

/// The generation of an entry that is not used again, lest an id come back: a loss of one entry in 2^32 timers.
const RETIRED: u32 = u32::MAX;
/// A queue that never was larger than this keeps its memory: some 200 KiB.
const KEPT_ENTRIES: usize = 4096;
const LATE_WASTE_ALLOWANCE: usize = 64;
const FETCH: usize = 16;

#[derive(Debug)]
struct Entry<T> {
    deadline: u64,
    /// `None`: free, or running.
    payload: Option<T>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    id: TimerId,
    cancelled: bool,
}

#[cfg(test)]
mod tests;
