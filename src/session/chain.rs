//! The message filters of one session, in order.

use super::edits::{Edit, Name};
use super::filter::{FilterContext, MessageFilter, Verdict};
use super::{SessionView, WriteError, WriteId};
use crate::codec::Codec;

pub(super) struct Link<C: Codec> {
    pub(super) name: Name,
    /// By which timers know it.
    pub(super) serial: u32,
    wants_messages: bool,
    wants_writes: bool,
    pub(super) filter: Box<dyn MessageFilter<C>>,
}

impl<C: Codec> Link<C> {
    fn new(serial: u32, name: Name, filter: Box<dyn MessageFilter<C>>) -> Self {
        let (wants_messages, wants_writes) = (filter.wants_messages(), filter.wants_writes());
        Self { name, serial, wants_messages, wants_writes, filter }
    }

    #[cold]
    fn stopped(&self, verdict: Verdict) -> Stopped {
        Stopped { verdict, name: self.name.clone() }
    }
}

/// A filter has stopped an event: what it has answered, other than to pass it on.
pub(super) struct Stopped {
    pub(super) verdict: Verdict,
    pub(super) name: Name,
}

pub(super) struct Chain<C: Codec> {
    links: Vec<Link<C>>,
}

impl<C: Codec> Chain<C> {
    /// An empty chain with room for so many filters.
    pub(super) fn with_capacity(filters: usize) -> Self {
        Self { links: Vec::with_capacity(filters) }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    #[inline]
    pub(super) fn links(&mut self) -> &mut [Link<C>] {
        &mut self.links
    }

    pub(super) fn push(&mut self, serial: u32, name: Name, filter: Box<dyn MessageFilter<C>>) {
        self.links.push(Link::new(serial, name, filter));
    }

    pub(super) fn find(&mut self, name: &str) -> Option<&mut dyn MessageFilter<C>> {
        let link = self.links.iter_mut().find(|link| link.name == name)?;
        Some(&mut *link.filter)
    }

    /// Makes changes. Answers the serials of filters that have come in, and those that are out: as they are of the user's types, dropping
    /// them may panic.
    pub(super) fn apply(
        &mut self,
        edits: Vec<Edit<dyn MessageFilter<C>>>,
        next_serial: &mut u32,
    ) -> (Vec<u32>, Vec<Link<C>>) {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        let mut link = |name, filter| {
            let serial = *next_serial;
            *next_serial += 1;
            added.push(serial);
            Link::new(serial, name, filter)
        };
        for edit in edits {
            match edit {
                Edit::Insert(place, name, filter) => self.links.insert(place, link(name, filter)),
                Edit::Replace(place, name, filter) => {
                    removed.push(std::mem::replace(&mut self.links[place], link(name, filter)));
                }
                Edit::Remove(place) => removed.push(self.links.remove(place)),
            }
        }
        (added, removed)
    }

    /// Lets an event go from head to tail, until a filter stops it.
    #[inline]
    pub(super) fn inwards(
        &mut self,
        view: &mut SessionView<'_, C>,
        mut event: impl FnMut(&mut dyn MessageFilter<C>, &mut FilterContext<'_, C>) -> Verdict,
    ) -> Result<(), Stopped> {
        for place in 0..self.links.len() {
            self.visit(place, view, &mut event)?;
        }
        Ok(())
    }

    /// Lets a message go from head to tail, past those who have no use for it, until a filter stops it.
    #[inline]
    pub(super) fn message_inwards(
        &mut self,
        view: &mut SessionView<'_, C>,
        message: &mut C::In<'_>,
    ) -> Result<(), Stopped> {
        for place in 0..self.links.len() {
            if self.links[place].wants_messages {
                self.visit(place, view, &mut |filter, cx| filter.on_message(cx, message))?;
            }
        }
        Ok(())
    }

    /// Lets an event go from tail to head.
    pub(super) fn outwards(
        &mut self,
        view: &mut SessionView<'_, C>,
        mut event: impl FnMut(&mut dyn MessageFilter<C>, &mut FilterContext<'_, C>),
    ) {
        for place in (0..self.links.len()).rev() {
            let _ = self.visit(place, view, &mut |filter, cx| {
                event(filter, cx);
                Verdict::Pass
            });
        }
    }

    /// Tells one filter of an event, if it is still there.
    pub(super) fn tell(
        &mut self,
        serial: u32,
        view: &mut SessionView<'_, C>,
        mut event: impl FnMut(&mut dyn MessageFilter<C>, &mut FilterContext<'_, C>) -> Verdict,
    ) -> Result<(), Stopped> {
        match self.links.iter().position(|link| link.serial == serial) {
            Some(place) => self.visit(place, view, &mut event),
            None => Ok(()),
        }
    }

    /// Whether there is a filter of this number.
    pub(super) fn contains(&self, serial: u32) -> bool {
        self.links.iter().any(|link| link.serial == serial)
    }

    /// How many filters there are.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Tells the filter at `place` of an event.
    #[inline]
    pub(super) fn visit(
        &mut self,
        place: usize,
        view: &mut SessionView<'_, C>,
        event: &mut impl FnMut(&mut dyn MessageFilter<C>, &mut FilterContext<'_, C>) -> Verdict,
    ) -> Result<(), Stopped> {
        let (outer, rest) = self.links.split_at_mut(place);
        let Some(link) = rest.first_mut() else { return Ok(()) };
        let mut context = FilterContext::new(view.reborrow_for(link.serial), outer);
        match event(&mut *link.filter, &mut context).stopping() {
            None => Ok(()),
            Some(verdict) => Err(link.stopped(verdict)),
        }
    }
}

/// Writes a message through filters, from the last of them to the first, and encodes it.
#[inline]
pub(super) fn write<C: Codec>(
    links: &mut [Link<C>],
    view: &mut SessionView<'_, C>,
    mut message: C::Out<'_>,
) -> Result<WriteId, WriteError> {
    if !view.body.core.accepts_writes() {
        return Err(WriteError::Closed);
    }
    outwards(links, view, |filter, cx| filter.on_write(cx, &mut message))?;
    view.encode(message)
}

/// Writes an encoded message through filters.
pub(super) fn write_encoded<C: Codec>(
    links: &mut [Link<C>],
    view: &mut SessionView<'_, C>,
    encoded: &bytes::Bytes,
) -> Result<WriteId, WriteError> {
    if !view.body.core.accepts_writes() {
        return Err(WriteError::Closed);
    }
    outwards(links, view, |filter, cx| filter.on_write_encoded(cx, encoded))?;
    view.send_encoded(encoded)
}

#[inline]
fn outwards<C: Codec>(
    mut links: &mut [Link<C>],
    view: &mut SessionView<'_, C>,
    mut event: impl FnMut(&mut dyn MessageFilter<C>, &mut FilterContext<'_, C>) -> Verdict,
) -> Result<(), WriteError> {
    while let Some((link, outer)) = std::mem::take(&mut links).split_last_mut() {
        if link.wants_writes {
            let mut context = FilterContext::new(view.reborrow_for(link.serial), outer);
            if let Some(verdict) = event(&mut *link.filter, &mut context).stopping() {
                return Err(refuse(verdict, link, view));
            }
        }
        links = outer;
    }
    Ok(())
}

#[cold]
fn refuse<C: Codec>(verdict: Verdict, link: &Link<C>, view: &mut SessionView<'_, C>) -> WriteError {
    match verdict {
        Verdict::Close(reason) => {
            view.close_because(reason);
            WriteError::Closed
        }
        Verdict::Fail(error) => WriteError::Filter { name: link.name.clone(), error },
        Verdict::Pass | Verdict::Drop => WriteError::Dropped { filter: link.name.clone() },
    }
}
