//! Message filters: what sees each message between the codec and the session.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::ops::{Deref, DerefMut};

use super::chain::Link;
use super::{Idle, SessionView, WriteError, WriteId};
use crate::codec::Codec;
use crate::connection::CloseReason;

/// What a filter answers.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// The event goes on to the next filter, and at last to the session or the codec; a message with what the filter has made of it.
    Pass,
    /// The event ends here. A message that was to be written is refused with [`WriteError::Dropped`].
    Drop,
    /// The event ends here, and the session is closed for this reason.
    Close(CloseReason),
    /// The event ends here, and the session's [`on_error`](super::Session::on_error) says what follows. A message that was to be
    /// written is refused with the error instead.
    Fail(Box<dyn Error + Send + Sync>),
}

impl Verdict {
    /// The session is closed because this side's rules forbid it to go on; the text says which.
    pub fn refuse(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Close(CloseReason::Refused(text.into()))
    }

    /// The filter has failed. A text will do.
    pub fn fail(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Fail(error.into())
    }

    /// What is to be done instead of passing the event on, if anything.
    #[inline]
    pub(super) fn stopping(self) -> Option<Self> {
        match self {
            Self::Pass => {
                // Has nothing to be dropped; to find that out would cost each message a call for each filter.
                std::mem::forget(self);
                None
            }
            verdict => Some(verdict),
        }
    }
}

/// What sees the messages of a session on their way between its codec `C` and the session, and what else happens to it.
///
/// ```text
///              head                        tail
///   codec ──> filter ──> filter ──> ... ──> filter ──> session     on_open, on_message, on_idle, on_input_closed, on_close
///   codec <── filter <── filter <── ... <── filter <── session     on_write, on_closing
/// ```
///
/// A filter keeps its own state, and no messages: what it wants to say itself it [writes](FilterContext::write), from its own
/// place outwards. It is called on the session's loop, by the loop alone; but `on_write` and `on_write_encoded` are called while
/// a session or an inner filter writes.
///
/// ```
/// use campana::codec::{Lines, Text};
/// use campana::session::{FilterContext, MessageFilter, Verdict};
///
/// /// Answers pings itself, so that the session doesn't see them.
/// struct Pong;
///
/// impl MessageFilter<Text<Lines>> for Pong {
///     fn on_message(&mut self, cx: &mut FilterContext<'_, Text<Lines>>, message: &mut &str) -> Verdict {
///         if *message != "ping" {
///             return Verdict::Pass;
///         }
///         let _ = cx.write("pong");
///         Verdict::Drop
///     }
/// }
/// ```
pub trait MessageFilter<C: Codec>: Any {
    /// Whether [`on_message`](Self::on_message) is to be called at all. It is asked once, when the filter comes into a chain. A
    /// filter that has no use for it saves each message a call by `false`.
    fn wants_messages(&self) -> bool {
        true
    }

    /// Whether [`on_write`](Self::on_write) and [`on_write_encoded`](Self::on_write_encoded) are to be called at all; likewise.
    fn wants_writes(&self) -> bool {
        true
    }

    /// Called when the session opens, before its own `on_open`; and when the filter is added to one that is open. A session whose
    /// opening a filter lets [end here](Verdict::Drop) has no use, and is closed.
    fn on_open(&mut self, _cx: &mut FilterContext<'_, C>) -> Verdict {
        Verdict::Pass
    }

    /// Called for each message that has come in. The filter may change it, or put another in its place. Where messages borrow from
    /// the input, that can be a part of it or something static, as it outlives the call; nothing that is made here.
    fn on_message(&mut self, _cx: &mut FilterContext<'_, C>, _message: &mut C::In<'_>) -> Verdict {
        Verdict::Pass
    }

    /// Called for each message that is to be written. The filter may change it, or put another in its place, as in `on_message`. What
    /// comes from handles and for audiences it doesn't see: that is [encoded](Self::on_write_encoded) already.
    fn on_write(&mut self, _cx: &mut FilterContext<'_, C>, _message: &mut C::Out<'_>) -> Verdict {
        Verdict::Pass
    }

    /// Called for each message that is to be written and was encoded before: by a [handle](super::SessionHandle::send), or once for
    /// [many sessions](super::Audience::send). It can't be changed.
    fn on_write_encoded(&mut self, _cx: &mut FilterContext<'_, C>, _encoded: &[u8]) -> Verdict {
        Verdict::Pass
    }

    /// Called when the session is idle.
    fn on_idle(&mut self, _cx: &mut FilterContext<'_, C>, _idle: Idle) -> Verdict {
        Verdict::Pass
    }

    /// Called when the peer will send no more.
    fn on_input_closed(&mut self, _cx: &mut FilterContext<'_, C>) -> Verdict {
        Verdict::Pass
    }

    /// Called when the session is being closed in good order; what is written here still goes out.
    fn on_closing(&mut self, _cx: &mut FilterContext<'_, C>) {}

    /// Called when a timer that the filter has set is due.
    fn on_timer(&mut self, _cx: &mut FilterContext<'_, C>, _token: u64) -> Verdict {
        Verdict::Pass
    }

    /// Called last, before the session's own `on_close`. A filter that is removed while the session runs is dropped without it.
    fn on_close(&mut self, _cx: &mut FilterContext<'_, C>, _reason: &CloseReason) {}
}

/// What a message filter has of its session: all that [`SessionView`] tells and does, and writing from its own place.
pub struct FilterContext<'a, C: Codec> {
    view: SessionView<'a, C>,
    /// The filters between this one and the codec.
    outer: &'a mut [Link<C>],
}

impl<'a, C: Codec> FilterContext<'a, C> {
    #[inline]
    pub(super) fn new(view: SessionView<'a, C>, outer: &'a mut [Link<C>]) -> Self {
        Self { view, outer }
    }

    /// Writes a message, which goes through the filters between this one and the codec.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; nothing was sent then.
    pub fn write(&mut self, message: C::Out<'_>) -> Result<WriteId, WriteError> {
        super::chain::write(self.outer, &mut self.view, message)
    }
}

impl<'a, C: Codec> Deref for FilterContext<'a, C> {
    type Target = SessionView<'a, C>;

    fn deref(&self) -> &Self::Target {
        &self.view
    }
}

impl<C: Codec> DerefMut for FilterContext<'_, C> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.view
    }
}

impl<C: Codec> std::fmt::Debug for FilterContext<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilterContext").field("session", &self.view.id()).finish_non_exhaustive()
    }
}
