//! Frames by length, fixed length and varint: what they give, and what they refuse.

use campana::Buffer;
use campana::codec::{Codec, DecodeError, EncodeError, FixedLength, Framing, LengthPrefixed, VarintPrefixed};

#[path = "support/chopping.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod chopping;

use chopping::assert_chopping_is_the_same;

fn encoded<C: Codec>(codec: &C, message: C::Out<'_>) -> Vec<u8> {
    let mut output = Buffer::new();
    codec.encode(message, &mut output).unwrap();
    output.peek().to_vec()
}

#[track_caller]
fn assert_decodes(codec: &(impl Framing + Clone), bytes: &[u8], message: &[u8]) {
    let mut input = Buffer::from(bytes);
    assert_eq!(codec.clone().decode(&mut input).unwrap(), Some(message));
    assert!(input.is_empty());
    assert_chopping_is_the_same(codec, bytes, &[2, 0]);
}

#[test]
fn lengths_of_every_width_and_both_byte_orders_are_read_and_written() {
    for width in 1..=8 {
        let mut big = vec![0; width];
        big[width - 1] = 3;
        let little: Vec<u8> = big.iter().rev().copied().collect();
        for (codec, prefix) in
            [(LengthPrefixed::new(width), big), (LengthPrefixed::new(width).little_endian(), little)]
        {
            let wire = [&prefix[..], b"abc"].concat();
            assert_eq!(encoded(&codec, b"abc"), wire);
            assert_decodes(&codec, &wire, b"abc");
        }
    }
}

#[test]
fn each_byte_of_a_length_counts_in_its_place() {
    let announced = |codec: LengthPrefixed, bytes: &[u8]| match codec.max(0).decode(&mut Buffer::from(bytes))
    {
        Err(DecodeError::TooLong { announced, max: 0 }) => announced,
        other => panic!("{other:?}"),
    };
    let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
    for width in 1..=8 {
        let hex = |bytes: Vec<u8>| bytes.iter().fold(0, |value, byte| value * 256 + u64::from(*byte));
        assert_eq!(
            announced(LengthPrefixed::new(width).min(0), &bytes[..width]),
            hex(bytes[..width].to_vec())
        );
        let reversed = bytes[..width].iter().rev().copied().collect();
        let codec = LengthPrefixed::new(width).min(0).little_endian();
        assert_eq!(announced(codec, &bytes[..width]), hex(reversed));
    }
}

#[test]
fn a_length_that_counts_itself_is_adjusted() {
    let codec = LengthPrefixed::new(4).adjustment(-4);
    assert_eq!(encoded(&codec, b"abc"), b"\x00\x00\x00\x07abc");
    assert_decodes(&codec, b"\x00\x00\x00\x07abc", b"abc");
    for length in 0..=4_u32 {
        let error = codec.clone().decode(&mut Buffer::from(&length.to_be_bytes()[..])).unwrap_err();
        assert!(matches!(error, DecodeError::TooShort { min: 1, .. }), "{error}");
    }
}

#[test]
fn a_length_that_leaves_out_a_part_behind_it_is_adjusted() {
    // A type of two bytes behind the length, which it doesn't count.
    let codec = LengthPrefixed::new(1).adjustment(2);
    assert_eq!(encoded(&codec, b"TTabc"), b"\x03TTabc");
    assert_decodes(&codec, b"\x03TTabc", b"TTabc");
    let error = codec.encode(b"T", &mut Buffer::new()).unwrap_err();
    assert!(matches!(error, EncodeError::TooShort { length: 1, min: 2 }), "{error}");
    let error = codec.encode(&[0; 258], &mut Buffer::new()).unwrap_err();
    assert!(matches!(error, EncodeError::TooLong { length: 258, max: 257 }), "{error}");
}

#[test]
fn a_field_behind_other_bytes_is_found_and_as_much_is_stripped_as_is_asked_for() {
    let codec = LengthPrefixed::new(2).offset(2);
    assert_decodes(&codec, b"MM\x00\x03abc", b"abc");
    assert_decodes(&codec.clone().strip(0), b"MM\x00\x03abc", b"MM\x00\x03abc");
    assert_decodes(&codec.clone().strip(2), b"MM\x00\x03abc", b"\x00\x03abc");
    assert_decodes(&codec.clone().strip(5), b"MM\x00\x03abc", b"bc");
    assert_eq!(encoded(&codec, b"abc"), b"\0\0\x00\x03abc");
    assert_eq!(encoded(&codec.clone().strip(0), b"MM\xff\xffabc"), b"MM\x00\x03abc");
    // What is stripped has to be there.
    let error = codec.strip(5).decode(&mut Buffer::from(&b"MM\x00\x00"[..])).unwrap_err();
    assert!(matches!(error, DecodeError::TooShort { announced: 0, min: 1 }), "{error}");
    let error = LengthPrefixed::new(1).strip(5).decode(&mut Buffer::from(&b"\x03abc"[..])).unwrap_err();
    assert!(matches!(error, DecodeError::TooShort { announced: 3, min: 4 }), "{error}");
    let error = LengthPrefixed::new(2).strip(0).encode(b"x", &mut Buffer::new()).unwrap_err();
    assert!(matches!(error, EncodeError::TooShort { length: 1, min: 2 }), "{error}");
}

#[test]
fn lengths_beyond_the_limits_are_errors_as_soon_as_they_are_read() {
    let mut codec = LengthPrefixed::new(4).max(1000);
    for length in [-1_i32 as u32, 1001, i32::MAX as u32, u32::MAX] {
        let error = codec.decode(&mut Buffer::from(&length.to_be_bytes()[..])).unwrap_err();
        assert!(
            matches!(error, DecodeError::TooLong { announced, max: 1000 } if announced == u64::from(length))
        );
        assert!(!error.is_recoverable());
    }
    let error = codec.decode(&mut Buffer::from(&[0; 4][..])).unwrap_err();
    assert!(matches!(error, DecodeError::TooShort { announced: 0, min: 1 }), "{error}");
    assert_eq!(codec.decode(&mut Buffer::from(&1000_u32.to_be_bytes()[..])).unwrap(), None);
    assert_eq!(codec.min(0).decode(&mut Buffer::from(&[0; 4][..])).unwrap(), Some(&b""[..]));

    for adjustment in [i64::MAX, i64::MIN] {
        let mut codec = LengthPrefixed::new(8).adjustment(adjustment);
        for length in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(codec.decode(&mut Buffer::from(&length.to_be_bytes()[..])).is_err());
        }
    }
}

#[test]
fn a_limit_that_is_raised_holds_from_the_next_frame_on() {
    let mut codec = LengthPrefixed::new(1).max(2);
    let mut input = Buffer::from(&b"\x02ok\x04more"[..]);
    assert_eq!(codec.decode(&mut input).unwrap(), Some(&b"ok"[..]));
    codec.set_max(4);
    assert_eq!(codec.decode(&mut input).unwrap(), Some(&b"more"[..]));
}

#[test]
fn what_cannot_be_encoded_leaves_the_output_as_it_was() {
    let mut output = Buffer::from(&b"before"[..]);
    let too_long: Vec<u8> = vec![0; 300];
    for codec in [LengthPrefixed::new(1), LengthPrefixed::new(2).max(299)] {
        assert!(matches!(
            codec.encode(&too_long, &mut output),
            Err(EncodeError::TooLong { length: 300, .. })
        ));
        assert!(matches!(codec.encode(b"", &mut output), Err(EncodeError::TooShort { .. })));
    }
    let codec = VarintPrefixed::new().max(299);
    assert!(matches!(codec.encode(&too_long, &mut output), Err(EncodeError::TooLong { max: 299, .. })));
    assert!(codec.encode_with(&mut output, |_| Err(EncodeError::invalid("no"))).is_err());
    let codec = FixedLength::new(2);
    assert!(matches!(
        codec.encode(&too_long, &mut output),
        Err(EncodeError::WrongLength { length: 300, expected: 2 })
    ));
    assert_eq!(output.peek(), b"before");
}

#[test]
fn the_end_of_file_inside_a_frame_is_an_incomplete_frame() {
    #[track_caller]
    fn assert_incomplete<C: Codec>(mut codec: C, bytes: &[u8]) {
        let mut input = Buffer::from(bytes);
        assert!(codec.decode(&mut input).unwrap().is_none());
        match codec.decode_eof(&mut input) {
            Err(error @ DecodeError::Incomplete { .. }) => {
                assert!(error.to_string().starts_with("incomplete frame"), "{error}");
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("a message"),
        }
        input.retrieve_all();
        assert!(codec.decode_eof(&mut input).unwrap().is_none());
    }
    assert_incomplete(LengthPrefixed::new(4), b"\x00\x00");
    assert_incomplete(LengthPrefixed::new(4), b"\x00\x00\x00\x05four");
    assert_incomplete(VarintPrefixed::new(), b"\x80");
    assert_incomplete(VarintPrefixed::new(), b"\x05four");
    assert_incomplete(FixedLength::new(5), b"four");
}

#[test]
fn varints_have_no_more_than_ten_bytes_and_64_bits() {
    let error_of = |bytes: &[u8]| VarintPrefixed::new().decode(&mut Buffer::from(bytes)).unwrap_err();
    assert!(matches!(error_of(&[0xff; 10]), DecodeError::BadVarint));
    assert!(matches!(error_of(&[0x80; 10]), DecodeError::BadVarint));
    let largest = [&[0xff; 9][..], &[0x01]].concat();
    assert!(matches!(error_of(&largest), DecodeError::TooLong { announced: u64::MAX, .. }));
    assert!(matches!(error_of(&[&[0xff; 9][..], &[0x02]].concat()), DecodeError::BadVarint));
    assert!(matches!(error_of(&[0]), DecodeError::TooShort { announced: 0, min: 1 }));
    // Longer than need be.
    assert_decodes(&VarintPrefixed::new(), b"\x83\x80\x00abc", b"abc");
    for length in [1, 127, 128, 16_383, 16_384, 100_000] {
        let message = vec![b'm'; length];
        assert_decodes(&VarintPrefixed::new(), &encoded(&VarintPrefixed::new(), &message), &message);
    }
}

#[test]
fn a_message_encoded_once_is_what_each_connection_would_have_encoded() {
    let codec = VarintPrefixed::new();
    assert_eq!(codec.encode_to_bytes(b"to all").unwrap(), encoded(&codec, b"to all"));
    assert!(codec.encode_to_bytes(b"").is_err());
}

#[test]
#[should_panic(expected = "a length field has 1 to 8 bytes")]
fn a_length_field_of_nine_bytes_is_refused() {
    let _ = LengthPrefixed::new(9);
}

#[test]
#[should_panic(expected = "one byte at least")]
fn frames_of_no_bytes_are_refused() {
    let _ = FixedLength::new(0);
}
