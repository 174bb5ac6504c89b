//! Signals as callbacks of a loop. Feature `signal`.

use std::any::Any;
use std::io;

use mio::Interest;
use rustix::process::Signal;
use signal_hook_mio::v1_0::Signals;

use super::channel::Ready;
use super::source::Source;
use super::{ChannelId, LoopContext};
use crate::buffer::Buffer;

/// Terminal interrupt: Ctrl-C.
pub const SIGINT: i32 = Signal::INT.as_raw();
/// Hang-up of the terminal, by custom a request to read the configuration again.
pub const SIGHUP: i32 = Signal::HUP.as_raw();
/// A user's signal.
pub const SIGUSR1: i32 = Signal::USR1.as_raw();
/// Another user's signal.
pub const SIGUSR2: i32 = Signal::USR2.as_raw();
/// Request to end.
pub const SIGTERM: i32 = Signal::TERM.as_raw();

impl LoopContext {
    /// Calls `callback` on this loop with the number of each of these signals that the process gets; several of a kind that come
    /// close together count as one. From now on the signals don't do what they otherwise would, not even after the channel that is
    /// returned has been closed or the loop has ended: they do nothing then.
    ///
    /// ```
    /// use campana::reactor::signal::{SIGINT, SIGTERM};
    ///
    /// let mut event_loop = campana::EventLoop::new()?;
    /// event_loop.context().on_signals(&[SIGINT, SIGTERM], |cx, signal| {
    ///     println!("signal {signal}: ending");
    ///     cx.quit();
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a signal that can't be caught; what the system says to two descriptors more.
    pub fn on_signals(
        &mut self,
        signals: &[i32],
        callback: impl FnMut(&mut Self, i32) + 'static,
    ) -> io::Result<ChannelId> {
        // Two can't be caught; the others report faults of the program itself, after which no callback can run.
        let forbidden =
            [Signal::KILL, Signal::STOP, Signal::ILL, Signal::FPE, Signal::SEGV].map(Signal::as_raw);
        if let Some(signal) = signals.iter().find(|signal| forbidden.contains(signal)) {
            let text = format!("signal {signal} can't be handled by a callback");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut signals = Signals::new(signals)?;
        let mut registered = Err(io::ErrorKind::Other.into());
        let source = self.add_source(|context, own| {
            registered = context.add_mio_channel(own.index, &mut signals);
            SignalSource { signals, callback }
        });
        registered.inspect_err(|_| self.remove_source(source.index))
    }

    fn add_mio_channel(
        &mut self,
        source: u32,
        device: &mut impl mio::event::Source,
    ) -> io::Result<ChannelId> {
        let id = self.add_own_channel(source, 0);
        let registered = self.poll.registry().register(device, id.token(), Interest::READABLE);
        registered.map(|()| id).inspect_err(|_| {
            self.channels.remove(id);
        })
    }
}

struct SignalSource<F> {
    signals: Signals,
    callback: F,
}

impl<F: FnMut(&mut LoopContext, i32) + 'static> Source for SignalSource<F> {
    fn on_ready(
        &mut self,
        context: &mut LoopContext,
        _scratch: &mut Buffer,
        channel: ChannelId,
        _ready: Ready,
    ) -> bool {
        for signal in self.signals.pending() {
            (self.callback)(context, signal);
        }
        context.channels.clear_readable(channel);
        false
    }

    fn on_panic(&mut self, context: &mut LoopContext, own: u32) {
        context.remove_source(own);
    }

    fn handler(&mut self) -> &mut dyn Any {
        &mut self.callback
    }
}
