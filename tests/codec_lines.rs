//! Lines, and text: what ends a line, and what becomes of lines that are too long, have no end, or are no text.

use std::time::{Duration, Instant};

use campana::Buffer;
use campana::codec::{Codec, DecodeError, EncodeError, LengthPrefixed, LineEnding, Lines, Text};
use proptest::prelude::*;

#[path = "support/chopping.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod chopping;

use chopping::assert_chopping_is_the_same;

/// What comes of the bytes however they are chopped: messages, `!` for an error.
#[track_caller]
fn lines(codec: &Lines, bytes: &[u8]) -> Vec<String> {
    let outcomes = assert_chopping_is_the_same(&Text::over(codec.clone()), bytes, &[1, 2, 0]);
    outcomes
        .into_iter()
        .map(|(_, result)| result.map_or("!".to_owned(), |text| text.replace('"', "")))
        .collect()
}

#[test]
fn a_line_ends_with_what_it_was_told_to_end_with() {
    let bytes = b"a\nb\r\nc\r\r\n\n\rd\n";
    let of = |ending| lines(&Lines::new().ending(ending), bytes);
    assert_eq!(of(LineEnding::Either), ["a", "b", r"c\r", "", r"\rd"]);
    assert_eq!(of(LineEnding::Lf), ["a", r"b\r", r"c\r\r", "", r"\rd"]);
    assert_eq!(of(LineEnding::CrLf), [r"a\nb", r"c\r", "!"]);
}

#[test]
fn a_cr_and_an_lf_that_arrive_apart_end_one_line() {
    for ending in [LineEnding::Either, LineEnding::CrLf] {
        let mut codec = Lines::new().ending(ending);
        let mut input = Buffer::from(&b"line\r"[..]);
        assert_eq!(codec.decode(&mut input).unwrap(), None);
        input.append(b"\nnext");
        assert_eq!(codec.decode(&mut input).unwrap(), Some(&b"line"[..]));
        assert_eq!(codec.decode(&mut input).unwrap(), None);
        assert_eq!(input.peek(), b"next");
    }
}

#[test]
fn a_line_of_the_limit_is_a_line_and_one_byte_more_is_an_error() {
    for ending in [LineEnding::Either, LineEnding::Lf, LineEnding::CrLf] {
        let end = if ending == LineEnding::Lf { "\n" } else { "\r\n" };
        let codec = Lines::new().ending(ending).max(4);
        assert_eq!(lines(&codec, format!("1234{end}").as_bytes()), ["1234"]);
        assert_eq!(lines(&codec, format!("12345{end}").as_bytes()), ["!"]);
        assert_eq!(lines(&codec, format!("1{end}12345{end}2{end}").as_bytes()), ["1", "!"]);
        let codec = codec.skip_too_long();
        for long in ["12345", "123456", "1234567", "123456\r", "12345\r6789\r"] {
            let bytes = format!("1{end}{long}{end}2{end}");
            assert_eq!(lines(&codec, bytes.as_bytes()), ["1", "!", "2"], "{bytes:?} {ending:?}");
        }
        assert_eq!(lines(&codec, format!("123456789{end}{end}").as_bytes()), ["!", ""]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn lines_are_what_splitting_the_whole_at_each_end_gives(text in "[ab\r\n]{0,40}", max in 0..8_usize) {
        for (ending, end) in [(LineEnding::Either, "\n"), (LineEnding::Lf, "\n"), (LineEnding::CrLf, "\r\n")] {
            let mut expected: Vec<&str> = text.split(end).collect();
            let unended = expected.pop();
            let mut expected: Vec<String> = expected
                .into_iter()
                .map(|line| if ending == LineEnding::Either { line.strip_suffix('\r').unwrap_or(line) } else { line })
                .map(|line| if line.len() <= max { line.escape_debug().to_string() } else { "!".to_owned() })
                .collect();
            // Incomplete, or too long as it is, or both at once.
            if unended != Some("") {
                expected.push("!".to_owned());
            }
            prop_assert_eq!(lines(&Lines::new().ending(ending).max(max).skip_too_long(), text.as_bytes()), expected);
        }
    }
}

#[test]
fn input_without_any_line_end_is_bounded() {
    let mut closing = Lines::new().max(1000);
    let mut input = Buffer::from(&[b'x'; 1001][..]);
    assert_eq!(closing.decode(&mut input).unwrap(), None);
    input.append(b"x");
    for _ in 0..3 {
        let error = closing.decode(&mut input).unwrap_err();
        assert!(!error.is_recoverable(), "{error}");
        input.append(b"\nand a line\n");
    }

    // One that is left out is not kept either.
    let mut skipping = Lines::new().max(1000).skip_too_long();
    let mut input = Buffer::new();
    let mut errors = 0;
    for _ in 0..10_000 {
        input.append(&[b'x'; 100]);
        errors += usize::from(skipping.decode(&mut input).is_err());
        assert!(input.readable() <= 1002);
    }
    assert_eq!(errors, 1);
    assert_eq!(skipping.decode_eof(&mut input).unwrap(), None);
}

#[test]
fn a_last_line_without_end_is_incomplete_or_a_line() {
    assert_eq!(lines(&Lines::new(), b"one\ntw"), ["one", "!"]);
    let codec = Lines::new().accept_unended().max(4);
    assert_eq!(lines(&codec, b"one\ntw"), ["one", "tw"]);
    assert_eq!(lines(&codec, b"one\ntwo\r"), ["one", "two"]);
    assert_eq!(lines(&codec, b"one\n"), ["one"]);
    assert_eq!(lines(&codec, b"12345"), ["!"]);
    assert_eq!(lines(&codec.skip_too_long(), b"12345\r"), ["!"]);
    let error = Lines::new().decode_eof(&mut Buffer::from(&b"tw"[..])).unwrap_err();
    assert!(matches!(error, DecodeError::Incomplete { received: 2 }), "{error}");
}

#[test]
fn a_message_that_would_be_two_lines_or_lose_its_end_is_not_encoded() {
    let encode = |ending, message: &str| {
        let mut output = Buffer::new();
        let result = Lines::new().ending(ending).max(6).encode(message.as_bytes(), &mut output);
        result.map(|()| String::from_utf8(output.peek().to_vec()).unwrap())
    };
    assert_eq!(encode(LineEnding::Either, "one").unwrap(), "one\n");
    assert_eq!(encode(LineEnding::Lf, "one\r").unwrap(), "one\r\n");
    assert_eq!(encode(LineEnding::CrLf, "o\ne\r").unwrap(), "o\ne\r\r\n");
    for (ending, message) in [
        (LineEnding::Either, "one\ntw"),
        (LineEnding::Either, "one\r"),
        (LineEnding::Lf, "one\n"),
        (LineEnding::CrLf, "one\r\n"),
    ] {
        let error = encode(ending, message).unwrap_err();
        assert!(matches!(error, EncodeError::LineEndInside { position: 3 }), "{error}");
    }
    let error = encode(LineEnding::Either, "7 bytes").unwrap_err();
    assert!(matches!(error, EncodeError::TooLong { length: 7, max: 6 }), "{error}");
}

#[test]
fn a_long_line_that_arrives_byte_by_byte_is_searched_once() {
    const LENGTH: usize = 2 * 1024 * 1024;
    let begun = Instant::now();
    for ending in [LineEnding::Either, LineEnding::CrLf] {
        let mut codec = Lines::new().max(LENGTH).ending(ending);
        let mut input = Buffer::with_capacity(LENGTH + 2);
        for _ in 0..LENGTH {
            input.append(b"x");
            assert!(codec.decode(&mut input).unwrap().is_none());
            // Searching all of it each time would take minutes.
            assert!(begun.elapsed() < Duration::from_secs(30), "{} bytes took too long", input.readable());
        }
        input.append(b"\r\n");
        assert_eq!(codec.decode(&mut input).unwrap().map(<[u8]>::len), Some(LENGTH));
    }
}

#[test]
fn text_that_is_not_utf8_is_an_error_of_its_own_message_alone() {
    assert_eq!(lines(&Lines::new(), b"ok\n\xff\xfe\n\xe2\x82\nstill ok\n"), ["ok", "!", "!", "still ok"]);
    let codec = Text::over(LengthPrefixed::new(1));
    // A character cut in two by the frame, and one cut in two by how it arrives.
    let bytes = b"\x02\xe2\x82\x03\xe2\x82\xac";
    let outcomes = assert_chopping_is_the_same(&codec, bytes, &[1]);
    assert!(outcomes[0].1.as_ref().unwrap_err().starts_with("the message is not UTF-8"));
    assert_eq!(outcomes[1], (7, Ok("\"€\"".to_owned())));
}

#[test]
fn the_limit_of_a_framing_below_can_be_changed() {
    let mut codec = Text::over(Lines::new().max(2));
    let mut input = Buffer::from(&b"abcd\n"[..]);
    assert!(codec.decode(&mut input).is_err());
    codec.framing_mut().set_max(4);
    assert_eq!(codec.decode(&mut input).unwrap(), Some("abcd"));
}
