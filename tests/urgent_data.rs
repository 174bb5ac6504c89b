//! Out-of-band data on TCP: reads stop in front of it, and nothing behind it is left lying.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use socket2::SockRef;

#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, half_close, pattern, reset, wait_until};

fn send_urgent(stream: &TcpStream) {
    assert_eq!(SockRef::from(stream).send_out_of_band(b"!").unwrap(), 1);
}

#[test]
fn bytes_in_front_of_and_behind_urgent_data_are_delivered_together() {
    for behind in [&b""[..], b"d", b"def"] {
        let server = Server::start(Moment::usual);
        let mut client = server.connect_and_wait();
        client.set_nodelay(true).unwrap();
        for round in 1..=20 {
            // All of it is there when the loop looks, and there will be no other event.
            let held = server.running.hold();
            client.write_all(b"abc").unwrap();
            send_urgent(&client);
            client.write_all(behind).unwrap();
            held.release();
            let expected = [b"abc", behind].concat().repeat(round);
            server.log.wait("all bytes", |log| log.data() == expected);
        }
        let turns = server.running.idle_turns(Duration::from_millis(100));
        assert!(turns <= 5, "{turns} turns for nothing");
        drop(client);
        server.log.wait_closed();
        server.end(1);
    }
}

#[test]
fn urgent_data_alone_calls_nobody_and_makes_no_loop_spin() {
    let server = Server::start(Moment::usual);
    let mut client = server.connect_and_wait();
    send_urgent(&client);
    let turns = server.running.idle_turns(Duration::from_millis(100));
    assert!(turns <= 5, "{turns} turns for nothing");
    assert_eq!(server.log.count(Moment::Data), 0);
    client.write_all(b"as usual").unwrap();
    server.log.wait("the data", |log| log.data() == b"as usual");
    half_close(&client);
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    server.end(1);
}

#[test]
fn urgent_data_while_reading_is_paused_is_found_when_it_is_resumed() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Connect => conn.pause_reading(),
        _ => moment.usual(conn, input),
    });
    let mut client = server.connect_and_wait();
    client.write_all(b"in front").unwrap();
    send_urgent(&client);
    client.write_all(b", behind").unwrap();
    wait_until("all to arrive", || server.unread() > 0);
    let turns = server.running.idle_turns(Duration::from_millis(100));
    assert!(turns <= 5, "{turns} turns while paused");
    server.handle.for_each(|conn| conn.resume_reading()).unwrap();
    server.log.wait("all bytes", |log| log.data() == b"in front, behind");
    reset(client);
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    server.end(1);
}

#[test]
fn urgent_data_is_not_forgotten_when_the_read_budget_ends_in_front_of_it() {
    // More than one read, which ends the budget; the second is cut short by the urgent byte, and nothing calls for a third.
    let in_front = pattern(70_000);
    let server = Server::configured(|config| config.read_budget = 1, Moment::usual);
    let mut client = server.connect_and_wait();
    let held = server.running.hold();
    client.write_all(&in_front).unwrap();
    send_urgent(&client);
    client.write_all(b"behind").unwrap();
    held.release();
    let expected = [&in_front[..], b"behind"].concat();
    server.log.wait("all bytes", |log| log.data() == expected);
    drop(client);
    server.log.wait_closed();
    server.end(1);
}
