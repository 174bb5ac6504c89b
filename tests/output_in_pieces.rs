//! Output that lies in more pieces than one write takes, or in one that is written at once, and what is told of it.

use std::time::Duration;

use bytes::Bytes;
use campana::testing::TestLoop;
use campana::{Buffer, Handler, TcpConnection};

/// Counts how often it is told that all is written.
#[derive(Default)]
struct Counting {
    written: usize,
}

impl Handler for Counting {
    type State = ();

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) {}

    fn on_data(&mut self, (): &mut (), _: &mut TcpConnection<'_>, _: &mut Buffer) {}

    fn on_write_complete(&mut self, (): &mut (), conn: &mut TcpConnection<'_>) {
        assert_eq!(conn.pending_output(), 0);
        self.written += 1;
    }
}

const STALL: Duration = Duration::from_secs(1);

fn counting() -> TestLoop<Counting> {
    TestLoop::new(Counting::default()).configure(|config| {
        config.defer_output = usize::MAX;
        config.write_stall = Some(STALL);
    })
}

/// Sends pieces that stay apart, and answers all of them.
fn send_pieces(conn: &mut TcpConnection<'_>, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for number in 0..count {
        // Shared and copied by turns.
        let piece = vec![number as u8; if number % 2 == 0 { 600 } else { 10 }];
        all.extend_from_slice(&piece);
        if number % 2 == 0 {
            conn.send(Bytes::from(piece)).unwrap();
        } else {
            conn.send(&piece).unwrap();
        }
    }
    all
}

#[test]
fn all_of_many_pieces_is_written_in_one_turn_and_told_of_once() {
    for count in [64, 65, 128, 129, 1000] {
        let mut test = counting();
        let peer = test.connect();
        let all = send_pieces(&mut test.connection(peer.id()).unwrap(), count);
        test.turn();
        assert_eq!(peer.receive(), all, "{count} pieces");
        assert_eq!(test.handler().written, 1, "{count} pieces");
    }
}

#[test]
fn many_pieces_that_were_blocked_and_then_taken_count_as_stalled_no_more() {
    for count in [1, 65, 200] {
        let mut test = counting();
        let peer = test.connect();
        peer.set_window(0);
        let all = send_pieces(&mut test.connection(peer.id()).unwrap(), count);
        test.turn();
        test.advance(STALL / 2);
        peer.set_window(usize::MAX);
        test.advance(STALL * 10);
        assert_eq!(peer.receive(), all, "{count} pieces");
        assert!(peer.close_reason().is_none(), "{count} pieces: {:?}", peer.close_reason());
        assert_eq!(test.handler().written, 1, "{count} pieces");
    }
}

#[test]
fn a_peer_that_takes_some_of_many_pieces_gets_the_rest_later() {
    // In front of a piece, in one, and where one write ends and the next begins.
    for window in [1, 599, 600, 605, 610, 32 * 610, 32 * 610 + 1] {
        let mut test = counting();
        let peer = test.connect();
        peer.set_window(window);
        let all = send_pieces(&mut test.connection(peer.id()).unwrap(), 200);
        test.turn();
        let first = peer.receive();
        assert_eq!(first.len(), window);
        assert_eq!(test.handler().written, 0);
        peer.set_window(usize::MAX);
        test.run_until_idle();
        assert_eq!([first, peer.receive()].concat(), all, "{window} bytes at first");
        assert_eq!(test.handler().written, 1);
    }
}

#[test]
fn output_that_is_written_at_once_is_told_of_in_that_turn() {
    let mut test = TestLoop::new(Counting::default()).configure(|config| config.defer_output = 4096);
    let peer = test.connect();
    test.connection(peer.id()).unwrap().send(vec![7; 5000]).unwrap();
    assert_eq!(peer.receive().len(), 5000);
    test.turn();
    assert_eq!(test.handler().written, 1);
}
