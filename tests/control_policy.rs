//! What a control session counts, when it ends by itself, and who may do what.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use campana::control::{
    Access, Command, ControlConfig, ControlCounts, ControlServer, ControlSession, Responder,
};
use serde_json::{Value, json};

#[path = "support/control.rs"]
mod control;
#[path = "support/server.rs"]
mod server;

use control::{Control, Wire, echo, wrong};
use server::{PATIENCE, wait_until};

/// What the only session has counted: in, out, errors out, errors out in a row.
#[track_caller]
fn counts(control: &Control) -> [u64; 4] {
    let (report, reports) = std::sync::mpsc::channel();
    control.handle.sessions().all().run(move |session, _| report.send(session.counts()).unwrap());
    numbers(reports.recv_timeout(PATIENCE).unwrap())
}

fn numbers(counts: ControlCounts) -> [u64; 4] {
    let ControlCounts {
        in_msg_count, out_msg_count, out_err_msg_count, out_consecutive_err_msg_count, ..
    } = counts;
    [in_msg_count, out_msg_count, out_err_msg_count, out_consecutive_err_msg_count]
}

fn limited(change: impl FnOnce(&mut ControlConfig) + Send + 'static) -> Control {
    Control::configured([echo(), wrong(), forgets()], |server| server.configure(change))
}

/// Deferred, and answered by an error.
fn forgets() -> Command {
    Command::new("forgets", "Forgets to answer.").defers(|_, (): (), responder| {
        thread::spawn(move || drop(responder));
    })
}

/// Waits until all sessions have ended, after the clients have: a session gives its client some time to read all.
#[track_caller]
fn wait_ended(control: &Control, clients: impl IntoIterator<Item = Wire>) {
    clients.into_iter().for_each(drop);
    wait_until("the session to end", || control.handle.sessions().is_empty());
}

#[test]
fn requests_replies_and_errors_are_counted() {
    let control = limited(|_| {});
    let client = control.connect();
    client.assert_lives();
    assert_eq!(counts(&control), [1, 1, 0, 0]);
    let steps = [
        ("echo", [2, 2, 0, 0]),
        ("wrong", [3, 3, 1, 1]),
        ("forgets", [4, 4, 2, 2]),
        ("nothing", [5, 5, 3, 3]),
        ("echo", [6, 6, 3, 0]),
        ("wrong", [7, 7, 4, 1]),
    ];
    for (command, expected) in steps {
        client.run(command);
        assert_eq!(counts(&control), expected, "{command}");
    }
    // What is no request counts as one.
    for packet in ["nonsense", r#"{"version":1,"command":"echo","params":[]}"#] {
        client.ask(packet);
    }
    assert_eq!(counts(&control), [9, 9, 6, 3]);
    client.ask(r#"{"version":1,"command":"wrong","params":{"unknown":1}}"#);
    assert_eq!(counts(&control), [10, 10, 7, 4]);
    let other = control.connect();
    other.run("echo");
    other.run("wrong");
    control.running.settle();
    let stats = control.handle.stats();
    assert_eq!((stats.requests, stats.replies, stats.errors), (12, 12, 8));
    assert_eq!((stats.busy, stats.refused, stats.ended_for_errors, stats.ended_inactive), (0, 0, 0, 0));
}

#[test]
fn what_waits_for_its_answer_is_in_but_not_out() {
    let put_by = Arc::new(Mutex::new(Vec::<Responder>::new()));
    let of_command = Arc::clone(&put_by);
    let later = Command::new("later", "").defers(move |call, (): (), responder| {
        of_command.lock().unwrap().push(responder);
        assert_eq!(call.counts().in_flight, of_command.lock().unwrap().len());
    });
    let control = Control::start([later, wrong()]);
    let client = control.connect();
    for id in ["1", "2"] {
        client.command("later", id);
    }
    client.run("wrong");
    assert_eq!(counts(&control), [3, 1, 1, 1]);
    put_by.lock().unwrap().remove(0).reply(()).unwrap();
    assert_eq!(client.receive().unwrap()["ok"], true);
    assert_eq!(counts(&control), [3, 2, 1, 0]);
    put_by.lock().unwrap().clear();
    assert_eq!(client.receive().unwrap()["code"], "dropped");
    assert_eq!(counts(&control), [3, 3, 2, 1]);
}

#[test]
fn a_session_ends_with_its_nth_error_which_is_delivered() {
    for requests in [["wrong", "echo"], ["forgets", "echo"], ["nothing", "echo"]] {
        let control = limited(|config| {
            config.max_errors = 3;
            config.max_consecutive_errors = 0;
        });
        let (client, other) = (control.connect(), control.connect());
        other.assert_lives();
        for _ in 0..2 {
            for command in requests {
                client.run(command);
            }
        }
        assert_eq!(client.run(requests[0])["ok"], false);
        client.assert_ends();
        other.assert_lives();
        assert_eq!(control.handle.stats().ended_for_errors, 1);
    }
}

#[test]
fn a_session_ends_with_its_nth_error_in_a_row_and_a_success_begins_a_new_row() {
    let control = limited(|config| config.max_consecutive_errors = 3);
    let client = control.connect();
    for _ in 0..10 {
        client.run("wrong");
        client.ask("nonsense");
        client.run("echo");
    }
    client.run("forgets");
    client.ask("nonsense");
    assert_eq!(client.run("nothing")["code"], "unknown_command");
    client.assert_ends();
    wait_ended(&control, [client]);
    assert_eq!(control.handle.stats().ended_for_errors, 1);
}

#[test]
fn the_first_error_can_be_the_last() {
    for total in [0, 1] {
        let control = limited(move |config| {
            config.max_errors = total;
            config.max_consecutive_errors = 1 - total;
        });
        let client = control.connect();
        client.assert_lives();
        assert_eq!(client.run("wrong")["code"], "failed");
        client.assert_ends();
    }
}

#[test]
fn requests_behind_the_last_error_are_not_answered_and_take_nothing_from_it() {
    let control = limited(|config| config.max_consecutive_errors = 3);
    let client = control.connect();
    client.assert_lives();
    let held = control.running.hold();
    for number in 0..20 {
        client.command("wrong", &number.to_string());
    }
    held.release();
    for number in 0..3 {
        assert_eq!(client.receive().unwrap()["id"], number.to_string());
    }
    client.assert_ends();
    control.running.settle();
    assert_eq!(control.handle.stats().errors, 3);
}

#[test]
fn zero_is_no_limit_of_errors() {
    let control = limited(|config| {
        config.max_errors = 0;
        config.max_consecutive_errors = 0;
    });
    let client = control.connect();
    for _ in 0..1000 {
        client.ask("nonsense");
    }
    assert_eq!(counts(&control), [1000, 1000, 1000, 1000]);
    client.assert_lives();
}

#[test]
fn by_default_many_errors_in_a_row_end_a_session_and_many_in_all_do_not() {
    let control = limited(|_| {});
    let client = control.connect();
    for _ in 0..5 {
        for _ in 0..31 {
            client.ask("nonsense");
        }
        client.run("echo");
    }
    for _ in 0..32 {
        client.ask("nonsense");
    }
    client.assert_ends();
}

#[test]
fn a_session_in_which_nothing_happens_ends() {
    let time = Duration::from_millis(400);
    let control = limited(move |config| config.inactivity = time);
    let client = control.connect();
    let start = Instant::now();
    client.run("echo");
    client.assert_ends();
    assert!(start.elapsed() >= time, "{:?}", start.elapsed());
    wait_ended(&control, [client]);
    assert_eq!(control.handle.stats().ended_inactive, 1);
}

#[test]
fn requests_of_whatever_kind_keep_a_session_alive() {
    let time = Duration::from_secs(1);
    let control = limited(move |config| {
        config.inactivity = time;
        config.max_consecutive_errors = 0;
    });
    let client = control.connect();
    let start = Instant::now();
    while start.elapsed() < time * 3 / 2 {
        client.run("echo");
        client.ask("nonsense");
        thread::sleep(Duration::from_millis(50));
    }
    let last = Instant::now();
    client.run("wrong");
    client.assert_ends();
    assert!(last.elapsed() >= time, "{:?}", last.elapsed());
}

#[test]
fn a_session_that_waits_for_an_answer_is_not_inactive() {
    let time = Duration::from_millis(300);
    let put_by = Arc::new(Mutex::new(Vec::<Responder>::new()));
    let of_command = Arc::clone(&put_by);
    let later = Command::new("later", "").defers(move |_, (): (), responder| {
        of_command.lock().unwrap().push(responder);
    });
    let control =
        Control::configured([later], move |server| server.configure(|config| config.inactivity = time));
    let client = control.connect();
    client.command("later", "1");
    assert!(client.is_silent(time * 3));
    put_by.lock().unwrap().pop().unwrap().reply(()).unwrap();
    assert_eq!(client.receive().unwrap()["id"], "1");
    client.assert_ends();
}

fn set_inactivity() -> Command {
    Command::new("inactivity", "Changes it.").answers(|call, params: Value| {
        let time = Duration::from_millis(params["ms"].as_u64().unwrap());
        call.set_inactivity(time);
        assert_eq!(ControlSession::inactivity(call.session()), time);
        Ok(())
    })
}

#[track_caller]
fn change(client: &Wire, ms: u64) {
    let reply = client.ask(format!(r#"{{"version":1,"command":"inactivity","params":{{"ms":{ms}}}}}"#));
    assert_eq!(reply["ok"], true, "{reply}");
}

#[test]
fn inactivity_is_changed_by_a_handler_for_its_own_session_alone() {
    let control = Control::start([set_inactivity()]);
    let (client, other) = (control.connect(), control.connect());
    other.assert_lives();
    // From five minutes to next to nothing, to nothing at all, and back.
    change(&client, 1000);
    change(&client, 0);
    assert!(client.is_silent(Duration::from_millis(1500)));
    let start = Instant::now();
    change(&client, 100);
    client.assert_ends();
    assert!(start.elapsed() >= Duration::from_millis(100));
    other.assert_lives();
    assert_eq!(control.handle.stats().ended_inactive, 1);
}

#[test]
fn inactivity_is_changed_from_outside() {
    let control = Control::configured([set_inactivity()], |server| {
        server.configure(|config| config.inactivity = Duration::from_secs(1))
    });
    let client = control.connect();
    client.assert_lives();
    let set = |time: Duration| {
        let (report, reports) = std::sync::mpsc::channel();
        control.handle.sessions().all().run(move |_, cx| {
            ControlSession::set_inactivity(cx, time);
            report.send(ControlSession::inactivity(cx)).unwrap();
        });
        assert_eq!(reports.recv_timeout(PATIENCE).unwrap(), time);
    };
    set(Duration::ZERO);
    assert!(client.is_silent(Duration::from_millis(1500)));
    // What counts is when something happened last, and that was long ago.
    set(Duration::from_secs(1));
    client.assert_ends();
}

#[test]
fn zero_is_no_limit_of_inactivity() {
    let control = limited(|config| config.inactivity = Duration::ZERO);
    let client = control.connect();
    client.assert_lives();
    assert!(client.is_silent(Duration::from_millis(300)));
    client.assert_lives();
}

fn guarded() -> [Command; 4] {
    let command = |name, role: Option<&'static str>| {
        let command = Command::new(name, "Has a role, or none.");
        let command = if let Some(role) = role { command.role(role) } else { command };
        command.answers(|call, (): ()| {
            Ok(["operator", "admin"]
                .into_iter()
                .filter(|role| call.access().has_role(role))
                .collect::<Vec<_>>())
        })
    };
    [
        command("free", None),
        command("operate", Some("operator")),
        command("administer", Some("admin")),
        echo(),
    ]
}

fn authorized(authorize: impl Fn() -> Access + Send + Sync + 'static) -> Control {
    Control::configured(guarded(), move |server| server.authorize(move |_| authorize()))
}

#[test]
fn the_same_user_may_do_everything_by_default() {
    let control = Control::start(guarded());
    let client = control.connect();
    for command in ["free", "operate", "administer"] {
        assert_eq!(client.run(command)["result"], json!(["operator", "admin"]), "{command}");
    }
}

#[test]
fn a_command_that_asks_for_a_role_is_refused_without_it_and_the_session_lives() {
    let control = authorized(|| Access::roles(["operator", "guest"]));
    let client = control.connect();
    for command in ["free", "operate"] {
        assert_eq!(client.run(command)["result"], json!(["operator"]), "{command}");
    }
    let text = client.ask(r#"{"version":1,"command":"administer","params":{"wrong":"too"},"id":"7"}"#);
    let expected = json!({
        "version": 1, "id": "7", "ok": false, "code": "not_permitted",
        "errors": ["the command `administer` asks for the role `admin`"], "role": "admin"
    });
    assert_eq!(text, expected);
    client.assert_lives();
    assert_eq!(counts(&control), [4, 4, 1, 0]);

    let control = authorized(|| Access::roles::<&str>([]));
    let client = control.connect();
    assert_eq!(client.run("free")["result"], json!([]));
    assert_eq!(client.run("operate")["code"], "not_permitted");
}

#[test]
fn who_is_refused_is_told_so_and_runs_nothing() {
    let control = authorized(|| Access::Refused);
    let refused = control.connect();
    let reply = refused.receive().unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let expected = json!({
        "version": 1, "ok": false, "code": "refused",
        "errors": [format!("user {uid} may not use this control socket")]
    });
    assert_eq!(reply, expected);
    refused.assert_ends();

    // Also who asks before it is told.
    let held = control.running.hold();
    let client = control.connect();
    client.command("free", "1");
    client.command("free", "2");
    held.release();
    assert_eq!(client.receive().unwrap()["code"], "refused");
    client.assert_ends();
    wait_ended(&control, [client, refused]);
    let stats = control.handle.stats();
    assert_eq!((stats.refused, stats.requests, stats.replies, stats.errors), (2, 0, 2, 2));
}

#[test]
fn the_callback_is_asked_once_a_session_and_sees_who_the_peer_is() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let of_callback = Arc::clone(&asked);
    let control = Control::configured(guarded(), move |server: ControlServer| {
        server.authorize(move |peer| {
            let mut asked = of_callback.lock().unwrap();
            asked.push((peer.pid, peer.uid, peer.gid));
            if asked.len() % 2 == 0 { Access::Refused } else { Access::All }
        })
    });
    for number in 0..4 {
        let client = control.connect();
        if number % 2 == 0 {
            for _ in 0..3 {
                assert_eq!(client.run("administer")["ok"], true);
            }
        } else {
            assert_eq!(client.receive().unwrap()["code"], "refused");
        }
    }
    let own = (
        std::process::id().cast_signed(),
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    assert_eq!(*asked.lock().unwrap(), [own; 4]);
}

/// Connects as another user, which only root can.
fn connect_as(user: u32, control: &Control) -> Wire {
    let address = control.address();
    let connecting = thread::spawn(move || {
        // The kernel's users are its threads', and this one ends here.
        rustix::thread::set_thread_uid(rustix::thread::Uid::from_raw(user)).unwrap();
        Wire::connect(&address)
    });
    connecting.join().unwrap()
}

#[test]
fn other_users_may_do_nothing_by_default_and_what_the_callback_says_otherwise() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root, which alone can be somebody else: nothing is tested");
        return;
    }
    let control = Control::start(guarded());
    let stranger = connect_as(65_534, &control);
    let reply = stranger.receive().unwrap();
    assert_eq!(reply["errors"], json!(["user 65534 may not use this control socket"]));
    stranger.assert_ends();

    let control = Control::configured(guarded(), |server| {
        server
            .authorize(|peer| if peer.uid == 65_534 { Access::roles(["operator"]) } else { Access::Refused })
    });
    let stranger = connect_as(65_534, &control);
    assert_eq!(stranger.run("operate")["result"], json!(["operator"]));
    assert_eq!(stranger.run("administer")["code"], "not_permitted");
    assert_eq!(control.connect().receive().unwrap()["code"], "refused", "that is said of root as well");
}

#[test]
fn an_authorizer_that_panics_lets_nobody_in_and_the_server_lives() {
    let calls = AtomicUsize::new(0);
    let control = authorized(move || match calls.fetch_add(1, Ordering::SeqCst) {
        0 => panic!("as it should"),
        _ => Access::All,
    });
    let client = control.connect();
    client.command("free", "1");
    client.assert_ends();
    control.connect().assert_lives();
}

#[test]
fn a_handler_may_end_the_session_at_once_and_twice() {
    let command = |name, deferred: bool| {
        let command = Command::new(name, "Ends the session.");
        if deferred {
            command.defers(|call, (): (), responder| {
                call.terminate();
                call.terminate();
                let _ = responder.reply("to nobody");
                call.terminate();
            })
        } else {
            command.answers(|call, (): ()| {
                call.terminate();
                call.terminate();
                Ok("to nobody")
            })
        }
    };
    let fails = Command::new("fails", "Ends the session.").answers(|call, (): ()| -> Result<(), _> {
        call.terminate();
        panic!("as it should")
    });
    let control = Control::start([command("now", false), command("later", true), fails.clone(), echo()]);
    for command in ["now", "later", "fails"] {
        let (client, other) = (control.connect(), control.connect());
        other.assert_lives();
        let held = control.running.hold();
        client.command("echo", "1");
        client.command(command, "2");
        client.command("echo", "3");
        held.release();
        assert_eq!(client.receive().unwrap()["id"], "1", "what was answered before is delivered");
        client.assert_ends();
        other.assert_lives();
        wait_ended(&control, [client, other]);
    }
}

#[test]
fn a_session_is_ended_from_outside() {
    let control = Control::start([echo()]);
    let (closed, aborted) = (control.connect(), control.connect());
    for client in [&closed, &aborted] {
        client.assert_lives();
    }
    let mut handles = control.handle.sessions().all().handles();
    handles.sort_by_key(campana::session::SessionHandle::id);
    handles[0].close().unwrap();
    handles[0].close().unwrap();
    closed.assert_ends();
    handles[1].abort().unwrap();
    handles[1].abort().unwrap();
    aborted.assert_ends();
    wait_ended(&control, [closed, aborted]);
    control.connect().assert_lives();
}

#[test]
fn a_client_that_reads_nothing_is_not_read_from_and_closed_when_it_stalls() {
    let control = Control::configured([echo()], |server| {
        server.configure_connections(|connection| {
            connection.write_stall = Some(Duration::from_millis(300));
            connection.linger = Duration::from_millis(100);
        })
    });
    let (stuck, other) = (control.connect(), control.connect());
    stuck.0.set_nonblocking(true).unwrap();
    let text = json!({"version": 1, "command": "echo", "params": {"text": "x".repeat(50_000)}}).to_string();
    let mut sent = 0;
    while (&stuck.0).write(text.as_bytes()).is_ok() {
        sent += 1;
        assert!(sent < 1000, "all of it is read, whatever is not");
        other.assert_lives();
    }
    wait_until("the session to end", || control.handle.sessions().len() == 1);
    other.assert_lives();
}

#[test]
fn a_client_that_asks_for_much_at_once_and_reads_it_then_gets_all_of_it() {
    let large = Command::new("large", "").answers(|_, (): ()| Ok("x".repeat(200_000)));
    let control = Control::start([large]);
    let client = control.connect();
    client.assert_lives();
    let held = control.running.hold();
    // More than may be pending at any time.
    for number in 0..150 {
        client.command("large", &number.to_string());
    }
    held.release();
    control.running.settle();
    for number in 0..150 {
        assert_eq!(client.receive().expect("a reply")["id"], number.to_string());
    }
    client.assert_lives();
}
