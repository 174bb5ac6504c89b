//! Groups and their members.

use std::sync::Arc;

use rusqlite::params;

use super::users::{end_of_prefix, read_profile};
use super::{Store, StoreError};
use crate::protocol::{ErrorCode, Group, GroupId, Profile, UserId};

/// Most members of a group: their list has to fit into a frame.
const MEMBERS: i64 = 1000;
/// Most groups that a search finds.
const FOUND: i64 = 50;

impl Store<'_> {
    /// Makes a group with one member.
    pub(crate) fn create_group(&self, user: UserId, name: &str) -> Result<GroupId, StoreError> {
        let head = self.create_conversation()?;
        self.execute(
            "INSERT INTO groups (conversation, name, members) VALUES (?1, ?2, 1)",
            params![head.id, name],
        )?;
        self.add_membership(user, head, None)?;
        Ok(GroupId(head.id))
    }

    /// Adds a member, and gives all of them.
    pub(crate) fn join_group(&self, user: UserId, group: GroupId) -> Result<Arc<[UserId]>, StoreError> {
        let head = self.head_of_group(group)?.ok_or_else(no_such_group)?;
        if self.is_member(user, head.id)? {
            return Err(StoreError::refused(ErrorCode::AlreadyAMember, "you are a member of this group"));
        }
        let sql = "UPDATE groups SET members = members + 1 WHERE conversation = ?1 AND members < ?2";
        if self.execute(sql, [head.id, MEMBERS])? == 0 {
            return Err(StoreError::refused(ErrorCode::LimitReached, "the group is full"));
        }
        self.add_membership(user, head, None)?;
        self.members.remove(head.id);
        self.member_ids(head.id)
    }

    /// Takes a member out, and gives those who are left.
    pub(crate) fn leave_group(&self, user: UserId, group: GroupId) -> Result<Arc<[UserId]>, StoreError> {
        let head = self.group_of_member(user, group)?;
        self.execute(
            "UPDATE memberships SET until_position = ?3, until_number = ?4
             WHERE conversation = ?1 AND user = ?2 AND until_position IS NULL",
            [head.id, user.0, head.last_position, head.last_number],
        )?;
        self.execute("UPDATE groups SET members = members - 1 WHERE conversation = ?1", [head.id])?;
        self.members.remove(head.id);
        self.member_ids(head.id)
    }

    /// The members of a group, for one of them.
    pub(crate) fn group_members(&self, user: UserId, group: GroupId) -> Result<Vec<Profile>, StoreError> {
        let head = self.group_of_member(user, group)?;
        self.rows(
            "SELECT u.id, u.name, u.nickname, u.signature FROM memberships m JOIN users u ON u.id = m.user
             WHERE m.conversation = ?1 AND m.until_position IS NULL ORDER BY u.name",
            [head.id],
            read_profile,
        )
    }

    /// Groups whose names begin with a text.
    pub(crate) fn groups_by_prefix(&self, prefix: &str) -> Result<Vec<Group>, StoreError> {
        self.rows(
            "SELECT conversation, name, members FROM groups WHERE name >= ?1 AND name < ?2
             ORDER BY name, conversation LIMIT ?3",
            params![prefix, end_of_prefix(prefix), FOUND],
            |row| Ok(Group { group: GroupId(row.get(0)?), name: row.get(1)?, members: row.get(2)? }),
        )
    }

    /// The members of a group by number alone.
    pub(super) fn member_ids(&self, conversation: i64) -> Result<Arc<[UserId]>, StoreError> {
        if let Some(members) = self.members.get(conversation) {
            return Ok(members);
        }
        let sql = "SELECT user FROM memberships WHERE conversation = ?1 AND until_position IS NULL";
        let members: Arc<[UserId]> = self.rows(sql, [conversation], |row| row.get(0).map(UserId))?.into();
        self.members.insert(conversation, Arc::clone(&members));
        Ok(members)
    }
}

pub(super) fn no_such_group() -> StoreError {
    StoreError::refused(ErrorCode::NoSuchGroup, "there is no such group")
}
