//! What all sessions share, on whatever loop they are.

use bytes::Bytes;
use campana::codec::Codec;

use super::directory::Directory;
use super::peer::Peer;
use crate::passwords::{Attempts, Passwords};
use crate::protocol::{Event, FrameCodec, KickReason, Outgoing, Presence, PresenceEvent, UserId};
use crate::storage::Storage;

/// What all sessions share, on whatever loop they are, with the threads of storage and passwords.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) storage: Storage,
    pub(super) passwords: Passwords,
    pub(super) attempts: Attempts,
    pub(super) directory: Directory<Peer>,
}

impl Shared {
    pub(super) fn new(storage: Storage, passwords: Passwords, attempts: Attempts) -> Self {
        Self { storage, passwords, attempts, directory: Directory::new() }
    }

    /// Does what is queued, and ends the threads.
    pub(super) fn close(&self) {
        self.passwords.close();
        self.storage.close();
    }

    /// Ends all sessions of a user but one.
    pub(super) fn kick_others(&self, user: UserId, but: &Peer, reason: KickReason) {
        self.directory.for_each_of(&[user], |_, _, peer| {
            if peer != but {
                peer.run(move |chat, cx| chat.kick(cx, reason));
            }
        });
    }

    /// Sends an event to all sessions of a user but one.
    pub(super) fn send_to_others(&self, user: UserId, but: &Peer, event: &impl Event) {
        self.send_to_all(&[user], Some(but), event);
    }

    /// Sends an event to all sessions of users, but one.
    pub(super) fn send_to_all(&self, users: &[UserId], but: Option<&Peer>, event: &impl Event) {
        let mut frame = None;
        self.directory.for_each_of(users, |_, _, peer| {
            if Some(peer) != but {
                peer.send(frame.get_or_insert_with(|| encode(event)));
            }
        });
    }
}

/// An event as a frame for many.
pub(super) fn encode(event: &impl Event) -> Bytes {
    FrameCodec::default().encode_to_bytes(Outgoing::event(event)).unwrap_or_else(|error| {
        log::error!("an event can't be encoded: {error}");
        Bytes::new()
    })
}

/// Makes what tells friends of a user's presence, which is encoded once for all of them.
pub(super) fn presence_teller(user: UserId) -> impl FnMut(&Peer, &Presence) {
    let mut frame = None;
    move |peer, presence| {
        let event = || PresenceEvent { user, presence: presence.clone() };
        peer.send(frame.get_or_insert_with(|| encode(&event())));
    }
}
