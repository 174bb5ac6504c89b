//! A running session: its events, one after the other.

use super::body::Body;
use super::byte_stage::Failed;
use super::chain::{Chain, Stopped};
use super::core::{
    ABORTING, CLOSING, CONNECTION_TOLD, EDITED, END_PENDING, Expired, HELD, LAST_WORDS, NEVER, PACKETS,
    PAUSED, PROBED, REARM, UNAUTHENTICATED, panic_message,
};
use super::view::{DEADLINE, RESUME};
use super::{
    ErrorAction, FilterContext, In, MessageFilter, Session, SessionContext, SessionError, SessionManager,
    SessionView, Verdict,
};
use crate::buffer::Buffer;
use crate::codec::{Codec, DecodeError};
use crate::connection::{CloseReason, Deadline, TcpConnection};
use crate::reactor::caught;
use std::time::Duration;

/// How often byte filters are asked for more in one go, before other connections have their turn.
const MOST_PULLS: usize = 64;

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
    if std::mem::replace(&mut view.body.core.seldom().passed_over, messages_in) != messages_in {
        view.conn.set_timer(Duration::ZERO, RESUME);
    } else if view.body.core.has(END_PENDING) {
        view.close_because(CloseReason::HandlerPanicked);
    }
}

/// Calls `on_error`, and does what it says.
fn report<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, error: &SessionError) {
    cx.view.body.shared.totals.errors.add(1);
    let action = session.on_error(cx, error);
    let has_lost_place = cx.view.body.bytes.as_ref().is_some_and(|bytes| bytes.has_panicked());
    if action == ErrorAction::Continue && error.is_recoverable() && !has_lost_place {
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
fn pass<S: Session>(
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
fn stop<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, stopped: Stopped) {
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

/// Bytes have come. What can't be delivered now is left in `raw`.
#[inline]
pub(super) fn receive<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, raw: &mut Buffer) {
    if cx.view.body.bytes.is_none() {
        deliver(session, cx, raw, false);
    }
    if cx.view.body.bytes.is_some() || cx.view.body.core.has(EDITED) {
        let _ = receive_unusually(session, cx, raw);
    }
}

/// A packet has come.
pub(super) fn receive_packet<S: Session>(
    session: &mut S,
    cx: &mut SessionContext<'_, S>,
    packet: &mut Buffer,
) {
    let mut held = cx.view.take_rest();
    if !held.is_empty() {
        // A part of the one before that was held back.
        finish_packet(session, cx, &mut held);
    }
    finish_packet(session, cx, packet);
}

/// Delivers what there is of a packet: half a message is an error, as nothing of it will be in the next one.
fn finish_packet<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, packet: &mut Buffer) {
    let before = cx.view.body.core.messages_in;
    let returned = caught(|| {
        receive(session, cx, packet);
        if cx.view.body.bytes.is_none() && !packet.is_empty() {
            deliver(session, cx, packet, true);
        }
    });
    let core = &mut cx.view.body.core;
    let goes_on = core.has(PAUSED) || (returned.is_err() && core.messages_in != before);
    if cx.view.body.bytes.is_none() && goes_on {
        cx.view.body.core.seldom().rest.append(packet.peek());
        packet.retrieve_all();
    }
    if let Err(payload) = returned {
        std::panic::resume_unwind(payload);
    }
}

/// Receives by way of byte filters, or filters that have just been changed. Answers whether byte filters have more to give, in
/// the next turn.
#[inline(never)]
fn receive_unusually<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, raw: &mut Buffer) -> bool {
    let more = pull(session, cx, raw);
    cx.view.hold_input(more);
    more
}

/// Pulls what has come through the byte filters to the codec, and delivers it. Answers whether there is more, which is for the next
/// turn: other connections have theirs before.
fn pull<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, raw: &mut Buffer) -> bool {
    let mut budget = cx.view.conn.config().read_budget.max(1);
    let mut pulls = 0;
    while pulls < MOST_PULLS && budget > 0 {
        apply_edits(session, cx);
        if !cx.view.body.core.delivers() {
            return discard_input(&mut cx.view, raw);
        }
        if cx.view.body.bytes.is_none() {
            deliver(session, cx, raw, false);
            if !cx.view.body.core.has(EDITED) {
                return false;
            }
            continue;
        }
        let more = cx.view.pull_bytes(raw);
        let passed = deliver_plain(session, cx, false);
        if !more && !cx.view.body.core.has(EDITED) {
            cx.view.all_pulled();
            return false;
        }
        budget = budget.saturating_sub(passed);
        pulls += 1;
    }
    true
}

/// What comes in while a session is being closed is of use to its byte filters at most, which may wait for it to get output out.
fn discard_input<C: Codec>(view: &mut SessionView<'_, C>, raw: &mut Buffer) -> bool {
    let core = &view.body.core;
    if !core.has(CLOSING) || core.has(ABORTING | CONNECTION_TOLD) {
        return false;
    }
    let more = view.pull_bytes(raw);
    raw.retrieve_all();
    if let Some(bytes) = &mut view.body.bytes {
        bytes.plain.retrieve_all();
    }
    more
}

/// Delivers what the byte filters have given. Answers how much of it.
fn deliver_plain<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, at_end: bool) -> usize {
    let Some(bytes) = &mut cx.view.body.bytes else { return 0 };
    let mut plain = bytes.take_plain();
    let before = plain.readable();
    let returned = caught(|| deliver(session, cx, &mut plain, at_end));
    let passed = before - plain.readable();
    let is_stopped = !plain.is_empty() && (returned.is_err() || !cx.view.body.core.delivers());
    cx.view.put_back_plain(plain, is_stopped);
    if let Err(payload) = returned {
        std::panic::resume_unwind(payload);
    }
    passed
}

/// Decodes and delivers messages, until there are no more or delivery is stopped. `at_end` says that the peer will send no more.
#[inline]
fn deliver<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, input: &mut Buffer, at_end: bool) {
    let before = cx.view.body.core.messages_in;
    loop {
        if !cx.view.body.core.flows() {
            if !cx.view.body.core.has(UNAUTHENTICATED)
                || cx.view.body.core.has(EDITED)
                || !cx.view.body.core.delivers()
            {
                cx.view.body.core.frame_since = NEVER;
                return;
            }
            if !at_end {
                if deliver_first(session, cx, input) {
                    continue;
                }
                break;
            }
        }
        let codec = &mut cx.view.body.codec;
        match if at_end { codec.decode_eof(input) } else { codec.decode(input) } {
            Ok(Some(message)) => hand_in(session, cx, message),
            Ok(None) => break,
            Err(error) => report(session, cx, &SessionError::Decode(error)),
        }
    }
    note_frame(&mut cx.view, input, before);
}

/// Decodes and delivers messages of a peer who isn't known yet. Answers whether to go on.
#[inline(never)]
fn deliver_first<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, input: &mut Buffer) -> bool {
    let max =
        cx.view.body.core.config.authentication.map_or(usize::MAX, |authentication| authentication.max_frame);
    let offered = input.readable().min(max);
    // One copy for all messages in it: a peer could make much of many small ones.
    let mut first = Buffer::from(&input.peek()[..offered]);
    let mut wants_more = false;
    let returned = caught(|| wants_more = decode_first(session, cx, &mut first));
    let left = first.readable();
    input.retrieve(offered - left);
    if let Err(payload) = returned {
        std::panic::resume_unwind(payload);
    }
    if wants_more && left == max {
        let text = format!(
            "a message of more than {max} bytes from a peer who has not authenticated: raise `max_frame` of \
             `authentication` if such messages are meant"
        );
        report(session, cx, &SessionError::Decode(DecodeError::broken(text)));
        return true;
    }
    !wants_more || input.readable() > left
}

/// Decodes and delivers messages until the peer is known or delivery is stopped; answers whether it was for want of input.
fn decode_first<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, input: &mut Buffer) -> bool {
    while cx.view.body.core.has(UNAUTHENTICATED)
        && cx.view.body.core.delivers()
        && !cx.view.body.core.has(EDITED)
    {
        match cx.view.body.codec.decode(input) {
            Ok(Some(message)) => hand_in(session, cx, message),
            Ok(None) => return true,
            Err(error) => report(session, cx, &SessionError::Decode(error)),
        }
    }
    false
}

/// A message goes through the filters to the session.
#[inline(always)]
fn hand_in<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, mut message: In<'_, S>) {
    cx.view.body.core.messages_in += 1;
    if !cx.chain.is_empty() {
        match cx.chain.message_inwards(&mut cx.view, &mut message) {
            Ok(()) if cx.view.body.core.has(CLOSING | ABORTING) => return,
            Ok(()) => {}
            Err(stopped) => return stop(session, cx, stopped),
        }
    }
    session.on_message(cx, message);
}

/// Notes since when a part of a message has been there.
#[inline]
fn note_frame<C: Codec>(view: &mut SessionView<'_, C>, input: &Buffer, before: u64) {
    let core = &mut view.body.core;
    if input.is_empty() {
        core.frame_since = NEVER;
    } else if core.frame_since == NEVER || core.messages_in != before {
        core.frame_since = view.conn.nanos();
        core.set(REARM, true);
    }
}

/// Delivers what was held back while delivery was stopped, and the peer's end if that came meanwhile.
pub(super) fn resume<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>) {
    if !cx.view.body.core.delivers() {
        if cx.view.body.bytes.is_some() {
            receive_unusually(session, cx, &mut Buffer::new());
        }
        return;
    }
    let before = cx.view.body.core.messages_in;
    if cx.view.body.core.has(END_PENDING) {
        // The end brings all that is left before it.
    } else if cx.view.body.core.has(PACKETS) && cx.view.body.bytes.is_none() {
        receive_packet(session, cx, &mut Buffer::new());
    } else if cx.view.body.bytes.is_some() {
        receive_unusually(session, cx, &mut Buffer::new());
    } else {
        cx.view.conn.redeliver();
    }
    if cx.view.body.core.has(END_PENDING) {
        let mut rest = cx.view.take_rest();
        input_closed(session, cx, &mut rest);
    }
    if cx.view.body.core.messages_in != before {
        cx.view.body.core.last_delivered = cx.view.conn.nanos();
    }
}

/// The peer will send no more after what is in `rest`.
pub(super) fn input_closed<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, rest: &mut Buffer) {
    cx.view.body.core.set(END_PENDING, true);
    if cx.view.body.core.has(PACKETS) {
        rest.append(cx.view.take_rest().peek());
    }
    let returned = caught(|| finish_input(session, cx, rest));
    if cx.view.body.core.has(END_PENDING) && !rest.is_empty() {
        cx.view.body.core.seldom().rest = std::mem::take(rest);
    }
    if let Err(payload) = returned {
        std::panic::resume_unwind(payload);
    }
}

/// Delivers the rest of the input, and says that it was the last, unless something is in the way of that.
fn finish_input<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>, rest: &mut Buffer) {
    if receive_unusually(session, cx, rest) {
        return;
    }
    if cx.view.body.bytes.is_some() {
        let has_come = !cx.view.body.core.delivers() || cx.view.end_input();
        if !has_come || cx.view.body.bytes.as_ref().is_some_and(|bytes| bytes.failure.is_some()) {
            return;
        }
        deliver_plain(session, cx, true);
    } else {
        deliver(session, cx, rest, true);
    }
    cx.view.body.core.frame_since = NEVER;
    if cx.view.body.core.has(PAUSED | HELD) {
        return;
    }
    cx.view.body.core.set(END_PENDING, false);
    if cx.view.body.core.delivers() && pass(session, cx, |filter, cx| filter.on_input_closed(cx)) {
        session.on_input_closed(cx);
    }
}

/// The kernel has taken output.
pub(super) fn written<S: Session>(session: &mut S, cx: &mut SessionContext<'_, S>) {
    if let Some(up_to) = cx.view.body.core.writes.take_news() {
        session.on_written(cx, up_to);
    }
}

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
    if timer.owner == 0 {
        return session.on_timer(cx, timer.token);
    }
    let told = cx.chain.tell(timer.owner, &mut cx.view, |filter, cx| filter.on_timer(cx, timer.token));
    if let Err(stopped) = told {
        stop(session, cx, stopped);
    }
}

/// Sets the timer for the next deadline, if that is before the one that it is set for.
fn rearm<C: Codec>(view: &mut SessionView<'_, C>) {
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
fn alone<S: Session>(
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

fn guarded<S: Session>(cx: &mut SessionContext<'_, S>, callback: impl FnOnce(&mut SessionContext<'_, S>)) {
    if let Err(payload) = caught(|| callback(cx)) {
        crate::reactor::discard(payload);
        cx.view.conn.context().report_panic("session's end");
    }
}
