//! Control sockets as sockets: names, permissions, who may wait, how they end, and on which loops they are.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use campana::control::{Command, ControlHandle, ControlServer, ControlSession, Responder, Router};
use campana::reactor::LoopPool;
use campana::session::filters::Logging;
use campana::socket::{ListenOptions, Listener};
use campana::{Address, EventLoop};
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};

#[path = "support/control.rs"]
mod control;
#[path = "support/server.rs"]
mod server;

use control::{Control, Wire, echo, name, router};
use server::{PATIENCE, Running, wait_until};

/// A directory of a test's own, removed with what is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("campana-control-{test}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A control socket at a path, on a loop of its own.
fn at(path: &Path) -> Control {
    with(path, |server| server)
}

fn with(path: &Path, change: impl FnOnce(ControlServer) -> ControlServer + Send + 'static) -> Control {
    let path = path.to_owned();
    let (running, handle) = Running::start(move |event_loop| {
        change(ControlServer::bind(path)).start(event_loop, router([echo()])).unwrap()
    });
    Control { running, handle }
}

/// Why a control socket can't be started.
#[track_caller]
fn error_of(server: ControlServer) -> io::Error {
    server.start(&mut EventLoop::new().unwrap(), Router::new()).unwrap_err()
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn seqpacket_at(path: &Path) -> Address {
    Address::seqpacket_path(path).unwrap()
}

#[test]
fn a_path_has_the_mode_that_was_asked_for_and_0600_otherwise() {
    let scratch = Scratch::new("mode");
    let control = at(&scratch.path("default"));
    assert_eq!(mode_of(&scratch.path("default")), 0o600);
    control.connect().assert_lives();
    for mode in [0o666, 0o640, 0o000] {
        let path = scratch.path(&format!("{mode:o}"));
        let _control = with(&path, move |server| server.mode(mode));
        assert_eq!(mode_of(&path), mode, "{mode:o}");
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    }
}

#[test]
fn the_mode_changes_while_it_runs_for_those_who_connect_from_then_on() {
    let scratch = Scratch::new("live-mode");
    let path = scratch.path("s");
    let control = at(&path);
    let before = control.connect();
    for mode in [0o660, 0o777, 0o000, 0o600] {
        // From whatever thread.
        let handle = control.handle.clone();
        thread::spawn(move || handle.set_mode(mode)).join().unwrap().unwrap();
        assert_eq!(mode_of(&path), mode);
        before.assert_lives();
    }
    // From the loop, too.
    let handle = control.handle.clone();
    control.running.call(move |_| handle.set_mode(0o620)).unwrap();
    assert_eq!(mode_of(&path), 0o620);
    control.connect().assert_lives();
}

#[test]
fn others_are_kept_out_by_the_mode() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root, which alone can be somebody else: nothing is tested");
        return;
    }
    let scratch = Scratch::new("others");
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
    let path = scratch.path("s");
    let control = at(&path);
    let connect = |address: Address| {
        let connecting = thread::spawn(move || {
            rustix::thread::set_thread_uid(rustix::thread::Uid::from_raw(65_534)).unwrap();
            Wire::try_connect(&address).map(drop).map_err(|error| error.kind())
        });
        connecting.join().unwrap()
    };
    assert_eq!(connect(seqpacket_at(&path)), Err(ErrorKind::PermissionDenied));
    control.handle.set_mode(0o666).unwrap();
    assert_eq!(connect(seqpacket_at(&path)), Ok(()));
    control.handle.set_mode(0o600).unwrap();
    assert_eq!(connect(seqpacket_at(&path)), Err(ErrorKind::PermissionDenied));
}

#[test]
fn a_mode_is_not_set_on_what_is_not_this_socket() {
    let scratch = Scratch::new("foreign-mode");
    let path = scratch.path("s");
    let control = at(&path);
    fs::rename(&path, scratch.path("moved")).unwrap();
    assert_eq!(control.handle.set_mode(0o666).unwrap_err().kind(), ErrorKind::NotFound);
    fs::write(&path, "somebody's notes").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let _other = UnixListener::bind(scratch.path("other")).unwrap();
    fs::set_permissions(scratch.path("other"), fs::Permissions::from_mode(0o600)).unwrap();
    for _ in 0..2 {
        let error = control.handle.set_mode(0o666).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(mode_of(&path), 0o600);
        // A link to a socket is not this socket either.
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(scratch.path("other"), &path).unwrap();
        assert_eq!(control.handle.set_mode(0o666).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(mode_of(&scratch.path("other")), 0o600);
        // And another socket at the same path is not either.
        fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    drop(control);
    assert!(path.exists(), "what took the path is left there");
    assert_eq!(mode_of(&path), 0o600);
}

#[test]
fn an_abstract_name_has_no_permissions_and_no_path() {
    let control = Control::start([echo()]);
    assert!(control.address().as_abstract().is_some());
    let error = control.handle.set_mode(0o600).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    control.connect().assert_lives();
}

#[test]
fn an_abstract_name_is_free_again_when_its_server_has_stopped() {
    let name = name();
    let start = |name: String| {
        Running::start(move |event_loop| ControlServer::bind(name).start(event_loop, Router::new()))
    };
    let (running, first) = start(name.clone());
    let (other_running, second) = start(name.clone());
    assert_eq!(second.unwrap_err().kind(), ErrorKind::AddrInUse);
    drop(other_running);
    let first = first.unwrap();
    Wire::connect(&first.server().local_addresses()[0]).assert_lives();
    first.stop(PATIENCE);
    assert!(first.server().wait_stopped(PATIENCE));
    let (_running, third) = start(name);
    Wire::connect(&third.unwrap().server().local_addresses()[0]).assert_lives();
    drop(running);
}

#[test]
fn a_path_that_nobody_has_open_any_more_is_replaced() {
    let scratch = Scratch::new("stale");
    // As servers leave them that were killed, whatever kind of socket it was.
    for kind in [Type::SEQPACKET, Type::STREAM, Type::DGRAM] {
        let path = scratch.path("s");
        let dead = Socket::new(Domain::UNIX, kind, None).unwrap();
        dead.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        drop(dead);
        assert!(path.exists());
        let control = at(&path);
        control.connect().assert_lives();
        assert_eq!(mode_of(&path), 0o600);
        drop(control);
        assert_eq!(scratch.names(), [""; 0], "it goes with its server");
    }
}

#[test]
fn a_path_that_somebody_has_open_is_left_alone() {
    let scratch = Scratch::new("in-use");
    let path = scratch.path("s");
    let control = at(&path);
    let client = control.connect();
    client.assert_lives();
    for _ in 0..3 {
        let error = error_of(ControlServer::bind(path.clone()));
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains("another process has this socket open"), "{error}");
    }
    client.assert_lives();
    control.connect().assert_lives();
    assert_eq!(control.handle.server().figures().accepted, 2, "finding that out is no connection");

    // A stream server, or one that listens to nobody yet, counts too.
    let _stream = UnixListener::bind(scratch.path("stream")).unwrap();
    let bound = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    bound.bind(&SockAddr::unix(scratch.path("bound")).unwrap()).unwrap();
    for name in ["stream", "bound"] {
        assert_eq!(error_of(ControlServer::bind(scratch.path(name))).kind(), ErrorKind::AddrInUse, "{name}");
    }
    assert_eq!(scratch.names(), ["bound", "s", "stream"]);
}

#[test]
fn what_is_no_socket_is_never_replaced() {
    let scratch = Scratch::new("no-socket");
    fs::write(scratch.path("file"), "somebody's notes").unwrap();
    fs::create_dir(scratch.path("directory")).unwrap();
    std::os::unix::fs::symlink(scratch.path("nowhere"), scratch.path("link")).unwrap();
    for name in ["file", "directory", "link"] {
        let error = error_of(ControlServer::bind(scratch.path(name)));
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "{name}: {error}");
    }
    assert_eq!(scratch.names(), ["directory", "file", "link"]);
    assert_eq!(fs::read_to_string(scratch.path("file")).unwrap(), "somebody's notes");
    assert_eq!(error_of(ControlServer::bind(scratch.path("no/such/directory"))).kind(), ErrorKind::NotFound);
}

#[test]
fn the_longest_path_serves_and_a_longer_one_is_refused() {
    let scratch = Scratch::new("long");
    let of_length = |length: usize| scratch.path(&"p".repeat(length - scratch.0.as_os_str().len() - 1));
    let control = at(&of_length(107));
    control.connect().assert_lives();
    control.handle.set_mode(0o640).unwrap();
    assert_eq!(mode_of(&of_length(107)), 0o640);
    drop(control);
    let error = error_of(ControlServer::bind(of_length(108)));
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("107"), "{error}");
    assert_eq!(scratch.names(), [""; 0]);
}

#[test]
fn what_names_no_control_socket_is_refused() {
    for name in ["unix:/tmp/never", "", "@", "seqpacket:"] {
        assert_eq!(error_of(ControlServer::bind(name)).kind(), ErrorKind::InvalidInput, "{name}");
    }
    let inet: Address = "127.0.0.1:0".parse().unwrap();
    assert_eq!(error_of(ControlServer::bind(inet)).kind(), ErrorKind::InvalidInput);
}

#[test]
fn so_many_wait_to_be_accepted_as_the_backlog_takes() {
    let scratch = Scratch::new("backlog");
    let path = scratch.path("s");
    let control = with(&path, |server| server.backlog(3));
    let held = control.running.hold();
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.connect(&SockAddr::unix(&path).unwrap()).map(|()| socket)
    };
    let mut waiting = Vec::new();
    let error = loop {
        match connect() {
            Ok(socket) => waiting.push(socket),
            Err(error) => break error,
        }
        assert!(waiting.len() < 100, "they wait without end");
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert_eq!(waiting.len(), 4, "the system lets one more wait than it is asked for");
    held.release();
    for socket in waiting {
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Wire(socket).assert_lives();
    }
    control.connect().assert_lives();
}

#[test]
fn more_sessions_than_there_may_be_are_closed_at_once() {
    let control = Control::configured([echo()], |server| server.configure(|config| config.max_sessions = 2));
    let clients = [control.connect(), control.connect()];
    for client in &clients {
        client.assert_lives();
    }
    let third = control.connect();
    third.assert_ends();
    let [first, second] = clients;
    second.assert_lives();
    drop(first);
    wait_until("a place to be free", || control.handle.sessions().len() == 1);
    control.connect().assert_lives();
}

/// A command whose requests wait until the test answers them.
fn later() -> (Command, Arc<Mutex<Vec<Responder>>>) {
    let put_by = Arc::new(Mutex::new(Vec::new()));
    let of_command = Arc::clone(&put_by);
    let command = Command::new("later", "").defers(move |_, (): (), responder| {
        of_command.lock().unwrap().push(responder);
    });
    (command, put_by)
}

#[test]
fn stop_removes_the_path_and_answers_what_was_asked() {
    let scratch = Scratch::new("stop");
    let path = scratch.path("s");
    let (later, put_by) = later();
    let of_loop = path.clone();
    let (running, handle) = Running::start(move |event_loop| {
        ControlServer::bind(of_loop).start(event_loop, router([later, echo()])).unwrap()
    });
    let address = seqpacket_at(&path);
    let (idle, waiting) = (Wire::connect(&address), Wire::connect(&address));
    idle.assert_lives();
    waiting.command("later", "1");
    wait_until("the request to arrive", || put_by.lock().unwrap().len() == 1);

    handle.stop(PATIENCE);
    handle.stop(PATIENCE);
    idle.assert_ends();
    wait_until("the path to be removed", || !path.exists());
    assert_eq!(Wire::try_connect(&address).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!handle.server().is_stopped(), "somebody waits for an answer");
    assert_eq!(handle.set_mode(0o666).unwrap_err().kind(), ErrorKind::NotFound);

    put_by.lock().unwrap().pop().unwrap().reply("at last").unwrap();
    assert_eq!(waiting.receive().unwrap()["result"], "at last");
    waiting.assert_ends();
    drop((idle, waiting));
    assert!(handle.server().wait_stopped(PATIENCE));
    assert_eq!(handle.sessions().len(), 0);
    // Now the path is another server's.
    let second = at(&path);
    handle.stop(Duration::ZERO);
    second.connect().assert_lives();
    running.stop();
    second.connect().assert_lives();
    assert!(path.exists());
}

#[test]
fn who_never_gets_an_answer_is_closed_at_the_deadline_of_a_stop() {
    let (later, put_by) = later();
    let control = Control::start([later]);
    let client = control.connect();
    client.command("later", "1");
    wait_until("the request to arrive", || put_by.lock().unwrap().len() == 1);
    let (start, deadline) = (Instant::now(), Duration::from_millis(200));
    control.handle.stop(deadline);
    client.assert_ends();
    assert!(start.elapsed() >= deadline, "{:?}", start.elapsed());
    assert!(control.handle.server().wait_stopped(PATIENCE));
    assert!(put_by.lock().unwrap().pop().unwrap().reply("too late").is_err());
}

#[test]
fn a_handler_may_stop_its_own_server_and_is_still_answered() {
    let handle_of = Arc::new(Mutex::new(None::<ControlHandle>));
    let of_command = Arc::clone(&handle_of);
    let stop = Command::new("stop", "Stops the server.").answers(move |_, (): ()| {
        of_command.lock().unwrap().as_ref().unwrap().stop(PATIENCE);
        Ok("as you wish")
    });
    let control = Control::start([stop]);
    *handle_of.lock().unwrap() = Some(control.handle.clone());
    let (client, other) = (control.connect(), control.connect());
    other.assert_lives();
    assert_eq!(client.run("stop")["result"], "as you wish");
    client.assert_ends();
    other.assert_ends();
    drop((client, other));
    assert!(control.handle.server().wait_stopped(PATIENCE));
}

#[test]
fn dropping_handles_ends_nothing_and_dropping_the_loop_removes_the_path() {
    let scratch = Scratch::new("drop");
    let path = scratch.path("s");
    let Control { running, handle } = at(&path);
    let client = Wire::connect(&seqpacket_at(&path));
    client.assert_lives();
    drop(handle.clone());
    drop(handle);
    client.assert_lives();
    Wire::connect(&seqpacket_at(&path)).assert_lives();
    running.stop();
    client.assert_ends();
    assert_eq!(scratch.names(), [""; 0]);
}

#[test]
fn a_listener_of_somebody_elses_is_served_and_one_without_packets_is_refused() {
    let address = Address::seqpacket_abstract(name().trim_start_matches('@')).unwrap();
    let listener = Listener::bind(&address, &ListenOptions::new()).unwrap();
    let (_running, handle) = Running::start(move |event_loop| {
        ControlServer::from_listener(listener).start(event_loop, router([echo()])).unwrap()
    });
    assert_eq!(handle.server().local_addresses(), std::slice::from_ref(&address));
    Wire::connect(&address).assert_lives();

    let inet = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::new()).unwrap();
    let error = error_of(ControlServer::from_listener(inet));
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("seqpacket"), "{error}");
}

/// Answers which of several it is.
fn which(number: usize) -> Router {
    router([Command::new("which", "Says which it is.").answers(move |_, (): ()| Ok(number))])
}

#[test]
fn several_control_sockets_on_one_loop_have_nothing_in_common() {
    let (_running, handles) = Running::start(|event_loop| {
        let start = |number| {
            ControlServer::bind(name())
                .configure(|config| config.max_consecutive_errors = 1 + number as u64 % 2)
                .start(event_loop, which(number))
                .unwrap()
        };
        (0..4).map(start).collect::<Vec<_>>()
    });
    let clients: Vec<_> =
        handles.iter().map(|handle| Wire::connect(&handle.server().local_addresses()[0])).collect();
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(client.run("which")["result"], number);
        assert_eq!(handles[number].sessions().len(), 1);
    }
    // One ends its session for the error, one stops; the others live on.
    clients[0].ask("nonsense");
    clients[0].assert_ends();
    clients[1].ask("nonsense");
    handles[2].stop(Duration::ZERO);
    clients[2].assert_ends();
    for number in [1, 3] {
        assert_eq!(clients[number].run("which")["result"], number);
    }
    Wire::connect(&handles[0].server().local_addresses()[0]).assert_lives();
    assert_eq!(handles.iter().map(|handle| handle.stats().errors).collect::<Vec<_>>(), [1, 1, 0, 0]);
}

#[test]
fn a_control_socket_is_on_the_loop_of_a_pool_that_it_was_started_on() {
    let base = EventLoop::new().unwrap();
    let pool = LoopPool::new(&base.handle(), 3).unwrap();
    let handles: Vec<ControlHandle> = (0..3)
        .map(|number| {
            let thread = Command::new("thread", "Says where it runs.").answers(|call, (): ()| {
                let of_loop = call.context().handle().name().to_owned();
                Ok(json!([thread::current().name(), of_loop]))
            });
            let (report, reports) = std::sync::mpsc::channel();
            let router = router([thread]);
            let start = move |cx: &mut campana::LoopContext| {
                report.send(ControlServer::bind(name()).start(cx, router)).unwrap();
            };
            pool.handles()[number].post(start).unwrap();
            reports.recv_timeout(PATIENCE).unwrap().unwrap()
        })
        .collect();
    for (number, handle) in handles.iter().enumerate() {
        let expected = pool.handles()[number].name();
        for _ in 0..3 {
            let client = Wire::connect(&handle.server().local_addresses()[0]);
            assert_eq!(client.run("thread")["result"], json!([expected, expected]));
        }
    }
    // With its loop it ends.
    let address = handles[0].server().local_addresses()[0].clone();
    let client = Wire::connect(&address);
    client.assert_lives();
    drop(pool);
    client.assert_ends();
    assert_eq!(Wire::try_connect(&address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn sessions_are_found_like_any_others() {
    let control =
        Control::configured([echo()], |server| server.service(|service| service.filter("log", Logging::new)));
    let clients = [control.connect(), control.connect()];
    for client in &clients {
        client.run("echo");
    }
    let sessions = control.handle.sessions();
    assert_eq!((sessions.len(), sessions.all().ids().len()), (2, 2));
    control.running.settle();
    assert_eq!((sessions.stats().messages_in, sessions.stats().messages_out), (2, 2));
    let (report, reports) = std::sync::mpsc::channel();
    sessions.all().run(move |session: &mut ControlSession, cx| {
        let told = (session.peer().pid, session.counts().in_msg_count, cx.filters().names().len());
        report.send(told).unwrap();
    });
    for _ in 0..2 {
        let told = reports.recv_timeout(PATIENCE).unwrap();
        assert_eq!(told, (std::process::id().cast_signed(), 1, 1));
    }
    sessions.all().close();
    for client in clients {
        client.assert_ends();
    }
}

#[test]
fn a_thousand_clients_come_and_go_and_leave_nothing_behind() {
    let scratch = Scratch::new("churn");
    let control = with(&scratch.path("s"), |server| server.configure(|config| config.max_sessions = 1000));
    control.connect().assert_lives();
    wait_until("the session to end", || control.handle.sessions().is_empty());
    let before = control.running.figures().channels;
    for round in 0..20 {
        let clients: Vec<_> = (0..50).map(|_| control.connect()).collect();
        for (number, client) in clients.iter().enumerate() {
            match (round + number) % 4 {
                0 => client.assert_lives(),
                1 => client.send("nonsense"),
                2 => client.command("echo", "never read"),
                _ => {}
            }
        }
    }
    wait_until("the sessions to end", || control.handle.sessions().is_empty());
    wait_until("their descriptors to be closed", || control.running.figures().channels == before);
    let echoed: Value = control.connect().run("echo");
    assert_eq!(echoed["ok"], true);
}
