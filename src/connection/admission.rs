//! Who is let in: a server's limits on connections, and the counts behind them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::group::Observer;
use crate::socket::Address;

/// The connections of one server over all its loops.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    counts: Arc<Counts>,
}

#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) per_address: Option<usize>,
    pub(crate) shed_after: Duration,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    counts_addresses: bool,
    accepted: AtomicU64,
    refused: AtomicU64,
    refused_by_address: AtomicU64,
    shed: AtomicU64,
    errors: AtomicU64,
}

/// What a server has done with those who came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ServerFigures {
    /// Connections that are open now.
    pub connections: usize,
    /// Connections that were let in.
    pub accepted: u64,
    /// Connections that were closed at once, because the server had as many as it may have.
    pub refused: u64,
    /// Connections that were closed at once, because their address had as many as one may have.
    pub refused_by_address: u64,
    /// Connections that were closed at once, because descriptors had run out for too long.
    pub shed: u64,
    /// Errors of accept, exhaustion of descriptors included.
    pub accept_errors: u64,
}

/// A place among a server's connections; given back when it is dropped, unless a connection has taken it over.
#[derive(Debug)]
pub(crate) struct Admission {
    counts: Arc<Counts>,
    peer: Option<Address>,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Self {
        let counts = Counts { counts_addresses: limits.per_address.is_some(), ..Counts::default() };
        Self { limits, counts: Arc::new(counts) }
    }

    /// Answers a place, or nothing for a peer that is to be refused.
    pub(crate) fn admit(&self, peer: Address) -> Option<Admission> {
        let counts = &self.counts;
        if counts.connections.fetch_add(1, Ordering::Relaxed) >= self.limits.connections {
            counts.connections.fetch_sub(1, Ordering::Relaxed);
            counts.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        if let (Some(limit), Some(ip)) = (self.limits.per_address, address_of(&peer)) {
            let mut by_address = counts.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let of_address = by_address.get(&ip).copied().unwrap_or(0);
            if of_address >= limit {
                counts.connections.fetch_sub(1, Ordering::Relaxed);
                counts.refused_by_address.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            by_address.insert(ip, of_address + 1);
        }
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        Some(Admission { counts: Arc::clone(counts), peer: Some(peer) })
    }

    /// Who is told when a connection ends that has taken its place over.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.counts) as Arc<dyn Observer>
    }

    pub(crate) fn shed_after(&self) -> Duration {
        self.limits.shed_after
    }

    pub(crate) fn count_error(&self) {
        self.counts.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_shed(&self) {
        self.counts.shed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn figures(&self) -> ServerFigures {
        let counts = &self.counts;
        ServerFigures {
            connections: counts.connections.load(Ordering::Relaxed),
            accepted: counts.accepted.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
            refused_by_address: counts.refused_by_address.load(Ordering::Relaxed),
            shed: counts.shed.load(Ordering::Relaxed),
            accept_errors: counts.errors.load(Ordering::Relaxed),
        }
    }
}

impl Admission {
    /// The peer's address; the place is the connection's from now on.
    pub(crate) fn take_over(mut self) -> Address {
        self.peer.take().unwrap_or_else(|| unreachable!("the peer is taken once"))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(peer) = &self.peer {
            self.counts.connection_ended(peer);
        }
    }
}

impl Observer for Counts {
    fn connection_ended(&self, peer: &Address) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        if let (true, Some(ip)) = (self.counts_addresses, address_of(peer)) {
            let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(of_address) = by_address.get_mut(&ip) {
                *of_address -= 1;
                if *of_address == 0 {
                    by_address.remove(&ip);
                }
            }
        }
    }
}

/// A v4 address is the same peer, whether it comes over a v4 or a dual-stack socket.
fn address_of(peer: &Address) -> Option<IpAddr> {
    peer.ip().map(|ip| ip.to_canonical())
}
