//! Requests over a Unix packet socket: the router of a control socket, against echoes of the same packets.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use campana::control::{Command, ControlServer, Failure as ControlFailure, Router};
use campana::socket::{ListenOptions, Listener, Socket, SocketOptions};
use campana::{Address, EventLoop, LoopHandle, TcpServer};
use serde::Deserialize;

use crate::arguments::{Arguments, Failure};
use crate::process::CORES;
use crate::run::median;
use crate::sys::{self, Epoll};

/// What is asked for, and what an echo gives back likewise.
const REQUEST: &[u8] = br#"{"version":1,"command":"add","params":{"a":19,"b":23},"id":"1234"}"#;
/// How many requests of the client are under way.
const DEPTHS: [usize; 2] = [1, 64];

/// Who answers, on the thread that it is called on, until its client has gone. Says when it listens, and gives the processor time
/// that answering took, in nanoseconds.
type Contestant = fn(Address, mpsc::Sender<()>) -> Result<u64, Failure>;

const CONTESTANTS: [(&str, Contestant); 3] =
    [("raw echo", raw_echo), ("campana echo", campana_echo), ("campana router", router)];

/// `peers requests`.
pub fn run(mut arguments: Arguments) -> Result<(), Failure> {
    let rounds: usize = arguments.option("rounds")?.unwrap_or(5);
    let count: usize = arguments.option("count")?.unwrap_or(200_000);
    arguments.finish()?;
    println!(
        "| under way | | requests/s | ratio | processor time, ns | ratio |\n| --- | --- | --- | --- | --- | --- |"
    );
    for depth in DEPTHS {
        let mut rates = vec![Vec::new(); CONTESTANTS.len()];
        let mut costs = vec![Vec::new(); CONTESTANTS.len()];
        for round in 0..rounds {
            for turn in 0..CONTESTANTS.len() {
                let which = (round + turn) % CONTESTANTS.len();
                let (rate, cost) = measure(CONTESTANTS[which].1, depth, count)?;
                rates[which].push(rate);
                costs[which].push(cost);
            }
        }
        for (which, (name, _)) in CONTESTANTS.iter().enumerate() {
            let ratio = |values: &[Vec<f64>]| {
                median(values[which].iter().zip(&values[0]).map(|(one, floor)| one / floor))
            };
            println!(
                "| {depth} | {name} | {:.0} | {:.2} | {:.0} | {:.2} |",
                median(rates[which].iter().copied()),
                ratio(&rates),
                median(costs[which].iter().copied()),
                ratio(&costs),
            );
        }
    }
    Ok(())
}

/// Requests per second, and nanoseconds of the server's processor time for one.
fn measure(contestant: Contestant, depth: usize, count: usize) -> Result<(f64, f64), Failure> {
    let name = format!("campana-requests-{}", std::process::id());
    let address = Address::seqpacket_abstract(name)?;
    let of_server = address.clone();
    let (ready, is_ready) = mpsc::channel();
    let server = thread::spawn(move || {
        sys::pin_to_core(CORES.0);
        contestant(of_server, ready).map_err(|error| error.to_string())
    });
    is_ready.recv()?;
    sys::pin_to_core(CORES.1);
    let client = Socket::connect(&address, &SocketOptions::default())?.0;
    sys::wait_on(client.as_raw_fd())?;
    let mut reply = vec![0; 4096];
    let began = Instant::now();
    for _ in 0..depth {
        sys::send(client.as_raw_fd(), REQUEST)?;
    }
    for answered in 1..=count {
        if sys::recv(client.as_raw_fd(), &mut reply)? == 0 {
            return Err("the server has closed".into());
        }
        if answered + depth <= count {
            sys::send(client.as_raw_fd(), REQUEST)?;
        }
    }
    let elapsed = began.elapsed();
    drop(client);
    let spent = server.join().map_err(|_| "the server panicked")??;
    Ok((count as f64 / elapsed.as_secs_f64(), spent as f64 / count as f64))
}

/// The floor: epoll, a read and a write.
fn raw_echo(address: Address, ready: mpsc::Sender<()>) -> Result<u64, Failure> {
    let listener = Listener::bind(&address, &ListenOptions::default())?;
    let epoll = Epoll::new()?;
    epoll.add(listener.as_raw_fd(), sys::READ, 0)?;
    let mut events = sys::events(8);
    ready.send(())?;
    while epoll.wait(&mut events, -1)?.is_empty() {}
    let (peer, _) = listener.accept()?;
    let began = sys::thread_cpu_nanos();
    epoll.add(peer.as_raw_fd(), sys::READ_WRITE, 1)?;
    let mut packet = vec![0; 64 * 1024];
    loop {
        while epoll.wait(&mut events, -1)?.is_empty() {}
        loop {
            match sys::recv(peer.as_raw_fd(), &mut packet) {
                Ok(0) => return Ok(sys::thread_cpu_nanos() - began),
                Ok(length) => sys::send(peer.as_raw_fd(), &packet[..length])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            };
        }
    }
}

/// A bare connection.
fn campana_echo(address: Address, ready: mpsc::Sender<()>) -> Result<u64, Failure> {
    let mut event_loop = EventLoop::new()?;
    TcpServer::bind(address)?
        .on_data(|conn, input| conn.send(input.take()))
        .on_close(|conn, _| conn.context().quit())
        .start(&mut event_loop)?;
    serve(event_loop, &ready)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    a: i64,
    b: i64,
}

/// The whole of a control socket: envelope, typed parameters, session, policies.
fn router(address: Address, ready: mpsc::Sender<()>) -> Result<u64, Failure> {
    let mut router = Router::new();
    router.add(
        Command::new("add", "Adds two numbers.")
            .answers(|_, Add { a, b }| a.checked_add(b).ok_or_else(|| ControlFailure::new("too large"))),
    )?;
    let mut event_loop = EventLoop::new()?;
    let own = event_loop.handle();
    let control = ControlServer::bind(address).start(&mut event_loop, router)?;
    let watch = control.clone();
    quit_when(own, move || watch.stats().requests > 0 && watch.sessions().is_empty());
    serve(event_loop, &ready)
}

fn serve(mut event_loop: EventLoop, ready: &mpsc::Sender<()>) -> Result<u64, Failure> {
    ready.send(())?;
    let began = sys::thread_cpu_nanos();
    event_loop.run()?;
    Ok(sys::thread_cpu_nanos() - began)
}

/// Looks now and then, from another thread, whether a loop has done its work.
fn quit_when(event_loop: LoopHandle, is_done: impl Fn() -> bool + Send + 'static) {
    thread::spawn(move || {
        while !is_done() {
            thread::sleep(std::time::Duration::from_millis(20));
        }
        event_loop.quit();
    });
}
