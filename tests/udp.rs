//! UDP sockets on a loop. No test of this program starts a process, which would keep every descriptor open for a moment: ports
//! that are given up have to be free at once.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use campana::EventLoop;
use campana::reactor::{Datagrams, UdpChannel, UdpOptions, UdpSocket};

const PATIENCE: Duration = Duration::from_secs(20);

fn echo(socket: &mut UdpChannel<'_>, datagrams: Datagrams<'_>) {
    for datagram in datagrams {
        assert!(socket.send_to(datagram.bytes, datagram.from));
    }
}

fn plain_socket(bound_to: &str) -> StdSocket {
    let socket = StdSocket::bind(bound_to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A loopback address that nobody else uses, with a port to be chosen: a port of it that was given up stays free.
fn address_of_our_own() -> String {
    static USED: AtomicU8 = AtomicU8::new(0);
    let process = std::process::id();
    let number = USED.fetch_add(1, Ordering::Relaxed) + 1;
    format!("127.{}.{}.{number}:0", 1 + (process >> 8) % 254, process % 256)
}

/// Receives a datagram, however often the wait is interrupted.
#[track_caller]
fn receive(socket: &StdSocket, bytes: &mut [u8]) -> (usize, SocketAddr) {
    loop {
        match socket.recv_from(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => return received.unwrap(),
        }
    }
}

#[track_caller]
fn turn_until(event_loop: &mut EventLoop, what: &str, mut condition: impl FnMut(&mut EventLoop) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition(event_loop) {
        assert!(Instant::now() < end, "waited in vain for {what}");
        event_loop.turn(Some(Duration::from_millis(10))).unwrap();
    }
}

#[test]
fn datagrams_are_echoed_whole_whatever_their_length() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut event_loop = EventLoop::new().unwrap();
        let server = UdpSocket::bind(address).unwrap().start(&mut event_loop, echo).unwrap();
        let client = plain_socket(address);
        client.set_nonblocking(true).unwrap();
        let mut answer = vec![0; 70_000];
        for length in [0, 1, 1472, 20_000, 65_507] {
            let question: Vec<u8> = (0..length).map(|n| n as u8).collect();
            client.send_to(&question, server.local_address()).unwrap();
            let mut received = None;
            turn_until(&mut event_loop, "the echo", |_| {
                received = client.recv_from(&mut answer).ok();
                received.is_some()
            });
            assert_eq!(received, Some((length, server.local_address())));
            assert!(answer[..length] == question);
        }
        let stats = server.on(event_loop.context()).unwrap().stats().unwrap();
        assert_eq!((stats.datagrams_in, stats.datagrams_out), (5, 5));
        assert_eq!((stats.bytes_in, stats.bytes_out), (86_980, 86_980));
    }
}

#[test]
fn a_burst_comes_in_bounded_batches_and_leaves_nothing_behind() {
    let mut event_loop = EventLoop::new().unwrap();
    let batches = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&batches);
    let options = UdpOptions::new().datagrams_per_batch(16);
    let server = UdpSocket::bind_with("127.0.0.1:0", &options).unwrap();
    let client = plain_socket("127.0.0.1:0");
    for number in 0..100_u8 {
        client.send_to(&[number], server.local_address()).unwrap();
    }
    server
        .start(&mut event_loop, move |_, datagrams| {
            seen.borrow_mut().push(datagrams.iter().map(|datagram| datagram.bytes[0]).collect::<Vec<_>>());
        })
        .unwrap();
    turn_until(&mut event_loop, "100 datagrams", |_| batches.borrow().iter().flatten().count() == 100);
    let batches = batches.take();
    assert!(batches.iter().flatten().copied().eq(0..100), "{batches:?}");
    assert!(batches.iter().all(|batch| batch.len() <= 16));
    assert_eq!(batches.len(), 100_usize.div_ceil(16));
}

#[test]
fn a_flood_leaves_room_for_timers() {
    let mut event_loop = EventLoop::new().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to_itself = client.local_address();
    // Each datagram that arrives sends the next one, so that there always is one.
    let client = client.start(&mut event_loop, echo).unwrap();
    client.on(event_loop.context()).unwrap().send_to(b"again", to_itself);
    let fired = Rc::new(Cell::new(false));
    let fires = Rc::clone(&fired);
    event_loop.context().run_after(Duration::from_millis(5), move |_| fires.set(true));
    turn_until(&mut event_loop, "the timer and many datagrams", |event_loop| {
        fired.get() && client.on(event_loop.context()).unwrap().stats().unwrap().datagrams_in >= 100
    });
}

#[test]
fn a_datagram_that_is_too_long_says_that_it_was_cut_off() {
    let mut event_loop = EventLoop::new().unwrap();
    let server = UdpSocket::bind_with("127.0.0.1:0", &UdpOptions::new().max_datagram(8)).unwrap();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let sees = Rc::clone(&seen);
    let client = plain_socket("127.0.0.1:0");
    for text in ["12345678", "123456789", "1"] {
        client.send_to(text.as_bytes(), server.local_address()).unwrap();
    }
    let server = server
        .start(&mut event_loop, move |_, datagrams| {
            let seen = datagrams.into_iter().map(|datagram| (datagram.bytes.to_vec(), datagram.truncated));
            sees.borrow_mut().extend(seen);
        })
        .unwrap();
    turn_until(&mut event_loop, "three datagrams", |_| seen.borrow().len() == 3);
    let expected = [("12345678", false), ("12345678", true), ("1", false)];
    assert_eq!(seen.take(), expected.map(|(text, truncated)| (text.as_bytes().to_vec(), truncated)));
    assert_eq!(server.on(event_loop.context()).unwrap().stats().unwrap().datagrams_truncated, 1);
}

#[test]
fn a_refusal_is_reported_and_the_socket_lives_on() {
    let mut event_loop = EventLoop::new().unwrap();
    let peer = plain_socket(&address_of_our_own()).local_addr().unwrap();
    let errors = Rc::new(RefCell::new(Vec::new()));
    let answers = Rc::new(Cell::new(0));
    let (notes, counts) = (Rc::clone(&errors), Rc::clone(&answers));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap().connect(peer).unwrap();
    let client = client
        .start(&mut event_loop, move |socket, datagrams| {
            counts.set(counts.get() + datagrams.len());
            notes.borrow_mut().extend(socket.take_error().map(|error| error.kind()));
        })
        .unwrap();
    for _ in 0..2 {
        client.on(event_loop.context()).unwrap().send(b"is anybody there?");
        turn_until(&mut event_loop, "the refusal", |_| !errors.borrow().is_empty());
        assert_eq!(errors.take(), [io::ErrorKind::ConnectionRefused]);
    }
    // Now there is somebody. The refusal before it doesn't cost this datagram.
    let listener = plain_socket(&peer.to_string());
    client.on(event_loop.context()).unwrap().send(b"now?");
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let mut bytes = [0; 16];
    let (length, from) = receive(&listener, &mut bytes);
    assert_eq!(&bytes[..length], b"now?");
    listener.send_to(b"yes", from).unwrap();
    turn_until(&mut event_loop, "the answer", |_| answers.get() == 1);
    assert_eq!(client.on(event_loop.context()).unwrap().stats().unwrap().errors, 2);
}

#[test]
fn a_pending_refusal_does_not_cost_the_next_datagram() {
    let mut event_loop = EventLoop::new().unwrap();
    let listener = plain_socket(&address_of_our_own());
    let peer = listener.local_addr().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap().connect(peer).unwrap();
    let client = client.start(&mut event_loop, |_, _| {}).unwrap();
    drop(listener);
    let mut socket = client.on(event_loop.context()).unwrap();
    // The 64th datagram makes the first ones leave: the refusal is there when the others follow.
    for number in 0..100_u8 {
        assert!(socket.send(&[number]));
    }
    let before = socket.stats().unwrap();
    assert!(before.datagrams_out >= 1, "{before:?}");
    let listener = plain_socket(&peer.to_string());
    turn_until(&mut event_loop, "the queue to drain", |event_loop| {
        client.on(event_loop.context()).unwrap().stats().unwrap().bytes_queued == 0
    });
    let stats = client.on(event_loop.context()).unwrap().stats().unwrap();
    assert_eq!((stats.datagrams_out, stats.datagrams_dropped), (100, 0), "{stats:?}");
    assert!(stats.errors > 0, "{stats:?}");
    let mut byte = [0];
    receive(&listener, &mut byte);
    assert!(byte[0] > 0);
}

#[test]
fn what_the_system_refuses_is_dropped_and_the_rest_goes_on() {
    let mut event_loop = EventLoop::new().unwrap();
    let receiver = plain_socket("127.0.0.1:0");
    let to = receiver.local_addr().unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap().start(&mut event_loop, |_, _| {}).unwrap();
    let mut socket = sender.on(event_loop.context()).unwrap();
    socket.send_to(b"first", to);
    socket.send_to(&[0; 65_508], to);
    socket.send_to(b"to nowhere", SocketAddr::new(to.ip(), 0));
    socket.send(b"to whom?");
    socket.send_to(b"last", to);
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let mut bytes = [0; 16];
    for expected in ["first", "last"] {
        let length = receive(&receiver, &mut bytes).0;
        assert_eq!(&bytes[..length], expected.as_bytes());
    }
    let mut socket = sender.on(event_loop.context()).unwrap();
    let stats = socket.stats().unwrap();
    assert_eq!((stats.datagrams_out, stats.datagrams_dropped, stats.errors), (2, 3, 3), "{stats:?}");
    assert!(socket.take_error().is_some() && socket.take_error().is_none());
}

#[test]
fn several_datagrams_to_several_peers_leave_after_the_callback() {
    let mut event_loop = EventLoop::new().unwrap();
    let receivers: Vec<_> = (0..3).map(|_| plain_socket("127.0.0.1:0")).collect();
    let addresses: Vec<_> = receivers.iter().map(|receiver| receiver.local_addr().unwrap()).collect();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap().start(&mut event_loop, |_, _| {}).unwrap();
    let own_address = sender.local_address();
    let handle = sender.clone();
    event_loop.context().run_after(Duration::ZERO, move |cx| {
        let mut socket = handle.on(cx).unwrap();
        for number in 0..60_u8 {
            socket.send_to(&[number], addresses[usize::from(number) % 3]);
        }
        assert_eq!(socket.stats().unwrap().datagrams_out, 0);
        cx.quit();
    });
    event_loop.run().unwrap();
    assert_eq!(sender.on(event_loop.context()).unwrap().stats().unwrap().datagrams_out, 60);
    for (first, receiver) in receivers.iter().enumerate() {
        for number in (first as u8..60).step_by(3) {
            let mut byte = [0];
            assert_eq!(receive(receiver, &mut byte), (1, own_address));
            assert_eq!(byte, [number]);
        }
    }
}

#[test]
fn another_thread_sends_and_closes_by_the_handle() {
    let mut event_loop = EventLoop::new().unwrap();
    let receiver = plain_socket("127.0.0.1:0");
    let to = receiver.local_addr().unwrap();
    let socket = UdpSocket::bind(address_of_our_own()).unwrap().start(&mut event_loop, echo).unwrap();
    let own_address = socket.local_address();
    let other = std::thread::spawn(move || {
        socket.post(move |socket| assert!(socket.send_to(b"from afar", to))).unwrap();
        let mut bytes = [0; 16];
        let (length, from) = receive(&receiver, &mut bytes);
        assert_eq!((&bytes[..length], from), (&b"from afar"[..], own_address));
        socket
            .post(|socket| {
                socket.close();
                socket.close();
                assert!(!socket.send(b"too late"));
                assert!(socket.stats().is_none() && socket.local_address().is_none());
            })
            .unwrap();
        socket.post(|_| unreachable!("the socket is closed")).unwrap();
        // Posted, as `quit` itself could overtake what was posted before.
        socket.loop_handle().post(|cx| cx.quit()).unwrap();
        socket
    });
    event_loop.run().unwrap();
    let socket = other.join().unwrap();
    assert!(socket.on(event_loop.context()).is_none());
    // The port is free again, though the handle lives.
    drop(StdSocket::bind(own_address).unwrap());
    assert_eq!(event_loop.handle().figures().panics, 0);
    drop(event_loop);
    assert!(socket.post(|_| {}).is_err());
}

#[test]
fn a_handle_reaches_nothing_on_another_loop() {
    let (mut ours, mut theirs) = (EventLoop::new().unwrap(), EventLoop::new().unwrap());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap().start(&mut ours, echo).unwrap();
    let on_theirs = UdpSocket::bind("127.0.0.1:0").unwrap().start(&mut theirs, echo).unwrap();
    assert!(socket.on(theirs.context()).is_none() && on_theirs.on(ours.context()).is_none());
    assert!(socket.on(ours.context()).is_some() && on_theirs.on(theirs.context()).is_some());
}

#[test]
fn a_socket_closed_in_its_own_callback_sends_what_it_said_before() {
    let mut event_loop = EventLoop::new().unwrap();
    let server = UdpSocket::bind(address_of_our_own()).unwrap();
    let address = server.local_address();
    server
        .start(&mut event_loop, |socket, datagrams| {
            echo(socket, datagrams);
            socket.close();
            // Whatever took its place meanwhile is none of its business.
            let another = UdpSocket::bind("127.0.0.1:0").unwrap();
            another.start(socket.context(), |_, _| {}).unwrap();
            assert!(!socket.send(b"to the wrong one"));
        })
        .unwrap();
    let client = plain_socket("127.0.0.1:0");
    client.send_to(b"the end", address).unwrap();
    turn_until(&mut event_loop, "the call", |event_loop| event_loop.handle().figures().events > 0);
    let mut bytes = [0; 16];
    assert_eq!(receive(&client, &mut bytes), (7, address));
    drop(StdSocket::bind(address).unwrap());
    assert_eq!(event_loop.handle().figures().panics, 0);
}

#[test]
fn a_panicking_callback_ends_its_socket_alone() {
    let mut event_loop = EventLoop::new().unwrap();
    let bad = UdpSocket::bind(address_of_our_own()).unwrap();
    let bad = bad.start(&mut event_loop, |_, _| panic!("on purpose")).unwrap();
    let good = UdpSocket::bind("127.0.0.1:0").unwrap().start(&mut event_loop, echo).unwrap();
    let client = plain_socket("127.0.0.1:0");
    client.set_nonblocking(true).unwrap();
    client.send_to(b"boom", bad.local_address()).unwrap();
    turn_until(&mut event_loop, "the panic", |event_loop| event_loop.handle().figures().panics == 1);
    assert!(bad.on(event_loop.context()).is_none());
    drop(StdSocket::bind(bad.local_address()).unwrap());
    client.send_to(b"still there?", good.local_address()).unwrap();
    let mut bytes = [0; 16];
    turn_until(&mut event_loop, "the echo", |_| client.recv(&mut bytes).is_ok());
    assert_eq!(&bytes[..12], b"still there?");
}

#[test]
fn a_bad_address_is_explained() {
    let taken = plain_socket(&address_of_our_own()).local_addr().unwrap();
    let holder = UdpSocket::bind(taken).unwrap();
    let error = UdpSocket::bind(taken).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    drop(holder);
    UdpSocket::bind(taken).unwrap();
    for address in ["unix:/tmp/no", "seqpacket:@no"] {
        assert_eq!(UdpSocket::bind(address).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(socket.connect(address).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn options_reach_the_socket() {
    let options = UdpOptions::new().reuse_port(true).recv_buffer_size(65_536).send_buffer_size(32_768);
    let first = UdpSocket::bind_with("127.0.0.1:0", &options).unwrap();
    UdpSocket::bind_with(first.local_address(), &options).unwrap();
    let socket = socket2::SockRef::from(&first);
    assert_eq!((socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap()), (131_072, 65_536));
    assert!(!socket.broadcast().unwrap());
    let options = UdpOptions::new().broadcast(true).v6only(true);
    let only_v6 = UdpSocket::bind_with("[::]:0", &options).unwrap();
    let socket = socket2::SockRef::from(&only_v6);
    assert!(socket.only_v6().unwrap() && socket.broadcast().unwrap());
}

#[test]
fn a_socket_of_the_standard_library_is_taken_over() {
    let mut event_loop = EventLoop::new().unwrap();
    let peer = plain_socket("127.0.0.1:0");
    let socket = plain_socket("127.0.0.1:0");
    socket.connect(peer.local_addr().unwrap()).unwrap();
    let socket = UdpSocket::from_std(socket, &UdpOptions::new()).unwrap();
    let handle = socket.start(&mut event_loop, |_, _| {}).unwrap();
    handle.on(event_loop.context()).unwrap().send(b"to the peer");
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let mut bytes = [0; 16];
    assert_eq!(receive(&peer, &mut bytes), (11, handle.local_address()));
}
