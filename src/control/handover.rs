//! Graceful restart, the predecessor's side: listening sockets go to the process that takes over.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::code;
use super::{Call, Command, CommandError, ControlSession, Failure, Responder, Router};
use crate::connection::{Handler, ServerHandle};
use crate::reactor::{LoopContext, LoopHandle};
use crate::session::{SessionHandle, SessionId};
use crate::socket::{Listener, MAX_DESCRIPTORS, PathIdentity};

/// The commands by which this process's listening sockets are handed to a successor, so that a program is restarted, or replaced by
/// its next version, without anybody's being refused. The successor uses a [`Predecessor`](super::Predecessor).
///
/// | command | what it does |
/// | --- | --- |
/// | `handover` | passes duplicates of all listening sockets: those of the servers named here, and the control socket's own. This process goes on accepting. |
/// | `handed_over` | the successor serves: this process accepts nobody any more, and lets its connections finish until the deadline. Whom it had not accepted yet the successor will. |
///
/// Both ask for the role `admin`, and for the same session: one successor at a time. If its session ends between the two, because
/// it has crashed or thought better of it, nothing has happened, and the next one may try. Paths of Unix sockets are the successor's
/// from `handed_over` on. A message carries 253 descriptors, and so `handover` fails if there are more.
///
/// ```no_run
/// use campana::control::{ControlServer, Handover, Router};
/// use campana::{EventLoop, LoopContext, TcpServer};
///
/// let mut event_loop = EventLoop::new()?;
/// let server = TcpServer::bind("0.0.0.0:7000")?.threads(4).start(&mut event_loop)?;
///
/// let mut router = Router::new();
/// Handover::new().server("main", &server).on_drained(LoopContext::quit).register(&mut router)?;
/// ControlServer::bind("/run/app.sock").start(&mut event_loop, router)?;
/// // Returns when a successor has taken over and the last connection has ended.
/// event_loop.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it does nothing until it is registered"]
#[derive(Default)]
pub struct Handover {
    servers: Vec<(String, Box<dyn Retiring>)>,
    on_drained: Option<OnDrained>,
}

type OnDrained = Box<dyn FnOnce(&mut LoopContext) + Send>;

/// What is handed over, as the reply tells: in the order of the descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offers {
    /// Whose end the successor may have to tell from that of a session.
    #[serde(default)]
    pub(super) pid: Option<i32>,
    pub(super) listeners: Vec<Offer>,
}

/// One listening socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    /// None for the control socket.
    pub(super) server: Option<String>,
    /// For people: the socket itself knows it exactly.
    pub(super) address: String,
    /// The file that is to be removed with it, if its predecessor would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<PathIdentity>,
}

/// What the successor has taken over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HandedOver {
    #[serde(default = "default_deadline_ms")]
    pub(super) deadline_ms: u64,
    /// All, unless they are named.
    #[serde(default)]
    pub(super) servers: Option<Vec<String>>,
    #[serde(default = "yes")]
    pub(super) control: bool,
}

/// Which servers let their connections finish now.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Draining {
    pub(super) draining: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Handover {
    /// Hands over the control socket alone, so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands a server over, under a name by which the successor asks for its listeners.
    pub fn server<H: Handler>(mut self, name: impl Into<String>, server: &ServerHandle<H>) -> Self {
        self.servers.push((name.into(), Box::new(server.clone())));
        self
    }

    /// Runs `then` on the control socket's loop when a successor has taken over and nothing is left here: neither a server nor the
    /// control socket. Without it the process has to find that out in another way.
    pub fn on_drained(mut self, then: impl FnOnce(&mut LoopContext) + Send + 'static) -> Self {
        self.on_drained = Some(Box::new(then));
        self
    }

    /// Adds the commands.
    ///
    /// # Errors
    ///
    /// [`CommandError`] if there are commands of these names.
    pub fn register(self, router: &mut Router) -> Result<(), CommandError> {
        let shared = Arc::new(Shared {
            servers: self.servers,
            on_drained: Mutex::new(self.on_drained),
            phase: Mutex::new(Phase::Serving),
        });
        let of_handed_over = Arc::clone(&shared);
        router
            .add(
                Command::new("handover", "Passes duplicates of all listening sockets to a successor.")
                    .role("admin")
                    .defers(move |call, Nothing {}, responder| shared.offer(call, responder)),
            )?
            .add(
                Command::new("handed_over", "Stops accepting in favour of a successor that serves by now.")
                    .parameter("deadline_ms", "after what time connections are closed by force (10000)")
                    .parameter("servers", "which servers the successor goes on with; all, if left out")
                    .parameter("control", "whether it goes on with the control socket (true)")
                    .role("admin")
                    .answers(move |call, params| of_handed_over.retire(call, params)),
            )?;
        Ok(())
    }
}

fn default_deadline_ms() -> u64 {
    10_000
}

fn yes() -> bool {
    true
}

struct Shared {
    servers: Vec<(String, Box<dyn Retiring>)>,
    on_drained: Mutex<Option<OnDrained>>,
    phase: Mutex<Phase>,
}

enum Phase {
    Serving,
    /// A successor has asked, and `has_all` says whether it has got the listeners.
    Offered {
        to: SessionHandle<ControlSession>,
        has_all: Arc<AtomicBool>,
    },
    HandedOver,
}

impl Shared {
    fn offer(self: &Arc<Self>, call: &mut Call<'_>, mut responder: Responder) {
        let Some(own) = call.server() else {
            let _ = responder.fail(Failure::new("this control socket has no server"));
            return;
        };
        let session = call.session().handle();
        let has_all = Arc::new(AtomicBool::new(false));
        responder.note_passed(&has_all);
        {
            let mut phase = self.phase();
            match &*phase {
                Phase::HandedOver => {
                    let _ = responder.fail(handed_over_already());
                    return;
                }
                Phase::Offered { to, .. } if to.id() != session.id() && to.is_open() => {
                    let text = "another successor is starting: wait until it serves, or end it";
                    let _ = responder.fail(Failure::new(text).code(code::BUSY));
                    return;
                }
                _ => *phase = Phase::Offered { to: session, has_all },
            }
        }
        // A successor may take its time to start.
        call.set_inactivity(Duration::ZERO);
        let collection = Collection::new(Arc::clone(self), call.session().id(), responder);
        for (number, (_, server)) in self.servers.iter().enumerate() {
            server.duplicate(collection.part(number));
        }
        own.duplicate(collection.part(self.servers.len()));
    }

    fn retire(&self, call: &mut Call<'_>, params: HandedOver) -> Result<Draining, Failure> {
        let HandedOver { deadline_ms, servers, control } = params;
        let is_taken = |name: &String| servers.as_ref().is_none_or(|servers| servers.contains(name));
        let known: Vec<String> = self.servers.iter().map(|(name, _)| name.clone()).collect();
        if let Some(unknown) = servers.iter().flatten().find(|name| !known.contains(name)) {
            return Err(Failure::new(format!("there is no server `{unknown}`")).with("servers", known));
        }
        {
            let mut phase = self.phase();
            match &*phase {
                Phase::Offered { to, has_all }
                    if to.id() == call.session().id() && has_all.load(Ordering::Relaxed) => {}
                Phase::HandedOver => return Err(handed_over_already()),
                _ => {
                    let text = "nothing was handed over to this session: ask it for `handover` first";
                    return Err(Failure::new(text));
                }
            }
            *phase = Phase::HandedOver;
        }
        let deadline = Duration::from_millis(deadline_ms);
        let then = self.on_drained.lock().unwrap_or_else(PoisonError::into_inner).take();
        let drained =
            Arc::new(Drained { event_loop: call.context().handle().clone(), then: Mutex::new(then) });
        for (name, server) in &self.servers {
            server.end(is_taken(name), deadline, Arc::clone(&drained));
        }
        if let Some(own) = call.server() {
            own.end(control, deadline, drained);
        }
        Ok(Draining { draining: known })
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn handed_over_already() -> Failure {
    Failure::new("a successor has taken over already: connect again to reach it")
}

/// A server of whatever handler.
trait Retiring: Send + Sync {
    fn duplicate(&self, part: Part);

    /// Leaves its sockets to the successor, or takes in those who wait if nobody else will.
    fn end(&self, to_successor: bool, deadline: Duration, drained: Arc<Drained>);
}

impl<H: Handler> Retiring for ServerHandle<H> {
    fn duplicate(&self, part: Part) {
        self.duplicate_listeners(move |_, listeners| part.answer(listeners));
    }

    fn end(&self, to_successor: bool, deadline: Duration, drained: Arc<Drained>) {
        let then = move |_: &mut LoopContext| drop(drained);
        if to_successor {
            self.retire_then(deadline, then);
        } else {
            self.stop_then(deadline, then);
        }
    }
}

/// Dropped when nothing is left, also of servers whose loop has ended before they have.
struct Drained {
    event_loop: LoopHandle,
    then: Mutex<Option<OnDrained>>,
}

impl Drop for Drained {
    fn drop(&mut self) {
        if let Some(then) = self.then.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = self.event_loop.post(then);
        }
    }
}

/// The listeners of all servers while they are collected. When the last of its parts is gone, the successor is answered.
struct Collection {
    shared: Arc<Shared>,
    successor: SessionId,
    responder: Mutex<Option<Responder>>,
    /// By server, and the control socket's at the end; nothing for one whose loop has ended.
    parts: Mutex<Vec<Option<io::Result<Vec<Listener>>>>>,
}

struct Part {
    collection: Arc<Collection>,
    number: usize,
}

impl Collection {
    fn new(shared: Arc<Shared>, successor: SessionId, responder: Responder) -> Arc<Self> {
        let parts = Mutex::new(shared.servers.iter().map(|_| None).chain([None]).collect());
        Arc::new(Self { shared, successor, responder: Mutex::new(Some(responder)), parts })
    }

    fn part(self: &Arc<Self>, number: usize) -> Part {
        Part { collection: Arc::clone(self), number }
    }

    /// What is passed to the successor.
    fn offers(&mut self) -> Result<(Offers, Vec<OwnedFd>), Failure> {
        let (mut offers, mut descriptors) = (Vec::new(), Vec::new());
        let parts = self.parts.get_mut().unwrap_or_else(PoisonError::into_inner);
        let names = self.shared.servers.iter().map(|(name, _)| Some(name)).chain([None]);
        for (name, part) in names.zip(parts) {
            let listeners = part.take().unwrap_or_else(|| Ok(Vec::new()))?;
            if listeners.is_empty() {
                let what =
                    name.map_or_else(|| "the control socket".into(), |name| format!("server `{name}`"));
                return Err(Failure::new(format!("{what} stops: start the successor without a predecessor")));
            }
            for listener in listeners {
                let (address, path) = (listener.local_address()?.to_string(), listener.path_identity());
                offers.push(Offer { server: name.cloned(), address, path });
                descriptors.push(listener.into_descriptor());
            }
        }
        if descriptors.len() > MAX_DESCRIPTORS {
            let text = format!(
                "there are {} listening sockets, and a message carries {MAX_DESCRIPTORS}: use fewer threads or addresses",
                descriptors.len()
            );
            return Err(Failure::new(text));
        }
        let pid = Some(rustix::process::getpid().as_raw_pid());
        Ok((Offers { pid, listeners: offers }, descriptors))
    }
}

impl Part {
    fn answer(self, listeners: io::Result<Vec<Listener>>) {
        let mut parts = self.collection.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts[self.number] = Some(listeners);
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        let responder = self.responder.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(responder) = responder else { return };
        let offers = self.offers();
        if offers.is_err() {
            let mut phase = self.shared.phase();
            // The next one may try.
            if matches!(&*phase, Phase::Offered { to, .. } if to.id() == self.successor) {
                *phase = Phase::Serving;
            }
        }
        let _ = match offers {
            Ok((offers, descriptors)) => responder.reply_with_descriptors(offers, descriptors),
            Err(failure) => responder.fail(failure),
        };
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.servers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Handover").field("servers", &names).finish_non_exhaustive()
    }
}
