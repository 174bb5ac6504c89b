//! A thousand signals a second, each of which interrupts the wait of a loop: no byte is lost, and no deadline waits for quiet.

#![cfg(feature = "signal")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use campana::reactor::LoopPool;
use campana::reactor::signal::SIGUSR1;
use campana::{EventLoop, LoopContext, TcpServer};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::gettid;

mod support {
    #[allow(dead_code)] // Waiting is left to the other process.
    pub(crate) mod patience;
    pub(crate) mod process;
}
use support::patience::PATIENCE;
use support::process::{Process, answer, role};

const EVERY: Duration = Duration::from_millis(1);
const PERIOD: Duration = Duration::from_millis(20);
const DELAY: Duration = Duration::from_millis(50);
const INTERRUPTIONS: u64 = 1000;

#[test]
fn a_thousand_signals_a_second_lose_no_byte_and_hold_up_no_deadline() {
    if role().is_some() {
        return serve();
    }
    let mut server =
        Process::start("a_thousand_signals_a_second_lose_no_byte_and_hold_up_no_deadline", "server");
    let address: SocketAddr = server.ask("address").parse().unwrap();

    // With nothing else to do, the loop turns for timers and for signals.
    let before = Figures::of(&mut server);
    let after = storm(&mut server, |began, figures| {
        began.elapsed() > Duration::from_secs(1) && figures.turns - before.turns > INTERRUPTIONS
    });
    before.assert_deadlines_kept(&after);

    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || exchange(address, client, &over))
        })
        .collect();
    let before = Figures::of(&mut server);
    let after = storm(&mut server, |began, _| began.elapsed() > Duration::from_secs(2));
    over.store(true, Ordering::Relaxed);
    let exchanges: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(exchanges > 100, "hardly any exchanges: {exchanges}");
    before.assert_deadlines_kept(&after);
    assert!(after.signals > 0);
    server.end();
}

/// Sends a signal a millisecond until `enough` is so, which is asked now and then.
fn storm(server: &mut Process, enough: impl Fn(Instant, &Figures) -> bool) -> Figures {
    // A signal for a process that is sent to one of its threads is that thread's to take, if it can.
    let thread = Pid::from_raw(server.ask("thread").parse().unwrap()).unwrap();
    let began = Instant::now();
    for number in 1.. {
        let at = began + number * EVERY;
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        kill_process(thread, Signal::USR1).unwrap();
        if number % 100 == 0 {
            let figures = Figures::of(server);
            if enough(began, &figures) {
                return figures;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "waited in vain for signals to interrupt the loop: {figures:?}"
            );
        }
    }
    unreachable!("patience ends before the numbers do")
}

/// Sends and compares, in connections one after the other. Answers how many exchanges there were.
fn exchange(address: SocketAddr, seed: usize, over: &AtomicBool) -> usize {
    let mut exchanges = 0;
    while !over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        for length in [1, 100, 5_000, 100_000] {
            let request: Vec<u8> = (0..length).map(|at| (at * 31 + seed + exchanges) as u8).collect();
            let mut reply = vec![0; length];
            stream.write_all(&request).unwrap();
            stream.read_exact(&mut reply).unwrap();
            assert!(reply == request, "{length} bytes differ");
            exchanges += 1;
        }
    }
    exchanges
}

#[derive(Debug)]
struct Figures {
    at: Instant,
    turns: u64,
    signals: u64,
    /// Calls of the repeating timer, and of the one that sets itself again each time.
    calls: [u64; 2],
    early: u64,
}

impl Figures {
    #[track_caller]
    fn of(server: &mut Process) -> Self {
        let line = server.ask("figures");
        let figures: Vec<u64> = line.split(' ').map(|figure| figure.parse().unwrap()).collect();
        let [turns, signals, periodic, delayed, early] = figures[..] else { panic!("{line}") };
        Self { at: Instant::now(), turns, signals, calls: [periodic, delayed], early }
    }

    /// A wait that begins anew with each signal would end no sooner than the signals. A fourth is for slow machines.
    #[track_caller]
    fn assert_deadlines_kept(&self, later: &Self) {
        let time = later.at - self.at;
        for (number, wait) in [PERIOD, DELAY].into_iter().enumerate() {
            let calls = u128::from(later.calls[number] - self.calls[number]);
            let due = time.as_nanos() / wait.as_nanos();
            assert!(calls >= due / 4 && calls <= due + 1, "{calls} calls of {due} in {time:?}");
        }
        assert_eq!(later.early, 0);
    }
}

/// What the server's timers count.
#[derive(Default)]
struct Counts {
    calls: [AtomicU64; 2],
    early: AtomicU64,
    signals: AtomicU64,
}

impl Counts {
    fn called(&self, timer: usize, deadline: Instant) {
        self.calls[timer].fetch_add(1, Ordering::Relaxed);
        self.early.fetch_add(u64::from(Instant::now() < deadline), Ordering::Relaxed);
    }
}

/// The server process.
fn serve() {
    let thread = gettid();
    let mut event_loop = EventLoop::new().unwrap();
    let server = TcpServer::bind("127.0.0.1:0").unwrap().on_data(|conn, input| conn.send(input.take()));
    let server = server.start(&mut event_loop).unwrap();
    let counts: Arc<Counts> = Arc::default();

    // The signals are the business of another loop; this one is merely interrupted by them.
    let pool = LoopPool::new(&event_loop.handle(), 1).unwrap();
    let (report, reports) = mpsc::channel();
    let count = Arc::clone(&counts);
    let listen = move |cx: &mut LoopContext| {
        cx.on_signals(&[SIGUSR1], move |_, _| {
            count.signals.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        report.send(()).unwrap();
    };
    pool.next().post(listen).unwrap();
    reports.recv_timeout(PATIENCE).unwrap();

    let context = event_loop.context();
    let (count, began) = (Arc::clone(&counts), context.now());
    let mut due = began + PERIOD;
    context.run_every(PERIOD, move |cx| {
        count.called(0, due);
        // The next multiple of the period.
        let periods = (cx.now() - began).as_nanos() / PERIOD.as_nanos();
        due = began + PERIOD * (periods as u32 + 1);
    });
    set_again(context, &counts);

    let handle = event_loop.handle();
    let answering = std::thread::spawn(move || {
        answer(|question| match question {
            "address" => server.local_addresses()[0].to_string(),
            "thread" => thread.to_string(),
            _ => {
                let turns = handle.figures().turns;
                let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
                let Counts { calls, early, signals } = &*counts;
                format!("{turns} {} {} {} {}", of(signals), of(&calls[0]), of(&calls[1]), of(early))
            }
        });
        handle.quit();
    });
    event_loop.run().unwrap();
    answering.join().unwrap();
}

fn set_again(context: &mut LoopContext, counts: &Arc<Counts>) {
    let (counts, deadline) = (Arc::clone(counts), context.now() + DELAY);
    context.run_after(DELAY, move |cx| {
        counts.called(1, deadline);
        set_again(cx, &counts);
    });
}
