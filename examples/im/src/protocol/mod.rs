//! What server and clients say to each other: `PROTOCOL.md`, in Rust.
//!
//! Each request is a type with its command and its reply ([`Request`]), each event too ([`Event`]); [`FrameCodec`] puts them into
//! frames and takes frames apart. Numbers that both sides must agree on are constants here.
//!
//! ```
//! use campana::Buffer;
//! use campana::codec::Codec;
//! use im::protocol::{Command, FrameCodec, Outgoing, Register};
//!
//! let mut codec = FrameCodec::default();
//! let mut wire = Buffer::new();
//! let request = Register { name: "ann".to_owned(), password: "correct horse".to_owned(), nickname: String::new() };
//! codec.encode(Outgoing::request(7, &request), &mut wire)?;
//!
//! let frame = codec.decode(&mut wire)?.ok_or("not whole")?;
//! assert_eq!((frame.command(), frame.seq), (Some(Command::Register), 7));
//! assert_eq!(frame.parse::<Register>()?.name, "ann");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

mod account;
mod codec;
mod command;
mod events;
mod failure;
mod friends;
mod groups;
mod messages;
mod types;

pub use account::{
    ChangePassword, Compress, FindUsers, Found, Heartbeat, LogIn, LogOut, LoggedIn, Profile, Register,
    Registered, SetProfile, SetStatus,
};
pub use codec::{Frame, FrameCodec, Outgoing};
pub use command::Command;
pub use events::{
    CaughtUp, FriendChange, FriendEvent, GroupChange, GroupEvent, KickReason, Kicked, PresenceEvent,
    ReadEvent, Stopping,
};
pub use failure::{ErrorCode, Failure};
pub use friends::{
    AcceptFriend, Application, ApplyFriend, CreateTeam, DeleteFriend, DeleteTeam, Friend, FriendList,
    Friends, MoveToTeam, RefuseFriend, RenameTeam, SetRemark,
};
pub use groups::{
    CreateGroup, FindGroups, Group, GroupCreated, GroupMembers, GroupsFound, JoinGroup, LeaveGroup, Member,
    Members,
};
pub use messages::{
    Acknowledge, ConversationState, Conversations, History, ListConversations, MarkRead, Message, MultiSend,
    Page, Send, Sent, SentToAll, SentToOne,
};
pub use types::{ClientType, Conversation, Device, GroupId, Presence, Status, UserId};

/// The longest frame, counted without its length field, that is taken of a client that hasn't logged in: 4 KiB.
pub const MAX_FRAME_BEFORE_LOG_IN: usize = 4 * 1024;
/// The longest frame, counted without its length field, that either side sends: 1 MiB.
pub const MAX_FRAME: usize = 1024 * 1024;
/// The longest text of a message in bytes.
pub const MAX_TEXT: usize = 64 * 1024;
/// Most messages of a page of history.
pub const MAX_PAGE: u32 = 100;
/// Most recipients of a [`MultiSend`].
pub const MAX_RECIPIENTS: usize = 100;
/// How often a client that has nothing else to say sends a [`Heartbeat`].
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// A body that a client sends, with its number and with what answers it.
pub trait Request: Serialize + DeserializeOwned {
    /// The number in the frames of the request and of its reply.
    const COMMAND: Command;
    /// The body of the reply, unless it is a [`Failure`].
    type Reply: Serialize + DeserializeOwned;
}

/// A body that the server sends of its own accord.
pub trait Event: Serialize + DeserializeOwned {
    /// The number in its frames.
    const COMMAND: Command;
}

/// The body of a reply that says no more than that it was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Done {}

/// Says which command a body belongs to: `Body => Command -> Reply` for requests, `Body => Command` for events.
macro_rules! bodies {
    ($($body:ty => $command:ident -> $reply:ty;)+) => {
        $(impl $crate::protocol::Request for $body {
            const COMMAND: $crate::protocol::Command = $crate::protocol::Command::$command;
            type Reply = $reply;
        })+
    };
    ($($body:ty => $command:ident;)+) => {
        $(impl $crate::protocol::Event for $body {
            const COMMAND: $crate::protocol::Command = $crate::protocol::Command::$command;
        })+
    };
}
use bodies;

#[cfg(test)]
mod tests;
