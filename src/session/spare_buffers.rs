//! The buffers that a loop lends to byte filters' sessions while these hold something.

use std::cell::RefCell;

use crate::buffer::Buffer;

/// How many are kept.
const MOST: usize = 8;
/// How large one may be to be kept, in bytes.
const LARGEST: usize = 128 * 1024;

#[derive(Default)]
pub(super) struct SpareBuffers {
    buffers: RefCell<Vec<Buffer>>,
}

impl SpareBuffers {
    /// Gives storage to a buffer that has none.
    pub(super) fn lend(&self, to: &mut Buffer) {
        if to.capacity() == 0
            && let Some(buffer) = self.buffers.borrow_mut().pop()
        {
            *to = buffer;
        }
    }

    /// Takes the storage of a buffer that is empty.
    pub(super) fn take_back(&self, from: &mut Buffer) {
        if from.capacity() == 0 || !from.is_empty() {
            return;
        }
        let buffer = std::mem::take(from);
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < MOST && buffer.capacity() <= LARGEST {
            buffers.push(buffer);
        }
    }
}
