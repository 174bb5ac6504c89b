//! The loop itself: quitting, posting, fairness, containment of panics, figures.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

#[path = "support/reactor.rs"]
mod support;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use campana::reactor::{Channel, LoopConfig, LoopGone, LoopPool};
use campana::{EventLoop, LoopContext, LoopHandle};
use support::{OnDrop, PATIENCE, ask, run, spin, thread_of, turn_until, wait_asleep};

/// A loop on a thread of its own.
fn loop_thread() -> (EventLoop, LoopPool, LoopHandle) {
    let base = EventLoop::new().unwrap();
    let pool = LoopPool::new(&base.handle(), 1).unwrap();
    let handle = pool.next().clone();
    (base, pool, handle)
}

fn with_busy_poll(time: Duration) -> EventLoop {
    let mut config = LoopConfig::default();
    config.busy_poll = time;
    EventLoop::with_config(config).unwrap()
}

#[test]
fn quit_before_run_makes_run_return_at_once_and_only_once() {
    let mut event_loop = EventLoop::new().unwrap();
    let ran = Rc::new(Cell::new(false));
    let runs = Rc::clone(&ran);
    event_loop.context().run_later(move |cx| {
        runs.set(true);
        cx.quit();
    });
    event_loop.handle().quit();
    event_loop.run().unwrap();
    assert!(!ran.get());
    assert_eq!(event_loop.handle().figures().turns, 0);
    run(&mut event_loop);
    assert!(ran.get());
}

#[test]
fn quit_from_a_callback_lets_the_turn_finish() {
    let mut event_loop = EventLoop::new().unwrap();
    let ran = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let runs = Rc::clone(&ran);
        event_loop.context().run_later(move |cx| {
            runs.set(runs.get() + 1);
            cx.quit();
        });
    }
    run(&mut event_loop);
    assert_eq!(ran.get(), 3);
    assert_eq!(event_loop.handle().figures().turns, 1);
}

#[test]
fn quit_from_another_thread_is_never_missed() {
    let mut event_loop = EventLoop::new().unwrap();
    for _ in 0..300 {
        let handle = event_loop.handle();
        let other = std::thread::spawn(move || handle.quit());
        run(&mut event_loop);
        other.join().unwrap();
    }
}

#[test]
fn tasks_of_each_thread_run_in_the_order_in_which_it_posted_them() {
    const TASKS: usize = 20_000;
    let mut event_loop = EventLoop::new().unwrap();
    let log: Arc<std::sync::Mutex<[Vec<usize>; 3]>> = Arc::default();
    let threads: Vec<_> = (0..3)
        .map(|thread| {
            let (handle, log) = (event_loop.handle(), Arc::clone(&log));
            std::thread::spawn(move || {
                for number in 0..TASKS {
                    let log = Arc::clone(&log);
                    handle.post(move |_| log.lock().unwrap()[thread].push(number)).unwrap();
                }
            })
        })
        .collect();
    let ran = || log.lock().unwrap().iter().map(Vec::len).sum::<usize>();
    turn_until(&mut event_loop, "all tasks", |_| ran() == 3 * TASKS);
    for thread in threads {
        thread.join().unwrap();
    }
    for numbers in &*log.lock().unwrap() {
        assert!(numbers.iter().copied().eq(0..TASKS));
    }
    assert_eq!(event_loop.handle().figures().tasks as usize, 3 * TASKS);
}

#[test]
fn a_post_from_the_loops_own_thread_runs_later_and_wakes_nobody() {
    let mut event_loop = EventLoop::new().unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let orders = Arc::clone(&order);
    event_loop
        .handle()
        .post(move |cx| {
            let inner = Arc::clone(&orders);
            let posted = cx.handle().post(move |cx| {
                inner.lock().unwrap().push("inner");
                cx.quit();
            });
            assert_eq!(posted, Ok(()));
            orders.lock().unwrap().push("outer");
        })
        .unwrap();
    run(&mut event_loop);
    assert_eq!(*order.lock().unwrap(), ["outer", "inner"]);
    assert_eq!(event_loop.handle().figures().wakeups, 0);
}

#[test]
fn posted_tasks_beyond_the_bound_of_a_turn_run_in_the_next_turns_before_later_ones() {
    let mut config = LoopConfig::default();
    config.tasks_per_turn = 4;
    let mut event_loop = EventLoop::with_config(config).unwrap();
    let (handle, order) = (event_loop.handle(), Rc::new(RefCell::new(Vec::new())));
    *event_loop.context().local::<Rc<RefCell<Vec<u32>>>>() = Rc::clone(&order);
    let post = |task: u32| {
        handle.post(move |cx| cx.local::<Rc<RefCell<Vec<u32>>>>().borrow_mut().push(task)).unwrap();
    };
    (0..10).for_each(post);
    let mut after_turn = Vec::new();
    let began = Instant::now();
    while order.borrow().len() < 12 {
        event_loop.turn(Some(PATIENCE)).unwrap();
        after_turn.push(order.borrow().len());
        if after_turn.len() == 2 {
            (10..12).for_each(post);
        }
    }
    assert_eq!(*order.borrow(), (0..12).collect::<Vec<_>>());
    assert_eq!(after_turn, [4, 8, 10, 12]);
    assert!(began.elapsed() < PATIENCE, "with tasks left nothing is waited for");
    let figures = handle.figures();
    assert_eq!((figures.tasks, figures.task_lateness.total(), figures.wakeups), (12, 12, 0));
}

#[test]
fn each_task_of_a_batch_counts_as_late_as_the_first() {
    let mut event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    handle.post(|_| {}).unwrap();
    spin(Duration::from_millis(5));
    handle.post(|_| {}).unwrap();
    event_loop.turn(None).unwrap();
    let counts = *handle.figures().task_lateness.counts();
    // 4.096 ms and more.
    assert_eq!((counts.iter().sum::<u64>(), counts[13..].iter().sum::<u64>()), (2, 2));
}

#[test]
fn each_post_to_a_sleeping_loop_wakes_it_once() {
    let (_base, _pool, handle) = loop_thread();
    let thread = thread_of(&handle);
    wait_asleep(thread);
    let before = handle.figures().wakeups;
    for _ in 0..100 {
        ask(&handle, |_| ());
        wait_asleep(thread);
    }
    assert_eq!(handle.figures().wakeups - before, 100);
}

#[test]
fn a_burst_to_a_busy_loop_wakes_it_never_and_to_a_sleeping_one_once() {
    let (_base, _pool, handle) = loop_thread();
    let thread = thread_of(&handle);
    wait_asleep(thread);
    let before = handle.figures();
    let (release, released) = mpsc::channel();
    // Wakes the loop, and holds it: whatever is posted from now on finds it awake.
    let (hold, held) = mpsc::channel();
    handle
        .post(move |_| {
            hold.send(()).unwrap();
            released.recv().unwrap();
        })
        .unwrap();
    held.recv_timeout(PATIENCE).unwrap();
    for _ in 0..1000 {
        handle.post(|_| {}).unwrap();
    }
    let (done, is_done) = mpsc::channel();
    handle.post(move |_| done.send(()).unwrap()).unwrap();
    release.send(()).unwrap();
    is_done.recv_timeout(PATIENCE).unwrap();
    wait_asleep(thread);
    let after = handle.figures();
    assert_eq!(after.tasks - before.tasks, 1002);
    assert_eq!(after.wakeups - before.wakeups, 1);
}

#[test]
fn posts_from_many_threads_to_a_loop_that_keeps_falling_asleep_are_never_missed() {
    let (_base, _pool, handle) = loop_thread();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let handle = handle.clone();
            std::thread::spawn(move || (0..500).for_each(|_| ask(&handle, |_| ())))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let figures = handle.figures();
    assert_eq!(figures.tasks, 2000);
    assert!(figures.wakeups <= 2000, "{figures:?}");
}

#[test]
fn a_post_to_a_loop_that_is_gone_is_an_error_and_drops_the_task() {
    let event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    assert!(handle.is_alive());
    drop(event_loop);
    assert!(!handle.is_alive());
    let kept = Arc::new(());
    let in_task = Arc::clone(&kept);
    assert_eq!(handle.post(move |_| drop(in_task)), Err(LoopGone));
    assert_eq!(Arc::strong_count(&kept), 1);
    // Of no effect, and no harm.
    handle.quit();
}

#[test]
fn what_could_not_run_is_dropped_with_the_loop() {
    let mut event_loop = EventLoop::new().unwrap();
    let kept = Arc::new(());
    let copies: [_; 5] = std::array::from_fn(|_| Arc::clone(&kept));
    let [posted, later, timer, repeating, source] = copies;
    event_loop.handle().post(move |_| drop(posted)).unwrap();
    let context = event_loop.context();
    context.run_later(move |_| drop(later));
    context.run_after(Duration::ZERO, move |_| drop(timer));
    context.run_every(Duration::from_millis(1), move |_| assert_eq!(*repeating, ()));
    context.local::<Vec<Arc<()>>>().push(Arc::clone(&kept));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    context.register(ours, move |_: &mut UnixStream, _: &mut Channel<'_>| assert_eq!(*source, ())).unwrap();
    assert_eq!(Arc::strong_count(&kept), 7);
    drop(event_loop);
    assert_eq!(Arc::strong_count(&kept), 1);
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "the descriptor is closed");
}

#[test]
fn a_task_dropped_by_a_dying_loop_may_post_and_quit() {
    let event_loop = EventLoop::new().unwrap();
    let (handle, result) = (event_loop.handle(), Arc::new(AtomicUsize::new(0)));
    let (posts, results) = (event_loop.handle(), Arc::clone(&result));
    let guard = OnDrop(move || {
        posts.quit();
        results.store(1 + usize::from(posts.post(|_| {}).is_ok()), Ordering::SeqCst);
    });
    handle.post(move |_| drop(guard)).unwrap();
    drop(event_loop);
    assert_eq!(result.load(Ordering::SeqCst), 1);
}

#[test]
fn what_posts_itself_for_ever_leaves_room_for_everything_else() {
    fn posted_again(cx: &mut LoopContext) {
        cx.handle().post(posted_again).unwrap();
    }
    fn later_again(cx: &mut LoopContext) {
        cx.run_later(later_again);
    }
    fn timer_again(cx: &mut LoopContext) {
        cx.run_after(Duration::ZERO, timer_again);
    }
    let mut event_loop = EventLoop::new().unwrap();
    let context = event_loop.context();
    posted_again(context);
    later_again(context);
    timer_again(context);
    context.run_every(Duration::ZERO, |_| {});
    let (mut fired, mut bytes) = (0, 0);
    let progress = Rc::new(RefCell::new((0, 0)));
    let (timer, input) = (Rc::clone(&progress), Rc::clone(&progress));
    context.run_every(Duration::from_millis(1), move |_| timer.borrow_mut().0 += 1);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    context
        .register(ours, move |ours: &mut UnixStream, channel: &mut Channel<'_>| {
            match ours.read(&mut [0; 16]) {
                Ok(n) => input.borrow_mut().1 += n,
                Err(_) => channel.clear_readable(),
            }
        })
        .unwrap();
    let turns = event_loop.handle().figures().turns;
    while fired < 5 || bytes < 5 {
        theirs.write_all(b"x").unwrap();
        turn_until(&mut event_loop, "a timer and input", |_| {
            let (timers, input) = *progress.borrow();
            timers > fired && input > bytes
        });
        (fired, bytes) = *progress.borrow();
    }
    let figures = event_loop.handle().figures();
    // Each of the three runs once a turn, not more.
    assert!(figures.tasks <= 2 * (figures.turns - turns), "{figures:?}");
}

#[test]
fn panics_are_contained_and_counted_wherever_they_come_from() {
    let mut event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    let bomb = || OnDrop(|| panic!("on purpose, in a destructor"));
    let mut expected = 0;
    let mut explode = |what: &str, plant: &mut dyn FnMut(&mut EventLoop)| {
        plant(&mut event_loop);
        expected += 1;
        turn_until(&mut event_loop, what, |event_loop| event_loop.handle().figures().panics >= expected);
        // And no more than that, nor anything that is left.
        event_loop.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(event_loop.handle().figures().panics, expected, "after {what}");
    };

    explode("a posted task", &mut |_| handle.post(|_| panic!("on purpose")).unwrap());
    explode("a local task", &mut |event_loop| event_loop.context().run_later(|_| panic!("on purpose")));
    explode("a timer", &mut |event_loop| {
        event_loop.context().run_after(Duration::ZERO, |_| panic!("on purpose"));
    });
    explode("a repeating timer, which ends by that", &mut |event_loop| {
        event_loop.context().run_every(Duration::ZERO, |_| panic!("on purpose"));
    });
    explode("what a task owns", &mut |event_loop| {
        let bomb = bomb();
        event_loop.context().run_later(move |_| drop(bomb));
    });
    explode("what a repeating timer owns that cancels itself", &mut |event_loop| {
        let (bomb, own) = (bomb(), Rc::new(Cell::new(None)));
        let id = Rc::clone(&own);
        own.set(Some(event_loop.context().run_every(Duration::ZERO, move |cx| {
            let _bomb = &bomb;
            assert!(id.get().is_some_and(|id| cx.cancel(id)));
        })));
    });
    explode("an event source", &mut |event_loop| {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let source = |_: &mut UnixStream, _: &mut Channel<'_>| panic!("on purpose");
        let channel = event_loop.context().register(ours, source).unwrap();
        assert!(event_loop.context().channel(channel).is_some());
    });
    explode("what an event source owns", &mut |event_loop| {
        let (bomb, (ours, _theirs)) = (bomb(), UnixStream::pair().unwrap());
        let source = move |_: &mut UnixStream, channel: &mut Channel<'_>| {
            let _bomb = &bomb;
            channel.close();
        };
        event_loop.context().register(ours, source).unwrap();
    });

    let ran = Rc::new(Cell::new(false));
    let runs = Rc::clone(&ran);
    event_loop.context().run_later(move |_| runs.set(true));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert!(ran.get());
}

#[test]
fn a_repeating_timer_that_panics_twice_over_is_contained() {
    let mut event_loop = EventLoop::new().unwrap();
    let bomb = OnDrop(|| panic!("on purpose, in a destructor"));
    event_loop.context().run_every(Duration::ZERO, move |_| {
        let _bomb = &bomb;
        panic!("on purpose");
    });
    turn_until(&mut event_loop, "both", |event_loop| event_loop.handle().figures().panics == 2);
}

#[test]
fn destructors_that_panic_do_not_keep_a_loop_from_ending() {
    let mut event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    let bomb = || OnDrop(|| panic!("on purpose, in a destructor"));
    let bombs = [bomb(), bomb(), bomb(), bomb(), bomb()];
    let [posted, later, timer, repeating, source] = bombs;
    handle.post(move |_| drop(posted)).unwrap();
    let context = event_loop.context();
    context.run_later(move |_| drop(later));
    context.run_after(Duration::from_secs(100), move |_| drop(timer));
    context.run_every(Duration::from_secs(100), move |_| assert!(size_of_val(&repeating) < 100));
    let (ours, _theirs) = UnixStream::pair().unwrap();
    context
        .register(ours, move |_: &mut UnixStream, _: &mut Channel<'_>| {
            assert!(size_of_val(&source) < 100);
        })
        .unwrap();
    let kept = Rc::new(());
    context.local::<Vec<Rc<()>>>().push(Rc::clone(&kept));
    drop(event_loop);
    assert_eq!(handle.figures().panics, 5);
    assert_eq!(Rc::strong_count(&kept), 1);
}

#[test]
fn figures_can_be_read_from_another_thread_while_the_loop_runs() {
    let (_base, _pool, handle) = loop_thread();
    wait_asleep(thread_of(&handle));
    ask(&handle, |cx| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        cx.local::<Vec<UnixStream>>().push(theirs);
        cx.register(ours, |_: &mut UnixStream, _: &mut Channel<'_>| {}).unwrap();
        cx.run_after(PATIENCE, |_| {});
        cx.run_after(Duration::ZERO, |_| {});
    });
    support::wait_until("the figures", || {
        let figures = handle.figures();
        figures.tasks == 2 && figures.timers == 1 && figures.timers_pending == 1 && figures.channels == 1
    });
    let figures = handle.figures();
    assert!(figures.turns >= 1 && figures.wakeups >= 1 && figures.events >= figures.wakeups, "{figures:?}");
    assert_eq!((figures.task_lateness.total(), figures.timer_lateness.total()), (2, 1));
    assert_eq!((figures.panics, figures.connections), (0, 0));
}

#[test]
fn a_callback_that_blocks_is_seen_in_the_figures() {
    let mut config = LoopConfig::default();
    config.slow_callback = Duration::from_millis(20);
    let mut event_loop = EventLoop::with_config(config).unwrap();
    event_loop.context().run_later(|_| {});
    event_loop.turn(None).unwrap();
    let figures = event_loop.handle().figures();
    assert_eq!(figures.slow_callbacks, 0);
    assert!(figures.longest_callback < Duration::from_millis(20));
    event_loop.context().run_later(|_| spin(Duration::from_millis(30)));
    event_loop.turn(None).unwrap();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let figures = event_loop.handle().figures();
    assert_eq!(figures.slow_callbacks, 1);
    assert!(figures.longest_callback >= Duration::from_millis(30), "{figures:?}");
}

#[test]
fn a_turn_waits_for_as_long_as_it_may_and_no_longer_than_it_must() {
    for busy_poll in [Duration::ZERO, PATIENCE] {
        let mut event_loop = with_busy_poll(busy_poll);
        let began = Instant::now();
        event_loop.turn(Some(Duration::ZERO)).unwrap();
        event_loop.turn(Some(Duration::from_millis(30))).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(30));
        assert!(began.elapsed() < PATIENCE, "it waited for longer than it was allowed");

        let began = Instant::now();
        event_loop.context().run_after(Duration::from_millis(10), |_| {});
        while event_loop.handle().figures().timers == 0 {
            event_loop.turn(Some(PATIENCE)).unwrap();
        }
        assert!(began.elapsed() < PATIENCE);

        // What is there already ends the wait before it begins.
        let began = Instant::now();
        event_loop.handle().post(|_| {}).unwrap();
        event_loop.turn(Some(PATIENCE)).unwrap();
        event_loop.handle().quit();
        event_loop.turn(Some(PATIENCE)).unwrap();
        event_loop.turn(Some(PATIENCE)).unwrap();
        assert!(began.elapsed() < PATIENCE);
        // The request to quit is left for `run`.
        let turns = event_loop.handle().figures().turns;
        event_loop.run().unwrap();
        assert_eq!(event_loop.handle().figures().turns, turns);
    }
}

#[test]
fn a_loop_that_polls_busily_notices_everything() {
    let mut event_loop = with_busy_poll(PATIENCE);
    let began = Instant::now();
    let handle = event_loop.handle();
    let other = std::thread::spawn(move || {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (seen, sees) = mpsc::channel();
        ask(&handle, move |cx| {
            cx.register(ours, move |ours: &mut UnixStream, channel: &mut Channel<'_>| {
                match ours.read(&mut [0; 16]) {
                    Ok(n) => seen.send(n).unwrap(),
                    Err(_) => channel.clear_readable(),
                }
            })
            .unwrap();
        });
        theirs.write_all(b"x").unwrap();
        assert_eq!(sees.recv_timeout(PATIENCE).unwrap(), 1);
        let wakeups = handle.figures().wakeups;
        handle.quit();
        wakeups
    });
    run(&mut event_loop);
    assert_eq!(other.join().unwrap(), 0, "a loop that doesn't sleep needs no wake-up");
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn busy_polling_makes_no_timer_late() {
    let mut event_loop = with_busy_poll(Duration::from_millis(200));
    let fired = Rc::new(Cell::new(None));
    let fires = Rc::clone(&fired);
    let context = event_loop.context();
    let deadline = context.now() + Duration::from_millis(300);
    context.run_at(deadline, move |cx| {
        fires.set(Some(cx.now()));
        cx.quit();
    });
    run(&mut event_loop);
    let late = fired.get().unwrap().duration_since(deadline);
    assert!(late < Duration::from_millis(150), "{late:?} late");
}

#[test]
fn a_loop_has_one_local_value_of_each_type() {
    let mut event_loop = EventLoop::new().unwrap();
    let context = event_loop.context();
    *context.local::<u32>() += 1;
    *context.local::<u64>() += 10;
    *context.local::<u32>() += 1;
    assert_eq!((*context.local::<u32>(), *context.local::<u64>()), (2, 10));
    assert_eq!(context.local_or_insert_with(|_| String::from("made")), "made");
    assert_eq!(context.local_or_insert_with(|_| String::from("not made again")), "made");
}

#[test]
fn handles_know_their_loop() {
    let (base, _pool, handle) = loop_thread();
    assert!(base.handle().is_in_loop_thread() && !handle.is_in_loop_thread());
    let theirs = handle.clone();
    assert!(ask(&handle, move |cx| cx.handle().is_same_loop(&theirs) && theirs.is_in_loop_thread()));
    assert!(!handle.is_same_loop(&base.handle()));
    let mut config = LoopConfig::default();
    config.name = Some("by configuration".to_owned());
    assert_eq!(EventLoop::with_config(config).unwrap().handle().name(), "by configuration");
    assert_eq!(base.handle().name(), std::thread::current().name().unwrap());
}
