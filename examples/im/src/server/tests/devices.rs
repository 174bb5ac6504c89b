use super::{TestServer, log_in, say};
use crate::protocol::{
    ClientType, Command, Conversation, Heartbeat, KickReason, Kicked, LogOut, Message, PresenceEvent,
    SetStatus, Status, UserId,
};

#[test]
fn a_second_log_in_of_a_kind_ends_the_first_and_friends_see_nothing_of_it() {
    let server = TestServer::start();
    let [mut first, mut bob] = server.friends("ann", "bob");
    let mut second = server.log_in("ann", ClientType::Pc);
    assert_eq!(first.event::<Kicked>().reason, KickReason::LoggedInElsewhere);
    first.assert_closed();
    assert_eq!(bob.events_so_far(), []);
    // What bob is told next is what the second one does.
    second.request(&SetStatus { status: Status::Busy }).unwrap();
    assert_eq!(bob.event::<PresenceEvent>().presence[0].status, Status::Busy);
    say(&mut bob, Conversation::User(UserId(1)), "1");
    assert_eq!(second.event::<Message>().number, 1);
}

#[test]
fn devices_of_different_kinds_live_side_by_side() {
    let server = TestServer::start();
    let [mut pc, _bob] = server.friends("ann", "bob");
    let mut others = [ClientType::Mobile, ClientType::Web].map(|client| server.log_in("ann", client));
    pc.request(&Heartbeat {}).unwrap();
    for client in &mut others {
        assert_eq!(client.events_so_far(), Vec::<Command>::new());
    }
}

#[test]
fn of_many_log_ins_of_a_kind_at_once_one_stays() {
    let server = TestServer::start();
    let [ann, mut bob] = server.friends("ann", "bob");
    drop(ann);
    assert_eq!(bob.event::<PresenceEvent>().presence, []);
    let logging_in: Vec<_> = (0..8)
        .map(|_| {
            let mut client = server.connect();
            std::thread::spawn(move || {
                log_in(&mut client, "ann", ClientType::Pc);
                client
            })
        })
        .collect();
    let clients: Vec<_> = logging_in.into_iter().map(|thread| thread.join().unwrap()).collect();
    say(&mut bob, Conversation::User(UserId(1)), "1");
    let (mut stayed, mut kicked) = (0, 0);
    for mut client in clients {
        match client.message_or_kick() {
            Some(Message { number: 1, .. }) => {
                stayed += 1;
                client.request(&LogOut {}).unwrap();
            }
            Some(other) => panic!("{other:?}"),
            None => kicked += 1,
        }
    }
    assert_eq!((stayed, kicked), (1, 7));
    assert_eq!(bob.event::<PresenceEvent>().presence.len(), 1);
    assert_eq!(bob.event::<PresenceEvent>().presence.len(), 0);
    assert_eq!(bob.events_so_far(), []);
}
