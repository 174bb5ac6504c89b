//! What is around a request and a reply.
//!
//! ```text
//!   request  {"version":1, "command":"add", "params":{"a":1,"b":2}, "id":"7"}
//!   reply    {"version":1, "id":"7", "ok":true, "result":3}
//!   error    {"version":1, "id":"7", "ok":false, "code":"..", "errors":["..", ..], ..}
//! ```

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::excerpt::excerpt;
use super::failure::{Failure, code};
use crate::codec::json_is_deeper;

/// The version of the protocol.
pub(super) const VERSION: u64 = 1;
/// How deep arrays and objects may be nested in a request.
const MAX_DEPTH: usize = 64;
/// How many things that are wrong with a request are told one by one.
const MAX_COMPLAINTS: usize = 10;
/// How many bytes of a request an error repeats.
const MAX_REPEATED: usize = 200;

/// A request that keeps to the protocol.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request<'a> {
    version: u64,
    #[serde(borrow)]
    pub(super) command: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "some_json")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "some_string")]
    pub(super) id: Option<Cow<'a, str>>,
}

/// Parameters that are there are looked at, `null` as well.
fn some_json<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// An id that is there has to be a string, and not `null`.
fn some_string<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    /// Borrows where the text has no escapes.
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

    Borrowed::deserialize(from).map(|Borrowed(id)| Some(id))
}

impl Request<'_> {
    /// The text of the parameters: a JSON object.
    pub(super) fn params(&self) -> &str {
        self.params.map_or("{}", RawValue::get)
    }
}

/// What is wrong with a request, and its id as far as it could be read.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) id: Option<String>,
    pub(super) failure: Failure,
}

/// Reads a request: one packet.
pub(super) fn parse(packet: &[u8]) -> Result<Request<'_>, Violation> {
    if json_is_deeper(packet, MAX_DEPTH) {
        let text = format!("the request is nested deeper than {MAX_DEPTH} levels: send flatter parameters");
        return Err(Violation { id: None, failure: invalid(text) });
    }
    match serde_json::from_slice::<Request<'_>>(packet) {
        Ok(request)
            if request.version == VERSION
                && request.params().starts_with('{')
                // An array of the members' values would do as well for serde.
                && packet.trim_ascii_start().starts_with(b"{") =>
        {
            Ok(request)
        }
        Ok(_) => Err(violation(packet, None)),
        Err(error) => Err(violation(packet, Some(&error))),
    }
}

/// Finds all that is wrong with a request that isn't one.
#[cold]
fn violation(packet: &[u8], error: Option<&serde_json::Error>) -> Violation {
    let value = match serde_json::from_slice::<Value>(packet) {
        Ok(value) => value,
        Err(error) => {
            return Violation { id: None, failure: invalid(format!("the request is not JSON: {error}")) };
        }
    };
    let Value::Object(members) = value else {
        let failure = invalid(format!("the request is {}: it has to be an object", kind_of(&value)));
        return Violation { id: None, failure };
    };
    let missing = ["version", "command"].into_iter().filter(|required| !members.contains_key(*required));
    let mut wrong = missing.map(|required| format!("`{required}` is missing")).collect::<Vec<_>>();
    wrong.extend(members.iter().filter_map(|(name, value)| complaint(name, value)));
    if wrong.is_empty() {
        // Such as a member that is there twice.
        wrong.push(error.map_or_else(|| "the request is invalid".to_owned(), ToString::to_string));
    }
    if wrong.len() > MAX_COMPLAINTS {
        let more = wrong.len() - MAX_COMPLAINTS;
        wrong.truncate(MAX_COMPLAINTS);
        wrong.push(format!("{more} more such errors"));
    }
    let mut wrong = wrong.into_iter();
    let failure = invalid(wrong.next().unwrap_or_default());
    let failure = wrong.fold(failure, Failure::and);
    Violation { id: members.get("id").and_then(Value::as_str).map(str::to_owned), failure }
}

/// What is wrong with one member of a request, if anything is.
fn complaint(name: &str, value: &Value) -> Option<String> {
    match (name, value) {
        ("version", Value::Number(number)) if number.as_u64() == Some(VERSION) => None,
        ("version", value) => {
            let value = value.to_string();
            Some(format!("`version` is {}: this is version {VERSION}", excerpt(&value, MAX_REPEATED)))
        }
        ("command" | "id", Value::String(_)) | ("params", Value::Object(_)) => None,
        ("command" | "id", value) => Some(format!("`{name}` is {}: it has to be a string", kind_of(value))),
        ("params", value) => Some(format!("`params` is {}: it has to be an object", kind_of(value))),
        (unknown, _) => {
            let unknown = excerpt(unknown, MAX_REPEATED);
            Some(format!("`{unknown}` is unknown: a request has `version`, `command`, `params` and `id`"))
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(message).code(code::INVALID_REQUEST)
}

#[derive(Serialize)]
struct Reply<'a, R: ?Sized> {
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    ok: bool,
    result: &'a R,
}

#[derive(Serialize)]
struct ErrorReply<'a> {
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    ok: bool,
    code: &'a str,
    errors: &'a [String],
    #[serde(flatten)]
    base: Base<'a>,
}

/// The members that a failure brings, but for those that each reply has.
struct Base<'a>(&'a Map<String, Value>);

impl Serialize for Base<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let is_own = |name: &str| !["version", "id", "ok", "code", "errors", "result"].contains(&name);
        to.collect_map(self.0.iter().filter(|(name, _)| is_own(name)))
    }
}

/// Appends a reply to `to`; nothing if the result can't be written as JSON, which the failure says.
pub(super) fn write_reply<R: Serialize + ?Sized>(
    to: &mut Vec<u8>,
    id: Option<&str>,
    result: &R,
) -> Result<(), Failure> {
    let start = to.len();
    serde_json::to_writer(&mut *to, &Reply { version: VERSION, id, ok: true, result }).map_err(|error| {
        to.truncate(start);
        Failure::new(format!("the result can't be written as JSON: {error}"))
    })
}

/// Appends an error reply to `to`.
pub(super) fn write_failure(to: &mut Vec<u8>, id: Option<&str>, failure: &Failure) {
    let Failure { code, errors, base } = failure;
    let reply = ErrorReply { version: VERSION, id, ok: false, code, errors, base: Base(base) };
    let start = to.len();
    if serde_json::to_writer(&mut *to, &reply).is_err() {
        // Strings and values can always be written; if that should ever change, nothing half remains.
        to.truncate(start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(packet: &str) -> (Option<String>, Vec<String>) {
        let Violation { id, failure } = parse(packet.as_bytes()).unwrap_err();
        assert_eq!(failure.code, code::INVALID_REQUEST);
        (id, failure.errors)
    }

    #[test]
    fn params_default_to_an_empty_object_and_the_id_to_none() {
        let request = parse(br#"{"version":1,"command":"x"}"#).unwrap();
        assert_eq!((&*request.command, request.params(), request.id.as_deref()), ("x", "{}", None));
        let request = parse(br#"{"id":"\u0061","params":{"a":[1]},"command":"x","version":1}"#).unwrap();
        assert_eq!((request.params(), request.id.as_deref()), (r#"{"a":[1]}"#, Some("a")));
    }

    #[test]
    fn every_violation_is_named_and_the_id_is_kept() {
        let (id, texts) = errors(r#"{"version":2,"command":5,"params":[],"parms":{},"id":"7"}"#);
        assert_eq!(id.as_deref(), Some("7"));
        assert_eq!(texts.len(), 4, "{texts:?}");
        let (id, texts) = errors(r#"{"id":7}"#);
        assert_eq!(id, None);
        assert_eq!(texts.len(), 3, "{texts:?}");
        for nothing in
            [r#"{"id":null,"version":1,"command":"x"}"#, r#"{"params":null,"version":1,"command":"x"}"#]
        {
            assert_eq!(errors(nothing).1.len(), 1, "{nothing}");
        }
    }

    #[test]
    fn what_is_no_object_is_an_error_without_id() {
        for packet in ["", "{", "[1]", "\"x\"", "nonsense", "{\"version\":1,\"command\":\"x\"} x", "\u{0}"] {
            let (id, texts) = errors(packet);
            assert_eq!((id, texts.len()), (None, 1), "{packet}");
        }
        assert!(parse(b"\xff{}").is_err());
    }

    #[test]
    fn a_member_that_is_there_twice_is_an_error() {
        let (id, texts) = errors(r#"{"version":1,"command":"x","command":"y","id":"1"}"#);
        assert_eq!(id.as_deref(), Some("1"));
        assert!(texts[0].contains("duplicate"), "{texts:?}");
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let deep = format!(
            r#"{{"version":1,"command":"x","params":{{"a":{}1{}}}}}"#,
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        assert!(errors(&deep).1[0].contains("nested"));
    }

    #[test]
    fn a_failure_can_not_replace_what_each_reply_has() {
        let failure = Failure::new("no").with("ok", true).with("id", "8").with("hint", "try");
        let mut reply = Vec::new();
        write_failure(&mut reply, Some("7"), &failure);
        let expected = r#"{"version":1,"id":"7","ok":false,"code":"failed","errors":["no"],"hint":"try"}"#;
        assert_eq!(String::from_utf8(reply).unwrap(), expected);
    }
}
