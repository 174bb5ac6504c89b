//! A snapshot of many connections, on a loop that has other things to do.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use campana::control::inspect::Inspector;
use campana::control::{ClientError, ControlClient};
use campana::{EventLoop, TcpServer};
use serde_json::{Value, json};

#[path = "support/reactor.rs"]
mod reactor;

use reactor::turn_until;

/// How many connections a loop looks at in one turn.
const CHUNK: usize = 256;

/// So many idle connections, and one that is echoed to, on a loop that the test turns.
struct Crowd {
    event_loop: EventLoop,
    control: ControlClient,
    echoed: TcpStream,
    _idle: Vec<UnixStream>,
}

impl Crowd {
    fn of(connections: usize) -> Self {
        let name = format!("campana-snapshot-{}-{connections}", std::process::id());
        let mut event_loop = EventLoop::new().unwrap();
        let server = TcpServer::bind(&*format!("unix:@{name}")).unwrap().and_bind("127.0.0.1:0").unwrap();
        let server = server.on_data(|conn, input| conn.send(input.take())).start(&mut event_loop).unwrap();
        let control_name = format!("@{name}-control");
        Inspector::of("crowd", &server).serve(&mut event_loop, &*control_name).unwrap();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let mut idle = Vec::new();
        while idle.len() < connections {
            // Fewer than may wait to be accepted.
            idle.extend((0..64).map(|_| UnixStream::connect_addr(&address).unwrap()));
            turn_until(&mut event_loop, "all to be accepted", |_| server.figures().connections == idle.len());
        }
        let echoed = TcpStream::connect(server.local_addresses()[1].as_inet().unwrap()).unwrap();
        echoed.set_nonblocking(true).unwrap();
        turn_until(&mut event_loop, "one more", |_| server.figures().connections == idle.len() + 1);
        let mut control = ControlClient::connect(&*control_name).unwrap();
        control.set_timeout(Some(Duration::ZERO));
        Self { event_loop, control, echoed, _idle: idle }
    }

    /// Has the loop take a turn in which there is something to be echoed. Answers whether it was.
    fn turn_with_echo(&mut self) -> bool {
        self.echoed.write_all(b"x").unwrap();
        self.event_loop.turn(Some(Duration::from_millis(100))).unwrap();
        match self.echoed.read(&mut [0; 16]) {
            Ok(length) => length > 0,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }
}

#[test]
fn while_a_loop_is_looked_through_others_are_served_in_every_turn() {
    let mut crowd = Crowd::of(8 * CHUNK);
    for sort in ["id", "bytes_in", "peer"] {
        let request =
            crowd.control.send("connections", &json!({"sort": sort, "filter": "crowd", "limit": 3})).unwrap();
        let (mut turns, mut echoes) = (0, 0);
        let answer: Value = loop {
            match crowd.control.wait(&request) {
                Ok(reply) => break reply.into_result().unwrap(),
                Err(ClientError::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
            turns += 1;
            assert!(turns < 1000, "no answer");
            echoes += usize::from(crowd.turn_with_echo());
        };
        assert_eq!(answer["matched"], 8 * CHUNK + 1);
        assert_eq!(answer["connections"].as_array().unwrap().len(), 3);
        assert!(turns > 8, "{turns} turns for more than eight chunks");
        assert_eq!(echoes, turns, "each turn served the other connection too");
    }
}

#[test]
fn many_lists_at_once_take_no_more_of_a_turn_than_some() {
    let mut crowd = Crowd::of(4 * CHUNK);
    let (lists, at_a_time) = (96, 16);
    let asked: Vec<_> =
        (0..lists).map(|_| crowd.control.send("connections", &json!({"limit": 1})).unwrap()).collect();
    let (mut turns, mut echoes) = (0, 0);
    for list in asked {
        let answer: Value = loop {
            match crowd.control.wait(&list) {
                Ok(reply) => break reply.into_result().unwrap(),
                Err(ClientError::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
            turns += 1;
            echoes += usize::from(crowd.turn_with_echo());
        };
        assert_eq!(
            answer["matched"],
            4 * CHUNK + 2,
            "those that are idle, the one that is echoed to, and this one"
        );
    }
    assert!(turns >= 4 * lists / at_a_time, "{turns} turns");
    assert!(echoes + 1 >= turns, "{echoes} of {turns}");
}
