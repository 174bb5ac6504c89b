//! Changes of the chain of message filters while it runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::codec::{Lines, Text};
use campana::session::{FilterEditError, MessageFilter, Verdict};

#[path = "support/filter_probe.rs"]
mod filter_probe;

use filter_probe::{Act, Bench, Event, Probe, connected, pass, probe, say};

#[test]
fn filters_are_added_replaced_and_removed_while_the_session_runs() {
    let (mut test, log) = Bench::new().filter("a", pass).filter("b", pass).start();
    let peer = connected(&mut test, &log);
    let names = Arc::new(Mutex::new(Vec::new()));
    let (of_session, edited) = (log.clone(), Arc::clone(&names));
    test.with_session(&peer, move |_, cx| {
        let mut filters = cx.filters();
        filters.add_first("first", probe(&of_session, "first")).unwrap();
        filters.add_last("last", probe(&of_session, "last")).unwrap();
        filters.add_before("b", "before b", probe(&of_session, "before b")).unwrap();
        filters.add_after("b", "after b", probe(&of_session, "after b")).unwrap();
        filters.replace("a", "A", probe(&of_session, "A")).unwrap();
        filters.remove("b").unwrap();
        assert!(filters.contains("A") && !filters.contains("a"));
        *edited.lock().unwrap() = filters.names().to_vec();
    });
    test.run_until_idle();
    assert_eq!(*names.lock().unwrap(), ["first", "A", "before b", "after b", "last"]);
    let opened = log.taken();
    assert_eq!(opened.len(), 5);
    for name in ["first", "A", "before b", "after b", "last"] {
        assert!(opened.contains(&format!("{name}: Open")), "{name} in {opened:?}");
    }
    say(&mut test, &peer, "one\n");
    let inwards = ["first", "A", "before b", "after b", "last", "session"];
    let outwards = ["last", "after b", "before b", "A", "first"];
    let inwards = inwards.map(|name| format!("{name}: Message(\"one\")"));
    let outwards = outwards.map(|name| format!("{name}: Write(\"one\")"));
    assert_eq!(log.taken(), [&inwards[..], &outwards[..]].concat());
}

#[test]
fn other_sessions_keep_their_filters_when_one_changes_its_own() {
    let (mut test, log) = Bench::new().filter("a", pass).start();
    let peers = [connected(&mut test, &log), connected(&mut test, &log)];
    test.with_session(&peers[0], |_, cx| cx.filters().remove("a").unwrap());
    for peer in &peers {
        peer.send("one\n");
    }
    test.run_until_idle();
    let called = log.taken();
    assert_eq!(called.iter().filter(|line| *line == "a: Message(\"one\")").count(), 1, "{called:?}");
    assert_eq!(called.iter().filter(|line| *line == "session: Message(\"one\")").count(), 2, "{called:?}");
    test.with_session(&peers[1], |_, cx| assert_eq!(cx.filters().names(), ["a"]));
}

#[test]
fn names_are_unique_and_an_edit_that_is_refused_changes_nothing() {
    let (mut test, log) = Bench::new().filter("a", pass).filter("b", pass).start();
    let peer = connected(&mut test, &log);
    let of_session = log.clone();
    test.with_session(&peer, move |_, cx| {
        let duplicate = |name: &str| Err(FilterEditError::Duplicate { name: name.to_owned() });
        let unknown = |name: &str| Err(FilterEditError::Unknown { name: name.to_owned() });
        let made = |name| probe(&of_session, name);
        let mut filters = cx.filters();
        assert_eq!(filters.add_first("a", made("x")), duplicate("a"));
        assert_eq!(filters.add_last("b", made("x")), duplicate("b"));
        assert_eq!(filters.add_before("a", "b", made("x")), duplicate("b"));
        assert_eq!(filters.add_after("none", "c", made("x")), unknown("none"));
        assert_eq!(filters.replace("a", "b", made("x")), duplicate("b"));
        assert_eq!(filters.replace("none", "c", made("x")), unknown("none"));
        assert_eq!(filters.remove("none"), unknown("none"));
        assert_eq!(filters.names(), ["a", "b"]);
        // What is noted counts already.
        filters.remove("a").unwrap();
        assert_eq!(filters.remove("a"), unknown("a"));
        filters.add_last("a", made("a again")).unwrap();
        assert_eq!(filters.add_last("a", made("x")), duplicate("a"));
        filters.replace("b", "b", made("b again")).unwrap();
    });
    log.taken();
    say(&mut test, &peer, "one\n");
    assert_eq!(
        log.taken()[..3],
        ["b again: Message(\"one\")", "a again: Message(\"one\")", "session: Message(\"one\")"]
    );
}

#[test]
fn a_change_made_in_an_event_holds_from_the_next_event_on() {
    let (mut test, log) = Bench::new()
        .filter("head", |event, cx| {
            if let Event::Message("swap") = event {
                cx.filters().remove("tail").unwrap();
            }
            Verdict::Pass
        })
        .filter("tail", pass)
        .session(|log, cx, line| {
            if line == "add" {
                cx.filters().add_first("new", probe(log, "new")).unwrap();
                assert!(cx.filter::<Probe>("new").is_none(), "it is not there yet");
            }
            line != "echo"
        })
        .start();
    let peer = connected(&mut test, &log);
    // All in one read.
    say(&mut test, &peer, "swap\necho\nadd\nlast\n");
    assert_eq!(
        log.taken(),
        [
            "head: Message(\"swap\")",
            "tail: Message(\"swap\")",
            "session: Message(\"swap\")",
            "head: Message(\"echo\")",
            "session: Message(\"echo\")",
            "head: Write(\"echo\")",
            "head: Message(\"add\")",
            "session: Message(\"add\")",
            "new: Open",
            "new: Message(\"last\")",
            "head: Message(\"last\")",
            "session: Message(\"last\")"
        ]
    );
}

#[test]
fn a_write_of_the_event_that_removes_a_filter_still_goes_through_it() {
    let (mut test, log) = Bench::new()
        .filter("gone", pass)
        .session(|_, cx, _| {
            cx.filters().remove("gone").unwrap();
            false
        })
        .start();
    let peer = connected(&mut test, &log);
    say(&mut test, &peer, "one\n");
    assert_eq!(log.taken(), ["gone: Message(\"one\")", "session: Message(\"one\")", "gone: Write(\"one\")"]);
}

#[test]
fn a_filter_may_take_itself_out() {
    let bench = Bench::new().filter("once", |event, cx| {
        if let Event::Message(_) = event {
            cx.filters().remove("once").unwrap();
        }
        Verdict::Pass
    });
    let (mut test, log) = bench.session(|_, _, _| true).start();
    let peer = connected(&mut test, &log);
    say(&mut test, &peer, "one\ntwo\n");
    assert_eq!(
        log.taken(),
        ["once: Message(\"one\")", "session: Message(\"one\")", "session: Message(\"two\")"]
    );
    peer.close();
    test.run_until_idle();
    assert!(!log.taken().contains(&"once: Close".to_owned()));
}

#[test]
fn a_filter_is_got_by_name_and_type() {
    struct Other;
    impl MessageFilter<Text<Lines>> for Other {}
    let (mut test, log) = Bench::new().filter("a", pass).start();
    let peer = connected(&mut test, &log);
    let asked = test.with_session(&peer, |_, cx| {
        assert_eq!(cx.filter::<Probe>("a").map(|probe| probe.name), Some("a"));
        assert!(cx.filter::<Other>("a").is_none());
        assert!(cx.filter::<Probe>("b").is_none());
        cx.filter::<Probe>("a").unwrap().name = "renamed";
    });
    assert!(asked);
    say(&mut test, &peer, "one\n");
    assert_eq!(log.taken()[0], "renamed: Message(\"one\")");
}

#[test]
fn timers_of_a_filter_go_with_it_and_not_to_its_successor() {
    let bench = Bench::new().filter("f", |event, cx| {
        if let Event::Open = event {
            cx.set_timer(Duration::from_secs(1), 7);
        }
        Verdict::Pass
    });
    let (mut test, log) = bench.start();
    let peer = connected(&mut test, &log);
    let of_session = log.clone();
    test.with_session(&peer, move |_, cx| {
        cx.filters().replace("f", "f", probe(&of_session, "successor")).unwrap();
    });
    assert_eq!(log.taken(), ["successor: Open"]);
    test.advance(Duration::from_secs(2));
    assert_eq!(log.taken(), Vec::<String>::new());
}

#[test]
fn an_added_filter_that_does_not_pass_its_opening_ends_the_session() {
    let (mut test, log) = Bench::new().start();
    let peer = connected(&mut test, &log);
    let of_session = log.clone();
    test.with_session(&peer, move |_, cx| {
        let act: Act = |_, _| Verdict::refuse("not any more");
        let filter = Box::new(Probe { name: "f", log: of_session, act });
        cx.filters().add_last("f", filter).unwrap();
    });
    test.run_until_idle();
    assert!(peer.is_read_closed());
    peer.close();
    test.run_until_idle();
    assert_eq!(log.taken().last().unwrap(), "session: closed: refused: not any more");
}
