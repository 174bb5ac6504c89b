use super::{ANN, BOB, CID, Database, send};
use crate::protocol::{ClientType, Conversation, Message, UserId};
use crate::storage::{NewMessage, Store};

const ANN_TO_BOB: Conversation = Conversation::User(BOB);
const BOB_TO_ANN: Conversation = Conversation::User(ANN);

fn open(store: &Store<'_>, user: UserId, client: ClientType) -> i64 {
    let credentials = store.credentials_of(user).unwrap().unwrap();
    store.open_device(&credentials, client).unwrap().position
}

fn waiting(store: &Store<'_>, user: UserId, client: ClientType) -> Vec<Message> {
    let position = open(store, user, client);
    store.messages_behind(user, client, position, 100).unwrap().messages
}

fn client_ids(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| &*message.client_id).collect()
}

#[test]
fn what_was_not_acknowledged_waits_in_order() {
    let database = Database::new();
    let store = database.at(0);
    let tea = store.create_group(CID, "tea").unwrap();
    store.join_group(BOB, tea).unwrap();
    let group = Conversation::Group(tea);
    send(&store, ANN, ANN_TO_BOB, "a");
    send(&store, CID, group, "b");
    send(&store, ANN, ANN_TO_BOB, "c");
    let messages = waiting(&store, BOB, ClientType::Mobile);
    assert_eq!(client_ids(&messages), ["a", "b", "c"]);
    assert_eq!(messages[0].conversation, BOB_TO_ANN);
    assert_eq!(messages[1].conversation, group);

    store.acknowledge(BOB, ClientType::Mobile, messages[1].position).unwrap();
    assert_eq!(client_ids(&waiting(&store, BOB, ClientType::Mobile)), ["c"]);
    // Never backwards.
    store.acknowledge(BOB, ClientType::Mobile, messages[0].position).unwrap();
    assert_eq!(client_ids(&waiting(&store, BOB, ClientType::Mobile)), ["c"]);
}

#[test]
fn each_kind_of_device_has_its_own_cursor() {
    let database = Database::new();
    let store = database.at(0);
    open(&store, BOB, ClientType::Mobile);
    open(&store, BOB, ClientType::Pc);
    let sent = send(&store, ANN, ANN_TO_BOB, "a");
    store.acknowledge(BOB, ClientType::Mobile, sent.position).unwrap();
    assert_eq!(waiting(&store, BOB, ClientType::Mobile), []);
    assert_eq!(client_ids(&waiting(&store, BOB, ClientType::Pc)), ["a"]);
}

#[test]
fn the_first_log_in_of_a_kind_begins_where_the_device_furthest_behind_stands() {
    let database = Database::new();
    let store = database.at(0);
    open(&store, BOB, ClientType::Mobile);
    open(&store, BOB, ClientType::Pc);
    let first = send(&store, ANN, ANN_TO_BOB, "a");
    let second = send(&store, ANN, ANN_TO_BOB, "b");
    store.acknowledge(BOB, ClientType::Mobile, second.position).unwrap();
    store.acknowledge(BOB, ClientType::Pc, first.position).unwrap();
    assert_eq!(client_ids(&waiting(&store, BOB, ClientType::Web)), ["b"]);
}

#[test]
fn a_device_is_not_sent_what_it_sent_and_the_others_are() {
    let database = Database::new();
    let store = database.at(0);
    send(&store, ANN, ANN_TO_BOB, "a");
    assert_eq!(waiting(&store, ANN, ClientType::Pc), []);
    let elsewhere = waiting(&store, ANN, ClientType::Mobile);
    assert_eq!((elsewhere[0].sender, elsewhere[0].conversation), (ANN, ANN_TO_BOB));
}

#[test]
fn a_former_member_gets_what_was_sent_before_and_nothing_that_was_sent_after() {
    let database = Database::new();
    let store = database.at(0);
    let group = store.create_group(CID, "tea").unwrap();
    let to_group = Conversation::Group(group);
    send(&store, CID, to_group, "before");
    store.join_group(BOB, group).unwrap();
    send(&store, CID, to_group, "while");
    store.leave_group(BOB, group).unwrap();
    send(&store, CID, to_group, "after");
    assert_eq!(client_ids(&waiting(&store, BOB, ClientType::Pc)), ["while"]);
    store.join_group(BOB, group).unwrap();
    send(&store, CID, to_group, "again");
    assert_eq!(client_ids(&waiting(&store, BOB, ClientType::Pc)), ["while", "again"]);
}

#[test]
fn pages_follow_each_other_until_nothing_is_left() {
    let database = Database::new();
    let store = database.at(0);
    let ids: Vec<String> = (0..25).map(|number| number.to_string()).collect();
    for id in &ids {
        store.store_message(NewMessage { text: "x", ..super::message(ANN, ANN_TO_BOB, id) }).unwrap();
    }
    let (mut position, mut seen) = (open(&store, BOB, ClientType::Pc), Vec::new());
    loop {
        let page = store.messages_behind(BOB, ClientType::Pc, position, 10).unwrap();
        seen.extend(page.messages.iter().map(|message| message.client_id.clone()));
        if !page.more {
            break;
        }
        position = page.messages.last().unwrap().position;
    }
    assert_eq!(seen, ids);
}
