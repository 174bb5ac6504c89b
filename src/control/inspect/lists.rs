//! Lists that are made one after the other, some at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::reactor::{LoopContext, LoopHandle};

/// How many lists are made at a time. Each takes a part of every loop's turns, and memory for what it has found so far.
const AT_A_TIME: usize = 16;

/// The lists that are being made, and those that wait for their turn.
#[derive(Clone, Default)]
pub(super) struct Lists(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    begun: usize,
    waiting: VecDeque<Waiting>,
}

/// A list that is to be begun on a loop.
struct Waiting {
    event_loop: LoopHandle,
    begin: Begin,
}

type Begin = Box<dyn FnOnce(&mut LoopContext, List) + Send>;

/// A list that is being made, until this is dropped.
pub(super) struct List(Lists);

impl Lists {
    /// Begins a list: now, or when those before it have been made. It is dropped if its loop has ended by then.
    pub(super) fn begin(
        &self,
        context: &mut LoopContext,
        begin: impl FnOnce(&mut LoopContext, List) + Send + 'static,
    ) {
        let mut state = self.lock();
        if state.begun < AT_A_TIME {
            state.begun += 1;
            drop(state);
            begin(context, List(self.clone()));
        } else {
            let event_loop = context.handle().clone();
            state.waiting.push_back(Waiting { event_loop, begin: Box::new(begin) });
        }
    }

    /// The next one that there is still a loop for; without one there is room for one more.
    fn next(&self) -> Option<Waiting> {
        loop {
            let mut state = self.lock();
            let Some(next) = state.waiting.pop_front() else {
                state.begun -= 1;
                return None;
            };
            drop(state);
            if next.event_loop.is_alive() {
                return Some(next);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for List {
    fn drop(&mut self) {
        if let Some(Waiting { event_loop, begin }) = self.0.next() {
            let list = List(self.0.clone());
            // If it is refused, what is dropped with it goes on with the next one.
            let _ = event_loop.post(move |context| begin(context, list));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::EventLoop;

    /// Asks for so many lists, which note their numbers and put themselves by.
    fn ask(event_loop: &mut EventLoop, lists: &Lists, numbers: std::ops::Range<usize>) -> Made {
        let made = Made::default();
        for number in numbers {
            let made = Arc::clone(&made);
            lists.begin(event_loop.context(), move |_, list| made.lock().unwrap().push((number, list)));
        }
        made
    }

    type Made = Arc<Mutex<Vec<(usize, List)>>>;

    fn numbers(made: &Made) -> Vec<usize> {
        made.lock().unwrap().iter().map(|(number, _)| *number).collect()
    }

    fn turn(event_loop: &mut EventLoop) {
        event_loop.turn(Some(Duration::ZERO)).unwrap();
    }

    #[test]
    fn one_more_than_may_be_waits_for_the_end_of_another() {
        let (mut event_loop, lists) = (EventLoop::new().unwrap(), Lists::default());
        let made = ask(&mut event_loop, &lists, 0..AT_A_TIME + 2);
        turn(&mut event_loop);
        assert_eq!(numbers(&made), (0..AT_A_TIME).collect::<Vec<_>>());
        let ended = made.lock().unwrap().remove(3);
        drop(ended);
        turn(&mut event_loop);
        assert_eq!(numbers(&made).last(), Some(&AT_A_TIME));
        assert_eq!(lists.lock().waiting.len(), 1);
        let ended = std::mem::take(&mut *made.lock().unwrap());
        drop(ended);
        turn(&mut event_loop);
        assert_eq!(numbers(&made), [AT_A_TIME + 1]);
        made.lock().unwrap().clear();
        assert_eq!(lists.lock().begun, 0);
    }

    #[test]
    fn those_whose_loop_has_ended_keep_nobody_waiting() {
        let (mut event_loop, mut other) = (EventLoop::new().unwrap(), EventLoop::new().unwrap());
        let lists = Lists::default();
        let made = ask(&mut event_loop, &lists, 0..AT_A_TIME);
        let of_ended = ask(&mut other, &lists, 0..10_000);
        let behind = ask(&mut event_loop, &lists, 0..1);
        drop(other);
        let ended = made.lock().unwrap().remove(0);
        drop(ended);
        turn(&mut event_loop);
        assert_eq!((numbers(&of_ended), numbers(&behind)), (vec![], vec![0]));
    }

    #[test]
    fn one_that_is_lost_with_its_loop_makes_room() {
        let (mut event_loop, mut other) = (EventLoop::new().unwrap(), EventLoop::new().unwrap());
        let lists = Lists::default();
        let made = ask(&mut event_loop, &lists, 0..AT_A_TIME);
        let of_ended = ask(&mut other, &lists, 0..1);
        let behind = ask(&mut event_loop, &lists, 0..1);
        let ended = made.lock().unwrap().remove(0);
        drop(ended);
        // It has been posted, and is dropped unrun.
        drop(other);
        turn(&mut event_loop);
        assert_eq!((numbers(&of_ended), numbers(&behind)), (vec![], vec![0]));
    }
}
