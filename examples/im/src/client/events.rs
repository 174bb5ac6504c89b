//! Events, taken out of their frames.

use crate::protocol::{
    CaughtUp, Command, Failure, Frame, FriendEvent, GroupEvent, Kicked, Message, PresenceEvent, ReadEvent,
};

/// What a server says of its own accord, messages apart.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum ServerEvent {
    /// All that was missed has been delivered.
    CaughtUp(CaughtUp),
    /// A friend came, went, or changed status.
    Presence(PresenceEvent),
    /// Something about a friendship.
    Friend(FriendEvent),
    /// Somebody joined or left a group.
    Group(GroupEvent),
    /// Somebody has read a conversation.
    Read(ReadEvent),
    /// The session ends because of something done elsewhere.
    Kicked(Kicked),
    /// The server is about to stop.
    Stopping,
}

/// A frame that answers no request.
pub(super) enum Incoming {
    Message(Message),
    Event(ServerEvent),
    /// Of a later version of the protocol, to be passed over.
    Unknown,
}

impl Incoming {
    pub(super) fn parse(frame: &Frame<'_>) -> Result<Self, Failure> {
        Ok(Self::Event(match frame.command() {
            Some(Command::Message) => return Ok(Self::Message(frame.parse()?)),
            Some(Command::CaughtUp) => ServerEvent::CaughtUp(frame.parse()?),
            Some(Command::Presence) => ServerEvent::Presence(frame.parse()?),
            Some(Command::FriendChanged) => ServerEvent::Friend(frame.parse()?),
            Some(Command::GroupChanged) => ServerEvent::Group(frame.parse()?),
            Some(Command::Read) => ServerEvent::Read(frame.parse()?),
            Some(Command::Kicked) => ServerEvent::Kicked(frame.parse()?),
            Some(Command::Stopping) => ServerEvent::Stopping,
            _ => return Ok(Self::Unknown),
        }))
    }
}
