//! Sessions that are paused: nothing is delivered, and nothing lost.

use std::time::Duration;

use campana::codec::{Lines, Text};
use campana::session::{FilterContext, MessageFilter, SessionService, Verdict};

#[path = "support/byte_filters.rs"]
mod byte_filters;
#[path = "support/probe.rs"]
mod probe;

use byte_filters::{Hex, Slow, hex};
use probe::{Probe, Then, Told, lines, on_message, probes};

/// Pauses at the message `pause`, and resumes at any timer.
fn pausing(told: &Told, cx: &mut probe::Cx<'_>) -> Then {
    match told {
        Told::Message(text) if text == "pause" => cx.pause_reading(),
        Told::Timer(_) => cx.resume_reading(),
        _ => {}
    }
    Then::Usual
}

/// A service, and how bytes look on its wire.
type OnWire = (SessionService<Probe>, fn(&str) -> String);

/// Services with and without byte filters.
fn services() -> [OnWire; 2] {
    [(lines(), str::to_owned), (lines().byte_filter("hex", || Hex), |text| hex(text))]
}

#[test]
fn messages_behind_a_pause_are_held_back_until_it_is_over() {
    for (service, wire) in services() {
        let (mut test, log) = probes(service, pausing);
        let peer = test.connect();
        peer.send(wire("one\npause\ntwo\nthree\nfo"));
        test.run_until_idle();
        peer.send(wire("ur\n"));
        test.run_until_idle();
        assert_eq!(log.lines(), ["open", "message one", "message pause"]);
        test.with_session(&peer, |_, cx| {
            assert!(cx.is_reading_paused());
            cx.resume_reading();
            assert!(!cx.is_reading_paused());
        });
        test.run_until_idle();
        assert_eq!(log.lines(), ["message two", "message three", "message four"]);
    }
}

#[test]
fn chance_does_not_change_what_a_pause_holds_back() {
    for seed in 0..200 {
        for (service, wire) in services() {
            let (test, log) = probes(service, |told, cx| {
                if matches!(told, Told::Message(text) if text == "pause") {
                    cx.set_timer(Duration::from_secs(1), 1);
                }
                pausing(told, cx)
            });
            let mut test = test.seed(seed);
            let peer = test.connect();
            peer.send(wire("one\npause\ntwo\npause\npause\nthree\n"));
            peer.shutdown();
            test.advance(Duration::from_secs(10));
            let told: Vec<_> = log
                .lines()
                .into_iter()
                .filter(|line| line.starts_with("message") || line == "input closed")
                .collect();
            assert_eq!(
                told,
                [
                    "message one",
                    "message pause",
                    "message two",
                    "message pause",
                    "message pause",
                    "message three",
                    "input closed"
                ]
            );
        }
    }
}

#[test]
fn resuming_in_the_callback_that_paused_changes_nothing() {
    for (service, wire) in services() {
        let (mut test, log) = probes(
            service,
            on_message(|_, cx| {
                cx.pause_reading();
                cx.resume_reading();
            }),
        );
        let peer = test.connect();
        peer.send(wire("one\ntwo\nthree\n"));
        test.run_until_idle();
        assert_eq!(log.lines(), ["open", "message one", "message two", "message three"]);
    }
}

#[test]
fn the_end_of_the_input_comes_behind_what_is_held_back() {
    for (service, wire) in services() {
        let (mut test, log) = probes(service, pausing);
        let peer = test.connect();
        peer.send(wire("pause\ntwo\nthree\n"));
        peer.shutdown();
        test.run_until_idle();
        assert_eq!(log.lines(), ["open", "message pause"]);
        test.with_session(&peer, |_, cx| cx.resume_reading());
        test.run_until_idle();
        assert_eq!(
            log.lines(),
            ["message two", "message three", "input closed", "close: closed by the peer"]
        );
    }
}

#[test]
fn a_pause_in_the_last_message_holds_the_end_back() {
    let unended = || SessionService::new(|| Text::over(Lines::new().accept_unended()));
    let services: [OnWire; 2] =
        [(unended(), str::to_owned), (unended().byte_filter("hex", || Hex), |text| hex(text))];
    for (service, wire) in services {
        let service = service.configure(|config| config.idle_both = None);
        let (mut test, log) = probes(service, |told, cx| {
            pausing(told, cx);
            if *told == Told::InputClosed { Then::Nothing } else { Then::Usual }
        });
        let peer = test.connect();
        peer.send(wire("one\npause"));
        peer.shutdown();
        test.advance(Duration::from_secs(5));
        assert_eq!(log.lines(), ["open", "message one", "message pause"]);
        test.with_session(&peer, |_, cx| cx.resume_reading());
        test.advance(Duration::from_secs(100));
        assert_eq!(log.lines(), ["input closed"], "and what was in the input is not there again");
    }
}

#[test]
fn closing_while_paused_delivers_output_and_drops_input() {
    for (service, wire) in services() {
        let (mut test, log) = probes(service, pausing);
        let peer = test.connect();
        peer.send(wire("pause\ntwo\n"));
        test.run_until_idle();
        test.with_session(&peer, |_, cx| {
            cx.write("bye").unwrap();
            cx.close();
        });
        test.run_until_idle();
        assert!(String::from_utf8(peer.receive()).unwrap().starts_with(&wire("bye\n")));
        assert!(peer.is_read_closed());
        peer.close();
        test.run_until_idle();
        assert_eq!(log.lines_but_written(), ["open", "message pause", "close: closed by this side"]);
    }
}

#[test]
fn a_timer_resumes() {
    let (mut test, log) = probes(lines(), |told, cx| {
        if matches!(told, Told::Message(_)) {
            cx.set_timer(Duration::from_secs(2), 5);
        }
        pausing(told, cx)
    });
    let peer = test.connect();
    peer.send("pause\ntwo\n");
    test.advance(Duration::from_millis(1999));
    assert_eq!(log.lines(), ["open", "message pause"]);
    test.advance(Duration::from_millis(1));
    assert_eq!(log.lines(), ["timer 5", "message two"]);
}

#[test]
fn another_thread_resumes() {
    let (mut test, log) = probes(lines(), pausing);
    let peer = test.connect();
    peer.send("pause\ntwo\n");
    test.run_until_idle();
    let session = test.session(&peer).unwrap();
    std::thread::spawn(move || session.run(|_, cx| cx.resume_reading()).unwrap()).join().unwrap();
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "message pause", "message two"]);
}

/// Pauses at each message for a second.
struct Pacer;

impl MessageFilter<Text<Lines>> for Pacer {
    fn on_message(&mut self, cx: &mut FilterContext<'_, Text<Lines>>, _message: &mut &str) -> Verdict {
        cx.pause_reading();
        cx.set_timer(Duration::from_secs(1), 1);
        Verdict::Pass
    }

    fn on_timer(&mut self, cx: &mut FilterContext<'_, Text<Lines>>, _token: u64) -> Verdict {
        cx.resume_reading();
        Verdict::Pass
    }
}

#[test]
fn a_filter_paces_messages() {
    let (mut test, log) = probes(lines().filter("pacer", || Pacer), |_, _| Then::Usual);
    let peer = test.connect();
    peer.send("one\ntwo\nthree\n");
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "message one"]);
    test.advance(Duration::from_secs(1));
    assert_eq!(log.lines(), ["message two"]);
    test.advance(Duration::from_secs(5));
    assert_eq!(log.lines(), ["message three"]);
}

#[test]
fn what_is_written_while_paused_goes_out() {
    let (mut test, _) = probes(lines(), pausing);
    let peer = test.connect();
    peer.send("pause\n");
    test.run_until_idle();
    test.with_session(&peer, |_, cx| drop(cx.write("still here")));
    test.run_until_idle();
    assert_eq!(peer.receive(), b"still here\n");
}

#[test]
fn a_pause_is_not_counted_as_the_peers_slowness() {
    for (service, wire) in services() {
        let (mut test, log) = probes(service.configure(|config| config.idle_both = None), pausing);
        let peer = test.connect();
        peer.send(wire("pau"));
        test.advance(Duration::from_secs(20));
        peer.send(wire("se\ntwo\nthr"));
        test.advance(Duration::from_secs(100));
        assert_eq!(log.lines(), ["open", "message pause"]);
        test.with_session(&peer, |_, cx| cx.resume_reading());
        test.advance(Duration::from_secs(20));
        peer.send(wire("ee\n"));
        test.run_until_idle();
        assert_eq!(log.lines(), ["message two", "message three"]);
        test.with_session(&peer, |_, cx| cx.pause_reading());
        test.advance(Duration::from_secs(100));
        test.with_session(&peer, |_, cx| cx.resume_reading());
        test.advance(Duration::from_secs(100));
        assert_eq!(log.lines(), [""; 0], "nothing is half there");
    }
}

#[test]
fn messages_that_were_held_back_count_as_read_when_they_are_delivered() {
    for (service, wire) in services() {
        let service = service.configure(|config| {
            config.idle_read = Some(Duration::from_secs(10));
            config.idle_both = None;
        });
        let (mut test, log) = probes(service, pausing);
        let peer = test.connect();
        peer.send(wire("pause\ntwo\n"));
        test.advance(Duration::from_secs(9));
        test.with_session(&peer, |_, cx| cx.resume_reading());
        test.advance(Duration::from_secs(9));
        assert_eq!(log.lines(), ["open", "message pause", "message two"]);
        test.advance(Duration::from_secs(1));
        assert_eq!(log.lines(), ["idle Read 1"]);
    }
}

#[test]
fn a_peer_that_resets_while_paused_ends_the_session_within_the_linger_time() {
    let (mut test, log) = probes(lines(), pausing);
    let peer = test.connect();
    peer.send("pause\ntwo\n");
    test.run_until_idle();
    peer.reset();
    test.advance(Duration::from_secs(5));
    assert_eq!(log.lines(), ["open", "message pause", "close: reset by the peer"]);
}

#[test]
fn the_end_of_the_input_waits_for_a_slow_byte_filter() {
    let (mut test, log) = probes(lines().byte_filter("slow", Slow::default), |_, _| Then::Usual);
    let peer = test.connect();
    peer.send("a\nb\n");
    peer.shutdown();
    test.advance(Duration::from_secs(2));
    assert_eq!(log.lines(), ["open", "message a"]);
    test.advance(Duration::from_secs(2));
    assert_eq!(log.lines(), ["message b", "input closed", "close: closed by the peer"]);
}

#[test]
fn pausing_while_a_slow_byte_filter_holds_input_loses_nothing() {
    let (mut test, log) = probes(lines().byte_filter("slow", Slow::default), pausing);
    let peer = test.connect();
    peer.send("pause\ntwo\n");
    test.advance(Duration::from_secs(60));
    assert_eq!(log.lines(), ["open", "message pause"]);
    test.with_session(&peer, |_, cx| cx.resume_reading());
    test.advance(Duration::from_secs(20));
    assert_eq!(log.lines(), ["message two"]);
}
