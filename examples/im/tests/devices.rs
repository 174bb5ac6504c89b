//! Several devices of a user, and what friends see of them.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are tests too.

use im::protocol::{
    ClientType, Command, Conversation, Friends, Heartbeat, KickReason, Kicked, Message, PresenceEvent,
    SetStatus, Status, UserId,
};
use support::{Client, Device, Program, Server};

mod support;

/// What a friend's presence is, in words.
fn presence(event: PresenceEvent) -> Vec<(ClientType, Status)> {
    event.presence.into_iter().map(|device| (device.client, device.status)).collect()
}

/// Who is with bob, as bob sees it.
fn friend_at(client: &mut Client, user: UserId) -> Vec<(ClientType, Status)> {
    let list = client.request(&Friends {}).unwrap();
    let friend = list.friends.into_iter().find(|friend| friend.profile.user == user).unwrap();
    friend.presence.into_iter().map(|device| (device.client, device.status)).collect()
}

#[test]
fn a_second_log_in_of_a_kind_kicks_the_first_and_friends_see_nothing() {
    let server = Server::start();
    let [ann, bob] = server.make_friends(["ann", "bob"]);
    let mut friend = server.log_in("bob", Device::Pc);
    let mut first = server.log_in("ann", Device::Mobile);
    assert_eq!(presence(friend.event()), [(Device::Mobile, Status::Online)]);
    let mut second = server.log_in("ann", Device::Mobile);
    assert_eq!(first.event::<Kicked>().reason, KickReason::LoggedInElsewhere);
    assert_eq!(first.until_closed(), []);
    // What is said to ann from now on comes to the second one, and to that alone.
    friend.say(Conversation::User(ann), "1", "hello").unwrap();
    assert_eq!(second.event::<Message>().text, "hello");
    assert_eq!(friend_at(&mut friend, ann), [(Device::Mobile, Status::Online)]);
    let told = friend.events_so_far();
    assert!(!told.contains(&Some(Command::Presence)), "{told:?}");
    drop(second);
    assert_eq!(presence(friend.event()), []);
    assert_eq!(friend_at(&mut server.log_in("ann", Device::Web), bob), [(Device::Pc, Status::Online)]);
}

#[test]
fn a_kicked_chat_says_so_and_ends_with_status_1() {
    let server = Server::start();
    server.register("ann");
    let first = Program::chat(&server.address(), "ann", &[]);
    first.expect("caught-up");
    let other_kind = Program::chat(&server.address(), "ann", &["--client", "web"]);
    other_kind.expect("caught-up");
    let second = Program::chat(&server.address(), "ann", &[]);
    second.expect("caught-up");
    first.expect("kicked logged_in_elsewhere");
    let ended = first.wait();
    assert_eq!(ended.status, Some(1));
    for mut chat in [other_kind, second] {
        chat.ask("/friends");
        chat.end_input();
        assert_eq!(chat.wait().status, Some(0));
    }
}

#[test]
fn a_new_password_ends_the_other_sessions() {
    let server = Server::start();
    server.register("ann");
    let mut other = server.log_in("ann", Device::Mobile);
    let mut chat = Program::chat(&server.address(), "ann", &[]);
    chat.ask(&format!("/password {} another1", support::PASSWORD));
    assert_eq!(other.event::<Kicked>().reason, KickReason::PasswordChanged);
    other.until_closed();
    chat.ask("/friends");
    let refused = server.connect().log_in("ann", Device::Mobile).unwrap_err();
    assert_eq!(refused.code, im::protocol::ErrorCode::WrongPassword);
    server.connect().log_in_with("ann", "another1", Device::Mobile, Status::Online).unwrap();
}

#[test]
fn all_devices_get_all_messages_but_their_own() {
    let server = Server::start();
    let [ann, bob] = server.make_friends(["ann", "bob"]);
    let kinds = [Device::Mobile, Device::Pc, Device::Web];
    let mut of_ann = kinds.map(|kind| server.log_in("ann", kind));
    let mut of_bob = kinds.map(|kind| server.log_in("bob", kind));
    for (index, sender) in of_ann.iter_mut().enumerate() {
        sender.say(Conversation::User(bob), &index.to_string(), kinds[index].name()).unwrap();
    }
    let texts = |client: &mut Client, count: usize| {
        (0..count).map(|_| client.event::<Message>()).map(|message| message.text).collect::<Vec<_>>()
    };
    for client in &mut of_bob {
        assert_eq!(texts(client, 3), ["mobile", "pc", "web"]);
    }
    for (index, client) in of_ann.iter_mut().enumerate() {
        let mut expected = vec!["mobile", "pc", "web"];
        expected.remove(index);
        let got: Vec<Message> = (0..2).map(|_| client.event()).collect();
        assert!(got.iter().all(|message| message.sender == ann));
        assert!(got.iter().all(|message| message.conversation == Conversation::User(bob)));
        assert_eq!(got.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), expected);
        assert!(!client.events_so_far().contains(&Some(Command::Message)));
    }
}

#[test]
fn friends_see_every_device_its_status_and_nothing_of_invisible_ones() {
    let server = Server::start();
    let [ann, _, _] = server.make_friends(["ann", "bob", "cid"]);
    let mut friend = server.log_in("bob", Device::Pc);
    let mut stranger = server.log_in("cid", Device::Pc);
    stranger.request(&im::protocol::DeleteFriend { user: ann }).unwrap();
    stranger.events_so_far();

    let mut mobile = server.log_in("ann", Device::Mobile);
    assert_eq!(presence(friend.event()), [(Device::Mobile, Status::Online)]);
    let mut web = server.connect();
    web.log_in_with("ann", support::PASSWORD, Device::Web, Status::Invisible).unwrap();
    web.request(&SetStatus { status: Status::Busy }).unwrap();
    assert_eq!(presence(friend.event()), [(Device::Mobile, Status::Online), (Device::Web, Status::Busy)]);
    mobile.request(&SetStatus { status: Status::Away }).unwrap();
    assert_eq!(presence(friend.event()), [(Device::Mobile, Status::Away), (Device::Web, Status::Busy)]);
    mobile.request(&SetStatus { status: Status::Invisible }).unwrap();
    assert_eq!(presence(friend.event()), [(Device::Web, Status::Busy)]);
    // From invisible to gone is no change.
    drop(mobile);
    drop(web);
    assert_eq!(presence(friend.event()), []);
    friend.request(&Heartbeat {}).unwrap();
    assert_eq!(friend.events_so_far(), []);
    assert_eq!(stranger.events_so_far(), []);
}
