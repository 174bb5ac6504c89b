//! Water marks of output that waited before the kernel took none of it, or a part.

use campana::testing::{Peer, TestLoop};
use campana::{Buffer, Handler, TcpConnection};

/// Writes down which marks it is told of.
#[derive(Default)]
struct Marks(Vec<&'static str>);

impl Handler for Marks {
    type State = ();

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) {}

    fn on_data(&mut self, (): &mut (), _: &mut TcpConnection<'_>, _: &mut Buffer) {}

    fn on_high_water(&mut self, (): &mut (), _: &mut TcpConnection<'_>) {
        self.0.push("high");
    }

    fn on_low_water(&mut self, (): &mut (), _: &mut TcpConnection<'_>) {
        self.0.push("low");
    }
}

/// Sends pieces in one batch to a peer that takes `window` bytes, and answers the marks told by the end of that turn. Then the
/// peer takes the rest, whereupon the low-water mark has to follow if there was a high one.
#[track_caller]
fn marks(pieces: &[usize], window: usize) -> Vec<&'static str> {
    let mut test = TestLoop::new(Marks::default()).configure(|config| {
        (config.high_water, config.low_water, config.defer_output) = (1000, 500, 4096);
    });
    let peer: Peer = test.connect();
    peer.set_window(window);
    let mut conn = test.connection(peer.id()).unwrap();
    for piece in pieces {
        conn.send(vec![0; *piece]).unwrap();
    }
    test.turn();
    let told = std::mem::take(&mut test.handler().0);
    peer.set_window(usize::MAX);
    test.run_until_idle();
    let expected: &[&str] = if told.is_empty() { &[] } else { &["low"] };
    assert_eq!(test.handler().0, expected);
    assert_eq!(peer.receive().len(), pieces.iter().sum::<usize>());
    told
}

#[test]
fn small_output_that_is_blocked_at_the_end_of_the_batch_is_above_the_mark() {
    assert_eq!(marks(&[1001], 0), ["high"]);
    assert_eq!(marks(&[600, 600], 0), ["high"]);
    assert_eq!(marks(&[1600], 100), ["high"]);
}

#[test]
fn small_output_that_adds_up_to_a_write_in_the_batch_is_above_the_mark_once() {
    assert_eq!(marks(&[3000, 3000], 0), ["high"]);
    assert_eq!(marks(&[3000, 3000, 3000], 2000), ["high"]);
}

#[test]
fn output_of_which_so_much_is_taken_that_the_rest_is_below_the_mark_crosses_none() {
    assert!(marks(&[1001], 1).is_empty());
    assert!(marks(&[3000, 3000], 5000).is_empty());
    assert!(marks(&[600, 600], usize::MAX).is_empty());
}
