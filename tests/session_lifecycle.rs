//! A session's life: what comes first and last, how it is closed, shut down, and stopped.

use std::time::Duration;

use campana::codec::{Lines, Text};
use campana::session::{FilterContext, MessageFilter, SessionState, Verdict, WriteError};
use campana::{CloseReason, Deadline};

#[path = "support/byte_filters.rs"]
mod byte_filters;
#[path = "support/probe.rs"]
mod probe;

use byte_filters::{Hex, Slow, hex};
use probe::{Then, Told, lines, on_message, probes};

#[test]
fn on_open_is_first_and_on_close_last_however_it_ends() {
    type End = fn(&mut probe::ProbeLoop, &campana::testing::Peer);
    let ends: [(&str, End); 7] = [
        ("closed by the peer", |_, peer| peer.close()),
        ("reset by the peer", |_, peer| peer.reset()),
        ("closed by this side", |test, peer| {
            test.with_session(peer, |_, cx| cx.close());
            test.run_until_idle();
            peer.close();
        }),
        ("closed by this side", |test, peer| {
            test.with_session(peer, |_, cx| cx.abort());
        }),
        ("refused: no more", |test, peer| {
            test.with_session(peer, |_, cx| {
                cx.close_because(CloseReason::Refused("no more".into()));
                cx.close_because(CloseReason::TimedOut(Deadline::Idle));
            });
            peer.close();
        }),
        ("timed out: idle", |test, peer| {
            test.advance(Duration::from_secs(300));
            peer.close();
        }),
        ("stopping", |test, peer| {
            test.stop();
            test.advance(Duration::from_secs(1));
            peer.close();
        }),
    ];
    for (reason, end) in ends {
        for seed in [None, Some(1), Some(2), Some(3)] {
            let (mut test, log) = probes(lines(), on_message(|text, cx| drop(cx.write(text))));
            if let Some(seed) = seed {
                test = test.seed(seed);
            }
            let peer = test.connect();
            peer.send("one\n");
            test.run_until_idle();
            end(&mut test, &peer);
            test.advance(Duration::from_secs(10));
            let told = log.lines();
            assert_eq!(told[0], "open", "{told:?}");
            assert_eq!(told.last().unwrap(), &format!("close: {reason}"), "{told:?}");
            assert_eq!(told.iter().filter(|line| line.starts_with("close")).count(), 1, "{told:?}");
            assert!(test.manager().is_empty());
        }
    }
}

#[test]
fn the_end_of_the_loop_ends_every_session() {
    let (mut test, log) = probes(lines(), |_, _| Then::Usual);
    let _peers = [test.connect(), test.connect()];
    let manager = test.manager();
    let session = manager.all().handles().remove(0);
    drop(test);
    assert_eq!(log.lines(), ["open", "open", "close: stopping", "close: stopping"]);
    assert!(manager.is_empty());
    assert!(session.run(|_, _| ()).is_err(), "there is no loop to run it");
    assert!(matches!(session.send("late"), Err(WriteError::Closed)));
}

#[test]
fn a_session_may_close_or_abort_in_on_open() {
    for aborts in [false, true] {
        let (mut test, log) = probes(lines(), move |told, cx| {
            if *told == Told::Open {
                cx.write("sorry").unwrap();
                if aborts { cx.abort() } else { cx.close() }
            }
            Then::Usual
        });
        let peer = test.connect();
        peer.send("not heard\n");
        test.run_until_idle();
        assert_eq!(peer.receive(), if aborts { &b""[..] } else { b"sorry\n" });
        peer.close();
        test.run_until_idle();
        let end = if aborts {
            "close: closed by this side; unwritten from 1"
        } else {
            "close: closed by this side"
        };
        let told = log.lines_but_written();
        assert_eq!(told, ["open", end]);
    }
}

/// Says goodbye, and refuses those that say so.
struct Polite;

impl MessageFilter<Text<Lines>> for Polite {
    fn on_message(&mut self, _cx: &mut FilterContext<'_, Text<Lines>>, message: &mut &str) -> Verdict {
        if *message == "refuse" { Verdict::refuse("as was asked") } else { Verdict::Pass }
    }

    fn on_closing(&mut self, cx: &mut FilterContext<'_, Text<Lines>>) {
        cx.write("goodbye").unwrap();
    }
}

#[test]
fn every_close_in_good_order_lets_filters_say_their_last_words() {
    type Close = fn(&mut probe::ProbeLoop, &campana::testing::Peer);
    let closes: [Close; 5] = [
        |test, peer| {
            test.with_session(peer, |_, cx| cx.close());
        },
        |_, peer| peer.send(hex("refuse\n")),
        |test, _| test.stop(),
        |_, peer| peer.shutdown(),
        |_, peer| peer.send(hex(vec![b'x'; 10_000])),
    ];
    for close in closes {
        let service = lines().filter("polite", || Polite).byte_filter("hex", || Hex);
        let (mut test, _) = probes(service, on_message(|text, cx| drop(cx.write(text))));
        let peer = test.connect();
        peer.send(hex("one\n"));
        test.run_until_idle();
        close(&mut test, &peer);
        test.advance(Duration::from_secs(2));
        assert_eq!(String::from_utf8(peer.receive()).unwrap(), format!("{}.", hex("one\ngoodbye\n")));
        assert!(peer.is_read_closed());
    }
}

#[test]
fn an_aborted_session_says_no_last_words() {
    let service = lines().filter("polite", || Polite).byte_filter("hex", || Hex);
    let (mut test, _) = probes(service, |_, _| Then::Usual);
    let peer = test.connect();
    test.with_session(&peer, |_, cx| cx.abort());
    test.run_until_idle();
    assert_eq!(peer.receive(), b"");
    assert!(peer.close_reason().is_some());
}

#[test]
fn after_shutdown_nothing_can_be_written_and_messages_still_come() {
    let service = lines().byte_filter("hex", || Hex);
    let (mut test, log) = probes(
        service,
        on_message(|_, cx| {
            assert!(matches!(cx.write("late"), Err(WriteError::Closed)));
            assert_eq!(cx.state(), SessionState::Connected);
        }),
    );
    let peer = test.connect();
    test.with_session(&peer, |_, cx| {
        cx.write("last").unwrap();
        cx.shutdown();
        cx.shutdown();
    });
    test.run_until_idle();
    assert_eq!(String::from_utf8(peer.receive()).unwrap(), format!("{}.", hex("last\n")));
    assert!(peer.is_read_closed());
    peer.send(hex("one\n"));
    peer.close();
    test.run_until_idle();
    assert_eq!(
        log.lines(),
        ["open", "written 1", "message one", "input closed", "close: closed by this side"]
    );
    assert_eq!(peer.receive(), b"", "the filter has finished once");
}

#[test]
fn a_stopping_server_closes_sessions_that_fall_silent() {
    let (mut test, _) = probes(lines(), on_message(|text, cx| drop(cx.write(text))));
    let (silent, busy) = (test.connect(), test.connect());
    test.advance(Duration::from_secs(10));
    busy.send("still\n");
    test.run_until_idle();
    test.stop();
    test.run_until_idle();
    assert!(silent.is_read_closed(), "it was silent for more than a second before");
    for _ in 0..10 {
        test.advance(Duration::from_millis(900));
        busy.send("still\n");
        test.run_until_idle();
    }
    assert_eq!(busy.receive(), b"still\n".repeat(11));
    assert!(!busy.is_read_closed());
    test.advance(Duration::from_secs(1));
    assert!(busy.is_read_closed());
}

#[test]
fn a_session_that_asks_for_it_is_closed_when_it_falls_silent() {
    let (mut test, log) = probes(
        lines(),
        on_message(|text, cx| {
            cx.write(text).unwrap();
            cx.close_when_silent(Duration::from_secs(3));
        }),
    );
    let peer = test.connect();
    for _ in 0..5 {
        peer.send("x\n");
        test.advance(Duration::from_secs(2));
    }
    test.advance(Duration::from_millis(999));
    assert!(!peer.is_read_closed());
    test.advance(Duration::from_millis(1));
    assert!(peer.is_read_closed());
    peer.close();
    test.run_until_idle();
    assert_eq!(log.take().last().unwrap().to_string(), "close: stopping");
}

#[test]
fn timers_fire_once_in_order_and_not_after_they_were_cancelled_or_after_the_end() {
    let (mut test, log) = probes(lines(), |told, cx| {
        match told {
            Told::Open => {
                cx.set_timer(Duration::from_secs(2), 2);
                cx.set_timer(Duration::from_secs(1), 1);
                let third = cx.set_timer(Duration::from_secs(3), 3);
                assert!(cx.cancel_timer(third));
                assert!(!cx.cancel_timer(third));
                cx.set_timer(Duration::from_secs(50), 50);
            }
            Told::Timer(1) => {
                cx.set_timer(Duration::from_secs(1), 11);
            }
            Told::Timer(11) => cx.close(),
            _ => {}
        }
        Then::Usual
    });
    let peer = test.connect();
    test.advance(Duration::from_secs(100));
    drop(peer);
    let told = log.lines();
    assert_eq!(told, ["open", "timer 1", "timer 2", "timer 11", "close: closed by this side"]);
}

#[test]
fn a_reset_in_the_middle_of_a_batch_of_messages_ends_it_once() {
    for seed in 0..200 {
        let (test, log) = probes(lines(), on_message(|text, cx| drop(cx.write(text))));
        let mut test = test.seed(seed);
        let peer = test.connect();
        peer.send("one\ntwo\n");
        peer.fail_next_write(std::io::ErrorKind::ConnectionReset);
        peer.send("three\n");
        test.run_until_idle();
        peer.reset();
        test.advance(Duration::from_secs(10));
        let closes = log.count(|told| matches!(told, Told::Close(..)));
        assert_eq!(closes, 1);
        assert!(matches!(log.take().last(), Some(Told::Close(..))));
    }
}

#[test]
fn shutting_down_a_session_that_is_closing_or_being_aborted_changes_nothing() {
    type Close = fn(&mut probe::Cx<'_>);
    let closes: [Close; 2] = [|cx| cx.close(), |cx| cx.abort()];
    for close in closes {
        for together in [true, false] {
            let (mut test, log) = probes(lines(), |_, _| Then::Usual);
            let peer = test.connect();
            test.with_session(&peer, move |_, cx| {
                close(cx);
                if together {
                    cx.shutdown();
                }
            });
            test.with_session(&peer, |_, cx| cx.shutdown());
            peer.close();
            test.run_until_idle();
            assert_eq!(log.lines(), ["open", "close: closed by this side"]);
        }
    }
}

#[test]
fn a_session_whose_end_waits_for_byte_filters_is_told_of_no_timers() {
    let service = lines().byte_filter("slow", Slow::default);
    let act = on_message(|text, cx| {
        cx.write(text).unwrap();
        cx.set_timer(Duration::from_millis(500), 1);
        cx.close();
    });
    let (mut test, log) = probes(service, act);
    let peer = test.connect();
    peer.send("on\n");
    test.advance(Duration::from_millis(3900));
    assert_eq!(peer.receive(), b"on");
    assert_eq!(log.lines(), ["open", "message on"]);
    test.advance(Duration::from_secs(2));
    assert_eq!(peer.receive(), b"\n");
    assert!(peer.is_read_closed());
    assert_eq!(log.count(|told| matches!(told, Told::Timer(_))), 0);
}
