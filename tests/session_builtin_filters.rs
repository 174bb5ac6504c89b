//! The filters that come with the library, each on whole sessions.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::codec::{Lines, Text};
use campana::session::filters::{
    AddressList, AddressRules, AuthenticationGate, BeforeLogIn, ConnectionRate, Counted, KeepAlive,
    KeepAliveMessages, MessageKinds, MessageRate, StatisticsTap, WhenEmpty,
};
use campana::session::{
    Authentication, FilterContext, MessageFilter, Session, SessionContext, SessionService, Sessions, WriteId,
};
use campana::testing::{Peer, TestLoop};
use campana::{Address, CloseReason, Deadline};

/// Echoes, and does some other things that it is told to.
struct Echo {
    log: Log,
}

/// What sessions have got.
type Log = Arc<Mutex<Vec<String>>>;

impl Session for Echo {
    type Codec = Text<Lines>;

    fn on_open(&mut self, _cx: &mut SessionContext<'_, Self>) {
        self.log.lock().unwrap().push("open".to_owned());
    }

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        self.log.lock().unwrap().push(line.to_owned());
        match line {
            "login secret" => cx.set_authenticated(),
            "faster" => cx.filter::<MessageRate>("filter").unwrap().set(1000, Duration::from_secs(1), 1000),
            "pause" => cx.pause_reading(),
            "shut down" => cx.shutdown(),
            _ => {}
        }
        let _ = cx.write(line);
    }

    fn on_close(&mut self, _cx: &mut SessionContext<'_, Self>, reason: &CloseReason, _: Option<WriteId>) {
        self.log.lock().unwrap().push(format!("closed: {reason}"));
    }
}

/// A loop of echoing sessions with one filter, without idle times of their own.
fn sessions_with<F>(filter: F) -> (TestLoop<Sessions<Echo>>, Log)
where
    F: MessageFilter<Text<Lines>> + Clone + Send + Sync,
{
    let service = SessionService::new(|| Text::over(Lines::new()))
        .configure(|config| config.idle_both = None)
        .filter("filter", move || filter.clone());
    start(service)
}

fn start(service: SessionService<Echo>) -> (TestLoop<Sessions<Echo>>, Log) {
    let log = Log::default();
    let of_sessions = Arc::clone(&log);
    (TestLoop::sessions(service, move |_| Echo { log: Arc::clone(&of_sessions) }), log)
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

fn say(test: &mut TestLoop<Sessions<Echo>>, peer: &Peer, text: &str) -> String {
    peer.send(text);
    test.run_until_idle();
    heard(peer)
}

fn heard(peer: &Peer) -> String {
    String::from_utf8(peer.receive()).unwrap()
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

const SECOND: Duration = Duration::from_secs(1);

// Addresses and connections.

#[test]
fn an_address_that_is_not_allowed_ends_at_once_and_unopened() {
    let rules = AddressRules::new(AddressList::deny_by_default().allow("192.0.2.0/24".parse().unwrap()));
    let (mut test, log) = sessions_with(rules.clone());
    let let_in = ["192.0.2.1:5000", "[::ffff:192.0.2.2]:5000", "unix:/run/peer"]
        .map(|peer| test.connect_from(address(peer)));
    assert_eq!(taken(&log), ["open", "open", "open"]);
    let refused = test.connect_from(address("[2001:db8::1]:5000"));
    refused.send("hello\n");
    test.run_until_idle();
    assert_eq!(taken(&log), ["closed: refused: the address 2001:db8::1 is not allowed"]);
    assert!(matches!(refused.close_reason(), Some(CloseReason::Refused(_))));
    assert_eq!(rules.refused(), 1);
    assert!(let_in.iter().all(|peer| peer.close_reason().is_none()));
}

#[test]
fn unix_peers_are_kept_out_if_the_list_says_so() {
    let rules: AddressRules = "deny unix\ndefault allow".parse().unwrap();
    let (mut test, log) = sessions_with(rules.clone());
    test.connect_packet();
    test.run_until_idle();
    assert_eq!(taken(&log), ["closed: refused: Unix peers are not allowed"]);
    assert_eq!(rules.refused(), 1);
}

#[test]
fn address_rules_are_changed_from_another_thread_for_the_connections_to_come() {
    let rules = AddressRules::new(AddressList::allow_by_default());
    let (mut test, log) = sessions_with(rules.clone());
    let before = test.connect_from(address("192.0.2.1:5000"));
    let of_thread = rules.clone();
    std::thread::spawn(move || of_thread.set("deny 192.0.2.1\ndefault allow".parse().unwrap()))
        .join()
        .unwrap();
    test.connect_from(address("192.0.2.1:5001"));
    test.run_until_idle();
    assert_eq!(taken(&log), ["open", "closed: refused: the address 192.0.2.1 is not allowed"]);
    assert_eq!(say(&mut test, &before, "still here\n"), "still here\n");
    assert!(!rules.list().allows(&address("192.0.2.1:1")));
}

#[test]
fn connections_of_an_address_beyond_the_rate_are_refused_until_the_window_is_over() {
    let rate = ConnectionRate::new(2, 10 * SECOND);
    let (mut test, log) = sessions_with(rate.clone());
    let connect = |test: &mut TestLoop<_>, from: &str| drop(test.connect_from(address(from)));
    for port in 1..=4 {
        connect(&mut test, &format!("192.0.2.1:{port}"));
    }
    connect(&mut test, "192.0.2.2:1");
    connect(&mut test, "unix:/run/peer");
    test.run_until_idle();
    let opened = |log: &Log| taken(log).iter().filter(|line| *line == "open").count();
    assert_eq!((opened(&log), rate.refused()), (4, 2));
    test.advance(10 * SECOND);
    connect(&mut test, "192.0.2.1:5");
    assert_eq!((opened(&log), rate.refused()), (1, 2));
    rate.set(1, 10 * SECOND);
    connect(&mut test, "192.0.2.1:6");
    test.run_until_idle();
    assert_eq!((opened(&log), rate.refused()), (0, 3));
}

// Message rate.

#[test]
fn messages_beyond_the_rate_are_dropped_or_close_the_session_if_so_set() {
    let dropping = MessageRate::new(2, SECOND).when_empty(WhenEmpty::Drop);
    let (mut test, _) = sessions_with(dropping.clone());
    let (peer, other) = (test.connect(), test.connect());
    assert_eq!(say(&mut test, &peer, "1\n2\n3\n4\n"), "1\n2\n");
    assert_eq!(say(&mut test, &other, "1\n2\n"), "1\n2\n", "each session has a bucket of its own");
    test.advance(SECOND / 2);
    assert_eq!(say(&mut test, &peer, "5\n6\n"), "5\n");
    assert_eq!(dropping.limited(), 3);

    let closing = MessageRate::new(2, SECOND).when_empty(WhenEmpty::Close);
    let (mut test, log) = sessions_with(closing.clone());
    let peer = test.connect();
    assert_eq!(say(&mut test, &peer, "1\n2\n3\n4\n"), "1\n2\n");
    peer.close();
    test.run_until_idle();
    assert_eq!(taken(&log), ["open", "1", "2", "closed: refused: too many messages at a time"]);
    assert_eq!(closing.limited(), 1);
}

#[test]
fn messages_that_are_held_back_come_at_the_rate_and_none_is_lost() {
    let rate = MessageRate::new(10, SECOND).burst(3);
    let (mut test, _) = sessions_with(rate.clone());
    let peer = test.connect();
    let lines: Vec<_> = (1..=20).map(|number| format!("{number}\n")).collect();
    // The bucket's three, and the one that found it empty.
    assert_eq!(say(&mut test, &peer, &lines.concat()), lines[..4].concat());
    test.advance(Duration::from_millis(199));
    assert_eq!(heard(&peer), "", "the fourth has to be paid back first");
    test.advance(Duration::from_millis(1));
    let mut count = 4 + heard(&peer).lines().count();
    assert!(count <= 6);
    for tenth in 1..=16 {
        test.advance(SECOND / 10);
        count += heard(&peer).lines().count();
        assert!(count <= 6 + tenth, "{count} after {tenth} tenths of a second");
    }
    test.advance(SECOND);
    assert_eq!(count + heard(&peer).lines().count(), 20);
    assert!(rate.limited() > 0);
}

#[test]
fn a_peer_that_always_sends_more_than_the_rate_is_held_back_for_as_long_as_it_does() {
    let (mut test, log) = sessions_with(MessageRate::new(10, SECOND));
    let peer = test.connect();
    // The beginning of a message is always there: it is not the peer who takes longer than 30 s for it.
    peer.send("be");
    test.run_until_idle();
    peer.send(format!("gin\n{}", "more\n".repeat(1000)));
    test.advance(60 * SECOND);
    let received = heard(&peer).lines().count();
    assert!((600..=612).contains(&received), "{received}");
    assert!(!taken(&log).iter().any(|line| line.starts_with("closed")));
}

#[test]
fn the_peers_end_comes_behind_the_messages_that_were_held_back() {
    let (mut test, log) = sessions_with(MessageRate::new(1, SECOND));
    let peer = test.connect();
    peer.send("1\n2\n3\n4\n");
    peer.shutdown();
    test.advance(10 * SECOND);
    assert_eq!(heard(&peer), "1\n2\n3\n4\n");
    peer.close();
    test.run_until_idle();
    assert_eq!(taken(&log), ["open", "1", "2", "3", "4", "closed: closed by the peer"]);
}

#[test]
fn a_session_that_pauses_itself_is_not_resumed_by_the_rate() {
    let (mut test, log) = sessions_with(MessageRate::new(2, SECOND));
    let peer = test.connect();
    say(&mut test, &peer, "1\n2\npause\n3\n");
    test.advance(60 * SECOND);
    assert_eq!(taken(&log), ["open", "1", "2", "pause"]);
    test.with_session(&peer, |_, cx| cx.resume_reading());
    test.advance(SECOND);
    assert_eq!(taken(&log), ["3"]);
}

#[test]
fn a_session_that_resumes_reading_does_not_undo_what_the_rate_holds_back() {
    let (mut test, log) = sessions_with(MessageRate::new(1, SECOND));
    let peer = test.connect();
    say(&mut test, &peer, "1\npause\n3\n");
    assert_eq!(taken(&log), ["open", "1", "pause"]);
    test.with_session(&peer, |_, cx| {
        assert!(cx.is_reading_paused());
        cx.resume_reading();
        assert!(cx.is_reading_paused(), "the filter's pause is left");
    });
    test.run_until_idle();
    assert_eq!(taken(&log).len(), 0);
    test.advance(2 * SECOND);
    assert_eq!(taken(&log), ["3"]);
}

#[test]
fn reading_goes_on_when_a_rate_that_holds_it_back_is_removed() {
    let (mut test, log) = sessions_with(MessageRate::new(1, 3600 * SECOND));
    let peer = test.connect();
    say(&mut test, &peer, "1\n2\n3\n4\n");
    assert_eq!(taken(&log), ["open", "1", "2"]);
    test.with_session(&peer, |_, cx| cx.filters().remove("filter").unwrap());
    test.run_until_idle();
    assert_eq!(taken(&log), ["3", "4"]);
}

#[test]
fn a_session_changes_its_own_rate() {
    let (mut test, _) = sessions_with(MessageRate::new(2, SECOND).when_empty(WhenEmpty::Drop));
    let (peer, other) = (test.connect(), test.connect());
    let many = "x\n".repeat(100);
    assert_eq!(say(&mut test, &peer, &format!("faster\n{many}")).lines().count(), 101);
    assert_eq!(say(&mut test, &other, &many).lines().count(), 2);
}

// Keep-alive.

#[derive(Clone)]
struct PingPong;

impl KeepAliveMessages<Text<Lines>> for PingPong {
    fn request(&mut self) -> Option<&str> {
        Some("ping")
    }

    fn response(&mut self, _request: &&str) -> Option<&str> {
        Some("pong")
    }

    fn is_request(&self, line: &&str) -> bool {
        *line == "ping"
    }

    fn is_response(&self, line: &&str) -> bool {
        *line == "pong"
    }
}

fn keep_alive() -> KeepAlive<PingPong> {
    KeepAlive::new(PingPong).interval(20 * SECOND).deadline(5 * SECOND)
}

#[test]
fn a_silent_peer_is_asked_and_closed_if_it_does_not_answer() {
    let keep_alive = keep_alive();
    let (mut test, log) = sessions_with(keep_alive.clone());
    let peer = test.connect();
    test.advance(19 * SECOND);
    assert_eq!(heard(&peer), "");
    test.advance(SECOND);
    assert_eq!(heard(&peer), "ping\n");
    test.advance(4 * SECOND);
    assert!(!peer.is_read_closed());
    test.advance(SECOND);
    assert!(peer.is_read_closed());
    peer.close();
    test.run_until_idle();
    assert!(matches!(peer.close_reason(), Some(CloseReason::TimedOut(Deadline::Named("keep-alive")))));
    assert_eq!(taken(&log), ["open", "closed: timed out: keep-alive"]);
    assert_eq!(keep_alive.timed_out(), 1);
}

#[test]
fn a_peer_that_answers_stays_and_its_session_sees_nothing_of_it() {
    let (mut test, log) = sessions_with(keep_alive());
    let peer = test.connect();
    for _ in 0..10 {
        test.advance(20 * SECOND);
        assert_eq!(heard(&peer), "ping\n");
        test.advance(4 * SECOND);
        peer.send("pong\n");
        test.run_until_idle();
    }
    assert_eq!(taken(&log), ["open"]);
}

#[test]
fn who_talks_is_not_asked() {
    let (mut test, _) = sessions_with(keep_alive());
    let peer = test.connect();
    for _ in 0..10 {
        test.advance(19 * SECOND);
        assert_eq!(say(&mut test, &peer, "hello\n"), "hello\n");
    }
    test.advance(20 * SECOND);
    assert_eq!(heard(&peer), "ping\n");
}

#[test]
fn whatever_comes_after_a_request_shows_that_the_peer_is_there() {
    let (mut test, log) = sessions_with(keep_alive());
    let peer = test.connect();
    test.advance(20 * SECOND);
    assert_eq!(heard(&peer), "ping\n");
    // A message that is still arriving, in front of the response.
    for part in ["a", "b", "c"] {
        test.advance(4 * SECOND);
        peer.send(part);
        test.run_until_idle();
    }
    test.advance(4 * SECOND);
    peer.send("\npong\n");
    test.run_until_idle();
    assert_eq!(taken(&log), ["open", "abc"]);
    assert_eq!(heard(&peer), "abc\n");
    test.advance(20 * SECOND);
    assert_eq!(heard(&peer), "ping\n");
}

#[test]
fn a_passive_side_answers_and_never_asks() {
    let (mut test, log) = sessions_with(keep_alive().interval(None));
    let peer = test.connect();
    test.advance(3600 * SECOND);
    assert_eq!(heard(&peer), "");
    assert_eq!(say(&mut test, &peer, "ping\nhello\nping\n"), "pong\nhello\npong\n");
    assert_eq!(taken(&log), ["open", "hello"]);
}

#[test]
fn a_deaf_speaker_asks_again_and_again_and_waits_for_nothing() {
    let keep_alive = keep_alive().deadline(None);
    let (mut test, _) = sessions_with(keep_alive.clone());
    let peer = test.connect();
    test.advance(100 * SECOND);
    assert_eq!(heard(&peer), "ping\n".repeat(5));
    assert_eq!(keep_alive.timed_out(), 0);
    assert!(!peer.is_read_closed());
}

#[test]
fn a_silent_listener_only_takes_requests_away() {
    #[derive(Clone)]
    struct Listener;
    impl KeepAliveMessages<Text<Lines>> for Listener {
        fn is_request(&self, line: &&str) -> bool {
            *line == "ping"
        }
    }
    let (mut test, log) = sessions_with(KeepAlive::new(Listener).interval(20 * SECOND));
    let peer = test.connect();
    assert_eq!(say(&mut test, &peer, "ping\nhello\n"), "hello\n");
    test.advance(3600 * SECOND);
    assert_eq!(heard(&peer), "");
    assert_eq!(taken(&log), ["open", "hello"]);
}

#[test]
fn a_response_may_say_what_the_request_said() {
    #[derive(Clone)]
    struct Echoing(String);
    impl KeepAliveMessages<Text<Lines>> for Echoing {
        fn is_request(&self, line: &&str) -> bool {
            line.starts_with("ping ")
        }

        fn response(&mut self, request: &&str) -> Option<&str> {
            self.0 = request.replace("ping", "pong");
            Some(&self.0)
        }
    }
    let (mut test, _) = sessions_with(KeepAlive::new(Echoing(String::new())));
    let peer = test.connect();
    assert_eq!(say(&mut test, &peer, "ping 17\n"), "pong 17\n");
}

#[test]
fn nobody_is_judged_while_reading_is_paused_or_for_a_loop_that_was_held_up() {
    let keep_alive = keep_alive();
    let (mut test, _) = sessions_with(keep_alive.clone());
    let peer = test.connect();
    say(&mut test, &peer, "pause\n");
    peer.send("pong\n");
    test.advance(100 * SECOND);
    assert!(!peer.is_read_closed());
    test.with_session(&peer, |_, cx| cx.resume_reading());
    test.run_until_idle();
    heard(&peer);
    test.advance(20 * SECOND);
    assert_eq!(heard(&peer), "ping\n");
    peer.send("pong\n");
    test.hold_up(60 * SECOND);
    test.run_until_idle();
    assert!(!peer.is_read_closed());
    assert_eq!(keep_alive.timed_out(), 0);
}

#[test]
fn a_session_that_has_shut_its_side_down_is_not_asked() {
    let (mut test, _) = sessions_with(keep_alive());
    let peer = test.connect();
    say(&mut test, &peer, "shut down\n");
    test.advance(100 * SECOND);
    assert_eq!(peer.close_reason().map(|reason| reason.to_string()), None);
    say(&mut test, &peer, "still heard\n");
}

// Log-in.

#[derive(Clone)]
struct LogInFirst;

impl BeforeLogIn<Text<Lines>> for LogInFirst {
    fn allows(&self, line: &&str) -> bool {
        line.starts_with("login ")
    }

    fn refuse(&mut self, cx: &mut FilterContext<'_, Text<Lines>>, line: &&str) {
        let _ = cx.write(&format!("error: log in before {line}"));
    }
}

fn with_gate(gate: AuthenticationGate<LogInFirst>) -> (TestLoop<Sessions<Echo>>, Log) {
    let service = SessionService::new(|| Text::over(Lines::new()))
        .configure(|config| config.authentication = Some(Authentication::default()))
        .filter("gate", move || gate.clone());
    start(service)
}

#[test]
fn messages_before_the_log_in_get_an_error_and_the_session_stays() {
    let gate = AuthenticationGate::new(LogInFirst);
    let (mut test, log) = with_gate(gate.clone());
    let peer = test.connect();
    let replies = say(&mut test, &peer, "list\nlogin wrong\nlist\nlogin secret\nlist\n");
    assert_eq!(
        replies,
        "error: log in before list\nlogin wrong\nerror: log in before list\nlogin secret\nlist\n"
    );
    assert_eq!(taken(&log), ["open", "login wrong", "login secret", "list"]);
    assert_eq!(gate.refused(), 2);
    test.advance(60 * SECOND);
    assert!(!peer.is_read_closed());
}

#[test]
fn the_deadline_and_the_length_of_a_log_in_hold_with_the_gate() {
    let (mut test, _) = with_gate(AuthenticationGate::new(LogInFirst));
    let (slow, long) = (test.connect(), test.connect());
    say(&mut test, &long, &format!("login {}\n", "x".repeat(5000)));
    assert!(long.is_read_closed());
    test.advance(5 * SECOND);
    say(&mut test, &slow, "list\n");
    test.advance(5 * SECOND);
    assert!(slow.is_read_closed());
}

#[test]
fn the_gate_is_open_where_nobody_has_to_log_in() {
    let (mut test, _) = sessions_with(AuthenticationGate::new(LogInFirst));
    let peer = test.connect();
    assert_eq!(say(&mut test, &peer, "list\n"), "list\n");
}

// Counting.

#[derive(Clone)]
struct Kinds;

impl MessageKinds<Text<Lines>> for Kinds {
    const LABELS: &'static [&'static str] = &["command", "chat"];

    fn received(&self, line: &&str) -> Counted {
        let kind = match line.as_bytes().first() {
            Some(b'/') => 0,
            Some(b'?') => 99,
            _ => 1,
        };
        Counted { kind, bytes: line.len() }
    }

    fn written(&self, line: &&str) -> Counted {
        Counted { kind: 1, bytes: line.len() }
    }
}

#[test]
fn messages_are_counted_by_kind_over_all_sessions() {
    let tap = StatisticsTap::new(Kinds);
    assert_eq!(tap.snapshot().kinds.len(), 0);
    let (mut test, _) = sessions_with(tap.clone());
    let peers = [test.connect(), test.connect()];
    for peer in &peers {
        peer.send("/join\nhello\n?\n");
    }
    test.run_until_idle();
    peers[0].close();
    test.run_until_idle();
    test.manager().all().send("news").unwrap();
    test.run_until_idle();
    let snapshot = std::thread::spawn(move || tap.snapshot()).join().unwrap();
    let [command, chat] = snapshot.kinds[..] else { panic!("{snapshot:?}") };
    let counts = |counts: campana::session::filters::MessageCounts| (counts.messages, counts.bytes);
    assert_eq!(
        (command.label, counts(command.received), counts(command.written)),
        ("command", (2, 10), (0, 0))
    );
    assert_eq!((chat.label, counts(chat.received), counts(chat.written)), ("chat", (2, 10), (6, 22)));
    assert_eq!((snapshot.other.label, counts(snapshot.other.received)), ("other", (2, 2)));
    assert_eq!(counts(snapshot.encoded), (1, 5));
}
