use super::{ANN, BOB, CID, Database, assert_refused, message, send};
use crate::protocol::{ClientType, Conversation, ErrorCode};

const TO_BOB: Conversation = Conversation::User(BOB);

#[test]
fn numbers_of_a_conversation_have_no_gaps_whoever_writes() {
    let database = Database::new();
    let store = database.at(0);
    super::make_friends(&store, ANN, CID);
    let numbers = [
        send(&store, ANN, TO_BOB, "1").number,
        send(&store, ANN, Conversation::User(CID), "1").number,
        send(&store, BOB, Conversation::User(ANN), "1").number,
        send(&store, ANN, TO_BOB, "2").number,
    ];
    assert_eq!(numbers, [1, 1, 2, 3]);
}

#[test]
fn a_retry_is_stored_once_and_gets_the_first_ones_answer() {
    let database = Database::new();
    let first = database.at(7).store_message(message(ANN, TO_BOB, "x")).unwrap();
    send(&database.at(8), ANN, TO_BOB, "y");
    let again = database.at(9).store_message(message(ANN, TO_BOB, "x")).unwrap();
    assert_eq!((again.sent.number, again.sent.position, again.sent.time), (1, first.sent.position, 7));
    assert!(again.sent.duplicate && !first.sent.duplicate);
    assert_eq!((first.recipients.len(), again.recipients.len()), (2, 0));
    assert_eq!(send(&database.at(9), ANN, TO_BOB, "z").number, 3);
    // Somebody else's message of that name is another one.
    assert!(!send(&database.at(9), BOB, Conversation::User(ANN), "x").duplicate);
}

#[test]
fn only_friends_write_to_each_other() {
    let database = Database::new();
    let store = database.at(0);
    assert_refused(store.store_message(message(ANN, Conversation::User(CID), "1")), ErrorCode::NotAFriend);
    assert_refused(store.store_message(message(ANN, Conversation::User(ANN), "1")), ErrorCode::NotAFriend);
    send(&store, ANN, TO_BOB, "1");
    store.delete_friend(BOB, ANN).unwrap();
    assert_refused(store.store_message(message(ANN, TO_BOB, "2")), ErrorCode::NotAFriend);
    assert_eq!(store.history(ANN, TO_BOB, None, 9).unwrap().messages.len(), 1);
}

#[test]
fn history_comes_by_page_the_latest_first() {
    let database = Database::new();
    let store = database.at(3);
    assert_eq!(store.history(ANN, TO_BOB, None, 4).unwrap().messages, []);
    for number in 1..=10 {
        send(&store, ANN, TO_BOB, &number.to_string());
    }
    let (mut before, mut seen, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = store.history(BOB, Conversation::User(ANN), before, 4).unwrap();
        assert!(page.messages.iter().all(|message| message.conversation == Conversation::User(ANN)));
        seen.extend(page.messages.iter().map(|message| message.number));
        pages += 1;
        before = seen.last().copied();
        if !page.more {
            break;
        }
    }
    assert_eq!((pages, seen), (3, (1..=10).rev().collect()));
    let page = store.history(ANN, TO_BOB, None, 1).unwrap();
    let last = &page.messages[0];
    assert_eq!((last.sender, last.client, &*last.client_id, last.time), (ANN, ClientType::Pc, "10", 3));
}

#[test]
fn long_messages_make_short_pages() {
    let database = Database::new();
    let store = database.at(0);
    let text = "\u{1}".repeat(60_000);
    for id in ["1", "2", "3"] {
        store.store_message(crate::storage::NewMessage { text: &text, ..message(ANN, TO_BOB, id) }).unwrap();
    }
    let page = store.history(ANN, TO_BOB, None, 100).unwrap();
    assert_eq!((page.messages.len(), page.more), (1, true));
    assert!(serde_json::to_vec(&page).unwrap().len() < crate::protocol::MAX_FRAME);
}

#[test]
fn read_markers_go_forwards_and_not_beyond_the_last_message() {
    let database = Database::new();
    let store = database.at(0);
    assert_eq!(store.mark_read(BOB, Conversation::User(ANN), 1).unwrap(), None);
    for id in ["1", "2", "3"] {
        send(&store, ANN, TO_BOB, id);
    }
    let mark = |number| store.mark_read(BOB, Conversation::User(ANN), number).unwrap();
    assert_eq!((mark(2), mark(1), mark(2), mark(99), mark(-1)), (Some(2), None, None, Some(3), None));
    let of_ann = store.conversations(ANN).unwrap();
    let state = &of_ann[0];
    assert_eq!((state.conversation, &*state.name, state.last), (TO_BOB, "bob", 3));
    assert_eq!((state.read, state.read_by_other), (0, Some(3)));
    assert_eq!(store.conversations(BOB).unwrap()[0].read, 3);
}

#[test]
fn conversations_are_listed_the_latest_first() {
    let database = Database::new();
    let store = database.at(0);
    let tea = Conversation::Group(store.create_group(ANN, "tea").unwrap());
    let empty = Conversation::Group(store.create_group(ANN, "coffee").unwrap());
    send(&store, ANN, tea, "1");
    send(&store, BOB, Conversation::User(ANN), "1");
    let listed: Vec<_> = store.conversations(ANN).unwrap().iter().map(|state| state.conversation).collect();
    assert_eq!(listed, [TO_BOB, tea, empty]);
}
