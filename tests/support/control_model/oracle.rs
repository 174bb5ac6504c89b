//! What has to become of a packet, worked out in another way than a control session does it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::case::Limits;

/// What a client is to get for a packet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expected {
    Reply(Reply),
    /// The handler puts it off, or it is refused if too many are.
    Later {
        id: Option<String>,
    },
    /// A reply, and nothing behind it.
    End(Reply),
    /// Nothing, and nothing behind it.
    Terminate,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(super) id: Option<String>,
    pub(super) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// By its text.
    Result(String),
    /// A list of commands.
    Help,
    /// What has the code is told by texts of the library's.
    Error(&'static str),
    Failure {
        code: String,
        errors: Vec<String>,
        /// Each with its text.
        base: BTreeMap<String, String>,
    },
}

/// The members of an object, each as often as it is there.
pub(super) struct Members(pub(super) Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        from.deserialize_map(All)
    }
}

impl Members {
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.get())
    }

    pub(super) fn value<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    pub(super) fn are_unique(&self) -> bool {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names.windows(2).all(|pair| pair[0] != pair[1])
    }
}

/// What is to come of a packet; nothing if it is empty.
pub(crate) fn expected(packet: &[u8], limits: Limits) -> Option<Expected> {
    if packet.is_empty() {
        return None;
    }
    let error = |id, code| Expected::Reply(Reply { id, content: Content::Error(code) });
    let invalid = |id| Some(error(id, "invalid_request"));
    if packet.len() > limits.max_request() {
        return invalid(None);
    }
    let Ok(members) = serde_json::from_slice::<Members>(packet) else { return invalid(None) };
    if depth(packet) > 64 {
        return invalid(None);
    }
    let whole = serde_json::from_slice::<Value>(packet).ok();
    let id_anyway = whole.as_ref().and_then(|whole| whole.get("id")?.as_str().map(str::to_owned));
    let is_known = |name: &str| ["version", "command", "params", "id"].contains(&name);
    let id = match members.raw("id") {
        None => None,
        Some(_) => match members.value::<String>("id") {
            Some(id) => Some(id),
            None => return invalid(id_anyway),
        },
    };
    let params = members.raw("params").unwrap_or("{}");
    let is_valid = members.are_unique()
        && members.0.iter().all(|(name, _)| is_known(name))
        && members.value::<Value>("version").and_then(|version| version.as_u64()) == Some(1)
        && params.starts_with('{');
    let (true, Some(command)) = (is_valid, members.value::<String>("command")) else {
        return invalid(id_anyway);
    };
    let result = |text: Option<String>| match text {
        Some(text) => Reply { id: id.clone(), content: Content::Result(text) },
        None => Reply { id: id.clone(), content: Content::Error("invalid_params") },
    };
    Some(match &*command {
        "echo" => Expected::Reply(result(of::<Value>(params).map(|value| value.to_string()))),
        "add" => Expected::Reply(result(of::<Add>(params).map(|add| add.a.wrapping_add(add.b).to_string()))),
        "none" => Expected::Reply(result(is_empty(params).then(|| "null".to_owned()))),
        "fail" => match of::<Fail>(params) {
            Some(fail) => Expected::Reply(Reply { id, content: fail.content() }),
            None => error(id, "invalid_params"),
        },
        "later" => match of::<Value>(params) {
            Some(_) => Expected::Later { id },
            None => error(id, "invalid_params"),
        },
        "guarded" if !limits.is_operator => error(id, "not_permitted"),
        "guarded" => Expected::Reply(result(is_empty(params).then(|| "true".to_owned()))),
        "large" => match of::<Large>(params) {
            Some(Large { length }) if large(length).len() > 212_000 => error(id, "too_large"),
            large_enough => {
                Expected::Reply(result(large_enough.map(|Large { length }| format!("\"{}\"", large(length)))))
            }
        },
        "help" => match of::<Help>(params) {
            None => error(id, "invalid_params"),
            Some(Help { command: Some(command) }) if !COMMANDS.contains(&&*command) => {
                error(id, "unknown_command")
            }
            Some(_) => Expected::Reply(Reply { id, content: Content::Help }),
        },
        "end" if is_empty(params) => Expected::End(result(Some("\"bye\"".to_owned()))),
        "terminate" if is_empty(params) => Expected::Terminate,
        "end" | "terminate" => error(id, "invalid_params"),
        _ => error(id, "unknown_command"),
    })
}

pub(super) const COMMANDS: [&str; 10] =
    ["add", "echo", "end", "fail", "guarded", "help", "large", "later", "none", "terminate"];

fn of<P: DeserializeOwned>(params: &str) -> Option<P> {
    serde_json::from_str(params).ok()
}

fn is_empty(params: &str) -> bool {
    of::<Members>(params).is_some_and(|members| members.0.is_empty())
}

/// How deep arrays and objects are nested in JSON.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => _ = bytes.next(),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    deepest
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Add {
    pub(super) a: i64,
    pub(super) b: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Help {
    command: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Large {
    pub(super) length: u32,
}

/// A text that is clearly too large for a packet, or clearly not.
pub(super) fn large(length: u32) -> String {
    let length = length as usize % 300_000;
    "x".repeat(if (205_000..220_000).contains(&length) { 0 } else { length })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fail {
    pub(super) messages: Vec<String>,
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) base: Map<String, Value>,
}

impl Fail {
    fn content(mut self) -> Content {
        for own in ["version", "id", "ok", "code", "errors", "result"] {
            self.base.remove(own);
        }
        let errors = if self.messages.is_empty() { vec![String::new()] } else { self.messages };
        let base = self.base.into_iter().map(|(name, value)| (name, value.to_string())).collect();
        Content::Failure { code: self.code.unwrap_or_else(|| "failed".to_owned()), errors, base }
    }
}
