//! Messages, and requests about them.

use serde::{Deserialize, Serialize};

use super::{ClientType, Conversation, Done, Failure, UserId, bodies};

/// Sends a message. Answered once it is on disk; a retry with the same `client_id` gets the first one's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Send {
    /// To whom: a friend, or a group that the user is in.
    pub conversation: Conversation,
    /// 1 to 64 bytes, which no other message of this user to this conversation has.
    pub client_id: String,
    /// 1 byte to 64 KiB.
    pub text: String,
}

/// The reply to [`Send`]: the message is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// The message's number in its conversation, where the first one is 1 and none is left out.
    pub number: i64,
    /// Its position among all messages.
    pub position: i64,
    /// When it was stored, in milliseconds since 1970.
    pub time: i64,
    /// Whether it had been stored before, by an earlier try.
    #[serde(default)]
    pub duplicate: bool,
}

/// Sends the same message to several friends, to each as if it were sent alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MultiSend {
    /// At most 100 friends, none twice.
    pub users: Vec<UserId>,
    /// As of [`Send`].
    pub client_id: String,
    /// As of [`Send`].
    pub text: String,
}

/// The reply to [`MultiSend`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SentToAll {
    /// What became of it, in the order of the request.
    pub results: Vec<SentToOne>,
}

/// What became of a message to one of several.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "it is a result")]
pub enum SentToOne {
    /// It is on disk.
    Sent(Sent),
    /// It was not sent to this one.
    Failed(Failure),
}

/// Says that all messages up to a position have arrived; they won't be delivered to this kind of device again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Acknowledge {
    /// The position of the last one.
    pub position: i64,
}

/// Says that the user has read a conversation up to a message. Never goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MarkRead {
    /// The conversation.
    pub conversation: Conversation,
    /// The number of the last message read.
    pub number: i64,
}

/// Asks for messages of a conversation, the latest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct History {
    /// The conversation.
    pub conversation: Conversation,
    /// Only messages with lower numbers; from the latest one on if it isn't given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// How many at most: 50 if it isn't given, 100 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The reply to [`History`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Page {
    /// The latest first. Fewer than asked for if they are long.
    pub messages: Vec<Message>,
    /// Whether there are earlier ones.
    pub more: bool,
}

/// A message: an event, and a part of a page of history.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Rises from message to message, over all conversations: what is acknowledged.
    pub position: i64,
    /// Where it belongs, as the receiver sees it.
    pub conversation: Conversation,
    /// Its number in the conversation.
    pub number: i64,
    /// Who sent it: the user too, from another device.
    pub sender: UserId,
    /// The kind of device it was sent from.
    pub client: ClientType,
    /// The sender's own name for it.
    pub client_id: String,
    /// When it was stored, in milliseconds since 1970.
    pub time: i64,
    /// What was said.
    pub text: String,
}

/// Asks for all conversations of the user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ListConversations {}

/// The reply to [`ListConversations`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Conversations {
    /// Those that the user takes part in, the one in which something was said last first; 1000 at most.
    pub conversations: Vec<ConversationState>,
}

/// How far a conversation has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConversationState {
    /// Which it is.
    pub conversation: Conversation,
    /// The other's nickname, or the group's name.
    pub name: String,
    /// The number of the latest message; 0 if there is none.
    pub last: i64,
    /// Up to where the user has read it.
    pub read: i64,
    /// Up to where the other has read it, if it is one with a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_by_other: Option<i64>,
}

bodies! {
    Send => Send -> Sent;
    MultiSend => MultiSend -> SentToAll;
    Acknowledge => Acknowledge -> Done;
    MarkRead => MarkRead -> Done;
    History => History -> Page;
    ListConversations => ListConversations -> Conversations;
}
