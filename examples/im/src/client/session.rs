//! A client's connection, as a session.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use campana::CloseReason;
use campana::connection::Deadline;
use campana::session::{Idle, IdleKind, Session, SessionContext, WriteId};

use super::events::Incoming;
use super::inbox::Inbox;
use super::requests::Requests;
use super::{ClientContext, ClientHandler, RequestError, ServerEvent, Shared};
use crate::protocol::{Frame, FrameCodec, Heartbeat};

/// The timer after which noted positions are acknowledged.
pub(super) const ACKNOWLEDGE: u64 = u64::MAX;
/// A timer of zero: requests that could not be sent are answered.
pub(super) const REFUSED: u64 = u64::MAX - 1;

/// One connection of a client. The handler is in it while it lasts.
pub(super) struct ClientSession<H: ClientHandler> {
    shared: Arc<Shared<H>>,
    handler: Option<H>,
    requests: Requests<H>,
    inbox: Inbox,
}

type Context<'a, H> = SessionContext<'a, ClientSession<H>>;

impl<H: ClientHandler> ClientSession<H> {
    pub(super) fn new(shared: &Arc<Shared<H>>) -> Self {
        let handler = shared.lock(&shared.parked).take();
        Self { shared: Arc::clone(shared), handler, requests: Requests::new(), inbox: Inbox::default() }
    }

    pub(super) fn notify(&mut self, cx: &mut Context<'_, H>) {
        self.with(cx, |handler, cx| handler.on_notified(Some(cx)));
    }

    pub(super) fn with(
        &mut self,
        cx: &mut Context<'_, H>,
        run: impl FnOnce(&mut H, &mut ClientContext<'_, '_, H>),
    ) {
        let Self { shared, handler, requests, inbox } = self;
        if let Some(handler) = handler {
            run(handler, &mut ClientContext { session: cx, requests, inbox, shared });
        }
    }

    fn on_incoming(&mut self, cx: &mut Context<'_, H>, incoming: Incoming) {
        match incoming {
            Incoming::Message(message) => {
                let arrival =
                    self.inbox.arrived(message.position, &mut self.shared.lock(&self.shared.handled));
                self.with(cx, |handler, cx| handler.on_message(cx, message, arrival));
            }
            Incoming::Event(event) => self.with(cx, |handler, cx| {
                if matches!(event, ServerEvent::Kicked(_)) {
                    cx.stop();
                }
                handler.on_event(cx, event);
            }),
            Incoming::Unknown => {}
        }
    }
}

impl<H: ClientHandler> Session for ClientSession<H> {
    type Codec = FrameCodec;

    const WANTS_WRITTEN: bool = false;

    fn on_open(&mut self, cx: &mut Context<'_, H>) {
        *self.shared.lock(&self.shared.current) = Some(cx.handle());
        self.with(cx, |handler, cx| {
            if let Some(log_in) = handler.credentials() {
                cx.log_in(&log_in);
            }
            handler.on_connected(cx);
        });
    }

    fn on_message(&mut self, cx: &mut Context<'_, H>, frame: Frame<'_>) {
        if frame.seq != 0 {
            if let Some(then) = self.requests.take(frame.seq) {
                self.with(cx, |handler, cx| then(handler, cx, Ok(frame)));
            }
            return;
        }
        match Incoming::parse(&frame) {
            Ok(incoming) => self.on_incoming(cx, incoming),
            Err(failure) => cx.close_because(CloseReason::Protocol(failure.to_string().into())),
        }
    }

    fn on_idle(&mut self, cx: &mut Context<'_, H>, idle: Idle) {
        match idle.kind {
            IdleKind::Write => self.with(cx, |_, cx| cx.request(&Heartbeat {}, |_, _, _| {})),
            IdleKind::Read => {
                cx.close_because(CloseReason::TimedOut(Deadline::Named("the server says nothing")));
                cx.abort();
            }
            _ => {}
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_, H>, token: u64) {
        match token {
            ACKNOWLEDGE => self.with(cx, |_, cx| cx.acknowledge_noted()),
            REFUSED => {
                for (then, failure) in self.requests.take_refused() {
                    self.with(cx, |handler, cx| then(handler, cx, Err(RequestError::Failed(failure))));
                }
            }
            token => self.with(cx, |handler, cx| handler.on_timer(cx, token)),
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_, H>, reason: &CloseReason, _unwritten: Option<WriteId>) {
        *self.shared.lock(&self.shared.current) = None;
        while let Some(then) = self.requests.take_first() {
            self.with(cx, |handler, cx| then(handler, cx, Err(RequestError::Lost)));
        }
        let again = !self.shared.stopped.load(Relaxed);
        self.with(cx, |handler, cx| handler.on_disconnected(cx.context(), reason, again));
        *self.shared.lock(&self.shared.parked) = self.handler.take();
    }
}
