//! Measures throughput as muduo's test of this name does: each session bounces one block to and fro.
//!
//! `cargo run --release --example pingpong -- server --threads 1`, then
//! `cargo run --release --example pingpong -- client --threads 1 --sessions 100 --block 16384 --seconds 10`;
//! or both in one process: `cargo run --release --example pingpong -- local`.
//!
//! Clients live on the loops of a pool. The main thread has no loop that runs: it reaches them by handles, and hears of them
//! by a channel.

mod support;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use campana::connection::{ConnectError, Endpoint};
use campana::reactor::LoopPool;
use campana::{
    Buffer, CloseReason, ConnectionHandle, Handler, LoopContext, ServerHandle, TcpClient, TcpConnection,
    TcpServer,
};
use support::{Arguments, Options};

/// For how long one more session may take to connect, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let modes = [
        ("server", "sends blocks back"),
        ("client", "bounces blocks, and measures"),
        ("local", "a server and clients in one process"),
    ];
    match Options::mode(&modes) {
        "server" => server(),
        "client" => client(),
        _ => local(),
    }
}

fn server() -> ExitCode {
    let arguments = Options::server("Sends blocks back.", "127.0.0.1:2023").of_mode("server").parse();
    support::serve(&arguments, start_server)
}

fn start_server(server: TcpServer, on: &mut impl AsMut<LoopContext>) -> std::io::Result<ServerHandle> {
    server.max_connections(usize::MAX).on_data(|conn, input| conn.send(input.take())).start(on)
}

fn client() -> ExitCode {
    let options = Options::new("Bounces one block a session, and shows the throughput.").of_mode("client");
    let options = options.option("--connect ADDR", Some("127.0.0.1:2023"), "the server's address");
    let arguments = with_plan(options).parse();
    Plan::of(&arguments, arguments.value("--connect")).run();
    ExitCode::SUCCESS
}

fn local() -> ExitCode {
    let options =
        Options::new("Bounces one block a session between clients and a server of its own.").of_mode("local");
    let arguments = with_plan(options)
        .option("--listen ADDR", Some("127.0.0.1:0"), "where the server listens")
        .option("--server-threads N", Some("1"), "threads of the server")
        .parse();
    let threads: NonZeroUsize = arguments.value("--server-threads");
    let address: String = arguments.value("--listen");
    let server = support::or_fail(TcpServer::bind(address)).threads(threads.get());
    let base = support::new_event_loop();
    // Where a server accepts for its threads.
    let accepting = support::or_fail(LoopPool::new(&base.handle(), 1));
    let (report, reports) = channel();
    support::or_fail(accepting.next().post(move |cx| drop(report.send(start_server(server, cx)))));
    let server = support::or_fail(support::or_fail(reports.recv()));
    Plan::of(&arguments, server.local_addresses()[0].clone().into()).run();
    ExitCode::SUCCESS
}

fn with_plan(options: Options) -> Options {
    options
        .option("--threads N", Some("1"), "threads of the clients")
        .option("--block BYTES", Some("16384"), "size of a block")
        .option("--sessions N", Some("10"), "how many connections")
        .option("--seconds S", Some("5"), "for how long")
}

/// What is to be measured.
struct Plan {
    server: Endpoint,
    threads: usize,
    block: usize,
    sessions: usize,
    time: Duration,
}

impl Plan {
    fn of(arguments: &Arguments, server: Endpoint) -> Self {
        let at_least_one = |name| arguments.value::<NonZeroUsize>(name).get();
        Self {
            server,
            threads: at_least_one("--threads"),
            block: at_least_one("--block"),
            sessions: at_least_one("--sessions"),
            time: arguments.seconds("--seconds"),
        }
    }

    fn run(&self) {
        let base = support::new_event_loop();
        let pool = support::or_fail(LoopPool::new(&base.handle(), self.threads));
        let (report, reports) = channel();
        let client = support::or_fail(TcpClient::new(&self.server));
        for _ in 0..self.sessions {
            let (client, session) = (client.clone(), Session { report: report.clone() });
            let posted = pool.next().post(move |cx| drop(client.start_with(cx, session)));
            support::or_fail(posted);
        }
        let connections = self.wait_for(&reports, |report| match report {
            Report::Connected(connection) => connection,
            Report::Ended(_, reason) => support::fail(format_args!("a session ended at once: {reason}")),
        });

        let began = Instant::now();
        let block = Bytes::from(vec![b'*'; self.block]);
        for connection in &connections {
            support::or_fail(connection.send(&block));
        }
        std::thread::sleep(self.time);
        for connection in &connections {
            support::or_fail(connection.close());
        }
        let time = began.elapsed();

        let counts = self.wait_for(&reports, |report| match report {
            Report::Ended(counts, CloseReason::Local) => counts,
            Report::Ended(_, reason) => support::fail(format_args!("a session was lost: {reason}")),
            Report::Connected(_) => unreachable!("all of them were connected before"),
        });
        self.print_table(&counts, time);
    }

    /// One report of each session.
    fn wait_for<T>(&self, reports: &Receiver<Report>, take: impl Fn(Report) -> T) -> Vec<T> {
        (0..self.sessions).map(|_| take(support::or_fail(reports.recv_timeout(PATIENCE)))).collect()
    }

    fn print_table(&self, counts: &[Counts], time: Duration) {
        let bytes: u64 = counts.iter().map(|counts| counts.bytes).sum();
        let messages: u64 = counts.iter().map(|counts| counts.messages).sum();
        let mib_per_second = bytes as f64 / f64::from(1 << 20) / time.as_secs_f64();
        let average = bytes as f64 / messages.max(1) as f64;
        support::print("sessions  threads    block    messages      MiB/s  average message");
        support::print(format_args!(
            "{:>8} {:>8} {:>8} {messages:>11} {mib_per_second:>10.2} {average:>16.1}",
            self.sessions, self.threads, self.block
        ));
    }
}

/// What a session has received.
#[derive(Default)]
struct Counts {
    bytes: u64,
    messages: u64,
}

/// What the main thread hears of a session.
enum Report {
    Connected(ConnectionHandle),
    Ended(Counts, CloseReason),
}

struct Session {
    report: Sender<Report>,
}

impl Handler for Session {
    type State = Counts;

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) -> Counts {
        let _ = self.report.send(Report::Connected(conn.handle()));
        Counts::default()
    }

    fn on_data(&mut self, counts: &mut Counts, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        counts.bytes += input.readable() as u64;
        counts.messages += 1;
        let _ = conn.send(input.take());
    }

    fn on_close(&mut self, counts: Counts, _: &mut TcpConnection<'_>, reason: CloseReason) {
        let _ = self.report.send(Report::Ended(counts, reason));
    }

    fn on_connect_failed(&mut self, _: &mut LoopContext, error: &ConnectError, _: Option<Duration>) {
        support::fail(error);
    }
}
