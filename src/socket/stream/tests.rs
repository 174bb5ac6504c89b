use std::net::SocketAddr;

use super::*;
use crate::socket::{ListenOptions, Listener};

/// A connected pair over a listener of its own: the client and what was accepted.
pub(in crate::socket) fn tcp_pair(address: &str) -> (Socket, Socket) {
    let listener = Listener::bind(&address.parse().unwrap(), &ListenOptions::default()).unwrap();
    connect_to(&listener, &SocketOptions::default())
}

pub(in crate::socket) fn connect_to(listener: &Listener, options: &SocketOptions) -> (Socket, Socket) {
    let server = listener.local_address().unwrap();
    let (client, _) = Socket::connect(&server, options).unwrap();
    wait_for(listener, PollFlags::IN);
    let (accepted, _) = listener.accept().unwrap();
    wait_for(&client, PollFlags::OUT);
    (client, accepted)
}

pub(in crate::socket) fn wait_for(fd: &impl AsFd, flags: PollFlags) {
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    let mut polled = [PollFd::new(fd, flags)];
    let ready = rustix::event::poll(&mut polled, Some(&limit)).unwrap();
    assert_eq!(ready, 1, "nothing happened within 10 s");
}

pub(in crate::socket) fn recv_some(socket: &Socket, into: &mut Vec<u8>) -> usize {
    wait_for(socket, PollFlags::IN);
    socket.recv(into).unwrap()
}

fn packet(socket: &Socket, room: usize) -> (Vec<u8>, Packet) {
    let mut into = Vec::with_capacity(room);
    let packet = socket.recv_packet(&mut into).unwrap();
    (into, packet)
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

#[test]
fn a_socket_stays_small() {
    assert!(size_of::<Socket>() <= 8);
}

#[test]
fn recv_appends_and_never_grows() {
    let (ours, theirs) = Socket::pair_stream().unwrap();
    theirs.send(b"abcdefgh").unwrap();
    let mut input = Vec::with_capacity(16);
    input.extend(b"0123456789ab");
    let room = input.capacity() - input.len();
    assert_eq!(ours.recv(&mut input).unwrap(), room.min(8));
    assert_eq!(&input[..16], b"0123456789ababcd");

    input.truncate(0);
    input.shrink_to_fit();
    let error = ours.recv(&mut input).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let error = ours.recv_packet(&mut input).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn nothing_to_read_would_block_and_a_shut_down_peer_is_the_end_of_file() {
    let (ours, theirs) = tcp_pair("127.0.0.1:0");
    let mut input = Vec::with_capacity(8);
    let error = ours.recv(&mut input).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    theirs.shutdown_write().unwrap();
    assert_eq!(recv_some(&ours, &mut input), 0);
    ours.send(b"still").unwrap();
    assert_eq!(recv_some(&theirs, &mut input), 5);
}

#[test]
fn sending_to_a_peer_that_is_gone_is_an_error_and_no_signal() {
    let (ours, theirs) = Socket::pair_stream().unwrap();
    drop(theirs);
    let errors = [
        ours.send(b"x").unwrap_err(),
        ours.send_vectored(&[IoSlice::new(b"x")]).unwrap_err(),
        ours.send_with_descriptors(b"x", &[ours.as_fd()]).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn slices_are_sent_in_order_and_the_first_1024_of_more() {
    let (ours, theirs) = Socket::pair_stream().unwrap();
    let slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"c")];
    assert_eq!(ours.send_vectored(&slices).unwrap(), 3);
    let mut input = Vec::with_capacity(4096);
    recv_some(&theirs, &mut input);
    assert_eq!(input, b"abc");

    let many = vec![IoSlice::new(b"x"); 1500];
    assert_eq!(ours.send_vectored(&many).unwrap(), 1024);
    let (ours, _theirs) = Socket::pair_packet().unwrap();
    let error = ours.send_vectored(&many).unwrap_err();
    assert_eq!(errno(&error), Some(Errno::MSGSIZE));
}

#[test]
fn packets_keep_their_boundaries() {
    let (ours, theirs) = Socket::pair_packet().unwrap();
    assert!(ours.is_packet() && !ours.is_tcp());
    theirs.send(b"one").unwrap();
    theirs.send_vectored(&[IoSlice::new(b"tw"), IoSlice::new(b"o")]).unwrap();
    for expected in [b"one", b"two"] {
        let (bytes, packet) = packet(&ours, 64);
        assert_eq!(bytes, expected);
        assert_eq!(packet, Packet { len: 3, truncated: false, end_of_file: false });
    }
    let error = ours.recv_packet(&mut Vec::with_capacity(8)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_packet_longer_than_the_room_is_reported_as_truncated() {
    let (ours, theirs) = Socket::pair_packet().unwrap();
    theirs.send(&[7; 100]).unwrap();
    theirs.send(b"next").unwrap();
    let (bytes, first) = packet(&ours, 64);
    assert_eq!(bytes, [7; 64]);
    assert!(first.truncated && first.len == 64);
    assert_eq!(packet(&ours, 64).0, b"next");
}

#[test]
fn a_packet_that_fits_exactly_is_not_truncated() {
    let (ours, theirs) = Socket::pair_packet().unwrap();
    theirs.send(&[7; 64]).unwrap();
    let (bytes, first) = packet(&ours, 64);
    assert_eq!((bytes.len(), first.truncated), (64, false));
}

#[test]
fn an_empty_packet_is_not_the_end_of_file() {
    let (ours, theirs) = Socket::pair_packet().unwrap();
    theirs.send(b"").unwrap();
    let (_, empty) = packet(&ours, 64);
    assert_eq!((empty.len, empty.end_of_file), (0, false));

    theirs.send(b"").unwrap();
    theirs.send(b"last").unwrap();
    drop(theirs);
    let (_, empty) = packet(&ours, 64);
    assert_eq!((empty.len, empty.end_of_file), (0, false));
    assert_eq!(packet(&ours, 64).0, b"last");
    assert!(packet(&ours, 64).1.end_of_file);
    assert!(packet(&ours, 64).1.end_of_file);
}

#[test]
fn a_packet_peer_that_shuts_down_is_the_end_of_file_and_still_reads() {
    let (ours, theirs) = Socket::pair_packet().unwrap();
    theirs.shutdown_write().unwrap();
    assert!(packet(&ours, 64).1.end_of_file);
    ours.send(b"answer").unwrap();
    assert_eq!(packet(&theirs, 64).0, b"answer");
}

#[test]
fn a_packet_over_the_send_buffer_is_refused_for_good() {
    let (ours, _theirs) = Socket::pair_packet().unwrap();
    ours.set_send_buffer_size(8192).unwrap();
    let too_large = vec![0; ours.send_buffer_size().unwrap() + 1];
    let error = ours.send(&too_large).unwrap_err();
    assert_eq!(errno(&error), Some(Errno::MSGSIZE));
}

#[test]
fn a_refused_connection_is_reported_once() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::new()).unwrap();
    let nobody = listener.local_address().unwrap();
    drop(listener);
    match Socket::connect(&nobody, &SocketOptions::new()) {
        Ok((socket, connected)) => {
            assert!(!connected);
            wait_for(&socket, PollFlags::OUT);
            let error = socket.take_error().unwrap().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            assert!(socket.take_error().unwrap().is_none());
            let error = socket.peer_address().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        }
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
    }
}

#[test]
fn a_full_unix_backlog_would_block() {
    let name = format!("unix:@campana-full-{}", std::process::id());
    let options = ListenOptions::new().backlog(0);
    let listener = Listener::bind(&name.parse().unwrap(), &options).unwrap();
    let address = listener.local_address().unwrap();
    let (_first, connected) = Socket::connect(&address, &SocketOptions::new()).unwrap();
    assert!(connected);
    let error = Socket::connect(&address, &SocketOptions::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_client_can_choose_its_own_address() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::new()).unwrap();
    let own: SocketAddr = "127.0.0.2:0".parse().unwrap();
    let options = SocketOptions::new().local_address(own);
    let (client, accepted) = connect_to(&listener, &options);
    assert_eq!(client.local_address().unwrap().ip(), Some(own.ip()));
    assert_eq!(accepted.peer_address().unwrap(), client.local_address().unwrap());
}

#[test]
fn options_are_set_on_the_connecting_and_handed_to_the_accepted_socket() {
    let keepalive = KeepAlive::new(Duration::from_millis(32_500), Duration::from_secs(7), 4);
    let options = SocketOptions::new()
        .keepalive(keepalive)
        .user_timeout(Duration::from_micros(12_344_500))
        .recv_buffer_size(20_000)
        .send_buffer_size(30_000)
        .reset_on_close(true);
    let listening = ListenOptions::new().accepted(options.clone());
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &listening).unwrap();
    let (client, accepted) = connect_to(&listener, &options);
    for socket in [client, accepted] {
        assert!(sockopt::tcp_nodelay(&socket).unwrap());
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&socket).unwrap().as_secs(), 33);
        assert_eq!(sockopt::tcp_keepintvl(&socket).unwrap().as_secs(), 7);
        assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), 4);
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 12_345);
        assert_eq!(socket.recv_buffer_size().unwrap(), 40_000);
        assert_eq!(socket.send_buffer_size().unwrap(), 60_000);
        let linger = sockopt::socket_linger(&socket).unwrap();
        assert_eq!(linger, Some(Duration::ZERO));

        socket.set_keepalive(None).unwrap();
        assert!(!sockopt::socket_keepalive(&socket).unwrap());
        socket.set_user_timeout(None).unwrap();
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 0);
        socket.set_nodelay(false).unwrap();
        assert!(!sockopt::tcp_nodelay(&socket).unwrap());
        socket.set_quick_ack(false).unwrap();
        assert!(!sockopt::tcp_quickack(&socket).unwrap());
    }
}

#[test]
fn buffer_sizes_count_for_accepted_unix_sockets_too() {
    let sizes = SocketOptions::new().recv_buffer_size(20_000).send_buffer_size(30_000);
    let name = format!("unix:@campana-sizes-{}", std::process::id());
    let options = ListenOptions::new().accepted(sizes.clone());
    let listener = Listener::bind(&name.parse().unwrap(), &options).unwrap();
    let (client, accepted) = connect_to(&listener, &sizes);
    for socket in [client, accepted] {
        assert_eq!(socket.recv_buffer_size().unwrap(), 40_000);
        assert_eq!(socket.send_buffer_size().unwrap(), 60_000);
    }
}

#[test]
fn options_out_of_range_are_errors() {
    let (ours, theirs) = tcp_pair("127.0.0.1:0");
    let error = ours.set_user_timeout(Some(Duration::MAX)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let never = KeepAlive::new(Duration::ZERO, Duration::ZERO, 0);
    assert!(ours.set_keepalive(Some(never)).is_err());
    theirs.set_user_timeout(Some(Duration::from_nanos(1))).unwrap();
    assert_eq!(sockopt::tcp_user_timeout(&theirs).unwrap(), 1);
}

#[test]
fn reset_on_close_is_seen_as_a_reset() {
    let (ours, theirs) = tcp_pair("127.0.0.1:0");
    theirs.reset_on_close().unwrap();
    drop(theirs);
    wait_for(&ours, PollFlags::IN);
    let error = ours.recv(&mut Vec::with_capacity(8)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn an_adopted_socket_is_made_non_blocking_and_close_on_exec() {
    let flags = SocketFlags::empty();
    let (left, right) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let socket = Socket::from_fd(left).unwrap();
    assert!(socket.is_packet());
    let error = socket.recv(&mut Vec::with_capacity(8)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let flags = rustix::io::fcntl_getfd(&socket).unwrap();
    assert!(flags.contains(FdFlags::CLOEXEC));
    drop(right);

    let (client, _server) = tcp_pair("[::1]:0");
    let socket = Socket::from_fd(client.into()).unwrap();
    assert!(socket.is_tcp());
}

#[test]
fn only_connected_streams_and_packets_are_adopted() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (unix_datagrams, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
    for fd in [listener.into(), datagrams.into(), unix_datagrams.into()] {
        let error = Socket::from_fd(fd).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let (pipe, _other) = io::pipe().unwrap();
    let error = Socket::from_fd(pipe.into()).unwrap_err();
    assert_eq!(errno(&error), Some(Errno::NOTSOCK));
}

#[test]
fn a_pair_has_unnamed_ends() {
    let (stream, _other) = Socket::pair_stream().unwrap();
    assert_eq!(stream.local_address().unwrap().to_string(), "unix:");
    assert_eq!(stream.peer_address().unwrap().to_string(), "unix:");
    let (packets, _other) = Socket::pair_packet().unwrap();
    assert_eq!(packets.peer_address().unwrap().to_string(), "seqpacket:");
}
