//! Idle sessions: what counts as silence, in which order it is told, and how often.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::session::{SessionConfig, SessionState};

#[path = "support/byte_filters.rs"]
mod byte_filters;
#[path = "support/probe.rs"]
mod probe;

use probe::{Log, Probe, ProbeLoop, Then, Told, lines, probes};

const SECOND: Duration = Duration::from_secs(1);

/// Sessions that are told of silence and go on, and that write what they are told to.
fn idle_after(change: impl FnOnce(&mut SessionConfig) + 'static) -> (ProbeLoop, Log) {
    probes(service(change), |told, cx| {
        if let Told::Message(text) = told {
            cx.write(text).unwrap();
        }
        Then::Nothing
    })
}

fn service(change: impl FnOnce(&mut SessionConfig) + 'static) -> campana::session::SessionService<Probe> {
    lines().configure(|config| {
        config.idle_both = None;
        change(config);
    })
}

fn idle_lines(log: &Log) -> Vec<String> {
    log.lines().into_iter().filter(|line| line.starts_with("idle")).collect()
}

#[test]
fn silence_is_told_again_after_each_idle_time_and_counted() {
    let (mut test, log) = idle_after(|config| config.idle_read = Some(10 * SECOND));
    let peer = test.connect();
    test.advance(Duration::from_millis(9_999));
    assert_eq!(idle_lines(&log), [""; 0]);
    test.advance(Duration::from_millis(1));
    assert_eq!(idle_lines(&log), ["idle Read 1"]);
    test.advance(25 * SECOND);
    assert_eq!(idle_lines(&log), ["idle Read 2", "idle Read 3"]);
    peer.send("x\n");
    test.advance(10 * SECOND);
    assert_eq!(idle_lines(&log), ["idle Read 1"], "the count begins anew");
}

#[test]
fn of_several_kinds_at_once_both_is_first_then_read_then_write() {
    let (mut test, log) = idle_after(|config| {
        config.idle_read = Some(2 * SECOND);
        config.idle_write = Some(3 * SECOND);
        config.idle_both = Some(6 * SECOND);
    });
    let _peer = test.connect();
    test.advance(6 * SECOND);
    assert_eq!(
        idle_lines(&log),
        ["idle Read 1", "idle Write 1", "idle Read 2", "idle Both 1", "idle Read 3", "idle Write 2"]
    );
}

#[test]
fn bytes_coming_in_end_the_silence_of_read_and_both_though_they_are_no_message_yet() {
    let (mut test, log) = idle_after(|config| {
        config.idle_read = Some(10 * SECOND);
        config.idle_write = Some(10 * SECOND);
        config.idle_both = Some(10 * SECOND);
    });
    let peer = test.connect();
    test.advance(5 * SECOND);
    peer.send("half");
    test.advance(5 * SECOND);
    assert_eq!(idle_lines(&log), ["idle Write 1"]);
    test.advance(5 * SECOND);
    assert_eq!(idle_lines(&log), ["idle Both 1", "idle Read 1"]);
}

#[test]
fn bytes_going_out_end_the_silence_of_write_and_both() {
    let (mut test, log) = idle_after(|config| {
        config.idle_read = Some(10 * SECOND);
        config.idle_write = Some(10 * SECOND);
        config.idle_both = Some(10 * SECOND);
    });
    let peer = test.connect();
    test.advance(5 * SECOND);
    test.with_session(&peer, |_, cx| drop(cx.write("out")));
    test.advance(5 * SECOND);
    assert_eq!(idle_lines(&log), ["idle Read 1"]);
    test.advance(5 * SECOND);
    assert_eq!(idle_lines(&log), ["idle Both 1", "idle Write 1"]);
}

#[test]
fn a_peer_that_takes_a_long_message_slowly_is_not_idle() {
    let (mut test, log) = idle_after(|config| {
        config.idle_write = Some(10 * SECOND);
        config.idle_both = Some(10 * SECOND);
    });
    let peer = test.connect();
    peer.set_window(0);
    test.with_session(&peer, |_, cx| drop(cx.write(&"x".repeat(8000))));
    for _ in 0..10 {
        test.advance(9 * SECOND);
        peer.set_window(1);
        test.run_until_idle();
    }
    assert_eq!(idle_lines(&log), [""; 0]);
    test.advance(10 * SECOND);
    assert_eq!(idle_lines(&log), ["idle Both 1", "idle Write 1"]);
}

#[test]
fn output_that_is_only_pending_is_silence() {
    let (mut test, log) = idle_after(|config| config.idle_write = Some(10 * SECOND));
    let peer = test.connect();
    peer.set_window(0);
    for _ in 0..3 {
        test.with_session(&peer, |_, cx| drop(cx.write("x")));
        test.advance(5 * SECOND);
    }
    assert_eq!(idle_lines(&log), ["idle Write 1"]);
}

#[test]
fn what_on_idle_writes_ends_the_silence() {
    let (mut test, log) = probes(service(|config| config.idle_write = Some(10 * SECOND)), |told, cx| {
        if matches!(told, Told::Idle(..)) {
            cx.write("ping").unwrap();
        }
        Then::Nothing
    });
    let peer = test.connect();
    test.advance(35 * SECOND);
    assert_eq!(idle_lines(&log), ["idle Write 1", "idle Write 1", "idle Write 1"]);
    assert_eq!(peer.receive(), b"ping\nping\nping\n");
}

#[test]
fn an_idle_time_of_zero_is_none() {
    let (mut test, log) = idle_after(|config| {
        config.idle_read = Some(Duration::ZERO);
        config.idle_both = Some(Duration::ZERO);
    });
    let _peer = test.connect();
    test.advance(1000 * SECOND);
    assert_eq!(idle_lines(&log), [""; 0]);
}

#[test]
fn the_longest_idle_time_does_not_come() {
    let (mut test, log) = idle_after(|config| {
        config.idle_read = Some(Duration::MAX);
        config.idle_both = Some(Duration::from_nanos(u64::MAX));
    });
    let _peer = test.connect();
    test.advance(Duration::from_secs(1_000_000));
    assert_eq!(idle_lines(&log), [""; 0]);
}

#[test]
fn a_loop_that_was_held_up_takes_that_for_no_ones_silence() {
    let (mut test, log) = probes(lines(), |_, _| Then::Usual);
    let (alive, silent) = (test.connect(), test.connect());
    test.run_until_idle();
    alive.send("one\n");
    test.hold_up(1000 * SECOND);
    test.run_until_idle();
    assert!(silent.is_read_closed());
    assert!(!alive.is_read_closed());
    assert_eq!(log.lines(), ["open", "open", "message one", "idle Both 1"]);
}

#[test]
fn a_message_that_arrived_while_the_loop_was_held_up_came_in_time() {
    let (mut test, log) = probes(lines(), |_, _| Then::Usual);
    let peer = test.connect();
    peer.send("half ");
    test.run_until_idle();
    peer.send("whole\n");
    test.hold_up(1000 * SECOND);
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "message half whole"]);
    assert!(!peer.is_read_closed());
}

#[test]
fn the_number_of_timers_does_not_grow_with_what_happens() {
    let (mut test, _) = idle_after(|config| {
        config.idle_read = Some(10 * SECOND);
        config.idle_both = Some(20 * SECOND);
    });
    let peer = test.connect();
    test.run_until_idle();
    let timers = test.context().handle().figures().timers_pending;
    let fired = test.context().handle().figures().timers;
    for _ in 0..2000 {
        peer.send("wh");
        test.advance(Duration::from_millis(5));
        peer.send("ole\n");
        test.advance(Duration::from_millis(5));
    }
    let figures = test.context().handle().figures();
    assert!(figures.timers_pending <= timers + 1, "{} before, {} now", timers, figures.timers_pending);
    assert!(figures.timers - fired <= 30, "{} timers in 20 s", figures.timers - fired);
}

#[test]
fn the_state_and_the_figures_tell_what_is_idle() {
    let (mut test, _) = idle_after(|config| {
        config.idle_read = Some(2 * SECOND);
        config.idle_both = Some(5 * SECOND);
    });
    let peer = test.connect();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let look = |test: &mut ProbeLoop| {
        let to = Arc::clone(&seen);
        test.with_session(&peer, move |_, cx| {
            let counts = cx.stats().idle_counts;
            let counts = (counts.both, counts.read, counts.write);
            to.lock().unwrap().push((cx.state(), counts));
        });
    };
    look(&mut test);
    test.advance(6 * SECOND);
    look(&mut test);
    peer.send("x\n");
    test.run_until_idle();
    look(&mut test);
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0], (SessionState::Connected, (0, 0, 0)));
    assert!(matches!(seen[1], (SessionState::Idle { read: true, write: false, both: true, .. }, (1, 3, 0))));
    assert_eq!(seen[2], (SessionState::Connected, (0, 0, 0)));
}

#[test]
fn a_filter_may_keep_silence_to_itself() {
    use campana::codec::{Lines, Text};
    use campana::session::{FilterContext, Idle, MessageFilter, Verdict};

    struct Heartbeat;
    impl MessageFilter<Text<Lines>> for Heartbeat {
        fn on_idle(&mut self, cx: &mut FilterContext<'_, Text<Lines>>, idle: Idle) -> Verdict {
            if idle.count == 3 {
                return Verdict::refuse("three beats unanswered");
            }
            let _ = cx.write("beat");
            Verdict::Drop
        }
    }
    let service = service(|config| config.idle_read = Some(SECOND)).filter("heartbeat", || Heartbeat);
    let (mut test, log) = probes(service, |_, _| Then::Usual);
    let peer = test.connect();
    test.advance(3 * SECOND);
    assert_eq!(peer.receive(), b"beat\nbeat\n");
    peer.close();
    test.run_until_idle();
    assert_eq!(log.lines_but_written(), ["open", "close: refused: three beats unanswered"]);
}
