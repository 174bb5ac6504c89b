//! Snapshots, on loops that are turned by hand or end in between.

use std::cell::Cell;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::connections::{CHUNK, ConnectionQuery, ConnectionSort, connections};
use super::inspected::Inspected;
use super::paging::Page;
use super::servers::NamedServer;
use super::sessions::{SessionQuery, SessionSort, sessions};
use crate::codec::{Lines, Text};
use crate::session::{Session, SessionContext, SessionManager, SessionService, Sessions};
use crate::{EventLoop, LoopContext, ServerHandle, TcpServer};

struct Quiet;

impl Session for Quiet {
    type Codec = Text<Lines>;

    fn on_message(&mut self, _cx: &mut SessionContext<'_, Self>, _line: &str) {}
}

/// A server of sessions on a loop that this turns, and its clients.
struct Bench {
    event_loop: EventLoop,
    server: ServerHandle<Sessions<Quiet>>,
    sessions: SessionManager<Quiet>,
    inspected: Arc<Inspected>,
    name: String,
    clients: Vec<UnixStream>,
}

impl Bench {
    fn new(name: &str, clients: usize) -> Self {
        let name = format!("campana-inspect-{}-{name}", std::process::id());
        let mut event_loop = EventLoop::new().unwrap();
        let server = TcpServer::bind(&*format!("unix:@{name}")).unwrap();
        let service = SessionService::new(|| Text::over(Lines::new()));
        let (server, sessions) = service.serve(server, &mut event_loop, |_| Quiet).unwrap();
        let named = NamedServer {
            name: "quiet".into(),
            server: Box::new(server.clone()),
            service: Some(Box::new(sessions.clone())),
        };
        let inspected = Inspected::new(vec![named], &[], None);
        let mut bench = Self { event_loop, server, sessions, inspected, name, clients: Vec::new() };
        bench.connect(clients);
        bench
    }

    fn connect(&mut self, count: usize) {
        let address = SocketAddr::from_abstract_name(&self.name).unwrap();
        for _ in 0..count {
            self.clients.push(UnixStream::connect_addr(&address).unwrap());
            let so_many = self.clients.len();
            self.turn_until(|bench| bench.server.figures().connections == so_many);
        }
    }

    fn close_first(&mut self, count: usize) {
        drop(self.clients.drain(..count));
        let left = self.clients.len();
        self.turn_until(|bench| bench.server.figures().connections == left);
    }

    fn turn(&mut self) {
        self.event_loop.turn(Some(Duration::ZERO)).unwrap();
    }

    fn turn_until(&mut self, mut condition: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !condition(self) {
            assert!(Instant::now() < end);
            self.turn();
        }
    }

    fn ask_connections(&self, query: ConnectionQuery) -> Receiver<Value> {
        let (sender, receiver) = channel();
        connections(&self.inspected.loops, query, move |found| {
            sender.send(serde_json::to_value(&found).unwrap()).unwrap();
        });
        receiver
    }

    fn ask_sessions(&self, query: SessionQuery) -> Receiver<Value> {
        let (sender, receiver) = channel();
        sessions(&self.inspected.loops, self.inspected.services(), query, move |found| {
            sender.send(serde_json::to_value(&found).unwrap()).unwrap();
        });
        receiver
    }

    /// Turns the loop until there is an answer, with `between` called after each turn.
    fn answer(&mut self, answers: &Receiver<Value>, mut between: impl FnMut(&mut Self)) -> (Value, usize) {
        for turns in 1..100 {
            self.turn();
            if let Ok(answer) = answers.try_recv() {
                return (answer, turns);
            }
            between(self);
        }
        panic!("no answer");
    }
}

const ALL: Page = Page { offset: 0, limit: usize::MAX, descending: false };

fn all_connections() -> ConnectionQuery {
    ConnectionQuery { server: None, filter: None, sort: ConnectionSort::Id, page: ALL }
}

fn all_sessions() -> SessionQuery {
    SessionQuery { service: None, filter: None, sort: SessionSort::Id, page: ALL }
}

fn ids(answer: &Value, rows: &str) -> Vec<String> {
    answer[rows].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_loop_does_other_work_between_the_chunks_of_a_snapshot() {
    let mut bench = Bench::new("chunks", 3 * CHUNK);
    for rows in ["connections", "sessions"] {
        let answers = if rows == "connections" {
            bench.ask_connections(all_connections())
        } else {
            bench.ask_sessions(all_sessions())
        };
        let ran = Rc::new(Cell::new(0));
        let (answer, turns) = bench.answer(&answers, |bench| {
            let ran = Rc::clone(&ran);
            bench.event_loop.context().run_later(move |_: &mut LoopContext| ran.set(ran.get() + 1));
        });
        assert_eq!(ids(&answer, rows).len(), 3 * CHUNK);
        assert_eq!((&answer["total"], &answer["matched"]), (&(3 * CHUNK).into(), &(3 * CHUNK).into()));
        assert!(turns >= 3, "{turns} turns for three chunks");
        assert_eq!(ran.get(), turns - 1, "each turn of the walk ran what else there was");
    }
}

#[test]
fn what_is_open_all_along_is_seen_once_whatever_comes_and_goes() {
    for rows in ["connections", "sessions"] {
        let mut bench = Bench::new(&format!("churn-{rows}"), 4 * CHUNK);
        let before = bench.sessions.all().ids();
        let answers = if rows == "connections" {
            bench.ask_connections(all_connections())
        } else {
            bench.ask_sessions(all_sessions())
        };
        // The slots of those that go are those of others that come, before the walk and behind it.
        let (answer, _) = bench.answer(&answers, |bench| {
            bench.close_first(20);
            bench.connect(30);
        });
        let after = bench.sessions.all().ids();
        let seen = ids(&answer, rows);
        let mut once = seen.clone();
        once.dedup();
        assert_eq!(seen, once, "in the order of ids, so that two of one would be neighbours");
        let all_along = before.iter().filter(|id| after.contains(id));
        for id in all_along.clone() {
            assert!(seen.contains(&id.to_string()), "{id} is missing");
        }
        assert!(all_along.count() > 3 * CHUNK && after != before);
        assert_eq!(answer["total"], seen.len());
    }
}

#[test]
fn a_loop_that_ends_meanwhile_answers_as_far_as_it_has_come() {
    for rows in ["connections", "sessions"] {
        let mut bench = Bench::new(&format!("ends-{rows}"), 2 * CHUNK);
        let ask = |bench: &Bench| match rows {
            "connections" => bench.ask_connections(all_connections()),
            _ => bench.ask_sessions(all_sessions()),
        };
        let answers = ask(&bench);
        bench.turn();
        assert!(answers.try_recv().is_err());
        let never_begun = ask(&bench);
        bench.event_loop = EventLoop::new().unwrap();
        assert_eq!(answers.try_recv().unwrap()["total"], CHUNK);
        assert_eq!(never_begun.try_recv().unwrap()["total"], 0);
        assert_eq!(ask(&bench).try_recv().unwrap()["total"], 0, "it has ended before");
    }
}

#[test]
fn a_server_that_has_stopped_has_no_sessions_and_its_loop_still_answers() {
    let mut bench = Bench::new("stopped", 3);
    bench.server.stop(Duration::ZERO);
    bench.turn_until(|bench| bench.server.is_stopped());
    let answers = bench.ask_sessions(all_sessions());
    assert_eq!(bench.answer(&answers, |_| {}).0["total"], 0);
    let answers = bench.ask_connections(all_connections());
    assert_eq!(bench.answer(&answers, |_| {}).0["total"], 0);
}

#[test]
fn a_connection_is_named_after_the_server_that_it_came_to_and_no_later_one() {
    let mut bench = Bench::new("named", 2);
    let other = TcpServer::bind("127.0.0.1:0").unwrap().start(&mut bench.event_loop).unwrap();
    let _others = std::net::TcpStream::connect(other.local_addresses()[0].as_inet().unwrap()).unwrap();
    bench.turn_until(|_| other.figures().connections == 1);
    let answers = bench.ask_connections(all_connections());
    let (answer, _) = bench.answer(&answers, |_| {});
    let servers: Vec<_> =
        answer["connections"].as_array().unwrap().iter().map(|row| &row["server"]).collect();
    assert_eq!(servers, [&Value::from("quiet"), &Value::from("quiet"), &Value::Null]);

    // The index of its source is free again, and is the next one's.
    bench.server.stop(Duration::ZERO);
    bench.turn_until(|bench| bench.server.is_stopped());
    let later = TcpServer::bind("127.0.0.1:0").unwrap().start(&mut bench.event_loop).unwrap();
    let _late = std::net::TcpStream::connect(later.local_addresses()[0].as_inet().unwrap()).unwrap();
    bench.turn_until(|_| later.figures().connections == 1);
    let answers = bench.ask_connections(all_connections());
    let (answer, _) = bench.answer(&answers, |_| {});
    assert_eq!(answer["total"], 2);
    assert!(answer["connections"].as_array().unwrap().iter().all(|row| row["server"].is_null()));
}

#[test]
#[ignore = "a measurement"]
fn measure() {
    for count in [10_000 - 100] {
        let mut bench = Bench::new("measure", 0);
        // In and out of one process: two descriptors each.
        bench.connect(count.min(9_900));
        for (what, query) in [
            ("id", all_connections()),
            (
                "page",
                ConnectionQuery {
                    page: Page { offset: 0, limit: 50, descending: true },
                    sort: ConnectionSort::BytesIn,
                    ..all_connections()
                },
            ),
            (
                "filter",
                ConnectionQuery {
                    filter: Some("nothing".to_owned()),
                    page: Page { offset: 0, limit: 50, descending: true },
                    sort: ConnectionSort::BytesIn,
                    ..all_connections()
                },
            ),
            (
                "peer",
                ConnectionQuery {
                    page: Page { offset: 0, limit: 50, descending: false },
                    sort: ConnectionSort::Peer,
                    ..all_connections()
                },
            ),
        ] {
            let answers = bench.ask_connections(query);
            let (mut longest, mut turns, began) = (Duration::ZERO, 0, Instant::now());
            while answers.try_recv().is_err() {
                let turn = Instant::now();
                bench.turn();
                longest = longest.max(turn.elapsed());
                turns += 1;
            }
            println!("connections by {what}: {turns} turns, longest {longest:?}, all {:?}", began.elapsed());
        }
        for (what, query) in [
            ("id", all_sessions()),
            (
                "page",
                SessionQuery {
                    page: Page { offset: 0, limit: 50, descending: true },
                    sort: SessionSort::BytesIn,
                    ..all_sessions()
                },
            ),
            (
                "rate",
                SessionQuery {
                    page: Page { offset: 0, limit: 50, descending: true },
                    sort: SessionSort::BytesInRate,
                    ..all_sessions()
                },
            ),
        ] {
            let answers = bench.ask_sessions(query);
            let (mut longest, mut turns, began) = (Duration::ZERO, 0, Instant::now());
            while answers.try_recv().is_err() {
                let turn = Instant::now();
                bench.turn();
                longest = longest.max(turn.elapsed());
                turns += 1;
            }
            println!("sessions by {what}: {turns} turns, longest {longest:?}, all {:?}", began.elapsed());
        }
    }
}
