//! Any chopping of the input must give the same messages, and the same error at the same place.

use std::fmt::Debug;

use campana::Buffer;
use campana::codec::{Codec, DecodeError, Framing};

/// A message or an error as text, and how many bytes had been consumed with it.
pub(crate) type Outcome = (usize, Result<String, String>);

/// What a codec makes of bytes that arrive in pieces, up to the end of file or the first error that it can't recover from.
///
/// # Panics
///
/// If the codec breaks its promises: a message for no bytes, bytes consumed by an error that can't be recovered from, or such an
/// error that isn't given again.
pub(crate) fn decoded<'p, C: Codec>(mut codec: C, pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<Outcome>
where
    for<'a> C::In<'a>: Debug,
{
    let mut input = Buffer::new();
    let (mut fed, mut outcomes) = (0, Vec::new());
    for piece in pieces {
        input.append(piece);
        fed += piece.len();
        if !take_all(&mut codec, &mut input, fed, &mut outcomes, C::decode) {
            return outcomes;
        }
    }
    if take_all(&mut codec, &mut input, fed, &mut outcomes, C::decode_eof) {
        assert!(input.is_empty(), "the end of file left {:?}", input.peek());
    }
    outcomes
}

/// Takes out all that there is, and says whether to go on.
fn take_all<C: Codec>(
    codec: &mut C,
    input: &mut Buffer,
    fed: usize,
    outcomes: &mut Vec<Outcome>,
    decode: impl for<'a> Fn(&mut C, &'a mut Buffer) -> Result<Option<C::In<'a>>, DecodeError>,
) -> bool
where
    for<'a> C::In<'a>: Debug,
{
    loop {
        let before = input.readable();
        let result = match decode(codec, input) {
            Ok(None) => return true,
            Ok(Some(message)) => Ok(format!("{message:?}")),
            Err(error) => Err(error),
        };
        let consumed = fed - input.readable();
        match result {
            Err(error) if !error.is_recoverable() => {
                assert_eq!(input.readable(), before, "{error} consumed something");
                let again = decode(codec, input).map(|message| format!("{message:?}"));
                assert_eq!(again.map_err(|error| error.to_string()), Err(error.to_string()));
                outcomes.push((consumed, Err(error.to_string())));
                return false;
            }
            result => {
                assert!(input.readable() < before, "{result:?} for nothing");
                outcomes.push((consumed, result.map_err(|error| error.to_string())));
            }
        }
    }
}

/// The bytes in pieces, whose lengths are one more than each of `cuts` in turn.
pub(crate) fn chopped<'b>(bytes: &'b [u8], cuts: &[u8]) -> Vec<&'b [u8]> {
    let mut lengths = cuts.iter().map(|cut| usize::from(*cut) + 1).cycle();
    let (mut rest, mut pieces) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(lengths.next().unwrap_or(rest.len()).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// Compares what comes of the bytes as a whole, byte by byte, and chopped; gives what comes of them.
pub(crate) fn assert_chopping_is_the_same<C: Codec + Clone>(
    codec: &C,
    bytes: &[u8],
    cuts: &[u8],
) -> Vec<Outcome>
where
    for<'a> C::In<'a>: Debug,
{
    let whole = decoded(codec.clone(), [bytes]);
    assert_eq!(decoded(codec.clone(), chopped(bytes, &[0])), whole, "byte by byte");
    assert_eq!(decoded(codec.clone(), chopped(bytes, cuts)), whole, "chopped by {cuts:?}");
    whole
}

/// Encodes messages and expects what can be encoded to be decoded, encoding to the same bytes again; and the very same messages if
/// the framing puts nothing into them.
pub(crate) fn assert_messages_come_back<F: Framing + Clone>(framing: &F, messages: &[Vec<u8>], same: bool) {
    let mut wire = Buffer::from(&b"before"[..]);
    let mut sent = Vec::new();
    for message in messages {
        let before = wire.peek().to_vec();
        match framing.encode(message, &mut wire) {
            Ok(()) => sent.push(message),
            Err(_) => assert_eq!(wire.peek(), before, "an error appended something"),
        }
        assert!(wire.peek().starts_with(&before));
    }
    wire.retrieve("before".len());
    let expected = wire.peek().to_vec();

    let (mut codec, mut again) = (framing.clone(), Buffer::new());
    for message in sent {
        let received = codec.decode(&mut wire).unwrap().unwrap();
        assert!(!same || received == message, "{received:?} came of {message:?}");
        codec.encode(received, &mut again).unwrap();
    }
    assert!(wire.is_empty(), "{:?} is left", wire.peek());
    assert_eq!(again.peek(), expected);
}
