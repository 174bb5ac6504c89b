use super::{TestServer, log_in, say};
use crate::protocol::{
    ClientType, Conversation, CreateGroup, Device, ErrorCode, FindGroups, GroupChange, GroupEvent,
    GroupMembers, History, JoinGroup, LeaveGroup, Message, Status, UserId,
};

#[test]
fn a_group_is_made_found_joined_and_left_and_its_members_are_told() {
    let server = TestServer::start();
    let [ann, bob] = ["ann", "bob"].map(|name| server.register(name));
    let mut at_ann = server.log_in("ann", ClientType::Pc);
    let mut anns_mobile = server.log_in("ann", ClientType::Mobile);
    let mut at_bob = server.log_in("bob", ClientType::Pc);
    let group = at_ann.request(&CreateGroup { name: "Tea".into() }).unwrap().group;
    let event = |user, change| GroupEvent { group, user, change };
    assert_eq!(anns_mobile.event::<GroupEvent>(), event(ann, GroupChange::Joined));
    let found = at_bob.request(&FindGroups { name: "te".into() }).unwrap().groups;
    assert_eq!((found.len(), found[0].group, found[0].members), (1, group, 1));

    at_bob.request(&JoinGroup { group }).unwrap();
    assert_eq!(at_ann.event::<GroupEvent>(), event(bob, GroupChange::Joined));
    assert_eq!(anns_mobile.event::<GroupEvent>(), event(bob, GroupChange::Joined));
    let members = at_ann.request(&GroupMembers { group }).unwrap().members;
    assert_eq!(members.iter().map(|member| member.profile.user).collect::<Vec<_>>(), [ann, bob]);
    assert_eq!(members[1].presence, [Device { client: ClientType::Pc, status: Status::Online }]);

    at_ann.request(&LeaveGroup { group }).unwrap();
    assert_eq!(at_bob.event::<GroupEvent>(), event(ann, GroupChange::Left));
    assert_eq!(anns_mobile.event::<GroupEvent>(), event(ann, GroupChange::Left));
    assert_eq!(at_ann.request(&GroupMembers { group }).unwrap_err().code, ErrorCode::NotAMember);
    assert_eq!(at_bob.events_so_far(), []);
}

#[test]
fn a_message_to_a_group_reaches_all_devices_of_all_members() {
    let server = TestServer::start();
    for name in ["ann", "bob", "cid"] {
        server.register(name);
    }
    let mut ann = server.log_in("ann", ClientType::Pc);
    let group = ann.request(&CreateGroup { name: "tea".into() }).unwrap().group;
    let mut clients = vec![server.log_in("ann", ClientType::Web)];
    for name in ["bob", "cid"] {
        for client in [ClientType::Pc, ClientType::Mobile] {
            clients.push(server.log_in(name, client));
        }
        clients.last_mut().unwrap().request(&JoinGroup { group }).unwrap();
    }
    for client in &mut clients {
        client.forget_events();
    }
    let sent = say(&mut ann, Conversation::Group(group), "1");
    for client in &mut clients {
        let message = client.event::<Message>();
        assert_eq!((message.conversation, message.sender), (Conversation::Group(group), UserId(1)));
        assert_eq!((message.position, message.number), (sent.position, 1));
    }
}

#[test]
fn an_absent_member_gets_what_was_said_while_a_member() {
    let server = TestServer::start();
    for name in ["ann", "bob"] {
        server.register(name);
    }
    let mut ann = server.log_in("ann", ClientType::Pc);
    let group = ann.request(&CreateGroup { name: "tea".into() }).unwrap().group;
    let to_group = Conversation::Group(group);
    say(&mut ann, to_group, "before");
    let mut bob = server.log_in("bob", ClientType::Pc);
    bob.request(&JoinGroup { group }).unwrap();
    drop(bob);
    say(&mut ann, to_group, "while");
    let mut bob = server.connect();
    log_in(&mut bob, "bob", ClientType::Pc);
    let missed = bob.caught_up();
    assert_eq!(missed.iter().map(|message| &*message.client_id).collect::<Vec<_>>(), ["while"]);
    let history = bob.request(&History { conversation: to_group, before: None, limit: None }).unwrap();
    assert_eq!(history.messages, missed);
}
