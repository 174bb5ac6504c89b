//! The way of messages from the disk to the sessions.

use std::time::Duration;

use bytes::Bytes;

use super::feed::{Next, PageSent};
use super::peer::Peer;
use super::session::{Chat, Cx, Phase, write};
use super::shared::Shared;
use crate::protocol::{
    CaughtUp, ClientType, Command, Conversation, Failure, Message, Outgoing, Page, UserId,
};
use crate::storage::{NewMessage, Stored};

/// How many messages are read for a device in one go.
const PAGE: u32 = 200;
/// Pending output in bytes above which a device doesn't keep up.
const CONGESTED: usize = 256 * 1024;
/// After what time a page is asked for again that could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// A message that has just been stored, with what is to be told of it.
#[derive(Debug)]
pub(super) struct NewOnDisk {
    pub(super) sender: UserId,
    pub(super) client: ClientType,
    /// As its sender sees it.
    pub(super) conversation: Conversation,
    pub(super) client_id: String,
    pub(super) text: String,
}

impl NewOnDisk {
    pub(super) fn as_new(&self) -> NewMessage<'_> {
        let Self { sender, client, conversation, client_id, text } = self;
        NewMessage { sender: *sender, client: *client, conversation: *conversation, client_id, text }
    }

    fn to_json(&self, stored: &Stored, conversation: Conversation) -> Bytes {
        let message = Message {
            position: stored.sent.position,
            conversation,
            number: stored.sent.number,
            sender: self.sender,
            client: self.client,
            client_id: self.client_id.clone(),
            time: stored.sent.time,
            text: self.text.clone(),
        };
        // Nothing in it can fail to be JSON.
        serde_json::to_vec(&message).unwrap_or_default().into()
    }
}

impl Shared {
    /// Gives a stored message to all sessions that it is for, on the storage thread, so that they get them in the order of the
    /// commits. The device that sent it has the reply.
    pub(super) fn deliver(&self, message: &NewOnDisk, stored: &Stored) {
        let (mut as_sent, mut as_received) = (None, None);
        let position = stored.sent.position;
        self.directory.for_each_of(&stored.recipients, |user, client, peer: &Peer| {
            let json = if user != message.sender {
                let conversation = match message.conversation {
                    Conversation::User(_) => Conversation::User(message.sender),
                    group @ Conversation::Group(_) => group,
                };
                as_received.get_or_insert_with(|| message.to_json(stored, conversation))
            } else if client != message.client {
                as_sent.get_or_insert_with(|| message.to_json(stored, message.conversation))
            } else {
                return;
            };
            let json = Bytes::clone(json);
            peer.run(move |chat, cx| chat.on_stored(cx, position, &json));
        });
    }
}

impl Chat {
    /// A message for this session is on disk.
    fn on_stored(&mut self, cx: &mut Cx<'_>, position: i64, json: &Bytes) {
        let Phase::User(account) = &mut self.phase else { return };
        if account.feed.on_stored(position, is_congested(cx)) {
            write(cx, Outgoing::encoded(Command::Message, 0, json));
        }
    }

    /// The device has taken output, or it is time to try again.
    pub(super) fn deliver_more(&mut self, cx: &mut Cx<'_>) {
        if let Phase::User(account) = &mut self.phase
            && !is_congested(cx)
        {
            let next = account.feed.on_room();
            self.go_on(cx, next);
        }
    }

    /// Does what the feed wants next.
    pub(super) fn go_on(&mut self, cx: &mut Cx<'_>, next: Next) {
        match next {
            Next::Nothing => {}
            Next::TellCaughtUp(position) => write(cx, Outgoing::event(&CaughtUp { position })),
            Next::Read(position) => {
                let Phase::User(account) = &self.phase else { return };
                let (user, client) = (account.online.login.user, account.online.login.client);
                let peer = Peer::of(cx);
                self.shared.storage.read(
                    move |store| store.messages_behind(user, client, position, PAGE),
                    move |result| peer.run(move |chat, cx| chat.on_page(cx, result)),
                );
            }
        }
    }

    fn on_page(&mut self, cx: &mut Cx<'_>, result: Result<Page, Failure>) {
        let Phase::User(account) = &mut self.phase else { return };
        let next = match result {
            Ok(page) => {
                for message in &page.messages {
                    write(cx, Outgoing::event(message));
                }
                let last = page.messages.last().map(|message| message.position);
                account.feed.on_page(PageSent { last, more: page.more }, is_congested(cx))
            }
            Err(_) => {
                account.feed.on_read_failed();
                cx.set_timer(RETRY, 0);
                Next::Nothing
            }
        };
        self.go_on(cx, next);
    }
}

fn is_congested(cx: &Cx<'_>) -> bool {
    cx.pending_bytes() > CONGESTED
}
