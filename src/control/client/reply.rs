//! What a server answers, as its clients see it.

use std::error::Error;
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::ClientError;

/// The version of the protocol that is spoken here.
const VERSION: u64 = 1;

/// The reply to a request of a [`ControlClient`](super::ControlClient).
#[derive(Debug)]
pub struct Reply {
    id: String,
    outcome: Result<Box<RawValue>, ErrorReply>,
    /// In bytes, as it came.
    length: usize,
}

/// An error that a server answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorReply {
    /// What kind of error it is, for programs: `unknown_command`, `invalid_params`, `failed`, or one of the handler's own.
    pub code: String,
    /// What is wrong, for people: at least one text, unless the server is a strange one.
    pub errors: Vec<String>,
    /// All else in the reply, such as `commands` with the names of those there are.
    pub base: Map<String, Value>,
}

impl Reply {
    /// The id of the request that this is the reply to.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the request succeeded.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.outcome.is_ok()
    }

    /// The result as JSON text, or the server's error.
    ///
    /// # Errors
    ///
    /// The error that the server answered with.
    pub fn json(&self) -> Result<&str, &ErrorReply> {
        self.outcome.as_deref().map(RawValue::get)
    }

    /// The result as a value of type `R`.
    ///
    /// # Errors
    ///
    /// [`Failed`](ClientError::Failed) if the reply is an error, [`UnexpectedResult`](ClientError::UnexpectedResult) if its
    /// result is no `R`.
    pub fn into_result<R: DeserializeOwned>(self) -> Result<R, ClientError> {
        let result = self.outcome.map_err(ClientError::Failed)?;
        serde_json::from_str(result.get()).map_err(ClientError::UnexpectedResult)
    }

    /// The size of the packet that it came in, in bytes.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// What a packet says.
    ///
    /// # Errors
    ///
    /// [`Malformed`](ClientError::Malformed) if it is no reply, [`Failed`](ClientError::Failed) if it is an error reply without
    /// an id, which is not about one request alone.
    pub(super) fn parse(packet: &[u8]) -> Result<Self, ClientError> {
        let envelope: Envelope<'_> = from_json(packet)?;
        if envelope.version != VERSION {
            return Err(malformed(format_args!("its version is {}, not {VERSION}", envelope.version)));
        }
        let outcome = if envelope.ok {
            Ok(envelope.result.unwrap_or(RawValue::NULL).to_owned())
        } else {
            Err(from_json::<Failure>(packet)?.into())
        };
        match (envelope.id, outcome) {
            (Some(id), outcome) => Ok(Self { id, outcome, length: packet.len() }),
            (None, Err(error)) => Err(ClientError::Failed(error)),
            (None, Ok(_)) => Err(malformed("it has a result but no id")),
        }
    }
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.errors.join("; "))
    }
}

impl Error for ErrorReply {}

#[derive(Deserialize)]
struct Envelope<'a> {
    version: u64,
    id: Option<String>,
    ok: bool,
    /// Absent as well if it is null.
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// An error reply, of which the base is what no other member takes.
#[derive(Deserialize)]
struct Failure {
    #[serde(rename = "version")]
    _version: u64,
    #[serde(rename = "id")]
    _id: Option<String>,
    #[serde(rename = "ok")]
    _ok: bool,
    code: String,
    errors: Vec<String>,
    #[serde(flatten)]
    base: Map<String, Value>,
}

impl From<Failure> for ErrorReply {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, errors: failure.errors, base: failure.base }
    }
}

fn from_json<'a, T: Deserialize<'a>>(packet: &'a [u8]) -> Result<T, ClientError> {
    if packet.is_empty() {
        return Err(malformed("it is an empty packet"));
    }
    // Arrays of what members there are would do as well otherwise.
    if !packet.trim_ascii_start().starts_with(b"{") {
        return Err(malformed("it is no object in JSON"));
    }
    serde_json::from_slice(packet).map_err(malformed)
}

pub(super) fn malformed(why: impl fmt::Display) -> ClientError {
    ClientError::Malformed(why.to_string())
}
