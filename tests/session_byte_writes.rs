//! What becomes of writes that go through byte filters: when they count as written, what waits, and what a session's end does.

use std::time::Duration;

use campana::Buffer;
use campana::session::byte_filters::TrafficShaper;
use campana::session::{ByteContext, ByteFilter, ByteResult, Progress, WriteError};

#[path = "support/byte_sessions.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod byte_sessions;

use byte_sessions::{Hex, Xor, echo_sessions, hex, sessions_that};

const SECOND: Duration = Duration::from_secs(1);

fn shaper(rate: u64, burst: u64) -> impl Fn() -> TrafficShaper + Send + Sync {
    move || TrafficShaper::new().outbound(rate, burst)
}

#[test]
fn a_write_is_written_when_the_bytes_that_it_became_have_reached_the_kernel() {
    let (mut test, log) = echo_sessions(|service| service.byte_filter("hex", Hex::default));
    let peer = test.connect();
    peer.set_window(7);
    peer.send(hex("one\n"));
    test.run_until_idle();
    assert_eq!(log.take(), ["message one"]);
    peer.set_window(1);
    test.run_until_idle();
    assert_eq!(log.take(), ["written 1"]);
    peer.send(hex("two\n"));
    test.run_until_idle();
    assert_eq!(log.take(), ["message two"]);
    peer.set_window(7);
    test.run_until_idle();
    assert_eq!(log.take().len(), 0);
    peer.set_window(1);
    test.run_until_idle();
    assert_eq!(log.take(), ["written 2"]);
}

#[test]
fn the_end_names_the_first_write_of_which_a_byte_has_not_reached_the_kernel() {
    for (window, told) in
        [(24, ""), (23, ", unwritten from 3"), (16, ", unwritten from 3"), (15, ", unwritten from 2")]
    {
        let (mut test, log) = echo_sessions(|service| service.byte_filter("hex", Hex::default));
        let peer = test.connect();
        peer.set_window(window);
        for line in ["one\n", "two\n", "six\n"] {
            peer.send(hex(line));
            test.run_until_idle();
        }
        test.manager().all().abort();
        test.run_until_idle();
        assert_eq!(log.take().pop().unwrap(), format!("close: closed by this side{told}"), "{window}");
    }
}

#[test]
fn writes_are_told_as_a_shaper_lets_them_out() {
    let (mut test, log) = sessions_that(
        |cx, _| {
            for _ in 0..4 {
                cx.write("123456789").unwrap();
            }
        },
        |service| service.byte_filter("hex", Hex::default).byte_filter("shaper", shaper(10, 10)),
    );
    let peer = test.connect();
    peer.send(hex("go\n"));
    test.run_until_idle();
    assert_eq!(log.take(), ["message go", "written 1"]);
    assert_eq!(peer.receive(), hex("123456789\n").as_bytes());
    test.advance(SECOND - Duration::from_millis(1));
    assert_eq!(log.take().len(), 0);
    test.advance(Duration::from_millis(1));
    assert_eq!(log.take(), ["written 2"]);
    test.advance(2 * SECOND);
    assert_eq!(log.take(), ["written 3", "written 4"]);
    assert_eq!(peer.receive(), hex("123456789\n".repeat(3)).as_bytes());
}

#[test]
fn a_shaper_lets_the_burst_and_then_the_rate_pass_in_order_and_whole() {
    for seed in 0..100 {
        let (test, _) = echo_sessions(|service| service.byte_filter("shaper", shaper(1000, 500)));
        let mut test = test.seed(seed);
        let peer = test.connect();
        let lines: String = (0..500).map(|number| format!("line {number:03}\n")).collect();
        peer.send(&lines);
        test.run_until_idle();
        let mut received = peer.receive();
        assert_eq!(received.len(), 500);
        for second in 1..=4 {
            test.advance(SECOND);
            received.extend(peer.receive());
            // A piece of 20 ms is waited for before it is let out, however it was delayed.
            assert!(
                (480 + 1000 * second..=500 + 1000 * second).contains(&received.len()),
                "{}",
                received.len()
            );
        }
        test.advance(SECOND);
        received.extend(peer.receive());
        assert_eq!(received, lines.as_bytes());
    }
}

#[test]
fn input_that_a_shaper_holds_back_is_not_read() {
    let (mut test, log) = sessions_that(
        |_, _| {},
        |service| service.byte_filter("shaper", || TrafficShaper::new().inbound(1000, 1000)),
    );
    let peer = test.connect();
    for _ in 0..100 {
        peer.send("123456789\n".repeat(1000));
        test.run_until_idle();
    }
    assert_eq!(log.take().len(), 100);
    let connection = test.connection(peer.id()).unwrap();
    assert!(connection.is_reading_paused());
    assert!(connection.stats().bytes_in < 200_000, "{}", connection.stats().bytes_in);
    test.advance(999 * SECOND);
    assert_eq!(log.take().len(), 99_900);
    assert!(!test.connection(peer.id()).unwrap().is_reading_paused());
}

#[test]
fn what_a_shaper_holds_back_counts_as_pending_output() {
    let (test, log) = sessions_that(
        |cx, _| {
            for _ in 0..99 {
                cx.write("123456789").unwrap();
            }
            assert_eq!((cx.pending_bytes(), cx.stats().pending_bytes), (990, 990));
            cx.flush();
            assert_eq!(cx.pending_bytes(), 980);
            assert!(matches!(cx.write(&"x".repeat(20)), Err(WriteError::Full)));
        },
        |service| service.byte_filter("shaper", shaper(1, 10)),
    );
    let mut test = test.configure(|config| config.hard_cap = 1000);
    let peer = test.connect();
    peer.send("go\n");
    test.run_until_idle();
    assert_eq!(log.take(), ["message go", "written 1", "close: the peer reads too slowly, unwritten from 2"]);
}

#[test]
fn what_a_shaper_holds_back_counts_for_the_water_marks() {
    let (test, log) = sessions_that(
        |cx, _| {
            for _ in 0..100 {
                cx.write("123456789").unwrap();
            }
        },
        |service| service.byte_filter("shaper", shaper(100, 100)),
    );
    let mut test = test.configure(|config| (config.high_water, config.low_water) = (500, 200));
    let peer = test.connect();
    peer.send("go\n");
    test.run_until_idle();
    assert_eq!(log.take(), ["message go", "high", "written 10"]);
    test.advance(7 * SECOND - Duration::from_millis(1));
    assert!(!log.take().contains(&"low".to_owned()));
    // A piece that is let out waits for the end of the batch.
    test.advance(Duration::from_millis(21));
    assert!(log.take().contains(&"low".to_owned()));
    // The kernel's part counts as well.
    peer.set_window(0);
    test.advance(10 * SECOND);
    assert_eq!(log.take().len(), 0);
    peer.send("go\n");
    test.run_until_idle();
    test.advance(SECOND);
    assert_eq!(log.take(), ["message go", "high"]);
    test.advance(9 * SECOND);
    assert_eq!(log.take().len(), 0);
    peer.set_window(usize::MAX);
    test.run_until_idle();
    assert_eq!(log.take(), ["low", "written 200"]);
}

#[test]
fn what_goes_through_filters_when_the_connection_has_failed_is_not_called_written() {
    let (mut test, log) = sessions_that(|_, _| {}, |service| service);
    let peer = test.connect();
    peer.fail_next_write(std::io::ErrorKind::BrokenPipe);
    test.with_session(&peer, |_, cx| {
        let _ = cx.write("lost");
        cx.flush();
        let _ = cx.byte_filters().add_last("one", Box::new(Xor(0)));
        let _ = cx.write("lost as well");
        let _ = cx.byte_filters().add_last("other", Box::new(Xor(0)));
    });
    test.run_until_idle();
    let told = log.take();
    assert!(told.len() == 1 && told[0].ends_with("unwritten from 1"), "{told:?}");
}

#[test]
fn a_filter_that_comes_while_much_output_waits_leaves_the_crossings_of_the_water_marks_in_turn() {
    let (test, log) = sessions_that(|_, _| {}, |service| service);
    let mut test = test.configure(|config| (config.high_water, config.low_water) = (500, 200));
    let peer = test.connect();
    for _ in 0..2 {
        peer.set_window(0);
        test.with_session(&peer, |_, cx| drop(cx.write(&"x".repeat(1000))));
        test.run_until_idle();
        assert_eq!(log.take(), ["high"]);
        test.with_session(&peer, |_, cx| {
            let _ = cx.byte_filters().add_last("same", Box::new(Xor(0)));
        });
        peer.set_window(usize::MAX);
        test.run_until_idle();
        assert!(log.take().starts_with(&["low".to_owned()]));
    }
}

#[test]
fn closing_delivers_what_a_shaper_holds_back_before() {
    for seed in 0..100 {
        let (test, log) = sessions_that(
            |cx, line| {
                for _ in 0..10 {
                    cx.write(line).unwrap();
                }
                cx.close();
            },
            |service| {
                service.byte_filter("shaper", shaper(10, 10)).byte_filter("hex", || Hex { announces: true })
            },
        );
        let mut test = test.seed(seed).configure(|config| config.linger = SECOND);
        let peer = test.connect();
        peer.send(hex("123456789\nmore\n"));
        test.run_until_idle();
        let mut received = String::from_utf8(peer.receive()).unwrap();
        assert_eq!(received.len(), 10);
        // It goes on for longer than the linger time, as there is progress; what comes in meanwhile is of no interest.
        for _ in 0..19 {
            peer.send(hex("more\n"));
            test.advance(SECOND);
            received.push_str(std::str::from_utf8(&peer.receive()).unwrap());
            assert!(!peer.is_read_closed());
        }
        test.advance(SECOND);
        received.push_str(std::str::from_utf8(&peer.receive()).unwrap());
        assert_eq!(received, format!("<{}>", hex("123456789\n".repeat(10))));
        assert!(peer.is_read_closed() && !peer.is_reset());
        peer.close();
        test.run_until_idle();
        let told = log.take();
        assert_eq!((&*told[0], &*told[told.len() - 1]), ("message 123456789", "close: closed by this side"));
    }
}

#[test]
fn shutting_down_waits_for_what_a_shaper_holds_back_while_messages_still_come() {
    let (mut test, log) = sessions_that(
        |cx, line| {
            if cx.write("123456789").is_ok() {
                cx.write("123456789").unwrap();
                cx.shutdown();
            } else if line == "close" {
                cx.close();
            }
        },
        |service| service.byte_filter("shaper", shaper(10, 10)),
    );
    let peer = test.connect();
    peer.send("go\n");
    test.run_until_idle();
    assert!(!peer.is_read_closed());
    peer.send("more\n");
    test.advance(SECOND);
    assert_eq!(peer.receive(), b"123456789\n123456789\n");
    assert!(peer.is_read_closed());
    peer.send("still\nclose\n");
    peer.close();
    test.run_until_idle();
    let messages: Vec<_> = log.take().into_iter().filter(|text| !text.starts_with("written")).collect();
    assert_eq!(
        messages,
        ["message go", "message more", "message still", "message close", "close: closed by this side"]
    );
}

#[test]
fn a_session_may_be_shut_down_and_closed_at_once() {
    let (mut test, log) = sessions_that(
        |cx, line| {
            cx.write(line).unwrap();
            cx.shutdown();
            cx.close();
        },
        |service| service,
    );
    let peer = test.connect();
    peer.send("one\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"one\n");
    peer.close();
    test.run_until_idle();
    assert_eq!(log.take(), ["message one", "written 1", "close: closed by this side"]);
}

/// Takes nothing of the output, ever.
struct Stuck;

impl ByteFilter for Stuck {
    fn decode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        output.append(input.take());
        Ok(Progress::Done)
    }

    fn encode(&mut self, _: &mut ByteContext<'_>, _: &mut Buffer, _: &mut Buffer) -> ByteResult {
        Ok(Progress::Done)
    }
}

#[test]
fn closing_waits_for_filters_that_do_not_get_on_for_no_longer_than_the_linger_time() {
    let (test, log) = sessions_that(
        |cx, line| {
            cx.write(line).unwrap();
            cx.close();
        },
        |service| service.byte_filter("stuck", || Stuck),
    );
    let mut test = test.configure(|config| config.linger = 3 * SECOND);
    let peer = test.connect();
    peer.send("one\n");
    test.advance(3 * SECOND - Duration::from_millis(1));
    assert_eq!(log.take(), ["message one"]);
    test.advance(Duration::from_millis(1));
    let told = log.take();
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("close: ") && told[0].ends_with("unwritten from 1"), "{told:?}");
    assert!(told[0] != "close: closed by this side, unwritten from 1", "{told:?}");
    assert!(peer.close_reason().is_some());
}

#[test]
fn aborting_discards_what_filters_hold_back_and_names_it_also_while_it_is_being_closed() {
    for close_first in [false, true] {
        let (mut test, log) = sessions_that(
            move |cx, line| {
                for _ in 0..3 {
                    cx.write(line).unwrap();
                }
                if close_first {
                    cx.close();
                }
            },
            |service| service.byte_filter("shaper", shaper(10, 10)),
        );
        let peer = test.connect();
        peer.send("123456789\n");
        test.run_until_idle();
        test.manager().all().abort();
        test.run_until_idle();
        assert_eq!(peer.receive(), b"123456789\n");
        assert!(peer.close_reason().is_some());
        assert_eq!(log.take().pop().unwrap(), "close: closed by this side, unwritten from 2");
    }
}

#[test]
fn the_reason_of_a_close_that_waits_is_told_whatever_ends_the_connection() {
    let (mut test, log) = sessions_that(
        |cx, line| {
            cx.write(line).unwrap();
            cx.close_because(campana::CloseReason::Refused("enough".into()));
        },
        |service| service.byte_filter("stuck", || Stuck),
    );
    let peer = test.connect();
    peer.send("one\n");
    test.run_until_idle();
    peer.reset();
    test.run_until_idle();
    assert!(log.take()[1].contains("enough"));
}

#[test]
fn what_a_filter_that_is_taken_out_holds_back_goes_on_without_it() {
    for place in 0..2 {
        let (mut test, log) = sessions_that(
            |cx, line| {
                for _ in 0..3 {
                    cx.write(line).unwrap();
                }
            },
            |service| {
                let shaper = shaper(10, 10);
                if place == 0 {
                    service.byte_filter("shaper", shaper).byte_filter("xor", || Xor(0))
                } else {
                    service.byte_filter("xor", || Xor(0)).byte_filter("shaper", shaper)
                }
            },
        );
        let peer = test.connect();
        peer.send("123456789\n");
        test.run_until_idle();
        log.take();
        assert_eq!(peer.receive().len(), 10);
        // Of what goes on, the writes are still told one by one if they still can be.
        peer.set_window(5);
        test.with_session(&peer, |_, cx| {
            cx.byte_filters().remove("shaper").unwrap();
            cx.write("behind it").unwrap();
        });
        test.run_until_idle();
        assert_eq!(log.take().len(), 0);
        peer.set_window(usize::MAX);
        test.run_until_idle();
        assert_eq!(peer.receive(), b"123456789\n123456789\nbehind it\n");
        assert_eq!(log.take(), ["written 4"]);
        peer.send("one\n");
        test.run_until_idle();
        assert_eq!(log.take(), ["message one", "written 7"]);
    }
}

#[test]
fn a_shaper_is_changed_while_it_runs() {
    let (mut test, _) = echo_sessions(|service| service.byte_filter("shaper", shaper(1, 1)));
    let peer = test.connect();
    peer.send("123456789\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"1");
    test.with_session(&peer, |_, cx| {
        cx.byte_filter::<TrafficShaper>("shaper").unwrap().set_outbound(None);
    });
    test.advance(SECOND);
    assert_eq!(peer.receive(), b"23456789\n");
}

#[test]
fn a_session_that_is_silent_waits_for_what_a_shaper_holds_back_when_the_server_stops() {
    let (mut test, _) = echo_sessions(|service| service.byte_filter("shaper", shaper(1, 1)));
    let peer = test.connect();
    peer.send("12345\n");
    test.run_until_idle();
    test.stop();
    test.advance(10 * SECOND);
    assert_eq!(peer.receive(), b"12345\n");
    assert!(peer.is_read_closed());
}
