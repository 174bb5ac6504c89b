//! Requests about friends and the teams that they are sorted into.

use serde::{Deserialize, Serialize};

use super::{Done, Presence, Profile, UserId, bodies};

/// Asks for friends, teams, and applications that wait for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Friends {}

/// The reply to [`Friends`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FriendList {
    /// Ordered by name.
    pub friends: Vec<Friend>,
    /// All teams, those without friends too, ordered by name.
    pub teams: Vec<String>,
    /// Those who applied and have no answer yet, ordered by time.
    pub applications: Vec<Application>,
}

/// One friend.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Friend {
    /// Who it is.
    pub profile: Profile,
    /// What the user noted on the friend.
    #[serde(default)]
    pub remark: String,
    /// The team that the friend is in; none if it is empty.
    #[serde(default)]
    pub team: String,
    /// Where the friend is.
    pub presence: Presence,
}

/// One who asks to be a friend.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Application {
    /// Who asks.
    pub profile: Profile,
    /// What is said for it.
    #[serde(default)]
    pub text: String,
    /// When, in milliseconds since 1970.
    pub time: i64,
}

/// Asks somebody to be a friend. If that one has applied too, both are friends at once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApplyFriend {
    /// Who is asked.
    pub user: UserId,
    /// At most 256 bytes.
    #[serde(default)]
    pub text: String,
}

/// Agrees to an application.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AcceptFriend {
    /// Who applied.
    pub user: UserId,
}

/// Declines an application, which may be made again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefuseFriend {
    /// Who applied.
    pub user: UserId,
}

/// Ends a friendship on both sides. What was said stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeleteFriend {
    /// The friend.
    pub user: UserId,
}

/// Notes something on a friend, who doesn't see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetRemark {
    /// The friend.
    pub user: UserId,
    /// At most 64 bytes.
    pub remark: String,
}

/// Makes a team.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CreateTeam {
    /// 1 to 64 bytes.
    pub team: String,
}

/// Renames a team.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RenameTeam {
    /// The name so far.
    pub team: String,
    /// The name from now on: 1 to 64 bytes.
    pub name: String,
}

/// Removes a team. Its friends stay, without a team.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeleteTeam {
    /// The team.
    pub team: String,
}

/// Puts a friend into a team.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MoveToTeam {
    /// The friend.
    pub user: UserId,
    /// The team; out of any if it is empty.
    pub team: String,
}

bodies! {
    Friends => Friends -> FriendList;
    ApplyFriend => ApplyFriend -> Done;
    AcceptFriend => AcceptFriend -> Done;
    RefuseFriend => RefuseFriend -> Done;
    DeleteFriend => DeleteFriend -> Done;
    SetRemark => SetRemark -> Done;
    CreateTeam => CreateTeam -> Done;
    RenameTeam => RenameTeam -> Done;
    DeleteTeam => DeleteTeam -> Done;
    MoveToTeam => MoveToTeam -> Done;
}
