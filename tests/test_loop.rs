//! Loops under test: what a test decides, and what follows from it as on a real loop.

use std::io::ErrorKind;
use std::time::Duration;

use campana::connection::{CloseReason, Deadline, SendError};
use campana::socket::Address;
use campana::testing::{Peer, TestLoop};
use campana::{Buffer, Handler, TcpConnection};

const SECOND: Duration = Duration::from_secs(1);

/// Echoes, and writes down what it is told.
#[derive(Default)]
struct Echo {
    log: Vec<String>,
}

impl Handler for Echo {
    type State = ();

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) {
        self.log.push("connect".to_owned());
    }

    fn on_data(&mut self, (): &mut (), conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        assert_ne!(input.peek(), b"panic");
        self.log.push(format!("data {}", input.readable()));
        let _ = conn.send(input.take());
    }

    fn on_high_water(&mut self, (): &mut (), _: &mut TcpConnection<'_>) {
        self.log.push("high water".to_owned());
    }

    fn on_low_water(&mut self, (): &mut (), _: &mut TcpConnection<'_>) {
        self.log.push("low water".to_owned());
    }

    fn on_timer(&mut self, (): &mut (), _: &mut TcpConnection<'_>, token: u64) {
        self.log.push(format!("timer {token}"));
    }

    fn on_stopping(&mut self, (): &mut (), _: &mut TcpConnection<'_>) {
        self.log.push("stopping".to_owned());
    }

    fn on_close(&mut self, (): (), _: &mut TcpConnection<'_>, reason: CloseReason) {
        self.log.push(format!("close: {reason}"));
    }
}

fn connected() -> (TestLoop<Echo>, Peer) {
    let mut test = TestLoop::new(Echo::default());
    let peer = test.connect();
    assert_eq!(log(&mut test), ["connect"]);
    (test, peer)
}

/// What has been written down since the last call.
fn log(test: &mut TestLoop<Echo>) -> Vec<String> {
    std::mem::take(&mut test.handler().log)
}

#[test]
fn what_is_sent_arrives_with_the_next_turn_and_not_before() {
    let (mut test, peer) = connected();
    peer.send("hello");
    assert_eq!(peer.receive(), b"");
    test.turn();
    assert_eq!(peer.receive(), b"hello");
    assert_eq!(peer.receive(), b"", "each byte is received once");
}

#[test]
fn what_is_sent_before_a_turn_arrives_together_on_tcp_and_piece_by_piece_on_a_unix_stream() {
    let (mut test, peer) = connected();
    let unix = test.connect_from(Address::unix_abstract("peer").unwrap());
    log(&mut test);
    for peer in [peer, unix] {
        peer.send("one");
        peer.send("and");
        peer.send("two");
        test.turn();
        assert_eq!(peer.receive(), b"oneandtwo");
    }
    assert_eq!(log(&mut test), ["data 9", "data 3", "data 3", "data 3"]);
}

#[test]
fn a_connection_has_the_addresses_that_its_peer_was_given() {
    let (mut test, peer) = connected();
    let given: Address = "[2001:db8::1]:50000".parse().unwrap();
    let other = test.connect_from(given.clone());
    assert!(test.connection(peer.id()).unwrap().peer_address().ip().is_some());
    let conn = test.connection(other.id()).unwrap();
    assert_eq!(conn.peer_address(), given);
    assert!(conn.local_address().unwrap().port().is_some());
    assert!(conn.socket().is_none());
}

#[test]
fn packets_keep_apart_and_one_that_is_too_long_is_refused() {
    let mut test = TestLoop::new(Echo::default());
    let peer = test.connect_packet();
    for packet in ["one", "", "three"] {
        peer.send(packet);
    }
    test.turn();
    assert_eq!(peer.receive_packets(), [&b"one"[..], b"", b"three"]);
    let mut conn = test.connection(peer.id()).unwrap();
    assert_eq!(conn.send(vec![0; 300_000]), Err(SendError::TooLarge));
    peer.set_window(2);
    test.connection(peer.id()).unwrap().send("three").unwrap();
    test.run_until_idle();
    assert!(peer.receive_packets().is_empty(), "a packet is taken as a whole");
    peer.set_window(5);
    test.run_until_idle();
    assert_eq!(peer.receive_packets(), [b"three"]);
}

#[test]
fn a_peer_takes_no_more_than_its_window() {
    let mut test = TestLoop::new(Echo::default())
        .configure(|config| (config.high_water, config.low_water) = (6000, 3000));
    let peer = test.connect();
    peer.set_window(1000);
    peer.send([7; 10_000]);
    test.run_until_idle();
    assert_eq!(peer.receive().len(), 1000);
    assert_eq!(test.connection(peer.id()).unwrap().pending_output(), 9000);
    peer.set_window(6000);
    test.run_until_idle();
    assert_eq!(peer.receive().len(), 6000);
    peer.set_window(usize::MAX);
    test.run_until_idle();
    assert_eq!(peer.receive().len(), 3000);
    assert_eq!(log(&mut test), ["connect", "data 10000", "high water", "low water"]);
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_at_the_deadline_and_not_before() {
    let (mut test, peer) = connected();
    peer.set_window(0);
    peer.send("hello");
    test.advance(Duration::from_millis(29_999));
    assert!(peer.close_reason().is_none());
    test.advance(Duration::from_millis(1));
    assert!(matches!(peer.close_reason(), Some(CloseReason::TimedOut(Deadline::WriteStall))));
}

#[test]
fn a_write_that_is_put_off_goes_on_by_itself() {
    let (mut test, peer) = connected();
    peer.fail_next_write(ErrorKind::WouldBlock);
    peer.send("hello");
    test.turn();
    assert_eq!(peer.receive(), b"");
    test.turn();
    assert_eq!(peer.receive(), b"hello");
}

#[test]
fn what_was_sent_before_a_reset_is_read_and_the_reset_is_the_end() {
    let (mut test, peer) = connected();
    peer.send("last");
    peer.reset();
    test.run_until_idle();
    assert_eq!(log(&mut test), ["data 4", "close: reset by the peer"]);
    assert!(test.connection(peer.id()).is_none());
}

#[test]
fn a_connection_fails_with_what_its_peer_says() {
    let (mut test, peer) = connected();
    peer.fail(ErrorKind::TimedOut);
    test.run_until_idle();
    assert!(matches!(peer.close_reason(), Some(CloseReason::TimedOut(Deadline::Transport))));
    let peer = test.connect();
    peer.fail(ErrorKind::HostUnreachable);
    test.run_until_idle();
    let reason = peer.close_reason();
    assert!(matches!(reason, Some(CloseReason::Io(error)) if error.kind() == ErrorKind::HostUnreachable));
}

#[test]
fn a_write_to_a_peer_that_has_gone_is_answered_by_a_reset_on_tcp_only() {
    /// Goes on sending when the peer has closed.
    struct Stubborn;

    impl Handler for Stubborn {
        type State = ();

        fn on_connect(&mut self, _: &mut TcpConnection<'_>) {}

        fn on_data(&mut self, (): &mut (), _: &mut TcpConnection<'_>, _: &mut Buffer) {}

        fn on_read_closed(&mut self, (): &mut (), conn: &mut TcpConnection<'_>) {
            let _ = conn.send("still there?");
        }
    }

    let mut test = TestLoop::new(Stubborn);
    let unix = Address::unix_abstract("peer").unwrap();
    for (peer, taken) in [(test.connect(), true), (test.connect_from(unix), false)] {
        peer.close();
        test.run_until_idle();
        assert_eq!(!peer.receive().is_empty(), taken);
        assert!(matches!(peer.close_reason(), Some(CloseReason::Reset)), "{peer:?}");
    }
}

#[test]
fn a_peer_is_told_of_the_end_in_good_order_or_by_a_reset() {
    let (mut test, peer) = connected();
    test.connection(peer.id()).unwrap().close();
    test.turn();
    assert!(peer.is_read_closed() && peer.close_reason().is_none(), "it is waited for");
    peer.shutdown();
    test.run_until_idle();
    assert!(matches!(peer.close_reason(), Some(CloseReason::Local)) && !peer.is_reset());

    let peer = test.connect();
    let mut conn = test.connection(peer.id()).unwrap();
    conn.pause_reading();
    peer.send("unread");
    test.turn();
    test.connection(peer.id()).unwrap().force_close();
    test.turn();
    assert!(peer.is_reset() && !peer.is_read_closed());
}

#[test]
fn time_passes_from_deadline_to_deadline_unless_the_loop_is_held_up() {
    let (mut test, peer) = connected();
    let began = test.context().now();
    let set_timers = |test: &mut TestLoop<Echo>| {
        let mut conn = test.connection(peer.id()).unwrap();
        conn.set_timer(3 * SECOND, 3);
        conn.set_timer(SECOND, 1);
        let repeated = conn.context().run_every(SECOND, move |context| {
            let late = context.now().duration_since(began).as_secs();
            context.local::<Vec<u64>>().push(late);
        });
        test.context().run_after(11 * SECOND / 2, move |context| assert!(context.cancel(repeated)));
    };
    set_timers(&mut test);
    test.advance(Duration::ZERO);
    assert_eq!(test.context().now(), began, "a clock that stands still");
    test.advance(10 * SECOND);
    assert_eq!(test.context().now(), began + 10 * SECOND);
    assert_eq!(log(&mut test), ["timer 1", "timer 3"]);
    assert_eq!(*test.context().local::<Vec<u64>>(), [1, 2, 3, 4, 5]);

    test.context().local::<Vec<u64>>().clear();
    set_timers(&mut test);
    test.hold_up(10 * SECOND);
    test.run_until_idle();
    assert_eq!(log(&mut test), ["timer 1", "timer 3"]);
    assert_eq!(*test.context().local::<Vec<u64>>(), [20], "once for all that was missed");
}

#[test]
fn the_handler_is_reached_by_its_handle() {
    let (mut test, _peer) = connected();
    let handle = test.handler_handle();
    let poster = std::thread::spawn(move || handle.run(|echo, _| echo.log.push("posted".to_owned())));
    poster.join().unwrap().unwrap();
    test.turn();
    assert_eq!(log(&mut test), ["posted"]);
}

#[test]
fn stopping_is_told_to_each_connection_and_closes_none_by_force() {
    let (mut test, peer) = connected();
    let other = test.connect();
    log(&mut test);
    test.stop();
    test.advance(60 * SECOND);
    assert_eq!(log(&mut test), ["stopping", "stopping"]);
    assert!(peer.close_reason().is_none() && other.close_reason().is_none());
    drop(test);
    assert!(matches!(peer.close_reason(), Some(CloseReason::Stopping)));
}

#[test]
#[should_panic(expected = "a callback panicked")]
fn a_panic_of_the_handler_fails_the_test() {
    let (mut test, peer) = connected();
    peer.send("panic");
    test.turn();
}

#[test]
fn a_panic_of_the_handler_can_be_allowed() {
    let mut test = TestLoop::new(Echo::default()).allow_panics();
    let (peer, other) = (test.connect(), test.connect());
    peer.send("panic");
    other.send("hello");
    test.run_until_idle();
    assert!(matches!(peer.close_reason(), Some(CloseReason::HandlerPanicked)));
    assert_eq!(other.receive(), b"hello");
    assert_eq!(test.context().handle().figures().panics, 1);
}

#[test]
#[should_panic(expected = "the loop has not come to rest")]
fn a_loop_that_always_has_something_to_do_is_given_up() {
    fn again(context: &mut campana::LoopContext) {
        context.run_later(again);
    }

    let (mut test, _peer) = connected();
    test.context().run_later(again);
    test.run_until_idle();
}

#[test]
fn chance_is_the_same_for_the_same_seed_and_changes_nothing_in_the_end() {
    let play = |seed| {
        let mut test = TestLoop::new(Echo::default()).seed(seed);
        let peers: Vec<Peer> = (0..5).map(|_| test.connect()).collect();
        for (number, peer) in peers.iter().enumerate() {
            peer.send(vec![number as u8; 10_000]);
            peer.shutdown();
        }
        test.run_until_idle();
        for (number, peer) in peers.iter().enumerate() {
            assert_eq!(peer.receive(), vec![number as u8; 10_000]);
            assert!(matches!(peer.close_reason(), Some(CloseReason::Peer)));
        }
        log(&mut test)
    };
    assert_eq!(play(1), play(1));
    let first = play(1);
    assert!((2..20).any(|seed| play(seed) != first), "nothing is left to chance");
}
