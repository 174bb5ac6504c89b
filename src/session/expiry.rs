//! Deadlines and timers of a session.

use std::time::Duration;

use super::core::{ABORTING, CLOSING, Expired, NEVER, PROBED, REARM};
use super::live::{pass, stop};
use super::view::DEADLINE;
use super::{Session, SessionContext, SessionView};
use crate::codec::Codec;
use crate::connection::{CloseReason, Deadline};

/// The timer of the deadlines is due.
pub(super) fn expire<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>) {
    let core = &mut cx.view.body.core;
    core.timer = None;
    core.armed_for = NEVER;
    core.set(REARM, true);
    // What this turn has sent still waits for its end.
    cx.view.flush();
    loop {
        let (last, now) = (cx.view.last_io(), cx.view.conn.nanos());
        let core = &mut cx.view.body.core;
        let expired = core.expired(last, now).filter(|_| !core.has(CLOSING | ABORTING));
        let Some(expired) = expired else { break };
        if !core.has(PROBED) && !cx.view.conn.is_reading_paused() {
            // The loop may have been held up, rather than the peer: look before it is judged.
            core.set(PROBED, true);
            core.set(REARM, false);
            cx.view.conn.look_again();
            arm(&mut cx.view, now);
            return;
        }
        match expired {
            Expired::Authentication => cx.view.close_because(timed_out("authentication")),
            Expired::Silence => cx.view.close_because(CloseReason::Stopping),
            Expired::Frame => cx.view.close_because(timed_out("a message's arrival")),
            Expired::Idle(kind) => {
                let idle = core.idle.tell(kind, last, now);
                if pass(session, cx, |filter, cx| filter.on_idle(cx, idle)) {
                    session.on_idle(cx, idle);
                }
            }
        }
    }
    cx.view.body.core.set(PROBED, false);
}

fn timed_out(what: &'static str) -> CloseReason {
    CloseReason::TimedOut(Deadline::Named(what))
}

/// A timer of the session's or of a filter's is due.
pub(super) fn timer<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, key: u64) {
    let Some(timer) = cx.view.body.core.seldom().timers.try_remove(key as usize) else { return };
    if cx.view.body.core.has(CLOSING | ABORTING) {
        // It waits for byte filters; otherwise its connection would have no timers any more.
        return;
    }
    if timer.owner == 0 {
        return session.on_timer(cx, timer.token);
    }
    let told = cx.chain.tell(timer.owner, &mut cx.view, |filter, cx| filter.on_timer(cx, timer.token));
    if let Err(stopped) = told {
        stop(session, cx, stopped);
    }
}

/// Sets the timer for the next deadline, if that is before the one that it is set for.
pub(super) fn rearm<C: Codec>(view: &mut SessionView<'_, C>) {
    view.body.core.set(REARM, false);
    let deadline = view.body.core.next_deadline(view.last_io());
    if deadline < view.body.core.armed_for && !view.body.core.has(CLOSING | ABORTING) {
        arm(view, deadline);
    }
}

fn arm<C: Codec>(view: &mut SessionView<'_, C>, deadline: u64) {
    let delay = Duration::from_nanos(deadline.saturating_sub(view.conn.nanos()));
    let core = &mut view.body.core;
    if let Some(timer) = core.timer.take() {
        view.conn.cancel_timer(timer);
    }
    core.armed_for = deadline;
    core.timer = Some(view.conn.set_timer(delay, DEADLINE));
}
