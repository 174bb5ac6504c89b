//! What several loops answer, put together once the last of them has.

use std::sync::{Arc, Mutex, PoisonError};

use crate::reactor::{caught, discard};

/// Waits for the parts of an answer: each [share](Self::share) that was given out gives its part back when it is dropped, however
/// that comes. A task that is lost with its loop drops its share too, so that nobody waits for ever.
pub(super) struct Gather<P> {
    inner: Arc<Inner<P>>,
}

/// One part of an answer on its way.
pub(super) struct Share<P> {
    part: Option<P>,
    inner: Arc<Inner<P>>,
}

/// Dropped by whoever is last.
struct Inner<P>(Mutex<State<P>>);

struct State<P> {
    parts: Vec<P>,
    then: Option<Then<P>>,
}

type Then<P> = Box<dyn FnOnce(Vec<P>) + Send>;

impl<P: Send + 'static> Gather<P> {
    /// Has `then` called with all parts, in any order, by the thread that drops the last share, or this if there are none.
    pub(super) fn new(then: impl FnOnce(Vec<P>) + Send + 'static) -> Self {
        let state = State { parts: Vec::new(), then: Some(Box::new(then) as Then<P>) };
        Self { inner: Arc::new(Inner(Mutex::new(state))) }
    }

    /// Gives out a share: a part to begin with.
    pub(super) fn share(&self, part: P) -> Share<P> {
        Share { part: Some(part), inner: Arc::clone(&self.inner) }
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
}

impl<P> Drop for Share<P> {
    fn drop(&mut self) {
        let part = self.part.take();
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner).parts.extend(part);
    }
}

impl<P> Drop for Inner<P> {
    fn drop(&mut self) {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let parts = std::mem::take(&mut state.parts);
        if let Some(then) = state.then.take() {
            // It may be a panic by which the last share is dropped, and a second one would be the end of the process.
            if let Err(payload) = caught(|| then(parts)) {
                discard(payload);
                log::error!("what loops have answered to an inspection could not be put together");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, TryRecvError, channel};

    use super::*;

    fn gather() -> (Gather<u32>, Receiver<Vec<u32>>) {
        let (sender, receiver) = channel();
        let gather = Gather::new(move |mut parts: Vec<u32>| {
            parts.sort_unstable();
            sender.send(parts).unwrap();
        });
        (gather, receiver)
    }

    #[test]
    fn the_last_part_completes_the_answer() {
        let (gather, answers) = gather();
        let mut shares: Vec<_> = (0..3).map(|part| gather.share(part)).collect();
        drop(gather);
        *shares[1].part() += 10;
        shares.pop();
        shares.pop();
        assert_eq!(answers.try_recv(), Err(TryRecvError::Empty));
        shares.pop();
        assert_eq!(answers.try_recv().unwrap(), [0, 2, 11]);
    }

    #[test]
    fn nobody_to_wait_for_is_an_answer() {
        let (gather, answers) = gather();
        drop(gather);
        assert!(answers.try_recv().unwrap().is_empty());
    }

    #[test]
    fn a_part_whose_thread_panics_counts_as_far_as_it_has_come() {
        let (gather, answers) = gather();
        let mut share = gather.share(0);
        drop(gather);
        let ended = std::thread::spawn(move || {
            *share.part() = 7;
            panic!("on purpose");
        });
        assert!(ended.join().is_err());
        assert_eq!(answers.recv().unwrap(), [7]);
    }
}
