//! How a run of a type's deserialization without any input ends, and where.

use std::fmt::{self, Display};

use serde::de;

/// A place in a value: fields and variants by name; all elements of a sequence, and all keys and values of a map, are one place.
pub(super) type Place = Vec<&'static str>;

/// Why a run has ended early.
#[derive(Debug)]
pub(super) struct Halt {
    pub(super) cause: Cause,
    /// Where, from the root; not known in the deepest of the calls that it goes through.
    place: Option<Place>,
}

#[derive(Debug)]
pub(super) enum Cause {
    /// All that was to be found out is.
    Done,
    /// A field that must be there isn't.
    Missing(&'static str),
    /// A field that is there twice; by its main name, whatever the name it came by.
    Duplicate(&'static str),
    /// The type has something against a value.
    Refused,
    /// There is no other value to try, or it has become too deep or too large.
    Exhausted,
}

impl Halt {
    pub(super) const fn new(cause: Cause) -> Self {
        Self { cause, place: None }
    }

    /// Says where, unless that was said before, further inside.
    pub(super) fn at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }

    pub(super) fn into_parts(self) -> (Cause, Place) {
        (self.cause, self.place.unwrap_or_default())
    }
}

impl de::Error for Halt {
    fn custom<T: Display>(_: T) -> Self {
        Self::new(Cause::Refused)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Cause::Missing(field))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(Cause::Duplicate(field))
    }
}

impl Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.cause)
    }
}

impl std::error::Error for Halt {}
