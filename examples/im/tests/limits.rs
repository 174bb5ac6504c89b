//! What the server doesn't take, and what follows from it.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are tests too.

use std::time::{Duration, Instant};

use im::protocol::{
    Command, ErrorCode, Friends, Heartbeat, LogIn, MAX_FRAME, MAX_FRAME_BEFORE_LOG_IN, Register, Status,
};
use support::{Client, Device, PASSWORD, Server};

mod support;

const HEARTBEAT: u16 = Command::Heartbeat.number();

/// A heart-beat of so many bytes behind its length.
fn padded(client: &mut Client, length: usize) -> u32 {
    let body = format!("{{{}}}", " ".repeat(length - 8));
    client.send_frame(HEARTBEAT, body.as_bytes())
}

#[test]
fn who_does_not_log_in_in_time_is_closed_whatever_is_said_meanwhile() {
    let server = Server::with_options(&["--log-in-deadline", "1"]);
    let began = Instant::now();
    let mut silent = server.connect();
    let mut talkative = server.connect();
    while !talkative.is_closed() {
        // Its writes may fail from the moment on at which it is closed.
        if talkative.try_send_heartbeat().is_err() {
            break;
        }
    }
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(silent.until_closed(), []);
    server.register("ann");
    let mut client = server.log_in("ann", Device::Pc);
    let mut late = server.connect();
    late.until_closed();
    client.request(&Heartbeat {}).unwrap();
}

#[test]
fn who_is_silent_is_dropped_and_heartbeats_keep_the_others() {
    let server = Server::with_options(&["--silence", "1"]);
    server.make_friends(["ann", "bob"]);
    let mut silent = server.log_in("ann", Device::Pc);
    let mut alive = server.log_in("bob", Device::Pc);
    let began = Instant::now();
    let mut gone = false;
    while !gone {
        alive.request(&Heartbeat {}).unwrap();
        gone = silent.is_closed();
        assert!(began.elapsed() < support::PATIENCE, "it is still there");
    }
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    alive.request(&Friends {}).unwrap();
}

#[test]
fn before_log_in_only_what_leads_to_it_is_taken() {
    let server = Server::start();
    server.register("ann");
    let mut client = server.connect();
    for command in Command::ALL.iter().filter(|command| !command.is_allowed_before_log_in()) {
        let seq = client.send_frame(command.number(), b"{}");
        assert_eq!(client.failure(seq).code, ErrorCode::NotLoggedIn, "{command:?}");
    }
    client.request(&Heartbeat {}).unwrap();
    client.log_in("ann", Device::Pc).unwrap();
    assert_eq!(client.log_in("ann", Device::Pc).unwrap_err().code, ErrorCode::AlreadyLoggedIn);
    client.request(&Friends {}).unwrap();
}

#[test]
fn unknown_commands_and_bad_bodies_are_answered_and_the_connection_stays() {
    let server = Server::start();
    server.register("ann");
    let mut client = server.log_in("ann", Device::Pc);
    for command in [10, 99, 127, 200, u16::MAX] {
        let seq = client.send_frame(command, b"{}");
        assert_eq!(client.failure(seq).code, ErrorCode::UnknownCommand, "{command}");
    }
    for body in [&b"{"[..], b"[]", b"null", b"\xff\xfe", b"", b"{\"conversation\":{\"user\":\"one\"}}"] {
        let seq = client.send_frame(Command::Send.number(), body);
        assert_eq!(client.failure(seq).code, ErrorCode::BadRequest, "{body:?}");
    }
    client.request(&Friends {}).unwrap();
}

#[test]
fn a_frame_of_an_impossible_length_ends_the_connection() {
    let server = Server::start();
    server.register("ann");
    for length in [0_u32, 1, 5, 1 << 31, u32::MAX, MAX_FRAME_BEFORE_LOG_IN as u32 + 1] {
        let mut client = server.connect();
        client.send_bytes(&length.to_be_bytes());
        assert_eq!(client.until_closed(), [], "{length}");
    }
    for length in [5, MAX_FRAME as u32 + 1] {
        let mut client = server.log_in("ann", Device::Pc);
        client.missed();
        client.send_bytes(&length.to_be_bytes());
        assert_eq!(client.until_closed(), [], "{length}");
    }
}

#[test]
fn frames_may_be_longer_after_log_in() {
    let server = Server::start();
    server.register("ann");
    let mut client = server.connect();
    let seq = padded(&mut client, MAX_FRAME_BEFORE_LOG_IN);
    client.reply::<Heartbeat>(seq).unwrap();
    client.log_in("ann", Device::Pc).unwrap();
    for length in [MAX_FRAME_BEFORE_LOG_IN + 1, MAX_FRAME] {
        let seq = padded(&mut client, length);
        client.reply::<Heartbeat>(seq).unwrap();
    }
}

#[test]
fn passwords_can_not_be_guessed_by_trying() {
    let server = Server::start();
    server.register("ann");
    server.register("bob");
    let mut client = server.connect();
    let mut guess = |name: &str, password: &str| {
        let answer = client.log_in_with(name, password, Device::Pc, Status::Online);
        answer.map_err(|failure| failure.code).map(drop)
    };
    for _ in 0..10 {
        assert_eq!(guess("ann", "not this one"), Err(ErrorCode::WrongPassword));
    }
    assert_eq!(guess("ann", PASSWORD), Err(ErrorCode::TooManyAttempts));
    assert_eq!(guess("nobody", "not this one"), Err(ErrorCode::WrongPassword));
    assert_eq!(guess("bob", PASSWORD), Ok(()));
}

#[test]
fn passwords_take_the_memory_of_one_hash_for_each_thread() {
    const HASH: u64 = 19_456;
    let server = Server::with_options(&["--password-memory", &HASH.to_string(), "--password-threads", "1"]);
    server.register("ann");
    for _ in 0..30 {
        server.log_in("ann", Device::Pc);
    }
    let most = server.program().memory_kib("VmHWM");
    assert!(most < 2 * HASH + 32 * 1024, "{most} KiB");
}

#[test]
fn names_and_passwords_have_to_be_fit() {
    let server = Server::start();
    server.register("ann");
    let mut client = server.connect();
    let mut register = |name: &str, password: &str| {
        let (name, password) = (name.to_owned(), password.to_owned());
        client.request(&Register { name, password, nickname: String::new() }).unwrap_err().code
    };
    assert_eq!(register("ANN", PASSWORD), ErrorCode::NameTaken);
    for name in ["", "a b", "ännchen", &"a".repeat(33)] {
        assert_eq!(register(name, PASSWORD), ErrorCode::BadRequest, "{name:?}");
    }
    for password in ["", "short", &"x".repeat(129)] {
        assert_eq!(register("bob", password), ErrorCode::BadRequest, "{password:?}");
    }
}

#[test]
fn a_log_in_may_come_with_others_behind_it_and_one_is_checked_at_a_time() {
    let server = Server::start();
    server.register("ann");
    let mut client = server.connect();
    let log_in = LogIn {
        name: "ann".to_owned(),
        password: PASSWORD.to_owned(),
        client: Device::Pc,
        status: Status::Online,
    };
    let first = client.send(&log_in);
    let second = client.send(&log_in);
    let mut answers = [0; 2].map(|_| client.next_reply_if_any::<LogIn>().unwrap());
    answers.sort_by_key(|(seq, _)| *seq);
    let codes = answers.map(|(seq, answer)| (seq, answer.map(drop).map_err(|failure| failure.code)));
    assert_eq!(codes, [(first, Ok(())), (second, Err(ErrorCode::AlreadyLoggedIn))]);
}
