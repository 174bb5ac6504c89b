//! What is said while somebody is away: delivered later, in order, once; and what has been said before.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are tests too.

use im::protocol::{
    Conversation, ErrorCode, History, JoinGroup, LeaveGroup, ListConversations, MarkRead, Message, ReadEvent,
};
use support::{Client, Device, Program, Server, field};

mod support;

fn numbers(messages: &[Message]) -> Vec<i64> {
    messages.iter().map(|message| message.number).collect()
}

#[test]
fn what_was_missed_comes_after_log_in_in_order_until_it_is_acknowledged() {
    let server = Server::start();
    let [ann, bob] = server.make_friends(["ann", "bob"]);
    let group = server.make_group(&["ann", "bob"]);
    let mut sender = server.log_in("ann", Device::Pc);
    // More than a page.
    for count in 0..150 {
        let to = if count % 3 == 0 { group } else { Conversation::User(bob) };
        sender.say(to, &count.to_string(), &count.to_string()).unwrap();
    }
    let expected: Vec<String> = (0..150).map(|count| count.to_string()).collect();
    let texts =
        |messages: &[Message]| messages.iter().map(|message| message.text.clone()).collect::<Vec<_>>();

    let mut reader = server.log_in("bob", Device::Pc);
    let missed = reader.missed();
    assert_eq!(texts(&missed), expected);
    assert!(missed.is_sorted_by(|one, two| one.position < two.position));
    assert!(missed.iter().all(|message| message.sender == ann));
    // Nothing was acknowledged: it comes again, and then from where it was.
    let mut reader = server.log_in("bob", Device::Pc);
    assert_eq!(texts(&reader.missed()), expected);
    reader.acknowledge(missed[99].position);
    reader.acknowledge(missed[50].position);
    let mut reader = server.connect();
    let logged_in = reader.log_in("bob", Device::Pc).unwrap();
    assert_eq!(logged_in.acknowledged, missed[99].position);
    assert_eq!(texts(&reader.missed()), expected[100..]);
    reader.acknowledge(missed[149].position);
    sender.say(Conversation::User(bob), "new", "new").unwrap();
    assert_eq!(reader.event::<Message>().text, "new");
    drop(reader);
    // Another kind of device has a cursor of its own.
    assert_eq!(texts(&server.log_in("bob", Device::Pc).missed()), ["new"]);
    assert_eq!(server.log_in("bob", Device::Web).missed().len(), 1);
}

#[test]
fn a_position_that_was_not_sent_acknowledges_what_was() {
    let server = Server::start();
    let [_, bob] = server.make_friends(["ann", "bob"]);
    let mut reader = server.log_in("bob", Device::Pc);
    reader.missed();
    reader.acknowledge(i64::MAX);
    drop(reader);
    server.log_in("ann", Device::Pc).say(Conversation::User(bob), "1", "one").unwrap();
    assert_eq!(numbers(&server.log_in("bob", Device::Pc).missed()), [1]);
}

#[test]
fn a_chat_prints_what_was_missed_once() {
    let server = Server::start();
    let [_, bob] = server.make_friends(["ann", "bob"]);
    let mut sender = server.log_in("ann", Device::Pc);
    for run in 0..2 {
        for count in 0..3 {
            sender
                .say(Conversation::User(bob), &format!("{run} {count}"), &format!("{run} {count}"))
                .unwrap();
        }
        let mut chat = Program::chat(&server.address(), "bob", &[]);
        let (before, _) = chat.expect_after("caught-up");
        let messages = before.iter().filter(|line| line.starts_with("message "));
        let numbers: Vec<String> = messages.map(|line| field(line, "number").to_owned()).collect();
        assert_eq!(numbers, [1, 2, 3].map(|number| (run * 3 + number).to_string()));
        chat.end_input();
        assert_eq!(chat.wait().status, Some(0));
    }
}

#[test]
fn history_comes_by_pages_from_the_latest_back() {
    let server = Server::start();
    let [ann, bob] = server.make_friends(["ann", "bob"]);
    let mut sender = server.log_in("ann", Device::Pc);
    for count in 1..=120 {
        sender.say(Conversation::User(bob), &count.to_string(), &count.to_string()).unwrap();
    }
    let mut reader = server.log_in("bob", Device::Pc);
    let mut page = |before, limit| {
        let page = reader.request(&History { conversation: Conversation::User(ann), before, limit });
        page.map(|page| (numbers(&page.messages), page.more))
    };
    let down = |from: i64, to: i64| (to..=from).rev().collect::<Vec<_>>();
    assert_eq!(page(None, None), Ok((down(120, 71), true)));
    assert_eq!(page(Some(71), Some(60)), Ok((down(70, 11), true)));
    assert_eq!(page(Some(11), Some(100)), Ok((down(10, 1), false)));
    assert_eq!(page(Some(1), None), Ok((vec![], false)));
    assert_eq!(page(None, Some(1)), Ok((vec![120], true)));
}

#[test]
fn a_group_shows_its_members_what_was_said_while_they_were_in_it() {
    let server = Server::start();
    server.make_friends(["ann", "bob", "cid"]);
    let group = server.make_group(&["ann", "bob"]);
    let Conversation::Group(id) = group else { unreachable!() };
    let mut sender = server.log_in("ann", Device::Pc);
    let mut member = server.log_in("cid", Device::Pc);
    member.missed();
    let history = History { conversation: group, before: None, limit: None };
    assert_eq!(member.request(&history).unwrap_err().code, ErrorCode::NotAMember);
    let mut say = |text: &str| sender.say(group, text, text).unwrap().number;
    assert_eq!(say("before"), 1);
    member.request(&JoinGroup { group: id }).unwrap();
    assert_eq!(say("during"), 2);
    member.request(&LeaveGroup { group: id }).unwrap();
    assert_eq!(say("after"), 3);
    assert_eq!(member.event::<Message>().text, "during");
    let page = member.request(&history).unwrap();
    assert_eq!((numbers(&page.messages), page.more), (vec![2], false));
    assert_eq!(member.say(group, "x", "x").unwrap_err().code, ErrorCode::NotAMember);
    let texts: Vec<String> =
        server.log_in("cid", Device::Pc).missed().into_iter().map(|message| message.text).collect();
    assert_eq!(texts, ["during"]);
}

#[test]
fn read_markers_are_the_users_and_never_go_back() {
    let server = Server::start();
    let [ann, bob] = server.make_friends(["ann", "bob"]);
    let mut writer = server.log_in("ann", Device::Pc);
    for count in 1..=5 {
        writer.say(Conversation::User(bob), &count.to_string(), "x").unwrap();
    }
    let mut reader = server.log_in("bob", Device::Pc);
    let mut other = server.log_in("bob", Device::Mobile);
    let mark = |client: &mut Client, number| {
        client.request(&MarkRead { conversation: Conversation::User(ann), number }).unwrap();
    };
    mark(&mut reader, 3);
    let seen: ReadEvent = writer.event();
    assert_eq!((seen.conversation, seen.user, seen.number), (Conversation::User(bob), bob, 3));
    let seen: ReadEvent = other.event();
    assert_eq!((seen.conversation, seen.user, seen.number), (Conversation::User(ann), bob, 3));
    mark(&mut reader, 2);
    mark(&mut other, 4711);
    assert_eq!(writer.event::<ReadEvent>().number, 5);
    let state = |client: &mut Client| {
        let state = client.request(&ListConversations {}).unwrap().conversations[0].clone();
        (state.last, state.read, state.read_by_other)
    };
    assert_eq!(state(&mut server.log_in("bob", Device::Web)), (5, 5, Some(0)));
    assert_eq!(state(&mut server.log_in("ann", Device::Web)), (5, 0, Some(5)));
}
