//! What decoding and encoding cost in allocations. One test, as the allocator counts for the whole process.

use std::alloc::System;

use campana::Buffer;
use campana::codec::{Codec, FixedLength, Framing, LengthPrefixed, Lines, RawBytes, Text, VarintPrefixed};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const FRAMES: usize = 1000;

/// Allocations, reallocations and bytes allocated while `run` runs.
fn allocated(run: impl FnOnce()) -> (usize, usize, usize) {
    let before = ALLOCATOR.stats();
    run();
    let spent = ALLOCATOR.stats() - before;
    (spent.allocations, spent.reallocations, spent.bytes_allocated)
}

#[test]
fn frames_are_slices_of_the_input_and_no_length_is_believed() {
    assert_no_allocation("length", LengthPrefixed::new(4));
    assert_no_allocation("varint", VarintPrefixed::new());
    assert_no_allocation("lines", Lines::new());
    assert_no_allocation("fixed", FixedLength::new(64));
    assert_no_allocation("raw", RawBytes);
    text_allocates_nothing();
    lengths_are_not_believed();
}

/// Answers frames that were read at once, into a buffer that has been in use before.
fn assert_no_allocation(name: &str, mut codec: impl Framing) {
    let mut wire = Buffer::new();
    for _ in 0..FRAMES {
        codec.encode(&[b'm'; 64], &mut wire).unwrap();
    }
    let mut output = Buffer::with_capacity(wire.readable() + 16);
    let (mut bytes, expected) = (0, wire.readable());
    let spent = allocated(|| {
        while let Some(message) = codec.decode(&mut wire).unwrap() {
            bytes += message.len();
            codec.encode(message, &mut output).unwrap();
        }
    });
    assert_eq!((bytes, output.readable()), (FRAMES * 64, expected), "{name}");
    assert_eq!(spent, (0, 0, 0), "{name}");
}

fn text_allocates_nothing() {
    let mut codec = Text::over(Lines::new());
    let mut wire = Buffer::from("a line\n".repeat(FRAMES).into_bytes());
    let mut count = 0;
    let spent = allocated(|| {
        while let Some("a line") = codec.decode(&mut wire).unwrap() {
            count += 1;
        }
    });
    assert_eq!((count, spent), (FRAMES, (0, 0, 0)));
}

fn lengths_are_not_believed() {
    let huge: Vec<u32> = vec![u32::MAX, -1_i32 as u32, 1 << 30, 0];
    let mut inputs: Vec<Buffer> = huge.iter().map(|length| Buffer::from(&length.to_be_bytes()[..])).collect();
    let mut codec = LengthPrefixed::new(4);
    let spent = allocated(|| assert!(inputs.iter_mut().all(|input| codec.decode(input).is_err())));
    assert_eq!(spent, (0, 0, 0), "lengths beyond the limits");

    // Within the limits, but of the content nothing has come.
    let mut codec = LengthPrefixed::new(4).max(usize::MAX);
    inputs.pop();
    let spent = allocated(|| assert!(inputs.iter_mut().all(|input| matches!(codec.decode(input), Ok(None)))));
    assert_eq!(spent, (0, 0, 0), "lengths within the limits");
    let mut input = Buffer::from(&[&[0xff; 9][..], &[1]].concat()[..]);
    let mut codec = VarintPrefixed::new().max(usize::MAX);
    let spent = allocated(|| assert!(matches!(codec.decode(&mut input), Ok(None))));
    assert_eq!(spent, (0, 0, 0), "varints within the limits");
}
