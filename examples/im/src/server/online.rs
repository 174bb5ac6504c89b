//! A user's being logged in.

use std::sync::Arc;

use super::directory::Login;
use super::peer::Peer;
use super::shared::{Shared, presence_teller};
use crate::protocol::{KickReason, Status, UserId};

/// A user's being logged in with a session, for as long as this lives. It belongs to the session; if that ends before it gets it,
/// then to nobody, which ends it too.
#[derive(Debug)]
pub(super) struct Online {
    pub(super) login: Login<Peer>,
    shared: Arc<Shared>,
}

impl Online {
    /// Logs a session in: from now on the user's messages are for it too. One of the same user and kind of device is kicked.
    pub(super) fn new(
        shared: &Arc<Shared>,
        login: Login<Peer>,
        status: Status,
        friends: Vec<UserId>,
    ) -> Self {
        let replaced = shared.directory.log_in(&login, status, friends, presence_teller(login.user));
        if let Some(replaced) = replaced {
            replaced.run(|chat, cx| chat.kick(cx, KickReason::LoggedInElsewhere));
        }
        Self { login, shared: Arc::clone(shared) }
    }

    pub(super) fn set_status(&self, status: Status) {
        self.shared.directory.set_status(&self.login, status, presence_teller(self.login.user));
    }
}

impl Drop for Online {
    fn drop(&mut self) {
        self.shared.directory.log_out(&self.login, presence_teller(self.login.user));
    }
}
