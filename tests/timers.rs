//! Timers of a running loop: never early, in order, on time, cheap by the million.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

#[path = "support/reactor.rs"]
mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use campana::reactor::{LATENESS_BUCKETS, TimerId};
use campana::{EventLoop, LoopContext};
use support::{PATIENCE, run, spin, turn_until};

/// A log that timers write to.
type Log<T> = Rc<RefCell<Vec<T>>>;

/// Numbers that look random, the same each time.
fn random_numbers(mut state: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    })
}

#[test]
fn none_of_a_thousand_timers_fires_early() {
    let mut event_loop = EventLoop::new().unwrap();
    let left = Rc::new(Cell::new(1000));
    let early: Log<Duration> = Rc::default();
    // Up to 60 ms, most of them between whole milliseconds.
    for nanos in random_numbers(1).take(1000).map(|number| number % 60_000_000) {
        let (left, early) = (Rc::clone(&left), Rc::clone(&early));
        let context = event_loop.context();
        // As somebody else would measure it.
        let began = Instant::now();
        let deadline = began + Duration::from_nanos(nanos);
        let check = move |cx: &mut LoopContext| {
            if Instant::now() < deadline || cx.now() < deadline {
                early.borrow_mut().push(deadline - began);
            }
            left.set(left.get() - 1);
            if left.get() == 0 {
                cx.quit();
            }
        };
        if nanos % 2 == 0 {
            context.run_at(deadline, check);
        } else {
            // The loop's time is a little older than `began`.
            context.run_after(deadline - context.now(), check);
        }
    }
    run(&mut event_loop);
    assert_eq!(early.take(), []);
    let figures = event_loop.handle().figures();
    assert_eq!((figures.timers, figures.timer_lateness.total(), figures.timers_pending), (1000, 1000, 1));
}

#[test]
fn sub_millisecond_timers_of_an_idle_loop_are_not_rounded_to_a_millisecond() {
    let mut event_loop = EventLoop::new().unwrap();
    let late: Log<Duration> = Rc::default();
    for _ in 0..200 {
        let lates = Rc::clone(&late);
        let context = event_loop.context();
        let deadline = Instant::now() + Duration::from_micros(100);
        context.run_at(deadline, move |cx| {
            lates.borrow_mut().push(Instant::now().checked_duration_since(deadline).expect("never early"));
            cx.quit();
        });
        run(&mut event_loop);
    }
    let mut late = late.take();
    late.sort();
    // Rounding up to milliseconds would make each 900 us late. Generous, as the machine may have other things to do.
    assert!(late[20] < Duration::from_micros(600), "{:?} at the lowest decile", late[20]);
}

#[test]
fn the_rest_of_a_millisecond_is_waited_for_without_spinning() {
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.context().run_after(Duration::from_micros(20_700), LoopContext::quit);
    run(&mut event_loop);
    // One wait for the whole milliseconds and one for the rest; a few more if the machine is slow.
    assert!(event_loop.handle().figures().turns <= 6, "{:?}", event_loop.handle().figures());
}

#[test]
fn timers_fire_in_the_order_of_deadlines_and_equal_ones_in_the_order_they_were_set() {
    let mut event_loop = EventLoop::new().unwrap();
    let fired: Log<(u64, usize)> = Rc::default();
    let context = event_loop.context();
    let base = context.now() + Duration::from_millis(5);
    for (number, micros) in random_numbers(2).take(2000).map(|number| number % 50).enumerate() {
        let fires = Rc::clone(&fired);
        let at = base + Duration::from_micros(micros);
        context.run_at(at, move |_| fires.borrow_mut().push((micros, number)));
    }
    turn_until(&mut event_loop, "all timers", |_| fired.borrow().len() == 2000);
    assert!(fired.borrow().is_sorted());
}

#[test]
fn past_deadlines_fire_at_once_and_before_later_ones() {
    let mut event_loop = EventLoop::new().unwrap();
    let fired: Log<&str> = Rc::default();
    let context = event_loop.context();
    let now = context.now();
    for (name, at) in [
        ("now", Some(now)),
        ("long ago", now.checked_sub(Duration::from_secs(1))),
        ("before the loop was made", now.checked_sub(Duration::from_secs(3600))),
    ] {
        let fires = Rc::clone(&fired);
        context.run_at(at.unwrap_or(now), move |_| fires.borrow_mut().push(name));
    }
    event_loop.turn(Some(PATIENCE)).unwrap();
    assert_eq!(fired.borrow().len(), 3);
    assert_eq!(fired.borrow()[2], "now");
}

#[test]
fn a_sibling_of_the_same_batch_can_be_cancelled() {
    let mut event_loop = EventLoop::new().unwrap();
    let fired: Log<usize> = Rc::default();
    let ids: Rc<RefCell<Vec<TimerId>>> = Rc::default();
    let context = event_loop.context();
    let at = context.now();
    // Each one of an even number cancels the next one.
    for number in 0..6 {
        let (fires, ids) = (Rc::clone(&fired), Rc::clone(&ids));
        let others = Rc::clone(&ids);
        let id = context.run_at(at, move |cx| {
            fires.borrow_mut().push(number);
            if number % 2 == 0 {
                assert!(cx.cancel(others.borrow()[number + 1]));
                assert!(!cx.cancel(others.borrow()[number + 1]), "cancelled already");
            }
            assert!(!cx.cancel(others.borrow()[number]), "it has fired");
        });
        ids.borrow_mut().push(id);
    }
    event_loop.turn(Some(PATIENCE)).unwrap();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(*fired.borrow(), [0, 2, 4]);
    let figures = event_loop.handle().figures();
    assert_eq!((figures.timers, figures.timers_pending, figures.panics), (3, 0, 0));
}

#[test]
fn cancelling_is_possible_once_and_never_hits_a_later_timer() {
    let mut event_loop = EventLoop::new().unwrap();
    let context = event_loop.context();
    let first = context.run_after(PATIENCE, |_| {});
    assert!(context.cancel(first));
    assert!(!context.cancel(first));
    let fired = Rc::new(Cell::new(false));
    let fires = Rc::clone(&fired);
    context.run_after(Duration::ZERO, move |_| fires.set(true));
    assert!(!context.cancel(first), "its place is taken by another timer");
    event_loop.turn(Some(PATIENCE)).unwrap();
    assert!(fired.get());
}

#[test]
fn a_cancelled_timer_drops_its_task_at_once() {
    let mut event_loop = EventLoop::new().unwrap();
    let kept = Rc::new(());
    let in_task = Rc::clone(&kept);
    let timer = event_loop.context().run_after(PATIENCE, move |_| drop(in_task));
    assert_eq!(Rc::strong_count(&kept), 2);
    event_loop.context().cancel(timer);
    assert_eq!(Rc::strong_count(&kept), 1);
}

#[test]
fn a_repeating_timer_can_cancel_itself_and_then_is_over() {
    let mut event_loop = EventLoop::new().unwrap();
    let calls = Rc::new(Cell::new(0));
    let own: Rc<Cell<Option<TimerId>>> = Rc::default();
    let (count, id) = (Rc::clone(&calls), Rc::clone(&own));
    let kept = Rc::new(());
    let in_task = Rc::clone(&kept);
    own.set(Some(event_loop.context().run_every(Duration::from_micros(200), move |cx| {
        assert_eq!(*in_task, ());
        count.set(count.get() + 1);
        if count.get() == 3 {
            let own = id.get().unwrap();
            assert!(cx.cancel(own));
            assert!(!cx.cancel(own));
        }
    })));
    turn_until(&mut event_loop, "the last call", |_| Rc::strong_count(&kept) == 1);
    assert_eq!(calls.get(), 3);
    event_loop.turn(Some(Duration::from_millis(2))).unwrap();
    let figures = event_loop.handle().figures();
    assert_eq!((figures.timers, figures.timers_pending), (3, 0));
}

#[test]
fn a_repeating_timer_does_not_drift() {
    const PERIOD: Duration = Duration::from_micros(1_300);
    let mut event_loop = EventLoop::new().unwrap();
    let fired: Log<Duration> = Rc::default();
    let fires = Rc::clone(&fired);
    let context = event_loop.context();
    let began = context.now();
    context.run_every(PERIOD, move |cx| {
        fires.borrow_mut().push(cx.now() - began);
        // However long it takes, the next deadline doesn't move.
        spin(PERIOD / 4);
        if fires.borrow().len() == 50 {
            cx.quit();
        }
    });
    run(&mut event_loop);
    // The deadlines are the multiples of the period, each the first one after the call before. So this is how late each call
    // was; had they drifted, the loop would have counted something else.
    let mut expected = [0; LATENESS_BUCKETS];
    let mut deadline = PERIOD;
    for at in fired.take() {
        let late = at.checked_sub(deadline).expect("never early");
        expected[(u64::BITS - (late.as_micros() as u64).leading_zeros()) as usize] += 1;
        deadline = PERIOD * ((at.as_nanos() / PERIOD.as_nanos()) as u32 + 1);
    }
    let figures = event_loop.handle().figures();
    assert_eq!((figures.timers, figures.timer_lateness.counts()), (50, &expected));
}

#[test]
fn a_repeating_timer_that_fell_behind_runs_once_and_is_in_step_again() {
    const PERIOD: Duration = Duration::from_millis(2);
    let mut event_loop = EventLoop::new().unwrap();
    let fired: Log<Instant> = Rc::default();
    let fires = Rc::clone(&fired);
    let context = event_loop.context();
    let began = context.now();
    context.run_every(PERIOD, move |cx| fires.borrow_mut().push(cx.now()));
    // As if the process had been stopped for ten periods.
    spin(10 * PERIOD + PERIOD / 2);
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(fired.borrow().len(), 1);
    turn_until(&mut event_loop, "the next one", |_| fired.borrow().len() == 2);
    let period_of = |at: Instant| at.duration_since(began).as_nanos() / PERIOD.as_nanos();
    let periods: Vec<_> = fired.borrow().iter().map(|at| period_of(*at)).collect();
    assert!(periods[0] >= 10 && periods[1] > periods[0], "called in periods {periods:?}");
    turn_until(&mut event_loop, "one more", |_| fired.borrow().len() == 3);
}

#[test]
fn a_repeating_timer_whose_task_is_slow_leaves_room_for_others() {
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.context().run_every(Duration::from_micros(1), |_| spin(Duration::from_micros(200)));
    let fired = Rc::new(Cell::new(false));
    let fires = Rc::clone(&fired);
    event_loop.context().run_after(Duration::from_millis(2), move |_| fires.set(true));
    turn_until(&mut event_loop, "the other timer", |_| fired.get());
}

#[test]
fn a_delay_of_zero_is_the_next_turn_and_a_period_of_zero_once_a_turn() {
    let mut event_loop = EventLoop::new().unwrap();
    let log: Log<&str> = Rc::default();
    let (outer, every) = (Rc::clone(&log), Rc::clone(&log));
    event_loop.context().run_after(Duration::ZERO, move |cx| {
        outer.borrow_mut().push("first");
        let inner = Rc::clone(&outer);
        cx.run_after(Duration::ZERO, move |_| inner.borrow_mut().push("second"));
    });
    event_loop.turn(Some(PATIENCE)).unwrap();
    assert_eq!(*log.borrow(), ["first"]);
    event_loop.turn(Some(PATIENCE)).unwrap();
    assert_eq!(log.take(), ["first", "second"]);
    event_loop.context().run_every(Duration::ZERO, move |_| every.borrow_mut().push("every"));
    // The first one is a nanosecond away.
    turn_until(&mut event_loop, "the first time", |_| !log.borrow().is_empty());
    let before = log.borrow().len();
    for turn in 1..=5 {
        event_loop.turn(Some(PATIENCE)).unwrap();
        assert_eq!(log.borrow().len(), before + turn);
    }
}

#[test]
fn a_timer_set_by_a_timer_fires_in_a_later_turn_even_if_it_is_due_already() {
    let mut event_loop = EventLoop::new().unwrap();
    let log: Log<&str> = Rc::default();
    let (first, sibling) = (Rc::clone(&log), Rc::clone(&log));
    let context = event_loop.context();
    let at = context.now();
    context.run_at(at, move |cx| {
        first.borrow_mut().push("first");
        let log = Rc::clone(&first);
        cx.run_at(at, move |_| log.borrow_mut().push("set by the first"));
    });
    context.run_at(at, move |_| sibling.borrow_mut().push("sibling"));
    event_loop.turn(Some(PATIENCE)).unwrap();
    assert_eq!(*log.borrow(), ["first", "sibling"]);
    event_loop.turn(Some(PATIENCE)).unwrap();
    assert_eq!(*log.borrow(), ["first", "sibling", "set by the first"]);
}

#[test]
fn the_longest_delays_neither_overflow_nor_fire_nor_keep_the_loop_from_working() {
    let mut event_loop = EventLoop::new().unwrap();
    let context = event_loop.context();
    let far = [
        Duration::MAX,
        Duration::from_nanos(u64::MAX),
        Duration::from_secs(1 << 40),
        Duration::from_secs(86_400 * 30),
    ];
    let mut timers: Vec<_> =
        far.iter().map(|delay| context.run_after(*delay, |_| panic!("too early"))).collect();
    timers.extend(far.iter().map(|period| context.run_every(*period, |_| panic!("too early"))));
    if let Some(time) = context.now().checked_add(Duration::from_secs(1 << 35)) {
        timers.push(context.run_at(time, |_| panic!("too early")));
    }
    context.run_after(Duration::from_millis(3), LoopContext::quit);
    event_loop.turn(Some(Duration::from_millis(1))).unwrap();
    run(&mut event_loop);
    let context = event_loop.context();
    assert!(timers.into_iter().all(|timer| context.cancel(timer)));
    assert_eq!(event_loop.handle().figures().panics, 0);
}

#[test]
fn a_timer_of_a_day_lets_the_loop_sleep_until_it_is_woken() {
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.context().run_after(Duration::from_secs(86_400), |_| {});
    let handle = event_loop.handle();
    let other = std::thread::spawn(move || handle.post(|cx| cx.quit()).unwrap());
    event_loop.run().unwrap();
    other.join().unwrap();
    assert!(event_loop.handle().figures().turns <= 3, "{:?}", event_loop.handle().figures());
}

#[test]
fn a_million_pending_timers_cost_an_idle_turn_nothing() {
    const TIMERS: usize = 1_000_000;
    let mut event_loop = EventLoop::new().unwrap();
    let fired = Rc::new(Cell::new(0));
    let context = event_loop.context();
    let mut ids = Vec::with_capacity(TIMERS);
    for number in random_numbers(3).take(TIMERS) {
        // From ten seconds to three hours away.
        let delay = Duration::from_secs(10) + Duration::from_micros(number % 10_000_000_000);
        let fires = Rc::clone(&fired);
        ids.push(context.run_after(delay, move |_| fires.set(fires.get() + 1)));
    }
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(event_loop.handle().figures().timers_pending, TIMERS);
    // A single one that is due is found among them, and the loop sleeps until then instead of walking through them.
    let turns = event_loop.handle().figures().turns;
    event_loop.context().run_after(Duration::from_millis(5), LoopContext::quit);
    run(&mut event_loop);
    assert!(event_loop.handle().figures().turns - turns <= 10);
    let context = event_loop.context();
    assert!(ids.into_iter().all(|id| context.cancel(id)));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let figures = event_loop.handle().figures();
    assert_eq!((figures.timers_pending, fired.get()), (0, 0));
    assert_eq!(Rc::strong_count(&fired), 1, "every task has been dropped");
}
