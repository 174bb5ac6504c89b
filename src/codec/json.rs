//! Frames that are JSON.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Codec, DecodeError, EncodeError, Framing};
use crate::buffer::Buffer;

/// One JSON value of type `I` in each frame of `F`, answered by values of type `O`.
///
/// ```text
///   Json::over(LengthPrefixed::new(4))
///   +-----------+---------------------+            +--------------------+
///   | length: 4 | {"user":"ann",..}   |   ----->   | I: a value         |
///   +-----------+---------------------+            +--------------------+
/// ```
///
/// A frame that holds no JSON, or not such a value, is an error ([`JsonError`], inside [`DecodeError::Invalid`]), and
/// [decoding can go on](DecodeError::is_recoverable) with the next one. So are arrays and objects nested deeper than
/// [`max_depth`](Self::max_depth), before anything is made of them. Values are written on one line, so [`Lines`](super::Lines)
/// will do as framing; on packet sockets it is [`RawBytes`](super::RawBytes).
///
/// A value may take up several times the memory of its text; the framing's `max` bounds both.
///
/// ```
/// use campana::Buffer;
/// use campana::codec::{Codec, Json, Lines};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize)]
/// struct Request {
///     add: Vec<i64>,
/// }
///
/// #[derive(Serialize)]
/// struct Reply {
///     sum: i64,
/// }
///
/// let mut codec = Json::<Lines, Request, Reply>::over(Lines::new());
/// let mut input = Buffer::from(&b"{\"add\":[1,2,3]}\n"[..]);
/// let mut output = Buffer::new();
/// while let Some(request) = codec.decode(&mut input)? {
///     codec.encode(Reply { sum: request.add.iter().sum() }, &mut output)?;
/// }
/// assert_eq!(output.peek(), b"{\"sum\":6}\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Json<F, I = Value, O = I> {
    framing: F,
    max_depth: usize,
    messages: PhantomData<fn(O) -> I>,
}

impl<F: Framing, I, O> Json<F, I, O> {
    /// JSON over a framing, nested 64 deep at most.
    #[must_use]
    pub const fn over(framing: F) -> Self {
        Self { framing, max_depth: 64, messages: PhantomData }
    }

    /// How deep arrays and objects may be nested in what is decoded: 64 by default, and 127 at most, whatever is asked for, since
    /// each level takes up stack.
    #[must_use]
    pub const fn max_depth(mut self, levels: usize) -> Self {
        self.max_depth = if levels < 127 { levels } else { 127 };
        self
    }

    /// The framing, to change its limits.
    pub const fn framing_mut(&mut self) -> &mut F {
        &mut self.framing
    }
}

impl<F: Framing, I: DeserializeOwned + 'static, O: Serialize + 'static> Json<F, I, O> {
    fn value(&self, frame: Option<&[u8]>) -> Result<Option<I>, DecodeError> {
        let Some(frame) = frame else { return Ok(None) };
        if is_deeper(frame, self.max_depth) {
            return Err(DecodeError::invalid(JsonError::TooDeep { max: self.max_depth }));
        }
        serde_json::from_slice(frame)
            .map(Some)
            .map_err(|error| DecodeError::invalid(JsonError::NoSuchValue(error)))
    }
}

impl<F: Framing, I: DeserializeOwned + 'static, O: Serialize + 'static> Codec for Json<F, I, O> {
    type In<'a> = I;
    type Out<'a> = O;

    fn decode(&mut self, input: &mut Buffer) -> Result<Option<I>, DecodeError> {
        let frame = self.framing.decode(input)?;
        self.value(frame)
    }

    fn decode_eof(&mut self, input: &mut Buffer) -> Result<Option<I>, DecodeError> {
        let frame = self.framing.decode_eof(input)?;
        self.value(frame)
    }

    fn encode(&self, message: O, output: &mut Buffer) -> Result<(), EncodeError> {
        self.framing.encode_with(output, |content| {
            serde_json::to_writer(content, &message).map_err(EncodeError::invalid)
        })
    }
}

impl<F: Clone, I, O> Clone for Json<F, I, O> {
    fn clone(&self) -> Self {
        Self { framing: self.framing.clone(), max_depth: self.max_depth, messages: PhantomData }
    }
}

impl<F: fmt::Debug, I, O> fmt::Debug for Json<F, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Json").field("framing", &self.framing).field("max_depth", &self.max_depth).finish()
    }
}

/// Whether arrays and objects are nested deeper than `max`, of JSON; of anything else the answer may be either.
///
/// The parser alone does not do: what the type of the value has no use for is passed over without regard to its depth.
pub(crate) fn is_deeper(text: &[u8], max: usize) -> bool {
    let opens = |byte: u8| matches!(byte, b'[' | b'{');
    // Each level takes two bytes. Nearly always one of these is enough; the second looks at many bytes at a time.
    if text.len() / 2 <= max || text.iter().filter(|byte| opens(**byte)).count() <= max {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in text {
        if in_string {
            (in_string, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b']' | b'}' => depth = depth.saturating_sub(1),
            byte if opens(byte) => depth += 1,
            _ => {}
        }
        if depth > max {
            return true;
        }
    }
    false
}

/// Why a frame holds no value of the type that is wanted.
#[derive(Debug)]
#[non_exhaustive]
pub enum JsonError {
    /// Arrays and objects are nested too deep.
    TooDeep {
        /// How deep they may be.
        max: usize,
    },
    /// It is not JSON, or not such a value.
    NoSuchValue(serde_json::Error),
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep { max } => write!(
                f,
                "JSON nested deeper than {max} levels: send flatter values, or raise `max_depth` (to 127 at most)"
            ),
            Self::NoSuchValue(error) => write!(f, "not the JSON that is expected here: {error}"),
        }
    }
}

impl Error for JsonError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoSuchValue(error) => Some(error),
            Self::TooDeep { .. } => None,
        }
    }
}
