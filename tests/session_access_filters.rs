//! Who is let in: by address, by rate, and before the log-in.

use campana::codec::{Lines, Text};
use campana::session::filters::{AddressList, AddressRules, AuthenticationGate, BeforeLogIn, ConnectionRate};
use campana::session::{Authentication, FilterContext, SessionService, Sessions};
use campana::testing::TestLoop;
use campana::{Address, CloseReason};

#[path = "support/echo_sessions.rs"]
mod echo_sessions;

use echo_sessions::{Echo, Log, SECOND, say, sessions_with, start, taken};

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

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
