//! Requests about messages.

use super::answers::Committed;
use super::delivery::NewOnDisk;
use super::session::{Chat, Cx};
use super::texts;
use crate::protocol::{
    Acknowledge, Conversation, Done, Failure, History, ListConversations, MAX_PAGE, MAX_RECIPIENTS, MAX_TEXT,
    MarkRead, MultiSend, ReadEvent, Send, SentToAll, SentToOne,
};
use crate::storage::{NewMessage, Store, StoreError, Stored};

/// How many messages a page of history has unless it is said.
const PAGE: u32 = 50;

impl Chat {
    pub(super) fn send(&mut self, cx: &mut Cx<'_>, seq: u32, request: Send) -> Result<(), Failure> {
        let Send { conversation, client_id, text } = request;
        check_message(&client_id, &text)?;
        let login = &self.account()?.online.login;
        let message = NewOnDisk { sender: login.user, client: login.client, conversation, client_id, text };
        self.write::<Send, _>(
            cx,
            seq,
            move |store| Ok((store.store_message(message.as_new())?, message)),
            |committed, (stored, message): (Stored, NewOnDisk)| {
                committed.shared.deliver(&message, &stored);
                stored.sent
            },
        );
        Ok(())
    }

    pub(super) fn multi_send(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: MultiSend,
    ) -> Result<(), Failure> {
        let MultiSend { users, client_id, text } = request;
        check_message(&client_id, &text)?;
        let unique: std::collections::HashSet<_> = users.iter().collect();
        if users.is_empty() || users.len() > MAX_RECIPIENTS || unique.len() < users.len() {
            return Err(texts::bad(format!("users has 1 to {MAX_RECIPIENTS} users, none twice")));
        }
        let login = &self.account()?.online.login;
        let (sender, client) = (login.user, login.client);
        self.write::<MultiSend, _>(
            cx,
            seq,
            move |store| {
                let all = users.into_iter().map(|user| {
                    let conversation = Conversation::User(user);
                    let message =
                        NewMessage { sender, client, conversation, client_id: &client_id, text: &text };
                    Ok((conversation, store_or_refuse(store, message)?))
                });
                let all: Result<Vec<_>, StoreError> = all.collect();
                Ok((all?, client_id, text))
            },
            move |committed, (all, client_id, text)| {
                let mut message =
                    NewOnDisk { sender, client, conversation: Conversation::User(sender), client_id, text };
                let results = all.into_iter().map(|(conversation, stored)| match stored {
                    Ok(stored) => {
                        message.conversation = conversation;
                        committed.shared.deliver(&message, &stored);
                        SentToOne::Sent(stored.sent)
                    }
                    Err(failure) => SentToOne::Failed(failure),
                });
                SentToAll { results: results.collect() }
            },
        );
        Ok(())
    }

    pub(super) fn acknowledge(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: Acknowledge,
    ) -> Result<(), Failure> {
        let account = self.account()?;
        let (user, client) = (account.online.login.user, account.online.login.client);
        // What was not sent can't have arrived.
        let position = request.position.min(account.feed.sent());
        self.write::<Acknowledge, _>(
            cx,
            seq,
            move |store| store.acknowledge(user, client, position),
            |_, ()| Done {},
        );
        Ok(())
    }

    pub(super) fn mark_read(&mut self, cx: &mut Cx<'_>, seq: u32, request: MarkRead) -> Result<(), Failure> {
        let MarkRead { conversation, number } = request;
        let user = self.account()?.online.login.user;
        self.write::<MarkRead, _>(
            cx,
            seq,
            move |store| store.mark_read(user, conversation, number),
            move |committed, marker| {
                if let Some(number) = marker {
                    committed.read(ReadEvent { conversation, user, number });
                }
                Done {}
            },
        );
        Ok(())
    }

    pub(super) fn history(&mut self, cx: &mut Cx<'_>, seq: u32, request: History) -> Result<(), Failure> {
        let History { conversation, before, limit } = request;
        let limit = limit.unwrap_or(PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(texts::bad(format!("limit is 1 to {MAX_PAGE}")));
        }
        let user = self.account()?.online.login.user;
        self.read::<History>(
            cx,
            seq,
            move |store| store.history(user, conversation, before, limit),
            |_, _| {},
        );
        Ok(())
    }

    pub(super) fn list_conversations(&mut self, cx: &mut Cx<'_>, seq: u32) -> Result<(), Failure> {
        let user = self.account()?.online.login.user;
        self.read::<ListConversations>(
            cx,
            seq,
            move |store| {
                let conversations = store.conversations(user)?;
                Ok(crate::protocol::Conversations { conversations })
            },
            |_, _| {},
        );
        Ok(())
    }
}

impl Committed<'_> {
    /// A conversation was read: the user's other devices are told, and the other one of two.
    fn read(&self, event: ReadEvent) {
        self.shared.send_to_others(event.user, self.peer, &event);
        if let Conversation::User(other) = event.conversation {
            let as_seen = ReadEvent { conversation: Conversation::User(event.user), ..event };
            self.shared.send_to_all(&[other], None, &as_seen);
        }
    }
}

/// Stores one of several messages; that one is refused says nothing of the others.
fn store_or_refuse(
    store: &Store<'_>,
    message: NewMessage<'_>,
) -> Result<Result<Stored, Failure>, StoreError> {
    match store.store_message(message) {
        Ok(stored) => Ok(Ok(stored)),
        Err(StoreError::Refused(failure)) => Ok(Err(failure)),
        Err(error) => Err(error),
    }
}

fn check_message(client_id: &str, text: &str) -> Result<(), Failure> {
    texts::check_line("client_id", client_id, 1, texts::NAME)?;
    texts::check_length("text", text, 1, MAX_TEXT)
}
