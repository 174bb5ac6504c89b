use super::{TestServer, log_in, message, say};
use crate::protocol::{ClientType, Conversation, LogIn, Message, Send, Stopping, UserId};

const TO_BOB: Conversation = Conversation::User(UserId(2));

#[test]
fn sessions_are_told_and_closed_when_the_server_stops() {
    let server = TestServer::start();
    let [mut ann, mut bob] = server.friends("ann", "bob");
    let stopping = std::thread::spawn(move || server.stop());
    for client in [&mut ann, &mut bob] {
        client.skip_to::<Stopping>();
        client.assert_closed();
    }
    drop([ann, bob]);
    let directory = stopping.join().unwrap();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_was_answered_is_there_after_a_restart() {
    let server = TestServer::start();
    let [mut ann, bob] = server.friends("ann", "bob");
    drop(bob);
    let first = say(&mut ann, TO_BOB, "1");
    drop(ann);
    let server = TestServer::start_in(server.stop(), |_| {});
    let mut bob = server.connect();
    log_in(&mut bob, "bob", ClientType::Pc);
    let missed: Vec<Message> = bob.caught_up();
    assert_eq!((missed.len(), missed[0].position, missed[0].time), (1, first.position, first.time));
    let mut ann = server.log_in("ann", ClientType::Pc);
    let again = say(&mut ann, TO_BOB, "1");
    assert!(again.duplicate && again.number == 1);
    assert_eq!(say(&mut ann, TO_BOB, "2").number, 2);
}

#[test]
fn what_is_under_way_when_the_server_stops_is_answered() {
    let server = TestServer::start();
    let [mut ann, bob] = server.friends("ann", "bob");
    drop(bob);
    let mut guest = server.connect();
    guest.send(&super::log_in_request("ann", ClientType::Mobile));
    let seqs: Vec<u32> = (0..50).map(|number| ann.send(&message(TO_BOB, &number.to_string(), "x"))).collect();
    // The first answer shows that they have arrived: they were sent in one go.
    ann.answer::<Send>(seqs[0]).unwrap();
    let stopping = std::thread::spawn(move || server.stop());
    let mut answered = 1;
    for seq in &seqs[1..] {
        match ann.answer_if_any::<Send>(*seq) {
            Some(answer) => answered += i64::from(answer.unwrap().number == i64::from(*seq - seqs[0] + 1)),
            None => break,
        }
    }
    assert!(guest.answer_if_any::<LogIn>(1).is_none_or(|answer| answer.is_ok()));
    drop([ann, guest]);
    let directory = stopping.join().unwrap();
    let server = TestServer::start_in(directory, |_| {});
    let mut bob = server.connect();
    log_in(&mut bob, "bob", ClientType::Pc);
    let stored = bob.caught_up().len();
    assert_eq!(stored, usize::try_from(answered).unwrap(), "stored and answered");
}
