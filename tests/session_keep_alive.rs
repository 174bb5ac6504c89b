//! The keep-alive filter.

use campana::codec::{Lines, Text};
use campana::session::filters::{KeepAlive, KeepAliveMessages};
use campana::{CloseReason, Deadline};

#[path = "support/echo_sessions.rs"]
mod echo_sessions;

use echo_sessions::{SECOND, heard, say, sessions_with, taken};

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
