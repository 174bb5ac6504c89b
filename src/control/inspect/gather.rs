//! What several loops answer, put together once the last of them has.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::reactor::{caught, discard};

/// Waits for the parts of an answer: each [share](Self::share) that was given out gives its part back when it is dropped, however
/// that comes. A task that is lost with its loop drops its share too, so that nobody waits for it for ever.
pub(super) struct Gather<P> {
    inner: Arc<Inner<P>>,
}

/// One part of an answer on its way.
pub(super) struct Share<P> {
    number: usize,
    part: Option<P>,
    inner: Arc<Inner<P>>,
}

/// Ends the wait for those who have not answered: loops that are held up by something.
pub(super) struct GiveUp<P> {
    inner: Weak<Inner<P>>,
}

/// Dropped by whoever is last.
struct Inner<P>(Mutex<State<P>>);

struct State<P> {
    parts: Vec<P>,
    /// Who has not answered yet.
    waits_for: Vec<(usize, Arc<str>)>,
    shares: usize,
    then: Option<Then<P>>,
}

type Then<P> = Box<dyn FnOnce(Vec<P>, Vec<Arc<str>>) + Send>;

impl<P: Send + 'static> Gather<P> {
    /// Has `then` called with all parts, in any order, by the thread that drops the last share, or this if there are none; and with
    /// the names of those that were [not waited for](GiveUp).
    pub(super) fn new(then: impl FnOnce(Vec<P>, Vec<Arc<str>>) + Send + 'static) -> Self {
        let then: Then<P> = Box::new(then);
        let state = State { parts: Vec::new(), waits_for: Vec::new(), shares: 0, then: Some(then) };
        Self { inner: Arc::new(Inner(Mutex::new(state))) }
    }

    /// Gives out a share: whose it is, and a part to begin with.
    pub(super) fn share(&self, name: &Arc<str>, part: P) -> Share<P> {
        let mut state = self.inner.lock();
        let number = state.shares;
        state.shares += 1;
        state.waits_for.push((number, Arc::clone(name)));
        Share { number, part: Some(part), inner: Arc::clone(&self.inner) }
    }

    pub(super) fn give_up(&self) -> GiveUp<P> {
        GiveUp { inner: Arc::downgrade(&self.inner) }
    }
}

impl<P> GiveUp<P> {
    /// Does nothing if all have answered.
    pub(super) fn now(self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.complete();
        }
    }
}

impl<P> Share<P> {
    /// The part, as far as it has come.
    pub(super) fn part(&mut self) -> &mut P {
        match &mut self.part {
            Some(part) => part,
            None => unreachable!("it is taken when the share is dropped"),
        }
    }

    /// Whether somebody still waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        self.inner.lock().then.is_some()
    }

    /// Gives the part back, and waits for no other.
    pub(super) fn decide(self) {
        let inner = Arc::clone(&self.inner);
        drop(self);
        inner.complete();
    }
}

impl<P> Drop for Share<P> {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.waits_for.retain(|(number, _)| *number != self.number);
        state.parts.extend(self.part.take());
    }
}

impl<P> Inner<P> {
    /// Hands over what there is, once.
    fn complete(&self) {
        let mut state = self.lock();
        let Some(then) = state.then.take() else { return };
        let parts = std::mem::take(&mut state.parts);
        let waited_for = std::mem::take(&mut state.waits_for);
        drop(state);
        let names = waited_for.into_iter().map(|(_, name)| name).collect();
        // It may be a panic by which the last share is dropped, and a second one would be the end of the process.
        if let Err(payload) = caught(|| then(parts, names)) {
            discard(payload);
            log::error!("what loops have answered to an inspection could not be put together");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Drop for Inner<P> {
    fn drop(&mut self) {
        self.complete();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, TryRecvError, channel};

    use super::*;

    type Answer = (Vec<u32>, Vec<Arc<str>>);

    fn gather() -> (Gather<u32>, Receiver<Answer>) {
        let (sender, receiver) = channel();
        let gather = Gather::new(move |mut parts: Vec<u32>, names| {
            parts.sort_unstable();
            sender.send((parts, names)).unwrap();
        });
        (gather, receiver)
    }

    fn share(gather: &Gather<u32>, part: u32) -> Share<u32> {
        gather.share(&part.to_string().into(), part)
    }

    #[test]
    fn the_last_part_completes_the_answer() {
        let (gather, answers) = gather();
        let mut shares: Vec<_> = (0..3).map(|part| share(&gather, part)).collect();
        drop(gather);
        *shares[1].part() += 10;
        shares.pop();
        shares.pop();
        assert_eq!(answers.try_recv(), Err(TryRecvError::Empty));
        shares.pop();
        assert_eq!(answers.try_recv().unwrap(), (vec![0, 2, 11], vec![]));
    }

    #[test]
    fn nobody_to_wait_for_is_an_answer() {
        let (gather, answers) = gather();
        drop(gather);
        assert_eq!(answers.try_recv().unwrap(), (vec![], vec![]));
    }

    #[test]
    fn a_part_whose_thread_panics_counts_as_far_as_it_has_come() {
        let (gather, answers) = gather();
        let mut share = share(&gather, 0);
        drop(gather);
        let ended = std::thread::spawn(move || {
            *share.part() = 7;
            panic!("on purpose");
        });
        assert!(ended.join().is_err());
        assert_eq!(answers.recv().unwrap(), (vec![7], vec![]));
    }

    #[test]
    fn those_who_are_not_waited_for_any_longer_are_named() {
        let (gather, answers) = gather();
        let shares: Vec<_> = (0..3).map(|part| share(&gather, part)).collect();
        let give_up = gather.give_up();
        drop(gather);
        let mut shares = shares.into_iter();
        shares.next();
        assert!(shares.as_slice()[0].is_wanted());
        give_up.now();
        assert!(!shares.as_slice()[0].is_wanted());
        assert_eq!(answers.try_recv().unwrap(), (vec![0], vec!["1".into(), "2".into()]));
        drop(shares);
        assert_eq!(answers.try_recv(), Err(TryRecvError::Disconnected), "it is answered once");
    }

    #[test]
    fn giving_up_when_all_have_answered_is_nothing() {
        let (gather, answers) = gather();
        let give_up = gather.give_up();
        drop(share(&gather, 4));
        drop(gather);
        assert_eq!(answers.try_recv().unwrap(), (vec![4], vec![]));
        give_up.now();
        assert_eq!(answers.try_recv(), Err(TryRecvError::Disconnected));
    }

    #[test]
    fn a_part_that_decides_keeps_nobody_waiting() {
        let (gather, answers) = gather();
        let (slow, fast) = (share(&gather, 1), share(&gather, 2));
        drop(gather);
        fast.decide();
        assert_eq!(answers.try_recv().unwrap(), (vec![2], vec!["1".into()]));
        drop(slow);
        assert_eq!(answers.try_recv(), Err(TryRecvError::Disconnected));
    }
}
