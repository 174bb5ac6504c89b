//! Frames of fixed length, of any bytes in any pieces; and any messages there and back.
#![no_main]

use campana::codec::FixedLength;

#[path = "../../support/chopping.rs"]
mod chopping;

type Case = (u8, Vec<u8>, Vec<u8>, Vec<Vec<u8>>);

libfuzzer_sys::fuzz_target!(|case: Case| {
    let (length, bytes, cuts, messages) = case;
    let codec = FixedLength::new(usize::from(length) + 1);
    chopping::assert_chopping_is_the_same(&codec, &bytes, &cuts);
    chopping::assert_messages_come_back(&codec, &messages, true);
});
