//! A million timers: set, cancelled, and fired.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use campana::{EventLoop, LoopContext};
use futures::StreamExt;
use tokio_util::time::DelayQueue;

use crate::arguments::{Arguments, Failure};
use crate::process::CORES;
use crate::run::median;
use crate::sys;

/// Nanoseconds for each timer.
#[derive(Clone, Copy, Debug)]
struct Costs {
    insert: f64,
    cancel: f64,
    /// Processor time of the thread from the moment that all are set to the moment that all have fired.
    fire: f64,
}

type Measurement = fn(usize) -> Result<Costs, Failure>;

/// `peers timers`.
pub fn run(mut arguments: Arguments) -> Result<(), Failure> {
    let rounds = arguments.option("rounds")?.unwrap_or(5);
    let count = arguments.option("count")?.unwrap_or(1_000_000);
    arguments.finish()?;
    sys::pin_to_core(CORES.0);
    // What has nothing of its own to carry is the equal of a key in a queue, and what carries something, that of a task that
    // sleeps: it has memory of its own, which was last touched when it was set.
    let contestants: [(&str, Measurement); 4] = [
        ("campana", campana_timers),
        ("tokio DelayQueue", tokio_delays),
        ("campana, each with memory of its own", campana_timers_with_state),
        ("tokio sleep", tokio_sleeps),
    ];
    let mut costs = vec![Vec::new(); contestants.len()];
    for _ in 0..rounds {
        for (costs, (_, measure)) in costs.iter_mut().zip(contestants) {
            costs.push(measure(count)?);
        }
    }
    println!("{count} timers, ns each, median of {rounds} rounds\n");
    println!("| | insert | cancel | fire |\n| --- | --- | --- | --- |");
    for (costs, (name, _)) in costs.iter().zip(contestants) {
        let of = |cost: fn(&Costs) -> f64| median(costs.iter().map(cost));
        println!("| {name} | {:.0} | {:.0} | {:.0} |", of(|c| c.insert), of(|c| c.cancel), of(|c| c.fire));
    }
    Ok(())
}

/// Deadlines that are cancelled: spread over ten minutes.
fn far(number: usize) -> Duration {
    Duration::from_micros(1_000_000 + scatter(number) % 600_000_000)
}

/// Deadlines that fire: spread over a second, and none before all are set. In whole milliseconds, because tokio rounds to them
/// and would otherwise wake up less often for being less precise.
fn near(number: usize) -> Duration {
    Duration::from_millis(2_000 + scatter(number) % 1_000)
}

/// The same numbers, in no order, for all.
fn scatter(number: usize) -> u64 {
    (number as u64 + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9)
        >> 20
}

fn each(began: Instant, count: usize) -> f64 {
    began.elapsed().as_nanos() as f64 / count as f64
}

fn campana_timers(count: usize) -> Result<Costs, Failure> {
    thread_local!(static LEFT: Cell<usize> = const { Cell::new(0) });
    LEFT.set(count);
    campana(
        count,
        |_| |_: &mut LoopContext| {},
        |_| {
            |context: &mut LoopContext| {
                LEFT.set(LEFT.get() - 1);
                if LEFT.get() == 0 {
                    context.quit();
                }
            }
        },
    )
}

fn campana_timers_with_state(count: usize) -> Result<Costs, Failure> {
    let left = Rc::new(Cell::new(count));
    campana(
        count,
        |number| {
            move |_: &mut LoopContext| {
                black_box(number);
            }
        },
        |_| {
            let left = Rc::clone(&left);
            move |context: &mut LoopContext| {
                left.set(left.get() - 1);
                if left.get() == 0 {
                    context.quit();
                }
            }
        },
    )
}

/// Sets and cancels `count` timers that never fire, and fires as many of which the last one ends the loop.
fn campana<C: FnOnce(&mut LoopContext) + 'static, F: FnOnce(&mut LoopContext) + 'static>(
    count: usize,
    cancelled: impl Fn(usize) -> C,
    fired: impl Fn(usize) -> F,
) -> Result<Costs, Failure> {
    let mut event_loop = EventLoop::new()?;
    let context = event_loop.context();
    let began = Instant::now();
    let timers: Vec<_> = (0..count).map(|number| context.run_after(far(number), cancelled(number))).collect();
    let insert = each(began, count);
    let began = Instant::now();
    for timer in timers {
        context.cancel(timer);
    }
    let cancel = each(began, count);

    for number in 0..count {
        context.run_after(near(number), fired(number));
    }
    let cpu = sys::thread_cpu_nanos();
    event_loop.run()?;
    Ok(Costs { insert, cancel, fire: (sys::thread_cpu_nanos() - cpu) as f64 / count as f64 })
}

fn tokio_sleeps(count: usize) -> Result<Costs, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // A sleep is set when it is first polled, and cancelled when it is dropped.
        let began = Instant::now();
        let mut sleeps: Vec<_> = (0..count).map(|number| Box::pin(tokio::time::sleep(far(number)))).collect();
        for sleep in &mut sleeps {
            let _ = futures::poll!(sleep);
        }
        let insert = each(began, count);
        let began = Instant::now();
        drop(sleeps);
        let cancel = each(began, count);

        let start = tokio::time::Instant::now();
        let tasks: Vec<_> =
            (0..count).map(|number| tokio::spawn(tokio::time::sleep_until(start + near(number)))).collect();
        tokio::task::yield_now().await;
        let cpu = sys::thread_cpu_nanos();
        for task in tasks {
            task.await?;
        }
        Ok(Costs { insert, cancel, fire: (sys::thread_cpu_nanos() - cpu) as f64 / count as f64 })
    })
}

fn tokio_delays(count: usize) -> Result<Costs, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut queue = DelayQueue::new();
        let began = Instant::now();
        let keys: Vec<_> = (0..count).map(|number| queue.insert(number, far(number))).collect();
        let insert = each(began, count);
        let began = Instant::now();
        for key in &keys {
            queue.remove(key);
        }
        let cancel = each(began, count);

        for number in 0..count {
            queue.insert(number, near(number));
        }
        let cpu = sys::thread_cpu_nanos();
        while queue.next().await.is_some() {}
        Ok(Costs { insert, cancel, fire: (sys::thread_cpu_nanos() - cpu) as f64 / count as f64 })
    })
}
