//! Snapshots, on loops that are turned by hand or end in between.

use std::cell::Cell;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::connections::{CHUNK, ConnectionQuery, ConnectionSort, Connections, connections};
use super::inspected::Inspected;
use super::paging::Page;
use super::servers::NamedServer;
use super::sessions::{SessionPage, SessionQuery, SessionSort, sessions};
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

    fn ask(&self, what: What) -> Receiver<Seen> {
        let (sender, receiver) = channel();
        let Inspected { loops, .. } = &*self.inspected;
        match what {
            What::Connections => {
                let query =
                    ConnectionQuery { server: None, filter: None, sort: ConnectionSort::Id, page: ALL };
                connections(loops, query, move |found| {
                    let Connections { total, connections: rows, .. } = found;
                    let ids = rows.iter().map(|row| row.id.to_string()).collect();
                    let servers = rows.iter().map(|row| row.server.as_deref().map(str::to_owned)).collect();
                    sender.send(Seen { total: total as usize, ids, servers }).unwrap();
                });
            }
            What::Sessions => {
                let query = SessionQuery { service: None, filter: None, sort: SessionSort::Id, page: ALL };
                sessions(loops, self.inspected.services(), query, move |found| {
                    let SessionPage { total, sessions: rows, .. } = found;
                    let ids = rows.iter().map(|row| row.id.to_string()).collect();
                    sender.send(Seen { total: total as usize, ids, servers: Vec::new() }).unwrap();
                });
            }
        }
        receiver
    }

    /// Turns the loop until there is an answer, with `between` called after each turn.
    fn answer(&mut self, answers: &Receiver<Seen>, mut between: impl FnMut(&mut Self)) -> (Seen, usize) {
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

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum What {
    Connections,
    Sessions,
}

/// What was answered.
struct Seen {
    total: usize,
    ids: Vec<String>,
    servers: Vec<Option<String>>,
}

#[test]
fn a_loop_does_other_work_between_the_chunks_of_a_snapshot() {
    let mut bench = Bench::new("chunks", 3 * CHUNK);
    for what in [What::Connections, What::Sessions] {
        let answers = bench.ask(what);
        let ran = Rc::new(Cell::new(0));
        let (seen, turns) = bench.answer(&answers, |bench| {
            let ran = Rc::clone(&ran);
            bench.event_loop.context().run_later(move |_: &mut LoopContext| ran.set(ran.get() + 1));
        });
        assert_eq!((seen.total, seen.ids.len()), (3 * CHUNK, 3 * CHUNK));
        assert!(turns >= 3, "{turns} turns for three chunks of {what:?}");
        assert_eq!(ran.get(), turns - 1, "each turn of the walk ran what else there was");
    }
}

#[test]
fn what_is_open_all_along_is_seen_once_whatever_comes_and_goes() {
    for what in [What::Connections, What::Sessions] {
        let mut bench = Bench::new(&format!("churn-{what:?}"), 4 * CHUNK);
        let before = bench.sessions.all().ids();
        let answers = bench.ask(what);
        // The slots of those that go are those of others that come, before the walk and behind it.
        let (seen, _) = bench.answer(&answers, |bench| {
            bench.close_first(20);
            bench.connect(30);
        });
        let after = bench.sessions.all().ids();
        let mut once = seen.ids.clone();
        once.dedup();
        assert_eq!(seen.ids, once, "they are in order, so that two of one would be neighbours");
        let all_along = before.iter().filter(|id| after.contains(id));
        for id in all_along.clone() {
            assert!(seen.ids.contains(&id.to_string()), "{id} is missing");
        }
        assert!(all_along.count() > 3 * CHUNK && after != before);
        assert_eq!(seen.total, seen.ids.len());
    }
}

#[test]
fn a_loop_that_ends_meanwhile_answers_as_far_as_it_has_come() {
    for what in [What::Connections, What::Sessions] {
        let mut bench = Bench::new(&format!("ends-{what:?}"), 2 * CHUNK);
        let answers = bench.ask(what);
        bench.turn();
        assert!(answers.try_recv().is_err());
        let never_begun = bench.ask(what);
        bench.event_loop = EventLoop::new().unwrap();
        assert_eq!(answers.try_recv().unwrap().total, CHUNK);
        assert_eq!(never_begun.try_recv().unwrap().total, 0);
        assert_eq!(bench.ask(what).try_recv().unwrap().total, 0, "it has ended before");
    }
}

#[test]
fn a_server_that_has_stopped_has_no_sessions_and_its_loop_still_answers() {
    let mut bench = Bench::new("stopped", 3);
    bench.server.stop(Duration::ZERO);
    bench.turn_until(|bench| bench.server.is_stopped());
    for what in [What::Connections, What::Sessions] {
        let answers = bench.ask(what);
        assert_eq!(bench.answer(&answers, |_| {}).0.total, 0);
    }
}

#[test]
fn a_connection_is_named_after_the_server_that_it_came_to_and_no_later_one() {
    let mut bench = Bench::new("named", 2);
    let start = |bench: &mut Bench| {
        let server = TcpServer::bind("127.0.0.1:0").unwrap().start(&mut bench.event_loop).unwrap();
        let client = TcpStream::connect(server.local_addresses()[0].as_inet().unwrap()).unwrap();
        bench.turn_until(|_| server.figures().connections == 1);
        client
    };
    let _client = start(&mut bench);
    let answers = bench.ask(What::Connections);
    let quiet = || Some("quiet".to_owned());
    assert_eq!(bench.answer(&answers, |_| {}).0.servers, [quiet(), quiet(), None]);

    // The index of its source is free again, and is the next one's.
    bench.server.stop(Duration::ZERO);
    bench.turn_until(|bench| bench.server.is_stopped());
    bench.turn();
    let _later = start(&mut bench);
    let answers = bench.ask(What::Connections);
    assert_eq!(bench.answer(&answers, |_| {}).0.servers, [None, None]);
}
