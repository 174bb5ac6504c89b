use super::{ANN, BOB, CID, Database, assert_refused, message, send};
use crate::protocol::{Conversation, ErrorCode, GroupId};

#[test]
fn members_come_and_go() {
    let database = Database::new();
    let store = database.at(0);
    let group = store.create_group(ANN, "tea").unwrap();
    assert_eq!(*store.join_group(CID, group).unwrap(), [ANN, CID]);
    assert_refused(store.join_group(CID, group), ErrorCode::AlreadyAMember);
    assert_refused(store.join_group(CID, GroupId(99)), ErrorCode::NoSuchGroup);
    let members: Vec<_> = store.group_members(ANN, group).unwrap().iter().map(|member| member.user).collect();
    assert_eq!(members, [ANN, CID]);
    assert_refused(store.group_members(BOB, group), ErrorCode::NotAMember);
    assert_eq!(*store.leave_group(ANN, group).unwrap(), [CID]);
    assert_refused(store.leave_group(ANN, group), ErrorCode::NotAMember);
    assert_eq!(store.groups_by_prefix("TE").unwrap()[0].members, 1);
}

#[test]
fn only_members_write_to_a_group() {
    let database = Database::new();
    let store = database.at(0);
    let group = store.create_group(ANN, "tea").unwrap();
    let to_group = Conversation::Group(group);
    assert_refused(store.store_message(message(BOB, to_group, "1")), ErrorCode::NotAMember);
    assert_refused(store.history(BOB, to_group, None, 10), ErrorCode::NotAMember);
    assert_refused(store.mark_read(BOB, to_group, 1), ErrorCode::NotAMember);
    let nowhere = Conversation::Group(GroupId(99));
    assert_refused(store.store_message(message(BOB, nowhere, "1")), ErrorCode::NoSuchGroup);
}

#[test]
fn a_conversation_of_two_is_no_group() {
    let database = Database::new();
    let store = database.at(0);
    send(&store, ANN, Conversation::User(BOB), "1");
    let id = database.connection.query_row("SELECT id FROM conversations", (), |row| row.get(0)).unwrap();
    assert_refused(store.join_group(CID, GroupId(id)), ErrorCode::NoSuchGroup);
    assert_refused(
        store.store_message(message(ANN, Conversation::Group(GroupId(id)), "2")),
        ErrorCode::NoSuchGroup,
    );
}

#[test]
fn a_message_is_for_those_who_are_members_when_it_is_stored() {
    let database = Database::new();
    let store = database.at(0);
    let group = store.create_group(ANN, "tea").unwrap();
    let recipients =
        |id| store.store_message(message(ANN, Conversation::Group(group), id)).unwrap().recipients;
    assert_eq!(*recipients("1"), [ANN]);
    store.join_group(BOB, group).unwrap();
    assert_eq!(*recipients("2"), [ANN, BOB]);
    store.leave_group(BOB, group).unwrap();
    assert_eq!(*recipients("3"), [ANN]);
}

#[test]
fn history_shows_what_was_said_while_one_was_a_member() {
    let database = Database::new();
    let store = database.at(0);
    let group = store.create_group(ANN, "tea").unwrap();
    let to_group = Conversation::Group(group);
    let say = |number: i64| assert_eq!(send(&store, ANN, to_group, &number.to_string()).number, number);
    say(1);
    store.join_group(BOB, group).unwrap();
    say(2);
    say(3);
    store.leave_group(BOB, group).unwrap();
    say(4);
    store.join_group(BOB, group).unwrap();
    say(5);
    let seen = |before, limit| {
        let page = store.history(BOB, to_group, before, limit).unwrap();
        (page.messages.iter().map(|message| message.number).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(seen(None, 10), (vec![5, 3, 2], false));
    assert_eq!(seen(None, 2), (vec![5, 3], true));
    assert_eq!(seen(Some(3), 2), (vec![2], false));
    store.leave_group(BOB, group).unwrap();
    assert_eq!(seen(None, 10), (vec![5, 3, 2], false));
}
