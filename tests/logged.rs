//! What a loop says in the log: each incident once, and a flood of them once a second.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use campana::reactor::LoopConfig;
use campana::{EventLoop, TcpServer};
use log::{Level, LevelFilter, Log, Metadata, Record};

#[path = "support/reactor.rs"]
mod support;

use support::{OnDrop, PATIENCE, spin, turn_until};

/// Longer than a busy machine takes for nothing at all.
const SLOW: Duration = Duration::from_millis(200);

/// All that is logged in this program.
struct Collector(Mutex<Vec<(Level, String)>>);

static COLLECTOR: Collector = Collector(Mutex::new(Vec::new()));

impl Log for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push((record.level(), record.args().to_string()));
    }

    fn flush(&self) {}
}

/// A loop of this name, by which what it logs is told from what other tests do.
fn loop_called(name: &str) -> EventLoop {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&COLLECTOR).unwrap();
        log::set_max_level(LevelFilter::Debug);
    });
    let mut config = LoopConfig::default();
    config.name = Some(name.to_owned());
    config.slow_callback = SLOW;
    EventLoop::with_config(config).unwrap()
}

/// What the loop of this name has logged so far.
fn lines_of(name: &str) -> Vec<(Level, String)> {
    let prefix = format!("loop {name}: ");
    let lines = COLLECTOR.0.lock().unwrap();
    lines.iter().filter(|(_, line)| line.starts_with(&prefix)).cloned().collect()
}

#[test]
fn a_callback_that_blocks_for_half_a_second_shows_in_the_figures_and_once_in_the_log() {
    const NAME: &str = "blocked";
    const BLOCK: Duration = Duration::from_millis(500);
    let mut event_loop = loop_called(NAME);
    let server = TcpServer::bind("127.0.0.1:0").unwrap().on_data(|conn, input| {
        if input.peek() == b"block" {
            // A callback that waits, as for a disk or a database.
            std::thread::sleep(BLOCK);
        }
        conn.send(input.take())
    });
    let server = server.start(&mut event_loop).unwrap();
    let address = server.local_addresses()[0].as_inet().unwrap();
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let (mut first, mut second) = (connect(), connect());
    turn_until(&mut event_loop, "both connections", |_| server.figures().connections == 2);
    assert_eq!(event_loop.handle().figures().slow_callbacks, 0);

    for (peer, request) in [(&mut first, "block"), (&mut second, "quick")] {
        peer.write_all(request.as_bytes()).unwrap();
    }
    for (peer, reply) in [(&mut first, "block"), (&mut second, "quick")] {
        peer.set_nonblocking(true).unwrap();
        let mut received = [0; 5];
        turn_until(&mut event_loop, "the reply", |_| peer.read_exact(&mut received).is_ok());
        assert_eq!(received, reply.as_bytes());
    }
    let figures = event_loop.handle().figures();
    assert_eq!(figures.slow_callbacks, 1, "{figures:?}");
    assert!(figures.longest_callback >= BLOCK, "{figures:?}");
    let lines = lines_of(NAME);
    let [(level, line)] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!(*level, Level::Warn);
    assert!(line.contains("callbacks held the loop for "), "{line}");
}

#[test]
fn callbacks_that_are_slow_again_and_again_are_all_counted_and_logged_once_a_second() {
    const NAME: &str = "slow";
    let mut event_loop = loop_called(NAME);
    let began = Instant::now();
    let mut slow = 0;
    while began.elapsed() < Duration::from_millis(1300) {
        slow += 1;
        event_loop.context().run_later(|_| spin(SLOW));
        event_loop.turn(None).unwrap();
    }
    assert_eq!(event_loop.handle().figures().slow_callbacks, slow);
    let seconds = began.elapsed().as_secs() as usize + 1;
    let lines = lines_of(NAME).len();
    assert!((2..=seconds).contains(&lines), "{lines} lines in {:?}", began.elapsed());
}

/// Without a word from the panic hook.
fn panic_quietly() {
    std::panic::resume_unwind(Box::new(()));
}

#[test]
fn a_flood_of_panics_is_counted_to_the_last_and_logged_once_a_second() {
    const NAME: &str = "panicking";
    let mut event_loop = loop_called(NAME);
    let began = Instant::now();
    let context = event_loop.context();
    for _ in 0..150 {
        let bomb = OnDrop(panic_quietly);
        context.run_later(|_| panic_quietly());
        context.run_later(move |_| drop(bomb));
    }
    turn_until(&mut event_loop, "all of them", |event_loop| event_loop.handle().figures().tasks == 300);
    assert_eq!(event_loop.handle().figures().panics, 300);
    let seconds = began.elapsed().as_secs() as usize + 1;
    let lines = lines_of(NAME);
    assert!((1..=seconds).contains(&lines.len()), "{lines:#?} in {:?}", began.elapsed());
    assert!(lines.iter().all(|(level, _)| *level == Level::Error));
}
