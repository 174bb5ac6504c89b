//! Event loops and what they drive: channels, timers, tasks, signals.
//!
//! One [`EventLoop`] a thread. A [`LoopContext`] is what a callback sees of its loop, a [`LoopHandle`] what the other threads
//! see. This layer knows descriptors and deadlines; connections and their buffers are the next one's,
//! [`connection`](crate::connection).

mod channel;
mod clock;
mod context;
mod dispatch;
mod event_loop;
mod figures;
mod handle;
mod inbox;
mod loop_config;
mod meter;
mod pool;
mod rate_limit;
#[cfg(feature = "signal")]
pub mod signal;
mod source;
mod task;
mod timer_task;
mod timers;
mod udp;

pub use channel::{Channel, ChannelId, EventSource};
pub use context::LoopContext;
pub use event_loop::EventLoop;
pub use figures::{LATENESS_BUCKETS, LatenessHistogram, LoopFigures};
pub use handle::{HandlerHandle, LoopGone, LoopHandle};
pub use loop_config::LoopConfig;
pub use pool::{LoopPool, PoolConfig, ThreadInit};
pub use timers::TimerId;
pub use udp::{Datagram, Datagrams, DatagramsIter, UdpChannel, UdpHandle, UdpOptions, UdpSocket, UdpStats};

pub(crate) use channel::{Channels, Flags, Ready};
pub(crate) use context::Parts;
pub(crate) use dispatch::{caught, discard};
pub(crate) use figures::Counter;
pub(crate) use rate_limit::RateLimit;
pub(crate) use source::{Source, SourceId};
