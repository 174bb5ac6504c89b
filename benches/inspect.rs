//! What a snapshot of 10 000 sessions costs the loop that they are on: how long it takes until it is there, and the longest turn
//! of the loop meanwhile, which is for how long others have to wait. Turns are measured by the processor time of the loop's
//! thread, so that other programs don't count.
//!
//! `cargo bench --all-features --bench inspect [CONNECTIONS]`; the clients are another process.

use std::hint::black_box;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use campana::codec::{Lines, Text};
use campana::control::ControlClient;
use campana::control::inspect::Inspector;
use campana::session::{Session, SessionContext, SessionService};
use campana::{EventLoop, LoopContext, LoopHandle, TcpServer};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// How often each request is made.
const REPETITIONS: usize = 100;

struct Quiet;

impl Session for Quiet {
    type Codec = Text<Lines>;

    fn on_message(&mut self, _cx: &mut SessionContext<'_, Self>, _line: &str) {}
}

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let number = |text: &String| text.parse().expect("a number of connections");
    match &arguments[..] {
        [] => measure(10_000),
        [connections] => measure(number(connections)),
        [name, connections] => connect(name, number(connections)),
        _ => panic!("too many arguments"),
    }
}

/// The clients: they connect, and wait until nobody waits for them.
fn connect(name: &str, connections: usize) {
    let address = SocketAddr::from_abstract_name(name).expect("a short name");
    let connect = || UnixStream::connect_addr(&address).expect("the server accepts");
    let streams: Vec<_> = (0..connections).map(|_| connect()).collect();
    let _ = std::io::stdin().read(&mut [0]);
    drop(streams);
}

fn measure(connections: usize) {
    let name = format!("campana-bench-{}", std::process::id());
    let (report, reports) = mpsc::channel();
    let of_thread = name.clone();
    let thread = std::thread::spawn(move || {
        let mut event_loop = EventLoop::new().expect("a loop");
        let server = TcpServer::bind(&*format!("unix:@{of_thread}"))
            .expect("a free name")
            .max_connections(connections);
        let service =
            SessionService::new(|| Text::over(Lines::new())).configure(|config| config.idle_both = None);
        let (server, sessions) = service.serve(server, &mut event_loop, |_| Quiet).expect("a server");
        Inspector::new()
            .service("quiet", &server, &sessions)
            .serve(&mut event_loop, &*format!("@{of_thread}-control"))
            .expect("a control socket");
        let _ = report.send((event_loop.handle(), sessions));
        event_loop.run().expect("the loop runs");
    });
    let (event_loop, sessions) = reports.recv().expect("the server starts");
    let mut clients = clients(&name, connections);
    while sessions.len() < connections {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!(
        "{connections} sessions on one loop, {REPETITIONS} times each; in us: longest turns, time to the answer\n"
    );
    println!("{:44} {:>9} {:>9} {:>9}", "", "median", "longest", "answer");

    let probe = Probe::start(&event_loop);
    row("nothing", &probe, || std::thread::sleep(Duration::from_millis(1)));
    row("all connections in one task", &probe, || in_one_task(&event_loop));
    let last = sessions.all().ids().into_iter().max().expect("a session");
    let mut control = ControlClient::connect(&*format!("@{name}-control")).expect("it listens");
    for (command, params) in [
        ("connections", json!({})),
        ("connections", json!({"sort": "bytes_in"})),
        ("connections", json!({"sort": "peer", "offset": connections / 2})),
        ("connections", json!({"filter": "nowhere"})),
        ("connections", json!({"offset": connections - 500, "limit": 500})),
        ("sessions", json!({})),
        ("sessions", json!({"sort": "throughput.bytes_in"})),
        ("set_timeouts", json!({"id": last.to_string()})),
        ("loops", json!({})),
        ("metrics", json!({})),
    ] {
        row(&format!("{command} {params}"), &probe, || {
            black_box(control.request::<_, Value>(command, &params).expect("an answer"));
        });
    }

    drop(clients.stdin.take());
    let _ = clients.wait();
    event_loop.quit();
    let _ = thread.join();
}

fn clients(name: &str, connections: usize) -> Child {
    let program = std::env::current_exe().expect("the path of this program");
    let arguments = [name.to_owned(), connections.to_string()];
    let command = Command::new(program).args(arguments).stdin(Stdio::piped()).spawn();
    command.expect("the clients start")
}

/// What somebody may do who has no inspector: look at all connections at once.
fn in_one_task(event_loop: &LoopHandle) {
    let (report, reports) = mpsc::channel();
    let look = move |cx: &mut LoopContext| {
        let mut rows = Vec::new();
        for id in cx.connections() {
            if let Some(conn) = cx.connection(id) {
                rows.push((id.to_string(), conn.peer_address(), conn.local_address().ok(), conn.stats()));
            }
        }
        rows.sort_by_key(|(.., stats)| stats.bytes_in);
        let _ = report.send(rows);
    };
    let _ = event_loop.post(look);
    let _ = black_box(reports.recv());
}

/// Runs on the loop in each of its turns, and keeps the longest time from one to the next.
struct Probe {
    longest: Arc<AtomicU64>,
}

impl Probe {
    fn start(event_loop: &LoopHandle) -> Self {
        let longest = Arc::new(AtomicU64::new(0));
        let of_loop = Arc::clone(&longest);
        let _ = event_loop.post(move |cx| Self::go_on(cx, of_loop, processor_time()));
        Self { longest }
    }

    fn go_on(cx: &mut LoopContext, longest: Arc<AtomicU64>, before: u64) {
        let now = processor_time();
        longest.fetch_max(now - before, Ordering::Relaxed);
        cx.run_later(move |cx| Self::go_on(cx, longest, now));
    }

    fn take(&self) -> u64 {
        self.longest.swap(0, Ordering::Relaxed)
    }
}

/// What the thread has had so far, in nanoseconds.
fn processor_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn row(what: &str, probe: &Probe, mut ask: impl FnMut()) {
    let (mut turns, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        probe.take();
        let began = Instant::now();
        ask();
        answers.push(began.elapsed().as_nanos() as u64);
        // The turn that has answered may not be over.
        std::thread::sleep(Duration::from_micros(200));
        turns.push(probe.take());
    }
    turns.sort_unstable();
    answers.sort_unstable();
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    println!(
        "{what:44} {:9.1} {:9.1} {:9.1}",
        micros(turns[REPETITIONS / 2]),
        micros(turns[REPETITIONS - 1]),
        micros(answers[REPETITIONS / 2])
    );
}
