//! Message filters that fail or panic.

use campana::codec::{Lines, Text};
use campana::session::{ErrorAction, MessageFilter, Verdict};

#[path = "support/filter_probe.rs"]
mod filter_probe;

use filter_probe::{Act, Bench, Event, Probe, connected, pass, probe, say};

#[test]
fn a_filter_that_panics_is_told_to_on_error_and_ends_the_session_by_default() {
    let (test, log) = Bench::new()
        .filter("f", |event, _| match event {
            Event::Message("panic") => panic!("no way"),
            _ => Verdict::Pass,
        })
        .start();
    let mut test = test.allow_panics();
    let peer = connected(&mut test, &log);
    say(&mut test, &peer, "one\npanic\ntwo\n");
    assert_eq!(peer.receive(), b"one\n");
    peer.close();
    test.run_until_idle();
    let lines = log.taken();
    assert!(lines.contains(&"session: error: a callback panicked: no way".to_owned()), "{lines:?}");
    assert!(!lines.contains(&"f: Message(\"two\")".to_owned()), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "session: closed: a callback panicked");
}

#[test]
fn a_session_that_continues_after_a_filters_panic_gets_what_came_with_it() {
    let (test, log) = Bench::new()
        .filter("f", |event, _| match event {
            Event::Message("panic") => panic!("no way"),
            _ => Verdict::Pass,
        })
        .on_error(ErrorAction::Continue)
        .start();
    let mut test = test.allow_panics();
    let peer = connected(&mut test, &log);
    say(&mut test, &peer, "one\npanic\ntwo\n");
    assert_eq!(peer.receive(), b"one\ntwo\n");
    say(&mut test, &peer, "three\n");
    assert_eq!(peer.receive(), b"three\n");
}

#[test]
fn a_session_that_continues_after_a_filters_failure_gets_the_next_message() {
    let (mut test, log) = Bench::new()
        .filter("f", |event, _| match event {
            Event::Message("bad") => Verdict::fail("not that"),
            _ => Verdict::Pass,
        })
        .on_error(ErrorAction::Continue)
        .start();
    let peer = connected(&mut test, &log);
    say(&mut test, &peer, "one\nbad\ntwo\n");
    assert_eq!(peer.receive(), b"one\ntwo\n");
    assert!(log.taken().contains(&"session: error: filter f: not that".to_owned()));
}

#[test]
fn a_write_filter_that_panics_panics_in_the_write_and_the_session_may_go_on() {
    let (test, log) = Bench::new()
        .filter("f", |event, _| match event {
            Event::Write("panic") => panic!("no ink"),
            _ => Verdict::Pass,
        })
        .on_error(ErrorAction::Continue)
        .start();
    let mut test = test.allow_panics();
    let peer = connected(&mut test, &log);
    say(&mut test, &peer, "one\npanic\n");
    say(&mut test, &peer, "two\n");
    assert_eq!(peer.receive(), b"one\ntwo\n");
    assert!(log.taken().contains(&"session: error: a callback panicked: no ink".to_owned()));
}

#[test]
fn a_filter_that_panics_at_the_end_keeps_nobody_from_hearing_of_it() {
    let (test, log) = Bench::new()
        .filter("head", |event, _| match event {
            Event::Close => panic!("at the end"),
            _ => Verdict::Pass,
        })
        .filter("tail", pass)
        .start();
    let mut test = test.allow_panics();
    let peer = connected(&mut test, &log);
    peer.reset();
    test.run_until_idle();
    assert_eq!(log.taken(), ["head: Close", "tail: Close", "session: closed: reset by the peer"]);
}

#[test]
fn a_panic_in_on_closing_keeps_the_session_from_nothing_but_last_words() {
    let (test, log) = Bench::new()
        .filter("head", pass)
        .filter("tail", |event, _| match event {
            Event::Closing => panic!("no last words"),
            _ => Verdict::Pass,
        })
        .session(|_, cx, _| {
            cx.write("bye").unwrap();
            cx.close();
            true
        })
        .start();
    let mut test = test.allow_panics();
    let peer = connected(&mut test, &log);
    say(&mut test, &peer, "one\n");
    assert_eq!(peer.receive(), b"bye\n");
    assert!(peer.is_read_closed());
}

#[test]
fn a_filter_that_panics_when_it_is_dropped_keeps_no_other_change_from_being_made() {
    struct Grenade;
    impl MessageFilter<Text<Lines>> for Grenade {}
    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let (test, log) = Bench::new().filter("a", pass).on_error(ErrorAction::Continue).start();
    let mut test = test.allow_panics();
    let peer = connected(&mut test, &log);
    test.with_session(&peer, |_, cx| {
        cx.filters().add_first("one", Box::new(Grenade)).unwrap();
        cx.filters().add_last("two", Box::new(Grenade)).unwrap();
    });
    let of_session = log.clone();
    test.with_session(&peer, move |_, cx| {
        let mut filters = cx.filters();
        filters.replace("one", "new", probe(&of_session, "new")).unwrap();
        filters.remove("two").unwrap();
        filters.add_last("last", probe(&of_session, "last")).unwrap();
    });
    test.run_until_idle();
    let mut lines = log.taken();
    lines.sort();
    let panicked = "session: error: a callback panicked: dropped";
    assert_eq!(lines, ["last: Open", "new: Open", panicked, panicked]);
    say(&mut test, &peer, "one\n");
    assert_eq!(
        log.taken()[..4],
        [
            "new: Message(\"one\")",
            "a: Message(\"one\")",
            "last: Message(\"one\")",
            "session: Message(\"one\")"
        ]
    );
}

#[test]
fn an_added_filter_that_panics_when_it_opens_keeps_no_other_from_opening() {
    let (test, log) = Bench::new().on_error(ErrorAction::Continue).start();
    let mut test = test.allow_panics();
    let peer = connected(&mut test, &log);
    let of_session = log.clone();
    test.with_session(&peer, move |_, cx| {
        let act: Act = |event, _| match event {
            Event::Open => panic!("not now"),
            _ => Verdict::Pass,
        };
        let mut filters = cx.filters();
        filters.add_last("a", Box::new(Probe { name: "a", log: of_session.clone(), act })).unwrap();
        filters.add_last("b", probe(&of_session, "b")).unwrap();
    });
    test.run_until_idle();
    assert_eq!(log.taken(), ["a: Open", "session: error: a callback panicked: not now", "b: Open"]);
}
