//! What loopback can't show: it never says `WouldBlock` to a sender. A Unix datagram socket does when its peer doesn't read, so
//! one stands in for the kernel's full send buffer.

use std::cell::Cell;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::*;
use crate::EventLoop;

/// A socket whose peer is the other one that is returned.
fn pair(options: UdpOptions) -> (UdpSocket, UnixDatagram) {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let anywhere = "127.0.0.1:9".parse().unwrap();
    let socket =
        UdpSocket { descriptor: ours.into(), local_address: anywhere, peer: Some(anywhere), options };
    (socket, theirs)
}

fn read_all(socket: &UnixDatagram, numbers: &mut Vec<u32>) {
    let mut bytes = [0; 64];
    while let Ok(4) = socket.recv(&mut bytes) {
        numbers.push(u32::from_ne_bytes(bytes[..4].try_into().unwrap()));
    }
}

#[test]
fn what_the_system_does_not_take_waits_and_leaves_in_order() {
    let (socket, reader) = pair(UdpOptions::new());
    let mut event_loop = EventLoop::new().unwrap();
    let handle = socket.start(&mut event_loop, |_, _| {}).unwrap();
    let mut channel = handle.on(event_loop.context()).unwrap();
    for number in 0..1000_u32 {
        assert!(channel.send(&number.to_ne_bytes()));
    }
    let stats = channel.stats().unwrap();
    assert!(stats.bytes_queued > 0 && stats.datagrams_out < 1000, "{stats:?}");

    let mut numbers = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while numbers.len() < 1000 {
        assert!(Instant::now() < deadline, "{} arrived", numbers.len());
        read_all(&reader, &mut numbers);
        event_loop.turn(Some(Duration::from_millis(10))).unwrap();
    }
    assert!(numbers.into_iter().eq(0..1000));
    let stats = handle.on(event_loop.context()).unwrap().stats().unwrap();
    assert_eq!((stats.datagrams_out, stats.bytes_out, stats.bytes_queued), (1000, 4000, 0));
    assert_eq!((stats.datagrams_dropped, stats.errors), (0, 0));
}

#[test]
fn a_full_queue_drops_the_newest_and_counts_them() {
    let room_for_ten = 10 * queue::cost(&[0; 4]);
    let (socket, reader) = pair(UdpOptions::new().send_queue_limit(room_for_ten));
    let mut event_loop = EventLoop::new().unwrap();
    let handle = socket.start(&mut event_loop, |_, _| {}).unwrap();
    let mut channel = handle.on(event_loop.context()).unwrap();
    let taken = (0..1000_u32).take_while(|number| channel.send(&number.to_ne_bytes())).count();
    let stats = channel.stats().unwrap();
    assert_eq!(stats.datagrams_dropped, 1);
    assert_eq!(stats.bytes_queued, room_for_ten);
    assert_eq!(stats.datagrams_out as usize, taken - 10);

    let mut numbers = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while numbers.len() < taken {
        assert!(Instant::now() < deadline, "{} of {taken} arrived", numbers.len());
        read_all(&reader, &mut numbers);
        event_loop.turn(Some(Duration::from_millis(10))).unwrap();
    }
    assert!(numbers.into_iter().eq(0..taken as u32));
}

#[test]
fn a_blocked_socket_goes_on_receiving_and_does_not_spin() {
    let (socket, peer) = pair(UdpOptions::new());
    let mut event_loop = EventLoop::new().unwrap();
    let received = Rc::new(Cell::new(0));
    let count = Rc::clone(&received);
    let handle =
        socket.start(&mut event_loop, move |_, datagrams| count.set(count.get() + datagrams.len())).unwrap();
    let mut channel = handle.on(event_loop.context()).unwrap();
    while channel.stats().unwrap().bytes_queued < 1000 {
        channel.send(&[0; 4]);
    }
    peer.send(b"news").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while received.get() == 0 {
        assert!(Instant::now() < deadline);
        event_loop.turn(Some(Duration::from_millis(10))).unwrap();
    }
    // Whatever was ready is dealt with: each of these turns waits to its end.
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let events = event_loop.handle().figures().events;
    let began = Instant::now();
    for _ in 0..5 {
        event_loop.turn(Some(Duration::from_millis(4))).unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(20));
    assert_eq!(event_loop.handle().figures().events, events);
}

#[test]
fn a_drained_queue_gives_memory_back() {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let mut queue = SendQueue::default();
    for _ in 0..1000 {
        queue.push(&[1; 1000], None);
    }
    ours.set_nonblocking(true).unwrap();
    let (mut stats, mut error) = (UdpStats::default(), None);
    let mut bytes = [0; 2000];
    while !queue.flush(ours.as_fd(), &mut stats, &mut error) {
        while theirs.recv(&mut bytes).is_ok() {}
    }
    assert_eq!((stats.datagrams_out, queue.bytes()), (1000, 0));
    assert!(queue.capacity() <= 256 * 1024, "{}", queue.capacity());
}
