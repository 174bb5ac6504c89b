//! The loops that are inspected.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::servers::NamedServer;
use super::text::as_text;
use crate::reactor::{LATENESS_BUCKETS, LatenessHistogram, LoopHandle, SourceId};

/// A loop that is inspected.
#[derive(Clone, Debug)]
pub(super) struct InspectedLoop {
    /// No other one has it.
    pub(super) name: Arc<str>,
    pub(super) handle: LoopHandle,
    /// The servers that have a source on it, which tells whose a connection is.
    pub(super) servers: Vec<(SourceId, Arc<str>)>,
}

impl InspectedLoop {
    /// The loops of all servers, those included that only accept, and some others.
    pub(super) fn all(servers: &[NamedServer], others: &[LoopHandle]) -> Vec<Self> {
        let mut loops = Vec::new();
        for server in servers {
            for (handle, source) in server.server.workers() {
                let place = Self::place(&mut loops, &handle);
                loops[place].servers.push((source, Arc::clone(&server.name)));
            }
        }
        for handle in servers.iter().map(|server| server.server.base()).chain(others) {
            Self::place(&mut loops, handle);
        }
        loops
    }

    /// What a loop is called: by the name that it has among these, if it is one of them.
    pub(super) fn name_of(loops: &[Self], handle: &LoopHandle) -> Arc<str> {
        let known = loops.iter().find(|known| known.handle.is_same_loop(handle));
        known.map_or_else(|| handle.name().into(), |known| Arc::clone(&known.name))
    }

    fn place(loops: &mut Vec<Self>, handle: &LoopHandle) -> usize {
        if let Some(place) = loops.iter().position(|known| known.handle.is_same_loop(handle)) {
            return place;
        }
        // Two servers may each call their threads by the default names.
        let is_taken = |name: &str| loops.iter().any(|known| &*known.name == name);
        let mut name = handle.name().to_owned();
        for number in 2.. {
            if !is_taken(&name) {
                break;
            }
            name = format!("{}#{number}", handle.name());
        }
        loops.push(Self { name: name.into(), handle: handle.clone(), servers: Vec::new() });
        loops.len() - 1
    }
}

/// A loop, as it is shown.
#[derive(Serialize)]
pub(super) struct LoopRow {
    #[serde(serialize_with = "as_text")]
    name: Arc<str>,
    alive: bool,
    turns: u64,
    events: u64,
    stale_events: u64,
    tasks: u64,
    timers: u64,
    wakeups: u64,
    panics: u64,
    slow_callbacks: u64,
    longest_callback_us: u64,
    channels: usize,
    connections: usize,
    timers_pending: usize,
    timer_lateness: LatenessRow,
    task_lateness: LatenessRow,
}

/// How late something was: bucket 0 counts what was less than 1 us late, bucket `i` what was less than `2^i` us late and no less than
/// half of that; the last one is open at the top.
#[derive(Serialize)]
struct LatenessRow {
    count: u64,
    p50_us: u64,
    p99_us: u64,
    buckets: [u64; LATENESS_BUCKETS],
}

impl LoopRow {
    pub(super) fn of(event_loop: &InspectedLoop) -> Self {
        let figures = event_loop.handle.figures();
        Self {
            name: Arc::clone(&event_loop.name),
            alive: event_loop.handle.is_alive(),
            turns: figures.turns,
            events: figures.events,
            stale_events: figures.stale_events,
            tasks: figures.tasks,
            timers: figures.timers,
            wakeups: figures.wakeups,
            panics: figures.panics,
            slow_callbacks: figures.slow_callbacks,
            longest_callback_us: micros(figures.longest_callback),
            channels: figures.channels,
            connections: figures.connections,
            timers_pending: figures.timers_pending,
            timer_lateness: LatenessRow::of(&figures.timer_lateness),
            task_lateness: LatenessRow::of(&figures.task_lateness),
        }
    }
}

impl LatenessRow {
    fn of(lateness: &LatenessHistogram) -> Self {
        Self {
            count: lateness.total(),
            p50_us: micros(lateness.quantile(0.5)),
            p99_us: micros(lateness.quantile(0.99)),
            buckets: *lateness.counts(),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
