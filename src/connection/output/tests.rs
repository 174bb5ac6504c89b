//! The queue against a plain vector, and against what its documentation promises.

use proptest::prelude::*;

use super::*;

fn content(queue: &OutputQueue) -> Vec<u8> {
    queue.pieces().flatten().copied().collect()
}

fn piece_lengths(queue: &OutputQueue) -> Vec<usize> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let count = queue.slices(&mut slices);
    slices[..count].iter().map(|slice| slice.len()).collect()
}

#[test]
fn every_source_gives_its_bytes() {
    let text = String::from("text");
    let bytes = Bytes::from_static(b"text");
    let vector = b"text".to_vec();
    let mut buffer = Buffer::from(&b"text"[..]);
    for output in [
        Output::from("text"),
        Output::from(b"text"),
        Output::from(&b"text"[..]),
        Output::from(&text),
        Output::from(text.clone()),
        Output::from(&vector),
        Output::from(vector.clone()),
        Output::from(&bytes),
        Output::from(bytes.clone()),
        Output::from(BytesMut::from("text")),
        Output::from(&mut buffer),
    ] {
        assert_eq!((output.as_slice(), output.len(), output.is_empty()), (&b"text"[..], 4, false));
    }
    assert!(buffer.is_empty());
}

#[test]
fn small_sends_of_any_kind_leave_as_one_piece() {
    let mut queue = OutputQueue::default();
    queue.push("a".into(), 0);
    queue.push(Bytes::from(vec![b'b'; SHARE_FROM - 1]).into(), 0);
    queue.push(vec![b'c'; SHARE_FROM - 1].into(), 0);
    assert!(queue.is_single());
    assert_eq!(queue.first().len(), 2 * SHARE_FROM - 1);
}

#[test]
fn large_shared_bytes_are_not_copied() {
    let bytes = Bytes::from(vec![1; SHARE_FROM]);
    let mut queue = OutputQueue::default();
    queue.push((&bytes).into(), 0);
    assert!(queue.is_single());
    assert_eq!(queue.first().as_ptr(), bytes.as_ptr());
}

#[test]
fn shared_bytes_are_released_as_soon_as_they_are_consumed() {
    let bytes = Bytes::from(vec![1; SHARE_FROM]);
    let mut queue = OutputQueue::default();
    queue.push((&bytes).into(), 0);
    queue.push("after".into(), 0);
    queue.consume(SHARE_FROM - 1);
    assert!(!bytes.is_unique());
    queue.consume(1);
    assert!(bytes.is_unique());
    assert_eq!(queue.first(), b"after");
}

#[test]
fn headers_between_shared_bodies_keep_their_place_without_allocation() {
    let body = Bytes::from(vec![b'.'; 600]);
    let mut queue = OutputQueue::default();
    let fill = |queue: &mut OutputQueue| {
        for header in ["one:", "two:", "three:"] {
            queue.push(header.into(), 0);
            queue.push((&body).into(), 0);
        }
        queue.push("end".into(), 0);
    };
    fill(&mut queue);
    assert_eq!(piece_lengths(&queue), [4, 600, 4, 600, 6, 600, 3]);
    assert!(!queue.is_single());

    let capacity = queue.capacity();
    for _ in 0..20 {
        queue.consume(queue.len());
        fill(&mut queue);
    }
    assert_eq!(queue.capacity(), capacity);
    assert!(content(&queue).starts_with(b"one:."));
    assert!(content(&queue).ends_with(b".end"));
}

#[test]
fn what_the_socket_took_already_is_not_queued() {
    let long = vec![b'x'; 2 * SHARE_FROM];
    let mut queue = OutputQueue::default();
    queue.push("abcdef".into(), 4);
    queue.push(Bytes::from_static(b"ghijkl").into(), 6);
    queue.push(Bytes::from(long.clone()).into(), SHARE_FROM);
    queue.push(long.into(), 2 * SHARE_FROM - 1);
    assert_eq!(piece_lengths(&queue), [2, SHARE_FROM, 1]);
    assert_eq!(queue.len(), SHARE_FROM + 3);
    assert!(content(&queue).starts_with(b"efx"));
}

#[test]
fn no_more_pieces_are_given_than_there_is_room_for() {
    let body = Bytes::from(vec![0; SHARE_FROM]);
    let mut queue = OutputQueue::default();
    for _ in 0..MAX_SLICES + 10 {
        queue.push((&body).into(), 0);
    }
    assert_eq!(piece_lengths(&queue), [SHARE_FROM; MAX_SLICES]);
}

#[test]
#[should_panic(expected = "5 bytes consumed of 4")]
fn consuming_more_than_waits_is_refused() {
    let mut queue = OutputQueue::default();
    queue.push("four".into(), 0);
    queue.consume(5);
}

#[test]
fn a_reused_queue_takes_small_output_without_allocation() {
    let mut queue = OutputQueue::default();
    queue.push_slice(&[0; 64]);
    queue.consume(64);
    let capacity = queue.capacity();
    for _ in 0..100 {
        queue.push_slice(&[1; 64]);
        assert_eq!(queue.first(), [1; 64]);
        queue.consume(64);
        assert!(queue.is_empty());
    }
    assert_eq!(queue.capacity(), capacity);
}

/// Bytes of which none equals its neighbours, so that a byte lost or repeated shows.
fn pattern(first: u8, length: usize) -> Vec<u8> {
    std::iter::successors(Some(first), |byte| Some(byte.wrapping_add(3))).take(length).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Slice(Vec<u8>),
    Owned(Vec<u8>, usize),
    Shared(Vec<u8>, usize),
    /// In thousandths of what waits, so that most end inside a chunk.
    Consume(usize),
    ConsumeFirst,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let content = || {
        let length = prop_oneof![4 => 0..40_usize, 2 => 500..530_usize, 1 => 1000..3000_usize];
        (any::<u8>(), length).prop_map(|(first, length)| pattern(first, length))
    };
    let partly_sent = move || {
        content().prop_flat_map(|bytes| {
            let length = bytes.len();
            (Just(bytes), prop_oneof![Just(0), 0..=length])
        })
    };
    let step = prop_oneof![
        6 => content().prop_map(Step::Slice),
        3 => partly_sent().prop_map(|(bytes, sent)| Step::Owned(bytes, sent)),
        4 => partly_sent().prop_map(|(bytes, sent)| Step::Shared(bytes, sent)),
        5 => (0..=1000_usize).prop_map(Step::Consume),
        3 => Just(Step::ConsumeFirst),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn bytes_leave_once_and_in_order(steps in steps()) {
        let mut queue = OutputQueue::default();
        let mut model = Vec::<u8>::new();
        for step in steps {
            match step {
                Step::Slice(bytes) => {
                    queue.push_slice(&bytes);
                    model.extend(bytes);
                }
                Step::Owned(bytes, sent) => {
                    model.extend(&bytes[sent..]);
                    queue.push(bytes.into(), sent);
                }
                Step::Shared(bytes, sent) => {
                    model.extend(&bytes[sent..]);
                    queue.push(Bytes::from(bytes).into(), sent);
                }
                Step::Consume(thousandths) => {
                    let n = model.len() * thousandths / 1000;
                    queue.consume(n);
                    model.drain(..n);
                }
                Step::ConsumeFirst => {
                    let n = queue.first().len();
                    queue.consume(n);
                    model.drain(..n);
                }
            }
            prop_assert_eq!(content(&queue), &model[..]);
            prop_assert_eq!(queue.len(), model.len());
            prop_assert_eq!(queue.is_empty(), model.is_empty());
            prop_assert!(model.starts_with(queue.first()));
            prop_assert_eq!(queue.first().is_empty(), model.is_empty());
            prop_assert_eq!(queue.is_single(), queue.pieces().count() <= 1);

            let lengths = piece_lengths(&queue);
            prop_assert!(!lengths.contains(&0));
            prop_assert_eq!(lengths.first().copied().unwrap_or(0), queue.first().len());
        }
    }
}
