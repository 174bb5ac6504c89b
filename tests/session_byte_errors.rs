//! Byte filters that fail: what came before is delivered, `on_error` names the filter, and the session ends.

use campana::Buffer;
use campana::session::{ByteContext, ByteFilter, ByteResult, ErrorAction, Progress};

#[path = "support/byte_sessions.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod byte_sessions;

use byte_sessions::{Cx, Hex, Log, Service, Test, Xor, hex, sessions_with};

/// Where a filter fails.
#[derive(Clone, Copy, PartialEq, Debug)]
enum At {
    Open,
    Decode,
    Encode,
    InputClosed,
    Finish,
}

/// Passes everything on, up to a byte at which it fails.
struct Failing {
    at: At,
    panics: bool,
}

impl Failing {
    fn fail(&self, at: At) -> ByteResult {
        match self.at == at {
            false => Ok(Progress::Done),
            true if self.panics => panic!("at {at:?}"),
            true => Err(format!("at {at:?}").into()),
        }
    }

    fn pass(&self, at: At, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        match input.find(b'!') {
            Some(place) if self.at == at => {
                output.append(input.take_n(place));
                self.fail(at)
            }
            _ => {
                output.append(input.take());
                Ok(Progress::Done)
            }
        }
    }
}

impl ByteFilter for Failing {
    fn on_open(&mut self, _: &mut ByteContext<'_>) -> ByteResult {
        self.fail(At::Open)
    }

    fn decode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        self.pass(At::Decode, input, output)
    }

    fn encode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        self.pass(At::Encode, input, output)
    }

    fn on_input_closed(&mut self, _: &mut ByteContext<'_>) -> ByteResult {
        self.fail(At::InputClosed)
    }

    fn finish(&mut self, _: &mut ByteContext<'_>, _: &mut Buffer) -> ByteResult {
        self.fail(At::Finish)
    }
}

fn failing(at: At) -> impl Fn() -> Failing + Send + Sync {
    move || Failing { at, panics: false }
}

fn panicking(at: At) -> impl Fn() -> Failing + Send + Sync {
    move || Failing { at, panics: true }
}

fn echo(cx: &mut Cx<'_>, line: &str) {
    let _ = cx.write(line);
}

/// Sessions that echo, and would go on after any error if they could.
fn insistent(with: impl FnOnce(Service) -> Service) -> (Test, Log) {
    sessions_with(ErrorAction::Continue, echo, with)
}

fn without_written(log: &Log) -> Vec<String> {
    log.take().into_iter().filter(|text| !text.starts_with("written")).collect()
}

#[test]
fn messages_before_an_error_in_decoding_are_delivered_and_answered_however_they_are_chopped() {
    for (seed, filters_behind) in (0..100).flat_map(|seed| [(seed, false), (seed, true)]) {
        let (test, log) = insistent(|service| {
            let service = service.byte_filter("xor", || Xor(1)).byte_filter("failing", failing(At::Decode));
            if filters_behind { service.byte_filter("hex", Hex::default) } else { service }
        });
        let mut test = test.seed(seed);
        let peer = test.connect();
        let code = |text: &str| {
            let text = if filters_behind { hex(text) } else { text.to_owned() };
            text.bytes().map(|byte| byte ^ 1).collect::<Vec<_>>()
        };
        peer.send([code("one\ntwo\n"), vec![b'!' ^ 1], code("three\n")].concat());
        test.run_until_idle();
        // The way out has not failed.
        assert_eq!(peer.receive(), code("one\ntwo\nsorry\n"));
        assert!(peer.is_read_closed());
        peer.close();
        test.run_until_idle();
        assert_eq!(
            without_written(&log),
            [
                "message one",
                "message two",
                "error: filter failing: at Decode",
                "close: protocol error: filter failing: at Decode"
            ]
        );
    }
}

#[test]
fn an_error_in_encoding_loses_what_comes_behind_it_and_nothing_before() {
    for seed in 0..100 {
        let (test, log) = insistent(|service| {
            service.byte_filter("hex", || Hex { announces: true }).byte_filter("failing", failing(At::Encode))
        });
        let mut test = test.seed(seed);
        let peer = test.connect();
        peer.send(hex("one\n"));
        test.run_until_idle();
        peer.send(hex("t!o\nthree\n"));
        test.run_until_idle();
        assert_eq!(peer.receive(), format!("<{}>", hex("one\nt")).as_bytes());
        assert!(peer.is_read_closed());
        peer.close();
        test.run_until_idle();
        let told = without_written(&log);
        assert!(told.contains(&"error: filter failing: at Encode".to_owned()), "{told:?}");
        assert_eq!(
            told[told.len() - 1],
            "close: protocol error: filter failing: at Encode, unwritten from 2",
            "{told:?}"
        );
    }
}

#[test]
fn an_error_at_the_beginning_ends_the_session() {
    let (mut test, log) = insistent(|service| service.byte_filter("failing", failing(At::Open)));
    let peer = test.connect();
    test.run_until_idle();
    assert!(peer.is_read_closed());
    peer.close();
    test.run_until_idle();
    let told = without_written(&log);
    assert_eq!(told, ["error: filter failing: at Open", "close: protocol error: filter failing: at Open"]);
}

#[test]
fn an_error_at_the_end_of_the_input_comes_behind_all_messages() {
    for seed in 0..100 {
        let (test, log) = insistent(|service| {
            service.byte_filter("failing", failing(At::InputClosed)).byte_filter("hex", Hex::default)
        });
        let mut test = test.seed(seed);
        let peer = test.connect();
        peer.send(hex("one\ntwo\n"));
        peer.close();
        test.run_until_idle();
        let told = without_written(&log);
        assert_eq!(told[..3], ["message one", "message two", "error: filter failing: at InputClosed"]);
        assert!(told[3].starts_with("close: ") && told.len() == 4, "{told:?}");
    }
}

#[test]
fn an_error_in_finishing_is_told_and_does_not_keep_what_was_written_from_the_peer() {
    let (mut test, log) = insistent(|service| {
        service.byte_filter("hex", || Hex { announces: true }).byte_filter("failing", failing(At::Finish))
    });
    let peer = test.connect();
    peer.send(hex("one\n"));
    test.run_until_idle();
    test.manager().all().close();
    test.run_until_idle();
    assert_eq!(peer.receive(), format!("<{}>", hex("one\n")).as_bytes());
    assert!(peer.is_read_closed());
    peer.close();
    test.run_until_idle();
    assert_eq!(
        without_written(&log),
        [
            "message one",
            "error: filter failing: at Finish",
            "close: protocol error: filter failing: at Finish"
        ]
    );
}

#[test]
fn a_filter_that_fails_when_it_is_taken_out_ends_the_session_and_places_stay_what_they_are() {
    let (mut test, log) = insistent(|service| {
        service.byte_filter("failing", failing(At::Finish)).byte_filter("hex", Hex::default)
    });
    let peer = test.connect();
    test.with_session(&peer, |_, cx| {
        let mut filters = cx.byte_filters();
        filters.remove("failing").unwrap();
        filters.add_last("second", Box::new(Failing { at: At::Open, panics: false })).unwrap();
        filters.remove("hex").unwrap();
        filters.remove("second").unwrap();
    });
    test.run_until_idle();
    assert!(peer.is_read_closed());
    assert_eq!(without_written(&log), ["error: filter failing: at Finish"]);
}

#[test]
fn a_panic_in_a_filter_ends_its_session_whatever_that_says_and_no_other() {
    for at in [At::Open, At::Decode, At::Encode, At::InputClosed, At::Finish] {
        let (test, log) = insistent(|service| {
            service.byte_filter("hex", Hex::default).byte_filter("panicking", panicking(at))
        });
        let mut test = test.allow_panics();
        let peer = test.connect();
        peer.send(hex("one\n"));
        test.run_until_idle();
        peer.send(hex("two!\nthree\n"));
        peer.shutdown();
        test.run_until_idle();
        assert!(peer.is_read_closed(), "{at:?}");
        peer.close();
        test.run_until_idle();
        let told = without_written(&log);
        let error = format!("error: a callback panicked: at {at:?}");
        assert_eq!(
            told.iter().filter(|text| text.starts_with("error")).collect::<Vec<_>>(),
            [&error],
            "{told:?}"
        );
        assert!(told[told.len() - 1].starts_with("close: "), "{told:?}");
        let received = peer.receive();
        let expected = if at == At::Open { String::new() } else { hex("one\n") };
        assert!(received.starts_with(expected.as_bytes()), "{at:?}: {told:?}");
        if at != At::Open {
            let other = test.connect();
            other.send(hex("other\n"));
            test.run_until_idle();
            assert_eq!(other.receive(), hex("other\n").as_bytes());
        }
    }
}

#[test]
fn messages_behind_one_that_panics_are_delivered_if_the_session_goes_on() {
    for seed in 0..100 {
        let (test, log) = sessions_with(
            ErrorAction::Continue,
            |_, line| assert_ne!(line, "two"),
            |service| service.byte_filter("hex", Hex::default),
        );
        let mut test = test.allow_panics().seed(seed);
        let peer = test.connect();
        peer.send(hex("one\ntwo\nthree\nfour\n"));
        test.run_until_idle();
        let messages: Vec<_> = log.take().into_iter().filter(|text| text.starts_with("message")).collect();
        assert_eq!(messages, ["message one", "message two", "message three", "message four"]);
    }
}
