//! Programs that are restarted under load: nobody is refused, nothing is broken off, and a successor that fails is no harm.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use campana::control::{ClientError, Predecessor};
use campana::{Address, EventLoop, TcpServer};
use client::{Client, assert_ended_well};
use process::{Process, answer, role};
use program::{Ended, Program, run, unique, wait_until};
use rustix::process::Signal;

#[path = "support/client.rs"]
mod client;
#[path = "support/process.rs"]
mod process;
#[allow(dead_code, reason = "each test file uses a part of it")]
#[path = "support/program.rs"]
mod program;

/// How many come in a second, all together, each for one exchange.
const CONNECTS_PER_SECOND: u32 = 500;
const THREADS: u32 = 4;
/// How many stay for a while, one after the other on each thread.
const STAYING: usize = 8;

/// A directory with the sockets of the programs under test, removed with this value.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(unique(name));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn control(&self) -> String {
        self.0.join("control").display().to_string()
    }

    fn socket(&self) -> String {
        format!("unix:{}", self.0.join("socket").display())
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.0).unwrap().next().is_none()
    }

    /// An echo server on TCP and a Unix socket, which takes over from the one before it, if there is one.
    fn start(&self, threads: &str) -> (Program, [Address; 2]) {
        let (control, socket) = (self.control(), self.socket());
        let program = Program::start(
            "echo",
            &[
                ["--listen", "127.0.0.1:0"],
                ["--listen", &socket],
                ["--threads", threads],
                ["--control", &control],
                ["--take-over", "--log=warn"],
            ]
            .concat(),
        );
        let mut addresses = [program.next_address(), program.next_address()];
        addresses.sort_by_key(Address::is_unix);
        (program, addresses)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Clients that come all the time, and such as stay.
struct Load {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
    began: Instant,
}

#[derive(Default)]
struct Counts {
    ends: AtomicBool,
    connects: AtomicUsize,
    exchanges_of_staying: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Counts {
    fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// Connects, and notes if that fails.
    fn connect(&self, address: &Address) -> Option<Client> {
        let connected = Client::try_connect(address);
        connected.map_err(|error| self.failed(format!("{address} refused: {error}"))).ok()
    }

    /// Sends, reads what comes back, and notes if that fails.
    fn exchange(&self, client: &mut Client, what: &str) -> bool {
        match client.try_echo(what) {
            Ok(reply) if reply == what.as_bytes() => return true,
            Ok(reply) => self.failed(format!("{what} came back as {}", reply.escape_ascii())),
            Err(error) => self.failed(format!("{what} was broken off: {error}")),
        }
        false
    }

    fn failed(&self, text: String) {
        self.failures.lock().unwrap().push(text);
    }

    #[track_caller]
    fn assert_none_failed(&self) {
        let failures = self.failures.lock().unwrap().clone();
        assert!(
            failures.is_empty(),
            "{} failures: {:?}...",
            failures.len(),
            &failures[..failures.len().min(3)]
        );
    }
}

impl Load {
    fn start(addresses: &[Address; 2]) -> Self {
        let counts = Arc::<Counts>::default();
        let coming = (0..THREADS).map(|number| {
            let (counts, address) = (Arc::clone(&counts), addresses[number as usize % 2].clone());
            std::thread::spawn(move || come_and_go(&counts, &address))
        });
        let staying = (0..STAYING).map(|number| {
            let (counts, address) = (Arc::clone(&counts), addresses[number % 2].clone());
            std::thread::spawn(move || stay(&counts, &address))
        });
        let threads = coming.chain(staying).collect();
        Self { counts, threads, began: Instant::now() }
    }

    /// Waits until so many more have come.
    #[track_caller]
    fn wait_for(&self, connects: usize) {
        let enough = self.counts.connects.load(Ordering::Relaxed) + connects;
        wait_until("clients to be served", || {
            self.counts.assert_none_failed();
            self.counts.connects.load(Ordering::Relaxed) >= enough
        });
    }

    /// How many have come, all of whom were served.
    #[track_caller]
    fn end(mut self) -> usize {
        self.wait_for(1);
        self.counts.ends.store(true, Ordering::Relaxed);
        let time = self.began.elapsed();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        self.counts.assert_none_failed();
        let connects = self.counts.connects.load(Ordering::Relaxed);
        let staying = self.counts.exchanges_of_staying.load(Ordering::Relaxed);
        println!("{connects} connects and {staying} exchanges of those who stayed in {time:?}");
        connects
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.counts.ends.store(true, Ordering::Relaxed);
    }
}

/// One client after the other, at an even rate.
fn come_and_go(counts: &Counts, address: &Address) {
    let period = Duration::from_secs(1) / (CONNECTS_PER_SECOND / THREADS);
    let mut next = Instant::now();
    while !counts.ends() {
        if let Some(mut client) = counts.connect(address) {
            counts.exchange(&mut client, "here and gone");
        }
        counts.connects.fetch_add(1, Ordering::Relaxed);
        next += period;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// One client after the other, each for longer than it takes to restart the server.
fn stay(counts: &Counts, address: &Address) {
    while !counts.ends() {
        let Some(mut client) = counts.connect(address) else { return };
        for number in 0..24 {
            if !counts.exchange(&mut client, &format!("still here {number}")) {
                return;
            }
            counts.exchanges_of_staying.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// How many sockets of the system listen on a port.
fn listening_on(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let listens = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|address| address.ends_with(&local)) && fields.nth(1) == Some("0A")
    };
    table.lines().filter(listens).count()
}

#[track_caller]
fn assert_quiet_end(ended: &Ended) {
    assert_ended_well(ended);
    assert!(ended.stdout.is_empty() && ended.stderr.is_empty(), "{ended:?}");
}

#[track_caller]
fn restart_twenty_times(threads: &str, sockets: usize) {
    let directory = Directory::new(&format!("restarts-{threads}"));
    let (mut program, addresses) = directory.start(threads);
    let load = Load::start(&addresses);
    let mut predecessors = Vec::new();
    for _ in 0..20 {
        load.wait_for(100);
        let (successor, same) = directory.start(threads);
        assert_eq!(same, addresses);
        predecessors.push(std::mem::replace(&mut program, successor));
    }
    load.wait_for(100);
    assert_eq!(listening_on(addresses[0].port().unwrap()), sockets);
    assert!(load.end() >= 2100);
    for predecessor in predecessors {
        assert_quiet_end(&predecessor.wait());
    }
    assert_quiet_end(&program.terminate());
    assert!(directory.is_empty(), "the last one removes the paths");
    assert_eq!(listening_on(addresses[0].port().unwrap()), 0);
}

#[test]
fn twenty_restarts_under_load_refuse_nobody_and_break_nothing_off() {
    restart_twenty_times("0", 1);
}

#[test]
fn twenty_restarts_of_a_server_with_threads_refuse_nobody_and_break_nothing_off() {
    restart_twenty_times("2", 2);
}

#[test]
fn the_number_of_threads_may_change_with_a_restart() {
    let directory = Directory::new("threads-change");
    let (mut program, addresses) = directory.start("0");
    let load = Load::start(&addresses);
    let mut predecessors = Vec::new();
    for (threads, sockets) in [("2", 2), ("0", 2), ("1", 2), ("3", 3), ("2", 3)] {
        let (successor, same) = directory.start(threads);
        assert_eq!(same, addresses);
        load.wait_for(50);
        assert_eq!(listening_on(addresses[0].port().unwrap()), sockets);
        predecessors.push(std::mem::replace(&mut program, successor));
    }
    load.end();
    for predecessor in predecessors {
        assert_quiet_end(&predecessor.wait());
    }
    assert_quiet_end(&program.terminate());
}

/// Does its work only in a process that the test below starts: a successor as far as `handover`, and no further.
#[test]
fn in_the_process_that_crashes() {
    let Some(control) = role() else { return };
    let mut predecessor = Predecessor::ask(&*control).unwrap();
    let listeners = predecessor.listeners("main");
    answer(|_| format!("{} {}", listeners.len(), predecessor.control_listener().is_some()));
}

#[test]
fn a_successor_that_is_killed_while_it_starts_leaves_the_old_one_serving() {
    let directory = Directory::new("killed");
    let (program, addresses) = directory.start("2");
    let load = Load::start(&addresses);
    for _ in 0..3 {
        let mut crashing = Process::start("in_the_process_that_crashes", &directory.control());
        assert_eq!(crashing.ask("what have you got?"), "3 true");
        load.wait_for(20);
        crashing.signal(Signal::KILL);
        drop(crashing);
        load.wait_for(20);
    }
    // One that can't start for a reason of its own ends with an error, and is no harm either.
    let control = directory.control();
    let ended = run("echo", &["--control", &control, "--take-over", "--threads", "no"]);
    assert_eq!(ended.status, Some(1), "{ended:?}");
    load.wait_for(20);

    let (successor, same) = directory.start("2");
    assert_eq!(same, addresses);
    load.wait_for(20);
    load.end();
    assert_quiet_end(&program.wait());
    assert_quiet_end(&successor.terminate());
    assert!(directory.is_empty());
}

#[test]
fn a_successor_whose_predecessor_is_killed_while_it_starts_goes_on_alone() {
    let directory = Directory::new("predecessor-killed");
    let (program, addresses) = directory.start("2");
    let mut predecessor = Predecessor::ask(&*directory.control()).unwrap();
    let listeners = predecessor.listeners("main");
    program.signal(Signal::KILL);
    let mut event_loop = EventLoop::new().unwrap();
    let server = TcpServer::from_listeners(listeners).on_data(|conn, input| conn.send(input.take()));
    let server = server.start(&mut event_loop).unwrap();
    assert_eq!(predecessor.take_over(Duration::ZERO).unwrap(), [""; 0]);
    let clients = std::thread::spawn(move || {
        for address in &addresses {
            assert_eq!(Client::connect(address).try_echo("hello").unwrap(), b"hello");
        }
        server.stop_then(Duration::ZERO, |cx| cx.quit());
    });
    event_loop.run().unwrap();
    clients.join().unwrap();
    drop(program);
    assert!(directory.is_empty(), "also of what was not taken nothing is left behind");
}

/// It has removed the paths: nobody would find a successor that goes on.
#[test]
fn a_successor_whose_predecessor_is_stopped_while_it_starts_is_told_so() {
    let directory = Directory::new("predecessor-stopped");
    let (program, _) = directory.start("0");
    let mut predecessor = Predecessor::ask(&*directory.control()).unwrap();
    let (listeners, control) = (predecessor.listeners("main"), predecessor.control_listener());
    assert_quiet_end(&program.terminate());
    assert!(directory.is_empty());
    let error = predecessor.take_over(Duration::ZERO).unwrap_err();
    assert!(matches!(error, ClientError::Disconnected), "{error}");
    drop((listeners, control));
}

#[test]
fn a_program_without_a_predecessor_starts_by_itself() {
    let directory = Directory::new("no-predecessor");
    // Of one that was killed the sockets are still there.
    let (killed, _) = directory.start("0");
    drop(killed);
    assert!(!directory.is_empty());
    let (program, addresses) = directory.start("0");
    Load::start(&addresses).end();
    assert_quiet_end(&program.terminate());
    let ended = run("echo", &["--take-over"]);
    assert_eq!(ended.status, Some(1));
    assert_eq!(ended.stderr, "echo: --take-over needs --control PATH\n");
}

/// A successor in Python: asks for the listeners, says that it serves, and greets one client of each.
const IN_PYTHON: &str = r#"
import json, socket, sys

control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
control.connect(sys.argv[1])

def ask(command, **params):
    control.send(json.dumps({"version": 1, "command": command, "params": params, "id": command}).encode())

ask("handover")
reply, descriptors, flags, _ = socket.recv_fds(control, 65536, 253)
reply = json.loads(reply)
assert reply["ok"] and reply["id"] == "handover", reply
offered = reply["result"]["listeners"]
assert len(offered) == len(descriptors), (offered, descriptors)
listeners = {offer["address"]: socket.socket(fileno=fd) for offer, fd in zip(offered, descriptors) if offer["server"]}

ask("handed_over", deadline_ms=2000)
reply = json.loads(control.recv(65536))
assert reply["result"] == {"draining": ["main"]}, reply
assert control.recv(65536) == b""
print(json.dumps(sorted(listeners)), flush=True)
for listener in listeners.values():
    listener.settimeout(20)
    client, _ = listener.accept()
    client.sendall(b"in Python")
    client.close()
"#;

#[test]
fn a_successor_may_be_written_in_another_language() {
    let directory = Directory::new("python");
    let (program, addresses) = directory.start("0");
    let python = Command::new("python3")
        .args(["-c", IN_PYTHON, &directory.control()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_quiet_end(&program.wait());
    for address in &addresses {
        assert_eq!(Client::connect(address).read_to_end(), b"in Python");
    }
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let served: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(served, addresses.map(|address| address.to_string()));
}
