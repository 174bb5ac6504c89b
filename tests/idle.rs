//! Connections on which nothing moves.

use std::io::Write;
use std::time::{Duration, Instant};

#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, connect_narrow, half_close, pattern, read_exact, small_buffers, wait_gone};

fn idle_after(idle: Duration) -> impl FnOnce(&mut campana::ConnectionConfig) {
    move |config| config.idle = Some(idle)
}

fn echo(moment: Moment, conn: &mut campana::TcpConnection<'_>, input: &mut campana::Buffer) {
    match moment {
        Moment::Data => drop(conn.send(input.take())),
        _ => moment.usual(conn, input),
    }
}

#[test]
fn a_silent_connection_is_closed_after_its_idle_time_and_not_before() {
    let idle = Duration::from_millis(150);
    let server = Server::configured(idle_after(idle), echo);
    let began = Instant::now();
    let mut client = server.connect();
    wait_gone(&mut client);
    assert!(began.elapsed() >= idle, "{:?}", began.elapsed());
    assert_eq!(server.log.wait_closed(), "timed out: idle");
    server.end(1);
}

#[test]
fn input_postpones_the_idle_end() {
    let idle = Duration::from_millis(300);
    let server = Server::configured(idle_after(idle), Moment::usual);
    let mut client = server.connect_and_wait();
    let began = Instant::now();
    let mut last = began;
    while began.elapsed() < 3 * idle {
        last = Instant::now();
        client.write_all(b"x").unwrap();
        std::thread::sleep(idle / 10);
    }
    assert_eq!(server.log.count(Moment::Close), 0);
    wait_gone(&mut client);
    assert!(last.elapsed() >= idle);
    assert_eq!(server.log.wait_closed(), "timed out: idle");
    server.end(1);
}

#[test]
fn output_postpones_the_idle_end() {
    let idle = Duration::from_millis(300);
    let server = Server::configured(idle_after(idle), move |moment, conn, input| match moment {
        Moment::Connect | Moment::Timer(0..30) => {
            conn.send("tick").unwrap();
            let next = if let Moment::Timer(n) = moment { n + 1 } else { 0 };
            conn.set_timer(idle / 10, next);
        }
        _ => moment.usual(conn, input),
    });
    let began = Instant::now();
    let mut client = server.connect();
    assert_eq!(read_exact(&mut client, 4 * 31), b"tick".repeat(31));
    assert!(began.elapsed() >= 3 * idle);
    wait_gone(&mut client);
    assert_eq!(server.log.wait_closed(), "timed out: idle");
    server.end(1);
}

#[test]
fn each_connection_has_one_deadline_timer_however_busy_it_is() {
    let server = Server::configured(idle_after(Duration::from_secs(3600)), echo);
    let mut clients: Vec<_> = (0..10).map(|_| server.connect_and_wait()).collect();
    server.running.settle();
    let before = server.running.figures();
    assert_eq!(before.timers_pending, 10);
    for _ in 0..100 {
        for client in &mut clients {
            client.write_all(b"busy").unwrap();
            read_exact(client, 4);
        }
    }
    server.running.settle();
    let after = server.running.figures();
    assert_eq!((after.timers_pending, after.timers), (10, before.timers));
    drop(clients);
    server.log.wait_count(Moment::Close, 10);
    server.running.settle();
    assert_eq!(server.running.figures().timers_pending, 0);
    server.end(10);
}

#[test]
fn a_busy_connection_fires_its_deadline_timer_about_once_an_idle_time() {
    let idle = Duration::from_millis(100);
    let server = Server::configured(idle_after(idle), echo);
    let mut client = server.connect_and_wait();
    let began = Instant::now();
    let mut exchanges = 0;
    while began.elapsed() < 10 * idle {
        client.write_all(b"busy").unwrap();
        read_exact(&mut client, 4);
        exchanges += 1;
    }
    let fired = server.running.figures().timers;
    assert!(exchanges > 100 && fired <= 13, "{fired} timers for {exchanges} exchanges");
    assert_eq!(server.log.count(Moment::Close), 0);
    drop(client);
    server.log.wait_closed();
    server.end(1);
}

#[test]
fn a_loop_that_was_held_up_does_not_take_that_for_silence() {
    let idle = Duration::from_millis(100);
    let server = Server::configured(idle_after(idle), echo);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect_and_wait()).collect();
    for _ in 0..3 {
        let held = server.running.hold();
        for client in &mut clients {
            client.write_all(b"I am here").unwrap();
        }
        std::thread::sleep(2 * idle);
        held.release();
        for client in &mut clients {
            assert_eq!(read_exact(client, 9), b"I am here");
        }
    }
    assert!(!server.log.reasons().contains(&"timed out: idle".to_owned()));
    drop(clients);
    server.log.wait_count(Moment::Close, 20);
    server.end(20);
}

#[test]
fn a_loop_that_was_held_up_finds_what_has_waited_before_it_believes_in_silence() {
    // The deadline passes while one connection's callback holds the loop, with the other's data already there.
    let idle = Duration::from_millis(100);
    let server = Server::configured(idle_after(idle), move |moment, conn, input| match moment {
        Moment::Data if input.peek() == b"hold" => {
            std::thread::sleep(2 * idle);
            conn.send(input.take()).unwrap();
        }
        _ => echo(moment, conn, input),
    });
    let mut holder = server.connect_and_wait();
    let mut other = server.connect_and_wait();
    for _ in 0..5 {
        holder.write_all(b"hold").unwrap();
        std::thread::sleep(idle / 5);
        other.write_all(b"here").unwrap();
        assert_eq!(read_exact(&mut other, 4), b"here");
        assert_eq!(read_exact(&mut holder, 4), b"hold");
    }
    drop((holder, other));
    server.log.wait_count(Moment::Close, 2);
    assert!(!server.log.reasons().contains(&"timed out: idle".to_owned()));
    server.end(2);
}

#[test]
fn an_idle_time_that_is_set_or_shortened_later_counts() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data => {
            input.retrieve_all();
            conn.configure(|config| config.idle = Some(Duration::from_millis(50)));
        }
        _ => moment.usual(conn, input),
    });
    let other = server.connect_and_wait();
    let mut client = server.connect_and_wait();
    client.write_all(b"x").unwrap();
    wait_gone(&mut client);
    assert_eq!(server.log.wait_closed(), "timed out: idle");
    assert_eq!(server.log.count(Moment::Close), 1, "the others have their limits still");
    drop(other);
    server.log.wait_count(Moment::Close, 2);
    server.end(2);
}

#[test]
fn an_idle_time_that_is_taken_back_does_not_count() {
    let idle = Duration::from_millis(60);
    let server = Server::configured(idle_after(idle), |moment, conn, input| match moment {
        Moment::Connect => conn.configure(|config| config.idle = None),
        _ => echo(moment, conn, input),
    });
    let mut client = server.connect_and_wait();
    std::thread::sleep(3 * idle);
    client.write_all(b"still here").unwrap();
    assert_eq!(read_exact(&mut client, 10), b"still here");
    drop(client);
    server.log.wait_closed();
    server.end(1);
}

#[test]
fn close_when_silent_counts_from_the_last_byte_and_closes_in_good_order() {
    let silence = Duration::from_millis(200);
    let server = Server::start(move |moment, conn, input| match moment {
        Moment::Connect => conn.close_when_silent(silence),
        _ => echo(moment, conn, input),
    });
    let mut client = server.connect();
    let began = Instant::now();
    let mut last = began;
    while began.elapsed() < 2 * silence {
        last = Instant::now();
        client.write_all(b"x").unwrap();
        read_exact(&mut client, 1);
        std::thread::sleep(silence / 10);
    }
    assert_eq!(server::read_to_end(&mut client), b"");
    assert!(last.elapsed() >= silence);
    drop(client);
    assert_eq!(server.log.wait_closed(), "stopping");
    server.end(1);
}

#[test]
fn close_when_silent_of_a_paused_connection_ends_when_the_peer_closes() {
    let server = Server::configured(
        |config| {
            config.linger = Duration::from_secs(3600);
            config.read_budget = 1;
        },
        |moment, conn, input| match moment {
            Moment::Connect => {
                conn.pause_reading();
                conn.close_when_silent(Duration::from_millis(50));
            }
            _ => moment.usual(conn, input),
        },
    );
    let mut client = server.connect();
    // What nobody reads any more must not keep the end of the stream from being seen.
    client.write_all(&pattern(100_000)).unwrap();
    assert_eq!(server::read_to_end(&mut client), b"");
    drop(client);
    assert_eq!(server.log.wait_closed(), "stopping");
    server.end(1);
}

#[test]
fn output_that_waits_for_a_slow_peer_is_no_silence_for_as_long_as_it_moves() {
    let server = Server::configured(
        |config| {
            config.socket = small_buffers();
            config.idle = Some(Duration::from_millis(400));
        },
        |moment, conn, input| match moment {
            Moment::Connect => conn.send(pattern(400_000)).unwrap(),
            _ => moment.usual(conn, input),
        },
    );
    let mut client = connect_narrow(server.address());
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        read_exact(&mut client, 20_000);
    }
    half_close(&client);
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    server.end(1);
}
