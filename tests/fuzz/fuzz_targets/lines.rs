//! Lines with any settings, of any bytes in any pieces; and any messages there and back.
#![no_main]

use arbitrary::Arbitrary;
use campana::codec::{LineEnding, Lines};

#[path = "../../support/chopping.rs"]
mod chopping;

#[derive(Arbitrary, Debug)]
struct Case {
    ending: u8,
    max: u8,
    skip_too_long: bool,
    accept_unended: bool,
    bytes: Vec<u8>,
    cuts: Vec<u8>,
    messages: Vec<Vec<u8>>,
}

libfuzzer_sys::fuzz_target!(|case: Case| {
    let ending = [LineEnding::Either, LineEnding::Lf, LineEnding::CrLf][usize::from(case.ending % 3)];
    let mut codec = Lines::new().ending(ending).max(usize::from(case.max % 32));
    if case.skip_too_long {
        codec = codec.skip_too_long();
    }
    if case.accept_unended {
        codec = codec.accept_unended();
    }
    chopping::assert_chopping_is_the_same(&codec, &case.bytes, &case.cuts);
    chopping::assert_messages_come_back(&codec, &case.messages, true);
});
