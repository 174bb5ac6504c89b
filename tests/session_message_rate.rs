//! The filter that limits the rate of messages.

use std::time::Duration;

use campana::Buffer;
use campana::session::filters::{MessageRate, WhenEmpty};
use campana::session::{ByteContext, ByteFilter, ByteResult, Progress};

#[path = "support/echo_sessions.rs"]
mod echo_sessions;

use echo_sessions::{SECOND, echoes_with, heard, say, sessions_with, start, taken};

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
    let (mut test, _) = sessions_with(MessageRate::new(1, 3600 * SECOND).when_empty(WhenEmpty::Drop));
    let (peer, other) = (test.connect(), test.connect());
    let many = "x\n".repeat(100);
    assert_eq!(say(&mut test, &peer, &format!("faster\n{many}")).lines().count(), 101);
    assert_eq!(say(&mut test, &other, &many).lines().count(), 1);
}

#[test]
fn nothing_is_lost_or_reordered_by_holding_back_whatever_the_pieces_are() {
    let lines: String = (1..=30).map(|number| format!("{number}\n")).collect();
    for seed in 0..100 {
        let (test, log) = sessions_with(MessageRate::new(10, SECOND).burst(3));
        let mut test = test.seed(seed);
        let peer = test.connect();
        peer.send(&lines);
        peer.shutdown();
        test.advance(10 * SECOND);
        assert_eq!(heard(&peer), lines, "seed {seed}");
        let delivered = taken(&log)[1..31].join("\n") + "\n";
        assert_eq!(delivered, lines, "seed {seed}");
    }
}

/// Changes nothing, but has what it gives wait where byte filters leave it for the codec.
#[derive(Clone)]
struct Through;

impl ByteFilter for Through {
    fn decode(&mut self, _cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        output.append(input.take());
        Ok(Progress::Done)
    }

    fn encode(&mut self, _cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        output.append(input.take());
        Ok(Progress::Done)
    }
}

#[test]
fn what_byte_filters_have_given_is_held_back_as_well() {
    let service = echoes_with(MessageRate::new(10, SECOND).burst(3)).byte_filter("through", || Through);
    let (mut test, _) = start(service);
    let peer = test.connect();
    let lines: Vec<_> = (1..=20).map(|number| format!("{number}\n")).collect();
    assert_eq!(say(&mut test, &peer, &lines.concat()), lines[..4].concat());
    peer.shutdown();
    test.advance(SECOND);
    let half = heard(&peer);
    assert!((8..=11).contains(&half.lines().count()), "{half}");
    test.advance(2 * SECOND);
    assert_eq!(half + &heard(&peer), lines[4..].concat());
    assert!(peer.is_read_closed());
}
