//! A session as other threads reach it.

use bytes::Bytes;
use campana::session::{SessionContext, SessionHandle, SessionId, WriteError};

use super::session::Chat;

/// A session as other threads reach it. It keeps nothing of the session alive.
#[derive(Clone, Debug)]
pub(super) struct Peer(SessionHandle<Chat>);

impl Peer {
    pub(super) fn of(cx: &mut SessionContext<'_, Chat>) -> Self {
        Self(cx.handle())
    }

    pub(super) fn id(&self) -> SessionId {
        self.0.id()
    }

    /// Runs something with the session on its loop; nothing if it has ended.
    pub(super) fn run(&self, task: impl FnOnce(&mut Chat, &mut SessionContext<'_, Chat>) + Send + 'static) {
        // An error: the loop has ended, and the session with it.
        let _ = self.0.run(task);
    }

    /// Sends a frame. A session that has no room for it ends: it would have a wrong picture of the world from now on, and will get
    /// a new one when it logs in again.
    pub(super) fn send(&self, frame: &Bytes) {
        if let Err(WriteError::Full) = self.0.send_encoded(frame.clone()) {
            let _ = self.0.abort();
        }
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}
