//! Requests to a control socket: what is around them, whose answer is whose, and what handlers may do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use campana::control::{Command, CommandError, ControlClient, Failure, ReplyError, Responder, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[path = "support/control.rs"]
mod control;
#[path = "support/server.rs"]
mod server;

use control::{Control, Wire, echo, router, wrong};
use server::{PATIENCE, wait_until};

/// Responders that a command has put by, with the parameters of their requests.
type PutBy = Arc<Mutex<Vec<(Value, Responder)>>>;

/// A command whose requests stay unanswered until the test does something with them.
fn later() -> (Command, PutBy) {
    let put_by = PutBy::default();
    let of_command = Arc::clone(&put_by);
    let command = Command::new("later", "Is answered later.").defers(move |_, params: Value, responder| {
        of_command.lock().unwrap().push((params, responder));
    });
    (command, put_by)
}

fn wait_for(put_by: &PutBy, count: usize) {
    wait_until("the requests to arrive", || put_by.lock().unwrap().len() == count);
}

#[track_caller]
fn take(put_by: &PutBy) -> Responder {
    wait_for(put_by, 1);
    put_by.lock().unwrap().pop().unwrap().1
}

/// A server for clients that get everything wrong.
fn patient(commands: impl IntoIterator<Item = Command>) -> Control {
    Control::configured(commands, |server| server.configure(|config| config.max_consecutive_errors = 0))
}

#[track_caller]
fn assert_fails(reply: &Value, code: &str, errors: &[&str]) {
    assert_eq!(reply["version"], 1, "{reply}");
    assert_eq!(reply["ok"], false, "{reply}");
    assert_eq!(reply["code"], code, "{reply}");
    assert_eq!(reply["errors"], json!(errors), "{reply}");
    assert!(reply.get("result").is_none(), "{reply}");
}

#[test]
fn replies_have_one_shape_and_parameters_default_to_none() {
    let control = Control::start([echo(), wrong()]);
    let client = control.connect();
    let texts = [
        (
            r#"{"version":1,"command":"echo","params":{"a":[1,{}]},"id":"7"}"#,
            r#"{"version":1,"id":"7","ok":true,"result":{"a":[1,{}]}}"#,
        ),
        (r#"{"version":1,"command":"echo"}"#, r#"{"version":1,"ok":true,"result":{}}"#),
        (
            " {\"id\":\"\",\n\"command\":\"\\u0065cho\",\t\"params\" : { } ,\"version\":1}\n",
            r#"{"version":1,"id":"","ok":true,"result":{}}"#,
        ),
        (
            r#"{"version":1,"command":"wrong","id":"8"}"#,
            r#"{"version":1,"id":"8","ok":false,"code":"failed","errors":["wrong as ever"]}"#,
        ),
        (
            r#"{"version":1,"command":"wrong"}"#,
            r#"{"version":1,"ok":false,"code":"failed","errors":["wrong as ever"]}"#,
        ),
    ];
    for (request, reply) in texts {
        client.send(request);
        assert_eq!(client.receive_text().as_deref(), Some(reply));
    }
    client.assert_lives();
}

#[test]
fn each_violation_of_the_envelope_is_named_and_the_session_lives() {
    let control = patient([echo()]);
    let client = control.connect();
    let members = "a request has `version`, `command`, `params` and `id`";
    let unknown = |name: &str| format!("`{name}` is unknown: {members}");
    let violations: [(&str, Option<&str>, &[&str]); 22] = [
        (r#"{"command":"echo","id":"1"}"#, Some("1"), &["`version` is missing"]),
        (r#"{"version":2,"command":"echo","id":"2"}"#, Some("2"), &["`version` is 2: this is version 1"]),
        (r#"{"version":1.0,"command":"echo"}"#, None, &["`version` is 1.0: this is version 1"]),
        (r#"{"version":-1,"command":"echo"}"#, None, &["`version` is -1: this is version 1"]),
        (r#"{"version":"1","command":"echo"}"#, None, &["`version` is \"1\": this is version 1"]),
        (r#"{"version":null,"command":"echo"}"#, None, &["`version` is null: this is version 1"]),
        (r#"{"version":1,"id":"3"}"#, Some("3"), &["`command` is missing"]),
        (
            r#"{"version":1,"command":5,"id":"4"}"#,
            Some("4"),
            &["`command` is a number: it has to be a string"],
        ),
        (r#"{"version":1,"command":null}"#, None, &["`command` is null: it has to be a string"]),
        (
            r#"{"version":1,"command":"echo","params":[]}"#,
            None,
            &["`params` is an array: it has to be an object"],
        ),
        (
            r#"{"version":1,"command":"echo","params":"{}"}"#,
            None,
            &["`params` is a string: it has to be an object"],
        ),
        (
            r#"{"version":1,"command":"echo","params":null}"#,
            None,
            &["`params` is null: it has to be an object"],
        ),
        (r#"{"version":1,"command":"echo","id":7}"#, None, &["`id` is a number: it has to be a string"]),
        (r#"{"version":1,"command":"echo","id":null}"#, None, &["`id` is null: it has to be a string"]),
        (r#"{"version":1,"command":"echo","id":"5","parms":{}}"#, Some("5"), &[&unknown("parms")]),
        (r#"[{"version":1,"command":"echo"}]"#, None, &["the request is an array: it has to be an object"]),
        // The members' values in order, as derived code takes them for a struct.
        (r#"[1,"echo",{},"7"]"#, None, &["the request is an array: it has to be an object"]),
        (r#" [1,"echo",{},"7"]"#, None, &["the request is an array: it has to be an object"]),
        (r#""echo""#, None, &["the request is a string: it has to be an object"]),
        ("true", None, &["the request is a boolean: it has to be an object"]),
        ("null", None, &["the request is null: it has to be an object"]),
        (
            r#"{"command":true,"params":1,"id":"6","no":1}"#,
            Some("6"),
            &[
                "`version` is missing",
                "`command` is a boolean: it has to be a string",
                &unknown("no"),
                "`params` is a number: it has to be an object",
            ],
        ),
    ];
    for (request, id, errors) in violations {
        let reply = client.ask(request);
        assert_fails(&reply, "invalid_request", errors);
        assert_eq!(reply.get("id"), id.map(Value::from).as_ref(), "{request}");
    }
    client.assert_lives();
    assert_eq!(control.handle.stats().errors, violations.len() as u64);
}

#[test]
fn what_is_no_json_is_an_error_without_id_and_the_session_lives() {
    let control = patient([echo()]);
    let client = control.connect();
    let cut_off = br#"{"version":1,"command":"echo","id":"7""#;
    let two = br#"{"version":1,"command":"echo","id":"7"}{"version":1,"command":"echo","id":"8"}"#;
    let not_utf8 = b"{\"version\":1,\"command\":\"echo\",\"id\":\"\xff\"}";
    let packets: [&[u8]; 9] = [b"help", b"{", b" ", b"\0", b"{}{}", &[0xff; 100], cut_off, two, not_utf8];
    for packet in packets {
        let reply = client.ask(packet);
        assert_eq!((&reply["code"], reply.get("id")), (&json!("invalid_request"), None), "{reply}");
        assert_eq!(reply["errors"].as_array().unwrap().len(), 1, "{reply}");
        let text = reply["errors"][0].as_str().unwrap();
        assert!(text.starts_with("the request is") || text.starts_with("`"), "{text}");
    }
    let deep =
        format!(r#"{{"version":1,"command":"echo","params":{{"a":{}1{}}}}}"#, "[".repeat(64), "]".repeat(64));
    let reply = client.ask(deep);
    assert_fails(
        &reply,
        "invalid_request",
        &["the request is nested deeper than 64 levels: send flatter parameters"],
    );
    client.assert_lives();
}

#[test]
fn what_is_wrong_is_told_in_short_however_much_it_is() {
    let control = patient([echo()]);
    let client = control.connect();
    let assert_short = |request: String, code: &str| {
        let reply = client.ask(request);
        assert_eq!(reply["code"], code, "{reply}");
        let text = reply.to_string();
        assert!(text.len() < 4000, "{} bytes", text.len());
    };
    let long = "\u{1}é".repeat(15_000);
    assert_short(json!({"version": 1, "command": long}).to_string(), "unknown_command");
    assert_short(json!({"version": long, "command": "echo"}).to_string(), "invalid_request");
    assert_short(json!({"version": [long], "command": "echo"}).to_string(), "invalid_request");
    assert_short(json!({"version": 1, "command": "echo", (&long): 1}).to_string(), "invalid_request");
    let many: Vec<String> = (0..20_000).map(|number| format!(r#""{number}":0"#)).collect();
    assert_short(format!("{{{}}}", many.join(",")), "invalid_request");
    assert_short(format!("{{{}", many.join(",")), "invalid_request");
    client.assert_lives();
}

#[test]
fn members_that_are_there_twice_are_an_error() {
    let control = patient([echo()]);
    let client = control.connect();
    for twice in [r#""version":1"#, r#""command":"help""#, r#""params":{}"#, r#""id":"8""#] {
        let reply = client.ask(format!(r#"{{"version":1,"command":"echo","params":{{}},"id":"7",{twice}}}"#));
        assert_eq!(reply["code"], "invalid_request", "{reply}");
        assert!(reply["errors"][0].as_str().unwrap().contains("duplicate"), "{reply}");
    }
    client.assert_lives();
}

#[test]
fn ids_are_repeated_as_they_are() {
    let control = patient([echo(), wrong()]);
    let client = control.connect();
    let long = "x".repeat(100_000);
    for id in ["", "0", "7", "  ", "\0", "\"\\/", "\u{1f514} né\n\u{7f}", "null", &long] {
        for command in ["echo", "wrong", "nothing", "help"] {
            client.send(json!({"version": 1, "command": command, "id": id}).to_string());
            assert_eq!(client.receive().unwrap()["id"], id);
        }
        client.send(json!({"version": 1, "command": "echo", "id": id, "params": null}).to_string());
        assert_eq!(client.receive().unwrap()["id"], id);
    }
    // The same again is no mistake: it is the client who tells its requests apart.
    for _ in 0..3 {
        assert_eq!(client.run("echo")["id"], "run");
    }
}

#[test]
fn requests_are_answered_in_any_order() {
    let (later, put_by) = later();
    let control = Control::start([later, echo()]);
    let client = control.connect();
    for number in 0..100 {
        client.command("later", &number.to_string());
    }
    // Meanwhile others are answered, of this session and of others.
    client.assert_lives();
    control.connect().assert_lives();
    wait_for(&put_by, 100);
    assert!(client.is_silent(std::time::Duration::from_millis(20)));
    let mut responders = std::mem::take(&mut *put_by.lock().unwrap());
    responders.reverse();
    for (number, (_, responder)) in responders.into_iter().enumerate() {
        assert_eq!(responder.id(), Some(&*(99 - number).to_string()));
        responder.reply(number).unwrap();
    }
    for number in 0..100 {
        let reply = client.receive().unwrap();
        assert_eq!((&reply["id"], &reply["result"]), (&json!((99 - number).to_string()), &json!(number)));
    }
    client.assert_lives();
}

#[test]
fn replies_from_other_threads_reach_their_own_clients() {
    let command = Command::new("square", "Squares a number.").defers(|_, number: Number, responder| {
        thread::spawn(move || responder.reply(number.number * number.number));
    });
    let control = Control::start([command]);
    let clients: Vec<_> = (0..5_u64).map(|client| (client, control.connect())).collect();
    for round in 0..20 {
        for (client, wire) in &clients {
            let number = client * 1000 + round;
            let id = number.to_string();
            wire.send(
                json!({"version": 1, "command": "square", "params": {"number": number}, "id": id})
                    .to_string(),
            );
        }
    }
    for (client, wire) in &clients {
        let mut answered = Vec::new();
        for _ in 0..20 {
            let reply = wire.receive().unwrap();
            let number: u64 = reply["id"].as_str().unwrap().parse().unwrap();
            assert_eq!(reply["result"], number * number);
            answered.push(number);
        }
        answered.sort_unstable();
        assert_eq!(answered, (client * 1000..client * 1000 + 20).collect::<Vec<_>>());
        wire.assert_lives();
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Number {
    number: u64,
}

#[test]
fn a_responder_that_is_dropped_answers_that_it_was() {
    let (later, put_by) = later();
    let control =
        Control::start([later, Command::new("forgets", "Forgets to answer.").defers(|_, (): (), _| {})]);
    let client = control.connect();
    let given_up = ["the request was given up without an answer"];
    assert_fails(&client.run("forgets"), "dropped", &given_up);

    client.command("later", "1");
    drop(take(&put_by));
    let reply = client.receive().unwrap();
    assert_fails(&reply, "dropped", &given_up);
    assert_eq!(reply["id"], "1");

    // So does a thread that panics.
    client.command("later", "2");
    let responder = take(&put_by);
    let panicked = thread::spawn(move || {
        let _responder = responder;
        panic!("as it should");
    });
    assert!(panicked.join().is_err());
    assert_fails(&client.receive().unwrap(), "dropped", &given_up);
    client.assert_lives();
}

#[test]
fn a_responder_answers_with_errors_too() {
    let (later, put_by) = later();
    let control = Control::start([later]);
    let client = control.connect();
    client.command("later", "1");
    take(&put_by).fail(Failure::new("one").and("two").code("both").with("retry_ms", 5)).unwrap();
    let text = client.receive_text().unwrap();
    assert_eq!(
        text,
        r#"{"version":1,"id":"1","ok":false,"code":"both","errors":["one","two"],"retry_ms":5}"#
    );
    client.command("later", "2");
    take(&put_by).fail(Failure::new("as text")).unwrap();
    assert_fails(&client.receive().unwrap(), "failed", &["as text"]);
    client.assert_lives();
}

#[test]
fn an_answer_after_the_sessions_end_is_an_error_and_nobody_elses() {
    let (later, put_by) = later();
    let control = Control::start([later]);
    let client = control.connect();
    for id in ["1", "2", "3"] {
        client.command("later", id);
    }
    wait_for(&put_by, 3);
    assert!(put_by.lock().unwrap()[0].1.is_wanted());
    drop(client);
    let other = control.connect();
    other.assert_lives();
    wait_until("the session to end", || control.handle.sessions().len() == 1);
    for (number, (_, responder)) in std::mem::take(&mut *put_by.lock().unwrap()).into_iter().enumerate() {
        assert!(!responder.is_wanted());
        match number {
            0 => assert_eq!(responder.reply("late"), Err(ReplyError)),
            1 => assert_eq!(responder.fail(Failure::new("late")), Err(ReplyError)),
            _ => drop(responder),
        }
    }
    other.assert_lives();
    control.running.settle();
    assert_eq!(control.handle.stats().replies, 2);
}

#[test]
fn a_responder_may_outlive_the_server_and_its_loop() {
    let (later, put_by) = later();
    let control = Control::start([later]);
    let client = control.connect();
    client.command("later", "1");
    client.command("later", "2");
    wait_for(&put_by, 2);
    let Control { running, handle } = control;
    running.stop();
    drop(handle);
    let mut responders = std::mem::take(&mut *put_by.lock().unwrap());
    assert_eq!(responders.pop().unwrap().1.reply(1), Err(ReplyError));
    drop(responders);
    client.assert_ends();
}

#[test]
fn a_session_that_ends_after_a_reply_delivers_it_first() {
    let ends = Command::new("ends", "Ends the session.").answers(|call, (): ()| {
        call.end_after_reply();
        Ok("x".repeat(100_000))
    });
    let fails = Command::new("fails", "Ends the session, as it can't be used.").answers(|call, (): ()| {
        call.end_after_reply();
        Err::<(), _>(Failure::new("no use"))
    });
    let before = Command::new("before", "Is told before it hands over.").defers(|call, (): (), responder| {
        call.end_after_reply();
        thread::spawn(move || responder.reply("x".repeat(100_000)));
    });
    let while_away = Command::new("away", "Decides elsewhere.").defers(|_, (): (), mut responder| {
        thread::spawn(move || {
            responder.end_after_reply();
            responder.reply("x".repeat(100_000))
        });
    });
    let control = Control::start([ends, fails, before, while_away, echo()]);
    for command in ["ends", "fails", "before", "away"] {
        let client = control.connect();
        client.command("echo", "1");
        client.command(command, "2");
        assert_eq!(client.receive().unwrap()["id"], "1", "{command}");
        let reply = client.receive().unwrap();
        assert_eq!((&reply["id"], &reply["ok"]), (&json!("2"), &json!(command != "fails")), "{command}");
        client.assert_ends();
    }
}

#[test]
fn a_session_that_ends_after_a_reply_does_so_although_the_handler_panics() {
    let here = Command::new("here", "").answers(|call, (): ()| {
        call.end_after_reply();
        if call.id().is_some() { panic!("as it should") } else { Ok(()) }
    });
    let (later, put_by) = later();
    let of_handler = Arc::clone(&put_by);
    let there = Command::new("there", "").defers(move |call, (): (), responder| {
        call.end_after_reply();
        of_handler.lock().unwrap().push((Value::Null, responder));
        panic!("as it should");
    });
    let control = patient([here, there, later, echo()]);
    let client = control.connect();
    assert_eq!(client.run("here")["code"], "panicked");
    client.assert_ends();

    let client = control.connect();
    client.command("there", "1");
    wait_for(&put_by, 1);
    client.assert_lives();
    take(&put_by).reply("done").unwrap();
    assert_eq!(client.receive().unwrap()["result"], "done");
    client.assert_ends();
}

#[test]
fn requests_behind_the_one_that_ends_the_session_are_not_run() {
    let runs = Arc::new(AtomicUsize::new(0));
    let of_command = Arc::clone(&runs);
    let count = Command::new("count", "Counts.").answers(move |_, (): ()| {
        of_command.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let ends = Command::new("ends", "Ends the session.").answers(|call, (): ()| {
        call.end_after_reply();
        Ok("bye")
    });
    let control = Control::start([count, ends]);
    let client = control.connect();
    let held = control.running.hold();
    for (command, id) in [("count", "1"), ("ends", "2"), ("count", "3"), ("count", "4")] {
        client.command(command, id);
    }
    held.release();
    assert_eq!(client.receive().unwrap()["id"], "1");
    assert_eq!(client.receive().unwrap()["result"], "bye");
    client.assert_ends();
    drop(client);
    wait_until("the session to end", || control.handle.sessions().is_empty());
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[test]
fn a_failures_members_are_merged_into_the_reply_and_can_not_replace_what_each_has() {
    let failing = Command::new("fails", "Fails with all it has.").answers(|_, (): ()| {
        let members =
            json!({"hint": {"try": [1, 2]}, "version": 2, "id": "8", "ok": true, "code": "x", "errors": []});
        let Value::Object(members) = members else { unreachable!("it is an object") };
        Err::<(), _>(
            Failure::new("one").and("two").and("three").code("own").with("when", 5).with_all(members),
        )
    });
    let control = Control::start([failing]);
    let client = control.connect();
    client.command("fails", "7");
    let text = client.receive_text().unwrap();
    let reply: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({
        "version": 1, "id": "7", "ok": false, "code": "own", "errors": ["one", "two", "three"],
        "hint": {"try": [1, 2]}, "when": 5
    });
    assert_eq!(reply, expected);
    for member in ["\"version\"", "\"id\"", "\"ok\"", "\"code\"", "\"errors\""] {
        assert_eq!(text.matches(member).count(), 1, "{member} in {text}");
    }
    // Without an id in the request there is none in the reply, whatever the failure says.
    let reply = client.ask(r#"{"version":1,"command":"fails"}"#);
    assert_eq!(reply.get("id"), None);
}

#[test]
fn errors_of_other_kinds_become_failures() {
    let read = Command::new("read", "Reads a file that is not there.")
        .answers(|_, (): ()| Ok(std::fs::read_to_string("/nowhere/at/all")?));
    let control = Control::start([read]);
    assert_fails(&control.connect().run("read"), "failed", &["No such file or directory (os error 2)"]);
}

#[test]
fn an_unknown_commands_error_lists_those_there_are() {
    let control = Control::start([echo(), wrong()]);
    let client = control.connect();
    for command in ["ehco", "", "Echo", "help ", "\n`"] {
        client.send(json!({"version": 1, "command": command, "id": "7"}).to_string());
        let reply = client.receive().unwrap();
        let text = format!("there is no command `{}`: there are echo, help, wrong", command.escape_debug());
        assert_fails(&reply, "unknown_command", &[&text]);
        assert_eq!(reply["commands"], json!(["echo", "help", "wrong"]));
        assert_eq!(reply["id"], "7");
    }
    client.assert_lives();
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its form matters")]
struct Everything {
    count: u32,
    #[serde(default, rename = "long-name")]
    text: String,
    mode: Option<Mode>,
    #[serde(default)]
    nested: Vec<Number>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Fast,
    Slow,
}

#[test]
fn help_lists_the_commands_with_what_they_take() {
    let full = Command::new("full", "Takes everything.")
        .parameter("count", "how many")
        .parameter("long-name", "what it is called")
        .role("operator")
        .answers(|_, _: Everything| Ok(()));
    let any =
        Command::new("any", "Takes anything.").parameter("free", "whatever").answers(|_, _: Value| Ok(()));
    let control = Control::start([full, any]);
    let client = control.connect();
    let of = |name: &str, kind: &str, required: bool, doc: &str| json!({"name": name, "type": kind, "required": required, "doc": doc});
    let full = json!({
        "name": "full", "summary": "Takes everything.", "role": "operator", "parameters": [
            of("count", "integer", true, "how many"),
            of("long-name", "string", false, "what it is called"),
            of("mode", "one of fast|slow", false, ""),
            of("nested", "array", false, ""),
        ]
    });
    let any = json!({
        "name": "any", "summary": "Takes anything.", "role": null,
        "parameters": [of("free", "any", false, "whatever")]
    });
    let reply = client.run("help");
    assert_eq!(reply["result"]["commands"][0], any);
    assert_eq!(reply["result"]["commands"][1], full);
    assert_eq!(reply["result"]["commands"][2]["name"], "help");
    assert_eq!(reply["result"]["commands"][2]["parameters"][0]["name"], "command");
    assert_eq!(reply["result"]["commands"].as_array().unwrap().len(), 3);

    let reply = client.ask(r#"{"version":1,"command":"help","params":{"command":"full"}}"#);
    assert_eq!(reply["result"], json!({"commands": [full]}));
    let reply = client.ask(r#"{"version":1,"command":"help","params":{"command":"fall"}}"#);
    assert_eq!(
        (&reply["code"], &reply["commands"]),
        (&json!("unknown_command"), &json!(["any", "full", "help"]))
    );
}

#[test]
fn parameters_are_checked_before_the_handler_and_errors_name_the_field() {
    let runs = Arc::new(AtomicUsize::new(0));
    let (of_answers, of_defers) = (Arc::clone(&runs), Arc::clone(&runs));
    let answers = Command::new("answers", "Takes everything.").answers(move |_, _: Everything| {
        of_answers.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let defers = Command::new("defers", "Takes everything.").defers(move |_, _: Everything, responder| {
        of_defers.fetch_add(1, Ordering::SeqCst);
        responder.reply(()).unwrap();
    });
    let none = Command::new("none", "Takes nothing.").answers(|_, (): ()| Ok(()));
    let control = patient([answers, defers, none]);
    let client = control.connect();
    let wrong = [
        ("{}", "params.count: missing"),
        (r#"{"count":"x"}"#, r#"params.count: invalid type: string "x", expected u32"#),
        (r#"{"count":-1}"#, "params.count: invalid value: integer `-1`, expected u32"),
        (r#"{"count":1,"long-name":5}"#, "params.long-name: invalid type: integer `5`, expected a string"),
        (r#"{"count":1,"mode":"fats"}"#, "params.mode: unknown variant `fats`, expected `fast` or `slow`"),
        (
            r#"{"count":1,"nested":[{"number":1},{"number":true}]}"#,
            "params.nested[1].number: invalid type: boolean `true`, expected u64",
        ),
        (
            r#"{"count":1,"cuont":1}"#,
            "params.cuont: unknown, expected one of `count`, `long-name`, `mode`, `nested`",
        ),
    ];
    for command in ["answers", "defers"] {
        for (params, error) in wrong {
            let reply =
                client.ask(format!(r#"{{"version":1,"command":"{command}","params":{params},"id":"7"}}"#));
            assert_fails(&reply, "invalid_params", &[error]);
            assert_eq!(reply["id"], "7");
        }
    }
    let reply = client.ask(r#"{"version":1,"command":"none","params":{"all":true}}"#);
    assert_fails(&reply, "invalid_params", &["params.all: unknown, there are no fields"]);
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    for command in ["answers", "defers"] {
        let reply = client.ask(format!(r#"{{"version":1,"command":"{command}","params":{{"count":1}}}}"#));
        assert_eq!(reply["ok"], true);
    }
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[test]
fn a_command_is_added_once_and_replaced_on_request() {
    let one = |answer: &'static str| Command::new("one", answer).answers(move |_, (): ()| Ok(answer));
    let mut router = router([one("first")]);
    let error = router.add(one("second")).unwrap_err();
    assert_eq!(error, CommandError::Duplicate { command: "one".to_owned() });
    assert!(error.to_string().contains("`one`"), "{error}");
    assert!(matches!(router.add(help()), Err(CommandError::Duplicate { .. })));

    let replaced = router.replace(one("third")).unwrap();
    assert_eq!(replaced.unwrap().summary(), "first");
    assert!(router.replace(help()).unwrap().is_some());
    assert!(router.replace(Command::new("two", "").answers(|_, (): ()| Ok(()))).unwrap().is_none());

    let (_running, handle) = server::Running::start(move |event_loop| {
        campana::control::ControlServer::bind(control::name()).start(event_loop, router).unwrap()
    });
    let client = Wire::connect(&handle.server().local_addresses()[0]);
    assert_eq!(client.run("one")["result"], "third");
    assert_eq!(client.run("help")["result"], "help yourself");
}

fn help() -> Command {
    Command::new("help", "Is of no help.").answers(|_, (): ()| Ok("help yourself"))
}

#[test]
fn documentation_of_a_parameter_that_is_not_there_is_refused() {
    let misspelt = || {
        Command::new("full", "Takes everything.")
            .parameter("cuont", "how many")
            .answers(|_, _: Everything| Ok(()))
    };
    let expected =
        CommandError::UnknownParameter { command: "full".to_owned(), parameter: "cuont".to_owned() };
    let mut router = Router::new();
    assert_eq!(router.add(misspelt()).unwrap_err(), expected);
    assert!(router.command("full").is_none());
    router.add(Command::new("full", "The first.").answers(|_, (): ()| Ok(()))).unwrap();
    assert_eq!(router.replace(misspelt()).unwrap_err(), expected);
    assert_eq!(router.command("full").unwrap().summary(), "The first.", "it is still there");
    let none = Command::new("none", "Takes nothing.").parameter("any", "what").answers(|_, (): ()| Ok(()));
    assert!(matches!(router.add(none), Err(CommandError::UnknownParameter { .. })));
}

/// Can't be written without a panic.
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("as it should");
    }
}

/// Can't be read without a panic.
struct Unreadable;

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("as it should");
    }
}

#[test]
fn a_panic_is_answered_and_ends_neither_this_session_nor_others() {
    let commands = [
        Command::new("handler", "").answers(|_, (): ()| -> Result<(), Failure> { panic!("as it should") }),
        Command::new("result", "").answers(|_, (): ()| Ok(Unwritable)),
        Command::new("params", "").answers(|_, _: Unreadable| Ok(())),
        Command::new("deferred params", "").defers(|_, _: Unreadable, responder| drop(responder)),
        echo(),
    ];
    let control = Control::start(commands);
    let (client, other) = (control.connect(), control.connect());
    other.assert_lives();
    for command in ["handler", "result", "params", "deferred params"] {
        client.command("echo", "before");
        client.command(command, "7");
        client.command("echo", "behind");
        assert_eq!(client.receive().unwrap()["id"], "before", "{command}");
        let reply = client.receive().unwrap();
        assert_fails(&reply, "panicked", &["the command's handler panicked"]);
        assert_eq!(reply["id"], "7", "{command}");
        assert_eq!(client.receive().unwrap()["id"], "behind", "{command}");
        client.assert_lives();
        other.assert_lives();
    }
}

#[test]
fn a_panic_with_a_responder_in_hand_is_answered_once() {
    let (later, put_by) = later();
    let here = Command::new("here", "").defers(|_, (): (), _responder| panic!("as it should"));
    let there = Command::new("there", "").defers(|_, (): (), responder| {
        thread::spawn(move || responder.reply(Unwritable));
    });
    let answered = Command::new("answered", "").defers(|_, (): (), responder| {
        responder.reply("first").unwrap();
        panic!("as it should");
    });
    let control = Control::start([here, there, answered, later]);
    let client = control.connect();
    client.command("later", "1");
    wait_for(&put_by, 1);
    for command in ["here", "there"] {
        assert_eq!(client.run(command)["code"], "dropped", "{command}");
        client.assert_lives();
    }
    assert_eq!(client.run("answered")["result"], "first");
    client.assert_lives();
    take(&put_by).reply("still there").unwrap();
    assert_eq!(client.receive().unwrap()["result"], "still there");
    client.assert_lives();
}

#[test]
fn a_reply_that_no_packet_takes_is_answered_by_an_error() {
    let (later, put_by) = later();
    let large = Command::new("large", "").answers(|_, (): ()| Ok("x".repeat(4 << 20)));
    let failing =
        Command::new("failing", "").answers(|_, (): ()| Err::<(), _>(Failure::new("x".repeat(4 << 20))));
    let control = Control::start([large, failing, later, echo()]);
    let client = control.connect();
    let assert_too_large = |reply: Value, id: &str| {
        assert_eq!((&reply["code"], &reply["id"]), (&json!("too_large"), &json!(id)), "{reply}");
        let text = reply["errors"][0].as_str().unwrap();
        assert!(text.starts_with("the reply has 4194") && text.contains("ask for less"), "{text}");
    };
    for command in ["large", "failing"] {
        client.command("echo", "before");
        client.command(command, "7");
        client.command("echo", "behind");
        assert_eq!(client.receive().unwrap()["id"], "before");
        assert_too_large(client.receive().unwrap(), "7");
        assert_eq!(client.receive().unwrap()["id"], "behind");
    }
    client.command("later", "8");
    take(&put_by).reply("x".repeat(4 << 20)).unwrap();
    assert_too_large(client.receive().unwrap(), "8");
    // More than may be pending at all: nor is its client a slow one.
    client.command("later", "with a descriptor");
    let descriptor = std::fs::File::open("/dev/null").unwrap().into();
    take(&put_by).reply_with_descriptors("x".repeat(4 << 20), vec![descriptor]).unwrap();
    assert_too_large(client.receive().unwrap(), "with a descriptor");
    client.command("later", "9");
    take(&put_by).reply("x".repeat(16 << 20)).unwrap();
    let reply = client.receive().unwrap();
    assert_eq!((&reply["code"], &reply["id"]), (&json!("too_large"), &json!("9")), "{reply}");
    client.assert_lives();
}

#[test]
fn a_result_that_json_has_no_form_for_is_answered_by_an_error() {
    let (later, put_by) = later();
    let keys = || std::collections::HashMap::from([((1, 2), 3)]);
    let now = Command::new("now", "").answers(move |_, (): ()| Ok(keys()));
    let control = Control::start([now, later]);
    let client = control.connect();
    let expected = ["the result can't be written as JSON: key must be a string"];
    assert_fails(&client.run("now"), "failed", &expected);
    client.command("later", "1");
    take(&put_by).reply(keys()).unwrap();
    assert_fails(&client.receive().unwrap(), "failed", &expected);
    client.assert_lives();
}

#[test]
fn a_request_that_is_too_long_is_an_error_and_never_half_a_request() {
    let control =
        Control::configured([echo()], |server| server.configure(|config| config.max_request = 1000));
    let client = control.connect();
    let of_length = |length: usize| {
        let frame = r#"{"version":1,"command":"echo","id":"7"}"#;
        // Cut off anywhere behind the frame it would be a request.
        format!("{frame}{}", " ".repeat(length - frame.len()))
    };
    for length in [1001, 1002, 2000, 100_000] {
        client.send(of_length(length));
        client.send(of_length(1000));
        let reply = client.receive().unwrap();
        assert_fails(
            &reply,
            "invalid_request",
            &["the request has more than 1000 bytes: send less at a time"],
        );
        assert_eq!(reply.get("id"), None);
        assert_eq!(client.receive().unwrap()["id"], "7", "{length}");
    }
    client.assert_lives();
}

#[test]
fn a_peer_that_closes_its_side_still_gets_all_its_replies() {
    let (later, put_by) = later();
    let control = Control::start([later, echo()]);
    let client = control.connect();
    let held = control.running.hold();
    client.command("later", "1");
    client.command("echo", "2");
    client.command("later", "3");
    client.half_close();
    held.release();
    assert_eq!(client.receive().unwrap()["id"], "2");
    wait_for(&put_by, 2);
    for id in ["1", "3"] {
        assert_eq!(control.handle.sessions().len(), 1, "it is still owed something");
        let (_, responder) = put_by.lock().unwrap().remove(0);
        responder.reply(()).unwrap();
        assert_eq!(client.receive().unwrap()["id"], id);
    }
    client.assert_ends();
    wait_until("the session to end", || control.handle.sessions().is_empty());
}

#[test]
fn too_many_requests_in_flight_are_refused_one_by_one() {
    let (later, put_by) = later();
    let control =
        Control::configured([later, echo()], |server| server.configure(|config| config.max_in_flight = 3));
    let client = control.connect();
    for id in ["1", "2", "3"] {
        client.command("later", id);
    }
    wait_for(&put_by, 3);
    let reply = client.run("later");
    assert_eq!(reply["code"], "busy", "{reply}");
    assert!(reply["errors"][0].as_str().unwrap().contains("max_in_flight"), "{reply}");
    assert_eq!(client.run("echo")["ok"], true, "what is answered at once is answered");
    put_by.lock().unwrap().remove(0).1.reply("one").unwrap();
    assert_eq!(client.receive().unwrap()["id"], "1");
    client.command("later", "4");
    wait_for(&put_by, 3);
    put_by.lock().unwrap().clear();
    for id in ["2", "3", "4"] {
        assert_eq!(client.receive().unwrap()["id"], id);
    }
    client.assert_lives();
    assert_eq!(control.handle.stats().busy, 1);
}

#[test]
fn a_handler_knows_its_request_and_its_peer() {
    let tell = Command::new("tell", "Tells what it knows.").answers(|call, (): ()| {
        let peer = call.peer();
        Ok(json!({
            "command": call.command(), "id": call.id(), "pid": peer.pid, "uid": peer.uid, "gid": peer.gid,
            "commands": call.router().commands().map(Command::name).collect::<Vec<_>>(),
            "in": call.counts().in_msg_count, "out": call.counts().out_msg_count,
            "connections": call.context().connections().len(),
        }))
    });
    let control = Control::start([tell]);
    let client = control.connect();
    let told = |id| {
        json!({
            "command": "tell", "id": id, "pid": std::process::id(), "uid": rustix::process::geteuid().as_raw(),
            "gid": rustix::process::getegid().as_raw(), "commands": ["help", "tell"], "in": 1, "out": 0, "connections": 1,
        })
    };
    assert_eq!(client.run("tell")["result"], told(Some("run")));
    drop(client);
    wait_until("the session to end", || control.handle.sessions().is_empty());
    assert_eq!(control.connect().ask(r#"{"version":1,"command":"tell"}"#)["result"], told(None));
}

#[test]
fn the_librarys_client_gets_along_with_all_of_it() {
    let (later, put_by) = later();
    let control = patient([later, echo(), wrong()]);
    let mut client = ControlClient::connect(control.address()).unwrap();
    client.set_timeout(Some(PATIENCE));
    let echoed: Value = client.request("echo", &json!({"a": 1})).unwrap();
    assert_eq!(echoed, json!({"a": 1}));
    let first = client.send("later", &json!({"n": 1})).unwrap();
    let second = client.send("later", &json!({"n": 2})).unwrap();
    wait_for(&put_by, 2);
    for (params, responder) in std::mem::take(&mut *put_by.lock().unwrap()).into_iter().rev() {
        responder.reply(params["n"].clone()).unwrap();
    }
    assert_eq!(client.wait(&first).unwrap().into_result::<u64>().unwrap(), 1);
    assert_eq!(client.wait(&second).unwrap().into_result::<u64>().unwrap(), 2);
    assert!(client.request::<_, Value>("wrong", &()).unwrap_err().to_string().contains("wrong as ever"));
    assert!(client.request::<_, Value>("nothing", &()).is_err());
    let commands: Value = client.request("help", &()).unwrap();
    assert_eq!(commands["commands"].as_array().unwrap().len(), 4);
}
