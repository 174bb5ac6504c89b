//! Peers and a handler that do anything at all to their connections, by chance: each connection has one whole life, bytes stay in order,
//! and nothing is left.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use campana::{Buffer, ConnectionId, TcpConnection, TcpServer};
use socket2::SockRef;

#[path = "support/server.rs"]
mod server;

use server::{
    Moment, PATIENCE, Server, connect, connect_narrow, open_descriptors, reset, small_buffers, wait_until,
};

/// Marsaglia's xorshift.
struct Chance(u64);

impl Chance {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}

/// The bytes of a stream from `at` on: each says where it is.
fn stream(at: usize, length: usize) -> Vec<u8> {
    (at..at + length).map(|place| (place as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

/// What the handler knows of one connection.
#[derive(Default)]
struct Life {
    received: usize,
    sent: usize,
}

/// Does something by chance in a callback of a connection that is not about to be closed.
fn act_by_chance(chance: &mut Chance, life: &mut Life, conn: &mut TcpConnection<'_>) {
    for _ in 0..chance.below(3) {
        match chance.below(40) {
            0..20 => {
                let length = [1, 50, 700, 5_000, 70_000][chance.below(5) as usize];
                if conn.send(stream(life.sent, length)).is_ok() {
                    life.sent += length;
                }
            }
            20..24 => conn.pause_reading(),
            24..29 => conn.resume_reading(),
            29..33 => drop(conn.set_timer(Duration::from_micros(chance.below(3_000)), 0)),
            33 => conn.shutdown(),
            34 => conn.close(),
            35 => conn.force_close(),
            36 => conn.close_after(Duration::from_millis(chance.below(20))),
            37 => conn.close_when_silent(Duration::from_millis(chance.below(20))),
            _ => conn.flush(),
        }
    }
}

/// A handler's callback: input is checked, taken in part, and answered by chance.
fn handle(
    lives: &Mutex<(Chance, HashMap<ConnectionId, Life>)>,
    moment: Moment,
    conn: &mut TcpConnection<'_>,
    input: &mut Buffer,
) {
    let (chance, lives) = &mut *lives.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let life = lives.entry(conn.id()).or_default();
    match moment {
        Moment::Connect => drop(conn.set_timer(Duration::from_millis(5), 1)),
        Moment::Data => {
            let taken = if chance.below(4) == 0 { input.readable() / 2 } else { input.readable() };
            assert!(input.peek()[..taken] == stream(life.received, taken), "input came wrong");
            life.received += taken;
            input.retrieve(taken);
        }
        // So that a pause comes to an end.
        Moment::Timer(1) => {
            conn.resume_reading();
            conn.set_timer(Duration::from_millis(5), 1);
        }
        Moment::ReadClosed if chance.below(3) > 0 => conn.close(),
        Moment::Close => return,
        _ => {}
    }
    act_by_chance(chance, life, conn);
}

/// One peer's life: writes, reads, waits and leaves by chance. What it reads is checked.
fn play(address: SocketAddr, seed: u64) {
    let mut chance = Chance::of(seed);
    let mut peer = if chance.below(2) == 0 { connect(address) } else { connect_narrow(address) };
    peer.set_read_timeout(Some(Duration::from_millis(3))).unwrap();
    peer.set_write_timeout(Some(Duration::from_millis(3))).unwrap();
    let (mut sent, mut received) = (0, 0);
    // Of two urgent bytes the first one would become an ordinary one.
    let mut urgent = false;
    for _ in 0..chance.below(30) {
        match chance.below(20) {
            0..8 => {
                let bytes = stream(sent, 1 + chance.below(9_000) as usize);
                match peer.write(&bytes) {
                    Ok(length) => sent += length,
                    Err(error) if is_slow(&error) => {}
                    Err(_) => return,
                }
            }
            8..16 => match read_some(&mut peer, &mut received) {
                Ok(0) => return,
                Err(error) if !is_slow(&error) => return,
                _ => {}
            },
            16 => std::thread::sleep(Duration::from_micros(chance.below(4_000))),
            17 => drop(peer.shutdown(Shutdown::Write)),
            18 if !std::mem::replace(&mut urgent, true) => {
                let _ = SockRef::from(&peer).send_out_of_band(b"!");
            }
            _ => {}
        }
    }
    match chance.below(3) {
        0 => reset(peer),
        1 => drop(peer),
        _ => {
            let _ = peer.shutdown(Shutdown::Write);
            for _ in 0..200 {
                match read_some(&mut peer, &mut received) {
                    Ok(0) => return,
                    Err(error) if !is_slow(&error) => return,
                    _ => {}
                }
            }
        }
    }
}

fn is_slow(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn read_some(peer: &mut TcpStream, received: &mut usize) -> std::io::Result<usize> {
    let mut bytes = [0; 8_192];
    let length = peer.read(&mut bytes)?;
    assert!(bytes[..length] == stream(*received, length), "output came wrong");
    *received += length;
    Ok(length)
}

/// So many peers, some at a time, against one server.
fn round(seed: u64, threads: usize, peers: u64) {
    let before = open_descriptors();
    let server = TcpServer::bind("127.0.0.1:0").unwrap().threads(threads).configure(|config| {
        config.socket = small_buffers();
        (config.high_water, config.low_water, config.hard_cap) = (20_000, 5_000, 300_000);
        config.read_budget = 5_000;
        config.linger = Duration::from_millis(50);
        config.write_stall = Some(Duration::from_millis(200));
        config.slow_consumer = Some(Duration::from_millis(400));
        config.idle = Some(Duration::from_millis(300));
    });
    let lives = Mutex::new((Chance::of(seed), HashMap::new()));
    let server = Server::of(server, move |moment, conn, input| handle(&lives, moment, conn, input));
    let address = server.address();
    let players: Vec<_> = (0..8)
        .map(|player| {
            std::thread::spawn(move || {
                (0..peers / 8).for_each(|n| play(address, seed * 1_000 + player * 100 + n))
            })
        })
        .collect();
    for player in players {
        assert!(player.join().is_ok(), "seed {seed}: output came wrong");
    }
    wait_until("the last of them to end", || server.handle.figures().connections == 0);
    let panics = server.handle.handlers().into_iter().map(|handler| handler.loop_handle().figures().panics);
    assert_eq!(panics.sum::<u64>(), 0, "seed {seed}");
    let turns = server.running.idle_turns(Duration::from_millis(50));
    assert!(turns <= 5, "seed {seed}: {turns} turns for nothing");
    server.handle.stop(PATIENCE);
    assert!(server.handle.wait_stopped(PATIENCE));
    let lives = server.handle.figures().accepted as usize;
    assert_eq!(lives, peers as usize);
    server.end(lives);
    wait_until("all descriptors to be closed", || open_descriptors() == before);
}

#[test]
fn whatever_peers_and_handlers_do_each_connection_has_one_whole_life() {
    // What the first round sets up once for the process stays.
    round(1, 0, 40);
    for seed in 2..6 {
        round(seed, seed as usize % 3, 160);
    }
}
