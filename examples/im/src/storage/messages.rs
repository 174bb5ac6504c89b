//! Storing messages.

use std::sync::Arc;

use rusqlite::params;

use super::conversations::Head;
use super::{Store, StoreError};
use crate::protocol::{ClientType, Conversation, Sent, UserId};

/// A message that is to be stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewMessage<'a> {
    pub(crate) sender: UserId,
    pub(crate) client: ClientType,
    pub(crate) conversation: Conversation,
    pub(crate) client_id: &'a str,
    pub(crate) text: &'a str,
}

/// A message that is stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) sent: Sent,
    /// Whom it is for, the sender among them; nobody if it was stored before.
    pub(crate) recipients: Arc<[UserId]>,
}

impl Store<'_> {
    /// Stores a message and gives it its number, unless one with this `client_id` is stored: then it gives that one's.
    pub(crate) fn store_message(&self, message: NewMessage<'_>) -> Result<Stored, StoreError> {
        let head = self.conversation_to_write(message.sender, message.conversation)?;
        if let Some(sent) = self.stored_before(head, message)? {
            return Ok(Stored { sent, recipients: Arc::default() });
        }
        let number = head.last_number + 1;
        self.execute(
            "INSERT INTO messages (conversation, number, sender, client, client_id, time, text)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                head.id,
                number,
                message.sender.0,
                number_of(message.client),
                message.client_id,
                self.now,
                message.text
            ],
        )?;
        let position = self.connection.last_insert_rowid();
        self.execute(
            "UPDATE conversations SET last_number = ?2, last_position = ?3 WHERE id = ?1",
            [head.id, number, position],
        )?;
        let recipients = match message.conversation {
            Conversation::User(other) => Arc::from([message.sender, other]),
            Conversation::Group(group) => self.member_ids(group.0)?,
        };
        Ok(Stored { sent: Sent { number, position, time: self.now, duplicate: false }, recipients })
    }

    fn stored_before(&self, head: Head, message: NewMessage<'_>) -> Result<Option<Sent>, StoreError> {
        self.row(
            "SELECT number, id, time FROM messages WHERE conversation = ?1 AND sender = ?2 AND client_id = ?3",
            params![head.id, message.sender.0, message.client_id],
            |row| Ok(Sent { number: row.get(0)?, position: row.get(1)?, time: row.get(2)?, duplicate: true }),
        )
    }
}

/// How a kind of device is stored.
pub(super) const fn number_of(client: ClientType) -> i64 {
    match client {
        ClientType::Mobile => 1,
        ClientType::Pc => 2,
        ClientType::Web => 3,
    }
}

/// The kind of device of a number.
pub(super) const fn client_of(number: i64) -> ClientType {
    match number {
        1 => ClientType::Mobile,
        2 => ClientType::Pc,
        _ => ClientType::Web,
    }
}
