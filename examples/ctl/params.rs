//! Parameters as they are given on a command line.

use std::str::FromStr;

use serde_json::{Map, Value};

/// A parameter: `KEY=VALUE` or `KEY:=JSON`.
pub(crate) struct Parameter {
    key: String,
    text: String,
    value: Value,
    is_ambiguous: bool,
}

impl Parameter {
    pub(crate) fn text(key: &str, text: &str) -> Self {
        Self { key: key.into(), text: text.into(), value: text.into(), is_ambiguous: false }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Whether it was taken for JSON, but may be meant as text.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    pub(crate) fn take_as_text(&mut self) {
        if self.is_ambiguous {
            self.value = self.text.as_str().into();
        }
    }
}

impl FromStr for Parameter {
    type Err = String;

    fn from_str(argument: &str) -> Result<Self, String> {
        let Some((key, text)) = argument.split_once('=') else {
            return Err(format!("{argument:?} is no parameter: write KEY=VALUE"));
        };
        let (key, is_json) = match key.strip_suffix(':') {
            Some(key) => (key, true),
            None => (key, false),
        };
        if key.split('.').any(str::is_empty) {
            return Err(format!("{argument:?} has an empty name: write KEY=VALUE"));
        }
        let (value, is_ambiguous) = match serde_json::from_str(text) {
            Ok(value) => {
                // A string in JSON's quotes was meant as one.
                let is_ambiguous = !is_json && !matches!(value, Value::String(_));
                (value, is_ambiguous)
            }
            Err(error) if is_json => return Err(format!("{key} is no JSON: {error}")),
            Err(_) => (Value::from(text), false),
        };
        Ok(Self { key: key.into(), text: text.into(), value, is_ambiguous })
    }
}

/// The object of all parameters, in which a dot in a key leads into an object.
pub(crate) fn object_of(parameters: &[Parameter]) -> Result<Map<String, Value>, String> {
    let mut object = Map::new();
    for Parameter { key, value, .. } in parameters {
        let (outer, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut members = &mut object;
        for outer in outer.split_terminator('.') {
            members = match members.entry(outer).or_insert_with(|| Map::new().into()) {
                Value::Object(inner) => inner,
                _ => return Err(format!("{outer} is no object, so that there can be no {key} in it")),
            };
        }
        if members.insert(name.into(), value.clone()).is_some() {
            return Err(format!("{key} is given more than once"));
        }
    }
    Ok(object)
}
