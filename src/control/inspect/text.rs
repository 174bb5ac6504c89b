//! How what is inspected is written and searched.

use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::time::Duration;

use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

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

/// Names, each once and in order.
pub(super) fn names(names: Vec<Arc<str>>) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// How many bytes of rows are put into one reply: a packet takes somewhat more, as its send buffer is set up.
const MOST_BYTES: usize = 192 * 1024;

/// Writes as many of the first rows as go into one reply, and one at least.
pub(super) fn fitting<R: Serialize, S: Serializer>(rows: &[R], to: S) -> Result<S::Ok, S::Error> {
    let mut left = MOST_BYTES;
    let mut fits = |row: &RawValue, is_first: bool| {
        let size = row.get().len() + 1;
        let fits = size <= left || is_first;
        left = left.saturating_sub(size);
        fits
    };
    let mut list = to.serialize_seq(None)?;
    for (place, row) in rows.iter().enumerate() {
        let row = to_raw_value(row).map_err(S::Error::custom)?;
        if !fits(&row, place == 0) {
            break;
        }
        list.serialize_element(&row)?;
    }
    list.end()
}

/// Whole milliseconds of nanoseconds.
pub(super) fn millis(nanos: u64) -> u64 {
    nanos / 1_000_000
}

/// The same of a duration.
pub(super) fn millis_of(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rows_as_go_into_a_reply_are_given() {
        let count = |rows: usize, length: usize| {
            let rows = vec!["x".repeat(length); rows];
            fitting(&rows, serde_json::value::Serializer).unwrap().as_array().unwrap().len()
        };
        assert_eq!(count(0, 10), 0);
        assert_eq!(count(500, 380), 500);
        assert_eq!(count(500, 1021), 192);
        assert_eq!(count(500, 1022), 191);
        assert_eq!(
            count(3, 1_000_000),
            1,
            "the reply says that it is too large, rather than that there are none"
        );
    }
}
