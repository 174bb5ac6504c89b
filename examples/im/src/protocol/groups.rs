//! Requests about groups.

use serde::{Deserialize, Serialize};

use super::{Done, GroupId, Presence, Profile, bodies};

/// Makes a group, whose first member is the user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CreateGroup {
    /// What it is called, 1 to 64 bytes; need not be unique.
    pub name: String,
}

/// The reply to [`CreateGroup`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupCreated {
    /// The new group.
    pub group: GroupId,
}

/// Becomes a member. Anybody may; what was said before is not shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinGroup {
    /// The group.
    pub group: GroupId,
}

/// Stops being a member. What was sent before is still delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeaveGroup {
    /// The group.
    pub group: GroupId,
}

/// Asks who the members of a group are; for members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupMembers {
    /// The group.
    pub group: GroupId,
}

/// The reply to [`GroupMembers`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Members {
    /// Ordered by name.
    pub members: Vec<Member>,
}

/// A member of a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Who it is.
    pub profile: Profile,
    /// Where the member is.
    pub presence: Presence,
}

/// Looks for groups by the beginning of their names, without regard to case.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FindGroups {
    /// What the names begin with.
    pub name: String,
}

/// The reply to [`FindGroups`]: at most 50, ordered by name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupsFound {
    /// What was found.
    pub groups: Vec<Group>,
}

/// A group as it is found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Group {
    /// Its number.
    pub group: GroupId,
    /// What it is called.
    pub name: String,
    /// How many members it has.
    pub members: u32,
}

bodies! {
    CreateGroup => CreateGroup -> GroupCreated;
    JoinGroup => JoinGroup -> Done;
    LeaveGroup => LeaveGroup -> Done;
    GroupMembers => GroupMembers -> Members;
    FindGroups => FindGroups -> GroupsFound;
}
