//! Sessions over packets (SOCK_SEQPACKET): one message, one packet.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use campana::codec::{Lines, RawBytes, Text};
use campana::session::{
    ErrorAction, Session, SessionContext, SessionError, SessionManager, SessionService, Sessions, WriteError,
    WriteId,
};
use campana::testing::{Peer, TestLoop};
use campana::{CloseReason, TcpServer};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

#[path = "support/byte_filters.rs"]
mod byte_filters;
#[path = "support/probe.rs"]
mod probe;
#[path = "support/server.rs"]
mod server;

use probe::{Then, Told, lines, on_message, probes};
use server::{PATIENCE, Running, wait_until};

#[test]
fn each_message_is_a_packet() {
    let (mut test, log) = probes(
        lines(),
        on_message(|text, cx| {
            cx.write(text).unwrap();
            cx.write("again").unwrap();
        }),
    );
    let peer = test.connect_packet();
    peer.send("one\n");
    peer.send("two\n");
    test.run_until_idle();
    let packets: [&[u8]; 4] = [b"one\n", b"again\n", b"two\n", b"again\n"];
    assert_eq!(peer.receive_packets(), packets);
    assert_eq!(log.lines_but_written(), ["open", "message one", "message two"]);
}

#[test]
fn an_empty_packet_is_neither_a_message_nor_the_end() {
    let (mut test, log) = probes(lines(), |_, _| Then::Usual);
    let peer = test.connect_packet();
    peer.send("");
    peer.send("one\n");
    peer.send("");
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "message one"]);
    peer.close();
    test.run_until_idle();
    assert_eq!(log.lines(), ["input closed", "close: closed by the peer"]);
}

#[test]
fn half_a_message_in_a_packet_is_an_error_and_never_a_part_of_the_next() {
    let (mut test, log) = probes(lines(), |_, _| Then::Usual);
    let peer = test.connect_packet();
    peer.send("one\ntw");
    peer.send("o\n");
    peer.close();
    test.run_until_idle();
    let told = log.lines();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[2].starts_with("error: incomplete frame"), "{told:?}");
    assert!(told[3].starts_with("close: protocol error: incomplete frame"), "{told:?}");
}

#[test]
fn a_codec_may_take_a_packet_that_ends_without_a_line_end() {
    let service = SessionService::new(|| Text::over(Lines::new().accept_unended()));
    let (mut test, log) = probes(service, |_, _| Then::Usual);
    let peer = test.connect_packet();
    peer.send("one\ntwo");
    peer.send("three");
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "message one", "message two", "message three"]);
}

#[test]
fn a_pause_holds_back_the_rest_of_a_packet_and_those_after_it() {
    let service = || SessionService::new(|| Text::over(Lines::new().accept_unended()));
    for seed in 0..50 {
        let (test, log) = probes(service(), |told, cx| {
            match told {
                Told::Message(text) if text == "pause" => cx.pause_reading(),
                Told::Timer(_) => cx.resume_reading(),
                _ => {}
            }
            Then::Usual
        });
        let mut test = test.seed(seed);
        let peer = test.connect_packet();
        peer.send("pause\ntwo\nthree");
        peer.send("four\n");
        test.run_until_idle();
        assert_eq!(log.lines(), ["open", "message pause"]);
        test.with_session(&peer, |_, cx| cx.resume_reading());
        test.run_until_idle();
        assert_eq!(log.lines(), ["message two", "message three", "message four"]);
        peer.send("pause\nfive\n");
        peer.close();
        test.run_until_idle();
        test.with_session(&peer, |_, cx| cx.resume_reading());
        test.run_until_idle();
        assert_eq!(
            log.lines(),
            ["message pause", "message five", "input closed", "close: closed by the peer"]
        );
    }
}

#[test]
fn after_a_panic_that_is_passed_over_the_rest_of_the_packet_is_delivered() {
    let (test, log) = probes(lines(), |told, _| match told {
        Told::Message(text) if text == "panic" => panic!("asked to"),
        Told::Error(_) => Then::Error(ErrorAction::Continue),
        _ => Then::Usual,
    });
    let mut test = test.allow_panics();
    let peer = test.connect_packet();
    peer.send("one\npanic\ntwo\n");
    peer.send("three\n");
    test.run_until_idle();
    let messages: Vec<_> = log.lines().into_iter().filter(|line| line.starts_with("message")).collect();
    assert_eq!(messages, ["message one", "message panic", "message two", "message three"]);
}

#[test]
fn each_packet_that_leaves_is_told_and_an_abort_names_those_that_never_did() {
    let (mut test, log) = probes(
        lines(),
        on_message(|_, cx| {
            for _ in 0..5 {
                cx.write("abc").unwrap();
            }
        }),
    );
    let peer = test.connect_packet();
    peer.set_window(9);
    peer.send("go\n");
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "message go", "written 2"]);
    test.with_session(&peer, |_, cx| {
        assert_eq!((cx.pending_writes(), cx.pending_bytes()), (3, 12));
        cx.abort();
    });
    test.run_until_idle();
    assert_eq!(log.lines(), ["close: closed by this side; unwritten from 3"]);
    assert_eq!(peer.receive_packets().len(), 2);
}

/// What went wrong, and how sessions ended.
type Ends = Arc<Mutex<Vec<String>>>;

/// Answers each packet with as many bytes as it says.
struct Answers {
    log: Ends,
}

impl Session for Answers {
    type Codec = RawBytes;

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, message: &[u8]) {
        let length = std::str::from_utf8(message).unwrap().parse().unwrap();
        match cx.write(&vec![b'x'; length]) {
            Ok(_) => {}
            Err(WriteError::TooLarge) => drop(cx.write(b"too large").unwrap()),
            Err(error) => panic!("{error}"),
        }
    }

    fn on_error(&mut self, _cx: &mut SessionContext<'_, Self>, error: &SessionError) -> ErrorAction {
        self.log.lock().unwrap().push(error.to_string());
        ErrorAction::Close
    }

    fn on_close(
        &mut self,
        _cx: &mut SessionContext<'_, Self>,
        reason: &CloseReason,
        unwritten: Option<WriteId>,
    ) {
        self.log.lock().unwrap().push(format!("{reason} {unwritten:?}"));
    }
}

fn answers() -> (TestLoop<Sessions<Answers>>, Peer, Ends) {
    let log = Ends::default();
    let of_sessions = Arc::clone(&log);
    let service = SessionService::new(|| RawBytes);
    let mut test = TestLoop::sessions(service, move |_| Answers { log: Arc::clone(&of_sessions) });
    let peer = test.connect_packet();
    (test, peer, log)
}

#[test]
fn a_message_too_large_for_a_packet_is_refused_and_the_session_goes_on() {
    let (mut test, peer, log) = answers();
    for blocked in [false, true] {
        if blocked {
            peer.set_window(0);
            peer.send("1");
        }
        peer.send("300000");
        peer.send("3");
        test.run_until_idle();
        peer.set_window(usize::MAX);
        test.run_until_idle();
        let packets = peer.receive_packets();
        assert_eq!(packets[packets.len() - 2..], [b"too large".to_vec(), b"xxx".to_vec()]);
    }
    peer.close();
    test.run_until_idle();
    assert_eq!(log.lock().unwrap()[..], ["closed by the peer None"]);
}

#[test]
fn a_packet_that_byte_filters_make_too_large_ends_the_session_and_is_not_called_written() {
    let (mut test, log) = probes(
        SessionService::new(|| Text::over(Lines::new().max(200_000)))
            .byte_filter("hex", || byte_filters::Hex),
        on_message(|_, cx| {
            cx.write(&"x".repeat(150_000)).unwrap();
            let _ = cx.write("small");
        }),
    );
    let peer = test.connect_packet();
    peer.send(byte_filters::hex("go\n"));
    test.run_until_idle();
    let told = log.lines();
    assert!(told[2].starts_with("close: I/O error: the packet is larger"), "{told:?}");
    assert!(told[2].ends_with("unwritten from 1"), "{told:?}");
}

/// A client of packets.
struct Client(OwnedFd);

impl Client {
    fn connect(name: &[u8]) -> Self {
        let address = SocketAddrUnix::new_abstract_name(name).unwrap();
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let socket = socket.unwrap();
        rustix::net::sockopt::set_socket_timeout(
            &socket,
            rustix::net::sockopt::Timeout::Recv,
            Some(PATIENCE),
        )
        .unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        Self(socket)
    }

    fn send(&self, packet: &[u8]) {
        assert_eq!(rustix::net::send(&self.0, packet, SendFlags::NOSIGNAL).unwrap(), packet.len());
    }

    fn receive(&self) -> Vec<u8> {
        let mut packet = vec![0; 1024 * 1024];
        let (length, _) = rustix::net::recv(&self.0, &mut packet, rustix::net::RecvFlags::empty()).unwrap();
        packet.truncate(length);
        packet
    }
}

#[test]
fn over_the_kernels_packets_it_is_the_same() {
    let name = format!("campana session packets {}", std::process::id());
    let address = campana::Address::seqpacket_abstract(name.as_bytes()).unwrap();
    let log: Ends = Arc::default();
    let of_sessions = Arc::clone(&log);
    let (running, sessions): (_, SessionManager<Answers>) = Running::start(move |event_loop| {
        let server = TcpServer::bind(&address).unwrap();
        let service = SessionService::new(|| RawBytes);
        let (handle, sessions) =
            service.serve(server, event_loop, move |_| Answers { log: Arc::clone(&of_sessions) }).unwrap();
        drop(handle);
        sessions
    });
    let client = Client::connect(name.as_bytes());
    client.send(b"3");
    assert_eq!(client.receive(), b"xxx");
    client.send(b"");
    client.send(b"4");
    assert_eq!(client.receive(), b"xxxx", "an empty packet is not the end");
    client.send(b"1000000");
    assert_eq!(client.receive(), b"too large");
    client.send(b"60000");
    assert_eq!(client.receive().len(), 60_000, "one message, one packet");

    let other = Client::connect(name.as_bytes());
    wait_until("the session", || sessions.len() == 2);
    other.send(&vec![b'1'; 70_000]);
    assert_eq!(other.receive(), b"", "it is closed, in good order");
    drop(other);
    wait_until("the session's end", || sessions.len() == 1);
    let expected =
        ["packet of more than 65536 bytes", "protocol error: packet of more than 65536 bytes None"];
    assert_eq!(log.lock().unwrap()[..], expected, "on_error, then on_close");
    client.send(b"5");
    assert_eq!(client.receive(), b"xxxxx");
    drop(client);
    wait_until("the session's end", || sessions.is_empty());
    running.stop();
}
