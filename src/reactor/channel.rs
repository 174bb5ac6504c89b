//! One descriptor in one loop: readiness as state.

use std::any::Any;
use std::fmt;
use std::os::fd::{AsFd, RawFd};

use mio::event::Event;
use slab::Slab;

use super::LoopContext;
use super::source::Source;
use crate::buffer::Buffer;
use crate::growth::make_room;

/// User code that is driven by the readiness of a descriptor: see [`LoopContext::register`].
///
/// Any closure `FnMut(&mut D, &mut Channel<'_>)` is one.
pub trait EventSource<D>: 'static {
    /// Called on the loop's thread while the descriptor is ready for something that the channel is interested in.
    ///
    /// Readiness is remembered: until an operation on `device` has said `WouldBlock` and the channel has been told so by
    /// [`Channel::clear_readable`] or [`Channel::clear_writable`], the call is repeated, no later than in the next turn and after
    /// every other channel that was ready has been called. A callback may therefore stop half-way, which is how a read budget
    /// is kept. It may also be called when nothing is there to be done: a first operation that says `WouldBlock` is
    /// normal.
    ///
    /// It is called as well, once, when the descriptor reports an error or a hang-up, whatever the interest is then.
    ///
    /// If it panics, the panic is caught and counted, and the channel is closed.
    fn on_ready(&mut self, device: &mut D, channel: &mut Channel<'_>);
}

impl<D, F: FnMut(&mut D, &mut Channel<'_>) + 'static> EventSource<D> for F {
    fn on_ready(&mut self, device: &mut D, channel: &mut Channel<'_>) {
        self(device, channel);
    }
}

/// Names a channel of a loop; never reused within one loop, so that a stale one names nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ChannelId(
    /// The index, and the generation above it: the poller's token.
    u64,
);

impl ChannelId {
    fn new(index: usize, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | index as u64)
    }

    pub(super) fn token(self) -> mio::Token {
        mio::Token(self.0 as usize)
    }

    #[inline]
    pub(super) fn from_token(token: mio::Token) -> Self {
        Self(token.0 as u64)
    }

    #[inline]
    fn index(self) -> usize {
        self.0 as u32 as usize
    }

    #[inline]
    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// A borrowed view of one channel: what its [`EventSource`] may do with it.
///
/// The descriptor is registered with the poller once, for everything, edge-triggered; the channel turns edges into state.
/// *Readable* and *writable* stay set until they are cleared, and interest only says whether the source wants to hear of
/// them, so that enabling and disabling costs no system call. A new channel is interested in reading only.
pub struct Channel<'a> {
    context: &'a mut LoopContext,
    id: ChannelId,
}

impl<'a> Channel<'a> {
    /// The view of a channel that is known to exist.
    pub(super) fn new(context: &'a mut LoopContext, id: ChannelId) -> Self {
        Self { context, id }
    }

    /// Which channel this is.
    #[must_use]
    pub fn id(&self) -> ChannelId {
        self.id
    }

    /// The loop that drives it.
    pub fn context(&mut self) -> &mut LoopContext {
        self.context
    }

    /// Whether reading would, as far as is known, not block. Also set at the end of the stream and after an error.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.has(Flags::READABLE)
    }

    /// Whether writing would, as far as is known, not block. Also set after an error.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.has(Flags::WRITABLE)
    }

    /// Whether the peer is known to send no more: a hint, for the read itself says it for certain.
    #[must_use]
    pub fn is_read_closed(&self) -> bool {
        self.has(Flags::READ_CLOSED)
    }

    /// Whether the descriptor reported an error or a hang-up in both directions: a hint.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        self.has(Flags::HANG_UP)
    }

    /// Whether there was out-of-band data, or another condition that the kernel calls a priority.
    #[must_use]
    pub fn is_priority(&self) -> bool {
        self.has(Flags::PRIORITY)
    }

    /// Says that a read answered `WouldBlock`.
    pub fn clear_readable(&mut self) {
        self.set(Flags::READABLE | Flags::PRIORITY, false);
    }

    /// Says that a write answered `WouldBlock`.
    pub fn clear_writable(&mut self) {
        self.set(Flags::WRITABLE, false);
    }

    /// Asks to hear of readiness for reading. What became readable in the meantime is reported in the next turn.
    pub fn enable_reading(&mut self) {
        self.set(Flags::READING, true);
    }

    /// Asks not to hear of readiness for reading any more.
    pub fn disable_reading(&mut self) {
        self.set(Flags::READING, false);
    }

    /// Asks to hear of readiness for writing. While nothing is to be written it should be disabled: a descriptor is writable
    /// most of the time.
    pub fn enable_writing(&mut self) {
        self.set(Flags::WRITING, true);
    }

    /// Asks not to hear of readiness for writing any more.
    pub fn disable_writing(&mut self) {
        self.set(Flags::WRITING, false);
    }

    /// Whether the source hears of readiness for reading.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.has(Flags::READING)
    }

    /// Whether the source hears of readiness for writing.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.has(Flags::WRITING)
    }

    /// Takes the channel out of the loop; its source and its descriptor are dropped as soon as the callback under way, if
    /// any, has returned. Calling it twice does nothing more.
    pub fn close(&mut self) {
        self.context.close_channel(self.id);
    }

    fn has(&self, flags: Flags) -> bool {
        self.context.channels.get(self.id).is_some_and(|slot| slot.flags.has(flags))
    }

    fn set(&mut self, flags: Flags, on: bool) {
        self.context.channels.set(self.id, flags, on);
    }
}

impl fmt::Debug for Channel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("id", &self.id)
            .field("slot", &self.context.channels.get(self.id))
            .finish_non_exhaustive()
    }
}

/// A set of readiness and interest bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Flags(u16);

impl Flags {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const READABLE: Self = Self(1);
    pub(crate) const WRITABLE: Self = Self(1 << 1);
    pub(crate) const PRIORITY: Self = Self(1 << 2);
    pub(crate) const READ_CLOSED: Self = Self(1 << 3);
    pub(crate) const HANG_UP: Self = Self(1 << 4);
    pub(crate) const READING: Self = Self(1 << 5);
    pub(crate) const WRITING: Self = Self(1 << 6);
    /// On the ready list already.
    const QUEUED: Self = Self(1 << 7);
    /// An error, as opposed to a hang-up in good order.
    pub(crate) const ERROR: Self = Self(1 << 8);
    /// Readiness for reading goes to the source with the call, and comes back with its answer: the source needs no look at
    /// the channel then.
    pub(crate) const HANDS_OVER: Self = Self(1 << 9);

    /// Whether any of `flags` is set.
    pub(crate) fn has(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    fn with(self, flags: Self, on: bool) -> Self {
        if on { self | flags } else { self.without(flags) }
    }

    fn among(self, flags: Self) -> Self {
        Self(self.0 & flags.0)
    }

    fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    pub(super) fn of(event: &Event) -> Self {
        let usual =
            Self::NONE.with(Self::READABLE, event.is_readable()).with(Self::WRITABLE, event.is_writable());
        // A closed write direction never comes without an error or a hang-up, which closes the read direction too.
        if event.is_error() || event.is_read_closed() || event.is_priority() {
            return usual | Self::of_unusual(event);
        }
        usual
    }

    #[cold]
    fn of_unusual(event: &Event) -> Self {
        let hang_up = event.is_error() || (event.is_read_closed() && event.is_write_closed());
        Self::NONE
            .with(Self::READABLE, event.is_read_closed() || hang_up)
            .with(Self::WRITABLE, event.is_write_closed() || hang_up)
            .with(Self::PRIORITY, event.is_priority())
            .with(Self::READ_CLOSED, event.is_read_closed())
            .with(Self::HANG_UP, hang_up)
            .with(Self::ERROR, event.is_error())
    }

    /// Input, and nothing else.
    #[inline]
    pub(crate) fn says_only_readable(self) -> bool {
        let all = Self::READABLE | Self::PRIORITY | Self::READ_CLOSED | Self::HANG_UP | Self::ERROR;
        self.among(all | Self::WRITING) == Self::READABLE
    }

    /// Ready for something that is wanted.
    fn is_due(self) -> bool {
        (self.has(Self::READABLE) && self.has(Self::READING))
            || (self.has(Self::WRITABLE) && self.has(Self::WRITING))
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Stands for a descriptor that only its device knows; closing that makes the poller forget it.
pub(super) const OWN_DESCRIPTOR: RawFd = -1;

/// What the loop keeps for one channel.
#[derive(Debug)]
pub(crate) struct Slot {
    generation: u32,
    pub(crate) source: u32,
    /// What the source calls this channel.
    pub(crate) key: u32,
    pub(crate) descriptor: RawFd,
    pub(crate) flags: Flags,
}

/// A channel that is ready, as its source is told of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) key: u32,
    pub(crate) flags: Flags,
}

/// What an event comes to.
pub(super) enum TakenUp {
    /// This source has to be called.
    Due(u32, Ready),
    /// Remembered, until the source is interested.
    Unwanted,
    /// There is no such channel any more.
    Stale,
}

impl Slot {
    #[inline]
    fn hand_over(&mut self) -> (u32, Ready) {
        let flags = self.flags;
        if flags.has(Flags::HANDS_OVER) {
            self.clear_readable();
        }
        (self.source, Ready { key: self.key, flags })
    }

    /// A read said `WouldBlock`, or may be taken to have said so.
    #[inline]
    pub(crate) fn clear_readable(&mut self) {
        self.flags = self.flags.with(Flags::READABLE | Flags::PRIORITY, false);
    }
}

/// All channels of a loop, and the list of those that are ready though the poller will not say so again.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    slots: Slab<Slot>,
    next_generation: u32,
    ready: Vec<ChannelId>,
}

impl Channels {
    /// Makes room for a channel. The caller registers its descriptor under the id's token.
    pub(crate) fn insert(&mut self, source: u32, key: u32, descriptor: RawFd) -> ChannelId {
        // Generation 0 belongs to the loop's own tokens.
        self.next_generation = self.next_generation.checked_add(1).unwrap_or(1);
        let generation = self.next_generation;
        make_room(&mut self.slots);
        let index = self.slots.insert(Slot { generation, source, key, descriptor, flags: Flags::READING });
        ChannelId::new(index, generation)
    }

    pub(crate) fn remove(&mut self, id: ChannelId) -> Option<Slot> {
        self.get(id)?;
        Some(self.slots.remove(id.index()))
    }

    #[inline]
    pub(crate) fn get(&self, id: ChannelId) -> Option<&Slot> {
        self.slots.get(id.index()).filter(|slot| slot.generation == id.generation())
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Slot> {
        self.slots.get_mut(id.index()).filter(|slot| slot.generation == id.generation())
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn ids_of(&self, source: u32) -> Vec<ChannelId> {
        let of_source = self.slots.iter().filter(|(_, slot)| slot.source == source);
        of_source.map(|(index, slot)| ChannelId::new(index, slot.generation)).collect()
    }

    pub(crate) fn ids(&self) -> Vec<ChannelId> {
        let slots = self.slots.iter();
        slots.map(|(index, slot)| ChannelId::new(index, slot.generation)).collect()
    }

    /// Sets or clears bits, and puts the channel on the ready list if it is due by that.
    pub(crate) fn set(&mut self, id: ChannelId, flags: Flags, on: bool) {
        let Some(slot) = self.get_mut(id) else { return };
        slot.flags = slot.flags.with(flags, on);
        self.requeue(id);
    }

    #[inline]
    pub(crate) fn flags(&self, id: ChannelId) -> Flags {
        self.get(id).map_or(Flags::NONE, |slot| slot.flags)
    }

    /// A read said `WouldBlock`, or may be taken to have said so.
    #[inline]
    pub(crate) fn clear_readable(&mut self, id: ChannelId) {
        if let Some(slot) = self.get_mut(id) {
            slot.clear_readable();
        }
    }

    /// Takes up what a readiness event says.
    #[inline]
    pub(super) fn take_up(&mut self, id: ChannelId, news: Flags) -> TakenUp {
        let Some(slot) = self.get_mut(id) else { return TakenUp::Stale };
        let first_hang_up = news.without(slot.flags).has(Flags::HANG_UP | Flags::ERROR);
        slot.flags = slot.flags | news;
        if !slot.flags.is_due() && !first_hang_up {
            return TakenUp::Unwanted;
        }
        let (source, ready) = slot.hand_over();
        TakenUp::Due(source, ready)
    }

    /// Takes back a channel whose source has stopped half-way.
    #[inline(never)]
    pub(super) fn hand_back(&mut self, id: ChannelId, ready: Ready) {
        if let Some(slot) = self.get_mut(id)
            && slot.flags.has(Flags::HANDS_OVER)
        {
            slot.flags = slot.flags | ready.flags.among(Flags::READABLE | Flags::PRIORITY);
        }
        self.requeue(id);
    }

    /// Puts a channel that is due on the ready list, once.
    #[inline]
    pub(super) fn requeue(&mut self, id: ChannelId) {
        let Some(slot) = self.get_mut(id) else { return };
        if slot.flags.is_due() && !slot.flags.has(Flags::QUEUED) {
            slot.flags = slot.flags | Flags::QUEUED;
            self.ready.push(id);
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Swaps the ready list for an empty one.
    pub(super) fn swap_ready(&mut self, list: &mut Vec<ChannelId>) {
        std::mem::swap(&mut self.ready, list);
    }

    /// Takes a channel off the ready list. Answers whom to call if it is still there and still due.
    pub(super) fn unqueue(&mut self, id: ChannelId) -> Option<(u32, Ready)> {
        let slot = self.get_mut(id)?;
        slot.flags = slot.flags.with(Flags::QUEUED, false);
        slot.flags.is_due().then(|| slot.hand_over())
    }
}

/// A descriptor and the user code that it drives.
pub(super) struct Registered<D, S> {
    pub(super) device: D,
    pub(super) source: S,
}

impl<D: AsFd + 'static, S: EventSource<D>> Source for Registered<D, S> {
    fn on_ready(
        &mut self,
        context: &mut LoopContext,
        _scratch: &mut Buffer,
        channel: ChannelId,
        _ready: Ready,
    ) -> bool {
        self.source.on_ready(&mut self.device, &mut Channel::new(context, channel));
        true
    }

    fn on_panic(&mut self, context: &mut LoopContext, own: u32) {
        context.remove_source(own);
    }

    fn handler(&mut self) -> &mut dyn Any {
        &mut self.source
    }
}
