//! Looking into a running server, and steering it, by its control socket.
//!
//! One line puts a server on a socket of its own:
//!
//! ```no_run
//! use campana::control::inspect::Inspector;
//! use campana::{EventLoop, TcpServer};
//!
//! let mut event_loop = EventLoop::new()?;
//! let server = TcpServer::bind("127.0.0.1:7000")?.threads(4).start(&mut event_loop)?;
//! Inspector::of("echo", &server).serve(&mut event_loop, "/run/echo.sock")?;
//! event_loop.run()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! | command | what it does |
//! | --- | --- |
//! | `loops` | what each loop has done, how late its timers and tasks were |
//! | `servers` | where each server listens, whom it has let in |
//! | `connections`, `sessions` | those that there are: filtered, sorted, a page at a time |
//! | `metrics` | figures of loops, servers, services and the process, as Prometheus reads them |
//! | `kick` | closes a connection, or its session |
//! | `set_timeouts` | deadlines of a connection, and of its session |
//! | `pause`, `resume` | accepting |
//! | `log_level` | what is logged |
//! | `drain` | stops servers in good order |
//!
//! The commands from `kick` on ask for the role `admin`, which root and the user of the process have.
//!
//! To list connections or sessions costs a loop little at a time: it looks at 256 of them and then sees to its other work before it
//! goes on. So what is shown has not been there all at the same moment. A connection that is open for all of the time is shown
//! once. A loop that does not answer for two seconds, as a callback holds it up, is left out and named.

mod actions;
mod connections;
mod exposition;
mod gather;
mod inspected;
mod lists;
mod loops;
mod metrics;
mod paging;
mod process;
mod reading;
mod servers;
mod sessions;
mod steering;
mod text;
mod timeouts;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

use self::inspected::Inspected;
use self::servers::{AfterStop, InspectedServer, NamedServer};
use self::sessions::InspectedService;
use super::{CommandError, ControlHandle, ControlServer, Router, ToControlAddress};
use crate::connection::{Handler, ServerHandle};
use crate::reactor::{LoopContext, LoopHandle};
use crate::session::{Session, SessionManager, Sessions};

/// What is to be inspected: servers, the services of sessions that run on them, loops.
///
/// With a router of one's own the commands lie beside others:
///
/// ```no_run
/// use campana::codec::{Lines, Text};
/// use campana::control::inspect::Inspector;
/// use campana::control::{ControlServer, Router};
/// use campana::session::{Session, SessionContext, SessionService};
/// use campana::{EventLoop, TcpServer};
///
/// struct Echo;
///
/// impl Session for Echo {
///     type Codec = Text<Lines>;
///     fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
///         let _ = cx.write(line);
///     }
/// }
///
/// let mut event_loop = EventLoop::new()?;
/// let service = SessionService::new(|| Text::over(Lines::new()));
/// let (server, sessions) = service.serve(TcpServer::bind("127.0.0.1:7000")?, &mut event_loop, |_| Echo)?;
/// let mut router = Router::new();
/// Inspector::new().service("echo", &server, &sessions).on_drained(|cx| cx.quit()).register(&mut router)?;
/// ControlServer::bind("/run/echo.sock").start(&mut event_loop, router)?;
/// event_loop.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "an inspector does nothing until it is served or registered"]
#[derive(Default)]
pub struct Inspector {
    servers: Vec<NamedServer>,
    loops: Vec<LoopHandle>,
    on_drained: Option<AfterStop>,
}

impl Inspector {
    /// An inspector of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// An inspector of one server, which it calls by `name`.
    pub fn of<H: Handler>(name: impl Into<String>, server: &ServerHandle<H>) -> Self {
        Self::new().server(name, server)
    }

    /// Adds a server, its loops and its connections.
    ///
    /// # Panics
    ///
    /// If there is a server of this name already.
    pub fn server<H: Handler>(self, name: impl Into<String>, server: &ServerHandle<H>) -> Self {
        self.add(name.into(), server.clone(), None)
    }

    /// Adds a server whose connections have sessions, and these.
    ///
    /// # Panics
    ///
    /// If there is a server of this name already.
    pub fn service<S: Session>(
        self,
        name: impl Into<String>,
        server: &ServerHandle<Sessions<S>>,
        sessions: &SessionManager<S>,
    ) -> Self {
        self.add(name.into(), server.clone(), Some(Box::new(sessions.clone())))
    }

    /// Adds a loop, with the connections that live there: clients', for example.
    pub fn event_loop(mut self, event_loop: &LoopHandle) -> Self {
        self.loops.push(event_loop.clone());
        self
    }

    /// Calls `then`, once, when all servers have stopped that were added, and `drain` was the last to ask for it: on the loop that
    /// the last of them was started on, to quit it for example.
    pub fn on_drained(mut self, then: impl FnOnce(&mut LoopContext) + Send + 'static) -> Self {
        self.on_drained = Some(Box::new(then));
        self
    }

    /// Adds the commands to a router.
    ///
    /// # Errors
    ///
    /// [`CommandError::Duplicate`] if it has a command of one of their names; none is added then.
    pub fn register(self, router: &mut Router) -> Result<(), CommandError> {
        let inspected = Inspected::new(self.servers, &self.loops, self.on_drained);
        let mut commands = reading::commands(&inspected);
        commands.extend(steering::commands(&inspected));
        if let Some(taken) = commands.iter().find(|command| router.command(command.name()).is_some()) {
            return Err(CommandError::Duplicate { command: taken.name().to_owned() });
        }
        commands.into_iter().try_for_each(|command| router.add(command).map(drop))
    }

    /// Starts a control socket with these commands and no others on a loop, which is inspected too. Only root and the user of the
    /// process may connect.
    ///
    /// # Errors
    ///
    /// As [`ControlServer::start`].
    pub fn serve(
        self,
        on: &mut impl AsMut<LoopContext>,
        address: impl ToControlAddress,
    ) -> io::Result<ControlHandle> {
        let event_loop = on.as_mut().handle().clone();
        let mut router = Router::new();
        self.event_loop(&event_loop).register(&mut router).map_err(io::Error::other)?;
        ControlServer::bind(address).start(on, router)
    }

    fn add(
        mut self,
        name: String,
        server: impl InspectedServer + 'static,
        service: Option<Box<dyn InspectedService>>,
    ) -> Self {
        let is_taken = self.servers.iter().any(|known| *known.name == *name);
        assert!(!is_taken, "there are two servers called {name}");
        self.servers.push(NamedServer { name: name.into(), server: Box::new(server), service });
        self
    }
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.servers.iter().map(|server| &server.name).collect();
        f.debug_struct("Inspector")
            .field("servers", &servers)
            .field("loops", &self.loops)
            .finish_non_exhaustive()
    }
}
