//! Several loops, a thread each.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};

use super::{EventLoop, LoopConfig, LoopContext, LoopHandle};

/// Threads with a loop each, and ways to choose among them. Without threads the base loop does it all.
///
/// Stopping or dropping it ends the loops and joins their threads, whatever they were doing; what runs on them then ends with
/// [`CloseReason::Stopping`](crate::CloseReason::Stopping).
///
/// ```
/// use campana::EventLoop;
/// use campana::reactor::LoopPool;
///
/// let event_loop = EventLoop::new()?;
/// let pool = LoopPool::new(&event_loop.handle(), 2)?;
/// pool.next().post(|cx| println!("on {}", cx.handle().name()))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LoopPool {
    base: LoopHandle,
    loops: Vec<LoopHandle>,
    threads: Vec<JoinHandle<()>>,
    turn: AtomicUsize,
}

/// How a pool is made.
#[derive(Clone)]
#[non_exhaustive]
pub struct PoolConfig {
    /// How many threads; none means that the base loop does it all. Default 0.
    pub threads: usize,
    /// What the threads are called, with a hyphen and their number behind it. Default `loop`.
    pub name: String,
    /// The processors that the threads are bound to, in turn. Default: none, the system chooses.
    pub pin_to: Vec<usize>,
    /// How each loop behaves; its name is the thread's.
    pub event_loop: LoopConfig,
    /// Called on each thread before its loop runs; if it panics the pool isn't made.
    pub init: Option<ThreadInit>,
}

/// What is called on each thread of a pool before its loop runs.
pub type ThreadInit = Arc<dyn Fn(&mut LoopContext) + Send + Sync>;

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            threads: 0,
            name: "loop".to_owned(),
            pin_to: Vec::new(),
            event_loop: LoopConfig::default(),
            init: None,
        }
    }
}

impl LoopPool {
    /// Starts so many threads.
    ///
    /// # Errors
    ///
    /// As for [`with_config`](Self::with_config).
    pub fn new(base: &LoopHandle, threads: usize) -> io::Result<Self> {
        Self::with_config(base, PoolConfig { threads, ..PoolConfig::default() })
    }

    /// Starts threads, and waits until their loops are there.
    ///
    /// # Errors
    ///
    /// What the system says to one more thread or loop, or to binding a thread to a processor; `Other` if an `init` panicked.
    /// Those that were started before are stopped again.
    pub fn with_config(base: &LoopHandle, config: PoolConfig) -> io::Result<Self> {
        let mut pool =
            Self { base: base.clone(), loops: Vec::new(), threads: Vec::new(), turn: AtomicUsize::new(0) };
        for number in 0..config.threads {
            let name = format!("{}-{number}", config.name);
            let cpu = (!config.pin_to.is_empty()).then(|| config.pin_to[number % config.pin_to.len()]);
            let loop_config = LoopConfig { name: Some(name.clone()), ..config.event_loop.clone() };
            let init = config.init.clone();
            // One for each thread, so that a thread that ends without a word isn't waited for.
            let (report, reports) = crossbeam_channel::bounded(1);
            let thread = Builder::new().name(name).spawn(move || {
                let mut event_loop = match start(cpu, loop_config) {
                    Ok(event_loop) => event_loop,
                    Err(error) => return drop(report.send(Err(error))),
                };
                let inited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    if let Some(init) = init {
                        init(event_loop.context());
                    }
                }));
                if inited.is_err() {
                    return drop(report.send(Err(io::Error::other("the thread's init panicked"))));
                }
                let _ = report.send(Ok(event_loop.handle()));
                drop(report);
                if let Err(error) = event_loop.run() {
                    log::error!("loop {}: the poller failed: {error}", event_loop.handle().name());
                }
            })?;
            pool.threads.push(thread);
            let started =
                reports.recv().unwrap_or_else(|_| Err(io::Error::other("a thread ended while it started")));
            pool.loops.push(started?);
        }
        Ok(pool)
    }

    /// The loops; the base loop if there are no threads.
    #[must_use]
    pub fn handles(&self) -> &[LoopHandle] {
        if self.loops.is_empty() { std::slice::from_ref(&self.base) } else { &self.loops }
    }

    /// One loop after the other, of those that have not ended. May be called from any thread.
    #[must_use]
    pub fn next(&self) -> &LoopHandle {
        self.alive_in_turn().next().unwrap_or(&self.base)
    }

    /// The loop with the fewest connections, counting those that are on their way to it; the next in turn among equals, and
    /// none that has ended. May be called from any thread.
    #[must_use]
    pub fn least_connections(&self) -> &LoopHandle {
        self.alive_in_turn()
            .min_by_key(|event_loop| event_loop.counters().connections.load(Ordering::Relaxed))
            .unwrap_or(&self.base)
    }

    /// Always the same loop for the same key. May be called from any thread.
    #[must_use]
    pub fn by_hash(&self, key: &(impl Hash + ?Sized)) -> &LoopHandle {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let loops = self.handles();
        &loops[(hasher.finish() % loops.len() as u64) as usize]
    }

    /// The loops from the next in turn on, without those that have ended: told to quit by a callback, say.
    fn alive_in_turn(&self) -> impl Iterator<Item = &LoopHandle> {
        let loops = self.handles();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..loops.len()).map(move |offset| &loops[first.wrapping_add(offset) % loops.len()]);
        in_turn.filter(|event_loop| event_loop.is_alive())
    }

    /// Ends the loops and joins their threads. From one of these threads, which can't wait for itself, that one is left to end
    /// by itself.
    pub fn stop(&mut self) {
        for event_loop in &self.loops {
            event_loop.quit();
        }
        for thread in self.threads.drain(..) {
            if thread.thread().id() == std::thread::current().id() {
                log::warn!("a pool was stopped from one of its own threads, which therefore is not joined");
            } else if thread.join().is_err() {
                log::error!("a thread of a pool has panicked");
            }
        }
    }
}

impl Drop for LoopPool {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for LoopPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopPool")
            .field("base", &self.base)
            .field("loops", &self.loops)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PoolConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolConfig")
            .field("threads", &self.threads)
            .field("name", &self.name)
            .field("pin_to", &self.pin_to)
            .field("event_loop", &self.event_loop)
            .finish_non_exhaustive()
    }
}

fn start(cpu: Option<usize>, config: LoopConfig) -> io::Result<EventLoop> {
    if let Some(cpu) = cpu {
        let mut set = rustix::thread::CpuSet::new();
        if cpu >= rustix::thread::CpuSet::MAX_CPU {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no processor {cpu}")));
        }
        set.set(cpu);
        rustix::thread::sched_setaffinity(None, &set)?;
    }
    EventLoop::with_config(config)
}
