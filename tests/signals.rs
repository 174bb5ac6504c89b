//! Signals as callbacks. A signal is for the whole process, so these tests have a program of their own and run one at a time.

#![cfg(feature = "signal")]
#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

#[path = "support/alone.rs"]
mod alone;
#[path = "support/reactor.rs"]
mod support;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use alone::one_at_a_time;
use campana::EventLoop;
use campana::reactor::LoopPool;
use campana::reactor::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use rustix::process::{Pid, Signal, getpid, kill_process};
use support::{PATIENCE, run, turn_until};

fn raise(signal: i32) {
    let own: Pid = getpid();
    kill_process(own, Signal::from_named_raw(signal).unwrap()).unwrap();
}

/// A loop that writes down the signals it is told of.
fn listen(signals: &[i32]) -> (EventLoop, Rc<RefCell<Vec<i32>>>) {
    let mut event_loop = EventLoop::new().unwrap();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let sees = Rc::clone(&seen);
    event_loop.context().on_signals(signals, move |_, signal| sees.borrow_mut().push(signal)).unwrap();
    (event_loop, seen)
}

#[test]
fn each_signal_asked_for_is_a_call_with_its_number() {
    let _alone = one_at_a_time();
    let all = [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2];
    let (mut event_loop, seen) = listen(&all);
    for signal in all {
        raise(signal);
        turn_until(&mut event_loop, "the signal", |_| !seen.borrow().is_empty());
        assert_eq!(seen.take(), [signal]);
    }
}

#[test]
fn several_signals_at_once_are_all_reported() {
    let _alone = one_at_a_time();
    let (mut event_loop, seen) = listen(&[SIGUSR1, SIGUSR2]);
    raise(SIGUSR1);
    raise(SIGUSR2);
    turn_until(&mut event_loop, "both", |_| seen.borrow().len() == 2);
    seen.borrow_mut().sort();
    assert_eq!(*seen.borrow(), [SIGUSR1, SIGUSR2]);
}

#[test]
fn a_signal_ends_the_wait_of_a_loop_and_may_quit_it() {
    let _alone = one_at_a_time();
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.context().on_signals(&[SIGTERM], |cx, _| cx.quit()).unwrap();
    let other = std::thread::spawn(|| raise(SIGTERM));
    run(&mut event_loop);
    other.join().unwrap();
}

#[test]
fn every_loop_that_asked_hears_of_it_and_the_others_do_not() {
    let _alone = one_at_a_time();
    let (mut first, seen_by_first) = listen(&[SIGUSR1, SIGUSR2]);
    let (mut second, seen_by_second) = listen(&[SIGUSR1]);
    raise(SIGUSR1);
    turn_until(&mut first, "the first loop's call", |_| !seen_by_first.borrow().is_empty());
    turn_until(&mut second, "the second loop's call", |_| !seen_by_second.borrow().is_empty());
    raise(SIGUSR2);
    turn_until(&mut first, "the other signal", |_| seen_by_first.borrow().len() == 2);
    second.turn(Some(Duration::from_millis(5))).unwrap();
    assert_eq!(*seen_by_second.borrow(), [SIGUSR1]);
}

#[test]
fn a_callback_may_close_its_own_channel() {
    let _alone = one_at_a_time();
    let mut event_loop = EventLoop::new().unwrap();
    let calls = Rc::new(RefCell::new(0));
    let own = Rc::new(RefCell::new(None));
    let (count, id) = (Rc::clone(&calls), Rc::clone(&own));
    let channel = event_loop.context().on_signals(&[SIGUSR1], move |cx, _| {
        *count.borrow_mut() += 1;
        cx.channel(id.borrow().unwrap()).unwrap().close();
    });
    *own.borrow_mut() = Some(channel.unwrap());
    // Keeps the signal from ending the process after the first one is gone.
    let (mut other, seen) = listen(&[SIGUSR1]);
    for round in 1..=2 {
        raise(SIGUSR1);
        turn_until(&mut other, "the signal", |_| seen.borrow().len() == round);
        event_loop.turn(Some(Duration::from_millis(5))).unwrap();
    }
    assert_eq!(*calls.borrow(), 1);
    assert!(event_loop.context().channel(own.borrow().unwrap()).is_none());
}

#[test]
fn a_callback_that_panics_ends_alone() {
    let _alone = one_at_a_time();
    let (mut event_loop, seen) = listen(&[SIGUSR1]);
    event_loop.context().on_signals(&[SIGUSR1], |_, _| panic!("on purpose")).unwrap();
    raise(SIGUSR1);
    turn_until(&mut event_loop, "both calls", |event_loop| {
        event_loop.handle().figures().panics == 1 && seen.borrow().len() == 1
    });
    raise(SIGUSR1);
    turn_until(&mut event_loop, "one call", |_| seen.borrow().len() == 2);
    assert_eq!(event_loop.handle().figures().panics, 1);
}

#[test]
fn signals_that_cannot_be_handled_are_refused() {
    let _alone = one_at_a_time();
    let mut event_loop = EventLoop::new().unwrap();
    for signal in [Signal::KILL, Signal::STOP, Signal::SEGV, Signal::ILL, Signal::FPE] {
        let number = signal.as_raw();
        let error = event_loop.context().on_signals(&[SIGUSR1, number], |_, _| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&number.to_string()), "{error}");
    }
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(event_loop.handle().figures().channels, 0);
}

#[test]
fn a_storm_of_signals_disturbs_neither_timers_nor_tasks() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    let pool = LoopPool::new(&base.handle(), 1).unwrap();
    // One that no other test uses, as the last of them may be delivered when this test is over.
    let signal = Signal::WINCH.as_raw();
    let (mut event_loop, seen) = listen(&[signal]);
    // Every thread's waits are interrupted by some of them, those of the pool's loop too.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let storm = std::thread::spawn(move || {
        for _ in 0..1_000_000 {
            raise(signal);
            std::thread::yield_now();
            if stopped.try_recv() == Err(TryRecvError::Disconnected) {
                break;
            }
        }
    });
    turn_until(&mut event_loop, "the storm", |_| !seen.borrow().is_empty());
    let timers = Rc::new(RefCell::new(0));
    let count = Rc::clone(&timers);
    let began = Instant::now();
    event_loop.context().run_every(Duration::from_millis(1), move |cx| {
        *count.borrow_mut() += 1;
        if *count.borrow() == 50 {
            cx.quit();
        }
    });
    run(&mut event_loop);
    let answered = support::ask(pool.next(), |_| 42);
    drop(stop);
    storm.join().unwrap();
    assert_eq!(answered, 42);
    assert_eq!(*timers.borrow(), 50);
    assert!(began.elapsed() >= Duration::from_millis(50) && began.elapsed() < PATIENCE);
}
