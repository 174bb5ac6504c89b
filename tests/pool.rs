//! Pools of loops: how they are made, chosen from and ended.
//!
//! Some of these tests count the threads of the process, so all of them run one after the other.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

#[path = "support/alone.rs"]
mod alone;
#[path = "support/reactor.rs"]
mod support;

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use alone::one_at_a_time;
use campana::reactor::{LoopPool, PoolConfig, ThreadInit};
use campana::{EventLoop, LoopContext};
use support::{OnDrop, PATIENCE, ask, run, spin, wait_until};

/// How many threads of pools there are: those whose names begin like this.
fn threads_called(prefix: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // One that ends at this moment has no name any more.
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

/// That no such thread is left. The system takes a moment to clear one away that has been joined.
#[track_caller]
fn assert_no_thread_called(prefix: &str) {
    wait_until("the threads to be gone", || threads_called(prefix) == 0);
}

fn config(threads: usize, name: &str) -> PoolConfig {
    let mut config = PoolConfig::default();
    config.threads = threads;
    config.name = name.to_owned();
    config
}

fn init(init: impl Fn(&mut LoopContext) + Send + Sync + 'static) -> Option<ThreadInit> {
    Some(Arc::new(init))
}

#[test]
fn threads_and_loops_are_called_by_name_and_number() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let pool = LoopPool::with_config(&base.handle(), config(3, "named")).unwrap();
    assert_eq!(pool.handles().len(), 3);
    assert_eq!(threads_called("named-"), 3);
    for (number, handle) in pool.handles().iter().enumerate() {
        let thread = ask(handle, |_| std::thread::current().name().map(str::to_owned));
        assert_eq!(thread.unwrap(), format!("named-{number}"));
        assert_eq!(handle.name(), format!("named-{number}"));
    }
    assert_eq!(LoopPool::new(&base.handle(), 1).unwrap().next().name(), "loop-0");
}

#[test]
fn init_runs_once_on_each_thread_before_anything_else() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let ran_on: Arc<Mutex<HashSet<String>>> = Arc::default();
    let runs_on = Arc::clone(&ran_on);
    let mut config = config(4, "inited");
    config.init = init(move |cx| {
        assert!(cx.handle().is_in_loop_thread());
        assert!(runs_on.lock().unwrap().insert(cx.handle().name().to_owned()));
        *cx.local::<u32>() += 1;
    });
    let pool = LoopPool::with_config(&base.handle(), config).unwrap();
    // It has run by now, on all of them.
    assert_eq!(ran_on.lock().unwrap().len(), 4);
    for handle in pool.handles() {
        assert_eq!(ask(handle, |cx| *cx.local::<u32>()), 1);
    }
}

#[test]
fn an_init_that_panics_is_an_error_and_leaves_no_thread() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let mut config = config(3, "failing");
    config.init = init(|cx| {
        if cx.handle().name().ends_with('2') {
            panic_any("on purpose");
        }
    });
    let error = LoopPool::with_config(&base.handle(), config).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Other);
    assert!(error.to_string().contains("init"), "{error}");
    assert_no_thread_called("failing-");
}

#[test]
fn threads_are_bound_to_the_processors_in_turn() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let ours = rustix::thread::sched_getaffinity(None).unwrap();
    let allowed: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| ours.is_set(*cpu)).collect();
    let mut pinned = config(3, "pinned");
    pinned.pin_to = allowed.iter().copied().take(2).collect();
    let pool = LoopPool::with_config(&base.handle(), pinned.clone()).unwrap();
    for (number, handle) in pool.handles().iter().enumerate() {
        let cpus = ask(handle, |_| rustix::thread::sched_getaffinity(None).unwrap());
        assert_eq!(cpus.count(), 1);
        assert!(cpus.is_set(pinned.pin_to[number % pinned.pin_to.len()]));
    }
    // The thread that makes the pool stays where it was.
    assert_eq!(rustix::thread::sched_getaffinity(None).unwrap(), ours);
}

#[test]
fn a_processor_that_does_not_exist_is_an_error_and_leaves_no_thread() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let first = (0..).find(|cpu| rustix::thread::sched_getaffinity(None).unwrap().is_set(*cpu)).unwrap();
    for missing in [rustix::thread::CpuSet::MAX_CPU - 1, rustix::thread::CpuSet::MAX_CPU, usize::MAX] {
        let mut config = config(2, "unpinned");
        config.pin_to = vec![first, missing];
        let error = LoopPool::with_config(&base.handle(), config).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert_no_thread_called("unpinned-");
    }
}

#[test]
fn next_goes_round() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let pool = LoopPool::with_config(&base.handle(), config(3, "round")).unwrap();
    let names: Vec<_> = (0..7).map(|_| pool.next().name().to_owned()).collect();
    assert_eq!(names[..3].iter().collect::<HashSet<_>>().len(), 3);
    assert_eq!((&names[..3], &names[0]), (&names[3..6], &names[6]));
}

#[test]
fn least_connections_goes_round_while_there_are_none() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let pool = LoopPool::with_config(&base.handle(), config(3, "least")).unwrap();
    let names: HashSet<_> = (0..3).map(|_| pool.least_connections().name().to_owned()).collect();
    assert_eq!(names.len(), 3);
}

#[test]
fn by_hash_keeps_a_key_where_it_is_and_uses_every_loop() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let pool = LoopPool::with_config(&base.handle(), config(4, "hash")).unwrap();
    let mut seen = HashSet::new();
    for key in 0..1000 {
        let name = pool.by_hash(&key).name().to_owned();
        assert_eq!(pool.by_hash(&key).name(), name);
        seen.insert(name);
    }
    assert_eq!(seen.len(), 4);
    assert_eq!(pool.by_hash("alice").name(), pool.by_hash("alice").name());
}

#[test]
fn without_threads_the_base_loop_does_it_all() {
    let _alone = one_at_a_time();
    let mut base = EventLoop::new().unwrap();
    let mut config = config(0, "none");
    config.init = init(|_| panic!("there is no thread to call it on"));
    let pool = LoopPool::with_config(&base.handle(), config).unwrap();
    for handle in [pool.next(), pool.least_connections(), pool.by_hash("key"), &pool.handles()[0]] {
        assert!(handle.is_same_loop(&base.handle()));
    }
    assert_no_thread_called("none-");
    drop(pool);
    // Dropping the pool ends its threads, of which there are none; the base loop lives.
    base.handle().post(|cx| cx.quit()).unwrap();
    run(&mut base);
    assert_eq!(base.handle().figures().tasks, 1);
}

#[test]
fn a_pool_dropped_at_once_joins_all_its_threads_200_times() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let ended = Arc::new(AtomicUsize::new(0));
    for round in 1..=200 {
        let mut config = config(4, "brief");
        let ends = Arc::clone(&ended);
        config.init = init(move |_| {
            // Dropped when the thread has nothing else left to do.
            let ends = Arc::clone(&ends);
            LAST_THING.set(Some(CountsAtEnd(ends)));
        });
        drop(LoopPool::with_config(&base.handle(), config).unwrap());
        assert_eq!(ended.load(Ordering::SeqCst), 4 * round);
    }
    assert_no_thread_called("brief-");
    // Tests that wait for their turn have opened nothing yet, save for what starting them took.
    assert!(descriptors() < before + 50, "{before} descriptors before, {} after", descriptors());
}

struct CountsAtEnd(Arc<AtomicUsize>);

impl Drop for CountsAtEnd {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

thread_local! {
    static LAST_THING: Cell<Option<CountsAtEnd>> = const { Cell::new(None) };
}

#[test]
fn stopping_drops_what_waits_and_later_posts_are_errors() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let mut pool = LoopPool::with_config(&base.handle(), config(2, "stopping")).unwrap();
    let kept = Arc::new(());
    for handle in pool.handles() {
        let timer = Arc::clone(&kept);
        ask(handle, move |cx| {
            cx.run_after(PATIENCE, move |_| drop(timer));
        });
    }
    assert_eq!(Arc::strong_count(&kept), 3);
    let handles = pool.handles().to_vec();
    pool.stop();
    pool.stop();
    assert_eq!(Arc::strong_count(&kept), 1);
    assert_no_thread_called("stopping-");
    for handle in handles {
        assert!(!handle.is_alive());
        assert!(handle.post(|_| {}).is_err());
    }
}

#[test]
fn busy_loops_end_too() {
    fn for_ever(cx: &mut LoopContext) {
        cx.run_later(for_ever);
    }
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let pool = LoopPool::with_config(&base.handle(), config(2, "busy")).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    for handle in pool.handles() {
        handle.post(for_ever).unwrap();
        let count = Arc::clone(&calls);
        handle
            .post(move |cx| {
                cx.run_every(Duration::ZERO, move |_| {
                    count.fetch_add(1, Ordering::Relaxed);
                    spin(Duration::from_micros(100));
                });
            })
            .unwrap();
    }
    wait_until("both to be busy", || calls.load(Ordering::Relaxed) > 20);
    drop(pool);
    assert_no_thread_called("busy-");
}

#[test]
fn a_pool_stopped_from_one_of_its_own_threads_ends_all_the_same() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let pool = LoopPool::with_config(&base.handle(), config(3, "inside")).unwrap();
    let handles = pool.handles().to_vec();
    let (done, dones) = mpsc::channel();
    let inside = pool.next().clone();
    let watched = handles.clone();
    inside
        .post(move |_| {
            drop(pool);
            done.send(watched.iter().filter(|handle| handle.is_alive()).count()).unwrap();
        })
        .unwrap();
    // The others have been joined; this one can't wait for itself.
    assert_eq!(dones.recv_timeout(PATIENCE).unwrap(), 1);
    wait_until("the last loop to end", || handles.iter().all(|handle| !handle.is_alive()));
    assert_no_thread_called("inside-");
}

#[test]
fn a_thread_whose_destructors_panic_is_joined_all_the_same() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let pool = LoopPool::with_config(&base.handle(), config(2, "bombs")).unwrap();
    let handles = pool.handles().to_vec();
    for handle in &handles {
        ask(handle, |cx| {
            let bomb = OnDrop(|| panic!("on purpose, in a destructor"));
            cx.run_after(PATIENCE, move |_| drop(bomb));
        });
    }
    drop(pool);
    assert_no_thread_called("bombs-");
    assert!(handles.iter().all(|handle| handle.figures().panics == 1));
}

#[test]
fn loops_post_to_each_other() {
    let _alone = one_at_a_time();
    let mut base = EventLoop::new().unwrap();
    let pool = LoopPool::with_config(&base.handle(), config(3, "ring")).unwrap();
    let ring = pool.handles().to_vec();
    let home = base.handle();
    /// Sends itself on, so many times, and then home.
    fn go(ring: Vec<campana::LoopHandle>, home: campana::LoopHandle, left: usize) {
        let next = ring[left % ring.len()].clone();
        let posted = next.post(move |_| match left {
            0 => home.post(|cx| cx.quit()).unwrap(),
            left => go(ring, home, left - 1),
        });
        posted.unwrap();
    }
    go(ring, home, 3000);
    run(&mut base);
    let tasks: u64 = pool.handles().iter().map(|handle| handle.figures().tasks).sum();
    assert_eq!(tasks, 3001);
}
