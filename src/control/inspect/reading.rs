//! The commands that tell what there is and change nothing.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::connections::{ConnectionQuery, ConnectionSort, connections};
use super::exposition::CONTENT_TYPE;
use super::gather::GiveUp;
use super::inspected::Inspected;
use super::lists::List;
use super::loops::LoopRow;
use super::metrics::metrics;
use super::paging::Page;
use super::servers::ServerRow;
use super::sessions::{SessionQuery, SessionSort, sessions};
use super::text::millis_of;
use crate::control::{Call, Command, CommandBuilder, Failure, Responder};

/// How long loops are waited for. One that is held up for longer is something to be shown, rather than to wait for.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(2);

pub(super) fn commands(inspected: &Arc<Inspected>) -> Vec<Command> {
    vec![
        loops(Arc::clone(inspected)),
        servers(Arc::clone(inspected)),
        list_connections(Arc::clone(inspected)),
        list_sessions(Arc::clone(inspected)),
        show_metrics(Arc::clone(inspected)),
    ]
}

/// What a command without parameters takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize)]
struct Loops {
    uptime_ms: u64,
    loops: Vec<LoopRow>,
}

fn loops(inspected: Arc<Inspected>) -> Command {
    Command::new("loops", "Tells what each loop has done, and how late its timers and tasks were.").answers(
        move |_call, Nothing {}| {
            let loops = inspected.loops.iter().map(LoopRow::of).collect();
            Ok(Loops { uptime_ms: millis_of(inspected.began.elapsed()), loops })
        },
    )
}

#[derive(Serialize)]
struct Servers {
    servers: Vec<ServerRow>,
}

fn servers(inspected: Arc<Inspected>) -> Command {
    Command::new("servers", "Tells where each server listens, on which loops, and whom it has let in.")
        .answers(move |_call, Nothing {}| {
            let row = |server| ServerRow::of(server, &inspected.loops);
            Ok(Servers { servers: inspected.servers.iter().map(row).collect() })
        })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionParams {
    server: Option<String>,
    filter: Option<String>,
    sort: Option<ConnectionSort>,
    descending: Option<bool>,
    offset: Option<usize>,
    limit: Option<Limit>,
}

fn list_connections(inspected: Arc<Inspected>) -> Command {
    Command::new("connections", "Lists the connections of all loops, a page at a time.")
        .parameter("server", "the only server whose connections are listed")
        .parameter(
            "filter",
            "a text that is a part of the id, the peer, the local address, the server or the loop",
        )
        .paged()
        .defers(move |call, params: ConnectionParams, responder| {
            let ConnectionParams { server, filter, sort, descending, offset, limit } = params;
            let sort = sort.unwrap_or_default();
            let page = page(offset, limit, descending.unwrap_or(sort.is_descending()));
            match server.map(|name| inspected.server(&name)).transpose() {
                Ok(server) => {
                    let server = server.map(|server| Arc::clone(&server.name));
                    let query = ConnectionQuery { server, filter, sort, page };
                    begin_list(&inspected, call, responder, |inspected, list, responder| {
                        connections(&inspected.loops, query, move |found| {
                            drop(list);
                            answer(responder, &found);
                        })
                    });
                }
                Err(failure) => refuse(responder, failure),
            }
        })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionParams {
    service: Option<String>,
    filter: Option<String>,
    sort: Option<SessionSort>,
    descending: Option<bool>,
    offset: Option<usize>,
    limit: Option<Limit>,
}

fn list_sessions(inspected: Arc<Inspected>) -> Command {
    Command::new("sessions", "Lists the sessions of all services, a page at a time.")
        .parameter("service", "the only service whose sessions are listed")
        .parameter("filter", "a text that is a part of the id, the peer, the service or the loop")
        .paged()
        .defers(move |call, params: SessionParams, responder| {
            let SessionParams { service, filter, sort, descending, offset, limit } = params;
            let sort = sort.unwrap_or_default();
            let page = page(offset, limit, descending.unwrap_or(sort.is_descending()));
            match service.map(|name| inspected.service(&name)).transpose() {
                Ok(service) => {
                    let query = SessionQuery { service: service.map(Arc::clone), filter, sort, page };
                    begin_list(&inspected, call, responder, |inspected, list, responder| {
                        sessions(&inspected.loops, inspected.services(), query, move |found| {
                            drop(list);
                            answer(responder, &found);
                        })
                    });
                }
                Err(failure) => refuse(responder, failure),
            }
        })
}

/// What lists have in common.
trait Paged {
    /// Says what the parameters are good for that choose a page.
    fn paged(self) -> Self;
}

impl Paged for CommandBuilder {
    fn paged(self) -> Self {
        self.parameter("sort", "what they are sorted by: `id` unless said")
            .parameter("descending", "whether the largest come first: so unless said, but by `id` and `peer`")
            .parameter("offset", "how many are left out at the beginning: none unless said")
            .parameter(
                "limit",
                "how many are listed: 50 unless said, 500 at most, and no more than go into one reply",
            )
    }
}

/// Has a list made when its turn has come, if somebody still waits for it then, and for no longer than loops are waited for.
fn begin_list<F: Send + 'static>(
    inspected: &Arc<Inspected>,
    call: &mut Call<'_>,
    responder: Responder,
    make: impl FnOnce(&Inspected, List, Responder) -> GiveUp<F> + Send + 'static,
) {
    let of_list = Arc::clone(inspected);
    inspected.lists.begin(call.context(), move |context, list| {
        if responder.is_wanted() {
            let give_up = make(&of_list, list, responder);
            context.run_after(LONGEST_WAIT, |_| give_up.now());
        }
    });
}

/// How many rows one reply has room for.
const MOST_ROWS: usize = 500;

#[derive(Deserialize)]
#[serde(try_from = "usize")]
struct Limit(usize);

impl TryFrom<usize> for Limit {
    type Error = String;

    fn try_from(limit: usize) -> Result<Self, String> {
        if limit > MOST_ROWS {
            return Err(format!("{limit} are too many: {MOST_ROWS} at most"));
        }
        Ok(Self(limit))
    }
}

fn page(offset: Option<usize>, limit: Option<Limit>, descending: bool) -> Page {
    Page { offset: offset.unwrap_or(0), limit: limit.map_or(50, |Limit(limit)| limit), descending }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metrics {
    #[serde(default)]
    prefix: String,
}

fn show_metrics(inspected: Arc<Inspected>) -> Command {
    Command::new(
        "metrics",
        "Gives figures of loops, servers, services and the process as metrics for Prometheus.",
    )
    .parameter("prefix", "what the names of those begin with that are given: all unless said")
    .answers(move |call, Metrics { prefix }| {
        let sessions = call.session().manager().len();
        let text = metrics(&inspected, sessions, &call.shared.totals, prefix);
        Ok(json!({ "content_type": CONTENT_TYPE, "text": text }))
    })
}

/// Answers a request whose client may have gone.
fn answer(responder: Responder, result: &impl Serialize) {
    let _ = responder.reply(result);
}

fn refuse(responder: Responder, failure: Failure) {
    let _ = responder.fail(failure);
}
