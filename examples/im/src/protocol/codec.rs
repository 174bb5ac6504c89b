//! Frames: `length`, `cmd`, `seq`, and a body of JSON.

use std::fmt;

use campana::Buffer;
use campana::codec::{Codec, DecodeError, EncodeError, Framing, LengthPrefixed};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Command, ErrorCode, Event, Failure, MAX_FRAME, Request};

/// Bytes of `cmd` and `seq`, which the length counts and a frame can't lack.
const HEADER: usize = 6;

/// A frame as it came in. Its body is a slice of the input and not looked at yet.
///
/// ```text
///    0            4       6            10              4 + length
///   +------------+-------+------------+------------------+
///   | length u32 | cmd   | seq u32    | body             |
///   |            | u16   |            | length - 6 bytes |
///   +------------+-------+------------+------------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame<'a> {
    /// The command's number, which need not be one of those there are.
    pub number: u16,
    /// Whose reply it is; zero for events.
    pub seq: u32,
    /// JSON, or nothing.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// The command, if there is such a one.
    #[must_use]
    pub const fn command(&self) -> Option<Command> {
        Command::from_number(self.number)
    }

    /// What the body says. An empty body is taken for an empty object.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::BadRequest`] if it isn't JSON, or not such a value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let body = if self.body.is_empty() { b"{}" } else { self.body };
        serde_json::from_slice(body).map_err(|error| Failure::new(ErrorCode::BadRequest, error.to_string()))
    }

    /// What a reply to a request of type `R` says.
    ///
    /// # Errors
    ///
    /// The failure, if it tells of one; [`ErrorCode::BadRequest`] if it is no such reply.
    pub fn parse_reply<R: Request>(&self) -> Result<R::Reply, Failure> {
        match self.command() {
            Some(Command::Failure) => Err(self.parse::<Failure>()?),
            Some(command) if command == R::COMMAND => self.parse(),
            _ => Err(Failure::new(
                ErrorCode::BadRequest,
                format!("{} is no reply to {:?}", self.number, R::COMMAND),
            )),
        }
    }
}

/// Without the body, which may hold a password.
impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("command", &self.command())
            .field("number", &self.number)
            .field("seq", &self.seq)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// A frame to be sent. Its body is written straight into the output.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    command: Command,
    seq: u32,
    body: Body<'a>,
}

#[derive(Clone, Copy)]
enum Body<'a> {
    Value(&'a dyn ToJson),
    Json(&'a [u8]),
}

impl<'a> Outgoing<'a> {
    /// A request; `seq` will be that of its reply.
    pub fn request<R: Request>(seq: u32, request: &'a R) -> Self {
        Self { command: R::COMMAND, seq, body: Body::Value(request) }
    }

    /// The reply to a request of type `R`.
    pub fn reply<R: Request>(seq: u32, reply: &'a R::Reply) -> Self {
        Self { command: R::COMMAND, seq, body: Body::Value(reply) }
    }

    /// The reply to a request that failed.
    #[must_use]
    pub fn failure(seq: u32, failure: &'a Failure) -> Self {
        Self { command: Command::Failure, seq, body: Body::Value(failure) }
    }

    /// An event.
    pub fn event<E: Event>(event: &'a E) -> Self {
        Self { command: E::COMMAND, seq: 0, body: Body::Value(event) }
    }

    /// A frame whose body is JSON already, because many get the same.
    #[must_use]
    pub fn encoded(command: Command, seq: u32, json: &'a [u8]) -> Self {
        Self { command, seq, body: Body::Json(json) }
    }

    /// What the frame is about.
    #[must_use]
    pub const fn command(&self) -> Command {
        self.command
    }
}

/// Without the body, which may hold a password.
impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("command", &self.command)
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

/// What can be written as JSON, behind a pointer.
trait ToJson {
    fn write(&self, output: &mut Buffer) -> serde_json::Result<()>;
}

impl<T: Serialize> ToJson for T {
    fn write(&self, output: &mut Buffer) -> serde_json::Result<()> {
        serde_json::to_writer(output, self)
    }
}

/// The codec of both sides: [`Frame`]s in, [`Outgoing`]s out.
#[derive(Clone, Debug)]
pub struct FrameCodec {
    incoming: LengthPrefixed,
    outgoing: LengthPrefixed,
}

impl FrameCodec {
    /// Takes frames of at most `max` bytes behind the length field, and sends frames of at most [`MAX_FRAME`].
    #[must_use]
    pub fn new(max: usize) -> Self {
        let framing = LengthPrefixed::new(4).min(HEADER);
        Self { incoming: framing.clone().max(max), outgoing: framing.max(MAX_FRAME) }
    }

    /// Changes how long incoming frames may be, from the next one on.
    pub fn set_max(&mut self, max: usize) {
        self.incoming.set_max(max);
    }
}

impl Default for FrameCodec {
    fn default() -> Self {
        Self::new(MAX_FRAME)
    }
}

impl Codec for FrameCodec {
    type In<'a> = Frame<'a>;
    type Out<'a> = Outgoing<'a>;

    fn decode<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<Frame<'a>>, DecodeError> {
        Ok(match self.incoming.decode(input)? {
            Some([n0, n1, s0, s1, s2, s3, body @ ..]) => Some(Frame {
                number: u16::from_be_bytes([*n0, *n1]),
                seq: u32::from_be_bytes([*s0, *s1, *s2, *s3]),
                body,
            }),
            Some(_) => return Err(DecodeError::invalid("a frame has at least 6 bytes behind its length")),
            None => None,
        })
    }

    fn encode(&self, message: Outgoing<'_>, output: &mut Buffer) -> Result<(), EncodeError> {
        self.outgoing.encode_with(output, |content| {
            content.append_u16(message.command.number());
            content.append_u32(message.seq);
            match message.body {
                Body::Value(value) => value.write(content).map_err(EncodeError::invalid),
                Body::Json(json) => {
                    content.append(json);
                    Ok(())
                }
            }
        })
    }
}
