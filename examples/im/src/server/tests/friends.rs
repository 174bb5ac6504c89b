use super::{TestServer, befriend, message};
use crate::protocol::{
    AcceptFriend, ApplyFriend, ClientType, Command, Conversation, CreateTeam, DeleteFriend, Device,
    ErrorCode, FriendChange, FriendEvent, Friends, LogOut, MoveToTeam, PresenceEvent, RefuseFriend,
    SetRemark, SetStatus, Status,
};

fn online(client: ClientType) -> Device {
    Device { client, status: Status::Online }
}

#[test]
fn an_application_is_told_answered_and_told_back() {
    let server = TestServer::start();
    let [ann, bob] = ["ann", "bob"].map(|name| server.register(name));
    let mut at_pc = server.log_in("ann", ClientType::Pc);
    let mut at_mobile = server.log_in("ann", ClientType::Mobile);
    let mut other = server.log_in("bob", ClientType::Web);
    at_pc.request(&ApplyFriend { user: bob, text: "hi".into() }).unwrap();
    let told = other.event::<FriendEvent>();
    assert_eq!((told.profile.user, told.change, &*told.text), (ann, FriendChange::Applied, "hi"));
    assert_eq!(other.request(&Friends {}).unwrap().applications[0].profile.user, ann);

    other.request(&AcceptFriend { user: ann }).unwrap();
    for client in [&mut at_pc, &mut at_mobile] {
        let told = client.event::<FriendEvent>();
        assert_eq!((told.profile.user, told.change), (bob, FriendChange::Accepted));
        assert_eq!(told.presence, [online(ClientType::Web)]);
    }
    let list = other.request(&Friends {}).unwrap();
    assert_eq!(list.applications, []);
    assert_eq!(list.friends[0].presence, [online(ClientType::Mobile), online(ClientType::Pc)]);
    assert_eq!(other.events_so_far(), []);
}

#[test]
fn a_refusal_is_told_to_the_applicant() {
    let server = TestServer::start();
    let [ann, bob] = ["ann", "bob"].map(|name| server.register(name));
    let mut clients = ["ann", "bob"].map(|name| server.log_in(name, ClientType::Pc));
    clients[0].request(&ApplyFriend { user: bob, text: String::new() }).unwrap();
    clients[1].request(&RefuseFriend { user: ann }).unwrap();
    let told = clients[0].event::<FriendEvent>();
    assert_eq!((told.profile.user, told.change), (bob, FriendChange::Refused));
    let to_bob = message(Conversation::User(bob), "1", "hello");
    assert_eq!(clients[0].request(&to_bob).unwrap_err().code, ErrorCode::NotAFriend);
}

#[test]
fn a_deleted_friend_is_told_and_sees_no_presence_any_more() {
    let server = TestServer::start();
    let [ann, bob] = ["ann", "bob"].map(|name| server.register(name));
    let mut clients = ["ann", "bob"].map(|name| server.log_in(name, ClientType::Pc));
    befriend(&mut clients, [ann, bob]);
    let [mut at_ann, mut at_bob] = clients;
    at_ann.request(&DeleteFriend { user: bob }).unwrap();
    let told = at_bob.event::<FriendEvent>();
    assert_eq!((told.profile.user, told.change), (ann, FriendChange::Deleted));
    at_ann.request(&SetStatus { status: Status::Busy }).unwrap();
    assert_eq!(at_bob.events_so_far(), []);
    assert_eq!(at_bob.request(&Friends {}).unwrap().friends, []);
}

#[test]
fn friends_see_each_other_come_change_and_go() {
    let server = TestServer::start();
    let [ann, _] = ["ann", "bob"].map(|name| server.register(name));
    let mut clients = ["ann", "bob"].map(|name| server.log_in(name, ClientType::Pc));
    befriend(&mut clients, [ann, crate::protocol::UserId(2)]);
    let [mut at_ann, mut at_bob] = clients;
    at_ann.request(&SetStatus { status: Status::Away }).unwrap();
    let away = Device { client: ClientType::Pc, status: Status::Away };
    assert_eq!(at_bob.event::<PresenceEvent>(), PresenceEvent { user: ann, presence: vec![away] });
    let mut at_mobile = server.log_in("ann", ClientType::Mobile);
    assert_eq!(at_bob.event::<PresenceEvent>().presence, [online(ClientType::Mobile), away]);
    at_ann.request(&SetStatus { status: Status::Invisible }).unwrap();
    assert_eq!(at_bob.event::<PresenceEvent>().presence, [online(ClientType::Mobile)]);
    at_mobile.request(&LogOut {}).unwrap();
    assert_eq!(at_bob.event::<PresenceEvent>().presence, []);
    // Who is invisible leaves without a word, and is there for messages all the same.
    at_ann.request(&LogOut {}).unwrap();
    at_ann.assert_closed();
    assert_eq!(at_bob.events_so_far(), []);
}

#[test]
fn a_connection_that_breaks_is_offline_to_friends() {
    let server = TestServer::start();
    let [at_ann, mut at_bob] = server.friends("ann", "bob");
    drop(at_ann);
    assert_eq!(at_bob.event::<PresenceEvent>().presence, []);
}

#[test]
fn remarks_and_teams_are_kept() {
    let server = TestServer::start();
    let [mut ann, mut bob] = server.friends("ann", "bob");
    let user = crate::protocol::UserId(2);
    ann.request(&SetRemark { user, remark: "tall".into() }).unwrap();
    ann.request(&CreateTeam { team: "work".into() }).unwrap();
    ann.request(&MoveToTeam { user, team: "work".into() }).unwrap();
    let list = ann.request(&Friends {}).unwrap();
    assert_eq!((&*list.friends[0].remark, &*list.friends[0].team), ("tall", "work"));
    assert_eq!(list.teams, ["work"]);
    assert_eq!(bob.request(&Friends {}).unwrap().teams, Vec::<String>::new());
    assert_eq!(bob.events_so_far(), Vec::<Command>::new());
    let bad = CreateTeam { team: "a\nb".into() };
    assert_eq!(ann.request(&bad).unwrap_err().code, ErrorCode::BadRequest);
}
