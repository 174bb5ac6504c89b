//! What is inspected as metrics: loops, servers, services, the control socket and the process.

use std::sync::Arc;

use super::exposition::{Exposition, Family, Kind};
use super::inspected::Inspected;
use super::process::Process;
use crate::connection::ServerFigures;
use crate::control::session::Totals;
use crate::reactor::{LatenessHistogram, LoopFigures};
use crate::session::ServiceStats;

/// The metrics whose names begin with `prefix`, in Prometheus' text format; `sessions` and `control` are the control socket's own.
pub(super) fn metrics(inspected: &Inspected, sessions: usize, control: &Totals, prefix: String) -> String {
    let mut to = Exposition::of(prefix);
    of_loops(inspected, &mut to);
    of_servers(inspected, &mut to);
    of_services(inspected, &mut to);
    of_control(sessions, control, &mut to);
    of_process(&mut to);
    to.into_text()
}

/// The figures of several things of a kind, by their names.
struct Named<T> {
    label: &'static str,
    figures: Vec<(Arc<str>, T)>,
}

impl<T> Named<T> {
    fn counter(&self, to: &mut Exposition, name: &'static str, help: &str, value: impl Fn(&T) -> u64) {
        to.family(name, Kind::Counter, help, |family| self.samples(family, value));
    }

    fn gauge(&self, to: &mut Exposition, name: &'static str, help: &str, value: impl Fn(&T) -> usize) {
        to.family(name, Kind::Gauge, help, |family| self.samples(family, |figures| value(figures) as u64));
    }

    fn samples(&self, family: &mut Family<'_>, value: impl Fn(&T) -> u64) {
        for (name, figures) in &self.figures {
            family.sample(Some((self.label, name)), value(figures));
        }
    }
}

struct OfLoop {
    figures: LoopFigures,
    is_alive: bool,
}

fn of_loops(inspected: &Inspected, to: &mut Exposition) {
    let figures = inspected.loops.iter().map(|known| {
        let (figures, is_alive) = (known.handle.figures(), known.handle.is_alive());
        (Arc::clone(&known.name), OfLoop { figures, is_alive })
    });
    let all = Named { label: "loop", figures: figures.collect() };
    all.gauge(to, "campana_loop_alive", "Whether the loop has not ended.", |of| usize::from(of.is_alive));
    all.counter(to, "campana_loop_turns_total", "Turns of the loop.", |of| of.figures.turns);
    all.counter(
        to,
        "campana_loop_events_total",
        "Readiness events that the poller reported, wake-ups included.",
        |of| of.figures.events,
    );
    all.counter(
        to,
        "campana_loop_stale_events_total",
        "Events that named a channel which was closed earlier in the same batch.",
        |of| of.figures.stale_events,
    );
    all.counter(to, "campana_loop_tasks_total", "Tasks that ran.", |of| of.figures.tasks);
    all.counter(to, "campana_loop_timers_total", "Timers that fired.", |of| of.figures.timers);
    all.counter(to, "campana_loop_wakeups_total", "Wake-ups by other threads.", |of| of.figures.wakeups);
    all.counter(to, "campana_loop_panics_total", "Panics that were caught.", |of| of.figures.panics);
    all.counter(
        to,
        "campana_loop_slow_callbacks_total",
        "Stretches of callbacks that took longer than the limit set for that.",
        |of| of.figures.slow_callbacks,
    );
    to.family(
        "campana_loop_longest_callback_seconds",
        Kind::Gauge,
        "The longest time that callbacks held the loop.",
        |family| {
            for (name, of) in &all.figures {
                family.sample(Some(("loop", name)), of.figures.longest_callback.as_secs_f64());
            }
        },
    );
    all.gauge(to, "campana_loop_channels", "Channels that are registered.", |of| of.figures.channels);
    all.gauge(to, "campana_loop_connections", "Connections of the loop.", |of| of.figures.connections);
    all.gauge(to, "campana_loop_timers_pending", "Timers that are pending.", |of| of.figures.timers_pending);
    lateness(
        &all,
        to,
        "campana_loop_timer_lateness_seconds",
        "How late timers fired, after their deadline.",
        |figures| &figures.timer_lateness,
    );
    lateness(
        &all,
        to,
        "campana_loop_task_lateness_seconds",
        "How late posted tasks ran, after they were posted.",
        |figures| &figures.task_lateness,
    );
}

fn lateness(
    all: &Named<OfLoop>,
    to: &mut Exposition,
    name: &'static str,
    help: &str,
    of: impl Fn(&LoopFigures) -> &LatenessHistogram,
) {
    to.family(name, Kind::Histogram, help, |family| {
        for (name, OfLoop { figures, .. }) in &all.figures {
            let lateness = of(figures);
            family.histogram(
                ("loop", name),
                buckets(lateness),
                lateness.total(),
                lateness.sum().as_secs_f64(),
            );
        }
    });
}

/// Bounds in seconds, and how many were not as late. Every second one of the loop's own: powers of four of a microsecond. All of them
/// for many loops would not go into one reply.
fn buckets(lateness: &LatenessHistogram) -> impl Iterator<Item = (f64, u64)> {
    let counts = lateness.counts();
    // The last one has no bound.
    let bounded = counts[..counts.len() - 1].iter().enumerate();
    let cumulative = bounded.scan(0, |up_to, (power, count)| {
        *up_to += count;
        Some((power, *up_to))
    });
    let every_second = cumulative.filter(|(power, _)| power % 2 == 0);
    every_second.map(|(power, up_to)| ((1u64 << power) as f64 / 1e6, up_to))
}

struct OfServer {
    figures: ServerFigures,
    is_accepting: bool,
    is_stopped: bool,
}

fn of_servers(inspected: &Inspected, to: &mut Exposition) {
    let figures = inspected.servers.iter().map(|known| {
        let server = &known.server;
        let (is_accepting, is_stopped) = (server.is_accepting(), server.is_stopped());
        (Arc::clone(&known.name), OfServer { figures: server.figures(), is_accepting, is_stopped })
    });
    let all = Named { label: "server", figures: figures.collect() };
    all.gauge(to, "campana_server_accepting", "Whether the server accepts those who come.", |of| {
        usize::from(of.is_accepting)
    });
    all.gauge(to, "campana_server_stopped", "Whether nothing of the server is left.", |of| {
        usize::from(of.is_stopped)
    });
    all.gauge(to, "campana_server_connections", "Connections that are open.", |of| of.figures.connections);
    all.counter(to, "campana_server_accepted_total", "Connections that were let in.", |of| {
        of.figures.accepted
    });
    all.counter(
        to,
        "campana_server_refused_total",
        "Connections that were closed at once: the server had as many as it may have.",
        |of| of.figures.refused,
    );
    all.counter(
        to,
        "campana_server_refused_by_address_total",
        "Connections that were closed at once: their address had as many as one may have.",
        |of| of.figures.refused_by_address,
    );
    all.counter(
        to,
        "campana_server_shed_total",
        "Connections that were closed at once: descriptors had run out for too long.",
        |of| of.figures.shed,
    );
    all.counter(
        to,
        "campana_server_accept_errors_total",
        "Errors of accept, exhaustion of descriptors included.",
        |of| of.figures.accept_errors,
    );
}

fn of_services(inspected: &Inspected, to: &mut Exposition) {
    let figures = inspected.services().map(|(name, service)| (Arc::clone(name), service.stats())).collect();
    let all: Named<ServiceStats> = Named { label: "service", figures };
    all.gauge(to, "campana_service_sessions", "Sessions that are open.", |of| of.sessions);
    all.gauge(to, "campana_service_most_sessions", "The most that were open at a time.", |of| {
        of.most_sessions
    });
    all.counter(to, "campana_service_opened_total", "Sessions that were opened.", |of| of.opened);
    all.counter(to, "campana_service_closed_total", "Sessions that have ended.", |of| of.closed);
    all.counter(
        to,
        "campana_service_received_bytes_total",
        "Bytes received, up to the last message of each session.",
        |of| of.bytes_in,
    );
    all.counter(
        to,
        "campana_service_sent_bytes_total",
        "Bytes that the kernel has taken, up to the last message of each session.",
        |of| of.bytes_out,
    );
    all.counter(to, "campana_service_received_messages_total", "Messages that were decoded.", |of| {
        of.messages_in
    });
    all.counter(
        to,
        "campana_service_sent_messages_total",
        "Messages that were accepted for writing.",
        |of| of.messages_out,
    );
    all.counter(to, "campana_service_errors_total", "Errors of sessions: decoding, filters, panics.", |of| {
        of.errors
    });
    all.counter(
        to,
        "campana_service_refused_writes_total",
        "Writes that were refused because more was pending than may be.",
        |of| of.refused_writes,
    );
}

fn of_control(sessions: usize, totals: &Totals, to: &mut Exposition) {
    to.family("campana_control_sessions", Kind::Gauge, "Sessions of the control socket.", |family| {
        family.sample(None, sessions);
    });
    for (name, help, counter) in [
        ("campana_control_requests_total", "Requests to the control socket.", &totals.requests),
        ("campana_control_replies_total", "Replies of the control socket, errors included.", &totals.replies),
        ("campana_control_errors_total", "Error replies of the control socket.", &totals.errors),
        ("campana_control_busy_total", "Requests that were refused: too many waited.", &totals.busy),
        (
            "campana_control_refused_total",
            "Peers that were refused because of who they are.",
            &totals.refused,
        ),
        (
            "campana_control_ended_for_errors_total",
            "Sessions that ended because of their errors.",
            &totals.ended_for_errors,
        ),
        (
            "campana_control_ended_inactive_total",
            "Sessions that ended because nothing happened.",
            &totals.ended_inactive,
        ),
    ] {
        to.family(name, Kind::Counter, help, |family| family.sample(None, counter.value()));
    }
}

fn of_process(to: &mut Exposition) {
    let Process { open_descriptors, most_descriptors, resident_memory, processor_time, started } =
        Process::now();
    to.family("process_cpu_seconds_total", Kind::Counter, "Processor time of the process.", |family| {
        family.sample(None, processor_time.as_secs_f64());
    });
    let help = "When the process was started, in seconds since the beginning of 1970.";
    to.family("process_start_time_seconds", Kind::Gauge, help, |family| {
        if let Some(started) = started {
            family.sample(None, started.as_secs_f64());
        }
    });
    for (name, help, value) in [
        ("process_open_fds", "Descriptors that are open.", open_descriptors),
        ("process_max_fds", "The most descriptors that may be open.", most_descriptors),
        ("process_resident_memory_bytes", "Memory that the process has in RAM.", resident_memory),
    ] {
        to.family(name, Kind::Gauge, help, |family| {
            if let Some(value) = value {
                family.sample(None, value);
            }
        });
    }
}
