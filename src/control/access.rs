//! Who may give which commands.

use std::borrow::Cow;

use crate::socket::PeerCredentials;

/// What a peer may do on a control socket; what an [authorizer](super::ControlServer::authorize) answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Nothing: it is told so, and its session is closed.
    Refused,
    /// The commands that ask for no role, and those that ask for one of these.
    Roles(Vec<Cow<'static, str>>),
    /// All commands.
    All,
}

impl Access {
    /// The commands that ask for no role, and those that ask for one of these.
    #[must_use]
    pub fn roles<R: Into<Cow<'static, str>>>(roles: impl IntoIterator<Item = R>) -> Self {
        Self::Roles(roles.into_iter().map(Into::into).collect())
    }

    /// What holds unless an authorizer says something else: all for root and for the user that this process runs as, nothing for
    /// others.
    #[must_use]
    pub fn of_same_user(peer: &PeerCredentials) -> Self {
        let own = rustix::process::geteuid().as_raw();
        if peer.uid == 0 || peer.uid == own { Self::All } else { Self::Refused }
    }

    /// Whether it includes a role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        match self {
            Self::Refused => false,
            Self::Roles(roles) => roles.iter().any(|known| known == role),
            Self::All => true,
        }
    }
}
