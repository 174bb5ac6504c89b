//! What an inspector's commands tell of a running server: loops, servers, connections and sessions.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use campana::TcpServer;
use campana::control::inspect::Inspector;
use campana::control::{Access, Command, CommandError, ControlClient, Router};
use serde_json::{Value, json};

#[path = "support/inspection.rs"]
mod inspection;
#[path = "support/server.rs"]
mod server;

use inspection::{Bed, Talk, any_name, hold};
use server::{Running, any, connect, read_exact, wait_until};

/// Sessions on so many loops, under the name `talk`, with an inspector's socket.
fn talk(threads: usize) -> Bed<Talk> {
    Bed::start(move |event_loop| {
        let talk = Talk::start(event_loop, threads);
        (Inspector::new().service("talk", &talk.server, &talk.sessions), talk)
    })
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn one_line_puts_a_server_on_a_control_socket() {
    let name = any_name();
    let address = name.clone();
    let (_running, server) = Running::start(move |event_loop| {
        let server = any().start(event_loop).unwrap();
        Inspector::of("echo", &server).serve(event_loop, &*address).unwrap();
        server
    });
    let mut client = ControlClient::connect(&*name).unwrap();
    let servers: Value = client.request("servers", &()).unwrap();
    assert_eq!(servers["servers"][0]["name"], "echo");
    assert_eq!(servers["servers"][0]["addresses"], json!([server.local_addresses()[0].to_string()]));
}

#[test]
fn each_loop_is_shown_with_its_figures() {
    let bed = talk(2);
    let _client = bed.of_test.connect(10);
    let mut client = bed.client();
    let answer = client.ask("loops", json!({}));
    assert_eq!(keys(&answer), ["loops", "uptime_ms"]);
    let loops = answer["loops"].as_array().unwrap();
    let names: Vec<_> = loops.iter().map(|known| &known["name"]).collect();
    assert_eq!(names, ["talk-0", "talk-1", "loop"], "those of the threads, and the one that accepts");
    for known in loops {
        assert_eq!(
            keys(known),
            [
                "alive",
                "channels",
                "connections",
                "events",
                "longest_callback_us",
                "name",
                "panics",
                "slow_callbacks",
                "stale_events",
                "task_lateness",
                "tasks",
                "timer_lateness",
                "timers",
                "timers_pending",
                "turns",
                "wakeups"
            ]
        );
        assert_eq!(known["alive"], true);
        assert!(known["turns"].as_u64().unwrap() > 0 && known["channels"].is_u64());
        for lateness in [&known["task_lateness"], &known["timer_lateness"]] {
            assert_eq!(keys(lateness), ["buckets", "count", "p50_us", "p99_us"]);
            let buckets: Vec<u64> = serde_json::from_value(lateness["buckets"].clone()).unwrap();
            assert_eq!(
                (buckets.len(), buckets.iter().sum::<u64>()),
                (32, lateness["count"].as_u64().unwrap())
            );
        }
    }
    let connections: u64 = loops[..2].iter().map(|known| known["connections"].as_u64().unwrap()).sum();
    assert_eq!(connections, 1);
    assert!(loops[2]["task_lateness"]["count"].is_u64());
    wait_until("time to pass", || client.ask("loops", json!({}))["uptime_ms"].as_u64().unwrap() > 0);
}

#[test]
fn loops_of_the_same_name_are_told_apart_and_one_that_has_ended_is_still_shown() {
    let bed = Bed::start(|event_loop| {
        let start = |event_loop: &mut _| any().threads(1).start(event_loop).unwrap();
        let (one, two) = (start(event_loop), start(event_loop));
        (Inspector::new().server("one", &one).server("two", &two), one)
    });
    let mut client = bed.client();
    assert_eq!(client.column("loops", json!({}), "name"), ["server-0", "server-0#2", "loop"]);
    assert_eq!(client.column("servers", json!({}), "loops"), [json!(["server-0"]), json!(["server-0#2"])]);
    bed.of_test.stop(Duration::ZERO);
    assert!(bed.of_test.wait_stopped(server::PATIENCE));
    wait_until("the thread's end", || client.column("loops", json!({}), "alive")[0] == false);
    assert_eq!(client.column("loops", json!({}), "alive"), [false, true, true]);
    assert_eq!(client.column("servers", json!({}), "stopped"), [true, false]);
    assert_eq!(client.ask("connections", json!({}))["total"], 1, "the control socket's own");
}

#[test]
fn servers_are_shown_with_what_they_have_done() {
    let bed = Bed::start(|event_loop| {
        let talk = Talk::start(event_loop, 2);
        let full =
            TcpServer::bind("127.0.0.1:0").unwrap().and_bind(&*any_name().replace('@', "unix:@")).unwrap();
        let full = full.max_connections(0).start(event_loop).unwrap();
        (Inspector::new().service("talk", &talk.server, &talk.sessions).server("full", &full), (talk, full))
    });
    let (talk, full) = &bed.of_test;
    let _client = talk.connect(10);
    let mut refused = connect(full.local_addresses()[0].as_inet().unwrap());
    server::wait_gone(&mut refused);
    let servers = bed.client().rows("servers", json!({}));
    assert_eq!(
        keys(&servers[0]),
        [
            "accept_errors",
            "accepted",
            "accepting",
            "addresses",
            "connections",
            "loops",
            "name",
            "refused",
            "refused_by_address",
            "sessions",
            "shed",
            "stopped"
        ]
    );
    assert_eq!((&servers[0]["accepted"], &servers[0]["connections"]), (&json!(1), &json!(1)));
    assert_eq!(servers[0]["loops"], json!(["talk-0", "talk-1"]));
    let sessions = &servers[0]["sessions"];
    assert_eq!((&sessions["sessions"], &sessions["opened"]), (&json!(1), &json!(1)));
    assert_eq!((&sessions["bytes_in"], &sessions["messages_in"]), (&json!(10), &json!(1)));
    assert_eq!(servers[1]["refused"], 1);
    assert_eq!(servers[1]["sessions"], Value::Null);
    assert_eq!(servers[1]["addresses"].as_array().unwrap().len(), 2);
    assert_eq!((&servers[1]["accepting"], &servers[1]["stopped"]), (&json!(true), &json!(false)));
}

#[test]
fn connections_of_several_loops_are_sorted_and_come_a_page_at_a_time() {
    let bed = talk(3);
    let clients: Vec<_> = (1..=9).map(|number| bed.of_test.connect(number * 100)).collect();
    let mut client = bed.client();
    let mut page = |params: Value| {
        let mut answer = client.ask("connections", params);
        let Value::Array(rows) = answer["connections"].take() else { panic!("{answer}") };
        let sizes: Vec<u64> = rows.iter().map(|row| row["bytes_in"].as_u64().unwrap()).collect();
        (answer["total"].as_u64().unwrap(), answer["matched"].as_u64().unwrap(), sizes)
    };
    // The control socket's own is one more, on a loop that is inspected.
    let only = |mut params: Value| {
        params["server"] = "talk".into();
        params
    };
    assert_eq!(
        page(only(json!({"sort": "bytes_in"}))),
        (10, 9, vec![900, 800, 700, 600, 500, 400, 300, 200, 100])
    );
    assert_eq!(page(only(json!({"sort": "bytes_in", "limit": 4}))).2, [900, 800, 700, 600]);
    assert_eq!(page(only(json!({"sort": "bytes_in", "offset": 3, "limit": 4}))).2, [600, 500, 400, 300]);
    assert_eq!(
        page(only(json!({"sort": "bytes_in", "descending": false, "offset": 7, "limit": 9}))).2,
        [800, 900]
    );
    assert_eq!(page(only(json!({"sort": "bytes_in", "offset": 9}))), (10, 9, vec![]));
    assert_eq!(page(only(json!({"offset": u32::MAX, "limit": 500}))), (10, 9, vec![]));
    assert_eq!(page(only(json!({"limit": 0}))), (10, 9, vec![]));
    for sort in ["bytes_out", "pending", "unread", "reads", "sends", "age_ms", "idle_ms", "peer", "id"] {
        for descending in [json!(true), json!(false), Value::Null] {
            let mut sizes = page(only(json!({"sort": sort, "descending": descending}))).2;
            sizes.sort_unstable();
            assert_eq!(sizes, [100, 200, 300, 400, 500, 600, 700, 800, 900], "by {sort}");
        }
    }
    drop(clients);
}

#[test]
fn numbers_come_largest_first_and_names_smallest_first_unless_something_else_is_said() {
    let bed = talk(2);
    let _clients: Vec<_> = (1..=6).map(|number| bed.of_test.connect(number)).collect();
    let mut client = bed.client();
    let mut sorted = |sort: &str| client.column("connections", json!({"server": "talk", "sort": sort}), sort);
    let is_rising = |values: &[Value]| values.is_sorted_by_key(|value| value.as_u64().unwrap());
    for sort in ["bytes_in", "bytes_out", "age_ms", "idle_ms", "reads"] {
        let mut values = sorted(sort);
        values.reverse();
        assert!(is_rising(&values), "{sort}: {values:?}");
    }
    assert!(sorted("peer").is_sorted_by_key(|peer| peer.as_str().unwrap().to_owned()));
    let numbers = |id: &Value| {
        let (event_loop, number) = id.as_str().unwrap().split_once('-').unwrap();
        (event_loop.parse::<u32>().unwrap(), number.parse::<u64>().unwrap())
    };
    assert!(sorted("id").is_sorted_by_key(numbers));
}

#[test]
fn a_filter_is_a_part_of_any_name_of_a_connection() {
    let bed = Bed::start(|event_loop| {
        let talk = Talk::start(event_loop, 2);
        let other = any().start(event_loop).unwrap();
        (
            Inspector::new().service("talk", &talk.server, &talk.sessions).server("other", &other),
            (talk, other),
        )
    });
    let (talk, other) = &bed.of_test;
    let clients: Vec<_> = (0..4).map(|_| talk.connect(10)).collect();
    let port = other.local_addresses()[0].port().unwrap();
    let _other = connect(other.local_addresses()[0].as_inet().unwrap());
    wait_until("it to be accepted", || other.figures().connections == 1);
    let mut client = bed.client();
    let mut matched =
        |filter: &str| client.ask("connections", json!({ "filter": filter }))["matched"].clone();
    assert_eq!(matched(""), 6);
    assert_eq!(matched("nowhere"), 0);
    assert_eq!(matched(&clients[0].local_addr().unwrap().to_string()), 1);
    assert_eq!(matched(&format!("127.0.0.1:{port}")), 1, "the local address");
    assert_eq!(matched("seqpacket:"), 1, "the control socket's peer");
    assert_eq!(matched("othe"), 1, "the server");
    assert_eq!(matched("talk-1"), 2, "the loop");
    let row = client.row_of("connections", &clients[2]);
    assert_eq!(client.column("connections", json!({"filter": row["id"]}), "peer"), [row["peer"].clone()]);
    let answer = client.ask("connections", json!({"server": "other", "filter": "127.0.0.1"}));
    assert_eq!((&answer["total"], &answer["matched"]), (&json!(6), &json!(1)));
}

#[test]
fn a_connection_is_shown_with_all_that_is_known_of_it() {
    let bed = talk(1);
    let stream = bed.of_test.connect(10);
    let mut client = bed.client();
    let row = client.row_of("connections", &stream);
    assert_eq!(
        keys(&row),
        [
            "age_ms",
            "bytes_in",
            "bytes_out",
            "id",
            "idle_ms",
            "local",
            "loop",
            "peer",
            "pending",
            "reading_paused",
            "reads",
            "sends",
            "server",
            "state",
            "unread"
        ]
    );
    assert_eq!((&row["loop"], &row["server"]), (&json!("talk-0"), &json!("talk")));
    assert_eq!(row["local"], stream.peer_addr().unwrap().to_string());
    assert_eq!((&row["bytes_in"], &row["bytes_out"]), (&json!(10), &json!(10)));
    assert_eq!((&row["state"], &row["reading_paused"]), (&json!("connected"), &json!(false)));
    let id = row["id"].as_str().unwrap();
    assert_eq!(bed.of_test.sessions.all().ids()[0].to_string(), id);
    let own = client.rows("connections", json!({"filter": "seqpacket:"}));
    assert_eq!((&own[0]["server"], &own[0]["loop"]), (&Value::Null, &json!("loop")));
}

#[test]
fn sessions_are_shown_with_what_they_keep() {
    let bed = talk(2);
    let mut noted = bed.of_test.connect(10);
    noted.write_all(b"note\n").unwrap();
    read_exact(&mut noted, 5);
    let plain = bed.of_test.connect(100);
    let mut client = bed.client();
    let row = client.row_of("sessions", &noted);
    assert_eq!(
        keys(&row),
        [
            "age_ms",
            "attributes",
            "authenticated",
            "byte_filters",
            "bytes_in",
            "bytes_out",
            "filters",
            "id",
            "idle",
            "last_read_ms",
            "last_written_ms",
            "loop",
            "messages_in",
            "messages_out",
            "peer",
            "pending_bytes",
            "pending_messages",
            "service",
            "state",
            "throughput"
        ]
    );
    assert_eq!(row["attributes"], json!(["note", "number"]));
    assert_eq!((&row["filters"], &row["byte_filters"]), (&json!(["log"]), &json!(["tap"])));
    assert_eq!((&row["messages_in"], &row["bytes_out"]), (&json!(2), &json!(15)));
    assert_eq!(
        (&row["service"], &row["state"], &row["authenticated"]),
        (&json!("talk"), &json!("connected"), &json!(true))
    );
    assert_eq!(row["idle"], json!({"both": 0, "read": 0, "write": 0}));
    assert_eq!(keys(&row["throughput"]), ["bytes_in", "bytes_out", "messages_in", "messages_out"]);
    assert!(row["throughput"]["bytes_in"].is_f64());
    assert_eq!(client.row_of("sessions", &plain)["attributes"], json!([]));

    assert_eq!(client.column("sessions", json!({"sort": "bytes_in"}), "bytes_in"), [100, 15]);
    assert_eq!(client.column("sessions", json!({"sort": "messages_in", "limit": 1}), "bytes_in"), [15]);
    for sort in [
        "id",
        "peer",
        "messages_in",
        "messages_out",
        "bytes_in",
        "bytes_out",
        "pending_bytes",
        "pending_messages",
        "age_ms",
        "last_read_ms",
        "last_written_ms",
        "throughput.bytes_in",
        "throughput.bytes_out",
        "throughput.messages_in",
        "throughput.messages_out",
    ] {
        assert_eq!(client.rows("sessions", json!({ "sort": sort })).len(), 2, "by {sort}");
    }
    let beyond = client.ask("sessions", json!({"service": "talk", "offset": 2}));
    assert_eq!(beyond, json!({"total": 2, "matched": 2, "offset": 2, "sessions": [], "unanswered": []}));
}

#[test]
fn what_passes_in_a_second_is_measured_from_the_first_look_on() {
    let bed = Bed::start(|event_loop| {
        let talk = Talk::start(event_loop, 0);
        (Inspector::new().service("talk", &talk.server, &talk.sessions), talk)
    });
    let mut stream = bed.of_test.connect(10);
    bed.of_test.sessions.all().run(|_, cx| {
        cx.configure(|config| config.throughput_interval = Duration::from_millis(1));
    });
    let mut client = bed.client();
    client.row_of("sessions", &stream);
    wait_until("a rate", || {
        stream.write_all(&[b'x'; 999]).unwrap();
        stream.write_all(b"\n").unwrap();
        read_exact(&mut stream, 1000);
        let rates = client.row_of("sessions", &stream)["throughput"].take();
        rates["bytes_in"].as_f64().unwrap() > 0.0 && rates["messages_out"].as_f64().unwrap() > 0.0
    });
}

#[test]
fn what_is_wrong_with_parameters_is_said() {
    let bed = talk(0);
    let mut client = bed.client();
    let mut errors = |command: &str, params: Value| {
        let error = client.refused(command, params);
        (error.code.clone(), error.errors.join("; "))
    };
    let (code, text) = errors("connections", json!({"limit": 501}));
    assert_eq!((&*code, &*text), ("invalid_params", "params.limit: 501 are too many: 500 at most"));
    let (_, text) = errors("connections", json!({"sort": "colour"}));
    assert!(text.starts_with("params.sort: unknown variant `colour`") && text.contains("bytes_in"), "{text}");
    let (_, text) = errors("sessions", json!({"offset": -1}));
    assert!(text.starts_with("params.offset: "), "{text}");
    let (_, text) = errors("loops", json!({"loop": "x"}));
    assert!(text.starts_with("params.loop: unknown"), "{text}");
    let (code, text) = errors("connections", json!({"server": "tal\nk"}));
    assert_eq!((&*code, &*text), ("unknown_server", "there is no server `tal\\nk`: there are talk"));
    let (code, text) = errors("connections", json!({"server": "\u{1b}".repeat(40_000)}));
    assert!(code == "unknown_server" && text.len() < 300, "{code} {}", text.len());
    let (code, text) = errors("sessions", json!({"service": "other"}));
    assert_eq!((&*code, &*text), ("unknown_service", "there is no service `other`: there are talk"));
    let error = client.refused("pause", json!({"server": "other"}));
    assert_eq!(error.code, "unknown_server");
    assert_eq!(error.base["servers"], json!(["talk"]));
}

#[test]
fn names_may_hold_anything() {
    let name = "a \"b\"\n\\ {é} \u{7}";
    let bed = Bed::start(move |event_loop| {
        let talk = Talk::start(event_loop, 0);
        (Inspector::new().service(name, &talk.server, &talk.sessions), talk)
    });
    let stream = bed.of_test.connect(10);
    let mut client = bed.client();
    assert_eq!(client.column("servers", json!({}), "name"), [name]);
    assert_eq!(client.rows("connections", json!({ "server": name })).len(), 1);
    assert_eq!(client.rows("connections", json!({ "filter": name })).len(), 1);
    assert_eq!(client.row_of("sessions", &stream)["service"], name);
    assert_eq!(client.ask("pause", json!({ "server": name })), json!({ "servers": [name] }));
}

#[test]
fn a_page_has_as_many_rows_as_go_into_one_reply_and_the_next_begins_behind_them() {
    let bed = talk(2);
    let address = bed.of_test.server.local_addresses()[0].as_inet().unwrap();
    let _streams: Vec<_> = (0..510).map(|_| connect(address)).collect();
    wait_until("all to be accepted", || bed.of_test.sessions.len() == 510);
    let mut client = bed.client();
    let mut all: Vec<_> = bed.of_test.sessions.all().ids().iter().map(ToString::to_string).collect();
    all.sort();
    for (command, which) in [("connections", "server"), ("sessions", "service")] {
        let mut ids = Vec::new();
        loop {
            let page =
                client.column(command, json!({which: "talk", "limit": 500, "offset": ids.len()}), "id");
            if page.is_empty() {
                break;
            }
            assert!(page.len() >= 300 || ids.len() + page.len() == 510, "{}", page.len());
            ids.extend(page.iter().map(|id| id.as_str().unwrap().to_owned()));
        }
        ids.sort();
        assert_eq!(ids, all);
    }
}

#[test]
fn an_inspector_without_anything_has_nothing_to_show() {
    let bed = Bed::start(|_| (Inspector::new(), ()));
    let mut client = bed.client();
    assert_eq!(client.ask("servers", json!({})), json!({"servers": []}));
    assert_eq!(client.ask("loops", json!({}))["loops"], json!([]));
    let nothing = json!({"total": 0, "matched": 0, "offset": 0, "connections": [], "unanswered": []});
    assert_eq!(client.ask("connections", json!({})), nothing);
    assert_eq!(client.ask("sessions", json!({}))["total"], 0);
    assert_eq!(client.ask("pause", json!({})), json!({"servers": []}));
    let error = client.refused("drain", json!({"server": "x"}));
    assert_eq!(error.errors, ["there is no server `x`: there are none"]);
}

#[test]
fn a_loop_that_was_added_shows_its_connections_whosever_they_are() {
    let bed = Bed::start(|event_loop| {
        let nobodys = any().start(event_loop).unwrap();
        (Inspector::new().event_loop(&event_loop.handle()), nobodys)
    });
    let stream = connect(bed.of_test.local_addresses()[0].as_inet().unwrap());
    wait_until("it to be accepted", || bed.of_test.figures().connections == 1);
    assert_eq!(bed.client().row_of("connections", &stream)["server"], Value::Null);
}

#[test]
fn who_has_no_role_may_look_and_touch_nothing() {
    let bed = Bed::with(
        |control| control.authorize(|_| Access::roles(["operator"])),
        |event_loop| {
            let server = any().start(event_loop).unwrap();
            (Inspector::of("echo", &server), server)
        },
    );
    let mut client = bed.client();
    for command in ["loops", "servers", "connections", "sessions", "metrics", "help"] {
        client.ask(command, json!({}));
    }
    for command in ["kick", "set_timeouts", "pause", "resume", "log_level", "drain"] {
        assert_eq!(client.refused(command, json!({})).code, "not_permitted", "{command}");
    }
    assert!(bed.of_test.is_accepting());
}

#[test]
fn all_commands_and_parameters_are_documented() {
    let mut router = Router::new();
    Inspector::new().register(&mut router).unwrap();
    let names: Vec<_> = router.commands().map(Command::name).collect();
    assert_eq!(
        names,
        [
            "connections",
            "drain",
            "help",
            "kick",
            "log_level",
            "loops",
            "metrics",
            "pause",
            "resume",
            "servers",
            "sessions",
            "set_timeouts"
        ]
    );
    for command in router.commands() {
        assert!(command.summary().ends_with('.'), "{}", command.name());
        for parameter in command.parameters() {
            assert!(!parameter.doc.is_empty(), "{}: {}", command.name(), parameter.name);
            assert_eq!(parameter.required, parameter.name == "id", "{}: {}", command.name(), parameter.name);
        }
    }
    let kinds = |name: &str| -> Vec<String> {
        let parameters = router.command(name).unwrap().parameters();
        parameters.iter().map(|parameter| format!("{}: {}", parameter.name, parameter.kind)).collect()
    };
    assert_eq!(kinds("kick"), ["id: string", "abort: boolean"]);
    assert_eq!(kinds("connections").last().unwrap(), "limit: integer");
    assert!(kinds("connections")[2].contains("bytes_in"), "{:?}", kinds("connections"));
}

#[test]
fn nothing_is_registered_beside_a_command_of_the_same_name() {
    let mut router = Router::new();
    router.add(Command::new("kick", "Another one.").answers(|_, _: Value| Ok(()))).unwrap();
    let error = Inspector::new().register(&mut router).unwrap_err();
    assert_eq!(error, CommandError::Duplicate { command: "kick".to_owned() });
    assert_eq!(router.commands().count(), 2);
}

#[test]
#[should_panic(expected = "there are two servers called echo")]
fn two_servers_of_one_name_are_one_too_many() {
    let mut event_loop = campana::EventLoop::new().unwrap();
    let server = any().start(&mut event_loop).unwrap();
    let _ = Inspector::of("echo", &server).server("echo", &server);
}

#[test]
fn a_loop_that_is_held_up_is_named_and_the_others_are_shown() {
    let bed = talk(2);
    let _streams: Vec<_> = (0..4).map(|_| bed.of_test.connect(10)).collect();
    let held = hold(bed.of_test.server.handlers()[1].loop_handle());
    let mut client = bed.client();
    let (connections, sessions) =
        (client.0.send("connections", &()).unwrap(), client.0.send("sessions", &()).unwrap());
    let connections: Value = client.0.wait(&connections).unwrap().into_result().unwrap();
    let sessions: Value = client.0.wait(&sessions).unwrap().into_result().unwrap();
    for (answer, total) in [(&connections, 3), (&sessions, 2)] {
        assert_eq!(answer["unanswered"], json!(["talk-1"]));
        assert_eq!(answer["total"], total);
    }
    drop(held);
    wait_until("it to go on", || client.ask("sessions", json!({}))["total"] == 4);
    assert_eq!(client.ask("connections", json!({}))["unanswered"], json!([]));
}

#[test]
fn many_requests_at_once_are_all_answered() {
    let bed = talk(3);
    let _streams: Vec<_> =
        (0..600).map(|_| connect(bed.of_test.server.local_addresses()[0].as_inet().unwrap())).collect();
    wait_until("all to be accepted", || bed.of_test.sessions.len() == 600);
    let mut client = bed.client();
    let answered = Arc::new(AtomicUsize::new(0));
    let ids: Vec<_> = (0..100)
        .map(|number| {
            let command = if number % 2 == 0 { "connections" } else { "sessions" };
            client.0.send(command, &json!({"filter": "talk", "limit": 1})).unwrap()
        })
        .collect();
    for id in ids {
        let answer: Value = client.0.wait(&id).unwrap().into_result().unwrap();
        assert_eq!(answer["matched"], 600);
        answered.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(answered.load(Ordering::Relaxed), 100);
}
