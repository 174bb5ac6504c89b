use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

use super::*;
use crate::socket::stream::tests::tcp_pair;

/// Whether every other holder of the peer's end has closed it.
fn is_alone(end: &UnixStream) -> bool {
    use std::io::Read;
    end.set_nonblocking(true).unwrap();
    matches!((&mut &*end).read(&mut [0]), Ok(0))
}

/// The near ends, and the far ones to be passed and dropped.
fn watched(count: usize) -> (Vec<UnixStream>, Vec<UnixStream>) {
    (0..count).map(|_| UnixStream::pair().unwrap()).unzip()
}

fn pass(socket: &Socket, bytes: &[u8], far: Vec<UnixStream>) {
    let borrowed: Vec<_> = far.iter().map(AsFd::as_fd).collect();
    let sent = socket.send_with_descriptors(bytes, &borrowed).unwrap();
    assert_eq!(sent, bytes.len());
}

#[test]
fn a_passed_descriptor_is_the_same_file_and_close_on_exec() {
    for (ours, theirs) in [Socket::pair_stream().unwrap(), Socket::pair_packet().unwrap()] {
        let file = File::open("/proc/self/maps").unwrap();
        let identity = |file: &File| {
            let found = file.metadata().unwrap();
            (found.dev(), found.ino())
        };
        theirs.send_with_descriptors(b"file", &[file.as_fd()]).unwrap();
        let mut input = b"> ".to_vec();
        input.reserve(64);
        let received = ours.recv_with_descriptors(&mut input, 4).unwrap();
        assert_eq!((input.as_slice(), received.len), (&b"> file"[..], 4));
        assert!(!received.truncated && !received.descriptors_truncated);
        assert!(!received.end_of_file);

        let [arrived] = received.descriptors.try_into().unwrap();
        let flags = rustix::io::fcntl_getfd(&arrived).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        assert_eq!(identity(&File::from(arrived)), identity(&file));
    }
}

#[test]
fn more_descriptors_than_asked_for_are_all_closed() {
    for (sent, room) in [(5, 1), (2, 1), (1, 0), (5, 4)] {
        let (ours, theirs) = Socket::pair_stream().unwrap();
        let (near, far) = watched(sent);
        pass(&theirs, b"x", far);
        assert!(near.iter().all(|end| !is_alone(end)));
        let received = ours.recv_with_descriptors(&mut Vec::with_capacity(8), room).unwrap();
        assert!(received.descriptors_truncated, "{sent} into {room}");
        assert_eq!((received.len, received.descriptors.len()), (1, 0));
        assert!(near.iter().all(is_alone), "{sent} into {room}");
    }
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let (ours, theirs) = Socket::pair_stream().unwrap();
    let (near, far) = watched(3);
    pass(&theirs, b"x", far);
    assert_eq!(ours.recv(&mut Vec::with_capacity(8)).unwrap(), 1);
    assert!(near.iter().all(is_alone));

    let (ours, theirs) = Socket::pair_packet().unwrap();
    let (near, far) = watched(3);
    pass(&theirs, b"x", far);
    assert_eq!(ours.recv_packet(&mut Vec::with_capacity(8)).unwrap().len, 1);
    assert!(near.iter().all(is_alone));
}

#[test]
fn descriptors_come_with_the_bytes_that_they_were_sent_with() {
    let (ours, theirs) = Socket::pair_stream().unwrap();
    let (near, mut far) = watched(2);
    pass(&theirs, b"two", far.split_off(1));
    pass(&theirs, b"three", far);
    let mut input = Vec::with_capacity(64);
    for expected in [3, 5] {
        let received = ours.recv_with_descriptors(&mut input, 4).unwrap();
        assert_eq!((received.len, received.descriptors.len()), (expected, 1));
    }
    assert_eq!(input, b"twothree");
    assert!(near.iter().all(is_alone));
}

#[test]
fn an_empty_packet_can_carry_descriptors_and_is_not_the_end_of_file() {
    let (ours, theirs) = Socket::pair_packet().unwrap();
    let (_near, far) = watched(1);
    pass(&theirs, b"", far);
    drop(theirs);
    let mut input = Vec::with_capacity(8);
    let received = ours.recv_with_descriptors(&mut input, 1).unwrap();
    assert_eq!((received.len, received.descriptors.len()), (0, 1));
    assert!(!received.end_of_file);
    let received = ours.recv_with_descriptors(&mut input, 1).unwrap();
    assert!(received.end_of_file && received.descriptors.is_empty());
}

#[test]
fn a_truncated_packet_is_told_and_its_descriptors_arrive() {
    let (ours, theirs) = Socket::pair_packet().unwrap();
    let (_near, far) = watched(1);
    pass(&theirs, &[7; 100], far);
    let mut input = Vec::with_capacity(64);
    let received = ours.recv_with_descriptors(&mut input, 1).unwrap();
    assert!(received.truncated && !received.descriptors_truncated);
    assert_eq!((input, received.descriptors.len()), (vec![7; 64], 1));
}

#[test]
fn nothing_to_receive_leaves_the_buffer_as_it_was() {
    let (ours, theirs) = Socket::pair_stream().unwrap();
    let mut input = b"kept".to_vec();
    input.reserve(64);
    let error = ours.recv_with_descriptors(&mut input, 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(input, b"kept");
    drop(theirs);
    assert!(ours.recv_with_descriptors(&mut input, 1).unwrap().end_of_file);
    assert_eq!(input, b"kept");
}

#[test]
fn as_many_as_a_message_carries_pass_and_one_more_is_refused() {
    let (ours, theirs) = Socket::pair_stream().unwrap();
    let all = vec![ours.as_fd(); MAX_DESCRIPTORS];
    theirs.send_with_descriptors(b"x", &all).unwrap();
    let mut input = Vec::with_capacity(8);
    let received = ours.recv_with_descriptors(&mut input, usize::MAX).unwrap();
    assert_eq!(received.descriptors.len(), MAX_DESCRIPTORS);

    let over = vec![ours.as_fd(); MAX_DESCRIPTORS + 1];
    let error = theirs.send_with_descriptors(b"x", &over).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn descriptors_without_bytes_on_a_stream_are_refused() {
    let (ours, _theirs) = Socket::pair_stream().unwrap();
    let error = ours.send_with_descriptors(b"", &[ours.as_fd()]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn tcp_passes_no_descriptors() {
    let (ours, _theirs) = tcp_pair("127.0.0.1:0");
    let error = ours.send_with_descriptors(b"x", &[ours.as_fd()]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    let error = ours.recv_with_descriptors(&mut Vec::with_capacity(8), 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}
