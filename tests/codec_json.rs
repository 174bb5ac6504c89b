//! JSON values: typed, bounded in depth, and on one line.

use std::collections::HashMap;

use campana::Buffer;
use campana::codec::{Codec, DecodeError, FixedLength, Json, JsonError, LengthPrefixed, Lines, RawBytes};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
enum Command {
    Say { to: String, text: String },
    Leave,
}

fn decode<I: for<'d> Deserialize<'d> + 'static>(depth: usize, text: &str) -> Result<Option<I>, DecodeError> {
    let mut codec = Json::<RawBytes, I, ()>::over(RawBytes).max_depth(depth);
    codec.decode(&mut Buffer::from(text.as_bytes()))
}

fn is_too_deep<T: std::fmt::Debug>(result: Result<T, DecodeError>) -> bool {
    match result {
        Ok(_) => false,
        Err(DecodeError::Invalid(error)) => {
            matches!(error.downcast_ref::<JsonError>(), Some(JsonError::TooDeep { .. }))
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn values_of_a_type_go_over_any_framing_and_come_back() {
    fn assert_comes_back(mut codec: impl for<'a> Codec<In<'a> = Command, Out<'a> = Command>) {
        let text = "zwei\nZeilen \u{1f514}";
        let say = || Command::Say { to: "ann".to_owned(), text: text.to_owned() };
        let mut wire = Buffer::new();
        codec.encode(say(), &mut wire).unwrap();
        assert_eq!(codec.decode(&mut wire).unwrap(), Some(say()));
        assert!(wire.is_empty());
    }
    assert_comes_back(Json::over(Lines::new()));
    assert_comes_back(Json::over(LengthPrefixed::new(3).little_endian()));
    assert_comes_back(Json::over(RawBytes));
}

#[test]
fn a_frame_without_such_a_value_is_an_error_and_the_next_one_is_decoded() {
    let mut codec = Json::<_, Command>::over(Lines::new());
    let bad = ["", "{", "[1,2]", "{\"command\":\"fly\"}", "{\"command\":\"leave\"} x", "\"\u{1}\""];
    for bad in bad {
        let mut input = Buffer::from(format!("{bad}\n{{\"command\":\"leave\"}}\n").into_bytes());
        let error = codec.decode(&mut input).unwrap_err();
        assert!(error.is_recoverable(), "{error}");
        assert!(error.to_string().starts_with("not the JSON that is expected here: "), "{error}");
        assert_eq!(codec.decode(&mut input).unwrap(), Some(Command::Leave));
    }
}

#[test]
fn nesting_ten_thousand_deep_is_an_error_and_takes_no_stack() {
    #[derive(Debug, Deserialize)]
    struct Known {
        #[allow(dead_code, reason = "it is the other member that counts")]
        known: u8,
    }
    let check = || {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"\\\"\":", "}]")] {
            let inside = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
            for depth in [0, 64, 127, usize::MAX] {
                assert!(is_too_deep(decode::<Value>(depth, &inside)));
                // Also where the parser passes over what nobody asked for.
                let unknown = format!("{{\"known\":1,\"unknown\":{inside}}}");
                assert!(is_too_deep(decode::<Known>(depth, &unknown)));
            }
            assert!(is_too_deep(decode::<Value>(64, &open.repeat(10_000))));
        }
        // As deep as is allowed at most, which has to fit this stack too.
        let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
        assert!(decode::<Value>(127, &deep).is_ok());
    };
    std::thread::Builder::new().stack_size(512 * 1024).spawn(check).unwrap().join().unwrap();
}

#[test]
fn depth_counts_arrays_and_objects_and_not_what_is_in_strings() {
    let at = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for depth in 0..100 {
        let text = if depth == 0 { "0".to_owned() } else { at(depth) };
        assert!(decode::<Value>(depth, &text).is_ok());
        assert!(is_too_deep(decode::<Value>(depth, &at(depth + 1))));
    }
    let wide = format!("[{}]", vec!["[{}]"; 1000].join(","));
    assert!(decode::<Value>(3, &wide).is_ok());
    assert!(is_too_deep(decode::<Value>(2, &wide)));
    let quoted = json!([["[[[[\"[[[\\", "{{{{\\\"[["], "[".repeat(1000)]).to_string();
    assert!(decode::<Value>(2, &quoted).is_ok());
    assert!(is_too_deep(decode::<Value>(1, &quoted)));
}

#[test]
fn a_value_that_cannot_be_encoded_leaves_the_output_as_it_was() {
    let mut output = Buffer::from(&b"before"[..]);
    let no_json = HashMap::from([(vec![1], 2)]);
    let codec = Json::<_, (), HashMap<Vec<u8>, u8>>::over(LengthPrefixed::new(4));
    assert!(codec.encode(no_json, &mut output).is_err());
    let too_long = "x".repeat(300);
    assert!(Json::<_, String>::over(LengthPrefixed::new(1)).encode(too_long, &mut output).is_err());
    assert!(Json::<_, String>::over(FixedLength::new(9)).encode("short".to_owned(), &mut output).is_err());
    assert_eq!(output.peek(), b"before");
}
