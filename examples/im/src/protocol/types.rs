//! What several bodies are made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number of a user.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub i64);

/// The number of a group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(pub i64);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A conversation, seen by one who takes part in it: `{"user":17}` is the one with user 17, `{"group":5}` that of group 5.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "clients tell both apart")]
pub enum Conversation {
    /// With one other user.
    User(UserId),
    /// Of a group.
    Group(GroupId),
}

/// What kind of device a session is on. A user has one session of each at most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "a new one would be a new version of the protocol")]
pub enum ClientType {
    /// A telephone.
    Mobile,
    /// A computer.
    Pc,
    /// A browser.
    Web,
}

impl ClientType {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Pc => "pc",
            Self::Web => "web",
        }
    }
}

impl FromStr for ClientType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Mobile, Self::Pc, Self::Web]
            .into_iter()
            .find(|client| client.name() == text)
            .ok_or_else(|| "a client type is mobile, pc or web".to_owned())
    }
}

/// How present a user is at a device, as that device says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "a new one would be a new version of the protocol")]
pub enum Status {
    /// There.
    #[default]
    Online,
    /// There, but not to be disturbed.
    Busy,
    /// Logged in, but not there.
    Away,
    /// There; friends see nothing of it.
    Invisible,
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "online" => Ok(Self::Online),
            "busy" => Ok(Self::Busy),
            "away" => Ok(Self::Away),
            "invisible" => Ok(Self::Invisible),
            _ => Err("a status is online, busy, away or invisible".to_owned()),
        }
    }
}

/// A device at which a friend is logged in and not invisible.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// What kind of device it is.
    pub client: ClientType,
    /// How present the friend is there; never invisible.
    pub status: Status,
}

/// Where a friend can be reached, ordered by kind of device; nowhere is offline.
pub type Presence = Vec<Device>;
