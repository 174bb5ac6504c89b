//! What the server answers, as far as it is shown. What a server of another version leaves out counts as zero.

use serde::Deserialize;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Loops {
    pub(crate) uptime_ms: u64,
    pub(crate) loops: Vec<Loop>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Loop {
    pub(crate) name: String,
    pub(crate) alive: bool,
    pub(crate) turns: u64,
    pub(crate) events: u64,
    pub(crate) tasks: u64,
    pub(crate) panics: u64,
    pub(crate) slow_callbacks: u64,
    pub(crate) longest_callback_us: u64,
    pub(crate) connections: u64,
    pub(crate) timer_lateness: Lateness,
    pub(crate) task_lateness: Lateness,
}

/// How many times something was late: bucket `i` counts what was less than `2^i` microseconds late, and in no lower bucket.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Lateness {
    pub(crate) buckets: Vec<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Servers {
    pub(crate) servers: Vec<Server>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) accepting: bool,
    pub(crate) stopped: bool,
    pub(crate) connections: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) refused_by_address: u64,
    pub(crate) shed: u64,
    pub(crate) accept_errors: u64,
    pub(crate) sessions: Option<Service>,
}

/// What all sessions of a server have done, those that ended included.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Connections {
    /// How many there are.
    pub(crate) total: usize,
    /// How many the filter lets through, of which `connections` may be a part.
    pub(crate) matched: usize,
    pub(crate) connections: Vec<Connection>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Connection {
    pub(crate) id: String,
    pub(crate) r#loop: String,
    pub(crate) server: Option<String>,
    pub(crate) peer: String,
    pub(crate) local: Option<String>,
    pub(crate) state: String,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) pending: u64,
    pub(crate) unread: u64,
    pub(crate) age_ms: u64,
    pub(crate) idle_ms: u64,
    pub(crate) reading_paused: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sessions {
    pub(crate) total: usize,
    pub(crate) matched: usize,
    pub(crate) sessions: Vec<Session>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) service: String,
    pub(crate) r#loop: String,
    pub(crate) peer: String,
    pub(crate) state: String,
    pub(crate) authenticated: bool,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) pending_bytes: u64,
    pub(crate) age_ms: u64,
    pub(crate) last_read_ms: u64,
    pub(crate) last_written_ms: u64,
    pub(crate) throughput: Throughput,
}

/// The server's own averages over its interval, per second.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Throughput {
    pub(crate) bytes_in: f64,
    pub(crate) bytes_out: f64,
    pub(crate) messages_in: f64,
    pub(crate) messages_out: f64,
}
