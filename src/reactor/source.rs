//! What the dispatcher knows of the code that it calls: the upper layers' objects and the users' event sources alike.

use std::any::Any;

use super::channel::Ready;
use super::timers::TimerId;
use super::{ChannelId, LoopContext};
use crate::buffer::Buffer;

/// Something that owns channels, timers and deferred work of one loop.
///
/// A source is called by the dispatcher alone, one call at a time, and gets the whole loop with each call.
pub(crate) trait Source: Any {
    /// One of its channels, `channel`, is ready. `scratch` is the loop's buffer to read into; what it held is of no interest any more.
    /// Answers whether it may have stopped half-way, so that it is to be called again though no event says so.
    fn on_ready(
        &mut self,
        context: &mut LoopContext,
        scratch: &mut Buffer,
        channel: ChannelId,
        ready: Ready,
    ) -> bool;

    /// A timer set by [`LoopContext::set_source_timer`] is due; `id` is dead already.
    fn on_timer(&mut self, _context: &mut LoopContext, _key: u32, _id: TimerId) {}

    /// Work put off by [`LoopContext::defer_to_source`].
    fn on_deferred(&mut self, _context: &mut LoopContext, _key: u32) {}

    /// One of the calls above, or a task sent to the handler, panicked.
    fn on_panic(&mut self, context: &mut LoopContext, own: u32);

    /// The loop ends. Nothing is called after it; but if it panicked it is called again, and must be nearer to its end then.
    fn on_loop_end(&mut self, _context: &mut LoopContext) {}

    /// The user's part, for [`HandlerHandle`](super::HandlerHandle).
    fn handler(&mut self) -> &mut dyn Any;
}

/// Names a source of a loop from anywhere; never reused within one loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SourceId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// The sources of a loop: held apart from the context, so that one of them and the context can be borrowed at once.
#[derive(Default)]
pub(super) struct Sources {
    slots: Vec<Option<(u32, Box<dyn Source>)>>,
}

impl Sources {
    #[inline]
    pub(super) fn get(&mut self, index: u32) -> Option<&mut dyn Source> {
        match self.slots.get_mut(index as usize) {
            Some(Some((_, source))) => Some(&mut **source),
            _ => None,
        }
    }

    pub(super) fn by_id(&mut self, id: SourceId) -> Option<&mut dyn Source> {
        match self.slots.get_mut(id.index as usize) {
            Some(Some((generation, source))) if *generation == id.generation => Some(&mut **source),
            _ => None,
        }
    }

    pub(super) fn put(&mut self, id: SourceId, source: Box<dyn Source>) {
        let index = id.index as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some((id.generation, source));
    }

    pub(super) fn take(&mut self, index: u32) -> Option<Box<dyn Source>> {
        Some(self.slots.get_mut(index as usize)?.take()?.1)
    }

    pub(super) fn len(&self) -> u32 {
        self.slots.len() as u32
    }
}

/// Gives out source ids: indices are reused, generations are not.
#[derive(Default)]
pub(super) struct SourceIds {
    generations: Vec<u32>,
    free: Vec<u32>,
    next_generation: u32,
}

impl SourceIds {
    pub(super) fn allocate(&mut self) -> SourceId {
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let index = self.free.pop().unwrap_or_else(|| {
            self.generations.push(0);
            self.generations.len() as u32 - 1
        });
        self.generations[index as usize] = generation;
        SourceId { index, generation }
    }

    pub(super) fn id_of(&self, index: u32) -> SourceId {
        SourceId { index, generation: self.generations[index as usize] }
    }

    pub(super) fn release(&mut self, index: u32) {
        self.free.push(index);
    }
}
