//! A peer sends, and resets, while this side has said that it sends no more: what the peer sent is delivered all the same.

use std::io::Write;
use std::time::Duration;

#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, pattern, reset, small_buffers, wait_until};

#[test]
fn what_a_peer_sent_before_its_reset_is_delivered_though_this_side_has_shut_down() {
    for pending in [0, 2_000_000] {
        let server = Server::configured(
            |config| config.socket = small_buffers(),
            move |moment, conn, input| match moment {
                Moment::Connect => {
                    conn.pause_reading();
                    conn.send(pattern(pending)).unwrap();
                    if pending > 0 {
                        conn.shutdown();
                    }
                }
                _ => moment.usual(conn, input),
            },
        );
        let mut client = server.connect_and_wait();
        client.write_all(b"last words").unwrap();
        wait_until("the words to arrive", || server.unread() == 10);
        reset(client);
        server.running.settle();
        let resume = server.handle.for_each(|conn| {
            conn.shutdown();
            conn.resume_reading();
        });
        resume.unwrap();
        assert_eq!(server.log.wait_closed(), "reset by the peer");
        let turns = server.running.idle_turns(Duration::from_millis(100));
        assert!(turns <= 5, "{turns} turns for nothing");
        let log = server.end(1);
        assert_eq!(log.data(), b"last words", "with {pending} bytes to be sent: {:?}", log.lines());
    }
}
