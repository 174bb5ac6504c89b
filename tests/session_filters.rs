//! The chain of message filters: order, verdicts, panics, timers, and changes while it runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::CloseReason;
use campana::codec::{Lines, Text};
use campana::session::{
    ErrorAction, FilterContext, FilterEditError, Idle, MessageFilter, Session, SessionContext, SessionError,
    SessionService, Sessions, Verdict, WriteError, WriteId,
};
use campana::testing::{Peer, TestLoop};

type Cx<'a> = FilterContext<'a, Text<Lines>>;

/// What was called, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// What was called since this was last asked.
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[derive(Clone, Copy, Debug)]
enum Event<'a> {
    Open,
    Message(&'a str),
    Write(&'a str),
    Encoded(&'a str),
    Idle,
    InputClosed,
    Closing,
    Timer(u64),
    Close,
}

type Act = fn(Event<'_>, &mut Cx<'_>) -> Verdict;

/// A filter that notes what it is called for, and does what the test says.
#[derive(Clone)]
struct Probe {
    name: &'static str,
    log: Log,
    act: Act,
}

impl Probe {
    fn event(&mut self, cx: &mut Cx<'_>, event: Event<'_>) -> Verdict {
        self.log.note(format!("{}: {event:?}", self.name));
        (self.act)(event, cx)
    }
}

impl MessageFilter<Text<Lines>> for Probe {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Verdict {
        self.event(cx, Event::Open)
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, line: &mut &str) -> Verdict {
        self.event(cx, Event::Message(line))
    }

    fn on_write(&mut self, cx: &mut Cx<'_>, line: &mut &str) -> Verdict {
        self.event(cx, Event::Write(line))
    }

    fn on_write_encoded(&mut self, cx: &mut Cx<'_>, encoded: &[u8]) -> Verdict {
        self.event(cx, Event::Encoded(std::str::from_utf8(encoded).unwrap()))
    }

    fn on_idle(&mut self, cx: &mut Cx<'_>, _idle: Idle) -> Verdict {
        self.event(cx, Event::Idle)
    }

    fn on_input_closed(&mut self, cx: &mut Cx<'_>) -> Verdict {
        self.event(cx, Event::InputClosed)
    }

    fn on_closing(&mut self, cx: &mut Cx<'_>) {
        self.event(cx, Event::Closing);
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, token: u64) -> Verdict {
        self.event(cx, Event::Timer(token))
    }

    fn on_close(&mut self, cx: &mut Cx<'_>, _reason: &CloseReason) {
        self.event(cx, Event::Close);
    }
}

fn pass(_: Event<'_>, _: &mut Cx<'_>) -> Verdict {
    Verdict::Pass
}

/// A session that notes what it is called for, and echoes, unless the test says something else of a message.
struct Host {
    log: Log,
    act: fn(&Log, &mut SessionContext<'_, Host>, &str) -> bool,
    on_error: ErrorAction,
}

impl Host {
    fn note(&self, event: Event<'_>) {
        self.log.note(format!("session: {event:?}"));
    }
}

impl Session for Host {
    type Codec = Text<Lines>;

    fn on_open(&mut self, _cx: &mut SessionContext<'_, Self>) {
        self.note(Event::Open);
    }

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        self.note(Event::Message(line));
        if !(self.act)(&self.log, cx, line)
            && let Err(error) = cx.write(line)
        {
            self.log.note(format!("session: write: {error}"));
        }
    }

    fn on_idle(&mut self, _cx: &mut SessionContext<'_, Self>, _idle: Idle) {
        self.note(Event::Idle);
    }

    fn on_input_closed(&mut self, cx: &mut SessionContext<'_, Self>) {
        self.note(Event::InputClosed);
        cx.close();
    }

    fn on_error(&mut self, _cx: &mut SessionContext<'_, Self>, error: &SessionError) -> ErrorAction {
        self.log.note(format!("session: error: {error}"));
        self.on_error
    }

    fn on_close(&mut self, _cx: &mut SessionContext<'_, Self>, reason: &CloseReason, _: Option<WriteId>) {
        self.log.note(format!("session: closed: {reason}"));
    }
}

/// A service whose sessions have these filters, and its log.
struct Bench {
    log: Log,
    service: SessionService<Host>,
    act: fn(&Log, &mut SessionContext<'_, Host>, &str) -> bool,
    on_error: ErrorAction,
}

impl Bench {
    fn new() -> Self {
        let service = SessionService::new(|| Text::over(Lines::new()));
        Self { log: Log::default(), service, act: |_, _, _| false, on_error: ErrorAction::Close }
    }

    fn filter(mut self, name: &'static str, act: Act) -> Self {
        let probe = Probe { name, log: self.log.clone(), act };
        self.service = self.service.filter(name, move || probe.clone());
        self
    }

    /// What the session does with a message; it echoes those for which `act` answers `false`.
    fn session(mut self, act: fn(&Log, &mut SessionContext<'_, Host>, &str) -> bool) -> Self {
        self.act = act;
        self
    }

    fn on_error(mut self, action: ErrorAction) -> Self {
        self.on_error = action;
        self
    }

    fn start(self) -> (TestLoop<Sessions<Host>>, Log) {
        let Self { log, service, act, on_error } = self;
        let of_sessions = log.clone();
        let test = TestLoop::sessions(service, move |_| Host { log: of_sessions.clone(), act, on_error });
        (test, log)
    }
}

/// Adds a filter called as its text says, which passes everything.
fn probe(log: &Log, name: &'static str) -> Box<Probe> {
    Box::new(Probe { name, log: log.clone(), act: pass })
}

fn connected(test: &mut TestLoop<Sessions<Host>>, log: &Log) -> Peer {
    let peer = test.connect();
    test.run_until_idle();
    log.taken();
    peer
}

fn say(test: &mut TestLoop<Sessions<Host>>, peer: &Peer, text: &str) {
    peer.send(text);
    test.run_until_idle();
}

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
