//! The connections of a test on their loop.

use std::any::Any;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use crate::buffer::Buffer;
use crate::connection::{ConnectionId, Group, Handler, Script, Table, Wire};
use crate::reactor::{ChannelId, LoopContext, Ready, Source, TimerId};
use crate::socket::Address;

/// What a server's or client's source is, without listeners and attempts to connect.
pub(super) struct TestSource<H: Handler> {
    pub(super) group: Group<H>,
}

impl<H: Handler> TestSource<H> {
    /// Adopts a connection and calls `on_connect`. `named` is told its id before that.
    pub(super) fn connect(
        &mut self,
        context: &mut LoopContext,
        script: Rc<Script>,
        peer: Address,
        named: impl FnOnce(ConnectionId),
    ) {
        context.handle().counters().connections.fetch_add(1, Ordering::Relaxed);
        match self.group.register(context, Wire::Script(script), peer) {
            Ok(key) => {
                named(Table::of(context).id_of(key));
                self.group.begin(context, key);
            }
            Err(error) => unreachable!("a script has no descriptor to register: {error}"),
        }
    }
}

impl<H: Handler> Source for TestSource<H> {
    fn on_ready(
        &mut self,
        context: &mut LoopContext,
        scratch: &mut Buffer,
        _channel: ChannelId,
        ready: Ready,
    ) -> bool {
        self.group.on_ready(context, scratch, ready)
    }

    fn on_timer(&mut self, context: &mut LoopContext, key: u32, timer: TimerId) {
        self.group.on_timer(context, key, timer);
    }

    fn on_deferred(&mut self, context: &mut LoopContext, key: u32) {
        self.group.on_deferred(context, key);
    }

    fn on_panic(&mut self, context: &mut LoopContext, _own: u32) {
        self.group.on_panic(context);
    }

    fn on_loop_end(&mut self, context: &mut LoopContext) {
        self.group.on_loop_end(context);
    }

    fn handler(&mut self) -> &mut dyn Any {
        &mut self.group.handler
    }
}
