use super::{TestServer, log_in, message, say};
use crate::protocol::{
    ClientType, Command, Conversation, ErrorCode, History, ListConversations, MAX_TEXT, MarkRead, Message,
    MultiSend, ReadEvent, Send, SentToOne, UserId,
};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const TO_ANN: Conversation = Conversation::User(ANN);
const TO_BOB: Conversation = Conversation::User(BOB);

#[test]
fn all_devices_of_both_get_a_message_but_the_one_it_was_sent_from() {
    let server = TestServer::start();
    let [mut ann, mut bob] = server.friends("ann", "bob");
    let mut anns_mobile = server.log_in("ann", ClientType::Mobile);
    let mut bobs_mobile = server.log_in("bob", ClientType::Mobile);
    for client in [&mut ann, &mut bob, &mut anns_mobile] {
        client.forget_events();
    }
    let sent = say(&mut ann, TO_BOB, "x");
    for (client, conversation) in [(&mut bob, TO_ANN), (&mut bobs_mobile, TO_ANN), (&mut anns_mobile, TO_BOB)]
    {
        let message = client.event::<Message>();
        assert_eq!(message.conversation, conversation);
        assert_eq!((message.position, message.number, message.time), (sent.position, sent.number, sent.time));
        assert_eq!((message.sender, message.client, &*message.client_id), (ANN, ClientType::Pc, "x"));
        assert_eq!(message.text, "hello");
    }
    assert_eq!(ann.events_so_far(), []);
}

#[test]
fn a_retry_is_stored_and_delivered_once() {
    let server = TestServer::start();
    let [mut ann, mut bob] = server.friends("ann", "bob");
    let first = say(&mut ann, TO_BOB, "x");
    let again = say(&mut ann, TO_BOB, "x");
    assert!(!first.duplicate && again.duplicate);
    assert_eq!((first.number, first.position, first.time), (again.number, again.position, again.time));
    say(&mut ann, TO_BOB, "y");
    let numbers = [bob.event::<Message>().number, bob.event::<Message>().number];
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn requests_sent_at_once_are_done_in_their_order() {
    let server = TestServer::start();
    let [mut ann, mut bob] = server.friends("ann", "bob");
    let seqs: Vec<u32> =
        (0..500).map(|number| ann.send(&message(TO_BOB, &number.to_string(), "x"))).collect();
    for (number, seq) in (1..).zip(seqs) {
        assert_eq!(ann.answer::<Send>(seq).unwrap().number, number);
    }
    for number in 1..=500 {
        let message = bob.event::<Message>();
        assert_eq!((message.number, &*message.client_id), (number, &*(number - 1).to_string()));
    }
}

#[test]
fn messages_without_text_or_id_are_refused() {
    let server = TestServer::start();
    let [mut ann, _bob] = server.friends("ann", "bob");
    for request in [message(TO_BOB, "", "x"), message(TO_BOB, "1", ""), message(TO_BOB, &"x".repeat(65), "x")]
    {
        assert_eq!(ann.request(&request).unwrap_err().code, ErrorCode::BadRequest);
    }
    assert_eq!(say(&mut ann, TO_BOB, "1").number, 1);
}

#[test]
fn a_message_to_several_is_one_to_each() {
    let server = TestServer::start();
    let [mut ann, mut bob] = server.friends("ann", "bob");
    let cid = server.register("cid");
    let request = MultiSend { users: vec![cid, BOB, UserId(99)], client_id: "m".into(), text: "all".into() };
    let results = ann.request(&request).unwrap().results;
    let [SentToOne::Failed(no_friend), SentToOne::Sent(sent), SentToOne::Failed(nobody)] = &results[..]
    else {
        panic!("{results:?}")
    };
    assert_eq!((no_friend.code, nobody.code), (ErrorCode::NotAFriend, ErrorCode::NotAFriend));
    let message = bob.event::<Message>();
    assert_eq!((message.conversation, message.position, &*message.text), (TO_ANN, sent.position, "all"));
    let retry = ann.request(&request).unwrap().results;
    assert!(
        matches!(&retry[1], SentToOne::Sent(again) if again.duplicate && again.position == sent.position)
    );
    for users in [vec![], vec![BOB, BOB], (0..101).map(UserId).collect()] {
        let request = MultiSend { users, ..request.clone() };
        assert_eq!(ann.request(&request).unwrap_err().code, ErrorCode::BadRequest);
    }
}

#[test]
fn history_is_read_backwards_by_page() {
    let server = TestServer::start();
    let [mut ann, mut bob] = server.friends("ann", "bob");
    for number in 1..=7 {
        say(&mut ann, TO_BOB, &number.to_string());
    }
    let history = |before, limit| History { conversation: TO_ANN, before, limit };
    let page = bob.request(&history(None, Some(3))).unwrap();
    let numbers = |messages: &[Message]| messages.iter().map(|message| message.number).collect::<Vec<_>>();
    assert_eq!((numbers(&page.messages), page.more), (vec![7, 6, 5], true));
    let page = bob.request(&history(Some(5), None)).unwrap();
    assert_eq!((numbers(&page.messages), page.more), (vec![4, 3, 2, 1], false));
    assert_eq!(page.messages[0].conversation, TO_ANN);
    for limit in [0, 101] {
        assert_eq!(bob.request(&history(None, Some(limit))).unwrap_err().code, ErrorCode::BadRequest);
    }
}

#[test]
fn reading_is_told_to_the_other_and_to_ones_other_devices() {
    let server = TestServer::start();
    let [mut ann, mut bob] = server.friends("ann", "bob");
    for id in ["1", "2"] {
        say(&mut ann, TO_BOB, id);
    }
    let mut bobs_mobile = server.connect();
    log_in(&mut bobs_mobile, "bob", ClientType::Mobile);
    bobs_mobile.caught_up();
    for client in [&mut ann, &mut bob] {
        client.forget_events();
    }
    bob.request(&MarkRead { conversation: TO_ANN, number: 2 }).unwrap();
    assert_eq!(bobs_mobile.event::<ReadEvent>(), ReadEvent { conversation: TO_ANN, user: BOB, number: 2 });
    assert_eq!(ann.event::<ReadEvent>(), ReadEvent { conversation: TO_BOB, user: BOB, number: 2 });
    bob.request(&MarkRead { conversation: TO_ANN, number: 1 }).unwrap();
    assert_eq!(ann.events_so_far(), []);
    assert_eq!(bob.events_so_far(), Vec::<Command>::new());
    let state = &ann.request(&ListConversations {}).unwrap().conversations[0];
    assert_eq!((state.conversation, state.last, state.read, state.read_by_other), (TO_BOB, 2, 0, Some(2)));
}

#[test]
fn who_asks_for_many_long_pages_at_once_gets_them_all() {
    let server = TestServer::start_with(|config| config.threads = 0);
    let [mut ann, mut bob] = server.friends("ann", "bob");
    // The longest there is once it is JSON.
    ann.request(&message(TO_BOB, "1", &"\u{1}".repeat(MAX_TEXT))).unwrap();
    let request = History { conversation: TO_ANN, before: None, limit: Some(1) };
    let pages: Vec<_> = (0..64).map(|_| bob.send(&request)).collect();
    // The second time all that was read of bob's requests before the first has been answered, and he has taken none of it.
    for _ in 0..2 {
        ann.request(&ListConversations {}).unwrap();
    }
    for page in pages {
        assert_eq!(bob.answer::<History>(page).unwrap().messages.len(), 1);
    }
}
