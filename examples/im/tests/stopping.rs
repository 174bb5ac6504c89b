//! How the server begins and ends.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are tests too.

use std::process::Command;

use campana::control::ControlClient;
use im::protocol::{Conversation, Send};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Device, Program, Scratch, Server};

mod support;

#[test]
fn sigterm_answers_what_is_under_way_says_so_to_all_and_ends_with_status_0() {
    let mut server = Server::start();
    let [_, bob] = server.make_friends(["ann", "bob"]);
    let mut client = server.log_in("ann", Device::Pc);
    client.missed();
    let chat = Program::chat(&server.address(), "bob", &[]);
    chat.expect("caught-up");
    let (conversation, text) = (Conversation::User(bob), "last words".to_owned());
    let last = (0..50)
        .map(|count| client.send(&Send { conversation, client_id: count.to_string(), text: text.clone() }));
    let last = last.last().unwrap();
    // It has been read, and all before it.
    let mut answered = 0;
    while answered == 0 {
        answered = client.next_reply_if_any::<Send>().unwrap().0;
    }
    server.program().signal(Signal::TERM);
    let mut stored = 1;
    while let Some((_, answer)) = client.next_reply_if_any::<Send>() {
        answer.unwrap();
        stored += 1;
    }
    assert!(stored <= last);
    chat.expect("stopping");
    chat.expect("disconnected");
    drop(client);
    let ended = server.ended();
    assert_eq!((ended.status, ended.stdout.len()), (Some(0), 0), "{ended:?}");
    server.start_again();
    chat.expect("logged-in");
    // All that was answered is there, and what was not isn't there twice.
    let sent = server.log_in("ann", Device::Pc).say(conversation, "new", "new").unwrap();
    assert!(sent.number > stored.into() && sent.number <= 51, "{sent:?}, {stored} answered");
}

#[test]
fn clients_that_read_nothing_do_not_keep_it_from_ending() {
    let mut server = Server::start();
    server.make_friends(["ann", "bob"]);
    let stopped = Program::chat(&server.address(), "bob", &[]);
    stopped.expect("caught-up");
    stopped.signal(Signal::STOP);
    let _unread = server.log_in("ann", Device::Pc);
    server.program().signal(Signal::TERM);
    assert_eq!(server.ended().status, Some(0));
    stopped.signal(Signal::CONT);
}

#[test]
fn what_can_not_be_done_at_the_start_is_said_in_one_line() {
    let server = Server::start();
    let scratch = Scratch::new();
    let data = scratch.path().to_str().unwrap();
    let address = server.address();
    let file = scratch.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let attempts: [&[&str]; 5] = [
        &["serve", "--data", data, "--listen", &address],
        &["serve", "--data", data, "--listen", "nonsense"],
        &["serve", "--data", file.to_str().unwrap(), "--listen", "127.0.0.1:0"],
        &["serve", "--data", data, "--threads", "many"],
        &["frobnicate"],
    ];
    for arguments in attempts {
        let ended = Program::start(arguments).wait();
        assert_eq!((ended.status, ended.stdout.len()), (Some(1), 0), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{arguments:?}: {ended:?}");
        assert!(ended.stderr.starts_with("im: "), "{arguments:?}: {ended:?}");
    }
    let ended = Program::start(attempts[0]).wait();
    assert!(ended.stderr.contains("Address already in use"), "{ended:?}");
}

#[test]
fn two_servers_do_not_share_their_data() {
    let scratch = Scratch::new();
    let _server = Server::in_directory(scratch.path(), &[]);
    let data = scratch.path().to_str().unwrap();
    let ended = Program::start(&["serve", "--data", data, "--listen", "127.0.0.1:0"]).wait();
    assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
}

#[test]
fn several_addresses_are_listened_on_each_with_its_line() {
    let scratch = Scratch::new();
    let path = scratch.path().join("socket");
    let address = format!("unix:{}", path.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_im"));
    command.args(["serve", "--password-memory", "8", "--threads", "2", "--data"]).arg(scratch.path());
    let server = Program::spawn(command.args(["--listen", "127.0.0.1:0", "--listen", &address]));
    let tcp = server.expect("listening on 127.0.0.1:").replace("listening on ", "");
    assert_eq!(server.line(), format!("listening on {address}"));
    let mut first = Program::start(&["chat", "--connect", &tcp, "--strict"]);
    first.ask("/register ann");
    first.ask("/login ann");
    let mut second = Program::start(&["chat", "--connect", &address, "--strict", "--client", "mobile"]);
    second.ask("/login ann");
    assert_eq!(server.terminate().status, Some(0));
    assert!(!path.exists());
}

#[test]
fn over_its_control_socket_it_is_looked_into_and_drained() {
    let scratch = Scratch::new();
    let control = scratch.path().join("control.sock");
    let mut server =
        Server::in_directory(&scratch.path().join("data"), &["--control", control.to_str().unwrap()]);
    server.make_friends(["ann", "bob"]);
    let chat = Program::chat(&server.address(), "bob", &[]);
    chat.expect("caught-up");
    let mut operator = ControlClient::connect(control.as_path()).unwrap();
    let seen: Value = operator.request("sessions", &json!({"service": "im"})).unwrap();
    assert_eq!(seen["total"], 1, "{seen}");
    assert_eq!(seen["sessions"][0]["authenticated"], true, "{seen}");
    let answer: Value = operator.request("drain", &json!({"deadline_ms": 10_000})).unwrap();
    assert_eq!(answer, json!({"draining": ["im"]}));
    chat.expect("stopping");
    assert_eq!(server.ended().status, Some(0));
    assert!(!control.exists());
}
