//! Length-prefixed frames with any settings, of any bytes in any pieces; and any messages there and back.
#![no_main]

use arbitrary::Arbitrary;
use campana::codec::LengthPrefixed;

#[path = "../../support/chopping.rs"]
mod chopping;

#[derive(Arbitrary, Debug)]
struct Case {
    width: u8,
    little_endian: bool,
    offset: u8,
    adjustment: Adjustment,
    strip: Option<u8>,
    min: u8,
    max: Option<u8>,
    bytes: Vec<u8>,
    cuts: Vec<u8>,
    messages: Vec<Vec<u8>>,
}

#[derive(Arbitrary, Debug)]
enum Adjustment {
    None,
    Small(i8),
    Any(i64),
}

libfuzzer_sys::fuzz_target!(|case: Case| {
    let adjustment = match case.adjustment {
        Adjustment::None => 0,
        Adjustment::Small(bytes) => bytes.into(),
        Adjustment::Any(bytes) => bytes,
    };
    let mut codec = LengthPrefixed::new(usize::from(case.width % 8) + 1)
        .offset(usize::from(case.offset % 8))
        .adjustment(adjustment)
        .min(usize::from(case.min % 4))
        .max(case.max.map_or(usize::MAX, usize::from));
    if case.little_endian {
        codec = codec.little_endian();
    }
    if let Some(bytes) = case.strip {
        codec = codec.strip(usize::from(bytes % 24));
    }
    chopping::assert_chopping_is_the_same(&codec, &case.bytes, &case.cuts);
    chopping::assert_messages_come_back(&codec, &case.messages, case.strip.is_none());
});
