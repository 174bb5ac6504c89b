//! Raw bytes in any pieces: each piece is a message, and nothing is left.
#![no_main]

use campana::codec::RawBytes;

#[path = "../../support/chopping.rs"]
#[allow(dead_code, reason = "messages of raw bytes depend on the chopping")]
mod chopping;

libfuzzer_sys::fuzz_target!(|case: (Vec<u8>, Vec<u8>)| {
    let (bytes, cuts) = case;
    let pieces = chopping::chopped(&bytes, &cuts);
    let (mut consumed, mut expected) = (0, Vec::new());
    for piece in &pieces {
        consumed += piece.len();
        expected.push((consumed, Ok(format!("{piece:?}"))));
    }
    assert_eq!(chopping::decoded(RawBytes, pieces), expected);
});
