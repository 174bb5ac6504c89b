//! Calls into user code, from which no panic gets out.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::channel::Ready;
use super::source::{Source, Sources};
use super::{ChannelId, LoopContext};
use crate::buffer::Buffer;

/// Takes up the sources that were added and drops those that were removed since the last call.
#[inline]
pub(super) fn settle(sources: &mut Sources, context: &mut LoopContext) {
    if context.has_other_sources() {
        exchange(sources, context);
    }
}

#[cold]
fn exchange(sources: &mut Sources, context: &mut LoopContext) {
    while context.has_other_sources() {
        for (id, source) in context.new_sources.drain(..) {
            sources.put(id, source);
        }
        for index in std::mem::take(&mut context.removed_sources) {
            if let Some(source) = sources.take(index) {
                context.release_source_id(index);
                contain(context, "destructor", |_| drop(source));
            }
        }
    }
}

#[inline(always)]
pub(super) fn call_ready(
    sources: &mut Sources,
    context: &mut LoopContext,
    scratch: &mut Buffer,
    channel: ChannelId,
    source: u32,
    ready: Ready,
) {
    settle(sources, context);
    let mut stopped_half_way = true;
    call(sources, context, source, |target, context| {
        stopped_half_way = target.on_ready(context, scratch, channel, ready);
    });
    if stopped_half_way {
        context.channels.hand_back(channel, ready);
    }
}

/// Calls into a source, if it is there. Answers whether that went without a panic.
#[inline(always)]
pub(super) fn call(
    sources: &mut Sources,
    context: &mut LoopContext,
    index: u32,
    run: impl FnOnce(&mut dyn Source, &mut LoopContext),
) -> bool {
    sources.get(index).is_none_or(|source| guard(source, context, index, run))
}

/// Calls into a source, and tells it if that panicked. Answers whether it didn't.
#[inline]
pub(super) fn guard(
    source: &mut dyn Source,
    context: &mut LoopContext,
    index: u32,
    run: impl FnOnce(&mut dyn Source, &mut LoopContext),
) -> bool {
    let returned = returns(|| run(source, context));
    if !returned {
        context.report_panic("callback");
        source.on_panic(context, index);
    }
    returned
}

/// Runs a piece of user code that stands alone. Answers whether it returned.
pub(super) fn contain(context: &mut LoopContext, what: &str, run: impl FnOnce(&mut LoopContext)) -> bool {
    let returned = returns(|| run(context));
    if !returned {
        context.report_panic(what);
    }
    returned
}

#[inline(always)]
fn returns(run: impl FnOnce()) -> bool {
    caught(run).map_err(discard).is_ok()
}

/// Runs a piece of user code. If it panics there is a payload, to be [discarded](discard).
#[inline(always)]
pub(crate) fn caught(run: impl FnOnce()) -> Result<(), Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(run))
}

/// Drops what was panicked with, which is the user's too and may panic in its turn. What that was with is leaked, as there
/// need be no end to it.
#[cold]
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(another);
    }
}

impl LoopContext {
    /// Counts and logs that user code has panicked.
    #[cold]
    pub(crate) fn report_panic(&mut self, what: &str) {
        self.handle().counters().panics.add(1);
        if self.panic_log_limit.allows(self.clock.nanos()) {
            log::error!("loop {}: a {what} panicked; the loop goes on", self.handle().name());
        }
    }
}
