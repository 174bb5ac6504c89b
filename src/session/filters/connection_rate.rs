//! Too many connections of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::address_block::mask;
use super::turn_away;
use crate::codec::Codec;
use crate::session::{FilterContext, MessageFilter, Verdict};

/// Lets only so many connections of an address in over a time. Those beyond end at once, with
/// [`CloseReason::Refused`](crate::CloseReason::Refused), before their `on_open`.
///
/// IPv6 addresses count by their first 64 bits, as one customer has all that follow; Unix peers are always let in. Clones share
/// the counts, on all loops and beyond.
///
/// Time is cut into windows for all addresses together: when one is over, the counts are forgotten. So an address gets no more
/// than the limit in a window, and, around the end of one, up to twice that in the length of a window. Those that are refused
/// don't count.
///
/// ```
/// use std::time::Duration;
///
/// use campana::session::filters::ConnectionRate;
/// # use campana::codec::{Lines, Text};
/// # use campana::session::{Session, SessionContext, SessionService};
/// # use campana::testing::TestLoop;
/// # struct Echo;
/// # impl Session for Echo {
/// #     type Codec = Text<Lines>;
/// #     fn on_message(&mut self, _cx: &mut SessionContext<'_, Self>, _line: &str) {}
/// # }
///
/// let rate = ConnectionRate::new(2, Duration::from_secs(10));
/// let of_sessions = rate.clone();
/// let service = SessionService::new(|| Text::over(Lines::new())).filter("connections", move || of_sessions.clone());
///
/// let mut test = TestLoop::sessions(service, |_| Echo);
/// let peers = [test.connect(), test.connect(), test.connect()];
/// assert_eq!(rate.refused(), 1);
/// test.advance(Duration::from_secs(10));
/// test.connect();
/// assert_eq!(rate.refused(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct ConnectionRate {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    limit: u32,
    window: Duration,
    capacity: usize,
    /// When the window under way began; none has before the first connection.
    since: Option<Instant>,
    counts: HashMap<IpAddr, u32>,
    refused: u64,
    uncounted: u64,
}

impl ConnectionRate {
    /// At most `limit` connections of an address in each `window`.
    #[must_use]
    pub fn new(limit: u32, window: Duration) -> Self {
        let shared = Shared {
            limit,
            window,
            capacity: 65_536,
            since: None,
            counts: HashMap::new(),
            refused: 0,
            uncounted: 0,
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// How many addresses are counted in a window at most. Default 65 536, which take some 4 MiB. If there are more, those that
    /// come last are let in without being counted: whoever has that many addresses could otherwise keep everyone else out.
    #[must_use]
    pub fn capacity(self, addresses: usize) -> Self {
        self.lock().capacity = addresses;
        self
    }

    /// Changes limit and window, from the next connection on. May be called from any thread.
    pub fn set(&self, limit: u32, window: Duration) {
        let mut shared = self.lock();
        (shared.limit, shared.window) = (limit, window);
    }

    /// How many connections were turned away so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// How many connections were let in without being counted, as there were too many addresses.
    #[must_use]
    pub fn uncounted(&self) -> u64 {
        self.lock().uncounted
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most 60 connections of an address in 10 s.
impl Default for ConnectionRate {
    fn default() -> Self {
        Self::new(60, Duration::from_secs(10))
    }
}

impl Shared {
    /// Whether another connection of an address may come in.
    fn admit(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= self.window) {
            self.since = Some(now);
            // The memory of a flood goes with it.
            self.counts = HashMap::new();
        }
        let address = match address.to_canonical() {
            v4 @ IpAddr::V4(_) => v4,
            v6 => mask(v6, 64),
        };
        let is_full = self.counts.len() >= self.capacity;
        let count = match self.counts.get_mut(&address) {
            Some(count) => count,
            None if self.limit > 0 && is_full => {
                self.uncounted += 1;
                return true;
            }
            None => self.counts.entry(address).or_insert(0),
        };
        let admitted = *count < self.limit;
        *count += u32::from(admitted);
        self.refused += u64::from(!admitted);
        admitted
    }
}

impl<C: Codec> MessageFilter<C> for ConnectionRate {
    fn wants_messages(&self) -> bool {
        false
    }

    fn wants_writes(&self) -> bool {
        false
    }

    fn on_open(&mut self, cx: &mut FilterContext<'_, C>) -> Verdict {
        let Some(address) = cx.peer_address().ip() else { return Verdict::Pass };
        let now = cx.now();
        let admitted = self.lock().admit(address, now);
        if admitted { Verdict::Pass } else { turn_away(cx, "too many connections of one address at a time") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(limit: u32) -> ConnectionRate {
        ConnectionRate::new(limit, Duration::from_secs(10))
    }

    fn admits(rate: &ConnectionRate, address: &str, now: Instant) -> bool {
        rate.lock().admit(address.parse().unwrap(), now)
    }

    #[test]
    fn an_address_gets_as_many_as_the_limit_in_a_window() {
        let (rate, now) = (rate(2), Instant::now());
        assert_eq!(
            [0, 1, 9].map(|s| admits(&rate, "192.0.2.1", now + Duration::from_secs(s))),
            [true, true, false]
        );
        assert!(admits(&rate, "192.0.2.2", now));
        assert!(admits(&rate, "192.0.2.1", now + Duration::from_secs(10)));
        assert_eq!(rate.refused(), 1);
    }

    #[test]
    fn ipv6_counts_by_its_first_64_bits_and_mapped_addresses_as_ipv4() {
        let (rate, now) = (rate(1), Instant::now());
        assert!(admits(&rate, "2001:db8::1", now));
        assert!(!admits(&rate, "2001:db8::ffff:0:0:1", now));
        assert!(admits(&rate, "2001:db8:0:1::1", now));
        assert!(admits(&rate, "::ffff:192.0.2.1", now));
        assert!(!admits(&rate, "192.0.2.1", now));
        assert!(admits(&rate, "::ffff:192.0.2.2", now));
    }

    #[test]
    fn beyond_the_capacity_newcomers_are_let_in_uncounted_and_others_stay_limited() {
        let (rate, now) = (rate(1).capacity(100), Instant::now());
        for host in 0..200 {
            assert!(admits(&rate, &format!("192.0.2.{host}"), now));
        }
        assert_eq!((rate.uncounted(), rate.lock().counts.len()), (100, 100));
        assert!(!admits(&rate, "192.0.2.1", now));
        assert!(admits(&rate, "192.0.2.1", now + Duration::from_secs(10)));
        assert_eq!(rate.lock().counts.len(), 1);
        assert!(rate.lock().counts.capacity() < 100);
    }

    #[test]
    fn a_loop_whose_clock_is_a_little_behind_opens_no_new_window() {
        let (rate, now) = (rate(1), Instant::now() + Duration::from_secs(1));
        assert!(admits(&rate, "192.0.2.1", now));
        assert!(!admits(&rate, "192.0.2.1", now - Duration::from_millis(5)));
    }

    #[test]
    fn a_limit_of_zero_lets_no_one_in_whatever_the_capacity() {
        let rate = rate(0).capacity(0);
        assert!(!admits(&rate, "192.0.2.1", Instant::now()));
    }
}
