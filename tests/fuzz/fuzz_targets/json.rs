//! JSON over lines and frames, of any bytes in any pieces; and values as the parser alone gives them, no deeper than is allowed.
#![no_main]

use campana::Buffer;
use campana::codec::{Codec, Json, LengthPrefixed, Lines, RawBytes};
use serde_json::Value;

#[path = "../../support/chopping.rs"]
#[allow(dead_code, reason = "framings have targets of their own")]
mod chopping;

libfuzzer_sys::fuzz_target!(|case: (u8, Vec<u8>, Vec<u8>)| {
    let (depth, bytes, cuts) = case;
    let depth = usize::from(depth);
    chopping::assert_chopping_is_the_same(
        &Json::<_, Value>::over(Lines::new()).max_depth(depth),
        &bytes,
        &cuts,
    );
    let frames = Json::<_, Value>::over(LengthPrefixed::new(1)).max_depth(depth);
    chopping::assert_chopping_is_the_same(&frames, &bytes, &cuts);

    let mut codec = Json::<_, Value>::over(RawBytes).max_depth(depth);
    let Ok(Some(value)) = codec.decode(&mut Buffer::from(&bytes[..])) else { return };
    assert!(nesting(&value) <= depth);
    assert_eq!(value, serde_json::from_slice::<Value>(&bytes).unwrap());
    let encoded = codec.encode_to_bytes(value.clone()).unwrap();
    assert_eq!(encoded, serde_json::to_vec(&value).unwrap());
    assert!(codec.decode(&mut Buffer::from(&encoded[..])).unwrap().is_some());
});

fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(nesting).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(nesting).max().unwrap_or(0),
        _ => 0,
    }
}
