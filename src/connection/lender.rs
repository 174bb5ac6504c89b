//! The buffers that a loop lends to its connections while these hold something.

use super::output::OutputQueue;
use crate::buffer::Buffer;

/// What one returned buffer may keep of its memory, in bytes.
const KEPT_EACH: usize = 16 * 1024;
/// What all returned buffers of a kind may keep together, in bytes.
const KEPT_IN_ALL: usize = 4 * 1024 * 1024;

/// Buffers and queues that are not in use. What it keeps is bounded: 8 MiB a loop.
#[derive(Debug, Default)]
pub(crate) struct Lender {
    buffers: Shelf<Buffer>,
    queues: Shelf<OutputQueue>,
}

impl Lender {
    pub(crate) fn lend_buffer(&mut self) -> Box<Buffer> {
        self.buffers.lend(Buffer::capacity)
    }

    pub(crate) fn take_back_buffer(&mut self, mut buffer: Box<Buffer>) {
        buffer.clear();
        self.buffers.take_back(buffer, Buffer::capacity);
    }

    pub(crate) fn lend_queue(&mut self) -> Box<OutputQueue> {
        self.queues.lend(OutputQueue::capacity)
    }

    /// Takes back a queue of which everything has been consumed.
    pub(crate) fn take_back_queue(&mut self, queue: Box<OutputQueue>) {
        debug_assert!(queue.is_empty(), "what waits in a queue would go to another connection");
        self.queues.take_back(queue, OutputQueue::capacity);
    }
}

#[derive(Debug, Default)]
struct Shelf<T> {
    // Boxes, because they go to connections and come back as such.
    #[allow(clippy::vec_box)]
    items: Vec<Box<T>>,
    kept: usize,
}

impl<T: Default> Shelf<T> {
    #[inline]
    fn lend(&mut self, capacity: fn(&T) -> usize) -> Box<T> {
        match self.items.pop() {
            Some(item) => {
                self.kept -= capacity(&item);
                item
            }
            None => Box::default(),
        }
    }

    #[inline]
    fn take_back(&mut self, item: Box<T>, capacity: fn(&T) -> usize) {
        let size = capacity(&item);
        if size <= KEPT_EACH && self.kept + size <= KEPT_IN_ALL {
            self.kept += size;
            self.items.push(item);
        }
    }
}
