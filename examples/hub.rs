//! Publish and subscribe by topic, with the protocol of muduo's hub.
//!
//! ```text
//! client: sub TOPIC\r\n     unsub TOPIC\r\n     pub TOPIC\r\nCONTENT\r\n
//! server:                                     pub TOPIC\r\nCONTENT\r\n
//! ```
//!
//! The last content of a topic is remembered, and sent to whoever subscribes later. Each loop has a [`Hub`] of its own with its
//! subscribers and a copy of what is remembered. What is published goes to the home loop of its topic first, and from there to
//! all loops: so all see the publications of a topic in the same order, without a lock.
//!
//! `cargo run --example hub -- --threads 4`, then `nc -C 127.0.0.1 2031` in several terminals.

mod support;

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::ExitCode;

use bytes::Bytes;
use campana::connection::ConnectionId;
use campana::reactor::HandlerHandle;
use campana::{Buffer, CloseReason, Handler, LoopContext, ServerHandle, TcpConnection};
use support::Options;

/// The most bytes of a command's line, or of a publication's content.
const MAX_LINE: usize = 8 * 1024;
/// The most topics whose last content is remembered, and the most that one connection may subscribe to.
const MAX_TOPICS: usize = 10_000;

fn main() -> ExitCode {
    let arguments = Options::server("Publishes what it is given to those who subscribed.", "127.0.0.1:2031")
        .option("--max-pending BYTES", Some("1048576"), "drop a subscriber for whom more than that waits")
        .option("--max-slow SECONDS", Some("10"), "drop a subscriber for whom much has waited for so long")
        .parse();
    let (max_pending, max_slow) = (arguments.value("--max-pending"), arguments.seconds("--max-slow"));

    support::serve(&arguments, |server, event_loop| {
        server
            .configure(|config| {
                config.hard_cap = max_pending;
                config.slow_consumer = Some(max_slow);
            })
            .start_with(event_loop, |_, server| Hub {
                server: server.clone(),
                subscribers: HashMap::new(),
                last: HashMap::new(),
            })
    })
}

type Topic = Bytes;

/// The subscribers on one loop.
struct Hub {
    server: ServerHandle<Self>,
    subscribers: HashMap<Topic, HashSet<ConnectionId>>,
    /// The last publication of each topic, in the form in which it is sent.
    last: HashMap<Topic, Bytes>,
}

impl Handler for Hub {
    /// What the connection has subscribed to.
    type State = HashSet<Topic>;

    fn on_connect(&mut self, _conn: &mut TcpConnection<'_>) -> Self::State {
        HashSet::new()
    }

    fn on_data(&mut self, topics: &mut Self::State, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        while conn.is_open() {
            match Command::take_from(input) {
                Ok(Some(Command::Subscribe(topic))) => self.subscribe(topics, conn, topic),
                Ok(Some(Command::Unsubscribe(topic))) => {
                    topics.remove(&topic);
                    self.unsubscribe(conn.id(), &topic);
                }
                Ok(Some(Command::Publish(topic, message))) => self.publish(topic, message),
                Ok(None) => return,
                Err(why) => conn.fail(why),
            }
        }
    }

    fn on_close(&mut self, topics: Self::State, conn: &mut TcpConnection<'_>, reason: CloseReason) {
        log::info!("{}: {reason}", conn.peer_address());
        for topic in topics {
            self.unsubscribe(conn.id(), &topic);
        }
    }
}

impl Hub {
    fn subscribe(&mut self, topics: &mut HashSet<Topic>, conn: &mut TcpConnection<'_>, topic: Topic) {
        if topics.len() >= MAX_TOPICS {
            return conn.fail(format!("more than {MAX_TOPICS} subscriptions"));
        }
        if topics.insert(topic.clone()) {
            if let Some(message) = self.last.get(&topic) {
                let _ = conn.send(message);
            }
            self.subscribers.entry(topic).or_default().insert(conn.id());
        }
    }

    fn unsubscribe(&mut self, subscriber: ConnectionId, topic: &Topic) {
        if let Some(subscribers) = self.subscribers.get_mut(topic) {
            subscribers.remove(&subscriber);
            if subscribers.is_empty() {
                self.subscribers.remove(topic);
            }
        }
    }

    /// Has a publication put in its place among those of its topic.
    fn publish(&self, topic: Topic, message: Bytes) {
        let hubs = self.server.handlers();
        if let Some(home) = home_of(&topic, &hubs) {
            // It fails only if that loop has ended, and with it the server.
            let _ = home.run(|home, _| home.spread(topic, message));
        }
    }

    fn spread(&self, topic: Topic, message: Bytes) {
        for hub in self.server.handlers() {
            let (topic, message) = (topic.clone(), message.clone());
            let _ = hub.run(move |hub, context| hub.deliver(context, topic, message));
        }
    }

    fn deliver(&mut self, context: &mut LoopContext, topic: Topic, message: Bytes) {
        for &subscriber in self.subscribers.get(&topic).into_iter().flatten() {
            if let Some(mut conn) = context.connection(subscriber) {
                // One that doesn't keep up is closed by this, and none of the others waits for it.
                let _ = conn.send(&message);
            }
        }
        if self.last.len() < MAX_TOPICS || self.last.contains_key(&topic) {
            self.last.insert(topic, message);
        } else {
            log::warn!("{MAX_TOPICS} topics are remembered, and no more");
        }
    }
}

fn home_of<'a>(topic: &Topic, hubs: &'a [HandlerHandle<Hub>]) -> Option<&'a HandlerHandle<Hub>> {
    let mut hasher = DefaultHasher::new();
    topic.hash(&mut hasher);
    hubs.get((hasher.finish() % hubs.len().max(1) as u64) as usize)
}

enum Command {
    Subscribe(Topic),
    Unsubscribe(Topic),
    /// The message is the whole command, which is what subscribers get.
    Publish(Topic, Bytes),
}

impl Command {
    /// Takes a command out of `input` if it is there as a whole.
    fn take_from(input: &mut Buffer) -> Result<Option<Self>, &'static str> {
        let Some(end) = find_line_end(input, 0)? else { return Ok(None) };
        let line = &input.peek()[..end];
        let Some(space) = line.iter().position(|&byte| byte == b' ') else {
            return Err("a command without a topic");
        };
        let (verb, topic) = (&line[..space], Bytes::copy_from_slice(&line[space + 1..]));
        let command = match verb {
            b"sub" => Self::Subscribe(topic),
            b"unsub" => Self::Unsubscribe(topic),
            b"pub" => {
                let Some(end) = find_line_end(input, end + 2)? else { return Ok(None) };
                return Ok(Some(Self::Publish(topic, input.take_bytes(end + 2))));
            }
            _ => return Err("a command that is neither sub, unsub nor pub"),
        };
        input.retrieve(end + 2);
        Ok(Some(command))
    }
}

/// Where the line that begins at `start` ends, if its end is there; an error if it is too long.
fn find_line_end(input: &Buffer, start: usize) -> Result<Option<usize>, &'static str> {
    let end = input.find_crlf_from(start);
    let length = end.unwrap_or(input.readable()) - start;
    if length > MAX_LINE { Err("a line is too long") } else { Ok(end) }
}
