//! Earlier messages, by page.

use rusqlite::Row;

use super::messages::client_of;
use super::{Store, StoreError};
use crate::protocol::{Conversation, Message, Page, UserId};

/// How long the messages of a page may be as JSON, together, so that they fit into a frame; one alone always does.
const PAGE_BYTES: usize = 128 * 1024;

impl Store<'_> {
    /// The latest messages of a conversation with numbers below `before` that are for `user`.
    pub(crate) fn history(
        &self,
        user: UserId,
        conversation: Conversation,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Page, StoreError> {
        let Some(head) = self.conversation_to_read(user, conversation)? else {
            return Ok(Page { messages: Vec::new(), more: false });
        };
        // Nearly always one; one more for each time the user has left the group.
        let spells = self.rows(
            "SELECT after_number, until_number FROM memberships WHERE user = ?1 AND conversation = ?2
             ORDER BY after_number DESC",
            [user.0, head.id],
            |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.unwrap_or(i64::MAX))),
        )?;
        let before = before.unwrap_or(i64::MAX);
        let mut page = PageMaker::new(limit);
        for (after, until) in spells {
            let below = before.min(until.saturating_add(1));
            self.history_of_spell(head.id, after, below, conversation, &mut page)?;
        }
        Ok(page.page)
    }

    fn history_of_spell(
        &self,
        id: i64,
        after: i64,
        below: i64,
        conversation: Conversation,
        page: &mut PageMaker,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, number, sender, client, client_id, time, text FROM messages
             WHERE conversation = ?1 AND number > ?2 AND number < ?3 ORDER BY number DESC",
        )?;
        let mut rows = statement.query([id, after, below])?;
        while !page.is_full()
            && let Some(row) = rows.next()?
        {
            page.add(read_message(row, conversation)?);
        }
        Ok(())
    }
}

/// Takes messages until the page is full.
pub(super) struct PageMaker {
    pub(super) page: Page,
    limit: u32,
    bytes: usize,
}

impl PageMaker {
    pub(super) fn new(limit: u32) -> Self {
        Self { page: Page { messages: Vec::new(), more: false }, limit, bytes: 0 }
    }

    /// Whether there was a message that has no place any more.
    pub(super) fn is_full(&self) -> bool {
        self.page.more
    }

    pub(super) fn add(&mut self, message: Message) {
        self.bytes += json_length(&message.text) + json_length(&message.client_id);
        let is_too_long = self.bytes > PAGE_BYTES && !self.page.messages.is_empty();
        if is_too_long || self.page.messages.len() >= self.limit as usize {
            self.page.more = true;
        } else {
            self.page.messages.push(message);
        }
    }
}

/// Reads a message from the first seven columns: id, number, sender, client, client_id, time, text.
pub(super) fn read_message(row: &Row<'_>, conversation: Conversation) -> rusqlite::Result<Message> {
    Ok(Message {
        position: row.get(0)?,
        conversation,
        number: row.get(1)?,
        sender: UserId(row.get(2)?),
        client: client_of(row.get(3)?),
        client_id: row.get(4)?,
        time: row.get(5)?,
        text: row.get(6)?,
    })
}

/// How long a text is as JSON.
fn json_length(text: &str) -> usize {
    let escaped = |byte| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}
