//! What the server says of its own accord.

use serde::{Deserialize, Serialize};

use super::{Conversation, GroupId, Message, Presence, Profile, UserId, bodies};

/// All that came while this kind of device was away has been delivered; what follows is new. Once after each log-in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CaughtUp {
    /// The position of the last message that was delivered.
    pub position: i64,
}

/// A friend came, went, or changed status.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PresenceEvent {
    /// Who.
    pub user: UserId,
    /// Where the friend is now.
    pub presence: Presence,
}

/// Something about a friendship.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FriendEvent {
    /// The other one.
    pub profile: Profile,
    /// What it is.
    pub change: FriendChange,
    /// What an application says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Where the other one is, of one who has just become a friend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presence: Presence,
}

/// What happened to a friendship.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FriendChange {
    /// The other one asks to be a friend.
    Applied,
    /// They are friends now. The user's own devices are told too.
    Accepted,
    /// The other one declines.
    Refused,
    /// They are friends no more. The user's own other devices are told too.
    Deleted,
}

/// Somebody joined or left a group. Its members are told, and all devices of the one who did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupEvent {
    /// The group.
    pub group: GroupId,
    /// Who.
    pub user: UserId,
    /// What.
    pub change: GroupChange,
}

/// What happened to a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GroupChange {
    /// One more member.
    Joined,
    /// One member less.
    Left,
}

/// Somebody has read a conversation: the user, at another device, or the other one of a conversation of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReadEvent {
    /// The conversation, as the receiver sees it.
    pub conversation: Conversation,
    /// Who has read it.
    pub user: UserId,
    /// The number of the last message read.
    pub number: i64,
}

/// The session is closed behind this.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kicked {
    /// Why.
    pub reason: KickReason,
}

/// Why a session is ended by something done elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KickReason {
    /// The user has logged in at another device of this kind.
    LoggedInElsewhere,
    /// The user's password was changed.
    PasswordChanged,
}

/// The server is about to stop: the session is closed behind this.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stopping {}

bodies! {
    Message => Message;
    CaughtUp => CaughtUp;
    PresenceEvent => Presence;
    FriendEvent => FriendChanged;
    GroupEvent => GroupChanged;
    ReadEvent => Read;
    Kicked => Kicked;
    Stopping => Stopping;
}
