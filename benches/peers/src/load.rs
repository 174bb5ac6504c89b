//! The load generators: raw epoll on one thread, in a closed loop, so that there is never more under way than was asked for.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::arguments::{Arguments, Failure};
use crate::histogram::Histogram;
use crate::sys;

mod churn;
mod echo;
mod fan_out;

/// How a load generator uses the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// Each connection keeps `depth` messages under way, and replaces each that comes back.
    Echo,
    /// The same, with the length of a message in front of it.
    Framed,
    /// `senders` connections send `depth` lines each; when all connections have got all of them, again.
    FanOut,
    /// Connections are made, used for one message and closed, `connections` at a time.
    Churn,
    /// Connections are made and left idle until standard input ends.
    Idle,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Load {
    pub pattern: Pattern,
    pub server: SocketAddrV4,
    pub connections: usize,
    pub senders: usize,
    pub bytes: usize,
    pub depth: usize,
    /// Wait until every connection has its replies before any sends again.
    pub lockstep: bool,
    pub until: Until,
    /// The process whose processor time is to be measured.
    pub watch: Option<u32>,
}

/// When a load generator stops.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After some time, of which a fifth of a second in front doesn't count.
    Elapsed(Duration),
    /// After so many messages.
    Messages(u64),
}

/// What a load generator has seen.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Outcome {
    pub messages: u64,
    pub seconds: f64,
    pub bytes: u64,
    pub p50_nanos: u64,
    pub p99_nanos: u64,
    pub max_nanos: u64,
    /// Processor time of the watched process, user and system.
    pub server_cpu_nanos: u64,
    /// The same of the load generator itself.
    pub load_cpu_nanos: u64,
}

impl Load {
    pub fn from_arguments(arguments: &mut Arguments) -> Result<Self, Failure> {
        let until = match arguments.option("messages")? {
            Some(messages) => Until::Messages(messages),
            None => Until::Elapsed(Duration::from_secs_f64(arguments.option("seconds")?.unwrap_or(2.0))),
        };
        Ok(Self {
            pattern: arguments.option("pattern")?.unwrap_or(Pattern::Echo),
            server: arguments.required("connect")?,
            connections: arguments.option("connections")?.unwrap_or(1),
            senders: arguments.option("senders")?.unwrap_or(1),
            bytes: arguments.option("bytes")?.unwrap_or(64),
            depth: arguments.option("depth")?.unwrap_or(1),
            lockstep: arguments.has("lockstep"),
            until,
            watch: arguments.option("watch")?,
        })
    }

    pub fn run(&self) -> io::Result<Outcome> {
        match self.pattern {
            Pattern::Echo => echo::run(self, vec![b'.'; self.bytes]),
            Pattern::Framed => echo::run(self, self.frame()?),
            Pattern::FanOut => fan_out::run(self),
            Pattern::Churn => churn::run(self),
            Pattern::Idle => idle(self),
        }
    }

    /// A message with the length of its content in front.
    fn frame(&self) -> io::Result<Vec<u8>> {
        let mut message = vec![b'.'; self.bytes];
        let content = u32::try_from(self.bytes - 4).map_err(io::Error::other)?;
        message[..4].copy_from_slice(&content.to_be_bytes());
        Ok(message)
    }

    /// As many connections as were asked for, each of which the server has accepted.
    fn connect(&self) -> io::Result<Vec<TcpStream>> {
        (0..self.connections)
            .map(|_| {
                let stream = TcpStream::connect(self.server)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            })
            .collect()
    }
}

/// Keeps connections that have echoed one message each.
fn idle(load: &Load) -> io::Result<Outcome> {
    let warm_up = Load {
        until: Until::Messages(load.connections as u64),
        pattern: Pattern::Echo,
        lockstep: true,
        ..load.clone()
    };
    let connections = load.connect()?;
    // Of use to servers that look for frames, and the same as any other message to those that don't.
    let outcome = echo::run_on(&warm_up, &load.frame()?, &connections)?;
    println!("{outcome}");
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(outcome)
}

/// Counts what is done in the time that counts.
struct Tally {
    began: Instant,
    counts: bool,
    warm_up: Duration,
    end: Until,
    messages: u64,
    latencies: Histogram,
    watch: Option<u32>,
    server_cpu: u64,
    load_cpu: u64,
}

const WARM_UP: Duration = Duration::from_millis(200);

impl Tally {
    fn new(load: &Load) -> Self {
        let mut tally = Self {
            began: Instant::now(),
            counts: false,
            warm_up: WARM_UP,
            end: load.until,
            messages: 0,
            latencies: Histogram::new(),
            watch: load.watch,
            server_cpu: 0,
            load_cpu: 0,
        };
        if let Until::Messages(_) = load.until {
            tally.start_counting(tally.began);
        }
        tally
    }

    #[inline]
    fn record(&mut self, latency: Duration, messages: u64) {
        self.messages += messages;
        self.latencies.record(latency.as_nanos() as u64, messages);
    }

    /// Takes note of the time. Answers whether to go on.
    #[inline]
    fn goes_on(&mut self, now: Instant) -> bool {
        let Until::Elapsed(time) = self.end else { return true };
        let elapsed = now - self.began;
        if self.counts {
            return elapsed < time;
        }
        if elapsed >= self.warm_up {
            self.start_counting(now);
        }
        true
    }

    fn start_counting(&mut self, now: Instant) {
        self.counts = true;
        self.began = now;
        self.messages = 0;
        self.latencies.clear();
        self.server_cpu = self.watched_cpu();
        self.load_cpu = sys::thread_cpu_nanos();
    }

    fn outcome(&self, bytes_per_message: usize) -> Outcome {
        Outcome {
            messages: self.messages,
            seconds: self.began.elapsed().as_secs_f64(),
            bytes: self.messages * bytes_per_message as u64,
            p50_nanos: self.latencies.quantile(0.5),
            p99_nanos: self.latencies.quantile(0.99),
            max_nanos: self.latencies.max(),
            server_cpu_nanos: self.watched_cpu().saturating_sub(self.server_cpu),
            load_cpu_nanos: sys::thread_cpu_nanos() - self.load_cpu,
        }
    }

    fn watched_cpu(&self) -> u64 {
        self.watch.map_or(0, sys::cpu_nanos_of)
    }
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// Processor time of the server for each message, in nanoseconds.
    pub fn server_cpu_per_message(&self) -> f64 {
        self.server_cpu_nanos as f64 / self.messages.max(1) as f64
    }
}

/// One line that [`FromStr`] reads back.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.bytes as f64 / f64::from(1 << 20) / self.seconds;
        write!(
            f,
            "messages={} seconds={:.6} bytes={} per_second={:.0} mib_per_second={mib:.2} p50_ns={} p99_ns={} max_ns={} \
             server_cpu_ns={} load_cpu_ns={}",
            self.messages,
            self.seconds,
            self.bytes,
            self.rate(),
            self.p50_nanos,
            self.p99_nanos,
            self.max_nanos,
            self.server_cpu_nanos,
            self.load_cpu_nanos,
        )
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let value = |name: &str| {
            let found = line.split_whitespace().find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
            found.ok_or_else(|| format!("no {name} in `{line}`"))
        };
        let number = |name: &str| value(name)?.parse().map_err(|error| format!("{name}: {error}"));
        Ok(Self {
            messages: number("messages")?,
            seconds: value("seconds")?.parse().map_err(|error| format!("seconds: {error}"))?,
            bytes: number("bytes")?,
            p50_nanos: number("p50_ns")?,
            p99_nanos: number("p99_ns")?,
            max_nanos: number("max_ns")?,
            server_cpu_nanos: number("server_cpu_ns")?,
            load_cpu_nanos: number("load_cpu_ns")?,
        })
    }
}

const PATTERNS: [(&str, Pattern); 5] = [
    ("echo", Pattern::Echo),
    ("framed", Pattern::Framed),
    ("fan-out", Pattern::FanOut),
    ("churn", Pattern::Churn),
    ("idle", Pattern::Idle),
];

impl FromStr for Pattern {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = PATTERNS.iter().find(|(known, _)| *known == name);
        found.map(|(_, pattern)| *pattern).ok_or_else(|| "there is no such pattern".to_owned())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(PATTERNS.iter().find(|(_, known)| known == self).map_or("?", |(name, _)| name))
    }
}

/// An address of the loopback network; there are enough of them that closed connections don't use up the ports.
fn loopback(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 2 + (number % 64) as u8)
}

fn raw_fd(stream: &TcpStream) -> i32 {
    stream.as_raw_fd()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_survives_being_printed_and_read_back() {
        let outcome = Outcome {
            messages: 1000,
            seconds: 1.5,
            bytes: 64_000,
            p50_nanos: 10_000,
            p99_nanos: 20_000,
            max_nanos: 30_000,
            server_cpu_nanos: 1_400_000_000,
            load_cpu_nanos: 1_300_000_000,
        };
        assert_eq!(outcome.to_string().parse(), Ok(outcome));
    }
}
