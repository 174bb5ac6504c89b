//! An inspector's metrics: a text that Prometheus takes, and numbers that are those of the other commands.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use campana::LoopContext;
use campana::control::inspect::Inspector;
use serde_json::{Value, json};

#[path = "support/exposition.rs"]
mod exposition;
#[path = "support/inspection.rs"]
mod inspection;
#[path = "support/server.rs"]
mod server;

use exposition::{Family, families};
use inspection::{Bed, Client, Talk};
use server::{any, wait_until};

#[track_caller]
fn metrics(client: &mut Client) -> Vec<Family> {
    let answer = client.ask("metrics", json!({}));
    assert_eq!(answer["content_type"], "text/plain; version=0.0.4");
    families(answer["text"].as_str().unwrap())
}

#[track_caller]
fn family<'a>(families: &'a [Family], name: &str) -> &'a Family {
    families.iter().find(|family| family.name == name).unwrap_or_else(|| panic!("there is no {name}"))
}

/// The value of the only sample with this label.
#[track_caller]
fn value(families: &[Family], name: &str, label: &str) -> f64 {
    let samples = &family(families, name).samples;
    let mut samples = samples.iter().filter(|sample| sample.labels.values().any(|value| value == label));
    let sample = samples.next().unwrap_or_else(|| panic!("{name} has no {label}"));
    assert!(samples.next().is_none());
    sample.value
}

#[test]
fn metrics_are_in_the_format_and_of_the_names_that_are_documented() {
    let bed = Bed::start(|event_loop| {
        let talk = Talk::start(event_loop, 2);
        let plain = any().start(event_loop).unwrap();
        (Inspector::new().service("talk", &talk.server, &talk.sessions).server("plain", &plain), talk)
    });
    let _stream = bed.of_test.connect(100);
    let families = metrics(&mut bed.client());
    let page = include_str!("../docs/control.md");
    for family in &families {
        assert!(page.contains(&family.name), "{} is not documented", family.name);
        assert!(family.help.ends_with('.'), "{}", family.help);
    }
    let labels = |name: &str, label: &str| -> Vec<String> {
        family(&families, name).samples.iter().map(|sample| sample.labels[label].clone()).collect()
    };
    assert_eq!(labels("campana_loop_turns_total", "loop"), ["talk-0", "talk-1", "loop"]);
    assert_eq!(labels("campana_server_connections", "server"), ["talk", "plain"]);
    assert_eq!(labels("campana_service_sessions", "service"), ["talk"]);
    for name in ["campana_loop_timer_lateness_seconds", "campana_loop_task_lateness_seconds"] {
        assert_eq!(family(&families, name).kind, "histogram");
    }
    for name in ["process_cpu_seconds_total", "process_max_fds", "process_resident_memory_bytes"] {
        assert!(family(&families, name).samples[0].value > 0.0, "{name}");
    }
    let started = family(&families, "process_start_time_seconds").samples[0].value;
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() - started;
    // Two clocks are read one after the other, and the start is told by ticks of a hundredth of a second.
    assert!((-1.0..3600.0).contains(&age), "{age} s");
}

#[test]
fn the_numbers_are_those_that_the_other_commands_tell() {
    let bed = Bed::start(|event_loop| {
        let talk = Talk::start(event_loop, 1);
        (Inspector::new().service("talk", &talk.server, &talk.sessions), talk)
    });
    let _streams: Vec<_> = [10, 20, 30].map(|size| bed.of_test.connect(size)).into();
    let mut client = bed.client();
    let families = metrics(&mut client);
    assert_eq!(value(&families, "campana_server_connections", "talk"), 3.0);
    assert_eq!(value(&families, "campana_server_accepted_total", "talk"), 3.0);
    assert_eq!(value(&families, "campana_server_accepting", "talk"), 1.0);
    assert_eq!(value(&families, "campana_server_stopped", "talk"), 0.0);
    assert_eq!(value(&families, "campana_loop_connections", "talk-0"), 3.0);
    assert_eq!(value(&families, "campana_loop_alive", "talk-0"), 1.0);
    assert_eq!(value(&families, "campana_service_sessions", "talk"), 3.0);
    assert_eq!(value(&families, "campana_service_received_bytes_total", "talk"), 60.0);
    assert_eq!(value(&families, "campana_service_sent_messages_total", "talk"), 3.0);
    assert_eq!(family(&families, "campana_control_sessions").samples[0].value, 1.0);
    assert_eq!(family(&families, "campana_control_requests_total").samples[0].value, 1.0);

    client.ask("pause", json!({}));
    assert_eq!(value(&metrics(&mut client), "campana_server_accepting", "talk"), 0.0);
    bed.of_test.server.stop(Duration::ZERO);
    assert!(bed.of_test.server.wait_stopped(server::PATIENCE));
    wait_until("the thread's end", || value(&metrics(&mut client), "campana_loop_alive", "talk-0") == 0.0);
    assert_eq!(value(&metrics(&mut client), "campana_server_stopped", "talk"), 1.0);
    assert_eq!(value(&metrics(&mut client), "campana_service_sessions", "talk"), 0.0);
}

#[test]
fn lateness_has_its_count_and_sum_and_what_was_late_is_in_no_smaller_bucket() {
    let bed = Bed::start(|event_loop| (Inspector::new().event_loop(&event_loop.handle()), ()));
    let mut client = bed.client();
    let late = Duration::from_millis(20);
    let task = |cx: &mut LoopContext| {
        // Due before the thread has slept, and not looked at until it has.
        cx.run_after(Duration::from_nanos(1), |_| ());
        std::thread::sleep(Duration::from_millis(20));
    };
    bed.running.handle().post(task).unwrap();
    bed.running.settle();
    let figures = &client.rows("loops", json!({}))[0];
    let families = metrics(&mut client);
    let samples = &family(&families, "campana_loop_timer_lateness_seconds").samples;
    let of = |suffix: &str| {
        let name = format!("campana_loop_timer_lateness_seconds_{suffix}");
        samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).collect::<Vec<_>>()
    };
    let (count, sum) = (of("count")[0], of("sum")[0]);
    assert!(count >= figures["timer_lateness"]["count"].as_f64().unwrap());
    assert!(sum >= late.as_secs_f64(), "{sum}");
    let in_time = samples.iter().find(|sample| sample.labels.get("le").is_some_and(|le| le == "0.016384"));
    assert!(in_time.unwrap().value < count, "20 ms are more than the bound");
    assert_eq!(of("bucket").len(), 17);
}

#[test]
fn names_that_hold_anything_are_escaped() {
    let name = "a \"b\"\n\\ {é},x=\"y\" \\n";
    let bed = Bed::start(move |event_loop| {
        let talk = Talk::start(event_loop, 0);
        (Inspector::new().service(name, &talk.server, &talk.sessions), talk)
    });
    let families = metrics(&mut bed.client());
    assert_eq!(value(&families, "campana_server_connections", name), 0.0);
    assert_eq!(value(&families, "campana_service_sessions", name), 0.0);
}

#[test]
fn without_servers_there_are_only_the_socket_and_the_process() {
    let bed = Bed::start(|_| (Inspector::new(), ()));
    let mut client = bed.client();
    let families = metrics(&mut client);
    assert!(families.iter().all(|family| {
        family.name.starts_with("campana_control_") || family.name.starts_with("process_")
    }));
    let text: Value = client.ask("metrics", json!({}))["text"].take();
    assert!(text.as_str().unwrap().starts_with("# HELP campana_control_sessions "));
}

#[test]
fn metrics_that_are_too_many_for_one_reply_come_in_parts() {
    let bed = Bed::start(|event_loop| {
        let talk = Talk::start(event_loop, 80);
        (Inspector::new().service("talk", &talk.server, &talk.sessions), talk)
    });
    let mut client = bed.client();
    assert_eq!(client.refused("metrics", json!({})).code, "too_large");
    for (prefix, count) in
        [("campana_loop_timers", 2), ("campana_loop_timer_lateness", 1), ("campana_server_", 8)]
    {
        let answer = client.ask("metrics", json!({ "prefix": prefix }));
        let families = families(answer["text"].as_str().unwrap());
        assert_eq!(families.len(), count, "{prefix}");
        assert!(families.iter().all(|family| family.name.starts_with(prefix)));
    }
    assert_eq!(client.ask("metrics", json!({"prefix": "nothing"}))["text"], "");
}

#[test]
fn metrics_of_forty_loops_go_into_one_reply() {
    let bed = Bed::start(|event_loop| {
        let talk = Talk::start(event_loop, 40);
        (Inspector::new().service("talk", &talk.server, &talk.sessions), talk)
    });
    let families = metrics(&mut bed.client());
    assert_eq!(family(&families, "campana_loop_alive").samples.len(), 41);
}
