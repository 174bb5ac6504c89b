//! The chain of message filters: order, verdicts, writes, last words and timers.

use std::time::Duration;

use campana::codec::{Lines, Text};
use campana::session::{MessageFilter, Sessions, Verdict, WriteError};
use campana::testing::{Peer, TestLoop};

#[path = "support/filter_probe.rs"]
mod filter_probe;

use filter_probe::{Act, Bench, Cx, Event, Host, connected, pass, say};

#[test]
fn what_comes_in_goes_from_head_to_tail_and_what_goes_out_from_tail_to_head() {
    let (mut test, log) = Bench::new().filter("head", pass).filter("tail", pass).start();
    let peer = test.connect();
    assert_eq!(log.taken(), ["head: Open", "tail: Open", "session: Open"]);
    say(&mut test, &peer, "one\n");
    assert_eq!(
        log.taken(),
        [
            "head: Message(\"one\")",
            "tail: Message(\"one\")",
            "session: Message(\"one\")",
            "tail: Write(\"one\")",
            "head: Write(\"one\")"
        ]
    );
    test.advance(Duration::from_secs(300));
    assert_eq!(log.taken(), ["head: Idle", "tail: Idle", "session: Idle"]);
    peer.close();
    test.run_until_idle();
    assert_eq!(
        log.taken(),
        [
            "head: InputClosed",
            "tail: InputClosed",
            "session: InputClosed",
            "tail: Closing",
            "head: Closing",
            "head: Close",
            "tail: Close",
            "session: closed: closed by the peer"
        ]
    );
}

#[test]
fn a_message_goes_on_as_a_filter_has_made_it() {
    struct Trim;
    impl MessageFilter<Text<Lines>> for Trim {
        fn on_message(&mut self, _cx: &mut Cx<'_>, line: &mut &str) -> Verdict {
            *line = line.trim();
            Verdict::Pass
        }

        fn on_write(&mut self, _cx: &mut Cx<'_>, line: &mut &str) -> Verdict {
            if *line == "secret" {
                *line = "******";
            }
            Verdict::Pass
        }
    }
    let mut bench = Bench::new();
    bench.service = bench.service.filter("trim", || Trim);
    let (mut test, log) = bench.start();
    let peer = connected(&mut test, &log);
    say(&mut test, &peer, "  secret \n\tname\n");
    assert_eq!(log.taken(), ["session: Message(\"secret\")", "session: Message(\"name\")"]);
    assert_eq!(peer.receive(), b"******\nname\n");
}

#[test]
fn a_filters_own_message_goes_outwards_only() {
    let bench = Bench::new().filter("head", pass).filter("middle", |event, cx| match event {
        Event::Message("ping") => {
            cx.write("pong").unwrap();
            Verdict::Drop
        }
        _ => Verdict::Pass,
    });
    let (mut test, log) = bench.filter("tail", pass).start();
    let peer = connected(&mut test, &log);
    say(&mut test, &peer, "ping\n");
    assert_eq!(
        log.taken(),
        ["head: Message(\"ping\")", "middle: Message(\"ping\")", "head: Write(\"pong\")"]
    );
    assert_eq!(peer.receive(), b"pong\n");
}

/// What each event does when the filter `f` answers it with the verdict that `act` gives, up to the session's end if that is what
/// follows.
fn verdict_of(provoke: fn(&mut TestLoop<Sessions<Host>>, &Peer), act: Act) -> (Vec<String>, Vec<u8>) {
    let (mut test, log) = Bench::new().filter("f", act).filter("tail", pass).start();
    let peer = test.connect();
    test.run_until_idle();
    provoke(&mut test, &peer);
    test.run_until_idle();
    let received = peer.receive();
    if peer.is_read_closed() {
        peer.close();
        test.run_until_idle();
    }
    let lines = log.taken();
    let shown = |line: &String| line.starts_with("session: ") || line.starts_with("tail: Message");
    (lines.into_iter().filter(shown).collect(), received)
}

#[test]
fn each_verdict_on_a_message() {
    let one = |test: &mut TestLoop<Sessions<Host>>, peer: &Peer| say(test, peer, "one\ntwo\n");
    let (lines, received) = verdict_of(one, |event, _| match event {
        Event::Message("one") => Verdict::Drop,
        _ => Verdict::Pass,
    });
    assert_eq!(lines, ["session: Open", "tail: Message(\"two\")", "session: Message(\"two\")"]);
    assert_eq!(received, b"two\n");
    let (lines, received) = verdict_of(one, |event, _| match event {
        Event::Message("one") => Verdict::refuse("not that"),
        _ => Verdict::Pass,
    });
    assert_eq!(lines, ["session: Open", "session: closed: refused: not that"]);
    assert_eq!(received, b"");
    let (lines, received) = verdict_of(one, |event, _| match event {
        Event::Message("one") => Verdict::fail("too hard"),
        _ => Verdict::Pass,
    });
    assert_eq!(
        lines,
        [
            "session: Open",
            "session: error: filter f: too hard",
            "session: closed: protocol error: filter f: too hard"
        ]
    );
    assert_eq!(received, b"");
}

#[test]
fn each_verdict_on_the_opening() {
    let nothing = |_: &mut TestLoop<Sessions<Host>>, _: &Peer| {};
    let (lines, _) = verdict_of(nothing, |event, _| match event {
        Event::Open => Verdict::refuse("not you"),
        _ => Verdict::Pass,
    });
    assert_eq!(lines, ["session: closed: refused: not you"]);
    let (lines, _) = verdict_of(nothing, |event, _| match event {
        Event::Open => Verdict::fail("no memory"),
        _ => Verdict::Pass,
    });
    assert_eq!(
        lines,
        ["session: error: filter f: no memory", "session: closed: protocol error: filter f: no memory"]
    );
}

#[test]
fn each_verdict_on_idleness() {
    let silence = |test: &mut TestLoop<Sessions<Host>>, _: &Peer| test.advance(Duration::from_secs(300));
    let (lines, _) = verdict_of(silence, |event, _| match event {
        Event::Idle => Verdict::Drop,
        _ => Verdict::Pass,
    });
    assert_eq!(lines, ["session: Open"]);
    let (lines, _) = verdict_of(silence, |event, _| match event {
        Event::Idle => Verdict::refuse("asleep"),
        _ => Verdict::Pass,
    });
    assert_eq!(lines, ["session: Open", "session: closed: refused: asleep"]);
    let (lines, _) = verdict_of(silence, |event, _| match event {
        Event::Idle => Verdict::fail("asleep"),
        _ => Verdict::Pass,
    });
    assert_eq!(lines[1], "session: error: filter f: asleep");
}

#[test]
fn each_verdict_on_the_peers_end() {
    let end = |_: &mut TestLoop<Sessions<Host>>, peer: &Peer| peer.shutdown();
    let (lines, _) = verdict_of(end, |event, _| match event {
        Event::InputClosed => Verdict::Drop,
        _ => Verdict::Pass,
    });
    assert_eq!(lines, ["session: Open"]);
    let (lines, _) = verdict_of(end, |event, _| match event {
        Event::InputClosed => Verdict::refuse("too early"),
        _ => Verdict::Pass,
    });
    assert_eq!(lines, ["session: Open", "session: closed: refused: too early"]);
    let (lines, _) = verdict_of(end, |event, _| match event {
        Event::InputClosed => Verdict::fail("too early"),
        _ => Verdict::Pass,
    });
    assert_eq!(lines[1], "session: error: filter f: too early");
}

#[test]
fn each_verdict_on_a_timer() {
    fn timed(event: Event<'_>, cx: &mut Cx<'_>, verdict: fn() -> Verdict) -> Verdict {
        match event {
            Event::Open => {
                cx.set_timer(Duration::from_secs(1), 1);
                Verdict::Pass
            }
            Event::Timer(1) => verdict(),
            _ => Verdict::Pass,
        }
    }
    let wait = |test: &mut TestLoop<Sessions<Host>>, _: &Peer| test.advance(Duration::from_secs(1));
    let (lines, _) = verdict_of(wait, |event, cx| timed(event, cx, || Verdict::Drop));
    assert_eq!(lines, ["session: Open"]);
    let (lines, _) = verdict_of(wait, |event, cx| timed(event, cx, || Verdict::refuse("late")));
    assert_eq!(lines, ["session: Open", "session: closed: refused: late"]);
    let (lines, _) = verdict_of(wait, |event, cx| timed(event, cx, || Verdict::fail("late")));
    assert_eq!(lines[1], "session: error: filter f: late");
}

#[test]
fn each_verdict_on_a_write_fails_that_write_alone_or_closes() {
    let lines = |test: &mut TestLoop<Sessions<Host>>, peer: &Peer| say(test, peer, "one\ntwo\n");
    let (noted, received) = verdict_of(lines, |event, _| match event {
        Event::Write("one") => Verdict::Drop,
        _ => Verdict::Pass,
    });
    assert!(noted.contains(&"session: write: filter f does not let the message out".to_owned()), "{noted:?}");
    assert_eq!(received, b"two\n");
    let (noted, received) = verdict_of(lines, |event, _| match event {
        Event::Write("one") => Verdict::fail("no ink"),
        _ => Verdict::Pass,
    });
    assert!(noted.contains(&"session: write: filter f: no ink".to_owned()), "{noted:?}");
    assert!(!noted.iter().any(|line| line.starts_with("session: error")), "{noted:?}");
    assert_eq!(received, b"two\n");
    let (noted, received) = verdict_of(lines, |event, _| match event {
        Event::Write("one") => Verdict::refuse("said too much"),
        _ => Verdict::Pass,
    });
    assert_eq!(noted.last().unwrap(), "session: closed: refused: said too much");
    assert!(!noted.contains(&"session: Message(\"two\")".to_owned()), "{noted:?}");
    assert_eq!(received, b"");
}

#[test]
fn a_broadcast_goes_through_the_filters_of_each_session_as_encoded_bytes() {
    let (mut test, log) = Bench::new()
        .filter("head", pass)
        .filter("tail", |event, cx| match event {
            Event::Encoded("news\n") if cx.pending_writes() == 0 => Verdict::Pass,
            Event::Encoded(_) => Verdict::Drop,
            _ => Verdict::Pass,
        })
        .start();
    let peers = [connected(&mut test, &log), connected(&mut test, &log)];
    test.manager().all().send("news").unwrap();
    test.manager().all().send("dropped").unwrap();
    test.run_until_idle();
    let for_each = ["tail: Encoded(\"news\\n\")", "head: Encoded(\"news\\n\")"];
    let mut called = log.taken();
    called.retain(|line| line.contains("news"));
    assert_eq!(called, [for_each, for_each].concat());
    for peer in peers {
        assert_eq!(peer.receive(), b"news\n");
    }
}

#[test]
fn a_handles_message_is_a_broadcast_to_one() {
    let (mut test, log) = Bench::new().filter("f", pass).start();
    let peer = connected(&mut test, &log);
    test.session(&peer).unwrap().send("hello").unwrap();
    test.run_until_idle();
    assert_eq!(log.taken(), ["f: Encoded(\"hello\\n\")"]);
    assert_eq!(peer.receive(), b"hello\n");
}

#[test]
fn last_words_of_filters_go_out_behind_what_was_written_and_through_those_further_out() {
    fn last_words(event: Event<'_>, cx: &mut Cx<'_>) -> Verdict {
        if let Event::Closing = event {
            cx.write("good bye").unwrap();
        }
        Verdict::Pass
    }
    let (mut test, log) = Bench::new()
        .filter("head", last_words)
        .filter("tail", last_words)
        .session(|_, cx, _| {
            cx.write("bye").unwrap();
            cx.close();
            assert!(matches!(cx.write("late"), Err(WriteError::Closed)));
            true
        })
        .start();
    let peer = connected(&mut test, &log);
    say(&mut test, &peer, "one\n");
    assert_eq!(peer.receive(), b"bye\ngood bye\ngood bye\n");
    assert!(peer.is_read_closed());
    assert_eq!(
        log.taken()[3..],
        [
            "tail: Write(\"bye\")",
            "head: Write(\"bye\")",
            "tail: Closing",
            "head: Write(\"good bye\")",
            "head: Closing"
        ]
    );
}

#[test]
fn there_are_no_last_words_when_a_session_is_aborted() {
    let (mut test, log) = Bench::new()
        .filter("f", pass)
        .session(|_, cx, _| {
            cx.abort();
            true
        })
        .start();
    let peer = connected(&mut test, &log);
    say(&mut test, &peer, "one\n");
    assert_eq!(
        log.taken(),
        [
            "f: Message(\"one\")",
            "session: Message(\"one\")",
            "f: Close",
            "session: closed: closed by this side"
        ]
    );
}

#[test]
fn timers_come_to_the_filter_that_has_set_them() {
    fn timed(event: Event<'_>, cx: &mut Cx<'_>) -> Verdict {
        if let Event::Message(_) = event {
            cx.set_timer(Duration::from_secs(1), 7);
            let cancelled = cx.set_timer(Duration::from_secs(1), 8);
            assert!(cx.cancel_timer(cancelled));
            assert!(!cx.cancel_timer(cancelled));
        }
        Verdict::Pass
    }
    let (mut test, log) = Bench::new().filter("a", timed).filter("b", timed).session(|_, _, _| true).start();
    let peer = connected(&mut test, &log);
    say(&mut test, &peer, "one\n");
    log.taken();
    test.advance(Duration::from_secs(1));
    assert_eq!(log.taken(), ["a: Timer(7)", "b: Timer(7)"]);
}
