//! Why a request was not done.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which kind of failure it is; in JSON its name in snake case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// There is no such command.
    UnknownCommand,
    /// The body isn't JSON, or lacks what the command needs, or holds a value that is not allowed.
    BadRequest,
    /// Only heart-beat, register and log-in are taken before log-in.
    NotLoggedIn,
    /// The session is logged in, or a log-in or registration is being checked.
    AlreadyLoggedIn,
    /// No user of this name has this password.
    WrongPassword,
    /// Too many log-ins have failed: try again later.
    TooManyAttempts,
    /// A user of this name exists.
    NameTaken,
    /// There is no such user.
    NoSuchUser,
    /// There is no such group.
    NoSuchGroup,
    /// There is no such team.
    NoSuchTeam,
    /// There is no such application.
    NoSuchApplication,
    /// The team exists.
    TeamExists,
    /// The other is no friend of the user.
    NotAFriend,
    /// They are friends.
    AlreadyFriends,
    /// The user is not a member of the group.
    NotAMember,
    /// The user is a member of the group.
    AlreadyAMember,
    /// A limit is reached: members of a group, friends, teams, applications.
    LimitReached,
    /// More waits to be done than the server is willing to queue: try again later. Nothing was done.
    Busy,
    /// It could not be stored: the disk is full, for instance. Try again later. Nothing was done.
    StorageFailed,
    /// What the server can't do, such as a compression that it doesn't know; or not twice.
    NotSupported,
    /// A code of a later version of the protocol.
    #[serde(other)]
    Unknown,
}

/// The body of the reply to a request that was not done. Nothing of it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// Which kind it is.
    pub code: ErrorCode,
    /// For people: what to change.
    #[serde(default)]
    pub text: String,
}

/// The longest text of a failure in bytes: texts quote what a client has sent, and have to fit into a frame, escaped.
const MAX_TEXT: usize = 512;

impl Failure {
    /// A failure of a kind, with a text for people, which is cut off if it is longer than 512 bytes.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.len() > MAX_TEXT {
            text.truncate((0..=MAX_TEXT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0));
            text.push_str("...");
        }
        Self { code, text }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.text, self.code)
    }
}

impl std::error::Error for Failure {}
