//! Which conversations there are, who takes part, and how far each has been read.

use rusqlite::params;

use super::friends::not_a_friend;
use super::groups::no_such_group;
use super::{Store, StoreError};
use crate::protocol::{Conversation, ConversationState, ErrorCode, GroupId, UserId};

/// Most conversations of a list, which has to fit into a frame.
const LISTED: i64 = 1000;

/// Where a conversation stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) id: i64,
    pub(super) last_number: i64,
    pub(super) last_position: i64,
}

impl Store<'_> {
    /// The conversation that `user` may write to, which is made if it is the first time.
    pub(super) fn conversation_to_write(
        &self,
        user: UserId,
        conversation: Conversation,
    ) -> Result<Head, StoreError> {
        match conversation {
            Conversation::Group(group) => self.group_of_member(user, group),
            Conversation::User(other) => {
                if !self.are_friends(user, other)? {
                    return Err(not_a_friend());
                }
                match self.conversation_of_two(user, other)? {
                    Some(head) => Ok(head),
                    None => self.create_conversation_of_two(user, other),
                }
            }
        }
    }

    /// The conversation that `user` may look at, if anything was ever said in it.
    pub(super) fn conversation_to_read(
        &self,
        user: UserId,
        conversation: Conversation,
    ) -> Result<Option<Head>, StoreError> {
        match conversation {
            Conversation::User(other) => self.conversation_of_two(user, other),
            Conversation::Group(group) => {
                let head = self.head_of_group(group)?.ok_or_else(no_such_group)?;
                let sql = "SELECT 1 FROM memberships WHERE user = ?1 AND conversation = ?2";
                match self.row(sql, [user.0, head.id], |_| Ok(()))? {
                    Some(()) => Ok(Some(head)),
                    None => Err(not_a_member()),
                }
            }
        }
    }

    /// Notes that `user` has read a conversation up to a message. Gives the marker if that is more than was noted before.
    pub(crate) fn mark_read(
        &self,
        user: UserId,
        conversation: Conversation,
        number: i64,
    ) -> Result<Option<i64>, StoreError> {
        let Some(head) = self.conversation_to_read(user, conversation)? else { return Ok(None) };
        let number = number.min(head.last_number);
        let changed = self.execute(
            "INSERT INTO read_markers (conversation, user, number) SELECT ?1, ?2, ?3 WHERE ?3 > 0
             ON CONFLICT DO UPDATE SET number = excluded.number WHERE excluded.number > number",
            params![head.id, user.0, number],
        )?;
        Ok((changed > 0).then_some(number))
    }

    /// The conversations that a user takes part in, those in which something was said last first.
    pub(crate) fn conversations(&self, user: UserId) -> Result<Vec<ConversationState>, StoreError> {
        self.rows(
            "SELECT m.conversation, m.peer, coalesce(u.nickname, g.name, ''), c.last_number,
                    coalesce(mine.number, 0), coalesce(theirs.number, 0)
             FROM memberships m
             JOIN conversations c ON c.id = m.conversation
             LEFT JOIN users u ON u.id = m.peer
             LEFT JOIN groups g ON g.conversation = m.conversation
             LEFT JOIN read_markers mine ON mine.conversation = m.conversation AND mine.user = m.user
             LEFT JOIN read_markers theirs ON theirs.conversation = m.conversation AND theirs.user = m.peer
             WHERE m.user = ?1 AND m.until_position IS NULL
             ORDER BY c.last_position DESC, c.id DESC LIMIT ?2",
            [user.0, LISTED],
            |row| {
                let peer: Option<i64> = row.get(1)?;
                Ok(ConversationState {
                    conversation: as_seen(row.get(0)?, peer),
                    name: row.get(2)?,
                    last: row.get(3)?,
                    read: row.get(4)?,
                    read_by_other: if peer.is_some() { Some(row.get(5)?) } else { None },
                })
            },
        )
    }

    pub(super) fn head_of_group(&self, group: GroupId) -> Result<Option<Head>, StoreError> {
        self.row(
            "SELECT id, last_number, last_position FROM conversations JOIN groups ON conversation = id
             WHERE id = ?1",
            [group.0],
            read_head,
        )
    }

    pub(super) fn create_conversation(&self) -> Result<Head, StoreError> {
        self.execute("INSERT INTO conversations DEFAULT VALUES", ())?;
        Ok(Head { id: self.connection.last_insert_rowid(), last_number: 0, last_position: 0 })
    }

    pub(super) fn add_membership(
        &self,
        user: UserId,
        head: Head,
        peer: Option<UserId>,
    ) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO memberships (user, conversation, peer, after_position, after_number) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![user.0, head.id, peer.map(|peer| peer.0), head.last_position, head.last_number],
        )
        .map(drop)
    }

    /// A group that the user is a member of.
    pub(super) fn group_of_member(&self, user: UserId, group: GroupId) -> Result<Head, StoreError> {
        let head = self.head_of_group(group)?.ok_or_else(no_such_group)?;
        if self.is_member(user, head.id)? { Ok(head) } else { Err(not_a_member()) }
    }

    pub(super) fn is_member(&self, user: UserId, conversation: i64) -> Result<bool, StoreError> {
        let sql =
            "SELECT 1 FROM memberships WHERE conversation = ?1 AND user = ?2 AND until_position IS NULL";
        Ok(self.row(sql, [conversation, user.0], |_| Ok(()))?.is_some())
    }

    fn conversation_of_two(&self, user: UserId, other: UserId) -> Result<Option<Head>, StoreError> {
        self.row(
            "SELECT id, last_number, last_position FROM conversations JOIN pairs ON conversation = id
             WHERE low = ?1 AND high = ?2",
            [user.0.min(other.0), user.0.max(other.0)],
            read_head,
        )
    }

    fn create_conversation_of_two(&self, user: UserId, other: UserId) -> Result<Head, StoreError> {
        let head = self.create_conversation()?;
        self.execute(
            "INSERT INTO pairs (low, high, conversation) VALUES (?1, ?2, ?3)",
            [user.0.min(other.0), user.0.max(other.0), head.id],
        )?;
        self.add_membership(user, head, Some(other))?;
        self.add_membership(other, head, Some(user))?;
        Ok(head)
    }
}

/// A conversation as one who takes part in it sees it.
pub(super) fn as_seen(conversation: i64, peer: Option<i64>) -> Conversation {
    peer.map_or(Conversation::Group(GroupId(conversation)), |peer| Conversation::User(UserId(peer)))
}

pub(super) fn not_a_member() -> StoreError {
    StoreError::refused(ErrorCode::NotAMember, "you are not a member of this group")
}

fn read_head(row: &rusqlite::Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head { id: row.get(0)?, last_number: row.get(1)?, last_position: row.get(2)? })
}
