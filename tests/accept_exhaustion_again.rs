//! Descriptors run out a second time. One test, as the limit is the whole process's.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use campana::TcpServer;

#[path = "support/descriptor_limit.rs"]
mod descriptor_limit;
#[path = "support/server.rs"]
mod server;

use descriptor_limit::{exhaust_descriptors, raise_limit};
use server::{PATIENCE, Server, echo, is_served, wait_until};

fn unconnected() -> socket2::Socket {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap()
}

/// Lets the process open no descriptor more, and connects a socket that was made before.
fn connect_when_exhausted(server: &Server) -> TcpStream {
    let socket = unconnected();
    exhaust_descriptors();
    socket.connect(&server.address().into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn those_who_come_at_a_second_exhaustion_are_left_waiting_for_as_long_as_at_the_first() {
    let shed_after = Duration::from_millis(800);
    let server = Server::of(TcpServer::bind("127.0.0.1:0").unwrap().shed_after(shed_after), echo);
    for round in 1..=2 {
        let began = Instant::now();
        let mut refused = connect_when_exhausted(&server);
        assert_eq!(refused.read(&mut [0; 8]).unwrap_or(0), 0);
        let waited = began.elapsed();
        assert!(
            waited >= shed_after - Duration::from_millis(150),
            "refused after {waited:?} in round {round}"
        );
        wait_until("the count", || server.handle.figures().shed == round);
        // Nobody comes before descriptors are there again, which only a retry can notice; it is the loop's one timer.
        raise_limit();
        wait_until("the last retry", || server.running.figures().timers_pending == 0);
    }
    let mut client = server.connect();
    is_served(&mut client);
    drop(client);
    server.log.wait_closed();
    server.end(1);
}
