//! Connections whose peers are scripts: what no real peer can be made to do at the right moment.

use std::io::ErrorKind;

use campana::connection::CloseReason;
use campana::testing::TestLoop;
use campana::{Buffer, Handler, TcpConnection};

/// Keeps what it is sent, but for what it is to leave.
#[derive(Default)]
struct Keep {
    input: Vec<u8>,
    leaves: bool,
}

impl Handler for Keep {
    type State = ();

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) {}

    fn on_data(&mut self, (): &mut (), _: &mut TcpConnection<'_>, input: &mut Buffer) {
        if !self.leaves {
            self.input.extend_from_slice(input.take());
        }
    }
}

#[test]
fn last_words_before_a_reset_are_read_though_output_was_pending_before_a_shutdown() {
    let mut test = TestLoop::new(Keep::default());
    let peer = test.connect();
    peer.set_window(0);
    let mut conn = test.connection(peer.id()).unwrap();
    conn.send("never taken").unwrap();
    conn.shutdown();
    test.turn();
    peer.send("last words");
    peer.reset();
    test.run_until_idle();
    assert_eq!(test.handler().input, b"last words");
    assert!(matches!(peer.close_reason(), Some(CloseReason::Reset)));
}

#[test]
fn output_that_was_lost_is_not_followed_by_its_end() {
    let mut test = TestLoop::new(Keep::default());
    let peer = test.connect();
    let mut conn = test.connection(peer.id()).unwrap();
    conn.pause_reading();
    conn.send("lost").unwrap();
    conn.shutdown();
    peer.fail_next_write(ErrorKind::OutOfMemory);
    test.run_until_idle();
    assert!(peer.close_reason().is_none() && !peer.is_read_closed());
}

#[test]
fn unread_input_comes_again_though_reading_is_resumed_twice() {
    let mut test = TestLoop::new(Keep { leaves: true, ..Keep::default() });
    let peer = test.connect();
    peer.send("left");
    test.turn();
    test.handler().leaves = false;
    let mut conn = test.connection(peer.id()).unwrap();
    conn.pause_reading();
    conn.resume_reading();
    conn.resume_reading();
    test.run_until_idle();
    assert_eq!(test.handler().input, b"left");
}
