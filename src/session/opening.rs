//! What a session factory knows of the connection that it makes a session for.

use std::fmt;
use std::io;

use super::SessionId;
use crate::connection::TcpConnection;
use crate::reactor::LoopContext;
use crate::socket::{Address, PeerCredentials};

/// A connection that is about to have a session.
pub struct Opening<'a> {
    conn: TcpConnection<'a>,
    id: SessionId,
}

impl<'a> Opening<'a> {
    pub(super) fn new(conn: &'a mut TcpConnection<'_>, id: SessionId) -> Self {
        Self { conn: conn.reborrow(), id }
    }

    /// What the session will be called.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The peer's address; unnamed for most Unix peers.
    #[must_use]
    pub fn peer_address(&self) -> Address {
        self.conn.peer_address()
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// As [`TcpConnection::local_address`].
    pub fn local_address(&self) -> io::Result<Address> {
        self.conn.local_address()
    }

    /// Who the peer is, on a Unix socket.
    ///
    /// # Errors
    ///
    /// As [`TcpConnection::peer_credentials`].
    pub fn peer_credentials(&self) -> io::Result<PeerCredentials> {
        self.conn.peer_credentials()
    }

    /// The loop on which the session will live, and what is kept there for all of them: [`LoopContext::local`].
    pub fn context(&mut self) -> &mut LoopContext {
        self.conn.context()
    }
}

impl fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("id", &self.id)
            .field("peer", &self.peer_address())
            .finish_non_exhaustive()
    }
}
