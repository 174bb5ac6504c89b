//! Control sockets under test.

use super::TestLoop;
use crate::control::{ControlServer, ControlSession, Router};
use crate::session::Sessions;

impl TestLoop<Sessions<ControlSession>> {
    /// Makes a loop for the sessions of a control socket, with its limits, but for the number of sessions. Its address is not
    /// bound: each peer that [connects](Self::connect_packet) gets a session.
    ///
    /// Only a kernel knows who a peer is. These are nobody, and by default nobody may do anything, so that an
    /// [authorizer](ControlServer::authorize) has to say what they may.
    ///
    /// ```
    /// use campana::control::{Access, Command, ControlServer, Router};
    /// use campana::testing::TestLoop;
    ///
    /// let mut router = Router::new();
    /// router.add(Command::new("ping", "Answers.").answers(|_, (): ()| Ok("pong")))?;
    /// let server = ControlServer::bind("@nothing").authorize(|_| Access::All);
    /// let mut test = TestLoop::control(server, router);
    /// let peer = test.connect_packet();
    /// peer.send(r#"{"version":1,"command":"ping","id":"7"}"#);
    /// test.run_until_idle();
    /// assert_eq!(peer.receive(), br#"{"version":1,"id":"7","ok":true,"result":"pong"}"#);
    /// # Ok::<(), campana::control::CommandError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn control(server: ControlServer, router: Router) -> Self {
        let (handler, connection) = server.handler(router);
        Self::new(handler).configure(|config| *config = connection)
    }
}
