//! Unix sockets: packets that stay whole, streams, and what may come along with either.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use campana::socket::{Address, Socket, SocketOptions};
use campana::{SendError, TcpClient, TcpServer};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

#[path = "support/server.rs"]
mod server;

use server::{Moment, PATIENCE, Server, pattern, wait_until};

/// An abstract name that nobody else has.
fn name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("campana-seqpacket-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst))
}

fn packets() -> (Address, TcpServer) {
    let address = Address::seqpacket_abstract(name()).unwrap();
    (address.clone(), TcpServer::bind(address).unwrap())
}

#[track_caller]
fn connect(address: &Address) -> Socket {
    let (socket, connected) = Socket::connect(address, &SocketOptions::new()).unwrap();
    assert!(connected);
    socket
}

fn wait_for(socket: &Socket, flags: rustix::event::PollFlags) {
    let limit = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let mut polled = [rustix::event::PollFd::new(socket, flags)];
    assert_eq!(rustix::event::poll(&mut polled, Some(&limit)).unwrap(), 1, "nothing happened");
}

/// Receives one packet; `None` is the end.
#[track_caller]
fn receive(socket: &Socket) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(512 * 1024);
    wait_for(socket, rustix::event::PollFlags::IN);
    let received = socket.recv_packet(&mut packet).unwrap();
    assert!(!received.truncated);
    (!received.end_of_file).then_some(packet)
}

#[test]
fn each_packet_is_one_call_and_each_send_is_one_packet() {
    let (address, server) = packets();
    let server = Server::of(server, |moment, conn, input| match moment {
        Moment::Data => {
            let packet = input.take().to_vec();
            conn.send(&packet).unwrap();
            conn.send([b"again: ", &packet[..]].concat()).unwrap();
        }
        _ => moment.usual(conn, input),
    });
    let client = connect(&address);
    for packet in [&b"one"[..], b"two", b"", b"four", &pattern(50_000)] {
        client.send(packet).unwrap();
    }
    for packet in [&b"one"[..], b"two", b"", b"four", &pattern(50_000)] {
        assert_eq!(receive(&client).unwrap(), packet);
        assert_eq!(receive(&client).unwrap(), [b"again: ", packet].concat());
    }
    drop(client);
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    let log = server.end(1);
    assert_eq!(log.count(Moment::Data), 5);
    let stats = log.last_stats().unwrap();
    assert_eq!((stats.bytes_in, stats.reads), (50_010, 5));
    assert_eq!((stats.bytes_out, stats.sends), (2 * 50_010 + 5 * 7, 10));
}

#[test]
fn what_on_data_leaves_of_a_packet_is_gone() {
    let (address, server) = packets();
    let server = Server::of(server, |moment, conn, input| match moment {
        Moment::Data => input.retrieve(1),
        _ => moment.usual(conn, input),
    });
    let client = connect(&address);
    client.send(b"first").unwrap();
    client.send(b"second").unwrap();
    server.log.wait_count(Moment::Data, 2);
    assert_eq!(server.log.lines()[1..], ["Data(first)", "Data(second)"]);
    drop(client);
    server.log.wait_closed();
    server.end(1);
}

#[test]
fn empty_packets_are_no_end_in_either_direction() {
    let (address, server) = packets();
    let server = Server::of(server, |moment, conn, input| match moment {
        Moment::Data => {
            assert!(input.is_empty());
            conn.send("").unwrap();
        }
        _ => moment.usual(conn, input),
    });
    let client = connect(&address);
    for _ in 0..100 {
        client.send(b"").unwrap();
    }
    for _ in 0..100 {
        assert_eq!(receive(&client).unwrap(), b"");
    }
    assert_eq!(server.log.count(Moment::Data), 100);
    assert_eq!(server.log.count(Moment::ReadClosed), 0);
    drop(client);
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    let log = server.end(1);
    assert_eq!(log.last_stats().unwrap().bytes_out, 0);
}

#[test]
fn a_packet_over_the_limit_is_a_protocol_error() {
    for (size, text) in [(1_000, None), (1_001, Some("packet of more than 1000 bytes")), (100_000, Some(""))]
    {
        let (address, server) = packets();
        let server = server.configure(|config| config.packet_limit = 1_000);
        let server = Server::of(server, Moment::usual);
        let client = connect(&address);
        client.send(&pattern(size)).unwrap();
        match text {
            None => {
                server.log.wait("the packet", |log| log.data() == pattern(size));
                drop(client);
                server.log.wait_closed();
            }
            Some(text) => {
                assert!(server.log.wait_closed().contains(text));
                assert!(server.log.reasons()[0].starts_with("protocol error"));
                assert_eq!(server.log.count(Moment::Data), 0);
            }
        }
        server.end(1);
    }
}

#[test]
fn a_packet_that_is_too_large_to_be_sent_is_refused_and_the_connection_goes_on() {
    let (address, server) = packets();
    let server = Server::of(server, |moment, conn, input| match moment {
        Moment::Data => {
            let room = conn.socket().unwrap().send_buffer_size().unwrap();
            assert_eq!(conn.send(pattern(room)), Err(SendError::TooLarge));
            assert_eq!(conn.send(pattern(8_000_000)), Err(SendError::TooLarge));
            conn.send(input.take()).unwrap();
        }
        _ => moment.usual(conn, input),
    });
    let client = connect(&address);
    client.send(b"still here").unwrap();
    assert_eq!(receive(&client).unwrap(), b"still here");
    drop(client);
    server.log.wait_closed();
    assert_eq!(server.running.figures().panics, 0);
    server.end(1);
}

#[test]
fn a_too_large_packet_is_refused_while_others_wait_as_well() {
    let (address, server) = packets();
    let server = Server::of(server, |moment, conn, input| match moment {
        Moment::Data => {
            input.retrieve_all();
            while conn.pending_output() == 0 {
                conn.send(pattern(10_000)).unwrap();
            }
            let room = conn.socket().unwrap().send_buffer_size().unwrap();
            assert_eq!(conn.send(pattern(room)), Err(SendError::TooLarge));
            conn.send("the last").unwrap();
            conn.close();
        }
        _ => moment.usual(conn, input),
    });
    let client = connect(&address);
    client.send(b"x").unwrap();
    let mut last = Vec::new();
    while let Some(packet) = receive(&client) {
        last = packet;
    }
    assert_eq!(last, b"the last");
    drop(client);
    server.log.wait_closed();
    assert_eq!(server.running.figures().panics, 0);
    server.end(1);
}

#[test]
fn packets_for_a_peer_that_does_not_read_wait_in_their_order() {
    let (address, server) = packets();
    let server = Server::of(server, |moment, conn, input| match moment {
        Moment::Data => {
            input.retrieve_all();
            // Small and large ones, shared and copied ones, and empty ones between them.
            for number in 0..300_usize {
                conn.send(pattern(number * 100 % 9_000)).unwrap();
                conn.send(number.to_be_bytes()[..].to_vec()).unwrap();
                conn.send("").unwrap();
            }
            assert!(conn.pending_output() > 500_000);
            conn.shutdown();
        }
        _ => moment.usual(conn, input),
    });
    let client = connect(&address);
    client.send(b"x").unwrap();
    server.log.wait_count(Moment::HighWater, 1);
    for number in 0..300_usize {
        assert_eq!(receive(&client).unwrap(), pattern(number * 100 % 9_000));
        assert_eq!(receive(&client).unwrap(), number.to_be_bytes());
        if number < 299 {
            assert_eq!(receive(&client).unwrap(), b"");
        }
    }
    // The last empty one can't be told from the end.
    while receive(&client).is_some() {}
    drop(client);
    server.log.wait_closed();
    assert_eq!(server.running.figures().panics, 0);
    let log = server.end(1);
    assert_eq!((log.count(Moment::HighWater), log.count(Moment::LowWater)), (1, 1));
}

#[test]
fn endless_empty_packets_to_a_peer_that_does_not_read_are_bounded() {
    let (address, server) = packets();
    let counted = Arc::new(AtomicU32::new(0));
    let sent = Arc::clone(&counted);
    let server =
        Server::of(server.configure(|config| config.hard_cap = 100_000), move |moment, conn, input| {
            match moment {
                Moment::Data => {
                    while conn.send(input.take()).is_ok() && sent.fetch_add(1, Ordering::SeqCst) < 1_000_000 {
                    }
                }
                _ => moment.usual(conn, input),
            }
        });
    let client = connect(&address);
    client.send(b"").unwrap();
    assert_eq!(server.log.wait_closed(), "the peer reads too slowly");
    assert!(counted.load(Ordering::SeqCst) < 20_000);
    drop(client);
    server.end(1);
}

#[test]
fn a_peer_that_goes_with_packets_unread_is_a_reset() {
    let (address, server) = packets();
    let server = Server::of(server, |moment, conn, input| match moment {
        Moment::Connect => conn.send("never read").unwrap(),
        _ => moment.usual(conn, input),
    });
    let client = connect(&address);
    server.log.wait_count(Moment::WriteComplete, 1);
    drop(client);
    assert_eq!(server.log.wait_closed(), "reset by the peer");
    server.end(1);
}

#[test]
fn packets_that_a_peer_left_behind_when_it_closed_are_delivered() {
    let (address, server) = packets();
    let server =
        Server::of(server.configure(|config| config.read_budget = 1), |moment, conn, input| match moment {
            Moment::Connect => conn.pause_reading(),
            _ => moment.usual(conn, input),
        });
    let client = connect(&address);
    for packet in ["one", "", "three"] {
        client.send(packet.as_bytes()).unwrap();
    }
    drop(client);
    server.log.wait_count(Moment::Connect, 1);
    server.running.settle();
    server.handle.for_each(|conn| conn.resume_reading()).unwrap();
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    let log = server.end(1);
    assert_eq!(log.lines()[1..4], ["Data(one)", "Data()", "Data(three)"]);
}

#[test]
fn a_client_speaks_packets_too() {
    let (address, server) = packets();
    let server = Server::of(server, |moment, conn, input| match moment {
        Moment::Data => conn.send(input.take()).unwrap(),
        _ => moment.usual(conn, input),
    });
    let received = Arc::new(Mutex::new(Vec::new()));
    let packets = Arc::clone(&received);
    let client = server.running.call(move |cx| {
        TcpClient::new(address)
            .unwrap()
            .on_connect(|conn| {
                for packet in ["one", "", "three"] {
                    conn.send(packet).unwrap();
                }
            })
            .on_data(move |conn, input| {
                let mut packets = packets.lock().unwrap();
                packets.push(input.take_string().unwrap());
                if packets.len() == 3 {
                    conn.close();
                }
            })
            .start(cx)
    });
    assert!(client.wait_stopped(PATIENCE));
    assert_eq!(*received.lock().unwrap(), ["one", "", "three"]);
    server.log.wait_count(Moment::Close, 1);
    server.end(1);
}

#[test]
fn unix_streams_serve_under_abstract_names_and_paths() {
    let directory = std::env::temp_dir().join(name());
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("socket");
    let addresses = [
        Address::unix_abstract(name()).unwrap(),
        Address::unix_path(&path).unwrap(),
        Address::seqpacket_path(directory.join("packets")).unwrap(),
    ];
    for address in &addresses {
        let server =
            Server::of(TcpServer::bind(address.clone()).unwrap(), |moment, conn, input| match moment {
                Moment::Data => {
                    assert!(conn.peer_credentials().is_ok());
                    conn.send(input.take()).unwrap();
                }
                _ => moment.usual(conn, input),
            });
        assert_eq!(server.handle.local_addresses(), std::slice::from_ref(address));
        let client = connect(address);
        client.send(b"hello").unwrap();
        let mut input = Vec::with_capacity(64);
        wait_for(&client, rustix::event::PollFlags::IN);
        client.recv(&mut input).unwrap();
        assert_eq!(input, b"hello");
        drop(client);
        assert_eq!(server.log.wait_closed(), "closed by the peer");
        assert_eq!(server.running.figures().panics, 0);
        server.end(1);
    }
    assert!(!path.exists(), "the server takes its path with it");
    std::fs::remove_dir(&directory).unwrap();
}

#[test]
fn a_unix_peers_half_close_keeps_pending_output() {
    let address = Address::unix_abstract(name()).unwrap();
    let server = Server::of(TcpServer::bind(address.clone()).unwrap(), |moment, conn, input| match moment {
        Moment::Data => {
            input.retrieve_all();
            conn.send(pattern(2_000_000)).unwrap();
        }
        _ => moment.usual(conn, input),
    });
    let mut client = std::os::unix::net::UnixStream::from(OwnedFd::from(connect(&address)));
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"x").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    server.log.wait_count(Moment::ReadClosed, 1);
    let mut input = Vec::new();
    client.read_to_end(&mut input).unwrap();
    assert!(input == pattern(2_000_000));
    assert_eq!(server.log.wait_closed(), "closed by the peer");
    server.end(1);
}

/// Sends `bytes` and, along with them, copies of the writing end of a pipe.
fn pass(socket: &Socket, bytes: &[u8], pipe: &OwnedFd, copies: usize) {
    let descriptors = vec![pipe.as_fd(); copies];
    let mut space = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
    assert_eq!(sent, bytes.len());
}

#[test]
fn passed_descriptors_that_nobody_wants_are_closed_and_hold_no_bytes_up() {
    let stream = Address::unix_abstract(name()).unwrap();
    let (packet, packet_server) = packets();
    for (address, server) in [(stream.clone(), TcpServer::bind(stream).unwrap()), (packet, packet_server)] {
        let server = Server::of(server, Moment::usual);
        let client = connect(&address);
        let (mut reader, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        // A stream stops reading at each of these boundaries.
        for _ in 0..10 {
            client.send(b"before ").unwrap();
            pass(&client, b"with ", &writer, 16);
            client.send(b"after ").unwrap();
        }
        drop(writer);
        server.log.wait("all bytes", |log| log.data() == b"before with after ".repeat(10));
        // With the last writing end gone the pipe ends.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        drop(client);
        server.log.wait_closed();
        server.end(1);
    }
}

#[test]
fn a_listener_whose_backlog_is_full_refuses_nobody_for_good() {
    let address = Address::seqpacket_abstract(name()).unwrap();
    let options = campana::socket::ListenOptions::new().backlog(1);
    let server = Server::of(TcpServer::bind_with(address.clone(), &options).unwrap(), Moment::usual);
    let held = server.running.hold();
    let mut clients = Vec::new();
    let full = loop {
        match Socket::connect(&address, &SocketOptions::new()) {
            Ok((client, _)) => clients.push(client),
            Err(error) => break error,
        }
        assert!(clients.len() < 100);
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    held.release();
    wait_until("room", || Socket::connect(&address, &SocketOptions::new()).is_ok());
    let connections = clients.len() + 1;
    drop(clients);
    server.log.wait_count(Moment::Close, connections);
    server.end(connections);
}
