//! A running session: its events, one after the other, and what follows from them.

use super::body::Body;
use super::byte_stage::Failed;
use super::chain::{Chain, Stopped};
use super::core::{
    ABORTING, CLOSING, CONNECTION_TOLD, EDITED, END_PENDING, LAST_WORDS, REARM, panic_message,
};
use super::expiry::rearm;
use super::view::RESUME;
use super::{
    ErrorAction, FilterContext, MessageFilter, Session, SessionContext, SessionError, SessionManager,
    SessionView, Verdict,
};
use crate::buffer::Buffer;
use crate::codec::Codec;
use crate::connection::{CloseReason, TcpConnection};
use crate::reactor::caught;
use std::time::Duration;

pub(super) struct Live<S: Session> {
    pub(super) session: S,
    pub(super) chain: Chain<S::Codec>,
    pub(super) body: Body<S::Codec>,
}

impl<S: Session> Live<S> {
    /// Runs an event: `run`, and what follows from it. `staging` is the loop's buffer for output.
    #[inline]
    pub(super) fn event(
        &mut self,
        conn: &mut TcpConnection<'_>,
        staging: &mut Buffer,
        manager: &SessionManager<S>,
        run: impl FnOnce(&mut S, &mut SessionContext<'_, S>),
    ) {
        let Self { session, chain, body } = self;
        body.staging.swap(staging);
        let mut cx = SessionContext::new(SessionView::new(conn.reborrow(), body), chain, manager);
        cx.view.measure_room();
        let returned = caught(|| {
            run(session, &mut cx);
            cx.view.hand_over_last();
        });
        if let Err(payload) = returned {
            panicked(session, &mut cx, &*payload);
            crate::reactor::discard(payload);
        }
        while has_aftermath(cx.view.body) {
            aftermath(session, &mut cx);
        }
        if cx.view.body.core.has(REARM) {
            rearm(&mut cx.view);
        }
        let SessionView { conn, body, .. } = &mut cx.view;
        body.publish(conn);
        body.measure(conn);
        // What is left in it would be sent by another session.
        body.staging.retrieve_all();
        body.staging.swap(staging);
    }
}

#[inline]
fn has_aftermath<C: Codec>(body: &Body<C>) -> bool {
    match &body.bytes {
        None => body.core.has(EDITED) || body.core.has_to_end(),
        Some(bytes) => {
            let waits = bytes.ending.waits && !body.core.has(ABORTING);
            body.core.has(EDITED) || bytes.has_news() || (body.core.has_to_end() && !waits)
        }
    }
}

/// Does what an event has brought about beside its callbacks.
#[cold]
fn aftermath<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>) {
    cx.view.measure_room();
    let returned = caught(|| {
        if !tell_news(session, cx) {
            if cx.view.body.core.has(EDITED) {
                apply_edits(session, cx);
            } else {
                end(cx);
            }
        }
        cx.view.hand_over();
    });
    if let Err(payload) = returned {
        panicked(session, cx, &*payload);
        crate::reactor::discard(payload);
    }
}

/// Tells the session what has happened to its byte filters. Answers whether anything has.
fn tell_news<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>) -> bool {
    let Some(bytes) = &mut cx.view.body.bytes else { return false };
    if let Some(Failed { name, error }) = bytes.failure.take() {
        report(session, cx, &SessionError::ByteFilter { name, error });
        return true;
    }
    if !std::mem::take(&mut bytes.water.is_news) {
        return false;
    }
    let is_high = bytes.water.is_high;
    if !cx.view.body.core.has(CLOSING | ABORTING) {
        if is_high { session.on_high_water(cx) } else { session.on_low_water(cx) }
    }
    true
}

/// Ends the session on the connection as was asked for.
fn end<S: Session>(cx: &mut SessionContext<'_, S>) {
    let is_finishing = cx.view.body.bytes.as_ref().is_some_and(|bytes| bytes.is_finishing());
    let core = &mut cx.view.body.core;
    if core.has(CLOSING) && !core.has(ABORTING | LAST_WORDS | CONNECTION_TOLD) && !is_finishing {
        core.set(LAST_WORDS, true);
        cx.chain.outwards(&mut cx.view, |filter, cx| filter.on_closing(cx));
        cx.view.hand_over();
    }
    cx.view.body.core.set(LAST_WORDS, false);
    cx.view.tell_connection();
}

/// A callback has panicked: what it had written of a message is taken back, and `on_error` says how to go on.
#[cold]
fn panicked<S: Session>(
    session: &mut S,
    cx: &mut SessionContext<'_, S>,
    payload: &(dyn std::any::Any + Send),
) {
    let Body { staging, core, .. } = &mut *cx.view.body;
    staging.unwrite(staging.readable().saturating_sub(core.staged));
    cx.view.measure_room();
    cx.view.conn.context().report_panic("callback of a session");
    let is_second = cx.view.body.core.has(ABORTING | CONNECTION_TOLD);
    if is_second {
        // The buffer is the loop's: what is left there would be sent by another session.
        cx.view.body.staging.retrieve_all();
        cx.view.conn.end(CloseReason::HandlerPanicked);
        cx.view.body.core.set(ABORTING | CONNECTION_TOLD, true);
        return;
    }
    let error = SessionError::Panicked { message: panic_message(payload) };
    if let Err(payload) = caught(|| report(session, cx, &error)) {
        crate::reactor::discard(payload);
        cx.view.conn.context().report_panic("session's on_error");
        cx.view.body.core.note_reason(CloseReason::HandlerPanicked);
        cx.view.abort();
    }
    cx.view.hand_over();
    pass_over(&mut cx.view);
}

/// After a panic that is passed over: what lies behind the message that it was about is delivered in the next turn. If it was
/// about none, as the decoder has panicked, the same would only happen again, until more comes.
fn pass_over<C: Codec>(view: &mut SessionView<'_, C>) {
    if !view.body.core.delivers() {
        return;
    }
    let messages_in = view.body.core.messages_in;
    let seldom = view.body.core.seldom();
    let came_in = messages_in + seldom.decode_errors;
    if std::mem::replace(&mut seldom.passed_over, came_in) != came_in {
        view.conn.set_timer(Duration::ZERO, RESUME);
    } else if view.body.core.has(END_PENDING) {
        view.close_because(CloseReason::HandlerPanicked);
    }
}

/// Calls `on_error`, and does what it says.
pub(super) fn report<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, error: &SessionError) {
    cx.view.body.shared.totals.errors.add(1);
    if let SessionError::Decode(_) = error {
        cx.view.body.core.seldom().decode_errors += 1;
    }
    if !error.is_recoverable() {
        // Even if on_error panics, and what it answers to that is to go on.
        cx.view.body.core.seldom().has_lost_place = true;
    }
    let action = session.on_error(cx, error);
    let panicked_below = cx.view.body.bytes.as_ref().is_some_and(|bytes| bytes.has_panicked());
    if action == ErrorAction::Continue && !panicked_below && !cx.view.body.core.seldom().has_lost_place {
        return;
    }
    let reason = match error {
        SessionError::Panicked { .. } => CloseReason::HandlerPanicked,
        error => CloseReason::Protocol(error.to_string().into()),
    };
    cx.view.body.core.note_reason(reason);
    match action {
        ErrorAction::Abort => cx.view.abort(),
        ErrorAction::Close | ErrorAction::Continue => cx.view.close(),
    }
}

/// Lets an event go through the filters; answers whether it reaches the session.
#[inline]
pub(super) fn pass<S: Session>(
    session: &mut S,
    cx: &mut SessionContext<'_, S>,
    event: impl FnMut(&mut dyn MessageFilter<S::Codec>, &mut FilterContext<'_, S::Codec>) -> Verdict,
) -> bool {
    match cx.chain.inwards(&mut cx.view, event) {
        Ok(()) => !cx.view.body.core.has(CLOSING | ABORTING),
        Err(stopped) => {
            stop(session, cx, stopped);
            false
        }
    }
}

#[cold]
pub(super) fn stop<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, stopped: Stopped) {
    match stopped.verdict {
        Verdict::Pass | Verdict::Drop => {}
        Verdict::Close(reason) => cx.view.close_because(reason),
        Verdict::Fail(error) => report(session, cx, &SessionError::Filter { name: stopped.name, error }),
    }
}

/// The session is there.
pub(super) fn open<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>) {
    match cx.chain.inwards(&mut cx.view, |filter, cx| filter.on_open(cx)) {
        Ok(()) if cx.view.body.core.has(CLOSING | ABORTING) => {}
        Ok(()) => session.on_open(cx),
        Err(Stopped { verdict: Verdict::Drop, name }) => {
            cx.view.close_because(CloseReason::Refused(format!("by the filter {name}").into()));
        }
        Err(stopped) => stop(session, cx, stopped),
    }
}

/// The kernel has taken output.
pub(super) fn written<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>) {
    if let Some(up_to) = cx.view.body.core.writes.take_news() {
        session.on_written(cx, up_to);
    }
}

/// Makes the changes of filters that were asked for.
pub(super) fn apply_edits<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>) {
    while cx.view.body.core.has(EDITED) {
        cx.view.hand_over();
        cx.view.apply_byte_edits();
        cx.view.body.core.set(EDITED, false);
        let Some(edits) = cx.view.body.edits.take() else { return };
        let (added, removed) = cx.chain.apply(edits.messages, &mut cx.view.body.core.next_serial);
        cx.view.end_pauses(|by| by != 0 && !cx.chain.contains(by));
        for serial in added {
            alone(session, cx, |session, cx| {
                if let Err(stopped) = cx.chain.tell(serial, &mut cx.view, |filter, cx| filter.on_open(cx)) {
                    stop(session, cx, stopped);
                }
            });
        }
        for link in removed {
            alone(session, cx, |_, _| drop(link));
        }
    }
}

/// Runs one of several parts of an event: its panic goes to `on_error`, and the others run all the same.
pub(super) fn alone<S: Session>(
    session: &mut S,
    cx: &mut SessionContext<'_, S>,
    part: impl FnOnce(&mut S, &mut SessionContext<'_, S>),
) {
    if let Err(payload) = caught(|| part(session, cx)) {
        panicked(session, cx, &*payload);
        crate::reactor::discard(payload);
    }
}

/// The session has ended. A panic of one callback keeps none of the others from being called.
pub(super) fn closed<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, reason: &CloseReason) {
    if S::WANTS_WRITTEN {
        guarded(cx, |cx| written(session, cx));
    }
    for place in 0..cx.chain.len() {
        guarded(cx, |cx| {
            let _ = cx.chain.visit(place, &mut cx.view, &mut |filter, cx| {
                filter.on_close(cx, reason);
                Verdict::Pass
            });
        });
    }
    let unwritten = cx.view.body.core.writes.first_unwritten();
    guarded(cx, |cx| session.on_close(cx, reason, unwritten));
}

pub(super) fn guarded<S: Session>(
    cx: &mut SessionContext<'_, S>,
    callback: impl FnOnce(&mut SessionContext<'_, S>),
) {
    if let Err(payload) = caught(|| callback(cx)) {
        crate::reactor::discard(payload);
        cx.view.conn.context().report_panic("session's end");
    }
}
