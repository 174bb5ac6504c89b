use super::{TestServer, log_in, message, say};
use crate::protocol::{Acknowledge, ClientType, Conversation, Message, Send, UserId};

const TO_ANN: Conversation = Conversation::User(UserId(1));
const TO_BOB: Conversation = Conversation::User(UserId(2));

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| &*message.client_id).collect()
}

#[test]
fn what_was_missed_comes_after_log_in_in_order_and_once_it_is_acknowledged_not_again() {
    let server = TestServer::start();
    let [mut ann, bob] = server.friends("ann", "bob");
    drop(bob);
    for id in ["1", "2", "3"] {
        say(&mut ann, TO_BOB, id);
    }
    let mut bob = server.connect();
    log_in(&mut bob, "bob", ClientType::Pc);
    let missed = bob.caught_up();
    assert_eq!(texts(&missed), ["1", "2", "3"]);
    assert_eq!(missed[0].conversation, TO_ANN);
    bob.request(&Acknowledge { position: missed[1].position }).unwrap();
    drop(bob);

    let mut bob = server.connect();
    assert_eq!(log_in(&mut bob, "bob", ClientType::Pc).acknowledged, missed[1].position);
    assert_eq!(texts(&bob.caught_up()), ["3"]);
    bob.request(&Acknowledge { position: missed[2].position }).unwrap();
    drop(bob);

    let mut bob = server.connect();
    log_in(&mut bob, "bob", ClientType::Pc);
    assert_eq!(bob.caught_up(), []);
}

#[test]
fn what_was_delivered_at_once_and_not_acknowledged_comes_again() {
    let server = TestServer::start();
    let [mut ann, mut bob] = server.friends("ann", "bob");
    say(&mut ann, TO_BOB, "1");
    assert_eq!(bob.event::<Message>().number, 1);
    drop(bob);
    let mut bob = server.connect();
    log_in(&mut bob, "bob", ClientType::Pc);
    assert_eq!(texts(&bob.caught_up()), ["1"]);
}

#[test]
fn nothing_can_be_acknowledged_before_it_was_sent() {
    let server = TestServer::start();
    let [mut ann, mut bob] = server.friends("ann", "bob");
    bob.request(&Acknowledge { position: i64::MAX }).unwrap();
    drop(bob);
    say(&mut ann, TO_BOB, "1");
    let mut bob = server.connect();
    log_in(&mut bob, "bob", ClientType::Pc);
    assert_eq!(texts(&bob.caught_up()), ["1"]);
}

#[test]
fn each_kind_of_device_gets_what_it_missed() {
    let server = TestServer::start();
    let [mut ann, bob] = server.friends("ann", "bob");
    drop(bob);
    say(&mut ann, TO_BOB, "1");
    for client in [ClientType::Pc, ClientType::Mobile, ClientType::Web] {
        let mut bob = server.connect();
        log_in(&mut bob, "bob", client);
        let missed = bob.caught_up();
        assert_eq!(texts(&missed), ["1"], "{client:?}");
    }
}

#[test]
fn messages_that_come_while_one_catches_up_fall_into_place() {
    let server = TestServer::start();
    let [mut ann, bob] = server.friends("ann", "bob");
    drop(bob);
    let seqs: Vec<u32> =
        (0..1000).map(|number| ann.send(&message(TO_BOB, &format!("missed {number}"), "x"))).collect();
    for seq in seqs {
        ann.answer::<Send>(seq).unwrap();
    }
    let sender = std::thread::spawn(move || {
        for number in 0..1000 {
            ann.request(&message(TO_BOB, &format!("new {number}"), "x")).unwrap();
        }
    });
    let mut bob = server.connect();
    log_in(&mut bob, "bob", ClientType::Pc);
    let mut messages = bob.caught_up();
    while messages.len() < 2000 {
        messages.push(bob.event());
    }
    sender.join().unwrap();
    assert!(messages.iter().map(|message| message.number).eq(1..=2000));
}

#[test]
fn a_device_that_does_not_read_gets_everything_in_order_when_it_does() {
    let server = TestServer::start();
    let [mut ann, mut bob] = server.friends("ann", "bob");
    let mut mobile = server.log_in("bob", ClientType::Mobile);
    let text = "x".repeat(60_000);
    // Far more than the sockets hold, and than the server would keep in memory for one session.
    let count = 300;
    let reader = std::thread::spawn(move || {
        (1..=count).for_each(|number| assert_eq!(bob.event::<Message>().number, number));
    });
    for number in 1..=count {
        let sent = ann.request(&message(TO_BOB, &number.to_string(), &text)).unwrap();
        assert_eq!(sent.number, number);
    }
    reader.join().unwrap();
    (1..=count).for_each(|number| assert_eq!(mobile.event::<Message>().number, number));
    say(&mut ann, TO_BOB, "last");
    assert_eq!(mobile.event::<Message>().client_id, "last");
}
