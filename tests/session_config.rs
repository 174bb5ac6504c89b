//! What limits a session: by its service's configuration, by its own, and while it runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::Buffer;
use campana::codec::{Codec, DecodeError, EncodeError, Lines, Text};
use campana::session::{
    ErrorAction, Session, SessionConfig, SessionContext, SessionService, SessionStats, Throughput,
};
use campana::testing::{Peer, TestLoop};

#[path = "support/probe.rs"]
mod probe;

use probe::{ProbeLoop, Then, Told, lines, on_message, probes};

const SECOND: Duration = Duration::from_secs(1);

fn stats_of(test: &mut ProbeLoop, peer: &Peer) -> SessionStats {
    let stats = Arc::new(Mutex::new(None));
    let to = Arc::clone(&stats);
    test.with_session(peer, move |_, cx| *to.lock().unwrap() = Some(cx.stats()));
    let stats = stats.lock().unwrap().take();
    stats.unwrap()
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let config = SessionConfig::default();
    assert_eq!((config.idle_read, config.idle_write, config.idle_both), (None, None, None));
    assert_eq!(config.frame_deadline, Some(30 * SECOND));
    assert!(config.authentication.is_none());
    assert_eq!(config.pending_writes, 65_536);
    assert_eq!(config.throughput_interval, 3 * SECOND);
    let authentication = campana::session::Authentication::default();
    assert_eq!((authentication.deadline, authentication.max_frame), (10 * SECOND, 4096));
}

#[test]
fn a_servers_session_that_is_silent_for_five_minutes_is_closed() {
    let (mut test, log) = probes(lines(), |_, _| Then::Usual);
    let (silent, speaking) = (test.connect(), test.connect());
    test.advance(200 * SECOND);
    speaking.send("here\n");
    test.advance(99 * SECOND);
    assert!(!silent.is_read_closed());
    test.advance(SECOND);
    assert!(silent.is_read_closed() && !speaking.is_read_closed());
    silent.close();
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "open", "message here", "idle Both 1", "close: timed out: idle"]);
}

#[test]
fn a_change_for_one_session_is_that_sessions_alone() {
    let service = lines().configure(|config| config.idle_both = Some(10 * SECOND));
    let (mut test, _) = probes(
        service,
        on_message(|_, cx| {
            cx.configure(|config| config.idle_both = Some(20 * SECOND));
            assert_eq!(cx.config().idle_both, Some(20 * SECOND));
        }),
    );
    let (usual, own) = (test.connect(), test.connect());
    own.send("change\n");
    test.advance(10 * SECOND);
    assert!(usual.is_read_closed() && !own.is_read_closed());
    test.advance(10 * SECOND);
    assert!(own.is_read_closed());
    let later = test.connect();
    test.advance(10 * SECOND);
    assert!(later.is_read_closed(), "it has the service's");
}

#[test]
fn shorter_and_longer_times_hold_at_once() {
    let (mut test, _) = probes(lines(), |_, _| Then::Usual);
    let peer = test.connect();
    test.advance(3 * SECOND);
    test.with_session(&peer, |_, cx| cx.configure(|config| config.idle_both = Some(5 * SECOND)));
    test.advance(SECOND);
    test.with_session(&peer, |_, cx| cx.configure(|config| config.idle_both = Some(8 * SECOND)));
    test.advance(3 * SECOND);
    assert!(!peer.is_read_closed());
    test.with_session(&peer, |_, cx| cx.configure(|config| config.idle_both = Some(5 * SECOND)));
    test.run_until_idle();
    assert!(peer.is_read_closed(), "7 s have passed already");
}

#[test]
fn a_message_has_an_absolute_deadline_whatever_its_pace() {
    let (mut test, log) = probes(lines(), |_, _| Then::Usual);
    let (slow, other) = (test.connect(), test.connect());
    for _ in 0..9 {
        slow.send("x");
        other.send("whole\n");
        test.advance(3 * SECOND);
    }
    slow.send("x");
    test.advance(Duration::from_millis(2999));
    assert!(!slow.is_read_closed());
    test.advance(Duration::from_millis(1));
    assert!(slow.is_read_closed() && !other.is_read_closed());
    slow.close();
    test.run_until_idle();
    assert_eq!(log.lines().last().unwrap(), "close: timed out: a message's arrival");
}

#[test]
fn the_deadline_of_a_message_begins_with_its_own_first_byte() {
    let (mut test, log) = probes(lines(), |_, _| Then::Usual);
    let peer = test.connect();
    for _ in 0..10 {
        // Always a part of a message is there, and never the same for long.
        peer.send("half ");
        test.advance(20 * SECOND);
        peer.send("whole\nhalf ");
        test.advance(20 * SECOND);
        peer.send("whole\n");
    }
    test.run_until_idle();
    assert_eq!(log.count(|told| matches!(told, Told::Message(_))), 20);
    assert!(!peer.is_read_closed());
}

#[test]
fn the_deadline_of_a_message_can_be_changed_and_turned_off_while_it_arrives() {
    let (mut test, _) = probes(lines(), |_, _| Then::Usual);
    let (off, shorter) = (test.connect(), test.connect());
    off.send("x");
    shorter.send("x");
    test.advance(3 * SECOND);
    test.with_session(&off, |_, cx| cx.configure(|config| config.frame_deadline = None));
    test.with_session(&shorter, |_, cx| cx.configure(|config| config.frame_deadline = Some(5 * SECOND)));
    test.advance(2 * SECOND);
    assert!(shorter.is_read_closed());
    test.advance(200 * SECOND);
    assert!(!off.is_read_closed());
}

/// A service that asks for authentication, which the message `log in` is.
fn guarded() -> (ProbeLoop, probe::Log) {
    let service = SessionService::new(|| Text::over(Lines::new().max(100_000)));
    let service = service.configure(|config| config.authentication = Some(Default::default()));
    probes(
        service,
        on_message(|text, cx| {
            if text == "log in" {
                assert!(!cx.is_authenticated());
                cx.set_authenticated();
                assert!(cx.is_authenticated());
            }
        }),
    )
}

#[test]
fn a_peer_that_does_not_authenticate_within_ten_seconds_is_closed_whatever_it_says() {
    let (mut test, log) = guarded();
    let (silent, talkative, known) = (test.connect(), test.connect(), test.connect());
    known.send("log in\n");
    for _ in 0..9 {
        talkative.send("hello\n");
        test.advance(SECOND);
    }
    assert!(!silent.is_read_closed() && !talkative.is_read_closed());
    test.advance(SECOND);
    assert!(silent.is_read_closed() && talkative.is_read_closed() && !known.is_read_closed());
    silent.close();
    test.run_until_idle();
    assert_eq!(log.lines().last().unwrap(), "close: timed out: authentication");
}

#[test]
fn before_authentication_a_message_may_have_four_kilobytes_on_the_wire() {
    for seed in 0..20 {
        let (test, log) = guarded();
        let mut test = test.seed(seed);
        let exact = "x".repeat(4095);
        let (fits, too_large) = (test.connect(), test.connect());
        fits.send(format!("{exact}\n{exact}\n"));
        test.run_until_idle();
        assert_eq!(log.count(|told| *told == Told::Message(exact.clone())), 2);
        assert!(!fits.is_read_closed());
        too_large.send(format!("{exact}x\n"));
        too_large.close();
        test.run_until_idle();
        let told = log.lines();
        assert!(told[told.len() - 2].starts_with("error: a message of more than 4096 bytes"), "{told:?}");
        assert!(told[told.len() - 1].starts_with("close: protocol error"), "{told:?}");
    }
}

#[test]
fn authentication_lifts_its_limits_for_what_is_right_behind_it() {
    for seed in 0..20 {
        let (test, log) = guarded();
        let mut test = test.seed(seed);
        let peer = test.connect();
        let long = "x".repeat(50_000);
        peer.send(format!("log in\n{long}\n"));
        test.run_until_idle();
        assert_eq!(log.count(|told| *told == Told::Message(long.clone())), 1);
        test.advance(60 * SECOND);
        assert!(!peer.is_read_closed());
    }
}

/// Lines; counts how often the input was given anew instead of what earlier messages have left.
struct Windows {
    lines: Text<Lines>,
    left: usize,
    count: Arc<AtomicUsize>,
}

impl Codec for Windows {
    type In<'a> = &'a str;
    type Out<'a> = &'a str;

    fn decode<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<&'a str>, DecodeError> {
        if input.readable() > self.left {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        // Each line here is an empty one.
        self.left = input.readable().saturating_sub(1);
        self.lines.decode(input)
    }

    fn encode(&self, message: &str, output: &mut Buffer) -> Result<(), EncodeError> {
        self.lines.encode(message, output)
    }
}

#[test]
fn many_small_messages_before_authentication_cost_no_more_than_few_large_ones() {
    struct Quiet;
    impl Session for Quiet {
        type Codec = Windows;
        fn on_message(&mut self, _cx: &mut SessionContext<'_, Self>, line: &str) {
            assert_eq!(line, "");
        }
    }
    let count: Arc<AtomicUsize> = Arc::default();
    let of_codecs = Arc::clone(&count);
    let service = SessionService::new(move || Windows {
        lines: Text::over(Lines::new()),
        left: 0,
        count: Arc::clone(&of_codecs),
    });
    let service = service.configure(|config| config.authentication = Some(Default::default()));
    let mut test = TestLoop::sessions(service, |_| Quiet);
    let peer = test.connect();
    peer.send("\n".repeat(50_000));
    test.run_until_idle();
    assert_eq!(test.manager().stats().messages_in, 50_000);
    let windows = count.load(Ordering::Relaxed);
    assert!(windows <= 20, "the input was copied {windows} times");
}

#[test]
fn a_panic_before_authentication_is_about_its_message_once() {
    let service = lines().configure(|config| config.authentication = Some(Default::default()));
    let (test, log) = probes(service, |told, _| match told {
        Told::Message(text) if text == "panic" => panic!("asked to"),
        Told::Error(_) => Then::Error(ErrorAction::Continue),
        _ => Then::Usual,
    });
    let mut test = test.allow_panics();
    let peer = test.connect();
    peer.send("one\npanic\ntwo\n");
    test.run_until_idle();
    let messages: Vec<_> = log.lines().into_iter().filter(|line| line.starts_with("message")).collect();
    assert_eq!(messages, ["message one", "message panic", "message two"]);
}

#[test]
fn the_time_for_authentication_can_be_changed_while_it_runs() {
    let (mut test, _) = guarded();
    let peer = test.connect();
    test.with_session(&peer, |_, cx| {
        cx.configure(|config| {
            if let Some(authentication) = &mut config.authentication {
                authentication.deadline = 60 * SECOND;
            }
        });
    });
    test.advance(59 * SECOND);
    assert!(!peer.is_read_closed());
    test.advance(SECOND);
    assert!(peer.is_read_closed());
}

#[test]
fn throughput_is_averaged_over_three_seconds() {
    let (mut test, _) = probes(lines(), on_message(|text, cx| drop(cx.write(text))));
    let peer = test.connect();
    assert_eq!(stats_of(&mut test, &peer).throughput, Throughput::default());
    for _ in 0..6 {
        test.advance(SECOND);
        peer.send("12345\n12345\n");
        test.run_until_idle();
    }
    let stats = stats_of(&mut test, &peer);
    let throughput = stats.throughput;
    assert_eq!((throughput.messages_in, throughput.messages_out), (2.0, 2.0));
    assert_eq!((throughput.bytes_in, throughput.bytes_out), (12.0, 12.0));
    for _ in 0..2 {
        test.advance(3 * SECOND);
        stats_of(&mut test, &peer);
    }
    assert_eq!(stats_of(&mut test, &peer).throughput, Throughput::default());
    assert_eq!((stats.messages_in, stats.bytes_in, stats.messages_out, stats.bytes_out), (12, 72, 12, 72));
}

#[test]
fn stats_tell_what_waits_and_when_something_last_happened() {
    let (mut test, _) = probes(lines(), on_message(|text, cx| drop(cx.write(text))));
    let peer = test.connect();
    let began = stats_of(&mut test, &peer);
    assert_eq!((began.last_read, began.last_written), (began.created, began.created));
    test.advance(SECOND);
    peer.set_window(4);
    peer.send("one\ntwo\n");
    test.run_until_idle();
    test.advance(SECOND);
    let stats = stats_of(&mut test, &peer);
    assert_eq!((stats.pending_messages, stats.pending_bytes), (1, 4));
    assert_eq!((stats.messages_out, stats.bytes_out), (2, 4));
    assert_eq!(stats.created, began.created);
    assert_eq!(stats.last_read, began.created + SECOND);
    assert_eq!(stats.last_written, began.created + SECOND);
}

#[test]
fn a_message_that_was_held_back_counts_as_read_when_it_is_delivered() {
    let (mut test, _) = probes(lines(), |told, cx| {
        if matches!(told, Told::Message(text) if text == "pause") {
            cx.pause_reading();
        }
        Then::Usual
    });
    let peer = test.connect();
    peer.send("pause\nheld back\n");
    test.run_until_idle();
    let received = stats_of(&mut test, &peer).last_read;
    test.advance(5 * SECOND);
    test.with_session(&peer, |_, cx| cx.resume_reading());
    test.run_until_idle();
    assert_eq!(stats_of(&mut test, &peer).last_read, received + 5 * SECOND);
}
