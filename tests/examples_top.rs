//! The `top` example on a real terminal: what is on its screen, what its keys do to the server, and how it leaves the terminal.

#![allow(clippy::duplicate_mod, reason = "programs and servers are both waited for")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use campana::TcpServer;
use campana::codec::{Lines, Text};
use campana::control::inspect::Inspector;
use campana::session::{Session, SessionContext, SessionService};
use program::{path_of, run, unique};
use rustix::process::{Pid, Signal, kill_process};
use server::{Running, connect, wait_until};
use terminal::{Modes, Terminal};

#[allow(dead_code, unused_imports, reason = "each test file uses a part of it")]
#[path = "support/program.rs"]
mod program;
#[path = "support/server.rs"]
mod server;
#[path = "support/terminal.rs"]
mod terminal;

/// How the terminal was before, and has to be afterwards.
const RESTORED: Modes = Modes { alternate_screen: false, cursor_shown: true };

/// Loops with a server of connections and one of sessions, and a control socket to look at them by.
struct Inspected {
    path: PathBuf,
    addresses: [SocketAddr; 2],
    /// How many connections the first server has.
    connections: Box<dyn Fn() -> usize>,
    /// The loop of the control socket, and of the second server.
    running: Running,
}

impl Inspected {
    fn start(name: &str) -> Self {
        let path = std::env::temp_dir().join(unique(name));
        let bound = path.clone();
        let (running, (addresses, connections)) = Running::start(move |event_loop| {
            let any = || TcpServer::bind("127.0.0.1:0").unwrap();
            let echo = any().threads(2).name("echo").on_data(|conn, input| conn.send(input.take()));
            let echo = echo.start(event_loop).unwrap();
            let service = SessionService::new(|| Text::over(Lines::new()));
            let (lines, sessions) = service.serve(any(), event_loop, |_| LineEcho).unwrap();
            Inspector::new()
                .server("echo", &echo)
                .service("lines", &lines, &sessions)
                .serve(event_loop, &bound)
                .unwrap();
            let addresses = [&echo.local_addresses()[0], &lines.local_addresses()[0]];
            (addresses.map(|address| address.as_inet().unwrap()), move || echo.figures().connections)
        });
        Self { path, addresses, connections: Box::new(connections), running }
    }
}

struct LineEcho;

impl Session for LineEcho {
    type Codec = Text<Lines>;

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        let _ = cx.write(line);
    }
}

/// Clients of the echo server, each of which sends so many bytes a round and has them back, and one of the sessions, until this
/// is dropped. A client whose connection ends does no more.
struct Traffic {
    /// How the server names the clients, those of the echo server first.
    peers: Vec<String>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    fn start(to: &Inspected, bytes_a_round: &[usize]) -> Self {
        let [echo, lines] = to.addresses;
        let mut clients: Vec<(TcpStream, Vec<u8>)> =
            bytes_a_round.iter().map(|&bytes| (connect(echo), vec![b'.'; bytes])).collect();
        clients.push((connect(lines), b"hello\n".to_vec()));
        let peers = clients.iter().map(|(client, _)| client.local_addr().unwrap().to_string()).collect();
        let end = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                clients.retain_mut(|(client, message)| {
                    let mut answer = vec![0; message.len()];
                    message.is_empty()
                        || client.write_all(message).and_then(|()| client.read_exact(&mut answer)).is_ok()
                });
                // So that it goes on all the time, and is not much.
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { peers, end, thread: Some(thread) }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The example in a terminal of its own.
struct Top {
    terminal: Terminal,
}

impl Top {
    /// Starts it, and waits until it has drawn itself. `name` is no other test's.
    #[track_caller]
    fn start(name: &str, inspected: &Inspected, columns: u16, lines: u16) -> Self {
        Self::start_by("", name, inspected, columns, lines)
    }

    /// As [`start`](Self::start), with a command that is given its command line.
    #[track_caller]
    fn start_by(command: &str, name: &str, inspected: &Inspected, columns: u16, lines: u16) -> Self {
        let terminal = Terminal::start(&format!("{name}-tmux"), columns, lines);
        let (top, path) = (path_of("top"), inspected.path.display());
        terminal.run(&format!("{command} {} {path} --interval 0.2", top.display()));
        terminal.wait_for("the keys", |screen| screen.contains("q quit"));
        Self { terminal }
    }

    #[track_caller]
    fn wait_for(&self, what: &str, condition: impl Fn(&str) -> bool) -> String {
        self.terminal.wait_for(what, condition)
    }

    /// Waits until the rows on the screen are of these peers, in this order.
    #[track_caller]
    fn wait_for_rows(&self, peers: &[&String]) {
        self.wait_for(&format!("rows of {peers:?}"), |screen| rows(screen) == peers.to_vec());
    }

    /// Waits until it has ended, with this status, and left the terminal as it was.
    #[track_caller]
    fn assert_ended(&self, status: i32) {
        let line = format!("status={status}");
        let screen = self.wait_for(&line, |screen| screen.lines().any(|text| text == line));
        assert!(!screen.contains("q quit"), "{screen}");
        assert_eq!(self.terminal.modes(), RESTORED);
        self.terminal.run("stty -a");
        let modes = self.wait_for("the modes of the terminal", |screen| {
            screen.contains("speed ") && screen.contains("status=0")
        });
        for mode in ["icanon", "echo", "isig", "icrnl", "opost"] {
            assert!(modes.split([' ', '\n', ';']).any(|word| word == mode), "{mode} is off:\n{modes}");
        }
    }
}

/// The peers in the rows below the table's heading, without the example itself, which has a connection too.
fn rows(screen: &str) -> Vec<&str> {
    let below = screen.lines().skip_while(|line| !line.starts_with("ID ")).skip(1);
    below.map_while(|line| line.split_whitespace().nth(1)).filter(|peer| peer.starts_with("127.")).collect()
}

#[test]
fn loops_and_the_busiest_connections_appear_and_keys_sort_them_otherwise() {
    let inspected = Inspected::start("top-sorts");
    let traffic = Traffic::start(&inspected, &[40, 4000, 400]);
    let top = Top::start("top-sorts", &inspected, 100, 30);
    let [small, large, medium, line] = [0, 1, 2, 3].map(|place| &traffic.peers[place]);
    top.wait_for_rows(&[large, medium, small, line]);
    let screen = top.wait_for("the header", |screen| screen.contains("connections 5  bytes/s "));
    for name in ["LOOP ", "echo-0 ", "echo-1 ", "lateness of timers and tasks, p99: "] {
        assert!(screen.lines().any(|text| text.starts_with(name)), "no {name:?} in\n{screen}");
    }
    assert!(screen.contains("by BYTES/s, highest first"), "{screen}");

    top.terminal.press(&["r"]);
    top.wait_for_rows(&[line, small, medium, large]);
    // Back to the column before.
    top.terminal.press(&["S"]);
    top.wait_for("another column", |screen| screen.contains("by PEER, ascending"));
    let mut sorted: Vec<&String> = traffic.peers.iter().collect();
    sorted.sort();
    top.wait_for_rows(&sorted);
    top.terminal.press(&["q"]);
    top.assert_ended(0);
}

#[test]
fn a_filter_narrows_the_connections() {
    let inspected = Inspected::start("top-filters");
    let traffic = Traffic::start(&inspected, &[40, 4000]);
    let top = Top::start("top-filters", &inspected, 100, 30);
    top.wait_for("all rows", |screen| rows(screen).len() == 3);
    top.terminal.type_text(&format!("/{}", traffic.peers[0]));
    top.wait_for_rows(&[&traffic.peers[0]]);
    top.terminal.press(&["Enter"]);
    top.wait_for("the keys", |screen| {
        screen.contains("Connections 1 of 4 ") && screen.contains("q quit") && rows(screen).len() == 1
    });
    top.terminal.press(&["Escape"]);
    top.wait_for("all rows", |screen| rows(screen).len() == 3);
}

#[test]
fn a_connection_is_closed_by_a_key_and_its_confirmation() {
    let inspected = Inspected::start("top-kicks");
    let traffic = Traffic::start(&inspected, &[40, 4000, 400]);
    let top = Top::start("top-kicks", &inspected, 100, 30);
    let [small, large, medium, line] = [0, 1, 2, 3].map(|place| &traffic.peers[place]);
    top.wait_for_rows(&[large, medium, small, line]);
    assert_eq!((inspected.connections)(), 3);
    top.terminal.type_text(&format!("/{medium}"));
    top.terminal.press(&["Enter"]);
    top.wait_for_rows(&[medium]);
    top.terminal.press(&["k"]);
    top.wait_for("the question", |screen| screen.contains(&format!("({medium})?  y in good order")));
    top.terminal.press(&["n"]);
    top.wait_for("the keys", |screen| screen.contains("q quit"));
    assert_eq!((inspected.connections)(), 3);
    top.terminal.press(&["k", "y"]);
    wait_until("the connection's end", || (inspected.connections)() == 2);
    top.terminal.press(&["Escape"]);
    top.wait_for_rows(&[large, small, line]);
    top.wait_for("the count", |screen| screen.contains("Connections 4 "));
}

#[test]
fn sessions_and_servers_have_pages_of_their_own() {
    let inspected = Inspected::start("top-pages");
    let traffic = Traffic::start(&inspected, &[40]);
    let top = Top::start("top-pages", &inspected, 160, 30);
    top.terminal.press(&["Tab"]);
    let is_row = |row: &str| row.contains(&traffic.peers[1]) && row.contains("lines");
    top.wait_for("the session", |screen| screen.lines().any(is_row));
    top.wait_for("messages", |screen| {
        let rate = screen.split("messages/s ").nth(1).and_then(|rest| rest.split(' ').next());
        rate.is_some_and(|rate| rate.parse().is_ok_and(|rate: f64| rate > 0.0))
    });
    top.terminal.press(&["Tab"]);
    top.wait_for("the servers", |screen| {
        let is_server = |name: &str, address: SocketAddr| {
            let address = address.to_string();
            screen
                .lines()
                .any(|row| row.starts_with(name) && row.contains(&address) && row.contains("accepting"))
        };
        is_server("echo", inspected.addresses[0]) && is_server("lines", inspected.addresses[1])
    });
}

#[test]
fn keys_work_while_the_server_does_not_answer() {
    let inspected = Inspected::start("top-stuck");
    let _traffic = Traffic::start(&inspected, &[]);
    let top = Top::start("top-stuck", &inspected, 80, 24);
    let held = inspected.running.hold();
    top.wait_for("the notice of that", |screen| screen.contains("no answer for "));
    top.terminal.type_text("/abc");
    top.wait_for("the text", |screen| screen.contains("filter: abc"));
    held.release();
    top.wait_for("answers", |screen| screen.contains("every 200ms"));
}

#[test]
fn a_server_that_goes_away_and_comes_back_is_shown_as_that() {
    let inspected = Inspected::start("top-returns");
    let traffic = Traffic::start(&inspected, &[40]);
    let top = Top::start("top-returns", &inspected, 80, 24);
    top.wait_for("rows", |screen| rows(screen).len() == 2);
    drop((traffic, inspected));
    top.wait_for("the notice of that", |screen| screen.contains("no server for "));
    let inspected = Inspected::start("top-returns");
    let traffic = Traffic::start(&inspected, &[4000]);
    top.wait_for("answers", |screen| screen.contains("every 200ms"));
    top.wait_for_rows(&[&traffic.peers[0], &traffic.peers[1]]);
    top.terminal.press(&["q"]);
    top.assert_ended(0);
}

#[test]
fn pausing_keeps_what_is_shown_and_asks_for_nothing() {
    let inspected = Inspected::start("top-pauses");
    let traffic = Traffic::start(&inspected, &[40]);
    let top = Top::start("top-pauses", &inspected, 80, 24);
    top.wait_for("rows", |screen| rows(screen).len() == 2);
    top.terminal.press(&["p"]);
    top.wait_for("the notice of that", |screen| screen.contains("paused"));
    drop(traffic);
    wait_until("the connection's end", || (inspected.connections)() == 0);
    // The end of a connection may take another turn; three rounds of three questions take more.
    let turns = inspected.running.idle_turns(Duration::from_millis(600));
    assert!(turns < 3, "{turns}");
    assert_eq!(rows(&top.terminal.screen()).len(), 2);
    top.terminal.press(&["p"]);
    top.wait_for("no rows", |screen| rows(screen).is_empty() && screen.contains("Connections 1 "));
}

#[test]
fn a_terminal_may_be_small_and_change_its_size() {
    let inspected = Inspected::start("top-small");
    let _traffic = Traffic::start(&inspected, &[40]);
    let top = Top::start("top-small", &inspected, 80, 24);
    for (columns, lines) in [(20, 5), (1, 1), (3, 40), (200, 2)] {
        top.terminal.resize(columns, lines);
        top.wait_for("the first key", |screen| screen.lines().any(|line| line.starts_with('q')));
    }
    top.terminal.resize(80, 24);
    top.wait_for("rows", |screen| rows(screen).len() == 2);
    top.terminal.press(&["q"]);
    top.assert_ended(0);
}

#[test]
fn signals_that_end_it_leave_the_terminal_as_it_was() {
    let inspected = Inspected::start("top-signals");
    let _traffic = Traffic::start(&inspected, &[]);
    let pid = inspected.path.with_extension("pid");
    // The process takes the place of a shell that has noted its own id.
    let noted = format!("sh -c 'echo $$ > {}; exec \"$@\"' sh", pid.display());
    for (signal, status) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let top = Top::start_by(&noted, "top-signals", &inspected, 80, 24);
        let id = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
        top.assert_ended(status);
    }
    std::fs::remove_file(pid).unwrap();
}

#[test]
fn what_keeps_it_from_starting_is_told_on_standard_error() {
    let path = std::env::temp_dir().join(unique("top-nothing"));
    let ended = run("top", &[path.to_str().unwrap()]);
    assert_eq!((ended.status, ended.stdout), (Some(1), Vec::<String>::new()));
    assert!(ended.stderr.starts_with("top: "), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("No such file or directory (os error 2)\n"), "{}", ended.stderr);

    for (arguments, text) in [
        (&[][..], "top: the path of a control socket is needed"),
        (&["a", "b"], "top: there is one path"),
        (&["a", "--interval", "0"], "top: --interval can't be 0"),
        (&["a", "--interval"], "top: --interval SECONDS lacks its value"),
        (&["a", "--colour"], "top: unknown option \"--colour\""),
    ] {
        let ended = run("top", arguments);
        assert_eq!(ended.status, Some(1), "{arguments:?}");
        assert!(ended.stderr.starts_with(text), "{}", ended.stderr);
    }

    let inspected = Inspected::start("top-pipe");
    let ended = run("top", &[inspected.path.to_str().unwrap()]);
    assert_eq!((ended.status, ended.stdout), (Some(1), Vec::<String>::new()));
    assert_eq!(ended.stderr, "top: standard output is not a terminal\n");
}
