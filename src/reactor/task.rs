//! What is posted to a loop.

use super::LoopContext;
use super::dispatch::{contain, guard, settle};
use super::source::{Source, SourceId, Sources};

/// Something to be run on the loop's thread, once.
///
/// One pointer for all kinds, so that a task moves from thread to thread in two words.
pub(super) trait Task: Send {
    fn run(self: Box<Self>, sources: &mut Sources, context: &mut LoopContext);
}

/// A task that needs the loop alone.
pub(super) struct ContextTask<F>(pub(super) F);

impl<F: FnOnce(&mut LoopContext) + Send> Task for ContextTask<F> {
    fn run(self: Box<Self>, _: &mut Sources, context: &mut LoopContext) {
        (self.0)(context);
    }
}

/// A task for a source, which is dropped if the source is gone by then.
pub(super) struct SourceTask<F> {
    pub(super) source: SourceId,
    pub(super) task: F,
}

impl<F: FnOnce(&mut dyn Source, &mut LoopContext) + Send> Task for SourceTask<F> {
    fn run(self: Box<Self>, sources: &mut Sources, context: &mut LoopContext) {
        let Self { source, task } = *self;
        settle(sources, context);
        match sources.by_id(source) {
            Some(target) => {
                guard(target, context, source.index, task);
            }
            None => {
                contain(context, "destructor", |_| drop(task));
            }
        }
    }
}
