//! Tasks posted from one thread to another.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use campana::{EventLoop, LoopContext, LoopHandle};

use crate::arguments::{Arguments, Failure};
use crate::process::CORES;
use crate::run::median;
use crate::sys::{self, Epoll};

const TRIPS: u64 = 100_000;
const FLOOD: u64 = 2_000_000;

/// `peers post`.
pub fn run(mut arguments: Arguments) -> Result<(), Failure> {
    let rounds = arguments.option("rounds")?.unwrap_or(5);
    arguments.finish()?;
    let contests: [(&str, &str, Contestants); 2] = [
        (
            "round trip, us",
            "eventfd and epoll",
            &[("eventfd and epoll", bare_trips), ("campana", campana_trips), ("tokio", tokio_trips)],
        ),
        ("flood, ns a task", "tokio", &[("campana", campana_flood), ("tokio", tokio_flood)]),
    ];
    println!("| | | median of {rounds} rounds | ratio |\n| --- | --- | --- | --- |");
    for (what, against, contestants) in contests {
        let mut values = vec![Vec::new(); contestants.len()];
        for _ in 0..rounds {
            for (values, (_, contestant)) in values.iter_mut().zip(contestants) {
                values.push(contestant()?);
            }
        }
        let floor = contestants.iter().position(|(name, _)| *name == against).unwrap_or(0);
        for (number, (name, _)) in contestants.iter().enumerate() {
            let ratio = median(values[number].iter().zip(&values[floor]).map(|(one, floor)| one / floor));
            println!("| {what} | {name} | {:.2} | {ratio:.2} |", median(values[number].iter().copied()));
        }
    }
    Ok(())
}

type Contestants = &'static [(&'static str, fn() -> Result<f64, Failure>)];

/// The floor of a round trip: each side sleeps in epoll, and is woken by an eventfd that nobody reads.
fn bare_trips() -> Result<f64, Failure> {
    let (there, back) = (Arc::new(sys::eventfd()?), Arc::new(sys::eventfd()?));
    let (own_there, own_back) = (Arc::clone(&there), Arc::clone(&back));
    let other = thread::spawn(move || -> io::Result<()> {
        sys::pin_to_core(CORES.1);
        trip(&own_there, &own_back, false)
    });
    sys::pin_to_core(CORES.0);
    let began = Instant::now();
    trip(&back, &there, true)?;
    let elapsed = began.elapsed();
    other.join().map_err(|_| "the other side panicked")??;
    Ok(elapsed.as_nanos() as f64 / 1e3 / TRIPS as f64)
}

fn trip(heard: &OwnedFd, told: &OwnedFd, begins: bool) -> io::Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(heard.as_raw_fd(), sys::READ, 0)?;
    let mut events = sys::events(8);
    if begins {
        sys::ping(told)?;
    }
    for trip in 1..=TRIPS {
        while epoll.wait(&mut events, -1)?.is_empty() {}
        if !begins || trip < TRIPS {
            sys::ping(told)?;
        }
    }
    Ok(())
}

/// Runs a loop on the other core, and hands its handle out.
fn other_loop() -> Result<(LoopHandle, thread::JoinHandle<io::Result<()>>), Failure> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        sys::pin_to_core(CORES.1);
        let mut event_loop = EventLoop::new()?;
        let _ = sender.send(event_loop.handle());
        event_loop.run()
    });
    Ok((receiver.recv()?, thread))
}

/// As in the other contests each side keeps what reaches the other, and what travels is a number.
fn campana_trips() -> Result<f64, Failure> {
    #[derive(Default)]
    struct Peer(Option<LoopHandle>);

    fn way(left: u64) -> impl FnOnce(&mut LoopContext) + Send {
        move |context| match &context.local::<Peer>().0 {
            Some(peer) if left > 1 => {
                // An error means that the measurement is over.
                let _ = peer.post(way(left - 1));
            }
            _ => context.quit(),
        }
    }
    sys::pin_to_core(CORES.0);
    let (other, thread) = other_loop()?;
    let mut event_loop = EventLoop::new()?;
    event_loop.context().local::<Peer>().0 = Some(other.clone());
    let own = event_loop.handle();
    other.post(move |context| context.local::<Peer>().0 = Some(own))?;
    let began = Instant::now();
    other.post(way(2 * TRIPS))?;
    event_loop.run()?;
    let elapsed = began.elapsed();
    other.quit();
    thread.join().map_err(|_| "the other loop panicked")??;
    Ok(elapsed.as_nanos() as f64 / 1e3 / TRIPS as f64)
}

fn tokio_trips() -> Result<f64, Failure> {
    let (there, mut to_other) = tokio::sync::mpsc::unbounded_channel::<u64>();
    let (back, mut to_here) = tokio::sync::mpsc::unbounded_channel::<u64>();
    let other = thread::spawn(move || -> io::Result<()> {
        sys::pin_to_core(CORES.1);
        runtime()?.block_on(async move {
            while let Some(trip) = to_other.recv().await {
                let _ = back.send(trip);
            }
            Ok(())
        })
    });
    sys::pin_to_core(CORES.0);
    let runtime = runtime()?;
    let began = Instant::now();
    runtime.block_on(async {
        for trip in 0..TRIPS {
            there.send(trip).map_err(|_| "the other side is gone")?;
            to_here.recv().await.ok_or("the other side is gone")?;
        }
        Ok::<(), Failure>(())
    })?;
    let elapsed = began.elapsed();
    drop(there);
    other.join().map_err(|_| "the other side panicked")??;
    Ok(elapsed.as_nanos() as f64 / 1e3 / TRIPS as f64)
}

fn campana_flood() -> Result<f64, Failure> {
    sys::pin_to_core(CORES.0);
    let (other, thread) = other_loop()?;
    let done = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    for _ in 0..FLOOD {
        let done = Arc::clone(&done);
        other.post(move |_| {
            done.fetch_add(1, Ordering::Relaxed);
        })?;
    }
    other.post(|context| context.quit())?;
    thread.join().map_err(|_| "the other loop panicked")??;
    let elapsed = began.elapsed();
    assert_eq!(done.load(Ordering::Relaxed), FLOOD, "a task was lost");
    Ok(elapsed.as_nanos() as f64 / FLOOD as f64)
}

fn tokio_flood() -> Result<f64, Failure> {
    type Task = Box<dyn FnOnce() + Send>;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<Task>();
    let thread = thread::spawn(move || -> io::Result<()> {
        sys::pin_to_core(CORES.1);
        runtime()?.block_on(async move {
            while let Some(task) = receiver.recv().await {
                task();
            }
            Ok(())
        })
    });
    sys::pin_to_core(CORES.0);
    let done = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    for _ in 0..FLOOD {
        let done = Arc::clone(&done);
        let task: Task = Box::new(move || {
            done.fetch_add(1, Ordering::Relaxed);
        });
        sender.send(task).map_err(|_| "the other side is gone")?;
    }
    drop(sender);
    thread.join().map_err(|_| "the other side panicked")??;
    let elapsed = began.elapsed();
    assert_eq!(done.load(Ordering::Relaxed), FLOOD, "a task was lost");
    Ok(elapsed.as_nanos() as f64 / FLOOD as f64)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
