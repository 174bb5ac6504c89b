//! The chain of byte filters: order, changes while it runs, chopping, pauses, the input's end, a handshake.

use std::time::Duration;

use campana::Buffer;
use campana::session::byte_filters::TrafficShaper;
use campana::session::{ByteContext, ByteFilter, ByteResult, Progress};

#[path = "support/byte_sessions.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod byte_sessions;

use byte_sessions::{Hex, Xor, echo_sessions, hex, sessions_that};

const SEEDS: std::ops::Range<u64> = 0..200;

fn xor(bytes: impl AsRef<[u8]>, key: u8) -> Vec<u8> {
    bytes.as_ref().iter().map(|byte| byte ^ key).collect()
}

#[test]
fn filters_are_passed_from_head_to_tail_and_back() {
    let (mut test, log) =
        echo_sessions(|service| service.byte_filter("xor", || Xor(9)).byte_filter("hex", Hex::default));
    let peer = test.connect();
    peer.send(xor(hex("one\ntwo\n"), 9));
    test.run_until_idle();
    assert_eq!(peer.receive(), xor(hex("one\ntwo\n"), 9));
    assert_eq!(log.take(), ["message one", "message two", "written 2"]);
}

#[test]
fn any_chopping_gives_the_same() {
    let lines: String = (0..100).map(|number| format!("line {number}\n")).collect();
    for seed in SEEDS {
        let (test, _) = echo_sessions(|service| {
            let service = service.byte_filter("hex", Hex::default).byte_filter("xor", || Xor(9));
            service.byte_filter("hex again", Hex::default)
        });
        let mut test = test.seed(seed);
        let peers = [test.connect(), test.connect()];
        for peer in &peers {
            peer.send(hex(xor(hex(&lines), 9)));
        }
        test.run_until_idle();
        for peer in &peers {
            assert_eq!(peer.receive(), hex(xor(hex(&lines), 9)).as_bytes());
        }
    }
}

#[test]
fn a_filter_that_is_added_gets_what_is_written_and_received_from_there_on() {
    for seed in SEEDS {
        let (test, log) = sessions_that(
            |cx, line| {
                if line == "hex" {
                    cx.write("yes").unwrap();
                    cx.byte_filters().add_last("hex", Box::new(Hex { announces: true })).unwrap();
                    cx.write("first").unwrap();
                } else {
                    cx.write(line).unwrap();
                }
            },
            |service| service,
        );
        let mut test = test.seed(seed);
        let peer = test.connect();
        peer.send(format!("one\nhex\n{}", hex("two\nthree\n")));
        test.run_until_idle();
        let received = String::from_utf8(peer.receive()).unwrap();
        assert_eq!(received, format!("one\nyes\n<{}", hex("first\ntwo\nthree\n")));
        let messages: Vec<_> = log.take().into_iter().filter(|text| text.starts_with("message")).collect();
        assert_eq!(messages, ["message one", "message hex", "message two", "message three"]);
    }
}

#[test]
fn filters_come_go_and_are_replaced_with_data_in_flight_in_both_directions() {
    for seed in SEEDS {
        let (test, _) = sessions_that(
            |cx, line| {
                cx.write(line).unwrap();
                let mut filters = cx.byte_filters();
                match line {
                    "hex" => filters.add_last("hex", Box::new(Hex { announces: true })).unwrap(),
                    "xor in front" => filters.add_before("hex", "xor", Box::new(Xor(1))).unwrap(),
                    "other xor" => filters.replace("xor", "other", Box::new(Xor(2))).unwrap(),
                    "no hex" => filters.remove("hex").unwrap(),
                    "nothing" => filters.remove("other").unwrap(),
                    _ => {}
                }
                cx.write("then").unwrap();
            },
            |service| service,
        );
        let mut test = test.seed(seed);
        let peer = test.connect();
        // What a filter has decoded before it goes is decoded, so that the peer waits for the answer.
        for piece in [
            b"a\nhex\n".to_vec(),
            hex("b\nxor in front\n").into_bytes(),
            xor(hex("c\nother xor\n"), 1),
            xor(hex("d\nno hex\n"), 2),
            xor("e\nnothing\n", 2),
            b"f\n".to_vec(),
        ] {
            peer.send(piece);
            test.run_until_idle();
        }
        let expected = [
            b"a\nthen\nhex\n<".to_vec(),
            hex("then\nb\nthen\nxor in front\n").into_bytes(),
            xor(hex("then\nc\nthen\nother xor\n"), 1),
            xor(hex("then\nd\nthen\nno hex\n") + ">", 2),
            xor("then\ne\nthen\nnothing\n", 2),
            b"then\nf\nthen\n".to_vec(),
        ];
        assert_eq!(peer.receive().escape_ascii().to_string(), expected.concat().escape_ascii().to_string());
    }
}

#[test]
fn what_a_callback_flushes_behind_a_change_goes_through_the_new_filter_and_so_does_the_rest_of_the_input() {
    let long = "x".repeat(6000);
    let of_session = long.clone();
    let (mut test, _) = sessions_that(
        move |cx, line| {
            if line == "hex" {
                cx.byte_filters().add_last("hex", Box::new(Hex::default())).unwrap();
                cx.write("short").unwrap();
                cx.flush();
                for _ in 0..10 {
                    cx.write(&of_session).unwrap();
                }
                cx.byte_filters().remove("first").unwrap();
                cx.write("removed").unwrap();
            } else {
                cx.write(line).unwrap();
            }
        },
        |service| service.byte_filter("first", || Xor(5)),
    );
    let peer = test.connect();
    // All in one read: the rest of it is decoded by the filter that goes before it is known that it goes.
    peer.send(xor(format!("one\nhex\n{}", hex("two\n")), 5));
    test.run_until_idle();
    let mut expected = xor("one\n", 5);
    expected.extend(xor(hex(format!("short\n{}", format!("{long}\n").repeat(10))), 5));
    expected.extend(hex("removed\ntwo\n").bytes());
    assert!(peer.receive() == expected);
}

#[test]
fn changes_at_both_ends_that_take_effect_inside_of_a_callback_keep_the_input_in_order() {
    let (mut test, log) = sessions_that(
        |cx, line| {
            if line == "change" {
                cx.byte_filters().add_first("head", Box::new(Xor(0))).unwrap();
                cx.byte_filters().add_last("hex", Box::new(Hex::default())).unwrap();
                cx.write("in effect").unwrap();
                cx.flush();
            }
        },
        |service| service.byte_filter("xor", || Xor(5)),
    );
    let peer = test.connect();
    peer.send(xor(format!("change\n{}", hex("two\nthree\n")), 5));
    test.run_until_idle();
    peer.send(xor(hex("four\n"), 5));
    test.run_until_idle();
    let messages: Vec<_> = log.take().into_iter().filter(|text| text.starts_with("message")).collect();
    assert_eq!(messages, ["message change", "message two", "message three", "message four"]);
    assert_eq!(peer.receive(), xor(hex("in effect\n"), 5));
}

#[test]
fn a_filter_is_added_from_outside_of_callbacks() {
    let (mut test, log) = echo_sessions(|service| service);
    let peer = test.connect();
    peer.send("one\n");
    test.run_until_idle();
    assert!(test.with_session(&peer, |_, cx| {
        cx.byte_filters().add_last("hex", Box::new(Hex { announces: true })).unwrap();
    }));
    peer.send(hex("two\n"));
    test.run_until_idle();
    assert_eq!(peer.receive(), format!("one\n<{}", hex("two\n")).as_bytes());
    assert_eq!(log.take(), ["message one", "written 1", "message two", "written 2"]);
}

#[test]
fn a_paused_session_gets_nothing_until_it_is_resumed_and_then_all_of_it() {
    for seed in SEEDS {
        let (test, log) = sessions_that(
            |cx, line| {
                if line == "pause" {
                    cx.pause_reading();
                    cx.set_timer(Duration::from_secs(5), 0);
                }
            },
            |service| service.byte_filter("hex", Hex::default),
        );
        let mut test = test.seed(seed);
        let peer = test.connect();
        peer.send(hex("one\npause\ntwo\npause\nthree\n"));
        peer.shutdown();
        test.advance(Duration::from_secs(4));
        assert_eq!(log.take(), ["message one", "message pause"]);
        test.advance(Duration::from_secs(4));
        assert_eq!(log.take(), ["message two", "message pause"]);
        test.advance(Duration::from_secs(5));
        assert_eq!(log.take(), ["message three", "input closed", "close: closed by the peer"]);
    }
}

#[test]
fn the_end_of_the_input_comes_behind_all_that_filters_still_hold() {
    for seed in SEEDS {
        let (test, log) = sessions_that(
            |_, _| {},
            |service| {
                let service = service.byte_filter("shaper", || TrafficShaper::new().inbound(100, 10));
                service.byte_filter("hex", Hex::default)
            },
        );
        let mut test = test.seed(seed);
        let peer = test.connect();
        peer.send(hex("one\ntwo\nthree\nfour\nfive\nsix\n"));
        peer.shutdown();
        test.advance(Duration::from_millis(100));
        let before = log.take();
        assert!(before.len() < 4, "{before:?}");
        test.advance(Duration::from_secs(10));
        let expected = ["one", "two", "three", "four", "five", "six"].map(|line| format!("message {line}"));
        let end = ["input closed".to_owned(), "close: closed by the peer".to_owned()];
        assert_eq!([before, log.take()].concat(), [&expected[..], &end].concat());
    }
}

#[test]
fn input_that_ends_inside_of_what_a_filter_waits_for_is_an_error() {
    let (mut test, log) = echo_sessions(|service| service.byte_filter("hex", Hex::default));
    let peer = test.connect();
    peer.send(hex("one\ntw") + "6");
    peer.shutdown();
    test.run_until_idle();
    assert_eq!(peer.receive(), hex("one\nsorry\n").as_bytes());
    let told = log.take();
    assert_eq!(
        told[..2],
        ["message one", "error: filter hex: the input ended inside of something: 1 bytes are left of it"]
    );
    assert!(told[told.len() - 1].starts_with("close: "), "{told:?}");
}

#[test]
fn input_that_a_filter_leaves_is_limited() {
    /// Waits for more.
    struct Greedy;

    impl ByteFilter for Greedy {
        fn decode(&mut self, _: &mut ByteContext<'_>, _: &mut Buffer, _: &mut Buffer) -> ByteResult {
            Ok(Progress::Done)
        }

        fn encode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
            output.append(input.take());
            Ok(Progress::Done)
        }
    }

    let (test, log) = echo_sessions(|service| service.byte_filter("greedy", || Greedy));
    let mut test = test.configure(|config| config.input_limit = 100_000);
    let peer = test.connect();
    peer.send(vec![0; 100_000]);
    test.run_until_idle();
    assert!(log.take().is_empty());
    peer.send([0]);
    test.run_until_idle();
    assert!(log.take()[0].contains("more than 100000 bytes of input left"));
}

/// Sends nothing of the session's until the peer has answered its greeting, as an encrypted connection does.
#[derive(Default)]
struct Handshake {
    is_done: bool,
}

impl ByteFilter for Handshake {
    fn on_open(&mut self, cx: &mut ByteContext<'_>) -> ByteResult {
        cx.reply().append(b"HELLO\n");
        Ok(Progress::After(Duration::from_secs(10)))
    }

    fn decode(&mut self, cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        if !self.is_done {
            let Some(end) = input.find_eol() else {
                return if input.is_empty() { Err("no answer in time".into()) } else { Ok(Progress::Done) };
            };
            if input.take_n(end + 1) != b"READY\n" {
                cx.reply().append(b"REFUSED\n");
                return Err("a wrong answer".into());
            }
            cx.reply().append(b"OK\n");
            self.is_done = true;
        }
        output.append(input.take());
        Ok(Progress::Done)
    }

    fn encode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        if self.is_done {
            output.append(input.take());
        }
        Ok(Progress::Done)
    }

    fn finish(&mut self, _: &mut ByteContext<'_>, output: &mut Buffer) -> ByteResult {
        output.append(b"BYE\n");
        Ok(Progress::Done)
    }
}

#[test]
fn a_handshake_goes_before_what_the_session_writes() {
    for seed in SEEDS {
        let (test, log) = echo_sessions(|service| {
            service.byte_filter("xor", || Xor(3)).byte_filter("handshake", Handshake::default)
        });
        let mut test = test.seed(seed);
        let peer = test.connect();
        assert!(test.with_session(&peer, |_, cx| assert!(cx.write("early").is_ok())));
        test.run_until_idle();
        assert_eq!(peer.receive(), xor("HELLO\n", 3));
        assert!(log.take().is_empty());
        peer.send(xor("READY\n", 3));
        test.run_until_idle();
        assert_eq!(peer.receive(), xor("OK\nearly\n", 3));
        peer.send(xor("one\n", 3));
        test.run_until_idle();
        assert_eq!(peer.receive(), xor("one\n", 3));
        test.manager().all().close();
        test.run_until_idle();
        assert_eq!(peer.receive(), xor("BYE\n", 3));
    }
}

#[test]
fn a_handshake_goes_on_while_a_session_that_is_closed_has_something_to_say() {
    let (mut test, log) = echo_sessions(|service| service.byte_filter("handshake", Handshake::default));
    let peer = test.connect();
    test.with_session(&peer, |_, cx| {
        cx.write("early").unwrap();
        cx.pause_reading();
        cx.close();
    });
    test.run_until_idle();
    assert!(!peer.is_read_closed());
    peer.send("READY\nnobody hears this\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"HELLO\nOK\nearly\nBYE\n");
    assert!(peer.is_read_closed());
    peer.close();
    test.run_until_idle();
    assert_eq!(log.take(), ["written 1", "close: closed by this side"]);
}

#[test]
fn a_filter_is_called_after_the_time_that_it_asks_for_without_input() {
    let (mut test, log) = echo_sessions(|service| service.byte_filter("handshake", Handshake::default));
    let peer = test.connect();
    test.advance(Duration::from_millis(9_999));
    assert!(log.take().is_empty());
    test.advance(Duration::from_millis(1));
    assert_eq!(log.take()[0], "error: filter handshake: no answer in time");
    drop(peer);
}

#[test]
fn each_message_is_a_packet_on_a_connection_of_packets() {
    let (mut test, _) = echo_sessions(|service| service.byte_filter("xor", || Xor(3)));
    let peer = test.connect_packet();
    for line in ["one\n", "two\n"] {
        peer.send(xor(line, 3));
    }
    test.run_until_idle();
    assert_eq!(peer.receive_packets(), [xor("one\n", 3), xor("two\n", 3)]);
}
