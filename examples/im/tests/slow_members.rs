//! Members of a group who don't read, or have stopped altogether: the others notice nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are tests too.

use std::time::{Duration, Instant};

use im::protocol::{Conversation, Message, PresenceEvent};
use rustix::process::Signal;
use support::{Client, Device, Program, Server, field};

mod support;

/// Bytes of a message.
const LENGTH: usize = 32 * 1024;
/// More than the kernel's buffers, the server's for one client and its limits for all of them take.
const COUNT: usize = 1200;
/// By how much a server may grow in KiB, though what it has passed on is far more.
const GROWTH: u64 = 64 * 1024;
fn text(count: usize) -> String {
    format!("{count} {}", "x".repeat(LENGTH))
}

/// Whether these are all messages behind the first ones.
#[track_caller]
fn assert_rest(messages: &[Message], first: usize) {
    let numbers: Vec<i64> = messages.iter().map(|message| message.number).collect();
    assert_eq!(numbers, (first as i64 + 1..=COUNT as i64).collect::<Vec<_>>());
    for message in messages {
        assert_eq!(message.text, text(message.number as usize - 1));
    }
}

/// Sends all messages; the reader has each before the next one is sent.
fn say_all(sender: &mut Client, reader: &mut Client, to: Conversation, mut meanwhile: impl FnMut()) {
    for count in 0..COUNT {
        sender.say(to, &count.to_string(), &text(count)).unwrap();
        let message: Message = reader.event();
        assert_eq!((message.number, message.text), (count as i64 + 1, text(count)));
        reader.acknowledge(message.position);
        meanwhile();
    }
}

#[test]
fn a_member_who_reads_nothing_is_closed_and_catches_up_later() {
    // Long enough for most of the messages to be sent meanwhile.
    let server = Server::with_options(&["--stall", "8"]);
    server.make_friends(["ann", "bob", "cid"]);
    let group = server.make_group(&["ann", "bob", "cid"]);
    let mut sender = server.log_in("ann", Device::Pc);
    let mut reader = server.log_in("bob", Device::Pc);
    let mut slow = server.log_in("cid", Device::Pc);
    slow.missed();
    reader.missed();
    let before = server.program().memory_kib("VmRSS");
    let mut last_heartbeat = Instant::now();
    say_all(&mut sender, &mut reader, group, || {
        // It isn't silent: it only doesn't read.
        if last_heartbeat.elapsed() > Duration::from_secs(5) {
            let _ = slow.try_send_heartbeat();
            last_heartbeat = Instant::now();
        }
    });
    let grown = server.program().memory_kib("VmHWM") - before;
    assert!(grown < GROWTH, "{grown} KiB more for a member who doesn't read");

    // The reader is told when it is closed.
    let end = Instant::now() + support::PATIENCE;
    while !has_gone(&mut sender) {
        let _ = slow.try_send_heartbeat();
        reader.acknowledge(0);
        assert!(Instant::now() < end, "it is still there");
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut again = server.log_in("cid", Device::Pc);
    let all = again.missed();
    assert_rest(&all, 0);
    again.acknowledge(all[all.len() - 1].position);
    sender.say(group, "new", "new").unwrap();
    assert_eq!(again.event::<Message>().text, "new");
    // What had got to the slow one is the beginning, in order, and then the end.
    let mut got = 0;
    while let Some(message) = slow.message_if_any() {
        got += 1;
        assert_eq!(message.number, got);
    }
    assert!((got as usize) < COUNT, "it was not slow");
}

/// Whether a friend has no device any more.
fn has_gone(client: &mut Client) -> bool {
    let friends = client.request(&im::protocol::Friends {}).unwrap().friends;
    let cid = friends.iter().find(|friend| friend.profile.name == "cid").unwrap();
    cid.presence.is_empty()
}

#[test]
fn a_member_whose_process_has_stopped_is_dropped_and_gets_the_rest_when_it_goes_on() {
    let server = Server::with_options(&["--silence", "2"]);
    let [_, _, cid] = server.make_friends(["ann", "bob", "cid"]);
    let group = server.make_group(&["ann", "bob", "cid"]);
    let mut sender = server.log_in("ann", Device::Pc);
    let mut reader = server.log_in("bob", Device::Pc);
    let mut stopped = Program::chat(&server.address(), "cid", &[]);
    stopped.expect("caught-up");
    sender.events_so_far();
    sender.say(group, "first", "first").unwrap();
    stopped.expect("message");
    stopped.signal(Signal::STOP);

    let mut said = 1;
    let gone = loop {
        said += 1;
        let sent = sender.say(group, &said.to_string(), &text(0)).unwrap();
        assert_eq!(sent.number, said);
        while reader.event::<Message>().number < said {}
        reader.acknowledge(0);
        if has_gone(&mut sender) {
            break sender.event::<PresenceEvent>();
        }
        assert!(said < 100_000, "it is still there");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!((gone.user, gone.presence), (cid, vec![]));
    stopped.signal(Signal::CONT);
    // Some had got to it before, the others come over a new connection; none is missing, and none is there twice.
    let mut numbers = vec![1];
    let mut disconnected = false;
    while numbers.last() != Some(&said) {
        let line = stopped.line();
        disconnected |= line.starts_with("disconnected");
        if line.starts_with("message ") {
            numbers.push(field(&line, "number").parse().unwrap());
        }
    }
    assert!(disconnected);
    assert_eq!(numbers, (1..=said).collect::<Vec<_>>());
    stopped.say("/quit");
    assert_eq!(stopped.wait().status, Some(0));
}
