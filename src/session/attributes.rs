//! What users keep with a session under typed keys.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

/// A name for an attribute, and its type. Two keys are the same if both are.
///
/// ```
/// use campana::session::AttributeKey;
///
/// const USER: AttributeKey<String> = AttributeKey::new("user");
/// ```
pub struct AttributeKey<T> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T: 'static> AttributeKey<T> {
    /// A key of this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }

    /// The key's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    fn id(&self) -> AttributeId {
        AttributeId { name: self.name, value: TypeId::of::<T>() }
    }
}

impl<T> Clone for AttributeKey<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for AttributeKey<T> {}

impl<T> fmt::Debug for AttributeKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AttributeKey").field(&self.name).finish()
    }
}

/// A key as a store sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AttributeId {
    name: &'static str,
    value: TypeId,
}

impl AttributeId {
    /// The key's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// Where the attributes of one session are kept.
///
/// A service makes one for each session that uses attributes: by default a hash map, which ends with the session. One of your
/// own may take over what an earlier session has left, or keep this one's for the next: see
/// [`SessionService::attributes`](super::SessionService::attributes).
pub trait AttributeStore: 'static {
    /// A value.
    fn get(&self, id: AttributeId) -> Option<&dyn Any>;

    /// A value, to be changed.
    fn get_mut(&mut self, id: AttributeId) -> Option<&mut dyn Any>;

    /// Puts a value in, and gives the one that it replaces.
    fn insert(&mut self, id: AttributeId, value: Box<dyn Any>) -> Option<Box<dyn Any>>;

    /// Takes a value out.
    fn remove(&mut self, id: AttributeId) -> Option<Box<dyn Any>>;

    /// The keys of all values, in any order.
    fn ids(&self) -> Vec<AttributeId>;

    /// The session has ended; nothing is called after this.
    fn dispose(&mut self) {}
}

impl AttributeStore for HashMap<AttributeId, Box<dyn Any>> {
    fn get(&self, id: AttributeId) -> Option<&dyn Any> {
        self.get(&id).map(|value| &**value)
    }

    fn get_mut(&mut self, id: AttributeId) -> Option<&mut dyn Any> {
        self.get_mut(&id).map(|value| &mut **value)
    }

    fn insert(&mut self, id: AttributeId, value: Box<dyn Any>) -> Option<Box<dyn Any>> {
        self.insert(id, value)
    }

    fn remove(&mut self, id: AttributeId) -> Option<Box<dyn Any>> {
        self.remove(&id)
    }

    fn ids(&self) -> Vec<AttributeId> {
        self.keys().copied().collect()
    }
}

/// The attributes of a session: one value for each [key](AttributeKey).
///
/// ```
/// # use campana::session::{AttributeKey, Session, SessionContext};
/// const GREETED: AttributeKey<u32> = AttributeKey::new("greeted");
///
/// fn greet<S: Session>(cx: &mut SessionContext<'_, S>) -> u32 {
///     let greeted = cx.attributes().get_or_insert_with(GREETED, || 0);
///     *greeted += 1;
///     *greeted
/// }
/// ```
pub struct Attributes<'a> {
    store: &'a mut dyn AttributeStore,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(store: &'a mut dyn AttributeStore) -> Self {
        Self { store }
    }

    /// The value under a key.
    #[must_use]
    pub fn get<T: 'static>(&self, key: AttributeKey<T>) -> Option<&T> {
        self.store.get(key.id())?.downcast_ref()
    }

    /// The value under a key, to be changed.
    #[must_use]
    pub fn get_mut<T: 'static>(&mut self, key: AttributeKey<T>) -> Option<&mut T> {
        self.store.get_mut(key.id())?.downcast_mut()
    }

    /// The value under a key, which is made and put in if there is none.
    ///
    /// # Panics
    ///
    /// If the session's [store](AttributeStore) doesn't keep what is put in.
    pub fn get_or_insert_with<T: 'static>(self, key: AttributeKey<T>, make: impl FnOnce() -> T) -> &'a mut T {
        if !self.contains(key) {
            self.store.insert(key.id(), Box::new(make()));
        }
        match self.store.get_mut(key.id()).and_then(|value| value.downcast_mut()) {
            Some(value) => value,
            None => panic!("the attribute store has lost {}", key.name),
        }
    }

    /// Puts a value under a key; gives the one that it replaces.
    pub fn set<T: 'static>(&mut self, key: AttributeKey<T>, value: T) -> Option<T> {
        let old = self.store.insert(key.id(), Box::new(value))?;
        old.downcast().ok().map(|old| *old)
    }

    /// Puts a value under a key unless there is one, in which case the new one is given back.
    ///
    /// # Errors
    ///
    /// The value that was not put in.
    pub fn set_if_absent<T: 'static>(&mut self, key: AttributeKey<T>, value: T) -> Result<(), T> {
        if self.contains(key) {
            return Err(value);
        }
        self.store.insert(key.id(), Box::new(value));
        Ok(())
    }

    /// Takes out the value under a key.
    pub fn remove<T: 'static>(&mut self, key: AttributeKey<T>) -> Option<T> {
        let old = self.store.remove(key.id())?;
        old.downcast().ok().map(|old| *old)
    }

    /// Whether there is a value under a key.
    #[must_use]
    pub fn contains<T: 'static>(&self, key: AttributeKey<T>) -> bool {
        self.store.get(key.id()).is_some()
    }

    /// The names of all keys that have a value, in any order.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.store.ids().iter().map(AttributeId::name).collect()
    }
}

impl fmt::Debug for Attributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attributes").field(&self.names()).finish()
    }
}
