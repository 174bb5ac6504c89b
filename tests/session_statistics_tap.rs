//! The filter that counts messages.

use campana::codec::{Lines, Text};
use campana::session::filters::{Counted, MessageCounts, MessageKinds, StatisticsTap};

#[path = "support/echo_sessions.rs"]
mod echo_sessions;

use echo_sessions::sessions_with;

#[derive(Clone)]
struct Kinds;

impl MessageKinds<Text<Lines>> for Kinds {
    const LABELS: &'static [&'static str] = &["command", "chat"];

    fn received(&self, line: &&str) -> Counted {
        let kind = match line.as_bytes().first() {
            Some(b'/') => 0,
            Some(b'?') => 99,
            _ => 1,
        };
        Counted { kind, bytes: line.len() }
    }

    fn written(&self, line: &&str) -> Counted {
        Counted { kind: 1, bytes: line.len() }
    }
}

#[test]
fn messages_are_counted_by_kind_over_all_sessions() {
    let tap = StatisticsTap::new(Kinds);
    assert_eq!(tap.snapshot().kinds.len(), 0);
    let (mut test, _) = sessions_with(tap.clone());
    let peers = [test.connect(), test.connect()];
    for peer in &peers {
        peer.send("/join\nhello\n?\n");
    }
    test.run_until_idle();
    peers[0].close();
    test.run_until_idle();
    test.manager().all().send("news").unwrap();
    test.run_until_idle();
    let snapshot = std::thread::spawn(move || tap.snapshot()).join().unwrap();
    let [command, chat] = snapshot.kinds[..] else { panic!("{snapshot:?}") };
    let counts = |counts: MessageCounts| (counts.messages, counts.bytes);
    assert_eq!(
        (command.label, counts(command.received), counts(command.written)),
        ("command", (2, 10), (0, 0))
    );
    assert_eq!((chat.label, counts(chat.received), counts(chat.written)), ("chat", (2, 10), (6, 22)));
    assert_eq!((snapshot.other.label, counts(snapshot.other.received)), ("other", (2, 2)));
    assert_eq!(counts(snapshot.encoded), (1, 5));
}
