//! What has come in: decoded, delivered message by message, and held back when something is in the way.

use super::core::{
    ABORTING, CLOSING, CONNECTION_TOLD, EDITED, END_PENDING, HELD, NEVER, PACKETS, PAUSED, REARM,
    UNAUTHENTICATED,
};
use super::live::{apply_edits, pass, report, stop};
use super::{In, Session, SessionContext, SessionError, SessionView};
use crate::buffer::Buffer;
use crate::codec::{Codec, DecodeError};
use crate::reactor::caught;

/// How often byte filters are asked for more in one go, before other connections have their turn.
const MOST_PULLS: usize = 64;

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
    } else {
        if cx.view.body.bytes.is_some() {
            receive_unusually(session, cx, &mut Buffer::new());
        }
        // What was left to the connection comes behind what byte filters have taken of it, if there are any by now.
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
