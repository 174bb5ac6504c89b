//! Varint-prefixed frames of any bytes in any pieces; and any messages there and back.
#![no_main]

use campana::codec::VarintPrefixed;

#[path = "../../support/chopping.rs"]
mod chopping;

type Case = (u8, Option<u16>, Vec<u8>, Vec<u8>, Vec<Vec<u8>>);

libfuzzer_sys::fuzz_target!(|case: Case| {
    let (min, max, bytes, cuts, messages) = case;
    let codec = VarintPrefixed::new().min(usize::from(min % 4)).max(max.map_or(usize::MAX, usize::from));
    chopping::assert_chopping_is_the_same(&codec, &bytes, &cuts);
    chopping::assert_messages_come_back(&codec, &messages, true);
});
