//! Whether a silent peer is still there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::codec::Codec;
use crate::connection::{CloseReason, Deadline};
use crate::session::{FilterContext, MessageFilter, Verdict, WriteError};

/// Asks a peer that has been silent whether it is there, closes the session if it doesn't answer, and answers such questions of
/// the peer's. The session sees neither requests nor responses.
///
/// After an [interval](Self::interval) in which nothing was received a request is sent; if nothing at all has been received a
/// [deadline](Self::deadline) later, the session is closed with [`CloseReason::TimedOut`] and
/// [`Deadline::Named("keep-alive")`](Deadline::Named). Whatever comes shows that the peer is there: a long message that is
/// still arriving, in front of the response, too. While [reading is paused](crate::session::SessionView::pause_reading), as the
/// peer can't be heard then, nobody is judged.
///
/// ```
/// use std::time::Duration;
///
/// use campana::codec::{Lines, Text};
/// use campana::session::filters::{KeepAlive, KeepAliveMessages};
/// # use campana::session::{Session, SessionContext, SessionService};
/// # use campana::testing::TestLoop;
/// # struct Echo;
/// # impl Session for Echo {
/// #     type Codec = Text<Lines>;
/// #     fn on_message(&mut self, _cx: &mut SessionContext<'_, Self>, _line: &str) {}
/// # }
///
/// #[derive(Clone)]
/// struct PingPong;
///
/// impl KeepAliveMessages<Text<Lines>> for PingPong {
///     fn request(&mut self) -> Option<&str> {
///         Some("ping")
///     }
///
///     fn response(&mut self, _request: &&str) -> Option<&str> {
///         Some("pong")
///     }
///
///     fn is_request(&self, line: &&str) -> bool {
///         *line == "ping"
///     }
///
///     fn is_response(&self, line: &&str) -> bool {
///         *line == "pong"
///     }
/// }
///
/// let keep_alive = KeepAlive::new(PingPong).interval(Duration::from_secs(20)).deadline(Duration::from_secs(5));
/// let of_sessions = keep_alive.clone();
/// let service = SessionService::new(|| Text::over(Lines::new())).filter("keep-alive", move || of_sessions.clone());
///
/// let mut test = TestLoop::sessions(service, |_| Echo);
/// let peer = test.connect();
/// test.advance(Duration::from_secs(20));
/// assert_eq!(peer.receive(), b"ping\n");
/// peer.send("pong\n");
/// test.advance(Duration::from_secs(20));
/// assert_eq!(peer.receive(), b"ping\n");
/// test.advance(Duration::from_secs(5));
/// assert!(peer.is_read_closed());
/// assert_eq!(keep_alive.timed_out(), 1);
/// ```
///
/// What a side does follows from what is set and from which messages it has:
///
/// | as Apache MINA calls it | | |
/// | --- | --- | --- |
/// | active | asks, expects responses, and answers | all four methods |
/// | semi-active | asks and expects responses; requests of the peer's are swallowed | no [`response`](KeepAliveMessages::response) |
/// | passive | only answers | no [`request`](KeepAliveMessages::request), [`interval(None)`](Self::interval) |
/// | deaf speaker | asks and doesn't care whether a response comes | [`deadline(None)`](Self::deadline) |
/// | silent listener | swallows requests | [`is_request`](KeepAliveMessages::is_request) alone, [`interval(None)`](Self::interval) |
///
/// Clones share the count of those who were not there. With `idle_both` or `idle_read` set below the interval the session may be
/// closed before it is asked, as a server's are after five minutes by default: what is sent and received here counts for these too.
#[derive(Clone, Debug)]
pub struct KeepAlive<M> {
    messages: M,
    interval: Option<Duration>,
    deadline: Option<Duration>,
    asked: Asked,
    timed_out: Arc<AtomicU64>,
}

/// The messages of a [`KeepAlive`]. Those that a side has no use for are left out.
pub trait KeepAliveMessages<C: Codec>: 'static {
    /// What is sent to ask the peer whether it is there; nothing if there is no question this time.
    fn request(&mut self) -> Option<C::Out<'_>> {
        None
    }

    /// What is sent in response to a request; nothing if it isn't answered.
    fn response<'a>(&'a mut self, _request: &'a C::In<'_>) -> Option<C::Out<'a>> {
        None
    }

    /// Whether a message is a request of the peer's.
    fn is_request(&self, _message: &C::In<'_>) -> bool {
        false
    }

    /// Whether a message is the peer's response to a request.
    fn is_response(&self, _message: &C::In<'_>) -> bool {
        false
    }
}

/// Whether a response is awaited.
#[derive(Clone, Copy, Debug)]
enum Asked {
    No,
    /// A request was sent then.
    At(Instant),
    /// Likewise, and the deadline is over. What has arrived while the loop was busy has still to be looked at.
    Overdue(Instant),
}

impl<M> KeepAlive<M> {
    /// Asks and answers with these messages.
    #[must_use]
    pub fn new(messages: M) -> Self {
        Self {
            messages,
            interval: Some(Duration::from_secs(60)),
            deadline: Some(Duration::from_secs(30)),
            asked: Asked::No,
            timed_out: Arc::new(AtomicU64::new(0)),
        }
    }

    /// After what time without anything received the peer is asked, and again after each such time; `None`: never. Default 60 s.
    #[must_use]
    pub fn interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.interval = interval.into();
        self
    }

    /// How long the peer may take to answer; `None`: it needn't. Default 30 s.
    #[must_use]
    pub fn deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// How many sessions were closed so far because nothing came, of all that share the count.
    #[must_use]
    pub fn timed_out(&self) -> u64 {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// Does what is due, and sets the timer for what is due next.
    fn proceed<C: Codec>(&mut self, cx: &mut FilterContext<'_, C>) -> Verdict
    where
        M: KeepAliveMessages<C>,
    {
        let Some(interval) = self.interval else { return Verdict::Pass };
        let (now, last) = (cx.now(), cx.last_read());
        let asked_at = match self.asked {
            Asked::At(at) | Asked::Overdue(at) if last <= at => Some(at),
            // An answer, whatever it was.
            _ => None,
        };
        let left = match (asked_at, self.deadline) {
            (Some(at), Some(deadline)) => deadline.saturating_sub(now.saturating_duration_since(at)),
            // What isn't answered and needn't be is asked again.
            (Some(at), None) => interval.saturating_sub(now.saturating_duration_since(at)),
            (None, _) => interval.saturating_sub(now.saturating_duration_since(last)),
        };
        if asked_at.is_none() {
            self.asked = Asked::No;
        }
        if !left.is_zero() {
            cx.set_timer(left, 0);
            return Verdict::Pass;
        }
        if let (Some(at), Some(deadline)) = (asked_at, self.deadline) {
            if cx.is_reading_paused() {
                self.asked = Asked::At(now);
                cx.set_timer(deadline, 0);
                return Verdict::Pass;
            }
            if let Asked::At(_) = self.asked {
                self.asked = Asked::Overdue(at);
                cx.set_timer(Duration::ZERO, 0);
                return Verdict::Pass;
            }
            self.timed_out.fetch_add(1, Ordering::Relaxed);
            return Verdict::Close(CloseReason::TimedOut(Deadline::Named("keep-alive")));
        }
        self.asked = Asked::No;
        let Some(request) = self.messages.request() else {
            cx.set_timer(interval, 0);
            return Verdict::Pass;
        };
        match cx.write(request) {
            Ok(_) => {
                self.asked = Asked::At(now);
                cx.set_timer(self.deadline.unwrap_or(interval), 0);
                Verdict::Pass
            }
            Err(error) => {
                cx.set_timer(interval, 0);
                unsent(error)
            }
        }
    }
}

/// What follows if a message could not be written.
fn unsent(error: WriteError) -> Verdict {
    match error {
        // Nothing is missing from a session that ends, or that has shut its side down.
        WriteError::Closed | WriteError::Full => Verdict::Pass,
        error => Verdict::fail(error),
    }
}

impl<C: Codec, M: KeepAliveMessages<C>> MessageFilter<C> for KeepAlive<M> {
    fn wants_writes(&self) -> bool {
        false
    }

    fn on_open(&mut self, cx: &mut FilterContext<'_, C>) -> Verdict {
        self.proceed(cx)
    }

    fn on_message(&mut self, cx: &mut FilterContext<'_, C>, message: &mut C::In<'_>) -> Verdict {
        self.asked = Asked::No;
        if self.messages.is_response(message) {
            return Verdict::Drop;
        }
        if !self.messages.is_request(message) {
            return Verdict::Pass;
        }
        let written = match self.messages.response(message) {
            Some(response) => cx.write(response).map(drop),
            None => Ok(()),
        };
        match written.map_err(unsent) {
            Err(verdict @ Verdict::Fail(_)) => verdict,
            _ => Verdict::Drop,
        }
    }

    fn on_timer(&mut self, cx: &mut FilterContext<'_, C>, _token: u64) -> Verdict {
        self.proceed(cx)
    }
}
