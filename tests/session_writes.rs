//! Writes: ids that rise by one, each told once to be written or not to be, and limits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::codec::RawBytes;
use campana::session::{Session, SessionContext, SessionService, Sessions, WriteError, WriteId};
use campana::testing::{Peer, TestLoop};
use campana::{CloseReason, ConnectionConfig};
use proptest::prelude::*;

#[path = "support/byte_filters.rs"]
mod byte_filters;
#[path = "support/probe.rs"]
mod probe;

use probe::{Then, Told, lines, on_message, probes};

#[test]
fn ids_rise_by_one_and_a_message_that_is_refused_has_none() {
    let (mut test, _) = probes(
        lines(),
        on_message(|_, cx| {
            let mut ids = Vec::new();
            for text in ["one", "not\none", "two", "", "three"] {
                ids.extend(cx.write(text).map(WriteId::number));
            }
            assert_eq!(ids, [1, 2, 3, 4]);
        }),
    );
    let peer = test.connect();
    peer.send("go\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"one\ntwo\n\nthree\n");
}

#[test]
fn writes_of_handles_and_broadcasts_have_ids_as_well() {
    let (mut test, log) = probes(lines(), |_, _| Then::Usual);
    let peer = test.connect();
    let session = test.session(&peer).unwrap();
    session.send("one").unwrap();
    test.manager().all().send("two").unwrap();
    test.with_session(&peer, |_, cx| assert_eq!(cx.write("three").unwrap().number(), 3));
    test.run_until_idle();
    assert_eq!(peer.receive(), b"one\ntwo\nthree\n");
    assert_eq!(log.lines().last().unwrap(), "written 3");
}

#[test]
fn a_write_is_told_when_its_last_byte_is_out() {
    let (mut test, log) = probes(lines(), on_message(|text, cx| drop(cx.write(text))));
    let peer = test.connect();
    peer.set_window(3);
    peer.send("abc\ndef\n");
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "message abc", "message def"]);
    peer.set_window(1);
    test.run_until_idle();
    assert_eq!(log.lines(), ["written 1"]);
    peer.set_window(4);
    test.run_until_idle();
    assert_eq!(log.lines(), ["written 2"]);
}

#[test]
fn more_bytes_than_the_hard_cap_are_refused_and_abort_the_session() {
    let (test, log) = probes(
        lines(),
        on_message(|_, cx| {
            for _ in 0..10 {
                cx.write("0123456789").unwrap();
            }
            assert!(matches!(cx.write("0123456789"), Err(WriteError::Full)));
            assert!(matches!(cx.write("x"), Err(WriteError::Closed)), "it is ending");
        }),
    );
    let mut test = test.configure(|config: &mut ConnectionConfig| config.hard_cap = 115);
    let (stuck, other) = (test.connect(), test.connect());
    stuck.set_window(0);
    stuck.send("go\n");
    test.run_until_idle();
    assert_eq!(
        log.lines(),
        ["open", "open", "message go", "close: the peer reads too slowly; unwritten from 1"]
    );
    assert!(other.close_reason().is_none());
    assert_eq!(test.manager().stats().refused_writes, 1);
}

#[test]
fn more_writes_than_may_be_pending_are_refused_however_small() {
    let service = lines().configure(|config| config.pending_writes = 100);
    let (mut test, log) = probes(
        service,
        on_message(|_, cx| {
            for _ in 0..60 {
                if let Err(error) = cx.write("") {
                    assert!(matches!(error, WriteError::Full | WriteError::Closed), "{error}");
                }
            }
        }),
    );
    let peer = test.connect();
    peer.set_window(30);
    peer.send("go\ngo\n");
    test.run_until_idle();
    assert_eq!(
        log.lines(),
        ["open", "message go", "message go", "close: the peer reads too slowly; unwritten from 1"]
    );
    assert_eq!(peer.receive(), b"", "nothing had left when it ended");
}

#[test]
fn a_limit_can_be_raised_while_it_runs() {
    let (test, log) = probes(
        lines(),
        on_message(|text, cx| {
            if text == "raise" {
                cx.configure_connection(|config| config.hard_cap = 1000);
            } else {
                cx.write(&"x".repeat(99)).unwrap();
            }
        }),
    );
    let mut test = test.configure(|config| config.hard_cap = 100);
    let peer = test.connect();
    peer.set_window(0);
    peer.send("go\nraise\ngo\n");
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "message go", "message raise", "message go"]);
}

#[test]
fn a_handle_is_refused_what_is_under_way_beyond_the_hard_cap_and_the_session_goes_on() {
    let (test, log) = probes(lines(), |_, _| Then::Usual);
    let mut test = test.configure(|config| config.hard_cap = 10_000);
    let peer = test.connect();
    let session = test.session(&peer).unwrap();
    let text = "x".repeat(999);
    let accepted = (0..20).filter(|_| session.send(&text).is_ok()).count();
    assert_eq!(accepted, 10);
    assert!(matches!(session.send(&text), Err(WriteError::Full)));
    test.run_until_idle();
    assert_eq!(peer.receive().len(), 10_000);
    session.send(&text).unwrap();
    test.run_until_idle();
    assert_eq!(peer.receive().len(), 1000);
    assert_eq!(log.lines().last().unwrap(), "written 11");
}

#[test]
fn what_byte_filters_hold_back_counts_as_pending() {
    let service = lines().byte_filter("slow", byte_filters::Slow::default);
    let (test, log) = probes(
        service,
        on_message(|_, cx| {
            for _ in 0..5 {
                let _ = cx.write("0123456789");
            }
            assert!(cx.pending_bytes() > 0);
        }),
    );
    let mut test = test.configure(|config| config.hard_cap = 40);
    let peer = test.connect();
    peer.send("go\n");
    test.advance(Duration::from_secs(3));
    assert_eq!(log.lines().last().unwrap(), "close: the peer reads too slowly; unwritten from 1");
    assert!(peer.receive().len() <= 1);
}

#[test]
fn writes_behind_a_slow_byte_filter_are_told_when_they_are_out() {
    let (mut test, log) = probes(lines().byte_filter("slow", byte_filters::Slow::default), |told, cx| {
        if *told == Told::Open {
            cx.write("a").unwrap();
            // Of what is handed over together the filter tells no parts.
            cx.flush();
            cx.write("b").unwrap();
        }
        Then::Usual
    });
    let peer = test.connect();
    test.advance(Duration::from_secs(1));
    assert_eq!(log.lines(), ["open", "written 1"]);
    test.advance(Duration::from_secs(2));
    assert_eq!(log.lines(), ["written 2"]);
    assert_eq!(peer.receive(), b"a\nb\n");
}

#[test]
fn an_empty_message_behind_output_that_was_dropped_is_not_called_written() {
    /// The last write that was told, and the first that was not written.
    type Ends = Arc<Mutex<Vec<(u64, Option<u64>)>>>;
    let ends = Ends::default();
    let of_session = Arc::clone(&ends);
    struct Empty(Ends, u64);
    impl Session for Empty {
        type Codec = RawBytes;
        fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, message: &[u8]) {
            cx.write(message).unwrap();
            cx.flush();
            let _ = cx.write(b"");
        }
        fn on_written(&mut self, _cx: &mut SessionContext<'_, Self>, up_to: WriteId) {
            self.1 = up_to.number();
        }
        fn on_close(
            &mut self,
            _cx: &mut SessionContext<'_, Self>,
            _: &CloseReason,
            unwritten: Option<WriteId>,
        ) {
            self.0.lock().unwrap().push((self.1, unwritten.map(WriteId::number)));
        }
    }
    let mut test =
        TestLoop::sessions(SessionService::new(|| RawBytes), move |_| Empty(Arc::clone(&of_session), 0));
    let peer = test.connect();
    peer.send("written");
    test.run_until_idle();
    peer.fail_next_write(std::io::ErrorKind::BrokenPipe);
    peer.send("dropped");
    test.run_until_idle();
    peer.reset();
    test.run_until_idle();
    assert_eq!(ends.lock().unwrap()[..], [(2, Some(3))]);
}

/// What may happen to a session that writes.
#[derive(Clone, Debug)]
enum Step {
    /// So many messages of such a length in one callback.
    Write {
        count: usize,
        length: usize,
    },
    /// The peer takes so many bytes.
    Window(usize),
    Flush,
    Send(usize),
    Broadcast(usize),
    FailWrite,
    Shutdown,
    Close,
    Abort,
    PeerCloses,
    Reset,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![Just(0), 1..50_usize, Just(5000), Just(20_000)];
    prop_oneof![
        10 => (1..20_usize, length.clone()).prop_map(|(count, length)| Step::Write { count, length }),
        10 => prop_oneof![0..200_usize, 1000..60_000_usize, Just(usize::MAX)].prop_map(Step::Window),
        2 => Just(Step::Flush),
        3 => length.clone().prop_map(Step::Send),
        3 => length.prop_map(Step::Broadcast),
        1 => Just(Step::FailWrite),
        1 => Just(Step::Shutdown),
        1 => Just(Step::Close),
        1 => Just(Step::Abort),
        1 => Just(Step::PeerCloses),
        1 => Just(Step::Reset),
        3 => (0..2000_u64).prop_map(Step::Pass),
    ]
}

/// What a session has accepted, and what it was told of it.
#[derive(Default)]
struct Account {
    /// Of each write: its id, and where in the stream of all that was accepted it ends.
    accepted: VecDeque<(u64, usize)>,
    bytes: Vec<u8>,
    written: u64,
    closed: Option<Option<u64>>,
}

impl Account {
    fn accept(&mut self, id: WriteId, message: &[u8]) {
        assert_eq!(id.number(), self.accepted.back().map_or(1, |(last, _)| last + 1), "ids rise by one");
        self.bytes.extend(message);
        self.accepted.push_back((id.number(), self.bytes.len()));
    }
}

struct Writer(Arc<Mutex<Account>>);

impl Writer {
    fn write(&mut self, cx: &mut SessionContext<'_, Self>, message: &[u8]) {
        if let Ok(id) = cx.write(message) {
            self.0.lock().unwrap().accept(id, message);
        }
    }
}

impl Session for Writer {
    type Codec = RawBytes;

    fn on_message(&mut self, _cx: &mut SessionContext<'_, Self>, _message: &[u8]) {}

    fn on_written(&mut self, _cx: &mut SessionContext<'_, Self>, up_to: WriteId) {
        let mut account = self.0.lock().unwrap();
        assert!(account.closed.is_none());
        assert!(up_to.number() > account.written, "{up_to} was told before");
        account.written = up_to.number();
    }

    fn on_close(&mut self, _cx: &mut SessionContext<'_, Self>, _: &CloseReason, unwritten: Option<WriteId>) {
        let mut account = self.0.lock().unwrap();
        assert!(account.closed.is_none(), "on_close was called before");
        account.closed = Some(unwritten.map(WriteId::number));
    }
}

fn message(number: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|place| (place * 31 + number * 17) as u8).collect()
}

fn perform(test: &mut TestLoop<Sessions<Writer>>, peer: &Peer, step: Step, number: u64) {
    match step {
        Step::Write { count, length } => {
            test.with_session(peer, move |session, cx| {
                for place in 0..count as u64 {
                    session.write(cx, &message(number * 100 + place, length));
                }
            });
        }
        Step::Window(bytes) => peer.set_window(bytes),
        Step::Flush => {
            test.with_session(peer, |_, cx| cx.flush());
        }
        // These have ids that nobody is told; so they are written by the session here, encoded before.
        Step::Send(length) | Step::Broadcast(length) => {
            test.with_session(peer, move |session, cx| {
                session.write(cx, &message(number, length));
                cx.flush();
                session.write(cx, &message(number + 1, length));
            });
        }
        Step::FailWrite => peer.fail_next_write(std::io::ErrorKind::BrokenPipe),
        Step::Shutdown => {
            test.with_session(peer, |_, cx| cx.shutdown());
        }
        Step::Close => {
            test.with_session(peer, |_, cx| cx.close());
        }
        Step::Abort => {
            test.with_session(peer, |_, cx| cx.abort());
        }
        Step::PeerCloses => peer.close(),
        Step::Reset => peer.reset(),
        Step::Pass(milliseconds) => test.advance(Duration::from_millis(milliseconds)),
    }
}

/// Does the steps, ends the session, and settles the account with what the peer has received.
fn settle(
    steps: Vec<Step>,
    seed: Option<u64>,
    hard_cap: usize,
    service: SessionService<Writer>,
    is_plain: bool,
) {
    let account: Arc<Mutex<Account>> = Arc::default();
    let of_session = Arc::clone(&account);
    let mut test = TestLoop::sessions(service, move |_| Writer(Arc::clone(&of_session)))
        .configure(|config| config.hard_cap = hard_cap);
    if let Some(seed) = seed {
        test = test.seed(seed);
    }
    let peer = test.connect();
    let mut received = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        perform(&mut test, &peer, step, number as u64);
        test.run_until_idle();
        received.extend(peer.receive());
        let account = account.lock().unwrap();
        let arrived = if is_plain { received.len() } else { received.len() / 2 };
        let written = account.accepted.iter().take_while(|(id, _)| *id <= account.written).last();
        let written = written.map_or(0, |&(_, end)| end);
        assert!(written <= arrived, "{written} bytes are called written, {arrived} have arrived");
    }
    peer.set_window(0);
    peer.reset();
    test.advance(Duration::from_secs(60));
    received.extend(peer.receive());

    let account = account.lock().unwrap();
    let accepted = account.accepted.back().map_or(0, |&(last, _)| last);
    let unwritten = account.closed.expect("its on_close");
    match unwritten {
        None => assert_eq!(account.written, accepted, "all was written"),
        Some(first) => {
            assert!(first <= accepted);
            assert_eq!(first, account.written + 1, "each write is one or the other");
        }
    }
    if is_plain {
        assert!(account.bytes.starts_with(&received), "what arrives was accepted, in its order");
        let end_of =
            |id: u64| account.accepted.iter().find(|(known, _)| *known == id).map_or(0, |&(_, end)| end);
        assert!(received.len() >= end_of(account.written), "what is called written was taken");
        if let Some(first) = unwritten {
            let is_dropped = received.len() < end_of(first);
            // An empty message has no byte that could be missing, but may be behind one that has.
            assert!(is_dropped || end_of(first) == end_of(first - 1), "what was taken is called written");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_write_is_either_written_or_named_at_the_end(
        steps in prop::collection::vec(step(), 1..40),
        seed in prop::option::of(any::<u64>()),
        hard_cap in prop_oneof![Just(8 * 1024 * 1024), 10_000..200_000_usize],
    ) {
        settle(steps, seed, hard_cap, SessionService::new(|| RawBytes), true);
    }

    #[test]
    fn each_write_is_so_behind_byte_filters_too(
        steps in prop::collection::vec(step(), 1..40),
        seed in prop::option::of(any::<u64>()),
        hard_cap in prop_oneof![Just(8 * 1024 * 1024), 10_000..200_000_usize],
    ) {
        let service = SessionService::new(|| RawBytes).byte_filter("hex", || byte_filters::Hex);
        settle(steps, seed, hard_cap, service, false);
    }
}
