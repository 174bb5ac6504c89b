//! Messages out of a stream of bytes, and back.
//!
//! A stream has no messages, only bytes in an order: a message arrives in pieces, or ten of them at once. A [`Codec`] says where
//! a message ends and what it means. It reads and writes [`Buffer`]s and nothing else; it knows no connection and no clock.
//!
//! | codec | a message is |
//! | --- | --- |
//! | [`LengthPrefixed`] | so many bytes as a length field of 1 to 8 bytes before it says |
//! | [`VarintPrefixed`] | so many bytes as a LEB128 number before it says, as with delimited protocol buffers |
//! | [`Lines`] | a line that LF or CR LF ends |
//! | [`FixedLength`] | always the same number of bytes |
//! | [`RawBytes`] | whatever has arrived |
//! | [`Text`] | UTF-8 in the frames of one of the above |
//! | `Json` (feature `json`) | a JSON value in the frames of one of the above |
//!
//! The first five give slices of the input and take slices, and are a [`Framing`]; the last two are put over a framing at compile
//! time, and so is a codec of your own: see [below](#messages-of-your-own).
//!
//! # In a handler
//!
//! Each connection has a codec of its own in its state, because a decoder may remember where it has stopped. `on_data` decodes
//! until nothing is left but the beginning of a message, and leaves that in the buffer. A server that echoes frames, driven
//! without a socket:
//!
//! ```
//! use campana::codec::{Codec, LengthPrefixed};
//! use campana::testing::TestLoop;
//! use campana::{Buffer, CloseReason, Handler, TcpConnection};
//!
//! #[derive(Default)]
//! struct Echo {
//!     output: Buffer,
//! }
//!
//! impl Handler for Echo {
//!     type State = LengthPrefixed;
//!
//!     fn on_connect(&mut self, _conn: &mut TcpConnection<'_>) -> LengthPrefixed {
//!         LengthPrefixed::new(4).max(64 * 1024)
//!     }
//!
//!     fn on_data(&mut self, codec: &mut LengthPrefixed, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
//!         loop {
//!             match codec.decode(input) {
//!                 // An error only of messages that can't be encoded, which what was decoded always can.
//!                 Ok(Some(message)) => drop(codec.encode(message, &mut self.output)),
//!                 Ok(None) => break,
//!                 Err(error) => {
//!                     conn.fail(error.to_string());
//!                     break;
//!                 }
//!             }
//!         }
//!         let _ = conn.send(&mut self.output);
//!     }
//!
//!     fn on_read_closed(&mut self, codec: &mut LengthPrefixed, conn: &mut TcpConnection<'_>) {
//!         match codec.decode_eof(&mut Buffer::from(conn.unread_input())) {
//!             Ok(_) => conn.close(),
//!             Err(error) => conn.fail(error.to_string()),
//!         }
//!     }
//! }
//!
//! let mut test = TestLoop::new(Echo::default());
//! let peer = test.connect();
//! peer.send(b"\x00\x00\x00\x05hello\x00\x00\x00\x05wor");
//! test.run_until_idle();
//! assert_eq!(peer.receive(), b"\x00\x00\x00\x05hello");
//! peer.send("ld");
//! test.run_until_idle();
//! assert_eq!(peer.receive(), b"\x00\x00\x00\x05world");
//!
//! peer.send(b"\xff\xff\xff\xff");
//! test.run_until_idle();
//! peer.close();
//! test.run_until_idle();
//! assert!(matches!(peer.close_reason(), Some(CloseReason::Protocol(text)) if text.contains("4294967295")));
//! ```
//!
//! A message waits in the connection's input buffer until it is whole, so [`ConnectionConfig::input_limit`] has to be larger
//! than the largest message: 8 MiB by default, against 1 MiB here.
//!
//! [`ConnectionConfig::input_limit`]: crate::connection::ConnectionConfig::input_limit
//!
//! # Messages of your own
//!
//! A codec with types of its own takes a framing in, and interprets its frames. What it gives may borrow from the input:
//!
//! ```
//! use campana::Buffer;
//! use campana::codec::{Codec, DecodeError, EncodeError, Framing, LengthPrefixed};
//!
//! #[derive(Clone, Debug, PartialEq)]
//! struct Command<'a> {
//!     number: u16,
//!     body: &'a [u8],
//! }
//!
//! struct Commands(LengthPrefixed);
//!
//! impl Codec for Commands {
//!     type In<'a> = Command<'a>;
//!     type Out<'a> = Command<'a>;
//!
//!     fn decode<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<Command<'a>>, DecodeError> {
//!         let Some(frame) = self.0.decode(input)? else { return Ok(None) };
//!         match frame.split_first_chunk() {
//!             Some((number, body)) => Ok(Some(Command { number: u16::from_be_bytes(*number), body })),
//!             None => Err(DecodeError::invalid("a command begins with its number, of two bytes")),
//!         }
//!     }
//!
//!     fn encode(&self, command: Command<'_>, output: &mut Buffer) -> Result<(), EncodeError> {
//!         self.0.encode_with(output, |content| {
//!             content.append_u16(command.number);
//!             content.append(command.body);
//!             Ok(())
//!         })
//!     }
//! }
//!
//! let mut codec = Commands(LengthPrefixed::new(2));
//! let mut wire = Buffer::new();
//! codec.encode(Command { number: 7, body: b"seven" }, &mut wire)?;
//! assert_eq!(wire.peek(), b"\x00\x07\x00\x07seven");
//! assert_eq!(codec.decode(&mut wire)?, Some(Command { number: 7, body: b"seven" }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use bytes::Bytes;

use crate::buffer::Buffer;

mod error;
mod fixed_length;
mod framing;
#[cfg(feature = "json")]
mod json;
mod length_prefixed;
mod lines;
mod raw_bytes;
mod text;
mod varint_prefixed;

pub use error::{DecodeError, EncodeError};
pub use fixed_length::FixedLength;
pub use framing::Framing;
#[cfg(feature = "control")]
pub(crate) use json::is_deeper as json_is_deeper;
#[cfg(feature = "json")]
pub use json::{Json, JsonError};
pub use length_prefixed::LengthPrefixed;
pub use lines::{LineEnding, Lines};
pub use raw_bytes::RawBytes;
pub use text::Text;
pub use varint_prefixed::VarintPrefixed;

/// Most content of a frame in bytes, unless it is set otherwise.
const DEFAULT_MAX: usize = 1024 * 1024;

/// The two ways between bytes and messages of one connection.
///
/// # What a decoder promises
///
/// - It takes whole messages only: of one that isn't whole it consumes nothing (or what it will not need again, and remembers
///   that). The caller leaves the rest where it is, and more behind it; so a decoder may go on where it stopped scanning.
/// - The same bytes give the same messages, and the same error behind the same message, however they were chopped when they
///   arrived; and the work is proportional to the bytes, and to the calls.
/// - What the input says about sizes is checked before it is believed, and nothing is allocated for it.
/// - An error that [can't be recovered from](DecodeError::is_recoverable) consumes nothing and is given again by each further
///   call. After any other, decoding goes on with the next message.
pub trait Codec: 'static {
    /// A message as it is decoded. It may borrow from the input, as `&'a [u8]` does, and then costs no allocation; it can't borrow
    /// from the codec, so that an answer can be encoded while it is looked at.
    type In<'a>;

    /// A message as it is given to be encoded: `&'a [u8]`, or an owned type.
    type Out<'a>;

    /// Takes the next message out of `input`; nothing if it isn't whole yet.
    ///
    /// ```
    /// use campana::Buffer;
    /// use campana::codec::{Codec, DecodeError, Lines};
    ///
    /// fn on_data(codec: &mut Lines, input: &mut Buffer) -> Result<(), DecodeError> {
    ///     while let Some(line) = codec.decode(input)? {
    ///         println!("{}", line.escape_ascii());
    ///     }
    ///     Ok(())
    /// }
    /// # on_data(&mut Lines::new(), &mut Buffer::from(&b"one\ntwo\nthr"[..]));
    /// ```
    ///
    /// # Errors
    ///
    /// [`DecodeError`], which says whether it makes sense to go on.
    fn decode<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<Self::In<'a>>, DecodeError>;

    /// Makes of what is left what can be made of it, once the peer has sent its last byte and [`decode`](Self::decode) has given
    /// nothing. To be called until it gives nothing either.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Incomplete`] if the end came inside a message, unless the codec knows better.
    fn decode_eof<'a>(&mut self, input: &'a mut Buffer) -> Result<Option<Self::In<'a>>, DecodeError> {
        match input.readable() {
            0 => Ok(None),
            received => Err(DecodeError::Incomplete { received }),
        }
    }

    /// Appends a message to `output`.
    ///
    /// The bytes depend on the message and on the codec's settings alone, not on what was encoded before (hence `&self`): so one
    /// encoding serves all connections whose codecs are set alike.
    ///
    /// # Errors
    ///
    /// If the message can't be encoded, because it is too long, for instance. `output` is then as it was.
    fn encode(&self, message: Self::Out<'_>, output: &mut Buffer) -> Result<(), EncodeError>;

    /// Encodes a message once, to be sent to many.
    ///
    /// ```
    /// use campana::codec::{Codec, Lines, Text};
    /// use campana::{Handler, ServerHandle};
    ///
    /// fn announce<H: Handler>(server: &ServerHandle<H>, text: &str) -> Result<(), Box<dyn std::error::Error>> {
    ///     let line = Text::over(Lines::new()).encode_to_bytes(text)?;
    ///     server.broadcast(line)?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    fn encode_to_bytes(&self, message: Self::Out<'_>) -> Result<Bytes, EncodeError> {
        let mut output = Buffer::new();
        self.encode(message, &mut output)?;
        Ok(output.take_all_bytes())
    }
}
