//! Whole sessions under test: codec, filters and all.

use super::{Peer, TestLoop};
use crate::session::{
    Opening, Session, SessionContext, SessionHandle, SessionManager, SessionService, Sessions,
};

impl<S: Session> TestLoop<Sessions<S>> {
    /// Makes a loop for the sessions of a service, configured as a [server](SessionService::serve)'s are, and with connections of
    /// the default configuration. Each peer that [connects](Self::connect) gets a session.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use campana::codec::{Lines, Text};
    /// use campana::session::{Idle, Session, SessionContext, SessionService};
    /// use campana::testing::TestLoop;
    ///
    /// struct Shout;
    ///
    /// impl Session for Shout {
    ///     type Codec = Text<Lines>;
    ///
    ///     fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
    ///         let _ = cx.write(&line.to_uppercase());
    ///     }
    /// }
    ///
    /// let mut test = TestLoop::sessions(SessionService::new(|| Text::over(Lines::new())), |_| Shout);
    /// let peer = test.connect();
    /// peer.send("hel");
    /// test.run_until_idle();
    /// peer.send("lo\nagain\n");
    /// test.run_until_idle();
    /// assert_eq!(peer.receive(), b"HELLO\nAGAIN\n");
    /// assert_eq!(test.manager().stats().messages_in, 2);
    ///
    /// test.advance(Duration::from_secs(300));
    /// assert!(peer.is_read_closed(), "it was idle for too long");
    /// ```
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn sessions(
        service: SessionService<S>,
        factory: impl Fn(&mut Opening<'_>) -> S + Send + Sync + 'static,
    ) -> Self {
        Self::new(service.handler(factory))
    }

    /// The service's manager. What is done through it is done in the next turn.
    pub fn manager(&mut self) -> SessionManager<S> {
        self.handler().manager().clone()
    }

    /// The session of a peer; nothing if it has ended.
    pub fn session(&mut self, peer: &Peer) -> Option<SessionHandle<S>> {
        let manager = self.manager();
        let id = manager.all().ids().into_iter().find(|id| id.connection() == peer.id())?;
        manager.session(id)
    }

    /// Runs something with the session of a peer in the next turn, as [`SessionHandle::run`] does, and does that turn. Answers
    /// whether there is such a session.
    ///
    /// # Panics
    ///
    /// As [`turn`](Self::turn).
    pub fn with_session(
        &mut self,
        peer: &Peer,
        run: impl FnOnce(&mut S, &mut SessionContext<'_, S>) + Send + 'static,
    ) -> bool {
        let Some(session) = self.session(peer) else { return false };
        let ran = session.run(run).is_ok();
        self.turn();
        ran
    }
}
