//! How what is inspected is written and searched.

use std::fmt::{Display, Write as _};

use serde::Serializer;

/// Writes a value as the text that it is shown by.
pub(super) fn as_text<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// The same for one that may be missing, which is null.
pub(super) fn as_text_if_any<T: Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

/// Whole milliseconds of nanoseconds.
pub(super) fn millis(nanos: u64) -> u64 {
    nanos / 1_000_000
}

/// A text that is searched for in what values are shown by.
pub(super) struct Needle<'a> {
    text: &'a str,
    buffer: &'a mut String,
}

impl<'a> Needle<'a> {
    /// `buffer` is where the values are written.
    pub(super) fn new(text: &'a str, buffer: &'a mut String) -> Self {
        Self { text, buffer }
    }

    pub(super) fn is_in(&mut self, value: &impl Display) -> bool {
        self.buffer.clear();
        write!(self.buffer, "{value}").is_ok() && self.buffer.contains(self.text)
    }
}
