//! What a session's callbacks have beside the session itself.

use std::any::Any;
use std::fmt;
use std::ops::{Deref, DerefMut};

use super::chain::{self, Chain};
use super::directory::BoundKey;
use super::{
    ByteFilter, MessageFilter, Out, Session, SessionHandle, SessionKey, SessionManager, SessionView,
    WriteError, WriteId,
};

/// What a callback of a [`Session`] has of it: all that [`SessionView`] tells and does, writing, the other sessions of the
/// service, and the keys by which they find this one.
pub struct SessionContext<'a, S: Session> {
    pub(super) view: SessionView<'a, S::Codec>,
    pub(super) chain: &'a mut Chain<S::Codec>,
    manager: &'a SessionManager<S>,
}

impl<'a, S: Session> SessionContext<'a, S> {
    #[inline]
    pub(super) fn new(
        view: SessionView<'a, S::Codec>,
        chain: &'a mut Chain<S::Codec>,
        manager: &'a SessionManager<S>,
    ) -> Self {
        Self { view, chain, manager }
    }

    /// The same again, for as long as this one is not used.
    #[cfg(feature = "control")]
    pub(crate) fn reborrow(&mut self) -> SessionContext<'_, S> {
        SessionContext { view: self.view.reborrow_for(0), chain: &mut *self.chain, manager: self.manager }
    }

    /// Writes a message: through the filters, from the last to the first, and the codec. It leaves together with what else is written
    /// in the same turn. What becomes of it [`on_written`](Session::on_written) tells, or else [`on_close`](Session::on_close),
    /// by the id that this gives.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; nothing was sent then.
    #[inline]
    pub fn write(&mut self, message: Out<'_, S>) -> Result<WriteId, WriteError> {
        chain::write(self.chain.links(), &mut self.view, message)
    }

    /// All sessions of the service.
    #[must_use]
    pub fn manager(&self) -> &'a SessionManager<S> {
        self.manager
    }

    /// This session, for any thread and any time.
    #[must_use]
    pub fn handle(&mut self) -> SessionHandle<S> {
        let id = self.view.id();
        SessionHandle::new(self.manager.clone(), id, self.view.conn.handle())
    }

    /// Gives the session a key, by which the [manager](SessionManager) finds it together with all others that have the same: a
    /// room, a user's number. Answers whether it hadn't it yet. Sessions lose their keys when they end.
    pub fn join<K: SessionKey>(&mut self, key: K) -> bool {
        let is_new = self.manager.directory().join(&key, self.view.id());
        if is_new {
            self.remember(key);
        }
        is_new
    }

    /// Notes a key to be taken from the session at its end. It is noted already if another session has claimed it meanwhile.
    fn remember<K: SessionKey>(&mut self, key: K) {
        let keys = &mut self.view.body.core.seldom().keys;
        if !keys.iter().any(|known| is(&**known, &key)) {
            keys.push(Box::new(key));
        }
    }

    /// Gives the session a key that only one may have, and takes it from those who had it, whom it answers: they go on without
    /// it, unless they are told otherwise. Of two who claim a key at once one comes after the other.
    pub fn claim<K: SessionKey>(&mut self, key: K) -> Vec<SessionHandle<S>> {
        let id = self.view.id();
        let before = self.manager.directory().claim(&key, id);
        self.remember(key);
        before.into_iter().filter_map(|id| self.manager.session(id)).collect()
    }

    /// Takes a key from the session. Answers whether it had it.
    pub fn leave<K: SessionKey>(&mut self, key: &K) -> bool {
        let id = self.view.id();
        let had_it = self.manager.directory().has(key, id);
        self.manager.directory().leave(key, id);
        self.view.body.core.seldom().keys.retain(|known| !is(&**known, key));
        had_it
    }

    /// Whether the session has a key: another may have claimed it.
    #[must_use]
    pub fn has_key<K: SessionKey>(&self, key: &K) -> bool {
        self.manager.directory().has(key, self.view.id())
    }

    /// A message filter, if there is one of this name and type.
    pub fn filter<F: MessageFilter<S::Codec>>(&mut self, name: &str) -> Option<&mut F> {
        let filter: &mut dyn Any = self.chain.find(name)?;
        filter.downcast_mut()
    }

    /// A byte filter, if there is one of this name and type. What has been written before has passed it.
    pub fn byte_filter<F: ByteFilter>(&mut self, name: &str) -> Option<&mut F> {
        self.view.hand_over();
        let filter: &mut dyn Any = self.view.body.bytes.as_mut()?.find(name)?;
        filter.downcast_mut()
    }
}

fn is<K: SessionKey>(known: &dyn BoundKey, key: &K) -> bool {
    let known: &dyn Any = known;
    known.downcast_ref::<K>() == Some(key)
}

impl<'a, S: Session> Deref for SessionContext<'a, S> {
    type Target = SessionView<'a, S::Codec>;

    fn deref(&self) -> &Self::Target {
        &self.view
    }
}

impl<S: Session> DerefMut for SessionContext<'_, S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.view
    }
}

impl<S: Session> fmt::Debug for SessionContext<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionContext").field(&self.view).finish()
    }
}
