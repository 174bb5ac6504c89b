//! How many log-ins have failed lately, by account and by address.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::protocol::{ErrorCode, Failure};

/// For how long failures count, from the first one on.
const WINDOW: Duration = Duration::from_secs(60);
/// Failures of an account after which it is refused.
const OF_ACCOUNT: u32 = 10;
/// Failures of an address after which it is refused: more, since many users may share one.
const OF_ADDRESS: u32 = 50;
/// How many accounts and addresses are remembered before those are looked for that can be forgotten.
pub(super) const REMEMBERED: usize = 10_000;

/// The failures of all accounts and addresses. Shared by all loops, and locked for moments only.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    counters: Mutex<Counters>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accounts: HashMap<String, Counter>,
    addresses: HashMap<IpAddr, Counter>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    count: u32,
    since: Instant,
}

/// A log-in that is being checked. It counts as a failure of the account until it has succeeded, so that many at once are no way
/// around the limit.
#[derive(Debug)]
pub(crate) struct Attempt {
    account: String,
    address: Option<IpAddr>,
}

impl Attempts {
    /// Begins an attempt. There is no address on Unix sockets.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::TooManyAttempts`] if the account or the address has failed too often.
    pub(crate) fn begin(
        &self,
        name: &str,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Attempt, Failure> {
        let attempt = Attempt { account: name.to_ascii_lowercase(), address: address.map(network) };
        let mut counters = self.lock();
        let of_address = attempt.address.map_or(0, |address| count(&counters.addresses, &address, now));
        if count(&counters.accounts, &attempt.account, now) >= OF_ACCOUNT || of_address >= OF_ADDRESS {
            let text = "too many log-ins have failed: try again in a minute";
            return Err(Failure::new(ErrorCode::TooManyAttempts, text));
        }
        add(&mut counters.accounts, attempt.account.clone(), now);
        Ok(attempt)
    }

    /// The password was wrong.
    pub(crate) fn failed(&self, attempt: Attempt, now: Instant) {
        if let Some(address) = attempt.address {
            add(&mut self.lock().addresses, address, now);
        }
    }

    /// The password was right, or could not be checked.
    pub(crate) fn take_back(&self, attempt: Attempt) {
        let mut counters = self.lock();
        if let Some(counter) = counters.accounts.get_mut(&attempt.account) {
            counter.count = counter.count.saturating_sub(1);
            if counter.count == 0 {
                counters.accounts.remove(&attempt.account);
            }
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn count<K: Hash + Eq>(counters: &HashMap<K, Counter>, key: &K, now: Instant) -> u32 {
    counters.get(key).filter(|counter| !is_over(counter, now)).map_or(0, |counter| counter.count)
}

fn add<K: Hash + Eq>(counters: &mut HashMap<K, Counter>, key: K, now: Instant) {
    if counters.len() >= REMEMBERED {
        counters.retain(|_, counter| !is_over(counter, now));
    }
    let counter = counters.entry(key).or_insert(Counter { count: 0, since: now });
    if is_over(counter, now) {
        *counter = Counter { count: 0, since: now };
    }
    counter.count = counter.count.saturating_add(1);
}

fn is_over(counter: &Counter, now: Instant) -> bool {
    now.saturating_duration_since(counter.since) >= WINDOW
}

/// One network of IPv6 has more addresses than can be counted; a customer gets at least a /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (!0 << 64)).into()),
        address => address,
    }
}
