//! Why a request failed.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use serde_json::{Map, Value};

/// The codes of errors that are not a handler's own.
pub(crate) mod code {
    pub(crate) const BUSY: &str = "busy";
    pub(crate) const DROPPED: &str = "dropped";
    pub(crate) const FAILED: &str = "failed";
    pub(crate) const INVALID_PARAMS: &str = "invalid_params";
    pub(crate) const INVALID_REQUEST: &str = "invalid_request";
    pub(crate) const NOT_PERMITTED: &str = "not_permitted";
    pub(crate) const PANICKED: &str = "panicked";
    pub(crate) const REFUSED: &str = "refused";
    pub(crate) const TOO_LARGE: &str = "too_large";
    pub(crate) const UNKNOWN_COMMAND: &str = "unknown_command";
}

/// What a handler answers when it can't do what was asked for: one message or several, a code, and whatever else is to be in the
/// reply.
///
/// Any error becomes one by `?`, with its text as the message.
///
/// ```
/// use campana::control::Failure;
///
/// fn load(path: &str) -> Result<String, Failure> {
///     if path.is_empty() {
///         return Err(Failure::new("no path was given").with("example", "/etc/hosts"));
///     }
///     Ok(std::fs::read_to_string(path)?)
/// }
/// assert_eq!(load("").unwrap_err().to_string(), "no path was given");
/// assert!(load("/nowhere").unwrap_err().to_string().contains("No such file"));
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Failure {
    pub(super) code: Cow<'static, str>,
    pub(super) errors: Vec<String>,
    pub(super) base: Map<String, Value>,
}

impl Failure {
    /// A failure with one message. Its code is `failed`.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: code::FAILED.into(), errors: vec![message.into()], base: Map::new() }
    }

    /// Adds a message.
    #[must_use]
    pub fn and(mut self, message: impl Into<String>) -> Self {
        self.errors.push(message.into());
        self
    }

    /// Sets the code, by which programs tell failures apart.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = code.into();
        self
    }

    /// Adds a member to the reply. Those that each error reply has (`version`, `id`, `ok`, `code`, `errors`) can't be set so.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.base.insert(name.into(), value.into());
        self
    }

    /// Adds all members of an object to the reply, as [`with`](Self::with) does one.
    #[must_use]
    pub fn with_all(mut self, members: Map<String, Value>) -> Self {
        self.base.extend(members);
        self
    }

    /// The messages: one at least.
    #[must_use]
    pub fn messages(&self) -> &[String] {
        &self.errors
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.errors.join("; "))
    }
}

// It is no `Error` itself: then not every error could become one.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_the_order_of_its_messages() {
        let failure = Failure::new("one").and("two").code("twice").with("retry_ms", 5);
        assert_eq!(failure.messages(), ["one", "two"]);
        assert_eq!(failure.to_string(), "one; two");
        assert_eq!((&*failure.code, &failure.base["retry_ms"]), ("twice", &Value::from(5)));
    }
}
