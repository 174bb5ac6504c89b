//! The commands that change something, which ask for the role `admin`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use log::LevelFilter;
use serde::Deserialize;
use serde_json::json;

use super::actions::{Outcome, Serial, Target, reach};
use super::inspected::Inspected;
use super::reading::LONGEST_WAIT;
use super::servers::NamedServer;
use super::timeouts::TimeOuts;
use crate::control::{Call, Command, Failure, Responder};

/// The role that these commands ask for.
const ADMIN: &str = "admin";

pub(super) fn commands(inspected: &Arc<Inspected>) -> Vec<Command> {
    vec![
        kick(Arc::clone(inspected)),
        set_timeouts(Arc::clone(inspected)),
        pause(Arc::clone(inspected)),
        resume(Arc::clone(inspected)),
        log_level(),
        drain(Arc::clone(inspected)),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kick {
    id: Serial,
    #[serde(default)]
    abort: bool,
}

fn kick(inspected: Arc<Inspected>) -> Command {
    Command::new("kick", "Closes a connection, or its session if it has one.")
        .parameter("id", "the connection's or session's")
        .parameter("abort", "whether at once, without what is still to be sent; in good order unless said")
        .role(ADMIN)
        .defers(move |call, Kick { id, abort }, mut responder| {
            if id.names(call.session().id().connection()) {
                // It can't have an answer once it is closed.
                responder.end_after_reply();
                let _ = responder.reply(json!({ "kicked": id.to_string() }));
                return;
            }
            let kick = move |target: &mut dyn Target| {
                target.end(abort);
                Ok(json!({ "kicked": id.to_string() }))
            };
            reach_for(&inspected, call, id, kick, responder);
        })
}

fn set_timeouts(inspected: Arc<Inspected>) -> Command {
    Command::new(
        "set_timeouts",
        "Changes deadlines of a connection and its session, and tells all that hold then.",
    )
    .parameter("id", "the connection's or session's")
    .parameter("idle_ms", "how long the connection may be silent; zero is for ever, here and below")
    .parameter("write_stall_ms", "how long output may be pending without any of it being taken")
    .parameter("slow_consumer_ms", "how long much output may be pending")
    .parameter(
        "linger_ms",
        "how long a connection that is being closed waits for its peer; zero is not at all",
    )
    .parameter("idle_read_ms", "after what time without anything received the session is told so")
    .parameter("idle_write_ms", "after what time without anything sent the session is told so")
    .parameter(
        "idle_both_ms",
        "after what time without either the session is told so, which as a rule ends it",
    )
    .parameter("frame_deadline_ms", "how long a message may take to arrive")
    .role(ADMIN)
    .defers(move |call, times: TimeOuts, responder| {
        reach_for(&inspected, call, times.id, move |target| times.apply(target), responder);
    })
}

/// Does something to a connection, and answers the request for it.
fn reach_for(
    inspected: &Arc<Inspected>,
    call: &mut Call<'_>,
    id: Serial,
    act: impl FnOnce(&mut dyn Target) -> Outcome + Send + 'static,
    responder: Responder,
) {
    let responder = Arc::new(Mutex::new(Some(responder)));
    let of_timer = Arc::clone(&responder);
    // Of answers, here and below: who has asked may have gone.
    reach(inspected, id, act, move |outcome| {
        let Some(responder) = take(&responder) else { return };
        let _ = match outcome {
            Some(Ok(result)) => responder.reply(result),
            Some(Err(failure)) => responder.fail(failure),
            None => {
                let text = format!(
                    "there is no connection {id}: it has ended, or is on a loop that is not inspected"
                );
                responder.fail(Failure::new(text).code("unknown_id"))
            }
        };
    });
    call.context().run_after(LONGEST_WAIT, move |_| {
        if let Some(responder) = take(&of_timer) {
            let text =
                format!("a loop that may have {id} is held up: if it has, it does this when it goes on");
            let _ = responder.fail(Failure::new(text).code("unanswered"));
        }
    });
}

fn take(responder: &Mutex<Option<Responder>>) -> Option<Responder> {
    responder.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Which server is meant, if not all of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    server: Option<String>,
}

fn pause(inspected: Arc<Inspected>) -> Command {
    Command::new("pause", "Has servers accept nobody: those who come wait.")
        .parameter("server", "the only one: all unless said")
        .role(ADMIN)
        .answers(move |_call, Which { server }| {
            let servers = inspected.servers_called(server.as_deref())?;
            servers.iter().for_each(|known| known.server.pause());
            Ok(json!({ "servers": names(&servers) }))
        })
}

fn resume(inspected: Arc<Inspected>) -> Command {
    Command::new("resume", "Has servers accept again.")
        .parameter("server", "the only one: all unless said")
        .role(ADMIN)
        .answers(move |_call, Which { server }| {
            let servers = inspected.servers_called(server.as_deref())?;
            servers.iter().for_each(|known| known.server.resume());
            Ok(json!({ "servers": names(&servers) }))
        })
}

fn names(servers: &[&NamedServer]) -> Vec<String> {
    servers.iter().map(|server| server.name.to_string()).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogLevel {
    level: Option<Level>,
}

/// What is logged at most, as `log` calls it.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Off => Self::Off,
            Level::Error => Self::Error,
            Level::Warn => Self::Warn,
            Level::Info => Self::Info,
            Level::Debug => Self::Debug,
            Level::Trace => Self::Trace,
        }
    }
}

fn log_level() -> Command {
    Command::new(
        "log_level",
        "Tells what the process logs at most, after it was changed if a level is given.",
    )
    .parameter("level", "the level from now on")
    .role(ADMIN)
    .answers(|_call, LogLevel { level }| {
        if let Some(level) = level {
            log::set_max_level(level.into());
        }
        Ok(json!({ "level": log::max_level().as_str().to_lowercase() }))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    server: Option<String>,
    deadline_ms: Option<u64>,
}

fn drain(inspected: Arc<Inspected>) -> Command {
    Command::new(
        "drain",
        "Stops servers: nobody is accepted any more, and those who are there are given time to end.",
    )
    .parameter("server", "the only one: all unless said")
    .parameter("deadline_ms", "when what is left is closed by force: after 10000 unless said")
    .role(ADMIN)
    .answers(move |_call, Drain { server, deadline_ms }| {
        let servers = inspected.servers_called(server.as_deref())?;
        let draining = names(&servers);
        inspected.drain(servers, Duration::from_millis(deadline_ms.unwrap_or(10_000)));
        Ok(json!({ "draining": draining }))
    })
}
