//! A service's sessions from other threads, over real sockets: found by id and by key, sent to, run with, closed.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use campana::codec::{Codec, DecodeError, EncodeError, Lines, Text};
use campana::session::{Session, SessionContext, SessionId, SessionManager, SessionService, WriteError};
use campana::{Buffer, CloseReason, TcpServer};

#[path = "support/server.rs"]
mod server;

use server::{Running, connect, read_to_end, reset, wait_until};

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Room(String);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct User(String);

/// Lines of text; counts how often one is encoded.
struct Counting {
    lines: Text<Lines>,
    totals: Arc<Totals>,
}

impl Codec for Counting {
    type In<'a> = &'a str;
    type Out<'a> = &'a str;

    fn decode<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<&'a str>, DecodeError> {
        self.lines.decode(input)
    }

    fn encode(&self, message: &str, output: &mut Buffer) -> Result<(), EncodeError> {
        self.totals.encoded.fetch_add(1, Ordering::Relaxed);
        self.lines.encode(message, output)
    }
}

#[derive(Default)]
struct Totals {
    opened: AtomicUsize,
    closed: AtomicUsize,
    received: AtomicUsize,
    ran: AtomicUsize,
    encoded: AtomicUsize,
}

/// Does what lines tell it to.
struct Guest(Arc<Totals>);

impl Session for Guest {
    type Codec = Counting;

    fn on_open(&mut self, _cx: &mut SessionContext<'_, Self>) {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        self.0.received.fetch_add(1, Ordering::Relaxed);
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "join" => assert!(cx.join(Room(rest.into()))),
            "leave" => assert!(cx.leave(&Room(rest.into()))),
            "claim" => {
                for before in cx.claim(User(rest.into())) {
                    // It may be ending already.
                    let _ = before.send("another has taken your name");
                    let _ = before.close();
                }
            }
            "say" => {
                for room in ["hall", "yard"] {
                    if cx.has_key(&Room(room.into())) {
                        cx.manager().keyed(&Room(room.into())).except(cx.id()).send(rest).unwrap();
                    }
                }
            }
            _ => {}
        }
        let _ = cx.write("ok");
    }

    fn on_close(
        &mut self,
        _cx: &mut SessionContext<'_, Self>,
        _reason: &CloseReason,
        _unwritten: Option<campana::session::WriteId>,
    ) {
        self.0.closed.fetch_add(1, Ordering::Relaxed);
    }
}

struct Guests {
    running: Running,
    address: SocketAddr,
    sessions: SessionManager<Guest>,
    totals: Arc<Totals>,
}

impl Guests {
    fn start(threads: usize) -> Self {
        let totals: Arc<Totals> = Arc::default();
        let (of_sessions, of_codecs) = (Arc::clone(&totals), Arc::clone(&totals));
        let (running, (address, sessions)) = Running::start(move |event_loop| {
            let server = TcpServer::bind("127.0.0.1:0").unwrap().threads(threads);
            let service = SessionService::new(move || Counting {
                lines: Text::over(Lines::new()),
                totals: Arc::clone(&of_codecs),
            });
            let (handle, sessions) =
                service.serve(server, event_loop, move |_| Guest(Arc::clone(&of_sessions))).unwrap();
            (handle.local_addresses()[0].as_inet().unwrap(), sessions)
        });
        Self { running, address, sessions, totals }
    }

    fn connect(&self) -> Client {
        Client(BufReader::new(connect(self.address)))
    }

    /// Ends the loops, and checks that everything has come to its end.
    fn end(self) {
        self.running.stop();
        let stats = self.sessions.stats();
        assert_eq!((stats.sessions, self.sessions.len()), (0, 0));
        assert_eq!(stats.opened, stats.closed);
        assert_eq!(stats.opened, self.totals.opened.load(Ordering::Relaxed) as u64);
        assert_eq!(stats.closed, self.totals.closed.load(Ordering::Relaxed) as u64);
        assert_eq!(stats.messages_in, self.totals.received.load(Ordering::Relaxed) as u64);
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn send(&mut self, line: &str) {
        writeln!(self.0.get_mut(), "{line}").unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, line: &str) {
        self.send(line);
        assert_eq!(self.line(), "ok");
    }
}

#[test]
fn a_room_is_who_has_joined_it_and_not_left_it() {
    let guests = Guests::start(2);
    let mut clients: Vec<_> = (0..6).map(|_| guests.connect()).collect();
    for client in &mut clients[..5] {
        client.ask("join hall");
    }
    clients[4].ask("leave hall");
    let hall = guests.sessions.keyed(&Room("hall".into()));
    assert_eq!((hall.len(), hall.is_empty(), hall.handles().len()), (4, false, 4));
    assert!(guests.sessions.keyed(&User("hall".into())).is_empty(), "another type is another key");
    clients[0].send("say hello");
    assert_eq!(clients[0].line(), "ok", "the one who says it is left out");
    for client in &mut clients[1..4] {
        assert_eq!(client.line(), "hello");
    }
    guests.sessions.all().send("to all").unwrap();
    for client in &mut clients {
        assert_eq!(client.line(), "to all", "those outside have not heard the other");
    }
    drop(clients);
    wait_until("all to end", || guests.sessions.is_empty());
    assert!(guests.sessions.keyed(&Room("hall".into())).is_empty());
    guests.end();
}

#[test]
fn a_key_that_is_claimed_is_taken_from_the_one_before() {
    let guests = Guests::start(2);
    let (mut first, mut second, mut third) = (guests.connect(), guests.connect(), guests.connect());
    first.ask("claim ann");
    third.ask("claim bob");
    second.ask("claim ann");
    assert_eq!(first.line(), "another has taken your name");
    assert_eq!(read_to_end(&mut first.0), b"");
    drop(first);
    wait_until("the end of the one before", || guests.sessions.len() == 2);
    assert_eq!(guests.sessions.keyed(&User("ann".into())).len(), 1, "its end takes the key from nobody else");
    second.ask("claim ann");
    guests.sessions.keyed(&User("ann".into())).send("you are ann").unwrap();
    assert_eq!(second.line(), "you are ann");
    third.ask("");
    guests.end();
}

#[test]
fn a_broadcast_is_encoded_once() {
    let guests = Guests::start(2);
    let mut clients: Vec<_> = (0..50).map(|_| guests.connect()).collect();
    for client in &mut clients {
        client.ask("join hall");
    }
    let before = guests.totals.encoded.load(Ordering::Relaxed);
    guests.sessions.keyed(&Room("hall".into())).send("once").unwrap();
    let long = "x".repeat(20_000);
    guests.sessions.all().send(&long[..8000]).unwrap();
    for client in &mut clients {
        assert_eq!(client.line(), "once");
        assert_eq!(client.line(), long[..8000]);
    }
    assert_eq!(guests.totals.encoded.load(Ordering::Relaxed) - before, 2);
    assert!(guests.sessions.all().send("two\nlines").is_err());
    guests.end();
}

#[test]
fn a_session_is_found_by_its_id_until_it_ends() {
    let guests = Guests::start(1);
    let mut client = guests.connect();
    client.ask("");
    let id: SessionId = guests.sessions.all().ids()[0];
    let session = guests.sessions.session(id).unwrap();
    assert_eq!(session.id(), id);
    session.send("to you").unwrap();
    assert_eq!(client.line(), "to you");
    let (answer, answers) = std::sync::mpsc::channel();
    session.run(move |_, cx| answer.send(cx.stats().messages_in).unwrap()).unwrap();
    assert_eq!(answers.recv().unwrap(), 1);
    reset(client.0.into_inner());
    wait_until("its end", || !session.is_open());
    wait_until("its end", || guests.sessions.session(id).is_none());
    assert!(matches!(session.send("late"), Err(WriteError::Closed)));
    let mut next = guests.connect();
    next.ask("");
    session.run(|_, _| panic!("it is another's place now")).unwrap();
    session.abort().unwrap();
    next.ask("");
    guests.end();
    assert!(session.run(|_, _| ()).is_err());
    assert!(session.close().is_err());
}

#[test]
fn close_and_abort_reach_all_and_all_but_one() {
    let guests = Guests::start(2);
    let mut clients: Vec<_> = (0..8).map(|_| guests.connect()).collect();
    for client in &mut clients {
        client.ask("join hall");
    }
    clients[0].ask("join yard");
    let one = guests.sessions.keyed(&Room("yard".into())).ids()[0];
    guests.sessions.all().except(one).send("goodbye").unwrap();
    guests.sessions.keyed(&Room("hall".into())).except(one).close();
    for client in &mut clients[1..] {
        assert_eq!(read_to_end(&mut client.0), b"goodbye\n", "what was sent before is delivered");
    }
    clients.truncate(1);
    wait_until("all others to end", || guests.sessions.len() == 1);
    clients[0].ask("");
    guests.sessions.all().abort();
    assert_eq!(read_to_end(&mut clients[0].0), b"");
    wait_until("the last to end", || guests.sessions.is_empty());
    guests.end();
}

#[test]
fn each_thread_that_sends_keeps_its_order() {
    const THREADS: usize = 4;
    const EACH: usize = 500;
    let guests = Guests::start(2);
    let mut client = guests.connect();
    client.ask("");
    let session = guests.sessions.all().handles().remove(0);
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (session, sessions) = (session.clone(), guests.sessions.clone());
            std::thread::spawn(move || {
                for number in 0..EACH {
                    let text = format!("{thread} {number}");
                    match number % 3 {
                        0 => session.send(&text).unwrap(),
                        1 => sessions.all().send(&text).unwrap(),
                        _ => session.run(move |_, cx| assert!(cx.write(&text).is_ok())).unwrap(),
                    }
                }
            })
        })
        .collect();
    let mut next = HashMap::new();
    for _ in 0..THREADS * EACH {
        let line = client.line();
        let (thread, number) = line.split_once(' ').unwrap();
        let expected: &mut usize = next.entry(thread.to_owned()).or_default();
        assert_eq!(number.parse(), Ok(*expected));
        *expected += 1;
    }
    for thread in threads {
        thread.join().unwrap();
    }
    guests.end();
}

#[test]
fn threads_may_do_anything_while_sessions_come_and_go() {
    let guests = Guests::start(2);
    let over = Arc::new(AtomicBool::new(false));
    let meddlers: Vec<_> = (0..3)
        .map(|thread| {
            let (sessions, over, totals) =
                (guests.sessions.clone(), Arc::clone(&over), Arc::clone(&guests.totals));
            std::thread::spawn(move || {
                for number in 0_usize.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    meddle(&sessions, &totals, thread + number);
                    std::thread::sleep(std::time::Duration::from_micros(200));
                }
            })
        })
        .collect();
    for number in 0..400 {
        let mut client = guests.connect();
        let _ = writeln!(client.0.get_mut(), "join hall\nclaim ann\nsay hello");
        match number % 3 {
            0 => reset(client.0.into_inner()),
            1 => drop(client),
            _ => drop(client.0.read_line(&mut String::new())),
        }
    }
    over.store(true, Ordering::Relaxed);
    for meddler in meddlers {
        meddler.join().unwrap();
    }
    wait_until("all to end", || guests.sessions.is_empty());
    assert!(guests.sessions.keyed(&Room("hall".into())).is_empty());
    assert!(guests.sessions.keyed(&User("ann".into())).is_empty());
    assert!(guests.totals.ran.load(Ordering::Relaxed) > 0);
    assert_eq!(guests.running.figures().panics, 0);
    guests.end();
}

fn meddle(sessions: &SessionManager<Guest>, totals: &Arc<Totals>, number: usize) {
    let hall = sessions.keyed(&Room("hall".into()));
    match number % 7 {
        0 => sessions.all().send("to all").unwrap(),
        1 => hall.send("to the hall").unwrap(),
        2 => {
            let totals = Arc::clone(totals);
            hall.run(move |_, cx| {
                totals.ran.fetch_add(1, Ordering::Relaxed);
                let _ = cx.write("ran");
            });
        }
        3 => hall.handles().iter().take(1).for_each(|session| session.close().unwrap()),
        4 => hall.handles().iter().take(1).for_each(|session| session.abort().unwrap()),
        5 => hall.handles().iter().for_each(|session| drop(session.send("to one"))),
        _ => assert!(sessions.stats().opened >= sessions.stats().closed),
    }
}

#[test]
fn the_sums_of_the_figures_are_exact_once_all_have_ended() {
    let guests = Guests::start(3);
    let (mut sent, mut received) = (0, 0);
    for number in 0..30 {
        let mut client = guests.connect();
        for _ in 0..number {
            client.send("some text");
            sent += "some text\n".len();
        }
        client.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = Vec::new();
        client.0.read_to_end(&mut answers).unwrap();
        received += answers.len();
    }
    wait_until("all to end", || guests.sessions.is_empty());
    wait_until("all to have been told", || guests.sessions.stats().closed == 30);
    let stats = guests.sessions.stats();
    assert_eq!((stats.bytes_in, stats.bytes_out), (sent as u64, received as u64));
    assert_eq!((stats.messages_in, stats.messages_out), (435, 435));
    assert_eq!((stats.opened, stats.sessions, stats.errors, stats.refused_writes), (30, 0, 0, 0));
    assert!((1..=30).contains(&stats.most_sessions));
    guests.end();
}
