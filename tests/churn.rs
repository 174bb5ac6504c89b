//! Connections that come and go by the thousand leave nothing behind: a server in a process of its own, whose descriptors,
//! memory and callbacks are counted, and this process as the load.
//!
//! There are 200 connections a second: 20 % are reset in one of several ways, 10 % are half-closed, the others close in good
//! order; what is echoed is compared byte by byte. The load lasts for some seconds, or for as many as the environment says:
//!
//! ```sh
//! CHURN_SECONDS=60 cargo test --test churn -- --nocapture
//! ```
//!
//! The server may only keep what it keeps for later use, which depends on how many connections there were at a time and not on
//! how many in all. So the base is what a warm-up of some hundred connections leaves behind.

use std::alloc::System;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use campana::{
    Buffer, CloseReason, ConnectionId, EventLoop, Handler, ServerHandle, TcpConnection, TcpServer,
};
use socket2::SockRef;
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

mod support {
    pub(crate) mod patience;
    pub(crate) mod process;
}
use support::patience::{PATIENCE, wait_until};
use support::process::{Process, answer, role};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LOOPS: usize = 3;
const RATE: u32 = 200;
const WARM_UP: Duration = Duration::from_secs(2);
const USUAL: Duration = Duration::from_secs(4);
/// Each has 160 ms for a connection, of which most take less than half.
const WORKERS: u32 = 32;
/// What a connection that has sent nothing is filed under.
const SILENT: u8 = b'-';

#[test]
fn thousands_of_connections_leave_no_descriptor_no_memory_and_no_untold_end() {
    if role().is_some() {
        return serve();
    }
    let mut server =
        Process::start("thousands_of_connections_leave_no_descriptor_no_memory_and_no_untold_end", "server");
    let address = server.ask("address").parse().unwrap();
    let time = std::env::var("CHURN_SECONDS");
    let time = time.map_or(USUAL, |seconds| Duration::from_secs(seconds.parse().expect("whole seconds")));

    // All at once, so that what follows is no record in that respect; then as it goes on.
    let crowd: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    wait_until("the crowd", || Figures::of(&mut server).open == crowd.len());
    drop(crowd);
    let warm_up = churn(address, 0, WARM_UP);
    let before = Figures::when_all_have_ended(&mut server);

    let load = churn(address, warm_up.connections, time);
    let after = Figures::when_all_have_ended(&mut server);
    println!("load: {load}");
    println!("base: {before}\nthen: {after}\nends: {}", server.ask("ends"));

    assert_eq!(after.descriptors, before.descriptors, "descriptors");
    assert_eq!(after.timers, before.timers, "timers");
    assert_eq!((after.twice, after.connects), (0, after.closes), "{after}");
    // Of those that are reset before they were accepted nothing need be heard.
    let heard = after.connects - before.connects;
    let (made, at_once) = (load.connections as usize, load.ways[&SILENT]);
    assert!((made - at_once..=made).contains(&heard), "{heard} of {made} connections");
    check_ends(&server.ask("ends"), &warm_up, &load);

    // What is kept for later depends on how many connections there were at a time, and that were more before. So this much is
    // for hash tables and the like, and far less than one block, or a hundred bytes, for each connection.
    let blocks = after.blocks.saturating_sub(before.blocks);
    assert!(blocks <= 100, "{blocks} blocks more after {heard} connections");
    let bytes = after.bytes.saturating_sub(before.bytes);
    assert!(bytes <= 64 * 1024, "{bytes} bytes more after {heard} connections");
    // Pages are the allocator's to keep.
    let resident = after.resident_kib.saturating_sub(before.resident_kib);
    assert!(resident <= 8 * 1024, "{resident} KiB more after {heard} connections");
    server.end();
}

/// That each way to end a connection has brought the reason that it has to.
fn check_ends(ends: &str, warm_up: &Load, load: &Load) {
    let mut told: BTreeMap<u8, usize> = BTreeMap::new();
    for end in ends.split("; ") {
        let (way, rest) = end.split_once(' ').unwrap();
        let (count, reason) = rest.split_once(' ').unwrap();
        let way = way.as_bytes()[0];
        let expected = match way {
            // The crowd of the warm-up has closed in good order without a word.
            SILENT => &["reset by the peer", "closed by the peer"][..],
            b'c' | b'h' => &["closed by the peer"],
            _ => &["reset by the peer"],
        };
        assert!(expected.contains(&reason), "{way}: {reason}", way = char::from(way));
        *told.entry(way).or_default() += count.parse::<usize>().unwrap();
    }
    for (way, count) in &load.ways {
        let made = count + warm_up.ways[way];
        match way {
            // Their data may be lost with them, or the whole connection.
            &SILENT | b'u' => {}
            _ => assert_eq!(told[way], made, "ends of the kind {}", char::from(*way)),
        }
    }
}

/// What the load has done.
#[derive(Default)]
struct Load {
    connections: u32,
    bytes: usize,
    ways: BTreeMap<u8, usize>,
    latest_start: Duration,
    took: Duration,
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { connections, bytes, ways, latest_start, took } = self;
        write!(
            f,
            "{connections} connections in {took:.1?}, {bytes} bytes echoed, latest start {latest_start:.1?} late"
        )?;
        ways.iter().try_for_each(|(way, count)| write!(f, ", {} {count}", char::from(*way)))
    }
}

/// So many connections a second for so long, numbered from `first` on.
fn churn(address: SocketAddr, first: u32, time: Duration) -> Load {
    let count = (time.as_secs_f64() * f64::from(RATE)) as u32;
    let began = Instant::now();
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            std::thread::spawn(move || {
                let mut load = Load::default();
                for number in (worker..count).step_by(WORKERS as usize) {
                    let start = began + Duration::from_secs(1) * number / RATE;
                    std::thread::sleep(start.saturating_duration_since(Instant::now()));
                    load.latest_start = load.latest_start.max(start.elapsed());
                    let (way, bytes) = live(address, first + number, start);
                    load.connections += 1;
                    load.bytes += bytes;
                    *load.ways.entry(way).or_default() += 1;
                }
                load
            })
        })
        .collect();
    let mut total = Load::default();
    for worker in workers {
        let load = worker.join().unwrap();
        total.connections += load.connections;
        total.bytes += load.bytes;
        total.latest_start = total.latest_start.max(load.latest_start);
        load.ways.into_iter().for_each(|(way, count)| *total.ways.entry(way).or_default() += count);
    }
    total.took = began.elapsed();
    total
}

/// One connection from its beginning to its end. Answers how it ended, and how many bytes were echoed.
fn live(address: SocketAddr, number: u32, start: Instant) -> (u8, usize) {
    // In each ten: two resets, one half-close, seven that close in good order.
    let way = match (number % 10, number / 10 % 3) {
        (0, 0) => SILENT,
        (0, _) | (5, 0) => b'r',
        (5, _) => b'u',
        (7, _) => b'h',
        _ => b'c',
    };
    let mut random = random_numbers(number);
    let mut next = |below: u32| random.next().unwrap() % below;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut echoed = 0;
    if way != SILENT {
        for round in 0..1 + next(3) {
            let length = if next(16) == 0 { 50_000 + next(150_000) } else { 1 + next(2_000) };
            let mut request: Vec<u8> = (0..length).map(|_| next(256) as u8).collect();
            if round == 0 {
                request[0] = way;
            }
            stream.write_all(&request).unwrap();
            // One that is reset with an answer under way doesn't wait for it.
            if way != b'u' {
                let mut reply = vec![0; request.len()];
                stream.read_exact(&mut reply).unwrap();
                assert!(reply == request, "connection {number} got {length} bytes that it had not sent");
                echoed += reply.len();
            }
        }
    }
    // Most stay for a while; those that are reset at once or with an answer under way go at once.
    if way != SILENT && way != b'u' {
        let end = start + Duration::from_millis(next(100).into());
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
    }
    match way {
        SILENT | b'r' | b'u' => SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
        b'h' => {
            let last = b"the last of it";
            stream.write_all(last).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut reply = Vec::new();
            stream.read_to_end(&mut reply).unwrap();
            assert_eq!(reply, last, "connection {number}");
            echoed += last.len();
        }
        _ => {}
    }
    (way, echoed)
}

fn random_numbers(seed: u32) -> impl Iterator<Item = u32> {
    let mut state = u64::from(seed) << 20 | 0x9e37;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    })
}

/// What the server has at one moment: its own word, and the system's.
struct Figures {
    connects: usize,
    closes: usize,
    /// Beginnings or ends that were told twice.
    twice: usize,
    /// Connections whose end has not been told.
    untold: usize,
    /// Connections that the server counts.
    open: usize,
    timers: usize,
    blocks: usize,
    bytes: usize,
    descriptors: usize,
    resident_kib: usize,
}

impl Figures {
    /// What is left when no connection is.
    ///
    /// # Panics
    ///
    /// If that is never so.
    #[track_caller]
    fn when_all_have_ended(server: &mut Process) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let figures = Self::of(server);
            if (figures.open, figures.untold) == (0, 0) {
                return figures;
            }
            assert!(Instant::now() < deadline, "{figures}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    fn of(server: &mut Process) -> Self {
        let line = server.ask("figures");
        let mut words = line.split(' ').map(|word| word.parse().unwrap());
        let mut next = || words.next().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Self {
            connects: next(),
            closes: next(),
            twice: next(),
            untold: next(),
            open: next(),
            timers: next(),
            blocks: next(),
            bytes: next(),
            descriptors: std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count(),
            resident_kib: resident.split_whitespace().next().unwrap().parse().unwrap(),
        }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { connects, closes, twice, untold, open, timers, blocks, bytes, .. } = self;
        write!(f, "{} descriptors, {} KiB resident, ", self.descriptors, self.resident_kib)?;
        write!(f, "{bytes} bytes in {blocks} blocks of heap, {timers} timers; {connects} connects, ")?;
        write!(f, "{closes} closes, {twice} told twice, {untold} not told, {open} open")
    }
}

/// The server process: answers questions until there are no more.
fn serve() {
    let mut base = EventLoop::new().unwrap();
    let books: Arc<Mutex<Books>> = Arc::default();
    let for_handlers = Arc::clone(&books);
    let server = TcpServer::bind("127.0.0.1:0").unwrap().threads(LOOPS);
    let server =
        server.configure(|config| config.idle = Some(PATIENCE)).start_with(&mut base, move |cx, _| {
            // Between whole milliseconds, so that each loop has made all its descriptors when the load begins.
            cx.run_every(Duration::from_micros(50_300), |_| {});
            Churned { books: Arc::clone(&for_handlers) }
        });
    let server = server.unwrap();
    let quit = base.handle();
    let answering = std::thread::spawn(move || {
        answer(|question| match question {
            "address" => server.local_addresses()[0].to_string(),
            "ends" => books.lock().unwrap().ends(),
            _ => figures(&server, &books),
        });
        quit.quit();
    });
    base.run().unwrap();
    answering.join().unwrap();
}

fn figures(server: &ServerHandle<Churned>, books: &Mutex<Books>) -> String {
    let open = server.figures().connections;
    let timers: usize =
        server.handlers().iter().map(|handler| handler.loop_handle().figures().timers_pending).sum();
    let Stats { allocations, deallocations, bytes_allocated, bytes_deallocated, .. } = ALLOCATOR.stats();
    let books = books.lock().unwrap();
    format!(
        "{} {} {} {} {open} {timers} {} {}",
        books.connects,
        books.closes,
        books.twice,
        books.open.len(),
        allocations - deallocations,
        bytes_allocated - bytes_deallocated,
    )
}

/// What the handlers of all loops have been told.
#[derive(Default)]
struct Books {
    connects: usize,
    closes: usize,
    twice: usize,
    open: HashSet<ConnectionId>,
    /// By the way that the peer had announced, and the reason.
    ends: BTreeMap<(u8, String), usize>,
}

impl Books {
    fn ends(&self) -> String {
        let mut text = String::new();
        for ((way, reason), count) in &self.ends {
            let separator = if text.is_empty() { "" } else { "; " };
            write!(text, "{separator}{} {count} {reason}", char::from(*way)).unwrap();
        }
        text
    }
}

/// Echoes, and keeps the books.
struct Churned {
    books: Arc<Mutex<Books>>,
}

impl Handler for Churned {
    /// The way to end that the peer has announced by its first byte.
    type State = u8;

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) -> u8 {
        let mut books = self.books.lock().unwrap();
        books.connects += 1;
        books.twice += usize::from(!books.open.insert(conn.id()));
        SILENT
    }

    fn on_data(&mut self, way: &mut u8, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        if *way == SILENT {
            *way = input.peek()[0];
        }
        let _ = conn.send(input.take());
    }

    fn on_close(&mut self, way: u8, conn: &mut TcpConnection<'_>, reason: CloseReason) {
        let mut books = self.books.lock().unwrap();
        books.closes += 1;
        books.twice += usize::from(!books.open.remove(&conn.id()));
        *books.ends.entry((way, reason.to_string())).or_default() += 1;
    }
}
