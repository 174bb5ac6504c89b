//! A hierarchical timing wheel over references to timers: it knows deadlines and indices, never payloads.
//!
//! # Where a timer lies
//!
//! Time is cut into ticks of 2^20 ns, and the number of a tick into digits of six bits, one digit a level. A timer lies at
//! the level of the highest digit in which its tick differs from the current one, in the slot that its own digit names.
//! So its place follows from its deadline and the current time alone and need not be stored, and these three hold:
//!
//! - everything at a level comes before everything at a higher level, and within a level a lower slot comes before a higher
//!   one: the earliest timer is in the first occupied slot of the lowest occupied level;
//! - no slot wraps around: the digits of a level count upwards from the current one until the level above moves on;
//! - timers of one tick are always in one slot, whenever they were set. As slots are appended to, and spread over lower
//!   levels from front to back, equal deadlines keep the order in which they were set without a sequence number.
//!
//! The third one needs time never to enter a slot of a higher level without spreading it first; [`Wheel::advance`] sees to it.
//!
//! # Why blocks, not linked entries
//!
//! Spreading a slot that is a list through a million entries misses the cache once an entry and level. Here a slot is a
//! chain of blocks of plain [`Item`]s, read and written from front to back; the entries themselves are left alone until they
//! fire. A cancelled timer therefore leaves its item behind, known by its generation; a slot is compacted when more than
//! two thirds of it are such waste, and given back whole when nothing in it is alive.

/// A timer as the wheel sees it. Alive as long as its generation is the one of its entry.
///
/// Two words, so that an item travels in two registers: in three parts it would be put together in memory first, which
/// costs more than everything else that is done to an item.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Item {
    pub(super) deadline: u64,
    name: u64,
}

impl Item {
    pub(super) fn new(deadline: u64, index: u32, generation: u32) -> Self {
        Self { deadline, name: u64::from(generation) << 32 | u64::from(index) }
    }

    pub(super) fn index(self) -> u32 {
        self.name as u32
    }

    pub(super) fn generation(self) -> u32 {
        (self.name >> 32) as u32
    }

    /// Whether this item's timer has neither fired nor been cancelled, going by the current generation of each entry.
    pub(super) fn is_alive(self, generations: &[u32]) -> bool {
        generations[self.index() as usize] == self.generation()
    }
}

/// Items whose deadline is later than the time that [`advance`](Wheel::advance) was last given.
#[derive(Debug)]
pub(super) struct Wheel {
    now: u64,
    /// Bit n: level n has an occupied slot.
    occupied_levels: u32,
    occupied: [u64; LEVELS],
    slots: Box<[Slot]>,
    blocks: Blocks,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            now: 0,
            occupied_levels: 0,
            occupied: [0; LEVELS],
            slots: vec![Slot::default(); LEVELS * SLOTS].into_boxed_slice(),
            blocks: Blocks::default(),
        }
    }

    /// The latest time that the wheel has been advanced to.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    pub(super) fn insert(&mut self, item: Item) {
        let place = self.place(item.deadline);
        self.occupied_levels |= 1 << place.level;
        self.occupied[place.level] |= 1 << place.slot;
        self.blocks.push(&mut self.slots[place.index()], item);
    }

    /// Takes note that a timer with this deadline was cancelled. Its generation must have moved on already.
    pub(super) fn forget(&mut self, deadline: u64, generations: &[u32]) {
        let place = self.place(deadline);
        let slot = &mut self.slots[place.index()];
        slot.alive -= 1;
        if slot.alive == 0 {
            let slot = self.take(place);
            self.blocks.release_chain(&slot);
        } else if slot.len.saturating_sub(WASTE_ALLOWANCE) / MOST_WASTE > slot.alive {
            let wasteful = std::mem::take(slot);
            let mut compact = Slot::default();
            self.drain(wasteful, generations, |wheel, item| wheel.blocks.push(&mut compact, item));
            self.slots[place.index()] = compact;
        }
    }

    /// The earliest deadline; after a cancellation possibly an earlier time, in the same slot as the earliest deadline.
    pub(super) fn earliest(&self) -> Option<u64> {
        self.first_occupied().map(|place| self.slots[place.index()].earliest)
    }

    /// Moves time to `now` and appends what is due by then to `due`, in the order in which it is to fire.
    pub(super) fn advance(&mut self, now: u64, generations: &[u32], due: &mut Vec<Item>) {
        while let Some(place) = self.first_occupied() {
            let start = self.start(place);
            if start > now || (place.level == 0 && self.slots[place.index()].earliest > now) {
                break;
            }
            let slot = self.take(place);
            self.now = self.now.max(start);
            if place.level == 0 || (place.level <= SORTABLE_LEVEL && slot.len <= SPREAD_FROM) {
                let sorted = due.len();
                self.drain(slot, generations, |wheel, item| {
                    if item.deadline <= now {
                        due.push(item);
                    } else {
                        wheel.insert(item);
                    }
                });
                sort(&mut due[sorted..], start);
            } else {
                self.drain(slot, generations, |wheel, item| wheel.insert(item));
            }
        }
        self.now = self.now.max(now);
    }

    /// Gives back the memory of items that are gone. Only for an empty wheel.
    pub(super) fn shrink(&mut self) {
        debug_assert_eq!(self.occupied_levels, 0, "the wheel still holds timers");
        self.blocks = Blocks::default();
    }

    /// How many bytes the items take, the free ones included.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        size_of_val(&self.blocks.items[..])
    }

    fn place(&self, deadline: u64) -> Place {
        let differing = (deadline ^ self.now) | ((1 << (TICK_BITS + DIGIT_BITS)) - 1);
        let level = (differing.ilog2() - TICK_BITS) / DIGIT_BITS;
        let slot = (deadline >> (TICK_BITS + DIGIT_BITS * level)) as usize % SLOTS;
        Place { level: level as usize, slot }
    }

    fn first_occupied(&self) -> Option<Place> {
        let level = self.occupied_levels.trailing_zeros() as usize;
        let occupied = self.occupied.get(level)?;
        Some(Place { level, slot: occupied.trailing_zeros() as usize })
    }

    /// The first nanosecond of an occupied slot.
    fn start(&self, place: Place) -> u64 {
        let shift = place.shift();
        ((self.now >> shift) & !(SLOTS as u64 - 1) | place.slot as u64) << shift
    }

    fn take(&mut self, place: Place) -> Slot {
        self.occupied[place.level] &= !(1 << place.slot);
        if self.occupied[place.level] == 0 {
            self.occupied_levels &= !(1 << place.level);
        }
        std::mem::take(&mut self.slots[place.index()])
    }

    /// Hands the living items of a slot that was taken out to `each`, first to last.
    fn drain(&mut self, slot: Slot, generations: &[u32], mut each: impl FnMut(&mut Self, Item)) {
        let no_waste = slot.alive == slot.len;
        let mut block = slot.head;
        let mut left = slot.len as usize;
        while left > 0 {
            let filled = left.min(BLOCK);
            self.blocks.fetch_next(block);
            for offset in 0..filled {
                let item = self.blocks.items[block as usize][offset];
                if no_waste || item.is_alive(generations) {
                    each(self, item);
                }
            }
            block = self.blocks.release(block);
            left -= filled;
        }
    }
}

const TICK_BITS: u32 = 20;
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Enough for every tick of a `u64` of nanoseconds.
const LEVELS: usize = (u64::BITS - TICK_BITS).div_ceil(DIGIT_BITS) as usize;

/// How many items a slot may hold for each living one. More would take more memory, fewer more time to compact.
const MOST_WASTE: u32 = 3;
/// Cancelled items that a slot may hold however few living ones it has.
const WASTE_ALLOWANCE: u32 = 64;
/// What is due of a slot of no more items than this is sorted at once; a fuller slot is spread over lower levels first.
const SPREAD_FROM: u32 = 64;
/// The highest level of which one slot spans no more than [`sort`] can take.
const SORTABLE_LEVEL: usize = 2;
const _: () = assert!(TICK_BITS + SORTABLE_LEVEL as u32 * DIGIT_BITS <= 32);

#[derive(Clone, Copy)]
struct Place {
    level: usize,
    slot: usize,
}

impl Place {
    fn index(self) -> usize {
        self.level * SLOTS + self.slot
    }

    /// How far a time is shifted to the right to bring this level's digit to the bottom.
    fn shift(self) -> u32 {
        TICK_BITS + DIGIT_BITS * self.level as u32
    }
}

/// Sorts items of less than 2^32 ns from `start` on by deadline, equal ones staying in their order.
///
/// The position joins the key, which makes an unstable sort stable: a stable one would allocate.
fn sort(items: &mut [Item], start: u64) {
    if items.is_sorted_by_key(|item| item.deadline) {
        return;
    }
    for (position, item) in items.iter_mut().enumerate() {
        item.deadline = (item.deadline - start) << 32 | position as u64;
    }
    items.sort_unstable_by_key(|item| item.deadline);
    for item in items {
        item.deadline = start + (item.deadline >> 32);
    }
}

#[derive(Clone, Debug)]
struct Slot {
    earliest: u64,
    /// First and last block; meaningless while `len` is zero.
    head: u32,
    tail: u32,
    len: u32,
    alive: u32,
}

impl Default for Slot {
    fn default() -> Self {
        Self { earliest: u64::MAX, head: NO_BLOCK, tail: NO_BLOCK, len: 0, alive: 0 }
    }
}

const BLOCK: usize = 32;
const NO_BLOCK: u32 = u32::MAX;

/// The memory of all slots.
#[derive(Debug)]
struct Blocks {
    items: Vec<[Item; BLOCK]>,
    /// For each block the one after it, in its slot or among the free ones.
    next: Vec<u32>,
    free: u32,
}

impl Default for Blocks {
    fn default() -> Self {
        Self { items: Vec::new(), next: Vec::new(), free: NO_BLOCK }
    }
}

impl Blocks {
    fn push(&mut self, slot: &mut Slot, item: Item) {
        let offset = slot.len as usize % BLOCK;
        if offset == 0 {
            let block = self.claim();
            if slot.len == 0 {
                slot.head = block;
            } else {
                self.next[slot.tail as usize] = block;
            }
            slot.tail = block;
        }
        self.items[slot.tail as usize][offset] = item;
        slot.len += 1;
        slot.alive += 1;
        slot.earliest = slot.earliest.min(item.deadline);
    }

    /// Brings the block after this one into the cache while this one is worked on. In the last block of a slot there may be
    /// anything where the next one would be named.
    fn fetch_next(&self, block: u32) {
        if let Some(items) = self.items.get(self.next[block as usize] as usize) {
            for line in items.chunks(4) {
                std::hint::black_box(line[0].deadline);
            }
        }
    }

    fn claim(&mut self) -> u32 {
        if self.free == NO_BLOCK {
            self.items.push([Item::default(); BLOCK]);
            self.next.push(NO_BLOCK);
            return (self.items.len() - 1) as u32;
        }
        let block = self.free;
        self.free = self.next[block as usize];
        block
    }

    /// Frees a block; the one that followed it is returned.
    fn release(&mut self, block: u32) -> u32 {
        std::mem::replace(&mut self.next[block as usize], std::mem::replace(&mut self.free, block))
    }

    fn release_chain(&mut self, slot: &Slot) {
        self.next[slot.tail as usize] = self.free;
        self.free = slot.head;
    }
}
