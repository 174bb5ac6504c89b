//! The states of a session.

/// Where a session is in its life.
///
/// ```text
///                 silence for an idle time
///   Connected ────────────────────────────> Idle
///       │     <────────────────────────────  │
///       │            bytes or messages       │
///       │ close, abort, an error, a deadline │
///       └───────────────> Closing <──────────┘
///                            │ all is flushed and the peer has closed, or the linger time is over
///                            v
///                         Closed
/// ```
///
/// What can be done in each, by callbacks and handles:
///
/// | | Connected, Idle | Closing | Closed |
/// | --- | --- | --- | --- |
/// | `on_message`, `on_idle`, `on_timer`, `on_input_closed` | called | not called | not called |
/// | `on_written` | called | not called | called at its beginning, before `on_close` |
/// | `write`, `send` | accepted; `WriteError::Closed` after `shutdown` | `WriteError::Closed` | `WriteError::Closed` |
/// | `close` | begins to close | nothing | nothing |
/// | `abort` | ends at once | ends at once | nothing |
/// | `pause_reading`, `resume_reading` | at once | nothing | nothing |
/// | `run` of a handle | run | run | dropped |
/// | attributes, stats, addresses | there | there | there, until `on_close` returns |
/// | keys | found by them | found by them | until `on_close` returns |
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SessionState {
    /// Open, and not idle.
    Connected,
    /// Open, and something has not happened for the time set for it.
    Idle {
        /// Nothing was received.
        read: bool,
        /// Nothing was sent.
        write: bool,
        /// Neither.
        both: bool,
    },
    /// Being closed: what was written before still goes out, unless it was aborted.
    Closing,
    /// Ended.
    Closed,
}
