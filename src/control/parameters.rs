//! Parameters: read into a type, and described by it.

use serde::de::DeserializeOwned;

/// A field of a type of parameters.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: String,
    pub(super) required: bool,
}

pub(super) fn parse<P: DeserializeOwned>(params: &str) -> Result<P, Vec<String>> {
    let mut from = serde_json::Deserializer::from_str(params);
    serde_path_to_error::deserialize(&mut from)
        .map_err(|error| vec![format!("params.{}: {}", error.path(), error.inner())])
}

pub(super) fn fields_of<P: DeserializeOwned>() -> Option<Vec<Field>> {
    None
}
