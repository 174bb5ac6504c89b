//! What sessions make of errors: in what comes in, in what is to go out, and of panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use campana::Buffer;
use campana::codec::{Codec, DecodeError, EncodeError, LengthPrefixed, Lines, Text};
use campana::session::{
    ErrorAction, FilterContext, MessageFilter, Session, SessionContext, SessionError, SessionService,
    Verdict, WriteError,
};
use campana::testing::TestLoop;

#[path = "support/byte_filters.rs"]
mod byte_filters;
#[path = "support/probe.rs"]
mod probe;

use byte_filters::Hex;
use probe::{Then, Told, lines, on_message, probes};

/// Panics when it is told to, and takes errors as the test says.
fn panics_at(text: &'static str, action: ErrorAction) -> impl Fn(&Told, &mut probe::Cx<'_>) -> Then {
    move |told, cx| {
        match told {
            Told::Message(message) if message == text => panic!("asked to"),
            Told::Message(message) => drop(cx.write(message)),
            Told::Error(_) => return Then::Error(action),
            _ => {}
        }
        Then::Usual
    }
}

#[test]
fn a_decode_error_closes_with_the_reason_and_a_last_reply() {
    let (mut test, log) = probes(lines(), |told, cx| {
        if matches!(told, Told::Error(_)) {
            cx.write("that was too long").unwrap();
        }
        Then::Usual
    });
    let peer = test.connect();
    peer.send(vec![b'x'; 10_000]);
    test.run_until_idle();
    assert_eq!(peer.receive(), b"that was too long\n");
    assert!(peer.is_read_closed());
    peer.close();
    test.run_until_idle();
    let told = log.lines_but_written();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[1].starts_with("error: a line has more than 8192 bytes"), "{told:?}");
    assert!(told[2].starts_with("close: protocol error: a line has more than 8192 bytes"), "{told:?}");
    assert_eq!(test.manager().stats().errors, 1);
}

#[test]
fn abort_in_on_error_sends_nothing_more() {
    let (mut test, log) = probes(lines(), |told, cx| {
        if matches!(told, Told::Error(_)) {
            cx.write("lost").unwrap();
            return Then::Error(ErrorAction::Abort);
        }
        Then::Usual
    });
    let peer = test.connect();
    peer.send(b"\xff\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"");
    let told = log.lines();
    assert!(told[2].starts_with("close: protocol error: the message is not UTF-8"), "{told:?}");
    assert!(told[2].ends_with("unwritten from 1"), "{told:?}");
}

#[test]
fn after_a_recoverable_error_a_session_may_go_on_with_the_next_message() {
    for seed in 0..50 {
        let (test, log) = probes(lines(), |told, _| match told {
            Told::Error(_) => Then::Error(ErrorAction::Continue),
            _ => Then::Usual,
        });
        let mut test = test.seed(seed);
        let peer = test.connect();
        peer.send(b"one\n\xff\ntwo\n\xfe\n");
        test.run_until_idle();
        let told = log.lines();
        let kinds: Vec<_> = told.iter().map(|line| line.split(':').next().unwrap_or("")).collect();
        assert_eq!(kinds, ["open", "message one", "error", "message two", "error"]);
        assert_eq!(test.manager().stats().errors, 2);
    }
}

#[test]
fn after_an_error_that_is_not_recoverable_continue_closes() {
    let (mut test, log) = probes(lines(), |told, _| match told {
        Told::Error(_) => Then::Error(ErrorAction::Continue),
        _ => Then::Usual,
    });
    let peer = test.connect();
    peer.send(vec![b'x'; 10_000]);
    peer.send("\nnext\n");
    peer.close();
    test.run_until_idle();
    let told = log.lines();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[2].starts_with("close: protocol error"), "{told:?}");
}

#[test]
fn the_end_of_file_inside_a_frame_is_an_incomplete_frame() {
    for seed in 0..50 {
        let (test, log) = probes(lines(), |_, _| Then::Usual);
        let mut test = test.seed(seed);
        let peer = test.connect();
        peer.send("one\ntw");
        peer.shutdown();
        test.run_until_idle();
        peer.close();
        test.run_until_idle();
        let told = log.lines();
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told[2].starts_with("error: incomplete frame: the peer closed when 2 bytes"), "{told:?}");
        assert!(told[3].starts_with("close: protocol error: incomplete frame"), "{told:?}");
    }
}

#[test]
fn a_message_that_cannot_be_encoded_leaves_the_stream_as_it_is() {
    let (mut test, log) = probes(
        lines(),
        on_message(|_, cx| {
            cx.write("before").unwrap();
            assert!(matches!(cx.write("two\nlines"), Err(WriteError::Encode(_))));
            let after = cx.write("after").unwrap();
            assert_eq!(after.number(), 2, "it has no id");
        }),
    );
    let peer = test.connect();
    peer.send("go\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"before\nafter\n");
    assert_eq!(log.lines(), ["open", "message go", "written 2"]);
}

/// Appends half of a message before it finds that it can't be encoded, which a codec must not.
struct Careless(LengthPrefixed);

impl Codec for Careless {
    type In<'a> = &'a [u8];
    type Out<'a> = &'a [u8];

    fn decode<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<&'a [u8]>, DecodeError> {
        let message = self.0.decode(input)?;
        assert!(message != Some(b"decode"), "asked to");
        Ok(message)
    }

    fn encode(&self, message: &[u8], output: &mut Buffer) -> Result<(), EncodeError> {
        match message {
            b"fail" => {
                output.append(b"\x00\x00\x00\x07half");
                Err(EncodeError::invalid("asked to"))
            }
            b"panic" => {
                output.append(b"\x00\x00\x00\x07half");
                panic!("asked to");
            }
            message => self.0.encode(message, output),
        }
    }
}

struct Echo;

impl Session for Echo {
    type Codec = Careless;

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, message: &[u8]) {
        cx.write(b"[").unwrap();
        let written = cx.write(message);
        assert_eq!(written.is_err(), message == b"fail");
        cx.write(b"]").unwrap();
    }

    fn on_error(&mut self, cx: &mut SessionContext<'_, Self>, error: &SessionError) -> ErrorAction {
        assert!(matches!(error, SessionError::Panicked { message } if message == "asked to"));
        cx.write(b"sorry").unwrap();
        ErrorAction::Continue
    }
}

fn framed(messages: &[&[u8]]) -> Vec<u8> {
    let (codec, mut wire) = (LengthPrefixed::new(4), Buffer::new());
    for message in messages {
        codec.encode(message, &mut wire).unwrap();
    }
    wire.peek().to_vec()
}

#[test]
fn what_a_codec_leaves_of_a_message_that_it_could_not_encode_is_taken_back() {
    let service = SessionService::new(|| Careless(LengthPrefixed::new(4)));
    let mut test = TestLoop::sessions(service, |_| Echo).allow_panics();
    let peer = test.connect();
    peer.send(framed(&[b"fail"]));
    test.run_until_idle();
    assert_eq!(peer.receive(), framed(&[b"[", b"]"]));
    peer.send(framed(&[b"panic", b"next"]));
    test.run_until_idle();
    assert_eq!(peer.receive(), framed(&[b"[", b"sorry", b"[", b"next", b"]"]));
}

#[test]
fn after_a_panic_of_the_decoder_a_session_may_go_on_when_more_comes() {
    let service = SessionService::new(|| Careless(LengthPrefixed::new(4)));
    let mut test = TestLoop::sessions(service, |_| Echo).allow_panics();
    let peer = test.connect();
    peer.send(framed(&[b"decode"]));
    test.run_until_idle();
    assert_eq!(peer.receive(), framed(&[b"sorry"]));
    peer.send(framed(&[b"next"]));
    test.run_until_idle();
    assert_eq!(peer.receive(), framed(&[b"[", b"next", b"]"]));
}

#[test]
fn a_panic_of_the_decoder_closes_by_default() {
    struct Usual;
    impl Session for Usual {
        type Codec = Careless;
        fn on_message(&mut self, _cx: &mut SessionContext<'_, Self>, _message: &[u8]) {}
    }
    let service = SessionService::new(|| Careless(LengthPrefixed::new(4)));
    let mut test = TestLoop::sessions(service, |_| Usual).allow_panics();
    let (peer, other) = (test.connect(), test.connect());
    peer.send(framed(&[b"decode"]));
    peer.close();
    test.run_until_idle();
    assert_eq!(peer.close_reason().unwrap().to_string(), "a callback panicked");
    assert!(other.close_reason().is_none());
}

#[test]
fn after_a_panic_that_is_passed_over_the_next_message_is_delivered() {
    let (test, log) = probes(lines(), panics_at("panic", ErrorAction::Continue));
    let mut test = test.allow_panics();
    let peer = test.connect();
    peer.send("one\npanic\ntwo\npanic\nthree\nfo");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"one\ntwo\nthree\n");
    peer.send("ur\n");
    peer.close();
    test.run_until_idle();
    assert_eq!(
        log.lines_but_written(),
        [
            "open",
            "message one",
            "message panic",
            "error: a callback panicked: asked to",
            "message two",
            "message panic",
            "error: a callback panicked: asked to",
            "message three",
            "message four",
            "input closed",
            "close: closed by the peer"
        ]
    );
}

#[test]
fn a_panic_at_the_end_of_the_input_that_is_passed_over_loses_neither_the_rest_nor_the_end() {
    let service = SessionService::new(|| Text::over(Lines::new().accept_unended()));
    let (test, log) = probes(service, panics_at("panic", ErrorAction::Continue));
    let mut test = test.allow_panics();
    let peer = test.connect();
    peer.send("one\npanic");
    peer.shutdown();
    test.run_until_idle();
    peer.close();
    test.run_until_idle();
    assert_eq!(
        log.lines_but_written(),
        [
            "open",
            "message one",
            "message panic",
            "error: a callback panicked: asked to",
            "input closed",
            "close: closed by the peer"
        ]
    );
}

#[test]
fn a_panic_in_any_callback_ends_its_session_alone_with_one_on_close() {
    type Provoke = fn(&mut probe::ProbeLoop, &campana::testing::Peer);
    let cases: [(Told, Provoke); 5] = [
        (Told::Open, |_, _| {}),
        (Told::Message("go".into()), |_, peer| peer.send("go\n")),
        (Told::Written(1), |test, peer| {
            test.with_session(peer, |_, cx| drop(cx.write("x")));
        }),
        (Told::InputClosed, |_, peer| peer.shutdown()),
        (Told::Timer(7), |test, peer| {
            test.with_session(peer, |_, cx| {
                cx.set_timer(std::time::Duration::ZERO, 7);
            });
        }),
    ];
    for (at, provoke) in cases {
        let panics = AtomicUsize::new(0);
        let which = at.clone();
        let (test, log) = probes(lines(), move |told, _| {
            if *told == which && panics.fetch_add(1, Ordering::Relaxed) == 0 {
                panic!("asked to");
            }
            Then::Usual
        });
        let mut test = test.allow_panics();
        let (peer, other) = (test.connect(), test.connect());
        test.run_until_idle();
        provoke(&mut test, &peer);
        test.run_until_idle();
        assert!(peer.is_read_closed(), "{at}");
        peer.close();
        test.run_until_idle();
        let told = log.lines();
        let count = |wanted: &str| told.iter().filter(|line| line.starts_with(wanted)).count();
        assert_eq!((count("error: a callback panicked: asked to"), count("close:")), (1, 1), "{told:?}");
        assert_eq!(told.last().unwrap(), "close: a callback panicked", "{told:?}");
        assert!(other.close_reason().is_none());
        assert_eq!(test.manager().len(), 1);
    }
}

#[test]
fn a_panic_in_on_error_aborts_and_one_in_on_close_is_the_end() {
    for at in ["error", "close"] {
        let (test, log) = probes(lines(), move |told, _| match told {
            Told::Error(_) if at == "error" => panic!("again"),
            Told::Close(..) if at == "close" => panic!("again"),
            Told::Message(_) => panic!("asked to"),
            _ => Then::Usual,
        });
        let mut test = test.allow_panics();
        let (peer, other) = (test.connect(), test.connect());
        peer.send("go\n");
        test.run_until_idle();
        peer.close();
        test.run_until_idle();
        let told = log.lines();
        assert_eq!(told.last().unwrap(), "close: a callback panicked", "{told:?}");
        assert_eq!(log.count(|told| matches!(told, Told::Close(..))), 0, "it was taken out");
        assert_eq!(test.manager().len(), 1);
        assert_eq!(test.manager().stats().closed, 1);
        other.send("go\n");
        test.run_until_idle();
        other.close();
        test.run_until_idle();
        assert!(test.manager().is_empty());
    }
}

#[test]
fn a_panic_in_the_last_on_written_does_not_keep_on_close_from_being_called() {
    let (test, log) = probes(lines(), move |told, cx| {
        match told {
            Told::Message(_) => {
                cx.write("reply").unwrap();
                cx.close();
            }
            Told::Written(_) => panic!("asked to"),
            _ => {}
        }
        Then::Usual
    });
    let mut test = test.allow_panics();
    let peer = test.connect();
    peer.send("go\n");
    test.run_until_idle();
    peer.close();
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "message go", "written 1", "close: closed by this side"]);
}

/// Panics at its session's end.
struct PanicsAtTheEnd;

impl MessageFilter<Text<Lines>> for PanicsAtTheEnd {
    fn on_close(&mut self, _cx: &mut FilterContext<'_, Text<Lines>>, _reason: &campana::CloseReason) {
        panic!("asked to");
    }
}

#[test]
fn a_filter_that_panics_in_on_close_does_not_keep_the_session_from_its_own() {
    let (test, log) = probes(lines().filter("end", || PanicsAtTheEnd), |_, _| Then::Usual);
    let mut test = test.allow_panics();
    let peer = test.connect();
    peer.close();
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "input closed", "close: closed by the peer"]);
    assert_eq!(test.context().handle().figures().panics, 1);
}

/// Fails at what it is told to.
struct Fails;

impl MessageFilter<Text<Lines>> for Fails {
    fn on_message(&mut self, _cx: &mut FilterContext<'_, Text<Lines>>, message: &mut &str) -> Verdict {
        match *message {
            "fail" => Verdict::fail("not this one"),
            "panic" => panic!("asked to"),
            _ => Verdict::Pass,
        }
    }

    fn on_write(&mut self, _cx: &mut FilterContext<'_, Text<Lines>>, message: &mut &str) -> Verdict {
        if *message == "fail" { Verdict::fail("nor that one") } else { Verdict::Pass }
    }
}

#[test]
fn a_filter_that_fails_is_an_error_of_the_session_and_of_the_write() {
    let (test, log) = probes(lines().filter("fails", || Fails), |told, cx| {
        match told {
            Told::Message(text) => {
                let error = cx.write("fail").unwrap_err();
                assert_eq!(error.to_string(), "filter fails: nor that one");
                cx.write(text).unwrap();
            }
            Told::Error(_) => return Then::Error(ErrorAction::Continue),
            _ => {}
        }
        Then::Usual
    });
    let mut test = test.allow_panics();
    let peer = test.connect();
    peer.send("fail\none\npanic\ntwo\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"one\ntwo\n");
    assert_eq!(
        log.lines_but_written(),
        [
            "open",
            "error: filter fails: not this one",
            "message one",
            "error: a callback panicked: asked to",
            "message two"
        ]
    );
}

#[test]
fn a_factory_that_panics_ends_its_connection_without_a_session() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    struct Quiet;
    impl Session for Quiet {
        type Codec = Text<Lines>;
        fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
            cx.write(line).unwrap();
        }
    }
    let service = SessionService::new(|| Text::over(Lines::new()));
    let mut test = TestLoop::sessions(service, move |_| {
        assert!(count.fetch_add(1, Ordering::Relaxed) != 0, "asked to");
        Quiet
    })
    .allow_panics();
    let (first, second) = (test.connect(), test.connect());
    second.send("served\n");
    test.run_until_idle();
    assert_eq!(first.close_reason().unwrap().to_string(), "a callback panicked");
    assert_eq!(second.receive(), b"served\n");
    let stats = test.manager().stats();
    assert_eq!((stats.opened, stats.sessions), (1, 1));
}

#[test]
fn a_session_whose_destructor_panics_ends_alone() {
    struct Bomb;
    impl Session for Bomb {
        type Codec = Text<Lines>;
        fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
            cx.join(7_u32);
            cx.write(line).unwrap();
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("asked to");
        }
    }
    let service = SessionService::new(|| Text::over(Lines::new()));
    let mut test = TestLoop::sessions(service, |_| Bomb).allow_panics();
    let (peer, other) = (test.connect(), test.connect());
    peer.send("x\n");
    test.run_until_idle();
    peer.close();
    test.run_until_idle();
    assert_eq!(peer.close_reason().unwrap().to_string(), "closed by the peer");
    assert!(test.manager().keyed(&7_u32).is_empty());
    other.send("served\n");
    test.run_until_idle();
    assert_eq!(other.receive(), b"served\n");
    assert_eq!(test.manager().stats().closed, 1);
}

#[test]
fn json_nested_ten_thousand_deep_is_an_error_of_its_message_alone() {
    use campana::codec::Json;
    use serde_json::Value;

    #[derive(Default)]
    struct Parrot;
    impl Session for Parrot {
        type Codec = Json<Lines, Value>;
        fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, message: Value) {
            cx.write(message).unwrap();
        }
        fn on_error(&mut self, cx: &mut SessionContext<'_, Self>, error: &SessionError) -> ErrorAction {
            cx.write(Value::from(error.to_string())).unwrap();
            ErrorAction::Continue
        }
    }
    let service = SessionService::new(|| Json::over(Lines::new().max(100_000)));
    let mut test = TestLoop::sessions(service, |_| Parrot);
    let peer = test.connect();
    peer.send(format!("{}1{}\n[1]\n", "[".repeat(10_000), "]".repeat(10_000)));
    test.run_until_idle();
    let answer = String::from_utf8(peer.receive()).unwrap();
    let answers: Vec<_> = answer.lines().collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert!(answers[0].contains("nested deeper than 64 levels"), "{answers:?}");
    assert_eq!(answers[1], "[1]");
}

#[test]
fn what_a_session_had_written_before_it_aborted_and_panicked_is_sent_by_no_other() {
    let (test, _log) = probes(
        lines(),
        on_message(|text, cx| {
            cx.write(text).unwrap();
            if text == "secret" {
                cx.abort();
                panic!("asked to");
            }
        }),
    );
    let mut test = test.allow_panics();
    let (one, other) = (test.connect(), test.connect());
    one.send("secret\n");
    test.run_until_idle();
    other.send("hello\n");
    test.run_until_idle();
    assert_eq!(other.receive(), b"hello\n");
    assert_eq!(one.receive(), b"");
}

#[test]
fn a_byte_filters_failure_ends_the_session_even_if_on_error_panics_and_would_go_on() {
    let (test, log) = probes(lines().byte_filter("hex", || Hex), |told, _| match told {
        Told::Error(text) if text.starts_with("filter hex") => panic!("asked to"),
        Told::Error(_) => Then::Error(ErrorAction::Continue),
        _ => Then::Usual,
    });
    let mut test = test.allow_panics();
    let peer = test.connect();
    peer.send("no hexadecimal digits");
    test.run_until_idle();
    assert!(peer.is_read_closed());
    peer.close();
    test.run_until_idle();
    assert_eq!(
        log.lines(),
        [
            "open",
            "error: filter hex: no hexadecimal digit",
            "error: a callback panicked: asked to",
            "close: a callback panicked",
        ]
    );
}

#[test]
fn what_lies_behind_an_error_at_which_on_error_panics_is_delivered_without_more_input() {
    let (test, log) = probes(lines(), |told, _| match told {
        Told::Error(text) if text.contains("UTF-8") => panic!("asked to"),
        Told::Error(_) => Then::Error(ErrorAction::Continue),
        _ => Then::Usual,
    });
    let mut test = test.allow_panics();
    let peer = test.connect();
    peer.send(b"\xff\none\n\xff\ntwo\n");
    test.run_until_idle();
    let told = log.take();
    let messages: Vec<_> = told.iter().filter(|told| matches!(told, Told::Message(_))).collect();
    assert_eq!(messages, [&Told::Message("one".into()), &Told::Message("two".into())], "{told:?}");
}

#[test]
fn what_lies_behind_a_message_that_added_a_byte_filter_and_panicked_goes_through_the_filter() {
    let (test, log) = probes(lines(), |told, cx| match told {
        Told::Message(text) if text == "add" => {
            cx.byte_filters().add_last("hex", Box::new(Hex)).unwrap();
            panic!("asked to");
        }
        Told::Error(_) => Then::Error(ErrorAction::Continue),
        _ => Then::Usual,
    });
    let mut test = test.allow_panics();
    let peer = test.connect();
    peer.send("add\n".to_owned() + &byte_filters::hex("two\n"));
    test.run_until_idle();
    let told = log.take();
    assert!(told.contains(&Told::Message("two".into())), "{told:?}");
}
