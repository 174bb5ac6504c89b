use super::*;
use crate::socket::stream::tests::{recv_some, tcp_pair};
use crate::socket::{ListenOptions, Listener, SocketOptions};

#[test]
fn bytes_are_counted_at_both_ends() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (client, server) = tcp_pair(address);
        let before = client.tcp_info().unwrap();
        assert_eq!(before.state, TcpState::Established);
        assert_eq!(before.bytes_sent, 0);

        assert_eq!(client.send(&[7; 5000]).unwrap(), 5000);
        let mut input = Vec::with_capacity(5000);
        while input.len() < 5000 {
            recv_some(&server, &mut input);
        }
        // Answering carries the acknowledgement of all that was received.
        server.send(b"!").unwrap();
        recv_some(&client, &mut Vec::with_capacity(8));

        let after = client.tcp_info().unwrap();
        assert_eq!(after.bytes_sent, 5000);
        assert_eq!(after.bytes_acked - before.bytes_acked, 5000);
        assert_eq!(after.bytes_received, 1);
        assert_eq!((after.unacked, after.notsent_bytes), (0, 0));
        assert_eq!(after.bytes_retransmitted, 0);
        assert!(after.rtt > Duration::ZERO && after.rtt < Duration::from_secs(5));
        assert!(after.min_rtt > Duration::ZERO && after.min_rtt <= after.rtt * 8);
        assert!(after.snd_mss >= 500 && after.snd_cwnd > 0);
        assert!(after.path_mtu > after.snd_mss);
        assert!(after.segments_sent > before.segments_sent);
        assert_eq!(server.tcp_info().unwrap().bytes_received, 5000);
    }
}

#[test]
fn output_that_a_stopped_reader_leaves_is_reported_as_not_sent() {
    let (client, _server) = tcp_pair("127.0.0.1:0");
    while client.send(&[0; 65536]).is_ok() {}
    let info = client.tcp_info().unwrap();
    assert!(info.notsent_bytes > 0);
}

#[test]
fn an_ipv4_connection_on_a_dual_stack_listener_is_found() {
    let options = ListenOptions::new().v6only(false);
    let listener = Listener::bind(&"[::]:0".parse().unwrap(), &options).unwrap();
    let port = listener.local_address().unwrap().port().unwrap();
    let v4 = SocketAddr::from(([127, 0, 0, 1], port));
    let (_client, _) = Socket::connect(&v4.into(), &SocketOptions::new()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert_eq!(accepted.tcp_info().unwrap().state, TcpState::Established);
}

#[test]
fn half_closed_states_are_told() {
    let (client, server) = tcp_pair("127.0.0.1:0");
    client.shutdown_write().unwrap();
    assert_eq!(recv_some(&server, &mut Vec::with_capacity(8)), 0);
    assert_eq!(server.tcp_info().unwrap().state, TcpState::CloseWait);
    assert!(matches!(client.tcp_info().unwrap().state, TcpState::FinWait1 | TcpState::FinWait2));
}

#[test]
fn a_unix_socket_has_no_tcp_figures() {
    let (ours, _theirs) = Socket::pair_stream().unwrap();
    let error = ours.tcp_info().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}

#[test]
fn a_reset_connection_is_reported_as_not_connected() {
    let (client, server) = tcp_pair("127.0.0.1:0");
    server.reset_on_close().unwrap();
    drop(server);
    let error = client.tcp_info().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}

#[test]
fn an_unknown_connection_is_reported_as_not_found() {
    let answer = |errno: i32| {
        let mut bytes = vec![0; NLMSG_HEADER];
        bytes[..4].copy_from_slice(&20_u32.to_ne_bytes());
        bytes[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        bytes.extend((-errno).to_ne_bytes());
        read_answer(&bytes).unwrap_err()
    };
    let found = answer(Errno::NOENT.raw_os_error());
    assert!(found.to_string().contains("network namespace"));
    let found = answer(Errno::PERM.raw_os_error());
    assert_eq!(found.kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn a_cut_off_answer_is_an_error_and_no_panic() {
    let mut whole = vec![0; NLMSG_HEADER + DIAG_ANSWER];
    whole.extend(12_u16.to_ne_bytes());
    whole.extend(DIAG_INFO.to_ne_bytes());
    whole.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    let len = whole.len();
    whole[..4].copy_from_slice(&(len as u32).to_ne_bytes());
    whole[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    assert_eq!(read_answer(&whole).unwrap().state, TcpState::Established);
    for cut in 0..len {
        assert!(read_answer(&whole[..cut]).is_err(), "cut at {cut}");
    }
}
