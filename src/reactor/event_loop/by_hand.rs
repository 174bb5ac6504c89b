//! A loop whose time and readiness come from a test: what turns it is the test, and everything else is as ever.

use std::any::Any;
use std::time::Duration;

use super::EventLoop;
use crate::reactor::channel::TakenUp;
use crate::reactor::dispatch::{call_ready, guard, settle};
use crate::reactor::{ChannelId, Flags, Source, SourceId};

impl EventLoop {
    /// Stops the clock, which [`advance_clock`](Self::advance_clock) alone moves from now on.
    pub(crate) fn hold_clock(&mut self) {
        self.context.clock.hold();
    }

    pub(crate) fn advance_clock(&mut self, time: Duration) {
        self.context.clock.advance(time);
    }

    /// How long it is to the earliest deadline, or to one that has been cancelled; nothing if no timer is set.
    pub(crate) fn time_to_deadline(&self) -> Option<Duration> {
        let deadline = self.context.timers.next_deadline()?;
        Some(Duration::from_nanos(deadline.saturating_sub(self.context.clock.nanos())))
    }

    /// Whether a turn would find something to do, timers and descriptors apart.
    pub(crate) fn has_work(&self) -> bool {
        self.context.has_work() || !self.tasks.is_empty() || !self.shared.inbox.seems_empty()
    }

    /// Dispatches an event of a channel that no poller knows. It belongs to the turn that follows.
    pub(crate) fn report(&mut self, channel: ChannelId, news: Flags) {
        self.touched = true;
        match self.context.channels.take_up(channel, news) {
            TakenUp::Due(source, ready) => {
                call_ready(&mut self.sources, &mut self.context, &mut self.scratch, channel, source, ready);
            }
            TakenUp::Unwanted => {}
            TakenUp::Stale => self.shared.counters.stale_events.add(1),
        }
    }

    /// Runs something on a source with the loop, as the dispatcher calls it: panics are contained. Nothing if it is gone, or
    /// if that panicked.
    pub(crate) fn with_source<S: Source, R>(
        &mut self,
        id: SourceId,
        run: impl FnOnce(&mut S, &mut super::LoopContext) -> R,
    ) -> Option<R> {
        self.touched = true;
        settle(&mut self.sources, &mut self.context);
        let source = self.sources.by_id(id)?;
        let mut result = None;
        guard(source, &mut self.context, id.index, |source, context| {
            if let Some(source) = (source as &mut dyn Any).downcast_mut() {
                result = Some(run(source, context));
            }
        });
        result
    }

    /// A source, as long as it is there.
    pub(crate) fn source_mut<S: Source>(&mut self, id: SourceId) -> Option<&mut S> {
        settle(&mut self.sources, &mut self.context);
        (self.sources.by_id(id)? as &mut dyn Any).downcast_mut()
    }
}
