//! Deadlines of one connection and its session, to be changed while it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::actions::{Outcome, Serial, Target};
use crate::connection::ConnectionConfig;
use crate::control::Failure;
use crate::session::SessionConfig;

/// What is to be changed: milliseconds, of which zero switches a deadline off. What is left out stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeOuts {
    pub(super) id: Serial,
    idle_ms: Option<u64>,
    write_stall_ms: Option<u64>,
    slow_consumer_ms: Option<u64>,
    linger_ms: Option<u64>,
    idle_read_ms: Option<u64>,
    idle_write_ms: Option<u64>,
    idle_both_ms: Option<u64>,
    frame_deadline_ms: Option<u64>,
}

/// What holds of a connection.
#[derive(Serialize)]
struct OfConnection {
    idle_ms: u64,
    write_stall_ms: u64,
    slow_consumer_ms: u64,
    linger_ms: u64,
}

/// What holds of a session.
#[derive(Serialize)]
struct OfSession {
    idle_read_ms: u64,
    idle_write_ms: u64,
    idle_both_ms: u64,
    frame_deadline_ms: u64,
}

#[derive(Serialize)]
struct InForce {
    id: String,
    #[serde(flatten)]
    connection: OfConnection,
    #[serde(flatten)]
    session: Option<OfSession>,
}

impl TimeOuts {
    /// Changes them, or none if one of them can't be; answers what is in force then.
    pub(super) fn apply(&self, target: &mut dyn Target) -> Outcome {
        let has_session = target.session().is_some();
        let of_session = self.of_session();
        if !has_session && let Some((name, _)) = of_session.iter().find(|(_, time)| time.is_some()) {
            let text = format!("params.{name}: {} is a connection without a session", self.id);
            return Err(Failure::new(text).code("invalid_params"));
        }
        target.configure_connection(&mut |config| {
            set(&mut config.idle, self.idle_ms);
            set(&mut config.write_stall, self.write_stall_ms);
            set(&mut config.slow_consumer, self.slow_consumer_ms);
            if let Some(linger) = self.linger_ms {
                config.linger = Duration::from_millis(linger);
            }
        });
        if of_session.iter().any(|(_, time)| time.is_some()) {
            target.configure_session(&mut |config| {
                set(&mut config.idle_read, self.idle_read_ms);
                set(&mut config.idle_write, self.idle_write_ms);
                set(&mut config.idle_both, self.idle_both_ms);
                set(&mut config.frame_deadline, self.frame_deadline_ms);
            });
        }
        let in_force = InForce {
            id: self.id.to_string(),
            connection: OfConnection::of(target.connection()),
            session: target.session().map(OfSession::of),
        };
        Ok(serde_json::to_value(in_force)?)
    }

    fn of_session(&self) -> [(&'static str, Option<u64>); 4] {
        [
            ("idle_read_ms", self.idle_read_ms),
            ("idle_write_ms", self.idle_write_ms),
            ("idle_both_ms", self.idle_both_ms),
            ("frame_deadline_ms", self.frame_deadline_ms),
        ]
    }
}

fn set(time: &mut Option<Duration>, wanted: Option<u64>) {
    if let Some(millis) = wanted {
        *time = Some(Duration::from_millis(millis)).filter(|time| !time.is_zero());
    }
}

impl OfConnection {
    fn of(config: &ConnectionConfig) -> Self {
        Self {
            idle_ms: shown(config.idle),
            write_stall_ms: shown(config.write_stall),
            slow_consumer_ms: shown(config.slow_consumer),
            linger_ms: shown(Some(config.linger)),
        }
    }
}

impl OfSession {
    fn of(config: &SessionConfig) -> Self {
        Self {
            idle_read_ms: shown(config.idle_read),
            idle_write_ms: shown(config.idle_write),
            idle_both_ms: shown(config.idle_both),
            frame_deadline_ms: shown(config.frame_deadline),
        }
    }
}

/// Rounded up, so that one that holds is never shown as none.
fn shown(time: Option<Duration>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}
