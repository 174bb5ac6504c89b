//! The limits of a control session.

use std::time::Duration;

/// Limits of the sessions of a control socket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ControlConfig {
    /// A session ends with its n-th error reply; zero is no such limit. Default 0.
    pub max_errors: u64,
    /// A session ends with its n-th error reply in a row; zero is no such limit. Default 32.
    pub max_consecutive_errors: u64,
    /// After what time without a byte in either direction a session ends, unless a request of its is being worked on; zero is
    /// never. What each session begins with: [`ControlSession::set_inactivity`](super::ControlSession::set_inactivity) changes it.
    /// Default 5 min.
    pub inactivity: Duration,
    /// How many requests of a session may wait for an answer that comes later; one more is refused. Default 256.
    pub max_in_flight: usize,
    /// The longest request, in bytes; the next longer is answered by an error. Default 256 KiB, which bounds what it takes up too.
    pub max_request: usize,
    /// How many sessions there may be; one more is closed as soon as it is accepted. Default 64.
    pub max_sessions: usize,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            max_errors: 0,
            max_consecutive_errors: 32,
            inactivity: Duration::from_secs(300),
            max_in_flight: 256,
            max_request: 256 * 1024,
            max_sessions: 64,
        }
    }
}
