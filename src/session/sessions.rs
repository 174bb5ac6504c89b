//! The sessions of a service on one loop.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;

use super::body::{Body, LoopShared};
use super::chain::Chain;
use super::core::{Core, ENDED, PACKETS};
use super::edits::Names;
use super::expiry;
use super::live::{self, Live};
use super::receiving;
use super::spare_buffers::SpareBuffers;
use super::stats::{LoopTotals, Passed};
use super::view::{BYTES, DEADLINE, RESUME};
use super::{
    Opening, Session, SessionConfig, SessionContext, SessionError, SessionId, SessionManager, SessionView,
};
use crate::buffer::Buffer;
use crate::connection::{CloseReason, ConnectError, Handler, OnConnectFailed, TcpConnection};
use crate::growth::make_room;
use crate::reactor::{LoopContext, caught, discard};

/// The [`Handler`] behind the sessions of a service, one a loop. It is named where handles to servers and clients are, and used
/// through the service's [`SessionManager`].
pub struct Sessions<S: Session> {
    manager: SessionManager<S>,
    pub(super) live: Slab<Live<S>>,
    staging: Buffer,
    /// Made with the first session, as it has to be known then on which loop they are.
    own: Option<Own>,
    pub(super) connect_failed: Option<OnConnectFailed>,
}

/// What all sessions of the loop begin with.
struct Own {
    config: Rc<SessionConfig>,
    shared: Rc<LoopShared>,
    filter_names: Names,
    byte_filter_names: Names,
}

/// No session was made for the connection.
const NOBODY: u32 = u32::MAX;

impl<S: Session> Sessions<S> {
    pub(super) fn new(manager: SessionManager<S>) -> Self {
        Self { manager, live: Slab::new(), staging: Buffer::new(), own: None, connect_failed: None }
    }

    /// The manager of the service.
    #[must_use]
    pub fn manager(&self) -> &SessionManager<S> {
        &self.manager
    }

    /// Runs something with a session of this loop; nothing if it has ended.
    pub(crate) fn with(
        &mut self,
        context: &mut LoopContext,
        id: SessionId,
        run: impl FnOnce(&mut S, &mut SessionContext<'_, S>),
    ) {
        let Some(live) = self.live.get_mut(id.slot()).filter(|live| live.body.core.id == id) else { return };
        let Some(mut conn) = context.connection(id.connection()) else { return };
        live.event(&mut conn, &mut self.staging, &self.manager, run);
    }

    /// Sends an encoded message to a session; it is gone if that has ended.
    pub(super) fn send_encoded(&mut self, context: &mut LoopContext, id: SessionId, encoded: &Bytes) {
        self.with(context, id, |_, cx| {
            // A refusal is the filters', or the end of the session, which on_close tells.
            let _ = super::chain::write_encoded(cx.chain.links(), &mut cx.view, encoded);
        });
    }

    /// All sessions of this loop.
    pub(super) fn ids(&self) -> Vec<SessionId> {
        self.live.iter().map(|(_, live)| live.body.core.id).collect()
    }

    #[inline]
    fn event(
        &mut self,
        slot: u32,
        conn: &mut TcpConnection<'_>,
        run: impl FnOnce(&mut S, &mut SessionContext<'_, S>),
    ) {
        if let Some(live) = self.live.get_mut(slot as usize) {
            live.event(conn, &mut self.staging, &self.manager, run);
        }
    }

    fn own(&mut self, conn: &mut TcpConnection<'_>) -> &Own {
        let manager = &self.manager;
        self.own.get_or_insert_with(|| {
            let totals = Arc::new(LoopTotals::default());
            manager.add_loop(conn.id().loop_number(), conn.handler_handle(), Arc::clone(&totals));
            let service = manager.service();
            let (filter_names, byte_filter_names) = service.filter_names();
            Own {
                config: Rc::new(service.config.clone()),
                shared: Rc::new(LoopShared {
                    totals,
                    attributes: Arc::clone(&service.attributes),
                    spare_buffers: SpareBuffers::default(),
                }),
                filter_names: Rc::new(filter_names),
                byte_filter_names: Rc::new(byte_filter_names),
            }
        })
    }

    /// Makes the session of a connection and all that it begins with. User code may panic here.
    fn make(&mut self, conn: &mut TcpConnection<'_>, id: SessionId) -> Live<S> {
        let service = Arc::clone(self.manager.service());
        let session = (service.factory)(&mut Opening::new(conn, id));
        let own = self.own(conn);
        let mut core = Core::new(id, Rc::clone(&own.config), conn.nanos());
        core.set(PACKETS, conn.is_packets());
        let mut chain = Chain::with_capacity(service.filters.len());
        for (name, make) in &service.filters {
            chain.push(core.next_serial, name.clone(), make());
            core.next_serial += 1;
        }
        let mut body = Body {
            codec: (service.codec)(),
            staging: Buffer::new(),
            bytes: None,
            filter_names: Rc::clone(&own.filter_names),
            byte_filter_names: Rc::clone(&own.byte_filter_names),
            edits: None,
            shared: Rc::clone(&own.shared),
            published: Passed::default(),
            core,
        };
        service.add_byte_filters(&mut body);
        Live { session, chain, body }
    }
}

impl<S: Session> Handler for Sessions<S> {
    type State = u32;

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) -> u32 {
        make_room(&mut self.live);
        let slot = self.live.vacant_key() as u32;
        let id = SessionId::new(conn.id(), slot);
        let mut made = None;
        if let Err(payload) = caught(|| made = Some(self.make(conn, id))) {
            discard(payload);
            conn.context().report_panic("session factory");
        }
        let Some(live) = made else {
            conn.end(CloseReason::HandlerPanicked);
            return NOBODY;
        };
        live.body.shared.totals.opened.add(1);
        self.live.insert(live);
        self.manager.directory().add(id, conn.handle());
        self.event(slot, conn, |session, cx| {
            live::apply_edits(session, cx);
            live::open(session, cx);
        });
        slot
    }

    #[inline]
    fn on_data(&mut self, slot: &mut u32, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        self.event(*slot, conn, |session, cx| {
            if cx.view.body.core.has(PACKETS) {
                receiving::receive_packet(session, cx, input);
            } else {
                receiving::receive(session, cx, input);
            }
        });
    }

    fn on_packet_too_long(&mut self, slot: &mut u32, conn: &mut TcpConnection<'_>) {
        let limit = conn.config().packet_limit;
        self.event(*slot, conn, |session, cx| {
            live::report(session, cx, &SessionError::PacketTooLong { limit })
        });
    }

    fn wants_write_complete(&self) -> bool {
        S::WANTS_WRITTEN
    }

    fn on_write_complete(&mut self, slot: &mut u32, conn: &mut TcpConnection<'_>) {
        self.event(*slot, conn, live::written);
    }

    fn on_write_progress(&mut self, slot: &mut u32, conn: &mut TcpConnection<'_>) {
        self.event(*slot, conn, live::written);
    }

    fn on_high_water(&mut self, slot: &mut u32, conn: &mut TcpConnection<'_>) {
        self.event(*slot, conn, |session, cx| {
            if !cx.view.kernel_crossed(true) {
                session.on_high_water(cx);
            }
        });
    }

    fn on_low_water(&mut self, slot: &mut u32, conn: &mut TcpConnection<'_>) {
        self.event(*slot, conn, |session, cx| {
            if !cx.view.kernel_crossed(false) {
                session.on_low_water(cx);
            }
        });
    }

    fn on_read_closed(&mut self, slot: &mut u32, conn: &mut TcpConnection<'_>) {
        let mut rest = conn.take_unread();
        self.event(*slot, conn, |session, cx| receiving::input_closed(session, cx, &mut rest));
    }

    fn on_timer(&mut self, slot: &mut u32, conn: &mut TcpConnection<'_>, token: u64) {
        self.event(*slot, conn, |session, cx| match token {
            DEADLINE => expiry::expire(session, cx),
            RESUME => {
                cx.view.resumed();
                receiving::resume(session, cx);
            }
            BYTES => {
                cx.view.wake_bytes();
                receiving::resume(session, cx);
            }
            key => expiry::timer(session, cx, key),
        });
    }

    fn on_stopping(&mut self, slot: &mut u32, conn: &mut TcpConnection<'_>) {
        self.event(*slot, conn, |session, cx| session.on_stopping(cx));
    }

    fn close_stopped(&mut self, slot: &mut u32, conn: &mut TcpConnection<'_>) {
        self.event(*slot, conn, |_, cx| cx.close_because(CloseReason::Stopping));
    }

    fn on_connect_failed(
        &mut self,
        context: &mut LoopContext,
        error: &ConnectError,
        retry: Option<Duration>,
    ) {
        if let Some(callback) = &self.connect_failed {
            callback(context, error, retry);
        }
    }

    fn on_close(&mut self, slot: u32, conn: &mut TcpConnection<'_>, reason: CloseReason) {
        let Some(mut live) = self.live.try_remove(slot as usize) else { return };
        let id = live.body.core.id;
        self.manager.directory().remove(id);
        live.body.core.set(ENDED, true);
        live.body.publish(conn);
        // There is one left if the end of the output was still waiting for byte filters.
        let reason = live.body.core.take_reason().unwrap_or(reason);
        let Live { session, chain, body } = &mut live;
        let mut cx = SessionContext::new(SessionView::new(conn.reborrow(), body), chain, &self.manager);
        cx.view.measure_room();
        live::closed(session, &mut cx, &reason);
        let seldom = live.body.core.seldom.take().unwrap_or_default();
        for key in seldom.keys {
            key.unbind(self.manager.directory(), id);
        }
        live.body.shared.totals.closed.add(1);
        if let Some(mut store) = seldom.attributes {
            store.dispose();
        }
    }
}

impl<S: Session> fmt::Debug for Sessions<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("open", &self.live.len()).finish_non_exhaustive()
    }
}
