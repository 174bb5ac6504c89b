//! What is computed from two samples.

use std::time::{Duration, Instant};

use super::{INTERVAL, connection, sample};
use crate::view::figures::{Figures, Sample, bound_of};
use crate::view::history::History;
use crate::view::reply::{Lateness, Loop, Server, Service, Session, Throughput};

fn rates_of(figures: &Figures) -> Vec<(&str, Option<f64>, Option<f64>)> {
    figures.connections.rows.iter().map(|row| (row.of.id.as_str(), row.bytes_in, row.bytes_out)).collect()
}

/// The counts of a histogram, by bucket.
fn late(counts: &[(usize, u64)]) -> Lateness {
    let mut buckets = vec![0; 32];
    counts.iter().for_each(|&(bucket, count)| buckets[bucket] = count);
    Lateness { buckets }
}

fn with_lateness(mut sample: Sample, timers: &[(usize, u64)], tasks: &[(usize, u64)]) -> Sample {
    let a_loop = &mut sample.loops.is.loops[0];
    (a_loop.timer_lateness, a_loop.task_lateness) = (late(timers), late(tasks));
    sample
}

#[test]
fn a_rate_is_what_was_added_by_the_time_it_took() {
    let start = Instant::now();
    let before = sample(start, 0, vec![connection("1-1", 1000, 500), connection("1-2", 7, 7)]);
    let now = sample(start, 2000, vec![connection("1-1", 5000, 600), connection("1-2", 7, 7)]);
    let figures = Figures::of(&now, Some(&before));
    assert_eq!(rates_of(&figures), [("1-1", Some(2000.0), Some(50.0)), ("1-2", Some(0.0), Some(0.0))]);
    assert_eq!((figures.totals.bytes_in, figures.totals.bytes_out), (Some(2000.0), Some(50.0)));
}

#[test]
fn there_is_no_rate_without_an_earlier_sample() {
    let figures = Figures::of(&sample(Instant::now(), 0, vec![connection("1-1", 1000, 500)]), None);
    assert_eq!(rates_of(&figures), [("1-1", None, None)]);
    assert_eq!((figures.totals.connections, figures.totals.bytes_in), (1, None));
    assert_eq!((figures.loops[0].turns, figures.lateness), (None, None));
}

#[test]
fn a_connection_that_came_since_began_at_zero_and_one_that_was_merely_not_looked_at_did_not() {
    let start = Instant::now();
    let mut young = connection("1-3", 300, 0);
    young.age_ms = 400;
    let now = sample(start, 1000, vec![connection("1-2", 9_999_999, 0), young]);
    let figures = Figures::of(&now, Some(&sample(start, 0, Vec::new())));
    assert_eq!(rates_of(&figures), [("1-2", None, None), ("1-3", Some(300.0), Some(0.0))]);
}

#[test]
fn a_counter_that_went_back_has_no_rate() {
    let start = Instant::now();
    let before = sample(start, 0, vec![connection("1-1", 1000, 0)]);
    let figures = Figures::of(&sample(start, 1000, vec![connection("1-1", 10, 0)]), Some(&before));
    assert_eq!(rates_of(&figures), [("1-1", None, Some(0.0))]);
}

#[test]
fn lateness_is_that_of_the_interval_alone_and_of_timers_and_tasks_together() {
    let start = Instant::now();
    // Before there was much that was very late.
    let before = with_lateness(sample(start, 0, Vec::new()), &[(20, 1000)], &[(2, 5)]);
    let after = |counts: &[(usize, u64)], tasks: &[(usize, u64)]| {
        let now = with_lateness(sample(start, 1000, Vec::new()), counts, tasks);
        let figures = Figures::of(&now, Some(&before));
        assert_eq!(figures.lateness, figures.loops[0].lateness);
        figures.lateness
    };
    assert_eq!(after(&[(20, 1000)], &[(2, 5)]), None);
    assert_eq!(after(&[(20, 1000), (3, 50)], &[(2, 54)]), Some(3));
    assert_eq!(after(&[(20, 1000), (3, 1)], &[(2, 104)]), Some(2));
    assert_eq!(after(&[(20, 1000), (3, 2)], &[(2, 103)]), Some(3));
    assert_eq!((bound_of(0), bound_of(3), bound_of(20)), (1, 8, 1_048_576));
}

#[test]
fn a_loop_is_compared_with_the_one_of_its_name() {
    let start = Instant::now();
    let at = |millis, turns: &[(&str, u64)]| {
        let mut sample = sample(start, millis, Vec::new());
        let a_loop = |&(name, turns): &(&str, u64)| Loop { name: name.to_owned(), turns, ..Loop::default() };
        sample.loops.is.loops = turns.iter().map(a_loop).collect();
        sample
    };
    let before = at(0, &[("server-0", 100), ("server-1", 10)]);
    let now = at(1000, &[("server-1", 11), ("server-0", 300), ("another", 7)]);
    let turns: Vec<_> = Figures::of(&now, Some(&before)).loops.iter().map(|a_loop| a_loop.turns).collect();
    assert_eq!(turns, [Some(1.0), Some(200.0), None]);
}

#[test]
fn a_service_counts_the_bytes_of_its_sessions_and_rows_those_of_other_connections() {
    let start = Instant::now();
    let at = |millis, bytes_in, messages_in| {
        let mut of_service = connection("1-1", bytes_in / 2, 0);
        of_service.server = Some("im".to_owned());
        let mut sample = sample(start, millis, vec![of_service, connection("1-2", 3 * bytes_in, 0)]);
        let service = Service { bytes_in, messages_in, ..Service::default() };
        let server =
            Server { name: "im".to_owned(), connections: 1, sessions: Some(service), ..Server::default() };
        sample.servers.is.servers.push(server);
        sample
    };
    let totals = Figures::of(&at(1000, 200, 30), Some(&at(0, 100, 10))).totals;
    assert_eq!((totals.bytes_in, totals.messages_in), (Some(400.0), Some(20.0)));
    assert!(!totals.partial);
}

#[test]
fn totals_are_partial_if_there_are_connections_that_nobody_counts() {
    let mut now = sample(Instant::now(), 0, vec![connection("1-1", 0, 0)]);
    now.connections.is.total = 2;
    assert!(Figures::of(&now, None).totals.partial);
    let server = Server { connections: 1, sessions: Some(Service::default()), ..Server::default() };
    now.servers.is.servers.push(server);
    assert!(!Figures::of(&now, None).totals.partial);
}

#[test]
fn the_rates_of_sessions_are_the_servers_averages_at_first() {
    let start = Instant::now();
    let at = |millis, messages_in| {
        let mut sample = sample(start, millis, Vec::new());
        let throughput = Throughput { messages_in: 3.5, ..Throughput::default() };
        let session = Session { id: "1-1".to_owned(), messages_in, throughput, ..Session::default() };
        sample.sessions.as_mut().unwrap().is.sessions = vec![session];
        sample
    };
    let rate = |before: Option<&Sample>| Figures::of(&at(1000, 30), before).sessions.rows[0].messages_in;
    assert_eq!(rate(None), Some(3.5));
    assert_eq!(rate(Some(&at(0, 10))), Some(20.0));
}

#[test]
fn a_sample_out_of_turn_is_compared_with_the_one_before_the_last() {
    let start = Instant::now();
    let mut history = History::default();
    let mut rate_at = |millis, bytes| {
        let figures = history.take(sample(start, millis, vec![connection("1-1", bytes, 0)]), INTERVAL);
        figures.totals.bytes_in
    };
    assert_eq!(rate_at(0, 0), None);
    assert_eq!(rate_at(1000, 1000), Some(1000.0));
    // One packet in ten milliseconds is no rate.
    assert_eq!(rate_at(1010, 2010), Some(2010.0 / 1.01));
    assert_eq!(rate_at(2010, 3010), Some(1000.0));
    assert_eq!(history.lateness().len(), 2);
}

#[test]
fn the_second_sample_counts_although_it_comes_early() {
    let start = Instant::now();
    let mut history = History::default();
    let mut take = |millis, bytes| {
        history.take(sample(start, millis, vec![connection("1-1", bytes, 0)]), Duration::from_secs(60))
    };
    take(0, 0);
    assert_eq!(take(250, 500).totals.bytes_in, Some(2000.0));
}

#[test]
fn nothing_is_compared_with_a_server_that_was_lost() {
    let start = Instant::now();
    let mut history = History::default();
    history.take(sample(start, 0, vec![connection("1-1", 0, 0)]), INTERVAL);
    history.forget();
    let figures = history.take(sample(start, 1000, vec![connection("1-1", 1000, 0)]), INTERVAL);
    assert_eq!(figures.totals.bytes_in, None);
}
