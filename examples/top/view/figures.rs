//! Rates: what has changed between two samples of the server's counters.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::reply::{
    Connection, Connections, Lateness, Loop, Loops, Server, Servers, Service, Session, Sessions,
};

/// Something that held at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Dated<T> {
    pub(crate) at: Instant,
    pub(crate) is: T,
}

/// One round of asking the server everything.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) loops: Dated<Loops>,
    pub(crate) servers: Dated<Servers>,
    pub(crate) connections: Dated<Connections>,
    /// Missing if nobody wanted to see them.
    pub(crate) sessions: Option<Dated<Sessions>>,
    /// What the server refused to tell, and why.
    pub(crate) trouble: Option<String>,
}

/// What is shown of a sample. Rates are per second, and missing while there is nothing to compare with.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) uptime: Duration,
    pub(crate) totals: Totals,
    /// The bucket of the 99th percentile of how late timers and tasks of all loops were, if there were any.
    pub(crate) lateness: Option<usize>,
    pub(crate) loops: Vec<LoopRow>,
    pub(crate) connections: Rows<ConnectionRow>,
    pub(crate) sessions: Rows<SessionRow>,
    pub(crate) servers: Rows<ServerRow>,
}

#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) connections: usize,
    pub(crate) bytes_in: Option<f64>,
    pub(crate) bytes_out: Option<f64>,
    /// Missing too if no server has sessions.
    pub(crate) messages_in: Option<f64>,
    pub(crate) messages_out: Option<f64>,
    /// Whether there are connections that were not looked at and whose bytes are not known otherwise.
    pub(crate) partial: bool,
}

/// Rows that were fetched, out of how many there are.
#[derive(Debug)]
pub(crate) struct Rows<R> {
    pub(crate) total: usize,
    /// How many the server's filter lets through.
    pub(crate) matched: usize,
    pub(crate) rows: Vec<R>,
}

#[derive(Debug)]
pub(crate) struct LoopRow {
    pub(crate) of: Loop,
    pub(crate) turns: Option<f64>,
    pub(crate) events: Option<f64>,
    pub(crate) tasks: Option<f64>,
    /// The bucket of the 99th percentile of how late its timers and tasks were.
    pub(crate) lateness: Option<usize>,
    /// How many of them were late, by bucket.
    late: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct ConnectionRow {
    pub(crate) of: Connection,
    pub(crate) bytes_in: Option<f64>,
    pub(crate) bytes_out: Option<f64>,
}

#[derive(Debug)]
pub(crate) struct SessionRow {
    pub(crate) of: Session,
    pub(crate) bytes_in: Option<f64>,
    pub(crate) bytes_out: Option<f64>,
    pub(crate) messages_in: Option<f64>,
    pub(crate) messages_out: Option<f64>,
}

#[derive(Debug)]
pub(crate) struct ServerRow {
    pub(crate) of: Server,
    pub(crate) accepted: Option<f64>,
    pub(crate) bytes_in: Option<f64>,
    pub(crate) bytes_out: Option<f64>,
    pub(crate) messages_in: Option<f64>,
    pub(crate) messages_out: Option<f64>,
}

impl Figures {
    pub(crate) fn of(now: &Sample, before: Option<&Sample>) -> Self {
        let loops = loop_rows(&now.loops, before.map(|before| &before.loops));
        let connections = connection_rows(&now.connections, before.map(|before| &before.connections));
        let servers = server_rows(&now.servers, before.map(|before| &before.servers));
        let sessions = now
            .sessions
            .as_ref()
            .map(|sessions| session_rows(sessions, before.and_then(|before| before.sessions.as_ref())));
        let late = add(loops.iter().map(|a_loop| a_loop.late.clone()));
        Self {
            uptime: Duration::from_millis(now.loops.is.uptime_ms),
            totals: Totals::of(&now.connections.is, &connections, &servers),
            lateness: percentile_99(&late),
            loops,
            connections: Rows {
                total: now.connections.is.total,
                matched: now.connections.is.matched,
                rows: connections,
            },
            sessions: sessions.unwrap_or_default(),
            servers: Rows { total: servers.len(), matched: servers.len(), rows: servers },
        }
    }
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self { total: 0, matched: 0, rows: Vec::new() }
    }
}

impl Totals {
    /// Services count the bytes of all their sessions, also of those that ended since; of other connections there are only rows.
    fn of(connections: &Connections, rows: &[ConnectionRow], servers: &[ServerRow]) -> Self {
        let services = || servers.iter().filter(|server| server.of.sessions.is_some());
        let counted: HashSet<&str> = services().map(|server| server.of.name.as_str()).collect();
        let others =
            || rows.iter().filter(|row| row.of.server.as_deref().is_none_or(|name| !counted.contains(name)));
        let counted_by_services: u64 = services().map(|server| server.of.connections).sum();
        let looked_at = counted_by_services as usize + others().count();
        Self {
            connections: connections.total,
            bytes_in: sum(services().map(|row| row.bytes_in).chain(others().map(|row| row.bytes_in))),
            bytes_out: sum(services().map(|row| row.bytes_out).chain(others().map(|row| row.bytes_out))),
            messages_in: sum(services().map(|row| row.messages_in)),
            messages_out: sum(services().map(|row| row.messages_out)),
            partial: rows.len() < connections.total && looked_at < connections.total,
        }
    }
}

impl ConnectionRow {
    pub(crate) fn bytes(&self) -> Option<f64> {
        sum([self.bytes_in, self.bytes_out].into_iter())
    }
}

/// The longest time that bucket `bucket` stands for, in microseconds.
pub(crate) fn bound_of(bucket: usize) -> u64 {
    1 << bucket.min(63)
}

fn loop_rows(now: &Dated<Loops>, before: Option<&Dated<Loops>>) -> Vec<LoopRow> {
    let elapsed = elapsed(now, before);
    let known = before.map(|before| by_id(&before.is.loops, |a_loop| &a_loop.name));
    let row = |a_loop: &Loop| {
        let before = known.as_ref().and_then(|known| known.get(a_loop.name.as_str()));
        let rate = |of: fn(&Loop) -> u64| per_second(of(a_loop), of(before?), elapsed);
        let late = before.map(|before| late_between(a_loop, before)).unwrap_or_default();
        LoopRow {
            of: a_loop.clone(),
            turns: rate(|a_loop| a_loop.turns),
            events: rate(|a_loop| a_loop.events),
            tasks: rate(|a_loop| a_loop.tasks),
            lateness: percentile_99(&late),
            late,
        }
    };
    now.is.loops.iter().map(row).collect()
}

fn connection_rows(now: &Dated<Connections>, before: Option<&Dated<Connections>>) -> Vec<ConnectionRow> {
    let elapsed = elapsed(now, before);
    let known = before.map(|before| by_id(&before.is.connections, |connection| &connection.id));
    let row = |connection: &Connection| {
        let rate = |of: fn(&Connection) -> u64| {
            let before = known.as_ref()?.get(connection.id.as_str()).map(|before| of(before));
            since(of(connection), before, connection.age_ms, elapsed)
        };
        ConnectionRow {
            of: connection.clone(),
            bytes_in: rate(|connection| connection.bytes_in),
            bytes_out: rate(|connection| connection.bytes_out),
        }
    };
    now.is.connections.iter().map(row).collect()
}

fn session_rows(now: &Dated<Sessions>, before: Option<&Dated<Sessions>>) -> Rows<SessionRow> {
    let elapsed = elapsed(now, before);
    let known = before.map(|before| by_id(&before.is.sessions, |session| &session.id));
    let row = |session: &Session| {
        // Without an earlier sample there are still the averages of the server's.
        let rate = |of: fn(&Session) -> u64, otherwise: f64| match &known {
            None => Some(otherwise),
            Some(known) => {
                let before = known.get(session.id.as_str()).map(|before| of(before));
                since(of(session), before, session.age_ms, elapsed)
            }
        };
        let averages = &session.throughput;
        SessionRow {
            of: session.clone(),
            bytes_in: rate(|session| session.bytes_in, averages.bytes_in),
            bytes_out: rate(|session| session.bytes_out, averages.bytes_out),
            messages_in: rate(|session| session.messages_in, averages.messages_in),
            messages_out: rate(|session| session.messages_out, averages.messages_out),
        }
    };
    Rows { total: now.is.total, matched: now.is.matched, rows: now.is.sessions.iter().map(row).collect() }
}

fn server_rows(now: &Dated<Servers>, before: Option<&Dated<Servers>>) -> Vec<ServerRow> {
    let elapsed = elapsed(now, before);
    let known = before.map(|before| by_id(&before.is.servers, |server| &server.name));
    let row = |server: &Server| {
        let before = known.as_ref().and_then(|known| known.get(server.name.as_str()));
        let services = server.sessions.as_ref().zip(before.and_then(|before| before.sessions.as_ref()));
        let rate = |of: fn(&Service) -> u64| {
            services.and_then(|(now, before)| per_second(of(now), of(before), elapsed))
        };
        ServerRow {
            of: server.clone(),
            accepted: before.and_then(|before| per_second(server.accepted, before.accepted, elapsed)),
            bytes_in: rate(|service| service.bytes_in),
            bytes_out: rate(|service| service.bytes_out),
            messages_in: rate(|service| service.messages_in),
            messages_out: rate(|service| service.messages_out),
        }
    };
    now.is.servers.iter().map(row).collect()
}

fn elapsed<T>(now: &Dated<T>, before: Option<&Dated<T>>) -> Duration {
    before.map_or(Duration::ZERO, |before| now.at.saturating_duration_since(before.at))
}

fn by_id<T>(all: &[T], id: fn(&T) -> &String) -> HashMap<&str, &T> {
    all.iter().map(|one| (id(one).as_str(), one)).collect()
}

/// The rate of a counter that was at `before`, or was not there and so began at zero if its owner is young enough for that.
fn since(now: u64, before: Option<u64>, age_ms: u64, elapsed: Duration) -> Option<f64> {
    let born_since = || (u128::from(age_ms) <= elapsed.as_millis()).then_some(0);
    per_second(now, before.or_else(born_since)?, elapsed)
}

/// None for a counter that went backwards, which is another one under the old name.
fn per_second(now: u64, before: u64, elapsed: Duration) -> Option<f64> {
    let passed = now.checked_sub(before)?;
    (elapsed > Duration::ZERO).then(|| passed as f64 / elapsed.as_secs_f64())
}

/// The sum of those that are known; none if none is.
fn sum(rates: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    rates.flatten().reduce(|sum, rate| sum + rate)
}

/// How often timers and tasks were late since `before`, by bucket.
fn late_between(now: &Loop, before: &Loop) -> Vec<u64> {
    let timers = difference(&now.timer_lateness, &before.timer_lateness);
    let tasks = difference(&now.task_lateness, &before.task_lateness);
    add([timers, tasks].into_iter())
}

fn difference(now: &Lateness, before: &Lateness) -> Vec<u64> {
    let before = before.buckets.iter().copied().chain(std::iter::repeat(0));
    now.buckets.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect()
}

fn add(histograms: impl Iterator<Item = Vec<u64>>) -> Vec<u64> {
    histograms.fold(Vec::new(), |mut sum, counts| {
        sum.resize(sum.len().max(counts.len()), 0);
        sum.iter_mut().zip(&counts).for_each(|(sum, count)| *sum += count);
        sum
    })
}

/// The lowest bucket that 99 % of what was counted doesn't exceed.
fn percentile_99(counts: &[u64]) -> Option<usize> {
    let total: u64 = counts.iter().sum();
    let wanted = (total as f64 * 0.99).ceil() as u64;
    let mut seen = 0;
    counts.iter().position(|count| {
        seen += count;
        seen > 0 && seen >= wanted
    })
}
