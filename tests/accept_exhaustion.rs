//! Descriptors run out while connections wait to be accepted. One test, as the limit is the whole process's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use campana::TcpServer;

#[path = "support/descriptor_limit.rs"]
mod descriptor_limit;
#[path = "support/server.rs"]
mod server;

use descriptor_limit::{exhaust_descriptors, raise_limit};
use server::{Moment, PATIENCE, Server, open_descriptors, read_exact, wait_until};

const WAITING: usize = 3;

/// A socket that is to connect later, when no more can be made.
fn unconnected() -> socket2::Socket {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap()
}

fn connect(socket: socket2::Socket, server: &Server) -> TcpStream {
    socket.connect(&server.address().into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn when_descriptors_run_out_those_who_wait_are_served_later_or_refused_and_nothing_spins() {
    let before = open_descriptors();
    let shed_after = Duration::from_millis(1_500);
    let server = TcpServer::bind("127.0.0.1:0").unwrap().shed_after(shed_after);
    let server = Server::of(server, |moment, conn, input| match moment {
        Moment::Data => drop(conn.send(input.take())),
        _ => moment.usual(conn, input),
    });
    let mut served = server.connect_and_wait();

    // First round: descriptors come free in time.
    let sockets: Vec<_> = (0..WAITING).map(|_| unconnected()).collect();
    // One for the loop itself, which may want a timerfd yet.
    let ballast: Vec<_> = (0..=WAITING).map(|_| unconnected()).collect();
    exhaust_descriptors();
    let mut waiting: Vec<_> = sockets.into_iter().map(|socket| connect(socket, &server)).collect();
    wait_until("the exhaustion to be noticed", || server.handle.figures().accept_errors > 0);
    let turns = server.running.idle_turns(Duration::from_millis(500));
    assert!(turns <= 20, "{turns} turns while there is nothing to be done");
    assert!(server.handle.figures().accept_errors <= 20);
    served.write_all(b"others go on").unwrap();
    assert_eq!(read_exact(&mut served, 12), b"others go on");
    assert_eq!(server.log.count(Moment::Connect), 1);

    drop(ballast);
    let freed = Instant::now();
    for client in &mut waiting {
        client.write_all(b"at last").unwrap();
        assert_eq!(read_exact(client, 7), b"at last");
    }
    assert!(freed.elapsed() < Duration::from_secs(1), "{:?}", freed.elapsed());
    assert_eq!((server.handle.figures().shed, server.handle.figures().accepted), (0, 1 + WAITING as u64));

    // Second round: none come free, and those who wait are told so, though not at once.
    raise_limit();
    let sockets: Vec<_> = (0..WAITING).map(|_| unconnected()).collect();
    exhaust_descriptors();
    let began = Instant::now();
    let refused: Vec<_> = sockets.into_iter().map(|socket| connect(socket, &server)).collect();
    for mut client in refused {
        assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0);
    }
    assert!(began.elapsed() >= shed_after - Duration::from_millis(200), "{:?}", began.elapsed());
    // They are counted after they have been closed.
    wait_until("the count", || server.handle.figures().shed == WAITING as u64);
    assert_eq!(server.handle.figures().connections, 1 + WAITING);
    let turns = server.running.idle_turns(Duration::from_millis(500));
    assert!(turns <= 20, "{turns} turns while there is nothing to be done");
    served.write_all(b"others go on").unwrap();
    assert_eq!(read_exact(&mut served, 12), b"others go on");

    // Third round: all is well again, and the reserve is there again too.
    raise_limit();
    let mut client = server.connect();
    client.write_all(b"as before").unwrap();
    assert_eq!(read_exact(&mut client, 9), b"as before");
    drop((client, served, waiting));
    let connections = 2 + WAITING;
    server.log.wait_count(Moment::Close, connections);
    server.end(connections);
    wait_until("all descriptors to be closed", || open_descriptors() == before);
}
