//! A server's listeners: dealt out to its loops, and gathered from them again for a successor.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::Spread;
use crate::reactor::{LoopContext, LoopHandle};
use crate::socket::{Address, Listener};

/// Deals a server's listeners out: to the base loop, which hands over, and to each of the others.
///
/// None is left out, whatever their number: those who wait for one that nobody accepts from are never served.
pub(super) fn deal_out(
    listeners: Vec<Listener>,
    spread: Spread,
    loops: usize,
) -> io::Result<(Vec<Listener>, Vec<Vec<Listener>>)> {
    let mut of_base = Vec::new();
    let mut of_loops: Vec<Vec<Listener>> = (0..loops).map(|_| Vec::new()).collect();
    let mut turn = (0..loops).cycle();
    for (address, mut listeners) in by_address(listeners)? {
        if spread != Spread::ListenerPerLoop || address.is_unix() {
            of_base.extend(listeners);
            continue;
        }
        let missing = loops.saturating_sub(listeners.len());
        let siblings: io::Result<Vec<Listener>> = (0..missing).map(|_| listeners[0].share()).collect();
        match siblings {
            Err(error) if is_refused(&error) => {
                log::info!(
                    "{address} can't have a listener for each loop, its connections are handed over: {error}"
                );
                of_base.extend(listeners);
            }
            siblings => {
                listeners.extend(siblings?);
                for (listener, number) in listeners.into_iter().zip(turn.by_ref()) {
                    of_loops[number].push(listener);
                }
            }
        }
    }
    Ok((of_base, of_loops))
}

/// Siblings are together then, in the order in which the addresses first come.
fn by_address(listeners: Vec<Listener>) -> io::Result<Vec<(Address, Vec<Listener>)>> {
    let mut groups: Vec<(Address, Vec<Listener>)> = Vec::new();
    for listener in listeners {
        let address = listener.local_address()?;
        match groups.iter_mut().find(|(of_group, _)| *of_group == address) {
            Some((_, group)) => group.push(listener),
            None => groups.push((address, vec![listener])),
        }
    }
    Ok(groups)
}

/// Whether the system lets no other socket join a listener, as when another user bound it: a service manager, or this process
/// before it gave up its privileges.
fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

/// Collects duplicates of a server's listeners, and reports them to its base loop when no part of it is left: each loop's has
/// been answered by then, or has been dropped with the loop.
pub(super) struct Gathering {
    base: LoopHandle,
    state: Mutex<State>,
}

struct State {
    answers: Vec<(usize, io::Result<Vec<Listener>>)>,
    then: Option<Then>,
}

type Then = Box<dyn FnOnce(&mut LoopContext, io::Result<Vec<Listener>>) + Send>;

/// One loop's part in a gathering.
pub(super) struct Part {
    gathering: Arc<Gathering>,
    number: usize,
}

impl Gathering {
    pub(super) fn new(
        base: LoopHandle,
        then: impl FnOnce(&mut LoopContext, io::Result<Vec<Listener>>) + Send + 'static,
    ) -> Arc<Self> {
        let state = State { answers: Vec::new(), then: Some(Box::new(then)) };
        Arc::new(Self { base, state: Mutex::new(state) })
    }

    /// The part of the loop with this number, which says where its listeners are in the result.
    pub(super) fn part(self: &Arc<Self>, number: usize) -> Part {
        Part { gathering: Arc::clone(self), number }
    }
}

impl Part {
    pub(super) fn answer(self, listeners: io::Result<Vec<Listener>>) {
        let mut state = self.gathering.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answers.push((self.number, listeners));
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(then) = state.then.take() else { return };
        state.answers.sort_by_key(|(number, _)| *number);
        let mut listeners = Ok(Vec::new());
        for (_, answer) in state.answers.drain(..) {
            match (&mut listeners, answer) {
                (Ok(listeners), Ok(more)) => listeners.extend(more),
                (Ok(_), Err(error)) => listeners = Err(error),
                (Err(_), _) => {}
            }
        }
        let _ = self.base.post(move |context| then(context, listeners));
    }
}

#[cfg(test)]
mod tests;
