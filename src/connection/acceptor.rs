//! Accepting connections, and not ceasing to.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;

use super::admission::{Admission, Gate};
use crate::reactor::{ChannelId, Flags, LoopContext, RateLimit, TimerId};
use crate::socket::{Listener, Socket};

/// How many connections are accepted before the loop's other work has its turn.
const ACCEPTS_PER_TURN: usize = 64;
/// When accepting is tried again after the system had run out of something. An edge-triggered listener gets no second event
/// for those who wait, not even when descriptors have come free.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Set in the keys of channels and timers that are a listener's rather than a connection's.
pub(crate) const LISTENER: u32 = 1 << 31;

/// One listening socket in one loop.
pub(crate) struct Acceptor {
    listener: Listener,
    channel: ChannelId,
    source: u32,
    key: u32,
    /// Given up to accept one connection more when descriptors have run out, so that it can be refused at least.
    reserve: Option<OwnedFd>,
    exhausted_since: Option<u64>,
    log_limit: RateLimit,
    retry: Option<TimerId>,
}

impl Acceptor {
    /// Starts to accept on `listener`, for a source which calls it `key`.
    pub(crate) fn new(
        context: &mut LoopContext,
        source: u32,
        number: usize,
        listener: Listener,
    ) -> io::Result<Self> {
        let key = LISTENER | number as u32;
        let channel = context.add_channel(source, key, listener.as_raw_fd())?;
        let reserve = open_reserve();
        Ok(Self {
            listener,
            channel,
            source,
            key,
            reserve,
            exhausted_since: None,
            log_limit: RateLimit::default(),
            retry: None,
        })
    }

    /// Accepts those who wait, up to a bound, and gives those who are admitted to `sink`.
    pub(crate) fn accept(
        &mut self,
        context: &mut LoopContext,
        gate: &Gate,
        mut sink: impl FnMut(&mut LoopContext, Socket, Admission),
    ) {
        let mut some_accepted = false;
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((socket, peer)) => {
                    some_accepted = true;
                    self.recover();
                    // What isn't admitted is closed here.
                    if let Some(admission) = gate.admit(peer) {
                        sink(context, socket, admission);
                    }
                }
                Err(error) => match self.take_error(context, gate, &error) {
                    Next::GoOn => {}
                    Next::Wait => return,
                },
            }
        }
        if !some_accepted {
            // So many in a row aren't connections that failed on their way: a policy forbids accepting, for one.
            self.retry_later(context);
        }
    }

    /// Accepts all who wait, before listening is [stopped](Self::close).
    pub(crate) fn drain(
        &mut self,
        context: &mut LoopContext,
        gate: &Gate,
        mut sink: impl FnMut(&mut LoopContext, Socket, Admission),
    ) {
        // Closing a listener resets those who wait. Its backlog bounds them; new ones may come as fast as they are taken.
        for _ in 0..64 {
            context.channel_set(self.channel, Flags::READABLE, true);
            self.accept(context, gate, &mut sink);
            if !context.channel_has(self.channel, Flags::READABLE) {
                break;
            }
        }
    }

    /// A second descriptor of the listening socket.
    pub(crate) fn duplicate(&self) -> io::Result<Listener> {
        self.listener.try_clone()
    }

    /// Stops listening, and leaves those who wait, and a Unix socket's path, to whoever else has the socket.
    pub(crate) fn leave(mut self, context: &mut LoopContext) {
        self.listener.keep_path();
        self.close(context);
    }

    /// Stops listening.
    pub(crate) fn close(self, context: &mut LoopContext) {
        if let Some(retry) = self.retry {
            context.cancel(retry);
        }
        context.remove_channel(self.channel);
    }

    pub(crate) fn set_paused(&mut self, context: &mut LoopContext, paused: bool) {
        context.channel_set(self.channel, Flags::READING, !paused);
    }

    /// The retry timer is due.
    pub(crate) fn retry(&mut self, context: &mut LoopContext) {
        self.retry = None;
        context.channel_set(self.channel, Flags::READABLE, true);
    }

    fn take_error(&mut self, context: &mut LoopContext, gate: &Gate, error: &io::Error) -> Next {
        let errno = Errno::from_io_error(error);
        match errno {
            Some(Errno::WOULDBLOCK) => {
                self.recover();
                context.channel_set(self.channel, Flags::READABLE, false);
                return Next::Wait;
            }
            // One connection has failed on its way: accept(2) reports its network errors too.
            Some(
                Errno::CONNABORTED
                | Errno::INTR
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH,
            ) => {
                gate.count_error();
                return Next::GoOn;
            }
            _ => {}
        }
        gate.count_error();
        let now = context.clock().nanos();
        let since = *self.exhausted_since.get_or_insert(now);
        if self.log_limit.allows(now) {
            log::error!("accepting fails, and is tried again: {error}");
        }
        let descriptors = matches!(errno, Some(Errno::MFILE | Errno::NFILE));
        if descriptors && u128::from(now.saturating_sub(since)) >= gate.shed_after().as_nanos() {
            self.shed(gate);
        }
        self.retry_later(context);
        Next::Wait
    }

    /// Accepting works again. The next exhaustion is a new one, whose peers are left waiting for a while as well.
    fn recover(&mut self) {
        if self.exhausted_since.take().is_some() && self.reserve.is_none() {
            self.reserve = open_reserve();
        }
    }

    fn retry_later(&mut self, context: &mut LoopContext) {
        context.channel_set(self.channel, Flags::READABLE, false);
        if self.retry.is_none() {
            let at = context.clock().after(RETRY_AFTER);
            self.retry = Some(context.set_source_timer(self.source, self.key, at));
        }
    }

    /// Refuses those who wait, rather than to leave them in the dark.
    fn shed(&mut self, gate: &Gate) {
        for _ in 0..ACCEPTS_PER_TURN {
            self.reserve = None;
            let accepted = self.listener.accept();
            let refused = accepted.is_ok();
            drop(accepted);
            self.reserve = open_reserve();
            if refused {
                gate.count_shed();
            }
            if !refused || self.reserve.is_none() {
                return;
            }
        }
    }
}

enum Next {
    GoOn,
    Wait,
}

fn open_reserve() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").map(OwnedFd::from).ok()
}

#[cfg(test)]
mod tests;
