//! Changes of a chain of filters while it may be in use: noted now, made before the next event.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::rc::Rc;

use super::core::EDITED;
use super::{ByteFilter, MessageFilter};

pub(super) type Name = Cow<'static, str>;

/// The names of a chain's filters, in order; sessions that have changed nothing share them.
pub(super) type Names = Rc<Vec<Name>>;

/// One change; places are those after the changes before it.
pub(super) enum Edit<F: ?Sized> {
    Insert(usize, Name, Box<F>),
    Replace(usize, Name, Box<F>),
    Remove(usize),
}

/// The message filters of a session, to be changed: what [`SessionView::filters`](super::SessionView::filters) gives.
pub type FilterEdits<'a, C> = Filters<'a, dyn MessageFilter<C>>;

/// The byte filters of a session, to be changed: what [`SessionView::byte_filters`](super::SessionView::byte_filters) gives.
pub type ByteFilterEdits<'a> = Filters<'a, dyn ByteFilter>;

/// A chain of filters, to be looked at and changed. Each has a name of its own.
///
/// A change that is made while an event is under way takes effect with the next event: the filters that have seen its beginning
/// see its end. A filter that is added gets its `on_open` then; one that is taken out is dropped. With byte filters it is
/// [bytes](super::SessionView::byte_filters) rather than events: what is written behind the change is subject to it.
pub struct Filters<'a, F: ?Sized> {
    pub(super) names: &'a mut Names,
    pub(super) edits: &'a mut Vec<Edit<F>>,
    /// The session's, which says that there are edits as soon as one is noted; who only looks costs it nothing.
    pub(super) flags: &'a mut u16,
}

impl<F: ?Sized> Filters<'_, F> {
    /// The names from head to tail, with the changes that are noted already.
    #[must_use]
    pub fn names(&self) -> &[Cow<'static, str>] {
        self.names
    }

    /// Whether there is a filter of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Adds a filter at the head: the first to see what comes in.
    ///
    /// # Errors
    ///
    /// [`FilterEditError::Duplicate`] if there is one of this name.
    pub fn add_first(&mut self, name: impl Into<Name>, filter: Box<F>) -> Result<(), FilterEditError> {
        self.insert(0, name.into(), filter)
    }

    /// Adds a filter at the tail: the nearest to the session.
    ///
    /// # Errors
    ///
    /// [`FilterEditError::Duplicate`] if there is one of this name.
    pub fn add_last(&mut self, name: impl Into<Name>, filter: Box<F>) -> Result<(), FilterEditError> {
        self.insert(self.names.len(), name.into(), filter)
    }

    /// Adds a filter in front of another.
    ///
    /// # Errors
    ///
    /// [`FilterEditError`]: the name is taken, or there is none to be in front of.
    pub fn add_before(
        &mut self,
        other: &str,
        name: impl Into<Name>,
        filter: Box<F>,
    ) -> Result<(), FilterEditError> {
        self.insert(self.place(other)?, name.into(), filter)
    }

    /// Adds a filter behind another.
    ///
    /// # Errors
    ///
    /// [`FilterEditError`]: the name is taken, or there is none to be behind.
    pub fn add_after(
        &mut self,
        other: &str,
        name: impl Into<Name>,
        filter: Box<F>,
    ) -> Result<(), FilterEditError> {
        self.insert(self.place(other)? + 1, name.into(), filter)
    }

    /// Puts a filter, whose name may be another, in the place of one.
    ///
    /// # Errors
    ///
    /// [`FilterEditError`]: there is none of the old name, or the new one is taken by another.
    pub fn replace(
        &mut self,
        old: &str,
        name: impl Into<Name>,
        filter: Box<F>,
    ) -> Result<(), FilterEditError> {
        let (place, name) = (self.place(old)?, name.into());
        if name != old {
            self.check_free(&name)?;
        }
        Rc::make_mut(self.names)[place] = name.clone();
        self.note(Edit::Replace(place, name, filter));
        Ok(())
    }

    /// Takes a filter out.
    ///
    /// # Errors
    ///
    /// [`FilterEditError::Unknown`] if there is none of this name.
    pub fn remove(&mut self, name: &str) -> Result<(), FilterEditError> {
        let place = self.place(name)?;
        Rc::make_mut(self.names).remove(place);
        self.note(Edit::Remove(place));
        Ok(())
    }

    fn insert(&mut self, place: usize, name: Name, filter: Box<F>) -> Result<(), FilterEditError> {
        self.check_free(&name)?;
        Rc::make_mut(self.names).insert(place, name.clone());
        self.note(Edit::Insert(place, name, filter));
        Ok(())
    }

    fn note(&mut self, edit: Edit<F>) {
        self.edits.push(edit);
        *self.flags |= EDITED;
    }

    fn check_free(&self, name: &str) -> Result<(), FilterEditError> {
        if self.contains(name) { Err(FilterEditError::Duplicate { name: name.to_owned() }) } else { Ok(()) }
    }

    fn place(&self, name: &str) -> Result<usize, FilterEditError> {
        let place = self.names.iter().position(|known| known == name);
        place.ok_or_else(|| FilterEditError::Unknown { name: name.to_owned() })
    }
}

impl<F: ?Sized> fmt::Debug for Filters<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filters").field(&self.names).finish()
    }
}

/// Why a chain of filters was not changed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FilterEditError {
    /// There is a filter of this name already.
    Duplicate {
        /// The name.
        name: String,
    },
    /// There is no filter of this name.
    Unknown {
        /// The name.
        name: String,
    },
}

impl fmt::Display for FilterEditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { name } => {
                write!(f, "there is a filter called {name} already: replace it, or choose another name")
            }
            Self::Unknown { name } => write!(f, "there is no filter called {name}"),
        }
    }
}

impl Error for FilterEditError {}
