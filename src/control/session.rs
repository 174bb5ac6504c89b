//! A control session: requests in, replies out.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::access::Access;
use super::envelope::{self, Violation};
use super::exchange::{ControlCounts, Exchange};
use super::failure::{Failure, code};
use super::responder::Answer;
use super::{ControlConfig, Router};
use crate::codec::RawBytes;
use crate::connection::{CloseReason, ServerHandle};
use crate::reactor::Counter;
use crate::session::{ErrorAction, Idle, IdleKind, Session, SessionContext, SessionError, Sessions};
use crate::socket::PeerCredentials;

type Context<'a> = SessionContext<'a, ControlSession>;

/// A peer of a control socket, as a [`Session`] like any other: it is found by its
/// [`SessionManager`](crate::session::SessionManager), has idle times, filters, attributes and statistics.
pub struct ControlSession {
    shared: Arc<Shared>,
    exchange: Exchange,
}

/// What the sessions of a control socket share.
pub(super) struct Shared {
    pub(super) router: Router,
    pub(super) config: ControlConfig,
    pub(super) authorize: Box<dyn Fn(&PeerCredentials) -> Access + Send + Sync>,
    pub(super) totals: Totals,
    /// The server behind the socket, from its start on.
    pub(super) server: OnceLock<ServerHandle<Sessions<ControlSession>>>,
}

/// What the sessions of a control socket have counted together. All of them are on one loop, which alone writes here.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) requests: Counter,
    pub(super) replies: Counter,
    pub(super) errors: Counter,
    pub(super) busy: Counter,
    pub(super) refused: Counter,
    pub(super) ended_for_errors: Counter,
    pub(super) ended_inactive: Counter,
}

impl ControlSession {
    pub(super) fn new(shared: Arc<Shared>, peer: PeerCredentials) -> Self {
        let access = (shared.authorize)(&peer);
        Self { shared, exchange: Exchange::new(peer, access) }
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> ControlCounts {
        self.exchange.counts
    }

    /// Who the peer is, as the kernel says.
    #[must_use]
    pub fn peer(&self) -> PeerCredentials {
        self.exchange.peer
    }

    /// What the peer may do.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.exchange.access
    }

    /// After what time without a byte in either direction a session ends; zero is never.
    #[must_use]
    pub fn inactivity(cx: &SessionContext<'_, Self>) -> Duration {
        cx.config().idle_both.unwrap_or(Duration::ZERO)
    }

    /// Sets after what time without a byte in either direction a session ends; zero is never. The time counts from the last
    /// byte.
    pub fn set_inactivity(cx: &mut SessionContext<'_, Self>, time: Duration) {
        cx.configure(|config| config.idle_both = Some(time));
    }

    /// Answers a request that was put off.
    pub(super) fn answer_later(&mut self, cx: &mut SessionContext<'_, Self>, answer: Answer) {
        self.exchange.answer_later(&self.shared, cx, answer);
    }
}

impl Session for ControlSession {
    type Codec = RawBytes;

    const WANTS_WRITTEN: bool = false;

    fn on_open(&mut self, cx: &mut SessionContext<'_, Self>) {
        if self.exchange.access == Access::Refused {
            self.shared.totals.refused.add(1);
            let text = format!("user {} may not use this control socket", self.exchange.peer.uid);
            let refused = CloseReason::Refused(text.clone().into());
            self.exchange.fail(&self.shared, cx, &Failure::new(text).code(code::REFUSED));
            // Those who may do nothing are not to keep the places of others, and so are not waited for to close as well.
            cx.configure_connection(|connection| connection.linger = Duration::ZERO);
            pass_over_input(cx);
            cx.close_because(refused);
        }
    }

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, packet: &[u8]) {
        let Self { shared, exchange } = self;
        exchange.counts.in_msg_count += 1;
        shared.totals.requests.add(1);
        match envelope::parse(packet) {
            Ok(request) => exchange.run(shared, cx, &request),
            Err(Violation { id, failure }) => {
                exchange.begin(id.as_deref());
                exchange.fail(shared, cx, &failure);
            }
        }
        // The high-water mark is told at the turn's end, by which answers could be far above it.
        let high_water = cx.connection_config().high_water;
        if cx.pending_bytes() > high_water {
            cx.flush();
            if cx.pending_bytes() > high_water {
                cx.pause_reading();
            }
        }
    }

    /// Who doesn't read the answers is not read from either.
    fn on_high_water(&mut self, cx: &mut SessionContext<'_, Self>) {
        cx.pause_reading();
    }

    fn on_low_water(&mut self, cx: &mut SessionContext<'_, Self>) {
        cx.resume_reading();
    }

    fn on_idle(&mut self, cx: &mut SessionContext<'_, Self>, idle: Idle) {
        if idle.kind == IdleKind::Both && self.exchange.counts.in_flight == 0 {
            self.shared.totals.ended_inactive.add(1);
            cx.close_because(CloseReason::TimedOut(crate::Deadline::Idle));
        }
    }

    fn on_input_closed(&mut self, cx: &mut SessionContext<'_, Self>) {
        self.exchange.end_when_answered(cx);
    }

    fn on_stopping(&mut self, cx: &mut SessionContext<'_, Self>) {
        self.exchange.end_when_answered(cx);
    }

    fn on_error(&mut self, cx: &mut SessionContext<'_, Self>, error: &SessionError) -> ErrorAction {
        let Self { shared, exchange } = self;
        match error {
            SessionError::Panicked { message } => {
                // It may have in it what the peer sent.
                log::error!("a command of a control socket panicked: {}", message.escape_debug());
                exchange.panicked(shared, cx);
                ErrorAction::Continue
            }
            SessionError::PacketTooLong { limit } => {
                exchange.counts.in_msg_count += 1;
                shared.totals.requests.add(1);
                exchange.begin(None);
                let text = format!("the request has more than {limit} bytes: send less at a time");
                exchange.fail(shared, cx, &Failure::new(text).code(code::INVALID_REQUEST));
                ErrorAction::Continue
            }
            _ => ErrorAction::Close,
        }
    }
}

/// Takes in what a peer has sent that is closed at once: the system would report a reset to it otherwise, before the reply.
fn pass_over_input(cx: &Context<'_>) {
    let Some(socket) = cx.socket() else { return };
    let mut packet = Vec::with_capacity(1);
    for _ in 0..MOST_PASSED_OVER {
        packet.clear();
        if !socket.recv_packet(&mut packet).is_ok_and(|packet| !packet.end_of_file) {
            return;
        }
    }
}

/// How many packets are taken in of a peer that is closed at once. Who has sent more has not waited for an answer.
const MOST_PASSED_OVER: usize = 16;

impl fmt::Debug for ControlSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlSession")
            .field("peer", &self.exchange.peer)
            .field("counts", &self.exchange.counts)
            .finish_non_exhaustive()
    }
}
