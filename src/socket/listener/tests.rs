use std::net::SocketAddr;

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketType};

use super::*;
use crate::socket::stream::tests::{connect_to, recv_some, wait_for};
use crate::socket::unix_path::tests::Scratch;

pub(in crate::socket) fn bind(address: &str) -> Listener {
    Listener::bind(&address.parse().unwrap(), &ListenOptions::new()).unwrap()
}

pub(in crate::socket) fn bind_error(address: &Address) -> BindError {
    Listener::bind(address, &ListenOptions::new()).unwrap_err()
}

fn abstract_name(scheme: &str, what: &str) -> String {
    format!("{scheme}:@campana-{what}-{}", std::process::id())
}

pub(in crate::socket) fn ping(listener: &Listener) {
    let (client, accepted) = connect_to(listener, &SocketOptions::new());
    client.send(b"ping").unwrap();
    let mut input = Vec::with_capacity(64);
    recv_some(&accepted, &mut input);
    assert_eq!(input, b"ping");
}

pub(in crate::socket) fn connect_many(address: &Address, count: usize) -> Vec<Socket> {
    (0..count)
        .map(|_| {
            let (client, _) = Socket::connect(address, &SocketOptions::new()).unwrap();
            wait_for(&client, PollFlags::OUT);
            client
        })
        .collect()
}

/// Accepts until all have come, as the last step of a handshake may be still to be made.
fn accept_all(listeners: &[&Listener], count: usize) -> Vec<usize> {
    let mut accepted = vec![0; listeners.len()];
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while accepted.iter().sum::<usize>() < count {
        assert!(std::time::Instant::now() < deadline, "{accepted:?}");
        for (listener, accepted) in listeners.iter().zip(&mut accepted) {
            while listener.accept().is_ok() {
                *accepted += 1;
            }
        }
    }
    accepted
}

#[test]
fn every_kind_of_address_serves() {
    let scratch = Scratch::new();
    ping(&bind("127.0.0.1:0"));
    ping(&bind("[::1]:0"));
    ping(&bind(&abstract_name("unix", "serves")));
    ping(&bind(&abstract_name("seqpacket", "serves")));
    for address in [
        Address::unix_path(scratch.path("stream")).unwrap(),
        Address::seqpacket_path(scratch.path("packets")).unwrap(),
    ] {
        let listener = Listener::bind(&address, &ListenOptions::new()).unwrap();
        assert_eq!(listener.local_address().unwrap(), address);
        assert_eq!(listener.is_packet(), address.is_packet());
        ping(&listener);
    }
}

#[test]
fn the_port_that_the_system_chose_is_told() {
    let listener = bind("127.0.0.1:0");
    assert!(listener.local_address().unwrap().port().unwrap() > 0);
}

#[test]
fn the_peers_address_comes_with_the_connection() {
    let listener = bind("127.0.0.1:0");
    let [client] = connect_many(&listener.local_address().unwrap(), 1).try_into().unwrap();
    wait_for(&listener, PollFlags::IN);
    let (_accepted, peer) = listener.accept().unwrap();
    assert_eq!(peer, client.local_address().unwrap());

    let listener = bind(&abstract_name("unix", "peer"));
    let _clients = connect_many(&listener.local_address().unwrap(), 1);
    let (accepted, peer) = listener.accept().unwrap();
    assert_eq!(peer.to_string(), "unix:");
    assert_eq!(accepted.local_address().unwrap(), listener.local_address().unwrap());

    let listener = bind(&abstract_name("seqpacket", "peer"));
    let _clients = connect_many(&listener.local_address().unwrap(), 1);
    let (accepted, peer) = listener.accept().unwrap();
    assert_eq!(peer.to_string(), "seqpacket:");
    assert!(accepted.is_packet());
}

#[test]
fn a_named_unix_peer_is_told_even_if_its_path_is_as_long_as_can_be() {
    let scratch = Scratch::new();
    let listener = bind(&abstract_name("unix", "named"));
    let server = listener.local_address().unwrap();
    let Address::Unix(server) = server else {
        panic!("a stream address was bound");
    };
    for len in [106, 107, 108] {
        let mut path = scratch.path("p").into_os_string().into_string().unwrap();
        path.extend(std::iter::repeat_n('p', len - path.len()));
        let client = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        let own = rustix::net::SocketAddrUnix::new(path.as_bytes()).unwrap();
        rustix::net::bind(&client, &own).unwrap();
        rustix::net::connect(&client, &server.to_system().unwrap()).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        assert_eq!(peer.as_pathname(), Some(Path::new(&path)));
        assert_eq!(accepted.peer_address().unwrap(), peer);
        let client = Socket::from_fd(client).unwrap();
        assert_eq!(client.local_address().unwrap(), peer);
    }
}

#[test]
fn a_connection_that_was_reset_before_is_accepted_with_its_address() {
    let listener = bind("127.0.0.1:0");
    let [client] = connect_many(&listener.local_address().unwrap(), 1).try_into().unwrap();
    wait_for(&listener, PollFlags::IN);
    let address = client.local_address().unwrap();
    client.reset_on_close().unwrap();
    drop(client);
    let (accepted, peer) = listener.accept().unwrap();
    assert_eq!(peer, address);
    wait_for(&accepted, PollFlags::IN);
    assert_eq!(accepted.peer_address().unwrap_err().kind(), io::ErrorKind::NotConnected);
}

#[test]
fn accepted_sockets_are_non_blocking_and_close_on_exec() {
    let listener = bind("127.0.0.1:0");
    let (_client, accepted) = connect_to(&listener, &SocketOptions::new());
    let error = accepted.recv(&mut Vec::with_capacity(8)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    for flags in [rustix::io::fcntl_getfd(&accepted).unwrap(), rustix::io::fcntl_getfd(&listener).unwrap()] {
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
}

#[test]
fn options_of_accepted_sockets_can_be_changed_while_listening() {
    let mut listener = bind("127.0.0.1:0");
    listener.set_accepted_options(&SocketOptions::new().nodelay(false)).unwrap();
    let (_client, accepted) = connect_to(&listener, &SocketOptions::new());
    assert!(!sockopt::tcp_nodelay(&accepted).unwrap());
}

#[test]
fn a_dual_stack_listener_takes_ipv4_unless_told_not_to() {
    for v6only in [false, true] {
        let options = ListenOptions::new().v6only(v6only);
        let listener = Listener::bind(&"[::]:0".parse().unwrap(), &options).unwrap();
        let port = listener.local_address().unwrap().port().unwrap();
        let v4 = SocketAddr::from(([127, 0, 0, 1], port)).into();
        let refused = match Socket::connect(&v4, &SocketOptions::new()) {
            Ok((socket, _)) => {
                wait_for(&socket, PollFlags::OUT);
                socket.take_error().unwrap().is_some()
            }
            Err(_) => true,
        };
        assert_eq!(refused, v6only);
    }
}

#[test]
fn a_second_server_is_kept_out() {
    let first = bind("127.0.0.1:0");
    let error = bind_error(&first.local_address().unwrap());
    assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(text.starts_with("cannot listen on 127.0.0.1:"), "{text}");
    assert!(text.contains("reuse_port"), "{text}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn shared_listeners_divide_the_connections_and_still_exclude_others() {
    for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let first = bind(address);
        let bound = first.local_address().unwrap();
        let second = first.share().unwrap();
        assert_eq!(second.local_address().unwrap(), bound);
        assert_eq!(bind_error(&bound).source.kind(), io::ErrorKind::AddrInUse);

        let loopback = match address {
            "[::]:0" => SocketAddr::from(([127, 0, 0, 1], bound.port().unwrap())).into(),
            _ => bound.clone(),
        };
        let clients = connect_many(&loopback, 200);
        let accepted = accept_all(&[&first, &second], clients.len());
        assert!(accepted.iter().all(|&count| count > 0), "{accepted:?}");

        drop(first);
        let _clients = connect_many(&loopback, 20);
        assert_eq!(accept_all(&[&second], 20), [20]);
        assert_eq!(bind_error(&bound).source.kind(), io::ErrorKind::AddrInUse);
    }
}

#[test]
fn a_listener_with_connections_can_be_shared_again_and_again() {
    let first = bind("127.0.0.1:0");
    let address = first.local_address().unwrap();
    let (_client, _accepted) = connect_to(&first, &SocketOptions::new());
    let second = first.share().unwrap();
    let third = second.share().unwrap();
    let fourth = first.share().unwrap();
    let clients = connect_many(&address, 400);
    let accepted = accept_all(&[&first, &second, &third, &fourth], clients.len());
    assert!(accepted.iter().all(|&count| count > 0), "{accepted:?}");
}

#[test]
fn servers_that_both_ask_for_it_share_a_port() {
    let options = ListenOptions::new().reuse_port(true);
    let first = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let address = first.local_address().unwrap();
    let _second = Listener::bind(&address, &options).unwrap();
    assert_eq!(bind_error(&address).source.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_unix_listener_cannot_be_shared() {
    let listener = bind(&abstract_name("unix", "share"));
    let error = listener.share().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}

#[test]
fn only_listening_sockets_are_adopted() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let adopted = Listener::from_fd(listener.into()).unwrap();
    assert_eq!(adopted.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    ping(&adopted);

    let (connected, _other) = Socket::pair_stream().unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for fd in [connected.into(), datagrams.into()] {
        let error = Listener::from_fd(fd).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
