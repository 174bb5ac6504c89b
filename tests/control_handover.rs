//! Listening sockets handed to a successor over a control socket, from both sides, in one process.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use campana::control::{
    Access, ClientError, ControlClient, ControlHandle, ControlServer, ErrorReply, Handover, Predecessor,
    Router,
};
use campana::socket::{ListenOptions, Listener};
use campana::{Address, ServerHandle, TcpServer};
use serde_json::{Value, json};

#[path = "support/server.rs"]
mod server;

use server::{
    Act, Log, Moment, PATIENCE, Recorder, Running, connect, echo, is_served, read_exact, wait_until,
};

/// A directory with the control socket of the program under test, and its Unix sockets; removed with this value.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("campana-{test}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What would be a process of its own: a server, and a control socket that hands it over.
struct Program {
    running: Running,
    server: ServerHandle<Recorder>,
    control: ControlHandle,
    log: Log,
    drained: Receiver<()>,
}

impl Program {
    fn first(directory: &Directory, threads: usize) -> Self {
        let unix = format!("unix:{}", directory.socket().display());
        let server = TcpServer::bind("127.0.0.1:0").unwrap().and_bind(unix).unwrap().threads(threads);
        let control = directory.control();
        Self::start(server, || ControlServer::bind(control))
    }

    /// A program that has asked another one for all of its listeners, and hasn't told it yet that it serves.
    fn after(predecessor: &mut Predecessor, threads: usize) -> Self {
        let server = TcpServer::from_listeners(predecessor.listeners("main")).threads(threads);
        let control = predecessor.control_listener().unwrap();
        Self::start(server, || ControlServer::from_listener(control))
    }

    fn start(server: TcpServer, control: impl FnOnce() -> ControlServer + Send + 'static) -> Self {
        let log = Log::default();
        let of_handlers = log.clone();
        let (report, drained) = channel();
        let (running, (server, control)) = Running::start(move |event_loop| {
            let act: Act = Arc::new(echo);
            let make = move |_: &mut _, _: &ServerHandle<_>| Recorder::with(&of_handlers, &act);
            let server = server.start_with(event_loop, make).unwrap();
            let mut router = Router::new();
            let on_drained = move |_: &mut _| report.send(()).unwrap();
            Handover::new().server("main", &server).on_drained(on_drained).register(&mut router).unwrap();
            (server, control().start(event_loop, router).unwrap())
        });
        Self { running, server, control, log, drained }
    }

    fn address(&self) -> SocketAddr {
        self.server.local_addresses().iter().find_map(Address::as_inet).unwrap()
    }

    /// Waits until a successor has everything, and nothing is left here.
    #[track_caller]
    fn wait_drained(&self) {
        self.drained.recv_timeout(PATIENCE).unwrap();
        assert!(self.server.is_stopped() && self.control.server().is_stopped());
    }

    #[track_caller]
    fn assert_serves(&self, directory: &Directory) {
        is_served(&mut connect(self.address()));
        let mut client = UnixStream::connect(directory.socket()).unwrap();
        client.write_all(b"ping").unwrap();
        assert_eq!(read_exact(&mut client, 4), b"ping");
        let mut client = ControlClient::connect(directory.control()).unwrap();
        let _: Value = client.request("help", &()).unwrap();
    }

    #[track_caller]
    fn stop(self) {
        self.server.stop(PATIENCE);
        self.control.stop(PATIENCE);
        assert!(self.server.wait_stopped(PATIENCE) && self.control.server().wait_stopped(PATIENCE));
        self.running.stop();
    }
}

#[track_caller]
fn failed<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ErrorReply {
    match result {
        Err(ClientError::Failed(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_program_after_the_other_takes_over_all_listeners_and_the_control_socket() {
    for threads in [0, 2] {
        let directory = Directory::new("one-after-the-other");
        let mut program = Program::first(&directory, threads);
        let address = program.address();
        for _ in 0..5 {
            let mut predecessor = Predecessor::ask(directory.control()).unwrap();
            assert_eq!(predecessor.servers().collect::<Vec<_>>(), ["main"]);
            let successor = Program::after(&mut predecessor, threads);
            assert_eq!(successor.address(), address);
            assert_eq!(
                successor.control.server().local_addresses(),
                program.control.server().local_addresses()
            );
            program.assert_serves(&directory);
            assert_eq!(predecessor.take_over(PATIENCE).unwrap(), ["main"]);
            program.wait_drained();
            program.running.stop();
            assert_eq!(directory.names(), ["control", "socket"]);
            successor.assert_serves(&directory);
            program = successor;
        }
        program.stop();
        assert!(directory.names().is_empty(), "the last one removes the paths: {:?}", directory.names());
    }
}

#[test]
fn a_predecessor_that_is_not_taken_over_goes_on_as_before() {
    let directory = Directory::new("not-taken-over");
    let program = Program::first(&directory, 2);
    for _ in 0..3 {
        let mut predecessor = Predecessor::ask(directory.control()).unwrap();
        // As far as it can get without saying that it serves.
        let successor = Program::after(&mut predecessor, 1);
        successor.stop();
        drop(predecessor);
        assert_eq!(directory.names(), ["control", "socket"]);
        program.assert_serves(&directory);
    }
    assert!(program.drained.try_recv().is_err());
    program.stop();
    assert!(directory.names().is_empty());
}

#[test]
fn one_successor_at_a_time_is_served() {
    let directory = Directory::new("one-at-a-time");
    let program = Program::first(&directory, 0);
    let first = Predecessor::ask(directory.control()).unwrap();
    let refused = failed(Predecessor::ask(directory.control()));
    assert_eq!(refused.code, "busy");
    assert!(refused.errors[0].contains("another successor"), "{refused}");
    drop(first);
    wait_until("the first one's end to be noticed", || program.control.sessions().is_empty());
    let mut second = Predecessor::ask(directory.control()).unwrap();
    let successor = Program::after(&mut second, 0);
    second.take_over(PATIENCE).unwrap();
    program.wait_drained();
    successor.assert_serves(&directory);
    successor.stop();
}

#[test]
fn only_who_has_the_listeners_can_say_that_it_serves() {
    let directory = Directory::new("only-who-has");
    let program = Program::first(&directory, 0);
    let mut stranger = ControlClient::connect(directory.control()).unwrap();
    let nothing = failed(stranger.request::<_, Value>("handed_over", &()));
    assert!(nothing.errors[0].contains("ask it for `handover` first"), "{nothing}");

    let mut successor = ControlClient::connect(directory.control()).unwrap();
    let (_, descriptors) = successor.request_with_descriptors::<_, Value>("handover", &(), 253).unwrap();
    assert_eq!(descriptors.len(), 3);
    failed(stranger.request::<_, Value>("handed_over", &()));
    let unknown =
        failed(successor.request::<_, Value>("handed_over", &json!({"servers": ["main", "other"]})));
    assert!(unknown.errors[0].contains("`other`"), "{unknown}");
    assert_eq!(unknown.base["servers"], json!(["main"]));
    failed(successor.request::<_, Value>("handed_over", &json!({"deadline": 1})));
    program.assert_serves(&directory);

    // Both at once: the second is not taken for another one.
    let ids = [(); 2].map(|()| successor.send("handed_over", &json!({"deadline_ms": 30_000})).unwrap());
    let draining: Value = successor.wait(&ids[0]).unwrap().into_result().unwrap();
    assert_eq!(draining, json!({"draining": ["main"]}));
    if let Ok(reply) = successor.wait(&ids[1]) {
        assert!(failed(reply.into_result::<Value>()).errors[0].contains("already"));
    }
    drop((stranger, successor));
    program.wait_drained();
}

#[test]
fn who_could_not_be_passed_the_listeners_can_not_say_that_it_serves() {
    let directory = Directory::new("not-passed");
    let program = Program::first(&directory, 0);
    let mut client = ControlClient::connect(directory.control()).unwrap();
    let _: Value = client.request("help", &()).unwrap();
    // How many requests have come, and whether one waits for its answer, or an answer waits to be read.
    let state = || {
        let (report, reports) = channel();
        program.control.sessions().all().run(move |session, cx| {
            let counts = session.counts();
            report.send((counts.in_msg_count, counts.in_flight > 0, cx.pending_bytes() > 0)).unwrap();
        });
        reports.recv_timeout(PATIENCE).unwrap()
    };
    // Descriptors can't be passed before an answer that waits to be read.
    let mut sent = 1;
    while state() != (sent, false, true) {
        client.send("help", &()).unwrap();
        sent += 1;
        wait_until("the request to arrive", || state().0 == sent);
    }
    let handover = client.send("handover", &()).unwrap();
    wait_until("its answer", || state() == (sent + 1, false, true));
    assert_eq!(failed(client.wait(&handover).unwrap().into_result::<Value>()).code, "busy");
    let error = failed(client.request::<_, Value>("handed_over", &()));
    assert!(error.errors[0].contains("nothing was handed over"), "{error}");
    program.assert_serves(&directory);
    // There is room by now.
    let (_, descriptors): (Value, _) = client.request_with_descriptors("handover", &(), 10).unwrap();
    assert_eq!(descriptors.len(), 3);
    drop(client);
    program.stop();
}

#[test]
fn what_is_handed_over_is_named_in_the_order_of_the_descriptors() {
    let directory = Directory::new("named-in-order");
    let program = Program::first(&directory, 2);
    let mut client = ControlClient::connect(directory.control()).unwrap();
    let (offers, descriptors) = client.request_with_descriptors::<_, Value>("handover", &(), 253).unwrap();
    let offers = offers["listeners"].as_array().unwrap().clone();
    assert_eq!(offers.len(), descriptors.len());
    for (offer, descriptor) in offers.iter().zip(descriptors) {
        let address = Listener::from_fd(descriptor).unwrap().local_address().unwrap();
        assert_eq!(offer["address"], address.to_string());
        let is_control = address.is_packet();
        assert_eq!(offer["server"], if is_control { Value::Null } else { json!("main") });
        assert_eq!(offer["path"].is_object(), address.is_unix(), "{offer}");
    }
    let servers: Vec<&Value> = offers.iter().map(|offer| &offer["server"]).collect();
    let main = json!("main");
    assert_eq!(servers, [&main, &main, &main, &Value::Null]);
    drop(client);
    program.stop();
}

#[test]
fn who_has_no_business_here_gets_no_listeners() {
    let directory = Directory::new("no-business");
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let control = directory.control();
    let program =
        Program::start(server, || ControlServer::bind(control).authorize(|_| Access::roles(["viewer"])));
    assert_eq!(failed(Predecessor::ask(directory.control())).code, "not_permitted");
    let mut client = ControlClient::connect(directory.control()).unwrap();
    assert_eq!(failed(client.request::<_, Value>("handed_over", &())).code, "not_permitted");
    is_served(&mut connect(program.address()));
}

#[test]
fn who_waits_for_a_server_that_is_not_taken_over_is_served_by_the_old_one() {
    let directory = Directory::new("left-behind");
    let (left, taken) = (TcpServer::bind("127.0.0.1:0").unwrap(), TcpServer::bind("127.0.0.1:0").unwrap());
    let control = directory.control();
    let (running, (left, drained)) = Running::start(move |event_loop| {
        let start = |server: TcpServer, event_loop: &mut _| {
            server.on_data(|conn, input| conn.send(input.take())).start(event_loop).unwrap()
        };
        let (left, taken) = (start(left, event_loop), start(taken, event_loop));
        let (report, drained) = channel();
        let mut router = Router::new();
        let handover = Handover::new().server("left", &left).server("taken", &taken);
        handover.on_drained(move |_| report.send(()).unwrap()).register(&mut router).unwrap();
        ControlServer::bind(control).start(event_loop, router).unwrap();
        left.pause_accepting();
        (left, drained)
    });
    running.settle();
    let mut waiting = connect(left.local_addresses()[0].as_inet().unwrap());
    let mut predecessor = Predecessor::ask(directory.control()).unwrap();
    assert_eq!(predecessor.servers().collect::<Vec<_>>(), ["left", "taken"]);
    assert_eq!(predecessor.listeners("taken").len(), 1);
    assert!(predecessor.listeners("taken").is_empty() && predecessor.listeners("other").is_empty());
    assert_eq!(predecessor.servers().collect::<Vec<_>>(), ["left"]);
    assert_eq!(predecessor.take_over(PATIENCE).unwrap(), ["left", "taken"]);
    is_served(&mut waiting);
    drop(waiting);
    drained.recv_timeout(PATIENCE).unwrap();
    assert!(directory.names().is_empty(), "nor was the control socket taken over");
}

#[test]
fn connections_may_finish_until_the_deadline_and_then_nothing_is_left() {
    let directory = Directory::new("until-the-deadline");
    let program = Program::first(&directory, 2);
    let mut busy = connect(program.address());
    is_served(&mut busy);
    // A client of the control socket that stays is no reason to stay either.
    let mut operator = ControlClient::connect(directory.control()).unwrap();
    let _: Value = operator.request("help", &()).unwrap();
    let mut predecessor = Predecessor::ask(directory.control()).unwrap();
    let successor = Program::after(&mut predecessor, 0);
    let began = Instant::now();
    predecessor.take_over(Duration::from_millis(600)).unwrap();
    while began.elapsed() < Duration::from_millis(300) {
        is_served(&mut busy);
    }
    program.wait_drained();
    assert!(began.elapsed() >= Duration::from_millis(600));
    assert!(program.log.count(Moment::Stopping) >= 1);
    successor.stop();
}

#[test]
fn more_listeners_than_a_message_carries_are_an_error_that_says_so() {
    let directory = Directory::new("too-many");
    let mut server = TcpServer::bind("127.0.0.1:0").unwrap();
    for _ in 1..127 {
        server = server.and_bind("127.0.0.1:0").unwrap();
    }
    let control = directory.control();
    let program = Program::start(server.threads(2), || ControlServer::bind(control));
    let error = failed(Predecessor::ask(directory.control()));
    assert!(error.errors[0].contains("255") && error.errors[0].contains("253"), "{error}");
    // Nobody is starting now, so that nobody is in the way of the next one.
    let mut client = ControlClient::connect(directory.control()).unwrap();
    assert!(
        failed(client.request::<_, Value>("handed_over", &())).errors[0].contains("nothing was handed over")
    );
    is_served(&mut connect(program.address()));
    drop(client);
    program.stop();
}

#[test]
fn a_server_that_stops_has_nothing_to_hand_over() {
    let directory = Directory::new("stops-already");
    let program = Program::first(&directory, 0);
    program.server.stop(PATIENCE);
    assert!(program.server.wait_stopped(PATIENCE));
    let mut client = ControlClient::connect(directory.control()).unwrap();
    let error = failed(client.request::<_, Value>("handover", &()));
    assert!(error.errors[0].contains("server `main` stops"), "{error}");
    // Nor does the first one that has asked keep others from asking, although it is still there.
    let error = failed(Predecessor::ask(directory.control()));
    assert!(error.errors[0].contains("server `main` stops"), "{error}");
    drop(client);
    program.stop();
}

#[test]
fn without_a_predecessor_there_is_none() {
    let directory = Directory::new("no-predecessor");
    assert!(Predecessor::find(directory.control()).unwrap().is_none());
    // Left behind by a process that was killed.
    let address = Address::seqpacket_path(directory.control()).unwrap();
    let mut listener = Listener::bind(&address, &ListenOptions::default()).unwrap();
    listener.keep_path();
    drop(listener);
    assert!(Predecessor::find(directory.control()).unwrap().is_none());
    let name = format!("@campana-no-predecessor-{}", std::process::id());
    assert!(Predecessor::find(&*name).unwrap().is_none());
    match Predecessor::ask(&*name) {
        Err(ClientError::Io(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_process_that_does_not_hand_over_is_an_error_and_no_free_place() {
    let directory = Directory::new("no-handover");
    let control = directory.control();
    let (_running, _) = Running::start(move |event_loop| {
        ControlServer::bind(control).start(event_loop, Router::new()).unwrap()
    });
    assert_eq!(failed(Predecessor::find(directory.control())).code, "unknown_command");
}

#[test]
fn a_stranger_who_has_taken_the_name_is_not_believed() {
    if !rustix::process::geteuid().is_root() {
        return; // No other user can be played then.
    }
    let name = format!("@campana-stranger-{}", std::process::id());
    let of_stranger = name.clone();
    let (_running, _) = Running::start(move |event_loop| {
        // Of this thread alone.
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
        let mut router = Router::new();
        Handover::new().register(&mut router).unwrap();
        ControlServer::bind(of_stranger).start(event_loop, router).unwrap()
    });
    match Predecessor::find(&*name) {
        Err(ClientError::Io(error)) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("65534"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
