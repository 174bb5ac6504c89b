//! Too many messages of one session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::codec::Codec;
use crate::session::core::nanos;
use crate::session::{FilterContext, MessageFilter, Verdict};

/// Reading is not stopped for less than this: at high rates several messages are then let in at a time.
const SHORTEST_HOLD: u64 = 1_000_000;

/// Lets only so many messages of a session in over a time: a token bucket.
///
/// A bucket holds up to [`burst`](Self::burst) tokens and is full at first. Each message takes one; they come back at the rate, one
/// after the other. [What happens](WhenEmpty) to a message that finds none is for you to say; by default nothing is lost, and the
/// session just isn't read from for a while, so that in the end the peer has to wait.
///
/// ```
/// use std::time::Duration;
///
/// use campana::session::filters::{MessageRate, WhenEmpty};
/// # use campana::codec::{Lines, Text};
/// # use campana::session::{Session, SessionContext, SessionService};
/// # use campana::testing::TestLoop;
/// # struct Echo;
/// # impl Session for Echo {
/// #     type Codec = Text<Lines>;
/// #     fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
/// #         let _ = cx.write(line);
/// #     }
/// # }
///
/// // Ten a second on average, three at once.
/// let rate = MessageRate::new(10, Duration::from_secs(1)).burst(3).when_empty(WhenEmpty::Drop);
/// let of_sessions = rate.clone();
/// let service = SessionService::new(|| Text::over(Lines::new())).filter("rate", move || of_sessions.clone());
///
/// let mut test = TestLoop::sessions(service, |_| Echo);
/// let peer = test.connect();
/// peer.send("1\n2\n3\n4\n");
/// test.run_until_idle();
/// assert_eq!(peer.receive(), b"1\n2\n3\n");
/// assert_eq!(rate.limited(), 1);
/// test.advance(Duration::from_millis(100));
/// peer.send("5\n6\n");
/// test.run_until_idle();
/// assert_eq!(peer.receive(), b"5\n");
/// ```
///
/// Each session has a bucket of its own; clones share the count of what was limited. A session may change its own rate, after
/// log-in, say: `cx.filter::<MessageRate>("rate")` gives it, and [`set`](Self::set) changes it.
#[derive(Clone, Debug)]
pub struct MessageRate {
    bucket: Bucket,
    when_empty: WhenEmpty,
    is_holding: bool,
    limited: Arc<AtomicU64>,
}

/// What happens to a message that finds the bucket of a [`MessageRate`] empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum WhenEmpty {
    /// It is let in, as the last one for a while: the session [isn't read from](crate::session::SessionView::pause_reading) until
    /// the bucket has a token again. So there may be one message more than the bucket has tokens for, which counts: the token is
    /// owed. Nothing is lost, and the peer is slowed down once what the kernel holds for it is full.
    #[default]
    HoldBack,
    /// It is dropped.
    Drop,
    /// The session is closed, with [`CloseReason::Refused`](crate::CloseReason::Refused).
    Close,
}

/// Tokens, as a time: when the bucket will be full again. All in nanoseconds.
#[derive(Clone, Debug)]
struct Bucket {
    full_at: u64,
    /// How long a token takes to come back.
    token: u64,
    /// How long an empty bucket takes to become full.
    all: u64,
}

impl Bucket {
    /// Takes a token, if there is one.
    #[inline]
    fn take(&mut self, now: u64) -> bool {
        let full_at = self.full_at.max(now).saturating_add(self.token);
        let has_one = full_at - now <= self.all;
        if has_one {
            self.full_at = full_at;
        }
        has_one
    }

    /// Takes a token that isn't there yet. Answers after what time the next one is.
    fn owe(&mut self, now: u64) -> u64 {
        self.full_at = self.full_at.max(now).saturating_add(self.token);
        (self.full_at - now).saturating_add(self.token).saturating_sub(self.all)
    }
}

impl MessageRate {
    /// At most `messages` in each time of `per`, on average. The bucket holds as many tokens, unless [`burst`](Self::burst) says
    /// otherwise.
    ///
    /// # Panics
    ///
    /// If `messages` is zero.
    #[must_use]
    pub fn new(messages: u32, per: Duration) -> Self {
        let mut rate = Self {
            bucket: Bucket { full_at: 0, token: 0, all: 0 },
            when_empty: WhenEmpty::default(),
            is_holding: false,
            limited: Arc::new(AtomicU64::new(0)),
        };
        rate.set(messages, per, messages);
        rate
    }

    /// How many messages may come at once; one at least.
    #[must_use]
    pub fn burst(mut self, messages: u32) -> Self {
        self.bucket.all = self.bucket.token.saturating_mul(messages.max(1).into());
        self
    }

    /// What happens to a message that finds the bucket empty. Default: [`WhenEmpty::HoldBack`].
    #[must_use]
    pub fn when_empty(mut self, action: WhenEmpty) -> Self {
        self.when_empty = action;
        self
    }

    /// Changes rate and burst, from the next message on; the bucket is full then. A session that isn't read from at the moment is
    /// read again when that was due.
    ///
    /// # Panics
    ///
    /// If `messages` is zero.
    pub fn set(&mut self, messages: u32, per: Duration, burst: u32) {
        assert!(messages > 0, "a rate of no messages lets nothing in: close the session instead");
        let token = (nanos(per) / u64::from(messages)).max(1);
        self.bucket = Bucket { full_at: 0, token, all: token.saturating_mul(burst.max(1).into()) };
    }

    /// How often a message found the bucket empty so far, in all sessions that share the count: how many were dropped, how many
    /// sessions were closed, or how often one was not read from for a while.
    #[must_use]
    pub fn limited(&self) -> u64 {
        self.limited.load(Ordering::Relaxed)
    }

    #[cold]
    fn limit<C: Codec>(&mut self, cx: &mut FilterContext<'_, C>) -> Verdict {
        self.limited.fetch_add(1, Ordering::Relaxed);
        match self.when_empty {
            WhenEmpty::Drop => Verdict::Drop,
            WhenEmpty::Close => Verdict::refuse("too many messages at a time"),
            WhenEmpty::HoldBack => {
                let wait = self.bucket.owe(cx.conn.nanos());
                if !self.is_holding {
                    self.is_holding = true;
                    cx.pause_reading();
                    cx.set_timer(Duration::from_nanos(wait.max(SHORTEST_HOLD)), 0);
                }
                Verdict::Pass
            }
        }
    }
}

impl<C: Codec> MessageFilter<C> for MessageRate {
    fn wants_writes(&self) -> bool {
        false
    }

    #[inline]
    fn on_message(&mut self, cx: &mut FilterContext<'_, C>, _message: &mut C::In<'_>) -> Verdict {
        if self.bucket.take(cx.conn.nanos()) { Verdict::Pass } else { self.limit(cx) }
    }

    fn on_timer(&mut self, cx: &mut FilterContext<'_, C>, _token: u64) -> Verdict {
        self.is_holding = false;
        cx.resume_reading();
        Verdict::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_one_after_the_other_up_to_the_burst() {
        let mut bucket = MessageRate::new(10, Duration::from_nanos(100)).burst(3).bucket;
        let mut taken = |now| (0..10).filter(|_| bucket.take(now)).count();
        assert_eq!([1000, 1009, 1010, 1029, 1030, 9999].map(&mut taken), [3, 0, 1, 1, 1, 3]);
    }

    #[test]
    fn a_token_that_is_owed_is_paid_back_first() {
        let mut bucket = MessageRate::new(10, Duration::from_nanos(100)).burst(2).bucket;
        assert!(bucket.take(1000) && bucket.take(1000));
        assert_eq!(bucket.owe(1000), 20);
        assert!(!bucket.take(1019));
        assert!(bucket.take(1020));
        assert!(!bucket.take(1020));
    }
}
