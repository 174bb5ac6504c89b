//! What a session is told, and what it does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::CloseReason;
use campana::codec::{Lines, Text};
use campana::session::{Session, SessionContext, SessionService, WriteError, WriteId};
use campana::testing::TestLoop;

type Log = Arc<Mutex<Vec<String>>>;

struct Recorder {
    log: Log,
}

impl Recorder {
    fn note(&self, text: impl Into<String>) {
        self.log.lock().unwrap().push(text.into());
    }
}

impl Session for Recorder {
    type Codec = Text<Lines>;

    fn on_open(&mut self, cx: &mut SessionContext<'_, Self>) {
        self.note("open");
        cx.write("welcome").unwrap();
    }

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        self.note(format!("message {line}"));
        match line {
            "close" => cx.close(),
            "abort" => cx.abort(),
            "panic" => panic!("asked to"),
            "pause" => {
                cx.pause_reading();
                cx.set_timer(Duration::from_secs(5), 7);
            }
            line => drop(cx.write(line)),
        }
        if line == "close" {
            assert!(matches!(cx.write("late"), Err(WriteError::Closed)));
        }
    }

    fn on_written(&mut self, _cx: &mut SessionContext<'_, Self>, up_to: WriteId) {
        self.note(format!("written {up_to}"));
    }

    fn on_timer(&mut self, cx: &mut SessionContext<'_, Self>, token: u64) {
        self.note(format!("timer {token}"));
        cx.resume_reading();
    }

    fn on_close(
        &mut self,
        _cx: &mut SessionContext<'_, Self>,
        reason: &CloseReason,
        unwritten: Option<WriteId>,
    ) {
        self.note(format!("close: {reason}, {unwritten:?}"));
    }
}

fn test_loop() -> (TestLoop<campana::session::Sessions<Recorder>>, Log) {
    let log = Log::default();
    let of_sessions = Arc::clone(&log);
    let service = SessionService::new(|| Text::over(Lines::new()));
    let test = TestLoop::sessions(service, move |_| Recorder { log: Arc::clone(&of_sessions) });
    (test, log)
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

#[test]
fn messages_are_delivered_and_answered_and_writes_told() {
    let (mut test, log) = test_loop();
    let peer = test.connect();
    test.run_until_idle();
    assert_eq!(peer.receive(), b"welcome\n");
    peer.send("one\ntw");
    test.run_until_idle();
    peer.send("o\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"one\ntwo\n");
    peer.close();
    test.run_until_idle();
    assert_eq!(
        taken(&log),
        [
            "open",
            "written 1",
            "message one",
            "written 2",
            "message two",
            "written 3",
            "close: closed by the peer, None"
        ]
    );
}

#[test]
fn close_delivers_what_was_written_and_nothing_more_comes_in() {
    let (mut test, log) = test_loop();
    let peer = test.connect();
    peer.send("one\nclose\ntwo\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"welcome\none\n");
    assert!(peer.is_read_closed());
    peer.close();
    test.run_until_idle();
    assert_eq!(
        taken(&log),
        ["open", "message one", "message close", "written 2", "close: closed by this side, None"]
    );
}

#[test]
fn abort_discards_what_was_written_and_names_it() {
    let (mut test, log) = test_loop();
    let peer = test.connect();
    test.run_until_idle();
    peer.set_window(0);
    peer.send("one\nabort\ntwo\n");
    test.run_until_idle();
    assert_eq!(
        taken(&log),
        ["open", "written 1", "message one", "message abort", "close: closed by this side, Some(WriteId(2))"]
    );
}

#[test]
fn a_paused_session_gets_nothing_until_it_is_resumed() {
    let (mut test, log) = test_loop();
    let peer = test.connect();
    peer.send("pause\none\ntwo\n");
    test.run_until_idle();
    assert_eq!(taken(&log), ["open", "message pause", "written 1"]);
    peer.send("three\n");
    test.advance(Duration::from_secs(4));
    assert_eq!(taken(&log).len(), 0);
    test.advance(Duration::from_secs(1));
    assert_eq!(taken(&log), ["timer 7", "message one", "message two", "message three", "written 4"]);
}

#[test]
fn a_panic_ends_its_session_alone() {
    let (test, log) = test_loop();
    let mut test = test.allow_panics();
    let (peer, other) = (test.connect(), test.connect());
    test.run_until_idle();
    taken(&log);
    peer.send("one\npanic\ntwo\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"welcome\none\n");
    peer.close();
    test.run_until_idle();
    assert_eq!(
        taken(&log),
        ["message one", "message panic", "written 2", "close: a callback panicked, None"]
    );
    other.send("one\n");
    test.run_until_idle();
    assert_eq!(other.receive(), b"welcome\none\n");
}

#[test]
fn partial_writes_are_told_in_parts() {
    let (mut test, log) = test_loop();
    let peer = test.connect();
    test.run_until_idle();
    taken(&log);
    peer.set_window(5);
    peer.send("one\ntwo\nthree\n");
    test.run_until_idle();
    assert_eq!(taken(&log), ["message one", "message two", "message three", "written 2"]);
    peer.set_window(3);
    test.run_until_idle();
    assert_eq!(taken(&log), ["written 3"]);
    peer.set_window(usize::MAX);
    test.run_until_idle();
    assert_eq!(taken(&log), ["written 4"]);
}
