//! Whatever the pieces in which bytes arrive: the same messages, and the same error at the same place.

use campana::Buffer;
use campana::codec::{Codec, Framing};
use campana::codec::{FixedLength, Json, LengthPrefixed, LineEnding, Lines, RawBytes, Text, VarintPrefixed};
use proptest::prelude::*;
use serde_json::Value;

#[path = "support/chopping.rs"]
mod chopping;

use chopping::{assert_chopping_is_the_same, assert_messages_come_back, chopped};

fn cuts() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..8)
}

fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let byte = prop_oneof![2 => prop::sample::select(&b"\r\n\xff{}[]\"1,\\"[..]), 1 => any::<u8>()];
    prop::collection::vec(prop::collection::vec(byte, 0..40), 0..8)
}

/// Frames with other bytes between some of them.
fn stream(framing: &impl Framing, messages: &[Vec<u8>], raw: usize) -> Vec<u8> {
    let mut output = Buffer::new();
    for (index, message) in messages.iter().enumerate() {
        if raw > 0 && index % raw == raw - 1 || framing.encode(message, &mut output).is_err() {
            output.append(message);
        }
    }
    output.take_all_bytes().to_vec()
}

fn length_prefixed() -> impl Strategy<Value = LengthPrefixed> {
    let adjustment =
        prop_oneof![4 => -12..=12_i64, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    let settings = (1..=8_usize, any::<bool>(), 0..4_usize, adjustment, prop::option::of(0..14_usize));
    (settings, 0..3_usize, prop_oneof![8 => 0..40_usize, 1 => Just(usize::MAX)]).prop_map(
        |((width, little, offset, adjustment, strip), min, max)| {
            let codec = LengthPrefixed::new(width).offset(offset).adjustment(adjustment).min(min).max(max);
            let codec = if little { codec.little_endian() } else { codec };
            strip.map_or(codec.clone(), |strip| codec.strip(strip))
        },
    )
}

fn lines() -> impl Strategy<Value = Lines> {
    let ending = prop::sample::select(vec![LineEnding::Either, LineEnding::Lf, LineEnding::CrLf]);
    (ending, 0..20_usize, any::<bool>(), any::<bool>()).prop_map(|(ending, max, skip, unended)| {
        let codec = Lines::new().ending(ending).max(max);
        let codec = if skip { codec.skip_too_long() } else { codec };
        if unended { codec.accept_unended() } else { codec }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn of_length_prefixed_frames(codec in length_prefixed(), messages in messages(), raw in 0..4_usize, cuts in cuts()) {
        assert_chopping_is_the_same(&codec, &stream(&codec, &messages, raw), &cuts);
        assert_messages_come_back(&codec, &messages, false);
    }

    #[test]
    fn of_length_prefixed_frames_of_the_usual_kind(width in 1..=8_usize, messages in messages(), raw in 0..4_usize, cuts in cuts()) {
        let codec = LengthPrefixed::new(width).min(0);
        assert_chopping_is_the_same(&codec, &stream(&codec, &messages, raw), &cuts);
        assert_messages_come_back(&codec, &messages, true);
    }

    #[test]
    fn of_varint_prefixed_frames(max in 0..200_usize, messages in messages(), raw in 0..4_usize, cuts in cuts()) {
        let codec = VarintPrefixed::new().min(max % 3).max(max);
        assert_chopping_is_the_same(&codec, &stream(&codec, &messages, raw), &cuts);
        assert_messages_come_back(&codec, &messages, true);
    }

    #[test]
    fn of_lines(codec in lines(), messages in messages(), raw in 0..4_usize, cuts in cuts()) {
        assert_chopping_is_the_same(&codec, &stream(&codec, &messages, raw), &cuts);
        assert_messages_come_back(&codec, &messages, true);
    }

    #[test]
    fn of_frames_of_fixed_length(length in 1..20_usize, messages in messages(), cuts in cuts()) {
        let codec = FixedLength::new(length);
        assert_chopping_is_the_same(&codec, &stream(&codec, &messages, 0), &cuts);
        assert_messages_come_back(&codec, &messages, true);
    }

    #[test]
    fn of_text(lines in lines(), messages in messages(), cuts in cuts()) {
        let bytes = stream(&lines, &messages, 3);
        assert_chopping_is_the_same(&Text::over(lines), &bytes, &cuts);
        let frames = LengthPrefixed::new(1);
        let bytes = stream(&frames, &messages, 0);
        assert_chopping_is_the_same(&Text::over(frames), &bytes, &cuts);
    }

    #[test]
    fn of_json(lines in lines(), depth in 0..5_usize, texts in prop::collection::vec(json(), 0..6), cuts in cuts()) {
        let bytes = stream(&lines, &texts, 3);
        assert_chopping_is_the_same(&Json::<_, Value>::over(lines).max_depth(depth), &bytes, &cuts);
        let frames = VarintPrefixed::new();
        let bytes = stream(&frames, &texts, 0);
        assert_chopping_is_the_same(&Json::<_, Value>::over(frames).max_depth(depth), &bytes, &cuts);
    }

    #[test]
    fn of_raw_bytes_gives_the_same_bytes(messages in messages(), cuts in cuts()) {
        let bytes = messages.concat();
        let (mut input, mut taken) = (Buffer::new(), Vec::new());
        for piece in chopped(&bytes, &cuts) {
            input.append(piece);
            prop_assert_eq!(RawBytes.decode(&mut input).unwrap(), Some(piece));
            prop_assert_eq!(RawBytes.decode(&mut input).unwrap(), None);
            prop_assert_eq!(RawBytes.decode_eof(&mut input).unwrap(), None);
            taken.extend_from_slice(piece);
        }
        prop_assert_eq!(taken, bytes);
    }
}

/// Mostly JSON.
fn json() -> impl Strategy<Value = Vec<u8>> {
    let parts = vec!["[", "]", "{\"a\":", "}", "1", ",", "\"[\\\"{\"", "null", "\"\\\\\"", " "];
    prop_oneof![
        prop::collection::vec(prop::sample::select(parts), 0..8)
            .prop_map(|parts| parts.concat().into_bytes()),
        (0..6_usize).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes()),
    ]
}
