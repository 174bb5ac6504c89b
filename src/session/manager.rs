//! A service's sessions, from any thread.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::directory::{Directory, OfLoop};
use super::service::Service;
use super::stats::{LoopTotals, ServiceStats};
use super::{Out, Session, SessionContext, SessionId, SessionKey, Sessions, WriteError};
use crate::codec::{Codec as _, EncodeError};
use crate::connection::ConnectionHandle;
use crate::reactor::{HandlerHandle, LoopContext, LoopGone};

/// The sessions of a service: found by id, by key, or all of them, from any thread. Cheap to clone, and it keeps no session
/// alive.
///
/// What is done to sessions through it happens on their loops, soon, in the order in which one thread asks for it; on none of
/// them before the callback under way there has returned. Those who have ended by then are passed over.
///
/// ```
/// use campana::session::{Session, SessionContext, SessionManager};
/// # use campana::codec::{Lines, Text};
///
/// #[derive(Clone, PartialEq, Eq, Hash)]
/// struct Room(String);
///
/// struct Guest;
///
/// impl Session for Guest {
///     type Codec = Text<Lines>;
///
///     fn on_open(&mut self, cx: &mut SessionContext<'_, Self>) {
///         cx.join(Room("hall".into()));
///     }
///
///     fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
///         // To all in the room but this one, encoded once.
///         let _ = cx.manager().keyed(&Room("hall".into())).except(cx.id()).send(line);
///     }
/// }
///
/// fn close_hall(sessions: &SessionManager<Guest>) {
///     sessions.keyed(&Room("hall".into())).close();
/// }
/// ```
pub struct SessionManager<S: Session> {
    inner: Arc<Inner<S>>,
}

struct Inner<S: Session> {
    service: Arc<Service<S>>,
    directory: Directory,
    loops: RwLock<Vec<Worker<S>>>,
}

/// A loop that has had sessions of the service.
pub(super) struct Worker<S: Session> {
    pub(super) number: u32,
    pub(super) handler: HandlerHandle<Sessions<S>>,
    totals: Arc<LoopTotals>,
}

impl<S: Session> SessionManager<S> {
    pub(super) fn new(service: Service<S>) -> Self {
        let (directory, loops) = (Directory::default(), RwLock::default());
        Self { inner: Arc::new(Inner { service: Arc::new(service), directory, loops }) }
    }

    pub(super) fn service(&self) -> &Arc<Service<S>> {
        &self.inner.service
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    pub(super) fn add_loop(&self, number: u32, handler: HandlerHandle<Sessions<S>>, totals: Arc<LoopTotals>) {
        let mut loops = self.inner.loops.write().unwrap_or_else(PoisonError::into_inner);
        loops.push(Worker { number, handler, totals });
    }

    /// A session, by its id; nothing if it has ended.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<SessionHandle<S>> {
        let connection = self.directory().find(id)?;
        Some(SessionHandle::new(self.clone(), id, connection))
    }

    /// All sessions, those included that will have opened by the time that something is done to them.
    #[must_use]
    pub fn all(&self) -> Audience<'_, S> {
        Audience { manager: self, members: None, except: None }
    }

    /// The sessions that have a [key](SessionContext::join) now.
    #[must_use]
    pub fn keyed<K: SessionKey>(&self, key: &K) -> Audience<'_, S> {
        Audience { manager: self, members: Some(self.directory().members(key)), except: None }
    }

    /// How many sessions are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.directory().len()
    }

    /// Whether no session is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The figures of all sessions, those that have ended included.
    #[must_use]
    pub fn stats(&self) -> ServiceStats {
        let (sessions, most_sessions) = (self.len(), self.directory().most());
        let mut stats = ServiceStats { sessions, most_sessions, ..ServiceStats::default() };
        for worker in self.inner.loops.read().unwrap_or_else(PoisonError::into_inner).iter() {
            worker.totals.add_to(&mut stats);
        }
        stats
    }

    /// Encodes a message as the service's codec does, to be sent to several audiences.
    ///
    /// # Errors
    ///
    /// If the message can't be encoded.
    pub fn encode(&self, message: Out<'_, S>) -> Result<Bytes, EncodeError> {
        (self.inner.service.codec)().encode_to_bytes(message)
    }

    pub(super) fn loops<R>(&self, run: impl FnOnce(&[Worker<S>]) -> R) -> R {
        run(&self.inner.loops.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn on_loop(
        &self,
        number: u32,
        task: impl FnOnce(&mut Sessions<S>, &mut LoopContext) + Send + 'static,
    ) -> Result<(), LoopGone> {
        self.loops(|loops| match loops.iter().find(|worker| worker.number == number) {
            Some(worker) => worker.handler.run(task),
            None => Err(LoopGone),
        })
    }
}

impl<S: Session> Clone for SessionManager<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S: Session> fmt::Debug for SessionManager<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager").field("sessions", &self.len()).finish_non_exhaustive()
    }
}

/// Some sessions of a service, or all of them: what [`SessionManager::all`] and [`SessionManager::keyed`] give.
pub struct Audience<'a, S: Session> {
    manager: &'a SessionManager<S>,
    /// Nothing for all.
    members: Option<Vec<(u32, OfLoop)>>,
    except: Option<SessionId>,
}

impl<S: Session> Audience<'_, S> {
    /// Leaves one session out, if it is among them: the one whose message goes to all others, say.
    #[must_use]
    pub fn except(mut self, id: SessionId) -> Self {
        self.except = Some(id);
        self
    }

    /// Who they are, at the moment, in no order.
    #[must_use]
    pub fn ids(&self) -> Vec<SessionId> {
        let mut ids: Vec<_> = match &self.members {
            None => self.manager.directory().ids(),
            Some(loops) => loops.iter().flat_map(|(_, members)| members.iter().copied()).collect(),
        };
        ids.retain(|&id| Some(id) != self.except);
        ids
    }

    /// How many they are, at the moment.
    #[must_use]
    pub fn len(&self) -> usize {
        let is_in = |id| match &self.members {
            None => self.manager.directory().find(id).is_some(),
            Some(loops) => loops.iter().any(|(_, members)| members.contains(&id)),
        };
        let all = match &self.members {
            None => self.manager.len(),
            Some(loops) => loops.iter().map(|(_, members)| members.len()).sum(),
        };
        all - usize::from(self.except.is_some_and(is_in))
    }

    /// Whether there is nobody among them, at the moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each of them, as far as they are open.
    #[must_use]
    pub fn handles(&self) -> Vec<SessionHandle<S>> {
        self.ids().into_iter().filter_map(|id| self.manager.session(id)).collect()
    }

    /// Sends a message to each, encoded once. Of the filters of a session those see it that look at
    /// [encoded](super::MessageFilter::on_write_encoded) messages.
    ///
    /// # Errors
    ///
    /// If the message can't be encoded; nothing is sent then.
    pub fn send(&self, message: Out<'_, S>) -> Result<(), EncodeError> {
        let encoded = self.manager.encode(message)?;
        self.send_encoded(&encoded);
        Ok(())
    }

    /// Sends a message that was [encoded](SessionManager::encode) before.
    pub fn send_encoded(&self, encoded: &Bytes) {
        self.on_loops(|ids, except| {
            let encoded = encoded.clone();
            move |sessions: &mut Sessions<S>, context: &mut LoopContext| {
                ids.each(sessions, except, |sessions, id| sessions.send_encoded(context, id, &encoded));
            }
        });
    }

    /// Runs `task` with each of them, on its loop.
    pub fn run(&self, task: impl Fn(&mut S, &mut SessionContext<'_, S>) + Send + Sync + 'static) {
        let task = Arc::new(task);
        self.on_loops(|ids, except| {
            let task = Arc::clone(&task);
            move |sessions: &mut Sessions<S>, context: &mut LoopContext| {
                ids.each(sessions, except, |sessions, id| {
                    sessions.with(context, id, |session, cx| task(session, cx))
                });
            }
        });
    }

    /// Closes each, as [`SessionView::close`](super::SessionView::close).
    pub fn close(&self) {
        self.run(|_, cx| cx.close());
    }

    /// Aborts each, as [`SessionView::abort`](super::SessionView::abort).
    pub fn abort(&self) {
        self.run(|_, cx| cx.abort());
    }

    /// Hands a task of its own to each loop that they are on. A loop that is gone has no sessions.
    fn on_loops<T>(&self, mut task: impl FnMut(Ids, Option<SessionId>) -> T)
    where
        T: FnOnce(&mut Sessions<S>, &mut LoopContext) + Send + 'static,
    {
        self.manager.loops(|loops| {
            for worker in loops {
                let ids = match &self.members {
                    None => Ids::All,
                    Some(members) => match members.iter().find(|(number, _)| *number == worker.number) {
                        Some((_, members)) => Ids::These(Arc::clone(members)),
                        None => continue,
                    },
                };
                let _ = worker.handler.run(task(ids, self.except));
            }
        });
    }
}

impl<S: Session> fmt::Debug for Audience<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Audience").field(&self.ids()).finish()
    }
}

/// Whom of a loop's sessions something concerns.
enum Ids {
    All,
    These(OfLoop),
}

impl Ids {
    fn each<S: Session>(
        &self,
        sessions: &mut Sessions<S>,
        except: Option<SessionId>,
        mut run: impl FnMut(&mut Sessions<S>, SessionId),
    ) {
        match self {
            Self::These(members) => {
                for id in members.iter().copied().filter(|&id| Some(id) != except) {
                    run(sessions, id);
                }
            }
            Self::All => {
                for id in sessions.ids().into_iter().filter(|&id| Some(id) != except) {
                    run(sessions, id);
                }
            }
        }
    }
}

/// One session, from any thread and for any time: cheap to clone, and it keeps nothing of the session alive.
pub struct SessionHandle<S: Session> {
    manager: SessionManager<S>,
    id: SessionId,
    connection: ConnectionHandle,
}

impl<S: Session> SessionHandle<S> {
    pub(super) fn new(manager: SessionManager<S>, id: SessionId, connection: ConnectionHandle) -> Self {
        Self { manager, id, connection }
    }

    /// Which session this is.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Whether the session has not ended yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.connection.is_open()
    }

    /// Sends a message, as [`SessionContext::write`] does on the session's loop; but it is encoded here, and of the filters those see
    /// it that look at [encoded](super::MessageFilter::on_write_encoded) messages. May be called from any thread.
    ///
    /// # Errors
    ///
    /// [`WriteError::Closed`] once the session is closing, as far as that is known here; [`WriteError::Full`] if more than the connection's
    /// [`hard_cap`](crate::ConnectionConfig::hard_cap) is under way to its loop, in which case the session goes on;
    /// [`WriteError::Encode`].
    pub fn send(&self, message: Out<'_, S>) -> Result<(), WriteError> {
        let encoded = self.manager.encode(message)?;
        self.send_encoded(encoded)
    }

    /// Sends a message that was [encoded](SessionManager::encode) before. May be called from any thread.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_encoded(&self, encoded: Bytes) -> Result<(), WriteError> {
        if !self.connection.takes_sends() {
            return Err(WriteError::Closed);
        }
        let id = self.id;
        let Some(place) = self.connection.reserve(encoded.len()) else { return Err(WriteError::Full) };
        self.run_on_loop(move |sessions, context| {
            drop(place);
            sessions.send_encoded(context, id, &encoded);
        })
        .map_err(|LoopGone| WriteError::Closed)
    }

    /// Runs `task` with the session on its loop. It is dropped, without being run, if the session has ended by then. May be called
    /// from any thread.
    ///
    /// # Errors
    ///
    /// [`LoopGone`] if the session's loop has ended.
    pub fn run(
        &self,
        task: impl FnOnce(&mut S, &mut SessionContext<'_, S>) + Send + 'static,
    ) -> Result<(), LoopGone> {
        let id = self.id;
        self.run_on_loop(move |sessions, context| sessions.with(context, id, task))
    }

    /// Closes the session, as [`SessionView::close`](super::SessionView::close). May be called from any thread.
    ///
    /// # Errors
    ///
    /// [`LoopGone`] if the session's loop has ended.
    pub fn close(&self) -> Result<(), LoopGone> {
        self.run(|_, cx| cx.close())
    }

    /// Aborts the session, as [`SessionView::abort`](super::SessionView::abort). May be called from any thread.
    ///
    /// # Errors
    ///
    /// [`LoopGone`] if the session's loop has ended.
    pub fn abort(&self) -> Result<(), LoopGone> {
        self.run(|_, cx| cx.abort())
    }

    fn run_on_loop(
        &self,
        task: impl FnOnce(&mut Sessions<S>, &mut LoopContext) + Send + 'static,
    ) -> Result<(), LoopGone> {
        self.manager.on_loop(self.id.loop_number(), task)
    }
}

impl<S: Session> Clone for SessionHandle<S> {
    fn clone(&self) -> Self {
        Self { manager: self.manager.clone(), id: self.id, connection: self.connection.clone() }
    }
}

impl<S: Session> fmt::Debug for SessionHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle").field("id", &self.id).field("open", &self.is_open()).finish()
    }
}
