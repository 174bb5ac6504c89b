//! What an inspector's commands do to a running server: kick, time-outs, pause, log level, drain.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use campana::ServerHandle;
use campana::control::inspect::Inspector;
use serde_json::{Value, json};

#[path = "support/inspection.rs"]
mod inspection;
#[path = "support/server.rs"]
mod server;

use inspection::{Bed, Client, Talk, hold};
use server::{Log, Recorder, any, connect, echo, is_served, read_exact, wait_gone, wait_until};

/// Sessions on so many loops, and on the loop of the control socket connections without sessions, which echo.
struct Both {
    talk: Talk,
    plain: ServerHandle<Recorder>,
    log: Log,
}

fn both(threads: usize) -> Bed<Both> {
    Bed::start(move |event_loop| {
        let talk = Talk::start(event_loop, threads);
        let log = Log::default();
        let of_handlers = log.clone();
        let plain = any().start_with(event_loop, move |_, _| Recorder::new(&of_handlers, echo)).unwrap();
        let inspector =
            Inspector::new().service("talk", &talk.server, &talk.sessions).server("plain", &plain);
        (inspector, Both { talk, plain, log })
    })
}

impl Both {
    #[track_caller]
    fn connect_plain(&self) -> TcpStream {
        let mut stream = connect(self.plain.local_addresses()[0].as_inet().unwrap());
        is_served(&mut stream);
        stream
    }
}

fn id_of(client: &mut Client, stream: &TcpStream) -> Value {
    client.row_of("connections", stream)["id"].take()
}

#[test]
fn a_session_that_is_kicked_ends_as_one_that_closes() {
    let bed = both(2);
    let talk = &bed.of_test.talk;
    let (mut kicked, mut other) = (talk.connect(10), talk.connect(10));
    let mut client = bed.client();
    let id = id_of(&mut client, &kicked);
    assert_eq!(client.ask("kick", json!({ "id": id })), json!({ "kicked": id }));
    assert_eq!(server::read_to_end(&mut kicked), b"", "the end, and no reset");
    drop(kicked);
    assert_eq!(talk.wait_end(), "closed by this side");
    is_served_line(&mut other);
    let error = client.refused("kick", json!({ "id": id }));
    assert_eq!(error.code, "unknown_id");
    assert!(
        error.errors[0].starts_with(&format!("there is no connection {}: ", id.as_str().unwrap())),
        "{error}"
    );
}

fn is_served_line(stream: &mut TcpStream) {
    use std::io::Write;
    stream.write_all(b"still there\n").unwrap();
    assert_eq!(read_exact(stream, 12), b"still there\n");
}

#[test]
fn a_connection_without_a_session_is_kicked_as_well() {
    let bed = both(1);
    let mut stream = bed.of_test.connect_plain();
    let mut client = bed.client();
    let id = id_of(&mut client, &stream);
    client.ask("kick", json!({ "id": id }));
    assert_eq!(server::read_to_end(&mut stream), b"");
    drop(stream);
    wait_until("its end", || bed.of_test.log.reasons() == ["closed by this side"]);
}

#[test]
fn what_is_kicked_at_once_waits_for_nobody() {
    let bed = both(1);
    let (plain, talking) = (bed.of_test.connect_plain(), bed.of_test.talk.connect(10));
    let mut client = bed.client();
    for stream in [&plain, &talking] {
        let id = id_of(&mut client, stream);
        client.ask("kick", json!({"id": id, "abort": true}));
    }
    // The clients haven't closed, which a close in good order would wait for.
    wait_until("its end", || bed.of_test.log.reasons().len() == 1);
    bed.of_test.talk.wait_end();
    wait_until("both to be gone", || {
        client.ask("connections", json!({"filter": "127.0.0.1"}))["matched"] == 0
    });
}

#[test]
fn who_kicks_itself_is_told_so_before_it_ends() {
    let bed = both(1);
    let mut client = bed.client();
    let own = client.column("connections", json!({"filter": "seqpacket:"}), "id").remove(0);
    assert_eq!(client.ask("kick", json!({ "id": own })), json!({ "kicked": own }));
    assert!(client.0.request::<_, Value>("servers", &()).is_err(), "it has ended");
    drop(client);
    wait_until("its end", || bed.control.sessions().is_empty());
    bed.client().ask("servers", json!({}));
}

#[test]
fn what_a_loop_that_is_held_up_is_asked_for_is_done_when_it_goes_on() {
    let bed = both(1);
    let mut stream = bed.of_test.talk.connect(10);
    let mut client = bed.client();
    let id = id_of(&mut client, &stream);
    let held = hold(bed.of_test.talk.server.handlers()[0].loop_handle());
    let error = client.refused("kick", json!({ "id": id }));
    assert_eq!(error.code, "unanswered");
    assert!(
        error.errors[0].starts_with(&format!("a loop that may have {} is held up", id.as_str().unwrap()))
    );
    assert_eq!(client.column("loops", json!({}), "alive"), [true, true], "others are answered meanwhile");
    let others = bed.of_test.connect_plain();
    let id = id_of(&mut client, &others);
    assert_eq!(client.ask("kick", json!({ "id": id })), json!({ "kicked": id }), "nobody else is waited for");
    drop(held);
    assert_eq!(server::read_to_end(&mut stream), b"");
}

#[test]
fn an_id_that_is_none_or_nobodys_is_refused() {
    let bed = both(2);
    let _stream = bed.of_test.talk.connect(10);
    let mut client = bed.client();
    for id in ["1-999999", "999999-1", "0-0"] {
        for command in ["kick", "set_timeouts"] {
            assert_eq!(client.refused(command, json!({ "id": id })).code, "unknown_id");
        }
    }
    for id in ["", "1", "1-", "x-y", "01-1", "1-1 ", "99999999999-1"] {
        let error = client.refused("kick", json!({ "id": id }));
        assert_eq!(error.code, "invalid_params");
        assert!(error.errors[0].starts_with("params.id: ") && error.errors[0].contains("1-17"), "{error}");
    }
    let error = client.refused("kick", json!({}));
    assert_eq!(error.errors, ["params.id: missing"]);
    assert_eq!(bed.of_test.talk.sessions.len(), 1);
}

#[test]
fn a_time_out_that_is_set_takes_effect_and_is_that_ones_alone() {
    let bed = both(2);
    let talk = &bed.of_test.talk;
    let (mut silent, mut other) = (talk.connect(10), talk.connect(10));
    let mut client = bed.client();
    let id = id_of(&mut client, &silent);
    let in_force = client.ask("set_timeouts", json!({"id": id, "idle_both_ms": 50}));
    assert_eq!(
        in_force,
        json!({
            "id": id, "idle_ms": 0, "write_stall_ms": 30_000, "slow_consumer_ms": 300_000, "linger_ms": 5_000,
            "idle_read_ms": 0, "idle_write_ms": 0, "idle_both_ms": 50, "frame_deadline_ms": 30_000
        })
    );
    wait_gone(&mut silent);
    drop(silent);
    assert_eq!(talk.wait_end(), "timed out: idle");
    is_served_line(&mut other);

    let mut silent = bed.of_test.connect_plain();
    let id = id_of(&mut client, &silent);
    let in_force = client.ask("set_timeouts", json!({"id": id, "idle_ms": 50, "linger_ms": 0}));
    let expected = json!({"id": id, "idle_ms": 50, "write_stall_ms": 30_000, "slow_consumer_ms": 300_000, "linger_ms": 0});
    assert_eq!(in_force, expected);
    wait_gone(&mut silent);
    wait_until("its end", || bed.of_test.log.reasons() == ["timed out: idle"]);
}

#[test]
fn zero_switches_a_time_out_off_and_what_is_left_out_stays() {
    let bed = both(1);
    let stream = bed.of_test.talk.connect(10);
    let mut client = bed.client();
    let id = id_of(&mut client, &stream);
    let before = client.ask("set_timeouts", json!({ "id": id }));
    assert_eq!(before["idle_both_ms"], 300_000);
    let mut expected = before.clone();
    for name in ["write_stall_ms", "slow_consumer_ms", "idle_both_ms", "frame_deadline_ms"] {
        assert_ne!(before[name], 0, "{name}");
        expected[name] = json!(0);
        assert_eq!(client.ask("set_timeouts", json!({"id": id, name: 0})), expected);
    }
    for name in ["idle_ms", "idle_read_ms", "idle_write_ms", "linger_ms"] {
        expected[name] = json!(7_000_000);
        assert_eq!(client.ask("set_timeouts", json!({"id": id, name: 7_000_000})), expected);
    }
    assert_eq!(client.ask("set_timeouts", before.clone()), before, "what is answered can be set again");
}

#[test]
fn who_has_no_idle_time_any_more_may_be_silent() {
    let bed = both(0);
    let (mut plain, mut talking) = (bed.of_test.connect_plain(), bed.of_test.talk.connect(10));
    let mut client = bed.client();
    for stream in [&plain, &talking] {
        let id = id_of(&mut client, stream);
        client.ask("set_timeouts", json!({"id": id, "idle_ms": 0}));
    }
    bed.running.settle();
    is_served(&mut plain);
    is_served_line(&mut talking);
}

#[test]
fn what_a_connection_has_not_changes_nothing_else_of_it() {
    let bed = both(1);
    let stream = bed.of_test.connect_plain();
    let mut client = bed.client();
    let id = id_of(&mut client, &stream);
    let before = client.ask("set_timeouts", json!({ "id": id }));
    let error = client.refused("set_timeouts", json!({"id": id, "idle_ms": 1, "idle_read_ms": 1}));
    assert_eq!(error.code, "invalid_params");
    let text = format!("params.idle_read_ms: {} is a connection without a session", id.as_str().unwrap());
    assert_eq!(error.errors, [text]);
    assert_eq!(client.ask("set_timeouts", json!({ "id": id })), before);
    let error = client.refused("set_timeouts", json!({"id": id, "idle_ms": -1}));
    assert!(error.errors[0].starts_with("params.idle_ms: "), "{error}");
}

#[test]
fn who_comes_while_a_server_is_paused_waits_until_it_resumes() {
    let bed = both(2);
    let mut client = bed.client();
    assert_eq!(client.ask("pause", json!({"server": "plain"})), json!({"servers": ["plain"]}));
    assert_eq!(client.column("servers", json!({}), "accepting"), [true, false]);
    bed.running.settle();
    let mut waiting = connect(bed.of_test.plain.local_addresses()[0].as_inet().unwrap());
    let mut served = bed.of_test.talk.connect(10);
    is_served_line(&mut served);
    bed.running.settle();
    assert_eq!(bed.of_test.plain.figures().accepted, 0);
    assert_eq!(client.ask("resume", json!({})), json!({"servers": ["talk", "plain"]}));
    is_served(&mut waiting);
    assert_eq!(client.column("servers", json!({}), "accepting"), [true, true]);
}

#[test]
fn all_servers_are_paused_unless_one_is_named() {
    let bed = both(2);
    let mut client = bed.client();
    assert_eq!(client.ask("pause", json!({})), json!({"servers": ["talk", "plain"]}));
    assert_eq!(client.column("servers", json!({}), "accepting"), [false, false]);
    assert!(!bed.of_test.plain.is_accepting() && !bed.of_test.talk.server.is_accepting());
    // The control socket itself is none of them.
    bed.client().ask("resume", json!({"server": "talk"}));
    assert_eq!(client.column("servers", json!({}), "accepting"), [true, false]);
}

#[test]
fn the_log_level_is_told_and_changed() {
    let before = log::max_level();
    let bed = Bed::start(|_| (Inspector::new(), ()));
    let mut client = bed.client();
    for level in ["trace", "debug", "info", "warn", "error", "off"] {
        assert_eq!(client.ask("log_level", json!({ "level": level })), json!({ "level": level }));
        assert_eq!(client.ask("log_level", json!({})), json!({ "level": level }));
        assert_eq!(log::max_level().to_string().to_lowercase(), level);
    }
    log::set_max_level(log::LevelFilter::Warn);
    assert_eq!(client.ask("log_level", json!({})), json!({"level": "warn"}));
    let error = client.refused("log_level", json!({"level": "loud"}));
    assert!(error.errors[0].contains("params.level: unknown variant `loud`"), "{error}");
    assert_eq!(log::max_level(), log::LevelFilter::Warn);
    log::set_max_level(before);
}

#[test]
fn a_drained_server_lets_those_who_are_there_end_and_then_says_so() {
    let told = Arc::new(AtomicUsize::new(0));
    let of_inspector = Arc::clone(&told);
    let bed = Bed::start(move |event_loop| {
        let talk = Talk::start(event_loop, 2);
        let inspector =
            Inspector::new().service("talk", &talk.server, &talk.sessions).on_drained(move |_| {
                of_inspector.fetch_add(1, Ordering::Relaxed);
            });
        (inspector, talk)
    });
    let mut stream = bed.of_test.connect(10);
    let mut client = bed.client();
    assert_eq!(client.ask("drain", json!({})), json!({"draining": ["talk"]}));
    assert_eq!(client.column("servers", json!({}), "accepting"), [false]);
    is_served_line(&mut stream);
    // Silent for a second, or closed by the client, it ends.
    drop(stream);
    bed.of_test.wait_end();
    wait_until("the drain's end", || told.load(Ordering::Relaxed) == 1);
    let servers = client.rows("servers", json!({}));
    assert_eq!((&servers[0]["stopped"], &servers[0]["connections"]), (&json!(true), &json!(0)));
    assert_eq!(client.ask("drain", json!({})), json!({"draining": ["talk"]}), "what has stopped stays so");
    bed.running.settle();
    assert_eq!(told.load(Ordering::Relaxed), 1, "it is told once");
}

#[test]
fn who_stays_longer_than_the_deadline_is_closed_by_force() {
    let bed = both(1);
    let (talking, plain) = (bed.of_test.talk.connect(10), bed.of_test.connect_plain());
    let mut client = bed.client();
    client.ask("drain", json!({"deadline_ms": 20}));
    assert_eq!(bed.of_test.talk.wait_end(), "stopping");
    wait_until("both servers' end", || client.column("servers", json!({}), "stopped") == [true, true]);
    drop((talking, plain));
}

#[test]
fn the_end_is_told_when_the_last_of_several_servers_is_drained() {
    let (told, hears) = std::sync::mpsc::channel();
    let bed = Bed::start(move |event_loop| {
        let start = |event_loop: &mut _| any().threads(1).start(event_loop).unwrap();
        let (one, two) = (start(event_loop), start(event_loop));
        let inspector = Inspector::of("one", &one).server("two", &two).on_drained(move |cx| {
            told.send(()).unwrap();
            cx.quit();
        });
        (inspector, one)
    });
    let mut client = bed.client();
    assert_eq!(client.ask("drain", json!({"server": "one"})), json!({"draining": ["one"]}));
    wait_until("the first to end", || bed.of_test.is_stopped());
    bed.running.settle();
    assert!(hears.try_recv().is_err());
    assert_eq!(client.ask("drain", json!({"server": "two", "deadline_ms": 0})), json!({"draining": ["two"]}));
    hears.recv_timeout(server::PATIENCE).unwrap();
}
