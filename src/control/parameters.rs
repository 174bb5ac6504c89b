//! Parameters of a command: from JSON to the handler's type, and what that type looks like.

mod fields;
mod filler;
mod halt;
mod object;
mod probe;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

pub(crate) use self::fields::{Field, fields_of};
use self::object::Object;
use super::excerpt::excerpt;

/// How long an error's text may be, in bytes, before its middle is left out: the value that it quotes may be as long as a request.
const LONGEST: usize = 1000;

/// Makes a `P` of the JSON text of an object. Each error is one line that begins with the place that it is about.
pub(crate) fn parse<P: DeserializeOwned>(params: &str) -> Result<P, Vec<String>> {
    if !params.trim_ascii_start().starts_with('{') {
        return Err(vec!["params: not an object".to_owned()]);
    }
    let mut json = serde_json::Deserializer::from_str(params);
    if let Ok(value) = P::deserialize(Object(&mut json))
        && json.end().is_ok()
    {
        return Ok(value);
    }
    // To keep track of the place has its price, which only wrong parameters have to pay.
    let mut json = serde_json::Deserializer::from_str(params);
    let value = serde_path_to_error::deserialize(Object(&mut json))
        .map_err(|error| vec![explain(error.path(), error.inner())])?;
    json.end().map_err(|error| vec![format!("params: {}", text_of(&error))])?;
    Ok(value)
}

fn explain(path: &Path, error: &serde_json::Error) -> String {
    let mut place = place_of(path);
    let text = text_of(error);
    let last = match path.iter().next_back() {
        Some(Segment::Map { key }) => Some(key.as_str()),
        _ => None,
    };
    let (field, fault) = if let Some(field) = between(&text, "missing field `", "`") {
        (Some(field), "missing".to_owned())
    } else if let Some(field) = between(&text, "duplicate field `", "`") {
        (Some(field), "given more than once".to_owned())
    } else if let Some((field, known)) = unknown_field(&text, last) {
        (Some(field), format!("unknown, {known}"))
    } else {
        (None, text.clone())
    };
    // Whether a field that is wrong as such is part of the path is up to who found it.
    if let Some(field) = field
        && last != Some(field)
    {
        append_key(&mut place, field);
    }
    excerpt(&format!("{place}: {fault}"), LONGEST).into_owned()
}

/// The error's text without the position, which tells nothing to those who see the parameters on a command line or in a form.
fn text_of(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    if text.ends_with(&position) {
        text.truncate(text.len() - position.len());
    }
    text
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.strip_suffix(after)
}

/// The unknown field's name, and what there is instead. A name may hold anything, also what looks like the text behind it.
fn unknown_field<'a>(text: &'a str, last: Option<&'a str>) -> Option<(&'a str, &'a str)> {
    let text = text.strip_prefix("unknown field `")?;
    let is_it = |last: &&str| text.strip_prefix(*last).is_some_and(|behind| behind.starts_with("`, "));
    let end = last.filter(is_it).map(str::len);
    let end = end.or_else(|| text.find("`, expected ")).or_else(|| text.find("`, there are "))?;
    Some((&text[..end], text[end..].strip_prefix("`, ")?))
}

fn place_of(path: &Path) -> String {
    let mut place = "params".to_owned();
    for segment in path {
        match segment {
            Segment::Map { key } => append_key(&mut place, key),
            Segment::Enum { variant } => append_key(&mut place, variant),
            Segment::Seq { index } => _ = write!(place, "[{index}]"),
            // Where a key was expected.
            Segment::Unknown => {}
        }
    }
    place
}

fn append_key(place: &mut String, key: &str) {
    let is_plain =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte));
    _ = if is_plain { write!(place, ".{key}") } else { write!(place, "[{key:?}]") };
}
