//! The examples whose clients talk to each other, run as processes: chat and hub.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are tests too.

use std::io::Read;

use campana::Address;
use client::{ANY_PORT, Client, assert_ended_well, serve};
use program::{Program, unique};

#[path = "support/client.rs"]
mod client;
#[allow(dead_code, reason = "each test file uses a part of it")]
#[path = "support/program.rs"]
mod program;

/// Enters a chat as the guest of this number, and waits until that is announced.
#[track_caller]
fn enter(address: &Address, guest: usize) -> Client {
    let mut client = Client::connect(address);
    assert!(client.line().starts_with(&format!("* you are guest-{guest};")));
    client.lines_until(&format!("* guest-{guest} has joined\n"));
    client
}

#[track_caller]
fn leave_all(program: Program, clients: impl IntoIterator<Item = Client>) {
    drop(clients.into_iter().collect::<Vec<_>>());
    assert_ended_well(&program.terminate());
}

#[test]
fn chat_passes_each_line_to_everybody_on_all_loops_in_order() {
    for threads in [0, 2] {
        let name = format!("unix:@{}", unique("chat"));
        let (chat, address) = serve("chat", threads, &["--listen", &name]);
        let unix = chat.next_address();
        let mut clients: Vec<Client> =
            (1..=8).map(|guest| enter(if guest % 2 == 0 { &unix } else { &address }, guest)).collect();
        for number in 0..100 {
            clients[0].send(format!("line {number}\r\n"));
        }
        clients[7].send("\n   \nin pie");
        clients[7].send("ces\n");
        for client in &mut clients {
            let mut from_first = 0;
            let mut from_last = 0;
            while (from_first, from_last) != (100, 1) {
                let line = client.line();
                if line == format!("guest-1: line {from_first}\n") {
                    from_first += 1;
                } else if line == "guest-8: in pieces\n" {
                    from_last += 1;
                } else {
                    assert!(line.ends_with(" has joined\n"), "{line:?} after {from_first} lines");
                }
            }
        }
        leave_all(chat, clients);
    }
}

#[test]
fn chat_lets_members_choose_names_that_are_free() {
    for threads in [0, 2] {
        let (chat, address) = serve("chat", threads, &[]);
        let mut ann = enter(&address, 1);
        let mut bob = enter(&address, 2);
        ann.send("/nick ann\n");
        // Each loop tells its own, so that what one member has seen another may still have to see.
        ann.lines_until("* guest-1 is ann now\n");
        bob.lines_until("* guest-1 is ann now\n");
        for (name, why) in [
            ("ann", "it is taken"),
            ("", "it takes 1 to 20 letters, digits, - or _"),
            ("two words", "it takes 1 to 20 letters, digits, - or _"),
            ("abcdefghijklmnopqrstu", "it takes 1 to 20 letters, digits, - or _"),
        ] {
            bob.send(format!("/nick {name}\r\n"));
            assert_eq!(bob.line(), format!("* {name:?} can't be your name: {why}\n"));
        }
        bob.send("/nick bob\n/dance\n");
        ann.lines_until("* guest-2 is bob now\n");
        bob.lines_until("* there is no /dance\n");
        ann.send("/who\n");
        assert_eq!(ann.line(), "* here: ann, bob\n");
        drop(ann);
        bob.lines_until("* ann has left\n");
        bob.send("/nick ann\n");
        bob.lines_until("* bob is ann now\n");
        leave_all(chat, [bob]);
    }
}

#[test]
fn chat_passes_on_the_last_line_of_a_member_who_half_closes() {
    for threads in [0, 2] {
        let (chat, address) = serve("chat", threads, &[]);
        let mut stays = enter(&address, 1);
        let mut leaves = enter(&address, 2);
        leaves.send("one\nand the last");
        leaves.half_close();
        stays.lines_until("guest-2: one\n");
        stays.lines_until("guest-2: and the last\n");
        stays.lines_until("* guest-2 has left\n");
        let rest = leaves.read_to_end();
        assert!(
            rest.is_empty() || rest.starts_with(b"guest-2: one\n"),
            "what was pending is still whole lines"
        );
        leave_all(chat, [stays]);
    }
}

#[test]
fn chat_ends_who_sends_too_long_a_line_and_says_why() {
    for threads in [0, 2] {
        let (chat, address) = serve("chat", threads, &["--max-line", "10"]);
        let mut stays = enter(&address, 1);
        stays.send("0123456789\r\n");
        assert_eq!(stays.line(), "guest-1: 0123456789\n");
        for (number, line) in ["0123456789+\nnever seen\n", "an endless line"].into_iter().enumerate() {
            let guest = number + 2;
            let mut leaves = enter(&address, guest);
            leaves.send(line);
            leaves.lines_until("* a line may have 10 bytes at most: goodbye\n");
            leaves.half_close();
            leaves.read_to_end();
            let before = stays.lines_until(&format!("* guest-{guest} has left\n"));
            assert_eq!(before, [format!("* guest-{guest} has joined\n")]);
        }
        drop(stays);
        let ended = chat.terminate();
        assert_ended_well(&ended);
        let logged = "protocol error: a line of more than 10 bytes";
        assert_eq!(ended.stderr.matches(logged).count(), 2, "{ended:?}");
    }
}

#[test]
fn chat_keeps_control_characters_and_broken_text_from_the_others() {
    let (chat, address) = serve("chat", 0, &[]);
    let mut client = enter(&address, 1);
    client.send(b"\x1b[31mred\x07 \xff \xe2\x82\xac\n");
    assert_eq!(client.line(), "guest-1: [31mred \u{fffd} €\n");
    leave_all(chat, [client]);
}

#[test]
fn chat_says_goodbye_when_it_is_stopped() {
    for threads in [0, 2] {
        let (chat, address) = serve("chat", threads, &[]);
        let mut client = enter(&address, 1);
        chat.signal(rustix::process::Signal::INT);
        assert_eq!(client.line(), "* the room is closing\n");
        client.read_to_end();
        drop(client);
        assert_ended_well(&chat.wait());
    }
}

/// Connects to a hub, subscribes, and waits until that has come into effect.
#[track_caller]
fn subscriber(address: &Address, own: &str, topics: &[&str]) -> Client {
    let mut client = Client::connect(address);
    for topic in topics {
        client.send(format!("sub {topic}\r\n"));
    }
    client.send(format!("sub {own}\r\npub {own}\r\nready\r\n"));
    client.lines_until(&format!("pub {own}\r\n"));
    assert_eq!(client.line(), "ready\r\n");
    client
}

#[track_caller]
fn assert_published(client: &mut Client, topic: &str, content: &str) {
    assert_eq!(client.line() + &client.line(), format!("pub {topic}\r\n{content}\r\n"));
}

#[test]
fn hub_passes_publications_to_the_subscribers_of_their_topic() {
    for threads in [0, 2] {
        let (hub, address) = serve("hub", threads, &[]);
        let mut subscribers: Vec<Client> = (0..6)
            .map(|number| subscriber(&address, &format!("own-{number}"), &["news", "weather"]))
            .collect();
        let mut other = subscriber(&address, "own-other", &["sports"]);
        let publisher = Client::connect(&address);
        publisher.send("pub news\r\n\r\npub nothing\r\nto nobody\r\npub weather\r\nsu");
        publisher.send("nny\r\npub sports\r\n1:0\r\n");
        assert_published(&mut other, "sports", "1:0");
        for client in &mut subscribers {
            let both = [client.line() + &client.line(), client.line() + &client.line()];
            // Topics have different homes, so that the order among them is open.
            assert!(both.contains(&"pub news\r\n\r\n".to_owned()), "{both:?}");
            assert!(both.contains(&"pub weather\r\nsunny\r\n".to_owned()), "{both:?}");
        }
        subscribers.extend([other, publisher]);
        leave_all(hub, subscribers);
    }
}

#[test]
fn hub_sends_the_last_publication_to_who_subscribes_later() {
    for threads in [0, 2] {
        let (hub, address) = serve("hub", threads, &[]);
        let mut first = subscriber(&address, "own", &["news"]);
        first.send("pub news\r\nold\r\npub news\r\nnew\r\n");
        assert_published(&mut first, "news", "old");
        assert_published(&mut first, "news", "new");
        let mut others: Vec<Client> = (0..4).map(|_| Client::connect(&address)).collect();
        for client in &mut others {
            client.send("sub news\r\nsub news\r\n");
            let mut last = client.line() + &client.line();
            // This one's loop may be behind, but it isn't for long.
            if last.ends_with("old\r\n") {
                last = client.line() + &client.line();
            }
            assert_eq!(last, "pub news\r\nnew\r\n");
        }
        others.push(first);
        leave_all(hub, others);
    }
}

#[test]
fn hub_sends_nothing_more_to_who_has_unsubscribed() {
    for threads in [0, 2] {
        let (hub, address) = serve("hub", threads, &[]);
        let mut client = subscriber(&address, "own", &["news"]);
        client.send("unsub news\r\nunsub unknown\r\npub news\r\nunseen\r\npub own\r\nthe next\r\n");
        assert_published(&mut client, "own", "the next");
        client.half_close();
        assert_eq!(client.read_to_end(), b"");
        leave_all(hub, []);
    }
}

#[test]
fn hub_shows_all_subscribers_the_same_order() {
    const EACH: usize = 300;
    for threads in [0, 3] {
        let (hub, address) = serve("hub", threads, &[]);
        let subscribers: Vec<Client> =
            (0..6).map(|number| subscriber(&address, &format!("own-{number}"), &["news"])).collect();
        let publishers: Vec<_> = (0..3).map(|name| (name, Client::connect(&address))).collect();
        for number in 0..EACH {
            for (name, publisher) in &publishers {
                publisher.send(format!("pub news\r\n{name}-{number}\r\n"));
            }
        }
        let seen = subscribers.into_iter().map(|mut client| {
            let contents = (0..3 * EACH).map(|_| {
                assert_eq!(client.line(), "pub news\r\n");
                client.line()
            });
            contents.collect::<Vec<String>>()
        });
        let seen: Vec<Vec<String>> = seen.collect();
        assert!(seen.iter().all(|one| *one == seen[0]), "the order differs");
        leave_all(hub, publishers.into_iter().map(|(_, publisher)| publisher));
    }
}

#[test]
fn hub_ends_who_breaks_the_protocol_and_nobody_else() {
    let (hub, address) = serve("hub", 2, &[]);
    let mut witness = subscriber(&address, "own", &["news"]);
    let long = "x".repeat(8193);
    for (broken, why) in [
        ("hello\r\n".to_owned(), "a command without a topic"),
        ("shout news\r\n".to_owned(), "a command that is neither sub, unsub nor pub"),
        (format!("sub {long}"), "a line is too long"),
        (format!("pub news\r\n{long}"), "a line is too long"),
    ] {
        let mut client = Client::connect(&address);
        client.send(&broken);
        client.half_close();
        assert_eq!(client.read_to_end(), b"", "{why}");
    }
    witness.send("pub news\r\nall is well\r\n");
    assert_published(&mut witness, "news", "all is well");
    drop(witness);
    let ended = hub.terminate();
    assert_ended_well(&ended);
    for (why, times) in [("without a topic", 1), ("neither sub, unsub", 1), ("line is too long", 2)] {
        assert_eq!(ended.stderr.matches(why).count(), times, "{why}: {ended:?}");
    }
}

#[test]
fn hub_drops_a_subscriber_who_does_not_read_and_serves_the_others() {
    const MESSAGES: usize = 400;
    let content = "x".repeat(8000);
    for threads in ["0", "2"] {
        // The kernel holds little for a Unix socket, so that the hub's own limit is soon reached.
        let name = format!("unix:@{}", unique("hub"));
        let limit = ["--max-pending", "65536", "--listen", &name, "--threads", threads];
        let (hub, address) = Program::serve("hub", &[&ANY_PORT[..], &limit].concat());
        let slow = subscriber(&hub.next_address(), "own-slow", &["news"]);
        let mut quick = subscriber(&address, "own-quick", &["news"]);
        for _ in 0..MESSAGES {
            quick.send(format!("pub news\r\n{content}\r\n"));
            assert_published(&mut quick, "news", &content);
        }
        let mut got = Vec::new();
        // Whether it sees an end or an error is the system's affair.
        let mut socket = slow.socket();
        let _ = socket.read_to_end(&mut got);
        assert!(got.len() < MESSAGES * content.len(), "it was not dropped");
        drop(quick);
        let ended = hub.terminate();
        assert_ended_well(&ended);
        assert_eq!(ended.stderr.matches("the peer reads too slowly").count(), 1, "{ended:?}");
    }
}
