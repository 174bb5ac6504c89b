//! `im chat`, driven from pipes against `im serve`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are tests too.

use std::io::Write;
use std::process::{Command, Stdio};

use support::{Program, Server, field};

mod support;

/// Runs a chat on a script, and gives its status and its lines.
fn run_script(server: &Server, options: &[&str], script: &str) -> (Option<i32>, Vec<String>, String) {
    let mut program = Program::start(&[&["chat", "--connect", &server.address()], options].concat());
    program.say_last(script);
    let ended = program.wait();
    (ended.status, ended.stdout, ended.stderr)
}

/// The lines that commands end with.
fn results(lines: &[String]) -> Vec<&str> {
    let is_result = |line: &&str| line.starts_with("ok ") || line.starts_with("error ");
    lines.iter().map(String::as_str).filter(is_result).collect()
}

#[test]
fn two_users_register_meet_and_chat() {
    let server = Server::start();
    let address = server.address();
    let script = "/register ann\n/register bob\n/login ann\n/add bob hi, it's ann\n/logout\n/quit\n";
    let (status, lines, _) = run_script(&server, &["--strict"], script);
    assert_eq!(status, Some(0), "{lines:#?}");
    assert_eq!(
        results(&lines),
        [
            "ok register user=1",
            "ok register user=2",
            "ok login user=1 name=ann acknowledged=0",
            "ok add user=2",
            "ok logout",
            "ok quit"
        ]
    );

    let mut ann = Program::chat(&address, "ann", &[]);
    ann.expect("caught-up");
    let mut bob = Program::chat(&address, "bob", &["--client", "mobile"]);
    let (before, _) = bob.ask_after("/friends");
    let application = before.iter().find(|line| line.starts_with("application ")).unwrap();
    assert!(application.contains("user=1 name=ann") && application.ends_with(r#"text="hi, it's ann""#));
    bob.ask("/accept ann");
    let accepted = ann.expect("friend accepted");
    assert!(accepted.contains("user=2 name=bob") && accepted.contains("devices=mobile:online"), "{accepted}");

    bob.ask("/status busy");
    assert_eq!(ann.expect("presence"), "presence user=2 name=bob devices=mobile:busy");
    let sent = bob.ask("/msg ann  two  spaces");
    let got = ann.expect("message");
    assert!(got.starts_with("message in=user:2 number=1 from=2 name=bob client=mobile "), "{got}");
    assert!(got.ends_with(r#"text=" two  spaces""#), "{got}");
    assert_eq!(field(&got, "position"), field(&sent, "position"));
    ann.ask("/to bob");
    ann.say("not a command");
    ann.expect("ok say in=user:2 number=2");
    assert!(bob.expect("message").ends_with(r#"text="not a command""#));
    bob.ask("/read ann 2");
    assert_eq!(ann.expect("read"), "read in=user:2 user=2 name=bob number=2");

    bob.end_input();
    assert_eq!(ann.expect("presence"), "presence user=2 name=bob devices=none");
    assert_eq!(bob.wait().status, Some(0));
    let (history, end) = ann.ask_after("/history bob");
    assert_eq!(history.iter().map(|line| field(line, "number")).collect::<Vec<_>>(), ["2", "1"]);
    assert_eq!(end, "ok history count=2 more=false");
    ann.say("/quit");
    assert_eq!(ann.wait().status, Some(0));
}

#[test]
fn groups_teams_and_remarks_by_commands() {
    let server = Server::start();
    server.make_friends(["ann", "bob", "cid"]);
    let script = "/group create the pub\n/team create work\n/team move bob work\n/remark bob the tall one\n\
                  /group msg 1 first\n/group members 1\n/group find THE\n/friends\n/multi bob,cid to both\n\
                  /conversations\n/nickname Ann A.\n/signature here\n/find b\n/team rename work play\n\
                  /team delete play\n/remove cid\n/group leave 1";
    let (status, lines, _) = run_script(&server, &["--strict", "--user", "ann"], script);
    assert_eq!(status, Some(0), "{lines:#?}");
    let has = |beginning: &str, end: &str| {
        assert!(
            lines.iter().any(|line| line.starts_with(beginning) && line.ends_with(end)),
            "{beginning} .. {end}: {lines:#?}"
        );
    };
    has("ok group-create group=1", "");
    has("ok group-msg in=group:1 number=1", "duplicate=false");
    has("member user=1 name=ann", "devices=pc:online");
    has("group found group=1 members=1", r#"name="the pub""#);
    has("friend user=2 name=bob", r#"remark="the tall one" team="work" devices=none"#);
    has("team name=\"work\"", "");
    has("sent in=user:2 number=1", "");
    has("sent in=user:3 number=1", "");
    has("conversation in=group:1 last=1", r#"name="the pub""#);
    has("ok nickname user=1 name=ann", r#"nickname="Ann A." signature="""#);
    has("user user=2 name=bob", "");
    has("ok remove user=3", "");
    has("ok group-leave", "");
}

#[test]
fn failures_are_one_line_each_and_with_strict_the_last() {
    let server = Server::start();
    server.register("ann");
    server.register("bob");
    let script = "/msg bob hello\n/frobnicate\n/msg nobody hello\n/status asleep\n/find a";
    let expected = [
        "error msg not_a_friend",
        "error frobnicate usage",
        "error msg no_such_user",
        "error status usage",
        "ok find count=1",
    ];
    let (status, lines, _) = run_script(&server, &["--user", "ann"], script);
    assert_eq!(status, Some(0));
    let results = results(&lines);
    assert_eq!(results.len(), expected.len(), "{results:#?}");
    for (result, expected) in results.iter().zip(expected) {
        assert!(result.starts_with(expected), "{results:#?}");
    }
    let (status, lines, _) = run_script(&server, &["--user", "ann", "--strict"], script);
    assert_eq!(status, Some(1));
    assert_eq!(lines.iter().filter(|line| line.starts_with("error")).count(), 1);
    assert!(!lines.iter().any(|line| line.starts_with("ok find")));
}

#[test]
fn the_password_is_that_of_the_file() {
    let server = Server::start();
    server.register("ann");
    let file = std::env::temp_dir().join(format!("im-test-password-{}", std::process::id()));
    for (password, status) in [(support::PASSWORD, 0), ("another one", 1)] {
        std::fs::write(&file, format!("{password}\n")).unwrap();
        let options = ["--user", "ann", "--password-file", file.to_str().unwrap()];
        let (ended, lines, _) = run_script(&server, &options, "/quit");
        assert_eq!(ended, Some(status), "{lines:#?}");
    }
    std::fs::remove_file(&file).unwrap();
    let (status, _, stderr) = run_script(&server, &["--user", "ann", "--password-file", "/nowhere"], "");
    assert_eq!(
        (status, stderr.as_str()),
        (Some(1), "im: /nowhere: No such file or directory (os error 2)\n")
    );
}

#[test]
fn without_a_server_it_ends_with_one_line_and_status_1() {
    let mut server = Server::start();
    server.terminate();
    let (status, lines, stderr) = run_script(&server, &[], "/help");
    let expected = "im: can't connect: connection refused: nobody listens there\n";
    assert_eq!((status, lines, stderr.as_str()), (Some(1), vec![], expected));
}

#[test]
fn it_connects_again_and_goes_on_with_its_commands() {
    let mut server = Server::start();
    server.make_friends(["ann", "bob"]);
    let mut chat = Program::chat(&server.address(), "ann", &["--strict"]);
    chat.ask("/msg bob one");
    server.kill();
    chat.expect("disconnected");
    chat.say("/msg bob two");
    server.start_again();
    chat.expect("logged-in user=1 name=ann");
    assert!(chat.expect("ok msg").contains("number=2"));
    chat.end_input();
    assert_eq!(chat.wait().status, Some(0));
}

#[test]
fn compressed_sessions_say_the_same() {
    let server = Server::start();
    server.make_friends(["ann", "bob"]);
    let mut ann = Program::chat(&server.address(), "ann", &["--compress"]);
    let mut bob = Program::chat(&server.address(), "bob", &["--compress"]);
    bob.expect("caught-up");
    let text = "again and again ".repeat(4000);
    ann.ask(&format!("/msg bob {text}"));
    assert!(bob.expect("message").ends_with(&format!("text={text:?}")));
    let (before, _) = bob.ask_after("/history ann");
    assert!(before.last().unwrap().ends_with(&format!("text={text:?}")));
    ann.end_input();
    assert_eq!(ann.wait().status, Some(0));
}

#[test]
fn waiting_takes_the_messages_that_have_come() {
    let server = Server::start();
    let [_, bob] = server.make_friends(["ann", "bob"]);
    let mut ann = server.log_in("ann", support::Device::Pc);
    for count in 0..3 {
        ann.say(im::protocol::Conversation::User(bob), &count.to_string(), "hello").unwrap();
    }
    let script = "/wait 2\n/wait 1\n/wait 1 0.01";
    let (status, lines, _) = run_script(&server, &["--user", "bob"], script);
    assert_eq!(status, Some(0));
    let expected = ["ok wait messages=2", "ok wait messages=1", "error wait timeout \"0 messages came\""];
    assert_eq!(results(&lines), expected);
}

#[test]
fn the_end_of_the_input_is_the_end_while_the_server_is_away_too() {
    let mut server = Server::start();
    server.make_friends(["ann", "bob"]);
    let mut at_end = Program::chat(&server.address(), "ann", &[]);
    let mut quitting = Program::chat(&server.address(), "bob", &[]);
    at_end.expect("caught-up");
    quitting.expect("caught-up");
    server.kill();
    at_end.expect("unreachable");
    quitting.expect("unreachable");
    at_end.end_input();
    quitting.say("/quit");
    assert_eq!(at_end.wait().status, Some(0));
    assert_eq!(quitting.wait().status, Some(0));
}

#[test]
fn input_may_be_a_file_and_output_may_be_closed() {
    let server = Server::start();
    let file = std::env::temp_dir().join(format!("im-test-script-{}", std::process::id()));
    std::fs::File::create(&file).unwrap().write_all(b"/register ann password\n/help\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_im"));
    command.args(["chat", "--connect", &server.address()]).stdin(std::fs::File::open(&file).unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("ok help"));
    command.stderr(Stdio::null());
    let mut child =
        command.stdin(std::fs::File::open(&file).unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    std::fs::remove_file(&file).unwrap();
}
