//! The example `ctl`, a command line for control sockets, run as a process against a control server of this one.
#![allow(clippy::duplicate_mod, reason = "both helpers wait with the same patience")]

use std::fs::File;
use std::process::{Command as Process, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use campana::control::{Access, Command, ControlServer, Failure, Responder, Router};
use program::{Ended, path_of, run};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use server::{PATIENCE, Running};
use terminal::Terminal;

#[allow(dead_code)] // What the tests of other examples need of it.
#[path = "support/program.rs"]
mod program;
#[path = "support/server.rs"]
mod server;
#[allow(dead_code)] // What the tests of `top` need of it.
#[path = "support/terminal.rs"]
mod terminal;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    a: i64,
    #[serde(default)]
    b: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Find {
    filter: String,
    limit: Option<u8>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    #[serde(rename = "0")]
    Nothing,
    Warn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Log {
    level: Option<Level>,
}

fn json_text(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.into()).unwrap()
}

fn router() -> Router {
    let mut router = Router::new();
    let mut add = |command| {
        router.add(command).unwrap();
    };
    add(Command::new("add", "Adds two numbers.")
        .parameter("a", "the first number")
        .parameter("b", "the second number")
        .answers(|_, Add { a, b }| Ok(a + b)));
    add(Command::new("find", "Finds.").answers(|_, Find { filter, limit }| Ok(json!([filter, limit]))));
    add(Command::new("log", "Tells what is logged.")
        .parameter("level", "what is logged from now on")
        .answers(|_, Log { level }| Ok(level)));
    add(Command::new("echo", "Answers with its parameters.").answers(|_, params: Value| Ok(params)));
    add(Command::new("result", "Answers with any JSON.")
        .answers(|_, params: Value| Ok(json_text(params["json"].as_str().unwrap_or_default()))));
    add(Command::new("fail", "Fails.").answers(|_, (): ()| {
        Err::<(), _>(
            Failure::new("it is closed").and("come \u{1b}[31magain").code("closed").with("retry_ms", 5),
        )
    }));
    add(Command::new("never", "Answers never.").defers(|_, (): (), responder: Responder| {
        static WAITING: Mutex<Vec<Responder>> = Mutex::new(Vec::new());
        WAITING.lock().unwrap().push(responder);
    }));
    add(Command::new("leave", "Ends the session.").answers(|call, (): ()| {
        call.terminate();
        Ok(())
    }));
    add(Command::new("reboot", "Ends it all.").role("admin").answers(|_, (): ()| Ok(())));
    router
}

/// A control server, and its name.
fn serve() -> (Running, String) {
    serve_to(Access::All)
}

fn serve_to(access: Access) -> (Running, String) {
    static NUMBER: Mutex<u32> = Mutex::new(0);
    let number = {
        let mut number = NUMBER.lock().unwrap();
        *number += 1;
        *number
    };
    let name = format!("@{}-{number}", program::unique("ctl"));
    let at = name.clone();
    let (running, _) = Running::start(move |event_loop| {
        let control = ControlServer::bind(at).authorize(move |_| access.clone());
        control.start(event_loop, router()).unwrap()
    });
    (running, name)
}

/// What the program prints if all goes well.
#[track_caller]
fn output(name: &str, arguments: &[&str]) -> String {
    let ended = run("ctl", &[&[name], arguments].concat());
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""), "{ended:?}");
    ended.stdout.iter().map(|line| format!("{line}\n")).collect()
}

#[track_caller]
fn assert_fails(ended: &Ended, status: i32, text: &str) {
    assert_eq!(ended.status, Some(status), "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
    assert!(ended.stderr.starts_with("ctl: ") && ended.stderr.contains(text), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}

/// The text of a result.
#[track_caller]
fn shown(name: &str, json: &str) -> String {
    output(name, &["result", &format!("json={}", Value::from(json))])
}

#[test]
fn parameters_are_json_or_text_and_may_lie_in_objects() {
    let (_running, name) = serve();
    assert_eq!(output(&name, &["add", "a=1", "b=2"]), "3\n");
    let arguments = [
        "--json",
        "echo",
        "number=1.5",
        "text=hello world",
        "quoted=\"7\"",
        "truth=true",
        "nothing=null",
        "list=[1,2]",
        "empty=",
        "equals=a=b",
        "at.home.cat=1",
        "at.home.dog=x",
        "at.work:={\"fish\":2}",
        "at.work.bird=no",
    ];
    let expected = json!({
        "number": 1.5, "text": "hello world", "quoted": "7", "truth": true, "nothing": null, "list": [1, 2], "empty": "",
        "equals": "a=b", "at": {"home": {"cat": 1, "dog": "x"}, "work": {"fish": 2, "bird": "no"}},
    });
    assert_eq!(serde_json::from_str::<Value>(&output(&name, &arguments)).unwrap(), expected);
}

#[test]
fn what_a_command_takes_as_text_is_text_whatever_it_looks_like() {
    let (_running, name) = serve();
    assert_eq!(output(&name, &["--json", "find", "filter=7000", "limit=5"]), "[\"7000\",5]\n");
    assert_eq!(output(&name, &["--json", "find", "filter=true"]), "[\"true\",null]\n");
    assert_eq!(output(&name, &["--json", "log", "level=0"]), "\"0\"\n");
    assert_fails(&run("ctl", &[&name, "log", "level=7"]), 1, "unknown variant `7`");
    let forced = run("ctl", &[&name, "find", "filter:=7000"]);
    assert_fails(&forced, 1, "invalid_params: params.filter: invalid type: integer");
}

#[test]
fn lists_of_objects_are_tables_and_all_else_is_lines() {
    let (_running, name) = serve();
    let list = r#"[{"name":"a","size":5,"at":{"x":1,"y":[]}},{"name":"b\u001bb","at":{"x":10,"y":["p","q"]},"new":""}]"#;
    let expected = "\
name      size  at.x  at.y  new
a            5     1  -     -
b\\u{1b}b     -    10  p,q   \"\"
";
    assert_eq!(shown(&name, list), expected);
    assert_eq!(shown(&name, &format!(r#"{{"list":{list}}}"#)), expected);
    let with_others = shown(&name, &format!(r#"{{"total":2,"list":{list},"at":{{"z":"here"}}}}"#));
    assert_eq!(with_others, format!("total: 2\nat.z: here\n\n{expected}"));
    let two_lists = shown(&name, r#"{"a":[{"x":1}],"b":[{"x":2}]}"#);
    assert_eq!(two_lists, "a: [{\"x\":1}]\nb: [{\"x\":2}]\n");
    assert_eq!(shown(&name, r#"{"list":[],"total":0}"#), "list: -\ntotal: 0\n");
    assert_eq!(shown(&name, r#"{"names":["a","b"],"none":null,"x":1.50}"#), "names: a,b\nnone: -\nx: 1.5\n");
    assert_eq!(shown(&name, r#"{"z":1,"a":"two\nlines"}"#), "z: 1\na: two\\nlines\n");
    for (json, text) in
        [("7", "7\n"), ("true", "true\n"), ("[1,2]", "1,2\n"), ("null", ""), ("{}", ""), ("[]", "-\n")]
    {
        assert_eq!(shown(&name, json), text, "{json}");
    }
}

#[test]
fn tables_have_no_long_lists_of_numbers_and_few_digits() {
    let (_running, name) = serve();
    let json = r#"[{"counts":[0,1,2,3,4,5,6,7,8],"few":[1,2],"rate":645.1980681400718,"small":0.00002}]"#;
    let expected = "\
counts     few     rate    small
9 numbers  1,2  645.198  0.00002
";
    assert_eq!(shown(&name, json), expected);
    assert_eq!(shown(&name, r#"{"counts":[0,1,2,3,4,5,6,7,8]}"#), "counts: 0,1,2,3,4,5,6,7,8\n");
}

#[test]
fn a_table_too_wide_for_the_terminal_has_a_line_for_each_member() {
    let (_running, name) = serve();
    let shown = |json: &str| {
        let terminal = Terminal::start("ctl-wide", 60, 20);
        terminal.run(&format!("{} {name} result 'json:={}'", path_of("ctl").display(), Value::from(json)));
        terminal.wait_for("the end", |screen| screen.contains("status=0"))
    };
    let member = "a_name_of_thirty_characters";
    let list = format!(r#"[{{"{member}_1":1,"{member}_2":"x","c":7}},{{"{member}_1":10,"{member}_2":"y"}}]"#);
    let turned = format!("{member}_1  1  10\n{member}_2  x  y\nc{}7  -\n", " ".repeat(30));
    assert!(shown(&list).starts_with(&turned));
    let narrow = r#"[{"a":1,"b":2},{"a":10,"b":3}]"#;
    assert!(shown(narrow).starts_with(" a  b\n 1  2\n10  3\n"));
}

#[test]
fn text_is_printed_as_it_is() {
    let (_running, name) = serve();
    assert_eq!(shown(&name, r#""plain""#), "plain\n");
    assert_eq!(shown(&name, r#""two\n\tlines\n""#), "two\n\tlines\n");
    assert_eq!(
        shown(&name, r##"{"content_type":"text/plain","text":"# HELP a b\na 1\n"}"##),
        "# HELP a b\na 1\n"
    );
}

#[test]
fn what_a_server_says_does_nothing_to_a_terminal() {
    let (_running, name) = serve();
    let text = "a\u{1b}[2Jb\u{9b}2Jc";
    for (result, option, shown) in [
        (json!(text), "", r"a\u{1b}[2Jb\u{9b}2Jc"),
        (json!({"text": text}), "", r"a\u{1b}[2Jb\u{9b}2Jc"),
        (json!([[text, {}]]), "", r#"[["a\u001b[2Jb\u{9b}2Jc",{}]]"#),
        (json!(text), "--json", r#""a\u001b[2Jb\u009b2Jc""#),
    ] {
        let terminal = Terminal::start("ctl-escapes", 60, 20);
        // The shell is not to have them in its hands either.
        let json = Value::from(result.to_string().replace('\u{9b}', r"\u009b"));
        terminal.run(&format!("{} {option} {name} result 'json:={json}'", path_of("ctl").display()));
        let screen = terminal.wait_for("the end", |screen| screen.contains("status=0"));
        assert!(screen.starts_with(&format!("{shown}\n")), "{screen}");
    }
}

#[test]
fn json_is_the_result_as_it_came() {
    let (_running, name) = serve();
    let json = r#"{"z":1,"a":[{"y":1.50},{"b":"\u001b"}],"text":"x"}"#;
    let text = format!("json={}", Value::from(json));
    assert_eq!(output(&name, &["result", &text, "--json"]), format!("{json}\n"));
}

#[test]
fn help_lists_commands_and_shows_what_one_takes() {
    let (_running, name) = serve();
    let list = output(&name, &["help"]);
    assert!(
        list.contains("\nadd     Adds two numbers.\n") || list.starts_with("add     Adds two numbers.\n"),
        "{list}"
    );
    assert!(list.contains("reboot  Ends it all. (role admin)\n"), "{list}");
    let expected = format!(
        "\
Adds two numbers.

Usage: ctl {name} add a=.. [b=..]

  a  integer  the first number
  b  integer  the second number
"
    );
    assert_eq!(output(&name, &["help", "add"]), expected);
    assert_eq!(output(&name, &["help", "command=add"]), expected);
    let expected = "  level  string  what is logged from now on (one of 0|warn)\n";
    assert!(output(&name, &["help", "log"]).ends_with(expected));
    assert!(output(&name, &["help", "reboot"]).starts_with("Ends it all. (role admin)\n"));
    let listed: Value = serde_json::from_str(&output(&name, &["help", "--json"])).unwrap();
    assert_eq!(listed["commands"][0]["name"], "add");
    assert_fails(&run("ctl", &[&name, "help", "hlep"]), 1, "unknown_command: there is no command `hlep`");
}

#[test]
fn an_error_of_the_server_is_status_1_and_its_texts() {
    let (_running, name) = serve();
    let ended = run("ctl", &[&name, "fail"]);
    assert_fails(&ended, 1, "closed: it is closed; come \\u{1b}[31magain\n");
    let ended = run("ctl", &["--json", &name, "fail"]);
    assert_eq!((ended.status, ended.stdout.len()), (Some(1), 0));
    let error: Value = serde_json::from_str(&ended.stderr).unwrap();
    let expected =
        json!({"code": "closed", "errors": ["it is closed", "come \u{1b}[31magain"], "retry_ms": 5});
    assert_eq!(error, expected);
    assert_fails(&run("ctl", &[&name, "hlep"]), 1, "unknown_command: there is no command `hlep`");
    assert_fails(&run("ctl", &[&name, "hlep", "a=1"]), 1, "unknown_command");
    assert_fails(&run("ctl", &[&name, "add", "b=1"]), 1, "params.a: missing");
}

#[test]
fn who_may_not_is_told_so() {
    let (_running, name) = serve_to(Access::roles(["operator"]));
    assert_fails(&run("ctl", &[&name, "reboot"]), 1, "not_permitted");
    assert_eq!(output(&name, &["add", "a=1"]), "1\n");
    let (_running, name) = serve_to(Access::Refused);
    // With a question before the command, and without.
    for arguments in [["add", "a=1"], ["add", "a=x"]] {
        assert_fails(&run("ctl", &[&[&*name], &arguments[..]].concat()), 1, "refused: ");
    }
}

#[test]
fn wrong_arguments_are_status_2() {
    let (_running, name) = serve();
    for (arguments, text) in [
        (&[][..], "PATH and COMMAND are needed"),
        (&[&*name], "PATH and COMMAND are needed"),
        (&[&name, "add", "1"], "write KEY=VALUE"),
        (&[&name, "add", "=1"], "empty name"),
        (&[&name, "add", "a..b=1"], "empty name"),
        (&[&name, "add", "a:=x"], "a is no JSON"),
        (&[&name, "add", "a=1", "a=2"], "a is given more than once"),
        (&[&name, "echo", "a=1", "a.b=2"], "a is no object"),
        (&[&name, "echo", "a.b=1", "a=2"], "a is given more than once"),
        (&[&name, "add", "--fast"], "unknown option \"--fast\""),
        (&[&name, "add", "--", "--fast"], "write KEY=VALUE"),
        (&[&name, "add", "--json=1"], "--json takes no value"),
        (&[&name, "add", "--json", "--table"], "exclude each other"),
        (&[&name, "add", "--timeout", "soon"], "--timeout SECONDS can't be soon"),
        (&[&name, "add", "--timeout=0"], "more than zero"),
        (&["", "add"], "needs a name"),
        (&["unix:/run/app.sock", "add"], "no address of a control socket"),
    ] {
        assert_fails(&run("ctl", arguments), 2, text);
    }
    let help = run("ctl", &["--help"]);
    assert_eq!(help.status, Some(0));
    let help = help.stdout.join("\n");
    assert!(
        help.contains("Usage: ctl [OPTION]... PATH COMMAND [KEY=VALUE]...")
            && help.contains("Exit status: 0")
    );
}

#[test]
fn no_server_and_no_answer_are_status_3() {
    assert_fails(&run("ctl", &["/nowhere/at/all.sock", "help"]), 3, "seqpacket:/nowhere/at/all.sock");
    let (running, name) = serve();
    let from = Instant::now();
    assert_fails(&run("ctl", &[&name, "--timeout", "0.05", "never"]), 3, "no answer in time");
    assert!(from.elapsed() < PATIENCE && from.elapsed() >= Duration::from_millis(50));
    assert_fails(&run("ctl", &[&name, "leave"]), 3, "closed the connection");
    running.stop();
    assert_fails(&run("ctl", &[&name, "help"]), 3, "can't be connected to");
}

/// Runs the program with such a standard output, to its end.
fn run_into(stdout: impl Into<Stdio>, arguments: &[&str]) -> (Option<i32>, String) {
    let program = Process::new(path_of("ctl")).args(arguments).stdout(stdout).output().unwrap();
    (program.status.code(), String::from_utf8(program.stderr).unwrap())
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_and_a_full_disk_is_one() {
    let (_running, name) = serve();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(run_into(writer, &[&name, "help"]), (Some(0), String::new()));
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (status, stderr) = run_into(full, &[&name, "help"]);
    assert_eq!(status, Some(3));
    assert!(stderr.starts_with("ctl: No space left"), "{stderr}");
}
