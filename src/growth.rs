//! How tables grow that hold an entry for each connection.

use slab::Slab;

/// From how many entries on a table grows by an eighth.
const LARGE: usize = 1024;

/// Makes room for one more entry. A small table grows to its double. Of a large one most would be held for nothing then, and
/// as the allocator moves what is large by remapping it, small steps copy no more.
pub(crate) fn make_room<T>(table: &mut Slab<T>) {
    let capacity = table.capacity();
    if table.len() == capacity && capacity >= LARGE {
        table.reserve_exact(capacity / 8);
    }
}
