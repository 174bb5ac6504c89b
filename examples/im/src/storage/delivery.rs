//! What each kind of device of each user has got, and what is next for it.

use rusqlite::params;

use super::conversations::as_seen;
use super::history::{PageMaker, read_message};
use super::messages::number_of;
use super::{Credentials, Store, StoreError};
use crate::protocol::{ClientType, Page, Profile, UserId};

/// What a device is told when it logs in.
#[derive(Clone, Debug)]
pub(crate) struct OpenedDevice {
    pub(crate) profile: Profile,
    /// The cursor: up to where the device has acknowledged.
    pub(crate) position: i64,
    pub(crate) friends: Vec<UserId>,
}

impl Store<'_> {
    /// Gets a device ready for a user whose password was checked.
    ///
    /// The first of its kind begins where the user's device that is furthest behind stands.
    pub(crate) fn open_device(
        &self,
        checked: &Credentials,
        client: ClientType,
    ) -> Result<OpenedDevice, StoreError> {
        self.check_still_valid(checked)?;
        let user = checked.user;
        self.execute(
            "INSERT INTO cursors (user, client, position)
             SELECT ?1, ?2, coalesce((SELECT min(position) FROM cursors WHERE user = ?1), 0) WHERE true
             ON CONFLICT DO NOTHING",
            [user.0, number_of(client)],
        )?;
        let position = self.number(
            "SELECT position FROM cursors WHERE user = ?1 AND client = ?2",
            [user.0, number_of(client)],
        )?;
        Ok(OpenedDevice { profile: self.profile(user)?, position, friends: self.friend_ids(user)? })
    }

    /// Moves a device's cursor forwards.
    pub(crate) fn acknowledge(
        &self,
        user: UserId,
        client: ClientType,
        position: i64,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE cursors SET position = ?3 WHERE user = ?1 AND client = ?2 AND position < ?3";
        self.execute(sql, [user.0, number_of(client), position]).map(drop)
    }

    /// The next messages for a device, behind a position, the earliest first: at most `limit`, fewer if they are long.
    pub(crate) fn messages_behind(
        &self,
        user: UserId,
        client: ClientType,
        position: i64,
        limit: u32,
    ) -> Result<Page, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT m.id, m.number, m.sender, m.client, m.client_id, m.time, m.text, next.conversation, next.peer
             FROM (
                 SELECT d.id, s.conversation, s.peer
                 FROM memberships s CROSS JOIN messages d INDEXED BY messages_by_position
                 WHERE s.user = ?1 AND d.conversation = s.conversation
                   AND d.id > max(?2, s.after_position) AND d.id <= coalesce(s.until_position, 9223372036854775807)
                   AND NOT (d.sender = ?1 AND d.client = ?3)
                 ORDER BY d.id LIMIT ?4
             ) next JOIN messages m ON m.id = next.id
             ORDER BY next.id",
        )?;
        let mut rows =
            statement.query(params![user.0, position, number_of(client), limit.saturating_add(1)])?;
        let mut page = PageMaker::new(limit);
        while !page.is_full()
            && let Some(row) = rows.next()?
        {
            page.add(read_message(row, as_seen(row.get(7)?, row.get(8)?))?);
        }
        Ok(page.page)
    }
}
