//! Connections that are never idle leave room for timers, tasks, newcomers and everybody else.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use campana::socket::SocketOptions;

#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, connect, echo, is_served, pattern, read_exact, wait_until};

/// Peers that write for as long as they are let.
struct Floods {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Floods {
    fn start(address: SocketAddr, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flood = |mut stream: TcpStream| {
            let stop = Arc::clone(&stop);
            move || {
                let block = [b'f'; 64 * 1024];
                while !stop.load(Ordering::Relaxed) && stream.write_all(&block).is_ok() {}
            }
        };
        let threads = (0..count).map(|_| std::thread::spawn(flood(connect(address)))).collect();
        Self { stop, threads }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Discards floods without a line in the log for each block, and answers the rest.
fn sink() -> Server {
    Server::start(|moment, conn, input| match moment {
        Moment::Data if input.peek().first() == Some(&b'f') => input.retrieve_all(),
        _ => echo(moment, conn, input),
    })
}

fn received(server: &Server) -> Vec<u64> {
    server.running.call(|cx| {
        let ids = cx.connections();
        ids.into_iter().filter_map(|id| Some(cx.connection(id)?.stats().bytes_in)).collect()
    })
}

#[test]
fn timers_tasks_and_newcomers_have_their_turn_while_connections_flood_the_loop() {
    let server = sink();
    let floods = Floods::start(server.address(), 3);
    server.log.wait_count(Moment::Connect, 3);
    let ticks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ticks);
    server.running.call(move |cx| {
        cx.run_every(Duration::from_millis(2), move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
    });
    let mut other = server.connect_and_wait();
    for round in 0..20 {
        // The loop was never idle, and all of these had their turn in between.
        let before = ticks.load(Ordering::SeqCst);
        wait_until("a timer", || ticks.load(Ordering::SeqCst) > before);
        server.running.call(|_| ());
        is_served(&mut other);
        let mut newcomer = server.connect();
        is_served(&mut newcomer);
        drop(newcomer);
        server.log.wait_count(Moment::Close, round + 1);
    }
    let before: u64 = received(&server).iter().sum();
    wait_until("more of the flood", || received(&server).iter().sum::<u64>() > before + 1_000_000);
    floods.stop();
    drop(other);
    server.log.wait_count(Moment::Close, 24);
    server.end(24);
}

#[test]
fn a_connection_with_much_to_read_leaves_the_others_their_turn() {
    let server = Server::configured(
        |config| {
            config.read_budget = 10_000;
            config.socket = SocketOptions::new().recv_buffer_size(1 << 20);
        },
        Moment::usual,
    );
    let (mut flood, mut other) = (server.connect_and_wait(), server.connect_and_wait());
    let held = server.running.hold();
    // A read brings 64 KiB of it at most, and so is more than may be read in one turn.
    flood.write_all(&pattern(300_000)).unwrap();
    other.write_all(b"me too").unwrap();
    held.release();
    server.log.wait("both", |log| log.data().len() == 300_006);
    let lines: Vec<_> = server.log.lines().into_iter().filter(|line| line.starts_with("Data")).collect();
    let served = lines.iter().position(|line| line == "Data(me too)").unwrap();
    assert!(lines.len() > 4, "{lines:?}");
    assert!(served <= 1, "{lines:?}");
    drop((flood, other));
    server.log.wait_count(Moment::Close, 2);
    server.end(2);
}

#[test]
fn a_backlog_leaves_those_who_are_connected_their_turn() {
    let server = Server::start(echo);
    let mut other = server.connect_and_wait();
    is_served(&mut other);
    let held = server.running.hold();
    let clients: Vec<_> = (0..300).map(|_| server.connect()).collect();
    other.write_all(b"me too").unwrap();
    held.release();
    assert_eq!(read_exact(&mut other, 6), b"me too");
    server.log.wait_count(Moment::Connect, 301);
    let lines = server.log.lines();
    let served = lines.iter().position(|line| line == "Data(me too)").unwrap();
    let before = lines[..served].iter().filter(|line| *line == "Connect").count();
    // The connected one was ready in the same batch as the listener.
    assert!(before <= 1 + 64, "{before} were accepted first");
    drop((clients, other));
    server.log.wait_count(Moment::Close, 301);
    server.end(301);
}
