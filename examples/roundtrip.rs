//! Measures how long it takes until an answer is there: one timestamp is under way at a time.
//!
//! `cargo run --example roundtrip -- server`, then `cargo run --example roundtrip -- client --count 100000`.

mod support;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use campana::connection::{ConnectError, Endpoint};
use campana::{Buffer, CloseReason, Handler, LoopContext, TcpClient, TcpConnection};
use support::Options;

fn main() -> ExitCode {
    match Options::mode(&[("server", "sends timestamps back"), ("client", "sends them, and measures")]) {
        "server" => server(),
        _ => client(),
    }
}

fn server() -> ExitCode {
    let arguments = Options::server("Sends timestamps back.", "127.0.0.1:2022").of_mode("server").parse();
    support::serve(&arguments, |server, event_loop| {
        server.on_data(|conn, input| conn.send(input.take())).start(event_loop)
    })
}

fn client() -> ExitCode {
    let arguments =
        Options::new("Sends timestamps one after the other, and shows how long they took to come back.")
            .of_mode("client")
            .option("--connect ADDR", Some("127.0.0.1:2022"), "the server's address")
            .option("--count N", Some("10000"), "how many timestamps")
            .parse();
    let server: Endpoint = arguments.value("--connect");
    let count: NonZeroUsize = arguments.value("--count");
    let mut event_loop = support::new_event_loop();
    let client = Client { began: Instant::now(), count: count.get(), times: Vec::new() };
    support::or_fail(TcpClient::new(server)).start_with(&mut event_loop, client);
    support::or_fail(event_loop.run());
    ExitCode::SUCCESS
}

struct Client {
    /// What the timestamps count from.
    began: Instant,
    count: usize,
    /// How long each round trip took, in nanoseconds.
    times: Vec<u64>,
}

impl Client {
    /// Nanoseconds by the clock. The loop's own time, which is read a few times a turn, would be too coarse here.
    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn send_timestamp(&self, conn: &mut TcpConnection<'_>) {
        let _ = conn.send(&self.now().to_be_bytes());
    }
}

impl Handler for Client {
    type State = ();

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) {
        self.send_timestamp(conn);
    }

    fn on_data(&mut self, (): &mut (), conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        while let Some(timestamp) = input.try_take_n(8) {
            let sent = timestamp.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            self.times.push(self.now().saturating_sub(sent));
            if self.times.len() == self.count {
                return conn.close();
            }
            self.send_timestamp(conn);
        }
    }

    fn on_close(&mut self, (): (), conn: &mut TcpConnection<'_>, reason: CloseReason) {
        if self.times.len() < self.count {
            support::fail(format_args!("{} of {} came back: {reason}", self.times.len(), self.count));
        }
        print_table(&mut self.times);
        conn.context().quit();
    }

    fn on_connect_failed(&mut self, _: &mut LoopContext, error: &ConnectError, _: Option<Duration>) {
        support::fail(error);
    }
}

/// Percentiles, and how many there are in each power of two of a microsecond.
fn print_table(times: &mut [u64]) {
    times.sort_unstable();
    let rank = |per_mille: usize| times[(times.len() * per_mille).div_ceil(1000).max(1) - 1];
    let columns = [
        ("min", rank(0)),
        ("p50", rank(500)),
        ("p90", rank(900)),
        ("p99", rank(990)),
        ("p99.9", rank(999)),
        ("max", rank(1000)),
    ];
    support::print(format_args!("{} round trips, in microseconds", times.len()));
    support::print(columns.map(|(name, _)| format!("{name:>9}")).concat());
    support::print(columns.map(|(_, nanos)| format!("{:>9.1}", nanos as f64 / 1e3)).concat());

    support::print(format_args!("\n{:>9}{:>9}", "below", "count"));
    // The whole microseconds are below a power of two exactly when the time is.
    let bucket = |nanos: u64| (nanos / 1000 + 1).next_power_of_two();
    for of_bucket in times.chunk_by(|one, next| bucket(*one) == bucket(*next)) {
        let bar = "#".repeat((of_bucket.len() * 50).div_ceil(times.len()));
        support::print(format_args!("{:>9}{:>9}  {bar}", bucket(of_bucket[0]), of_bucket.len()));
    }
}
