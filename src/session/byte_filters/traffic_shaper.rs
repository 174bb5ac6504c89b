//! So many bytes a second.

use std::time::{Duration, Instant};

use crate::buffer::Buffer;
use crate::session::{ByteContext, ByteFilter, ByteResult, Progress};

/// The most that one call lets in.
const MOST_IN: u64 = 64 * 1024;

/// Pieces of output are worth about this time, so that a slow stream is no stream of single bytes.
const PIECE: Duration = Duration::from_millis(20);

/// Lets bytes pass at a rate, in each direction for which one is set: a token bucket.
///
/// ```text
///   rate ──> [ tokens, at most `burst` ]     a byte that passes takes one; without one it waits
/// ```
///
/// What waits on the way out counts as pending output: for the water marks, and for
/// [`hard_cap`](crate::ConnectionConfig::hard_cap). While something waits on the way in, the connection isn't read, so that its
/// peer is held back in the end. Nothing is lost but by an abort: a session that is closed delivers what waits before, at the rate,
/// however long that takes; [`linger`](crate::ConnectionConfig::linger) bounds the time without any progress.
///
/// ```
/// use campana::session::byte_filters::TrafficShaper;
///
/// // At most 100 kB/s to the peer, and 16 KiB at once after a pause.
/// let shaper = TrafficShaper::new().outbound(100_000, 16 * 1024);
/// ```
#[derive(Clone, Debug, Default)]
pub struct TrafficShaper {
    inbound: Option<TokenBucket>,
    outbound: Option<TokenBucket>,
}

impl TrafficShaper {
    /// A shaper that lets everything pass.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits what comes from the peer: `rate` in bytes a second, and `burst`, the bytes that may come at once after a pause.
    ///
    /// # Panics
    ///
    /// If either is zero.
    #[must_use]
    pub fn inbound(mut self, rate: u64, burst: u64) -> Self {
        self.set_inbound(Some((rate, burst)));
        self
    }

    /// Limits what goes to the peer: `rate` in bytes a second, and `burst`, the bytes that may go at once after a pause.
    ///
    /// # Panics
    ///
    /// If either is zero.
    #[must_use]
    pub fn outbound(mut self, rate: u64, burst: u64) -> Self {
        self.set_outbound(Some((rate, burst)));
        self
    }

    /// Changes the limit of what comes from the peer, or lifts it, while the session runs; for what waits already from the end of that
    /// wait on.
    ///
    /// # Panics
    ///
    /// If the rate or the burst is zero.
    pub fn set_inbound(&mut self, limit: Option<(u64, u64)>) {
        self.inbound = limit.map(|(rate, burst)| TokenBucket::new(rate, burst));
    }

    /// Changes the limit of what goes to the peer, or lifts it, while the session runs; for what waits already from the end of that
    /// wait on.
    ///
    /// # Panics
    ///
    /// If the rate or the burst is zero.
    pub fn set_outbound(&mut self, limit: Option<(u64, u64)>) {
        self.outbound = limit.map(|(rate, burst)| TokenBucket::new(rate, burst));
    }
}

impl ByteFilter for TrafficShaper {
    fn decode(&mut self, cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        pass(self.inbound.as_mut(), MOST_IN, cx.now(), input, output)
    }

    fn encode(&mut self, cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        pass(self.outbound.as_mut(), u64::MAX, cx.now(), input, output)
    }
}

fn pass(
    bucket: Option<&mut TokenBucket>,
    most: u64,
    now: Instant,
    input: &mut Buffer,
    output: &mut Buffer,
) -> ByteResult {
    let wanted = input.readable() as u64;
    let Some(bucket) = bucket else {
        output.append(input.take_n(wanted.min(most) as usize));
        return Ok(if input.is_empty() { Progress::Done } else { Progress::More });
    };
    let passes = bucket.take(wanted.min(most), now);
    output.append(input.take_n(passes as usize));
    Ok(match wanted - passes {
        0 => Progress::Done,
        _ if passes == most => Progress::More,
        left => Progress::After(bucket.time_until(left)),
    })
}

/// Tokens that come at a rate and are taken.
#[derive(Clone, Debug)]
struct TokenBucket {
    /// Tokens a second.
    rate: u64,
    burst: u64,
    /// What there is, in billionths of a token: what comes in a nanosecond at a rate of one.
    tokens: u128,
    /// When that was.
    since: Option<Instant>,
}

const BILLION: u128 = 1_000_000_000;

impl TokenBucket {
    fn new(rate: u64, burst: u64) -> Self {
        assert!(rate > 0 && burst > 0, "a rate or a burst of zero bytes lets nothing pass: abort, or pause");
        Self { rate, burst, tokens: u128::from(burst) * BILLION, since: None }
    }

    /// Takes as many as there are at `now`, up to `wanted`.
    fn take(&mut self, wanted: u64, now: Instant) -> u64 {
        let passed = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.since = Some(now);
        let come = passed.as_nanos().saturating_mul(u128::from(self.rate));
        self.tokens = self.tokens.saturating_add(come).min(u128::from(self.burst) * BILLION);
        let taken = (self.tokens / BILLION).min(u128::from(wanted));
        self.tokens -= taken * BILLION;
        taken as u64
    }

    /// How long it takes until a piece worth the while can be taken, of the `left` that are wanted.
    fn time_until(&self, left: u64) -> Duration {
        let piece = (u128::from(self.rate) * PIECE.as_nanos() / BILLION).max(1);
        let piece = piece.min(u128::from(self.burst)).min(u128::from(left));
        let nanos = (piece * BILLION).saturating_sub(self.tokens).div_ceil(u128::from(self.rate));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_in_a_time_is_the_burst_and_the_rate_times_that_time() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(1000, 300);
        assert_eq!(bucket.take(10_000, start), 300);
        let mut passed = 0;
        for milli in 1..=10_000 {
            passed += bucket.take(10_000, start + Duration::from_millis(milli));
        }
        assert_eq!(passed, 10_000);
    }

    #[test]
    fn a_pause_saves_up_no_more_than_the_burst() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(1000, 300);
        bucket.take(300, start);
        assert_eq!(bucket.take(10_000, start + Duration::from_secs(3600)), 300);
    }

    #[test]
    fn parts_of_a_token_are_not_lost() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(3, 1);
        bucket.take(1, start);
        let mut now = start;
        for _ in 0..30 {
            now += bucket.time_until(1);
            assert_eq!(bucket.take(1, now), 1);
        }
        assert!(now - start < Duration::from_millis(10_001), "{:?}", now - start);
    }

    #[test]
    fn waiting_is_for_a_piece_and_not_for_a_byte() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(100_000, 10_000);
        bucket.take(10_000, start);
        assert_eq!(bucket.time_until(1_000_000), PIECE);
        assert_eq!(bucket.time_until(100), Duration::from_millis(1));
    }

    #[test]
    #[should_panic(expected = "lets nothing pass")]
    fn a_rate_of_zero_is_refused() {
        let _ = TrafficShaper::new().inbound(0, 1);
    }
}
