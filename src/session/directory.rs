//! Where a service's sessions are found: by id, and by keys that users give them.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::SessionId;
use crate::connection::ConnectionHandle;

/// What a session can be found by: a user's name or number, a room, whatever several sessions have in common.
///
/// Two keys are the same if they are equal and of one type, so that numbers of different things are best given types of their own.
pub trait SessionKey: Hash + Eq + Clone + Send + Sync + 'static {}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> SessionKey for K {}

/// The sessions of one loop that share a key. They are shared with whoever is sending to them at the moment.
pub(super) type OfLoop = Arc<HashSet<SessionId>>;

/// The sessions that share a key, loop by loop.
#[derive(Default)]
pub(super) struct Members {
    loops: Vec<(u32, OfLoop)>,
}

impl Members {
    fn add(&mut self, id: SessionId) -> bool {
        match self.loops.iter_mut().find(|(number, _)| *number == id.loop_number()) {
            Some((_, members)) => Arc::make_mut(members).insert(id),
            None => {
                self.loops.push((id.loop_number(), Arc::new(HashSet::from([id]))));
                true
            }
        }
    }

    /// Answers whether nobody is left.
    fn remove(&mut self, id: SessionId) -> bool {
        if let Some((_, members)) = self.loops.iter_mut().find(|(number, _)| *number == id.loop_number()) {
            Arc::make_mut(members).remove(&id);
        }
        self.loops.retain(|(_, members)| !members.is_empty());
        self.loops.is_empty()
    }

    fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.loops.iter().flat_map(|(_, members)| members.iter().copied())
    }
}

type ByKey<K> = HashMap<K, Members>;

/// A key that a session has, whatever its type.
pub(super) trait BoundKey: Any {
    fn unbind(&self, directory: &Directory, id: SessionId);
}

impl<K: SessionKey> BoundKey for K {
    fn unbind(&self, directory: &Directory, id: SessionId) {
        directory.leave(self, id);
    }
}

/// The sessions of a service that are open.
#[derive(Default)]
pub(super) struct Directory {
    index: RwLock<Index>,
}

#[derive(Default)]
struct Index {
    sessions: HashMap<SessionId, ConnectionHandle>,
    most: usize,
    /// A [`ByKey`] for each type of keys.
    keys: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

impl Directory {
    pub(super) fn add(&self, id: SessionId, connection: ConnectionHandle) {
        let mut index = self.write();
        index.sessions.insert(id, connection);
        index.most = index.most.max(index.sessions.len());
    }

    pub(super) fn remove(&self, id: SessionId) {
        self.write().sessions.remove(&id);
    }

    pub(super) fn find(&self, id: SessionId) -> Option<ConnectionHandle> {
        self.read().sessions.get(&id).cloned()
    }

    pub(super) fn ids(&self) -> Vec<SessionId> {
        self.read().sessions.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.read().sessions.len()
    }

    pub(super) fn most(&self) -> usize {
        self.read().most
    }

    /// Gives a session a key. Answers whether it hadn't it yet.
    pub(super) fn join<K: SessionKey>(&self, key: &K, id: SessionId) -> bool {
        self.write().join(key, id)
    }

    /// Gives a session a key and takes it from all others, at once. Answers who had it.
    pub(super) fn claim<K: SessionKey>(&self, key: &K, id: SessionId) -> Vec<SessionId> {
        let before = {
            let mut index = self.write();
            let before = index.by_key_mut::<K>().remove_entry(key);
            index.join(key, id);
            before
        };
        before.map_or(Vec::new(), |(_, members)| members.ids().filter(|&other| other != id).collect())
    }

    /// Takes a key from a session.
    pub(super) fn leave<K: SessionKey>(&self, key: &K, id: SessionId) {
        // The key that is dropped is a user's, and may well look here for something when it is.
        let _gone = self.write().leave(key, id);
    }

    pub(super) fn has<K: SessionKey>(&self, key: &K, id: SessionId) -> bool {
        self.members(key).iter().any(|(number, members)| *number == id.loop_number() && members.contains(&id))
    }

    /// Those who have a key, loop by loop.
    pub(super) fn members<K: SessionKey>(&self, key: &K) -> Vec<(u32, OfLoop)> {
        let index = self.read();
        let by_key = index.keys.get(&TypeId::of::<K>()).and_then(|keys| keys.downcast_ref::<ByKey<K>>());
        by_key.and_then(|keys| keys.get(key)).map_or(Vec::new(), |members| members.loops.clone())
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn by_key_mut<K: SessionKey>(&mut self) -> &mut ByKey<K> {
        let keys = self.keys.entry(TypeId::of::<K>()).or_insert_with(|| Box::new(ByKey::<K>::new()));
        match keys.downcast_mut() {
            Some(by_key) => by_key,
            None => unreachable!("each type of keys has a map of its own type"),
        }
    }

    fn join<K: SessionKey>(&mut self, key: &K, id: SessionId) -> bool {
        let by_key = self.by_key_mut::<K>();
        if let Some(members) = by_key.get_mut(key) {
            return members.add(id);
        }
        by_key.entry(key.clone()).or_default().add(id)
    }

    /// Gives what is left of the key if nobody has it any more.
    fn leave<K: SessionKey>(&mut self, key: &K, id: SessionId) -> Option<(K, Members)> {
        let by_key = self.by_key_mut::<K>();
        let is_last = by_key.get_mut(key).is_some_and(|members| members.remove(id));
        if is_last { by_key.remove_entry(key) } else { None }
    }
}
