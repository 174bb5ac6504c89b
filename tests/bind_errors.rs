//! Addresses that can't be had are clear errors that leave nothing behind, and those that were given back can be had at once.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use campana::TcpServer;
use campana::socket::ListenOptions;

#[path = "support/alone.rs"]
mod alone;
#[path = "support/server.rs"]
mod server;

use alone::one_at_a_time;
use server::{PATIENCE, Server, connect, echo, is_served, open_descriptors, read_to_end, wait_until};

#[test]
fn an_address_that_cannot_be_had_is_an_error_that_names_it_and_costs_no_descriptor() {
    let _guard = one_at_a_time();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let missing = format!("unix:/nonexistent-{}/s", std::process::id());
    let before = open_descriptors();
    for (address, kind, advice) in [
        (&*taken, ErrorKind::AddrInUse, "another port"),
        ("192.0.2.1:7000", ErrorKind::AddrNotAvailable, "one of its own"),
        (&*missing, ErrorKind::NotFound, "create the directory"),
        ("unix:/dev/null/s", ErrorKind::NotADirectory, "create the directory"),
    ] {
        let error = TcpServer::bind(address).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains(address) && text.contains(advice), "{text}");
        assert_eq!(open_descriptors(), before);
    }
}

#[test]
fn text_that_is_no_address_is_refused_before_anything_is_opened() {
    let _guard = one_at_a_time();
    let before = open_descriptors();
    for text in
        ["", "7000", "localhost:7000", "127.0.0.1", "127.0.0.1:65536", "[::1]", "unix:", "tcp://[::1]:1"]
    {
        let error = TcpServer::bind(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}: {error}");
        assert_eq!(open_descriptors(), before);
    }
}

#[test]
fn an_address_that_fails_gives_back_those_that_were_bound_before_it() {
    let _guard = one_at_a_time();
    let before = open_descriptors();
    let first = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let failed = TcpServer::bind(first).unwrap().and_bind("192.0.2.1:7000");
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::AddrNotAvailable);
    assert_eq!(open_descriptors(), before);
    drop(TcpServer::bind(first).unwrap());
}

#[test]
fn a_port_is_served_again_at_once_though_its_last_connections_are_still_being_wound_up() {
    let _guard = one_at_a_time();
    let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    for round in 0..20 {
        let server = Server::of(TcpServer::bind(address).unwrap().threads(round % 3), echo);
        address = server.address();
        let mut clients: Vec<_> = (0..5).map(|_| connect(address)).collect();
        clients.iter_mut().for_each(is_served);
        // This side closes first, so that it is the one that keeps the address for a while.
        server.handle.for_each(|conn| conn.close()).unwrap();
        for client in &mut clients {
            assert_eq!(read_to_end(client), b"");
        }
        drop(clients);
        server.handle.stop(PATIENCE);
        assert!(server.handle.wait_stopped(PATIENCE));
        server.end(5);
    }
}

#[test]
fn a_server_next_to_one_that_runs_needs_both_to_agree() {
    let _guard = one_at_a_time();
    let shared = ListenOptions::new().reuse_port(true);
    let first = Server::of(TcpServer::bind_with("127.0.0.1:0", &shared).unwrap(), echo);
    let address = first.address();
    assert_eq!(TcpServer::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
    let second = Server::of(TcpServer::bind_with(address, &shared).unwrap(), echo);
    let mut clients: Vec<_> = (0..60).map(|_| connect(address)).collect();
    clients.iter_mut().for_each(is_served);
    let counts = [&first, &second].map(|server| server.handle.figures().connections);
    assert!(counts.iter().all(|count| *count > 0) && counts.iter().sum::<usize>() == 60, "{counts:?}");
    drop(clients);
    for (server, count) in [first, second].into_iter().zip(counts) {
        wait_until("them to be gone", || server.handle.figures().connections == 0);
        server.end(count);
    }
}
