//! Text over two framings, of any bytes in any pieces.
#![no_main]

use campana::codec::{LengthPrefixed, Lines, Text};

#[path = "../../support/chopping.rs"]
#[allow(dead_code, reason = "framings have targets of their own")]
mod chopping;

libfuzzer_sys::fuzz_target!(|case: (Vec<u8>, Vec<u8>)| {
    let (bytes, cuts) = case;
    chopping::assert_chopping_is_the_same(&Text::over(Lines::new().max(64)), &bytes, &cuts);
    chopping::assert_chopping_is_the_same(&Text::over(LengthPrefixed::new(1)), &bytes, &cuts);
});
