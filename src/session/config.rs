//! How sessions behave.

use std::time::Duration;

/// Limits and deadlines of a session; an idle time of zero is none. A [service](super::SessionService) copies its own to each
/// session, whose can then be changed alone while it runs: [`SessionView::configure`](super::SessionView::configure).
///
/// What concerns bytes rather than messages is the connection's: see [`ConnectionConfig`](crate::ConnectionConfig), whose
/// `write_stall` (30 s), `read_budget` and `hard_cap` count for sessions as well.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionConfig {
    /// After what time without anything received `on_idle` is called, and again after each such time. Default: never.
    pub idle_read: Option<Duration>,
    /// After what time without a byte taken by the kernel `on_idle` is called, and again after each such time. Default: never.
    pub idle_write: Option<Duration>,
    /// After what time without either `on_idle` is called, and again after each such time; by default that closes the session.
    /// Default: never, but five minutes for a [server](super::SessionService::serve) that says nothing else.
    pub idle_both: Option<Duration>,
    /// How long a message may take to arrive, from its first bytes on, whatever the pace. Default 30 s.
    pub frame_deadline: Option<Duration>,
    /// What holds until the session [says](super::SessionView::set_authenticated) that the peer is known. Default: nothing, as
    /// for protocols without log-in.
    pub authentication: Option<Authentication>,
    /// The most writes that may be pending, whatever their size: each costs 8 bytes beside its own. Default 65 536.
    pub pending_writes: usize,
    /// Over what time [throughput](super::SessionStats) is averaged. Default 3 s.
    pub throughput_interval: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            idle_read: None,
            idle_write: None,
            idle_both: None,
            frame_deadline: Some(Duration::from_secs(30)),
            authentication: None,
            pending_writes: 65_536,
            throughput_interval: Duration::from_secs(3),
        }
    }
}

/// What a session may not pass before its peer is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Authentication {
    /// How long it may take, from the connection on. Default 10 s.
    pub deadline: Duration,
    /// How long a message may be on the wire, in bytes. Default 4 KiB.
    pub max_frame: usize,
}

impl Default for Authentication {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(10), max_frame: 4 * 1024 }
    }
}
