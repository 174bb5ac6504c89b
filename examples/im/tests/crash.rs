//! The server is killed under load, and started again with the same data.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are tests too.

use std::collections::{BTreeMap, HashMap};

use im::protocol::{Conversation, History, Message, Send, Sent};
use support::{Client, Device, Program, Server};

mod support;

/// Requests of the writer under way at once.
const WINDOW: usize = 16;
/// How often the server is killed in one run.
const KILLS: usize = 3;

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Sends numbered messages, many at once, and again on a new connection what was not answered.
struct Writer {
    client: Client,
    to: Conversation,
    next: usize,
    /// Which message the request of this number is about.
    under_way: BTreeMap<u32, usize>,
    acknowledged: HashMap<usize, Sent>,
}

impl Writer {
    fn send(&mut self, message: usize) {
        let (client_id, text) = (format!("c{message}"), text(message));
        let seq = self.client.send(&Send { conversation: self.to, client_id, text });
        self.under_way.insert(seq, message);
    }

    fn fill_window(&mut self) {
        while self.under_way.len() < WINDOW {
            self.send(self.next);
            self.next += 1;
        }
    }

    /// Takes one answer; `false` if the connection ends before it.
    fn take_answer(&mut self) -> bool {
        let Some((seq, answer)) = self.client.next_reply_if_any::<Send>() else { return false };
        let message = self.under_way.remove(&seq).unwrap();
        self.acknowledged.insert(message, answer.unwrap());
        true
    }

    fn go_on_with(&mut self, client: Client) {
        self.client = client;
        for message in std::mem::take(&mut self.under_way).into_values() {
            self.send(message);
        }
    }
}

fn text(message: usize) -> String {
    format!("message {message}")
}

/// All messages of a conversation, the first one first.
fn history(client: &mut Client, conversation: Conversation) -> Vec<Message> {
    let (mut messages, mut before, mut more) = (Vec::new(), None, true);
    while more {
        let page = client.request(&History { conversation, before, limit: Some(100) }).unwrap();
        before = page.messages.last().map(|message| message.number);
        more = page.more;
        messages.extend(page.messages);
    }
    messages.reverse();
    messages
}

/// Whether these are the messages of a writer: each once, numbered from 1 on, and in the order in which they were sent.
#[track_caller]
fn assert_all(messages: &[Message], writer: &Writer) {
    let client_ids: Vec<String> = (0..writer.next).map(|message| format!("c{message}")).collect();
    assert_eq!(messages.iter().map(|message| message.client_id.clone()).collect::<Vec<_>>(), client_ids);
    for (index, message) in messages.iter().enumerate() {
        assert_eq!(message.text, text(index));
        assert_eq!(message.number, index as i64 + 1);
        let Sent { number, position, time, .. } = writer.acknowledged[&index];
        assert_eq!((message.number, message.position, message.time), (number, position, time));
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let mut server = Server::start();
    let [ann, bob] = server.make_friends(["ann", "bob"]);
    let (address, seed) = (server.address(), seed.to_string());
    let bots = Program::start(&[
        "bot",
        "--connect",
        &address,
        "--users",
        "30",
        "--groups",
        "3",
        "--rate",
        "400",
        "--seconds",
        "4",
        "--seed",
        &seed,
    ]);
    bots.expect("log-in");
    let mut writer = Writer {
        client: server.log_in("ann", Device::Pc),
        to: Conversation::User(bob),
        next: 0,
        under_way: BTreeMap::new(),
        acknowledged: HashMap::new(),
    };
    for _ in 0..KILLS {
        let goal = writer.acknowledged.len() + 30 + random.below(100) as usize;
        while writer.acknowledged.len() < goal {
            writer.fill_window();
            assert!(writer.take_answer());
        }
        server.kill();
        // What had been sent before may have got here.
        while writer.take_answer() {}
        server.start_again();
        writer.go_on_with(server.log_in("ann", Device::Pc));
    }
    while !writer.under_way.is_empty() {
        assert!(writer.take_answer());
    }
    assert_all(&history(&mut writer.client, Conversation::User(bob)), &writer);
    let mut reader = server.log_in("bob", Device::Mobile);
    assert_all(&reader.missed(), &writer);
    assert_all(&history(&mut reader, Conversation::User(ann)), &writer);

    let ended = bots.wait();
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    let find = |name: &str| ended.stdout.iter().find(|line| line.starts_with(name)).unwrap();
    assert!(find("check").contains("none lost, doubled or reordered"), "{ended:#?}");
    assert!(!find("trouble").contains("lost connections 0"), "the bots have not seen the kills: {ended:#?}");
    assert_eq!(server.terminate().status, Some(0));
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill_and_retries_are_stored_once() {
    for seed in 1..=3 {
        run(seed);
    }
}

#[test]
fn a_killed_server_had_no_time_to_say_anything_and_its_data_is_whole() {
    let mut server = Server::start();
    let [ann, bob] = server.make_friends(["ann", "bob"]);
    let conversation = server.make_group(&["bob", "ann"]);
    let mut client = server.log_in("ann", Device::Pc);
    let sent = client.say(Conversation::User(bob), "1", "before").unwrap();
    server.kill();
    assert_eq!(client.until_closed(), [Some(im::protocol::Command::CaughtUp)]);
    server.start_again();
    let mut client = server.log_in("ann", Device::Pc);
    let again = client.say(Conversation::User(bob), "1", "before").unwrap();
    assert_eq!(again, Sent { duplicate: true, ..sent });
    assert_eq!(client.say(Conversation::User(bob), "2", "after").unwrap().number, 2);
    assert_eq!(client.say(conversation, "1", "to all").unwrap().number, 1);
    let missed = server.log_in("bob", Device::Pc).missed();
    let said: Vec<_> = missed.iter().map(|message| (message.sender, message.text.as_str())).collect();
    assert_eq!(said, [(ann, "before"), (ann, "after"), (ann, "to all")]);
}
