//! `im bot` against `im serve`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are tests too.

use im::protocol::Status;
use support::{Device, Ended, Program, Server};

mod support;

const SMALL: [&str; 8] = ["--users", "12", "--groups", "2", "--rate", "200", "--seconds", "1"];

fn run(server: &Server, options: &[&str]) -> Ended {
    let address = server.address();
    Program::start(&[&["bot", "--connect", &address], &SMALL[..], options].concat()).wait()
}

/// The line of a summary that begins so.
#[track_caller]
fn line<'a>(ended: &'a Ended, name: &str) -> &'a str {
    ended.stdout.iter().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {ended:#?}"))
}

#[track_caller]
fn assert_good(ended: &Ended) {
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    assert!(line(ended, "check").starts_with("check         good: "), "{ended:#?}");
    assert!(line(ended, "trouble").ends_with("lost connections 0, sent again 0, delivered again 0"));
}

#[test]
fn users_chat_and_are_used_again_by_the_next_run() {
    let server = Server::start();
    for new in ["12 of them new", "0 of them new"] {
        let ended = run(&server, &[]);
        assert_good(&ended);
        assert!(line(&ended, "log-in").ends_with(new), "{ended:#?}");
        // 200 a second, but for what the scheduler makes of it.
        let sent: u64 = line(&ended, "sent").split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!((100..=220).contains(&sent), "{ended:#?}");
        assert!(line(&ended, "check").contains(&format!("{sent} messages")), "{ended:#?}");
        assert!(line(&ended, "delivered").contains("latency in ms: p50 "), "{ended:#?}");
    }
}

#[test]
fn users_on_several_loops_over_compressed_sessions() {
    let server = Server::with_options(&["--threads", "2"]);
    assert_good(&run(&server, &["--threads", "2", "--compress", "--length", "3000"]));
}

#[test]
fn two_users_are_enough() {
    let server = Server::start();
    assert_good(&run(&server, &["--users", "2", "--groups", "1"]));
}

#[test]
fn a_run_that_is_disturbed_ends_with_status_1_and_says_why() {
    let server = Server::start();
    let address = server.address();
    let bots = Program::start(&[&["bot", "--connect", &address], &SMALL[..], &["--seconds", "20"]].concat());
    bots.expect("log-in");
    server.connect().log_in_with("bot3", "bot-password", Device::Pc, Status::Online).unwrap();
    let ended = bots.wait();
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(1), "im: bot3 was kicked: LoggedInElsewhere\n"));

    let ended = run(&server, &["--password", "not the one"]);
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains("could not log in: "), "{ended:#?}");
}

#[test]
fn without_a_server_it_gives_up() {
    let mut server = Server::start();
    server.terminate();
    let ended = run(&server, &["--patience", "0.5"]);
    assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{ended:#?}");
}
