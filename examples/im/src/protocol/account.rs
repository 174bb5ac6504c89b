//! Requests about the user's own account and session.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ClientType, Done, Status, UserId, bodies};

/// Shows that the client is alive. Answered at once, with the request's `seq`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Heartbeat {}

/// Asks that both directions be compressed behind this request and its reply. Once a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Compress {
    /// How: `deflate`.
    pub method: String,
}

/// Makes a user.
#[derive(Clone, Serialize, Deserialize)]
pub struct Register {
    /// Unique without regard to case: 1 to 32 letters, digits, `.`, `_` or `-` of ASCII.
    pub name: String,
    /// 6 to 128 bytes.
    pub password: String,
    /// What others are shown; the name if it is empty.
    #[serde(default)]
    pub nickname: String,
}

/// The reply to [`Register`]. The client is not logged in by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Registered {
    /// Who the new user is.
    pub user: UserId,
}

/// Says who the client is, and on what kind of device.
#[derive(Clone, Serialize, Deserialize)]
pub struct LogIn {
    /// The user's name.
    pub name: String,
    /// The user's password.
    pub password: String,
    /// What kind of device this is.
    pub client: ClientType,
    /// How present the user is at first.
    #[serde(default)]
    pub status: Status,
}

/// The reply to [`LogIn`]. What was missed follows as messages, and then `CaughtUp`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LoggedIn {
    /// Who the user is.
    pub profile: Profile,
    /// Up to where this kind of device has acknowledged.
    pub acknowledged: i64,
    /// The server's time in milliseconds since 1970.
    pub time: i64,
}

/// What everybody may know of a user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// The user's number.
    pub user: UserId,
    /// The name to log in with and to be found by.
    pub name: String,
    /// What to show.
    pub nickname: String,
    /// A line that the user wrote.
    #[serde(default)]
    pub signature: String,
}

/// Ends the session: answered, then closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogOut {}

/// Replaces the password, and ends the user's other sessions.
#[derive(Clone, Serialize, Deserialize)]
pub struct ChangePassword {
    /// The password so far.
    pub old: String,
    /// The password from now on: 6 to 128 bytes.
    pub new: String,
}

/// Replaces what is given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SetProfile {
    /// At most 64 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// At most 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// Says how present the user is at this device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetStatus {
    /// How present the user is.
    pub status: Status,
}

/// Looks for users, with one by number or with several by the beginning of their names.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FindUsers {
    /// The number of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// What the names begin with, without regard to case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The reply to [`FindUsers`]: at most 50, ordered by name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Found {
    /// Who was found.
    pub users: Vec<Profile>,
}

bodies! {
    Heartbeat => Heartbeat -> Done;
    Compress => Compress -> Done;
    Register => Register -> Registered;
    LogIn => LogIn -> LoggedIn;
    LogOut => LogOut -> Done;
    ChangePassword => ChangePassword -> Done;
    SetProfile => SetProfile -> Profile;
    SetStatus => SetStatus -> Done;
    FindUsers => FindUsers -> Found;
}

// Passwords are shown nowhere.

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Register").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for LogIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogIn")
            .field("name", &self.name)
            .field("client", &self.client)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ChangePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangePassword").finish_non_exhaustive()
    }
}
