//! The buffer against a plain vector, and against what its documentation promises.

use std::fmt;
use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use bytes::{Buf as _, BufMut as _};
use proptest::prelude::*;

use super::*;

#[test]
fn a_new_buffer_owns_no_memory() {
    let mut buffer = Buffer::new();
    assert_eq!((buffer.capacity(), buffer.prependable(), buffer.writable()), (0, 0, 0));
    buffer.append(b"");
    buffer.prepend(b"");
    buffer.retrieve(0);
    assert_eq!(Buffer::take(&mut buffer), b"");
    assert_eq!(buffer.take_all_bytes(), b""[..]);
    assert_eq!(buffer.capacity(), 0);
}

#[test]
fn a_header_is_prepended_without_moving_the_content() {
    let mut buffer = Buffer::new();
    buffer.append(b"body");
    let body = buffer.peek().as_ptr();
    assert_eq!(buffer.prependable(), PREPEND);
    buffer.prepend_u64(1);
    assert_eq!(buffer.prependable(), 0);
    assert_eq!(buffer.peek()[8..].as_ptr(), body);
    assert_eq!(buffer.peek(), b"\0\0\0\0\0\0\0\x01body");
}

#[test]
fn prepending_beyond_the_room_keeps_the_content() {
    for content in [&b""[..], b"body", &[b'x'; 5000]] {
        for header in [0, 1, 8, 9, 100, 10_000] {
            let mut adopted = Buffer::from(content.to_vec());
            let mut copied = Buffer::from(content);
            let header = vec![b'h'; header];
            for buffer in [&mut adopted, &mut copied] {
                buffer.prepend(&header);
                buffer.append(b"tail");
                assert_eq!(buffer.peek(), [&header[..], content, b"tail"].concat());
            }
        }
    }
}

#[test]
fn an_emptied_buffer_has_all_its_room_back() {
    let mut buffer = Buffer::with_capacity(1000);
    let room = buffer.writable();
    assert!(room >= 1000);
    for _ in 0..3 {
        buffer.append(&[7; 700]);
        buffer.retrieve(300);
        assert_eq!(Buffer::take(&mut buffer), [7; 400]);
        assert_eq!((buffer.prependable(), buffer.writable()), (PREPEND, room));
    }
    assert_eq!(buffer.capacity(), room + PREPEND);
}

#[test]
fn large_content_is_handed_over_without_a_copy() {
    let mut buffer = Buffer::from(&[1; 4000][..]);
    buffer.retrieve(1000);
    let place = buffer.peek().as_ptr();
    let bytes = buffer.take_all_bytes();
    assert_eq!((bytes.as_ptr(), bytes.len()), (place, 3000));
    assert_eq!((buffer.readable(), buffer.capacity()), (0, 0));
}

#[test]
fn little_content_is_copied_and_the_storage_kept() {
    for (readable, room) in [(10, 10_000), (2000, 10_000), (HAND_OVER_FROM - 1, HAND_OVER_FROM - 1)] {
        let mut buffer = Buffer::with_capacity(room);
        let capacity = buffer.capacity();
        buffer.append(&vec![1; readable]);
        assert_eq!(buffer.take_all_bytes(), vec![1; readable]);
        assert_eq!((buffer.readable(), buffer.capacity()), (0, capacity));
    }
}

#[test]
fn text_is_checked_and_what_is_not_text_is_given_back() {
    let mut buffer = Buffer::from("grün".as_bytes());
    assert_eq!(buffer.take_string().as_deref(), Ok("grün"));
    buffer.append(b"\xff\xfe");
    assert_eq!(buffer.take_string().map_err(FromUtf8Error::into_bytes), Err(b"\xff\xfe".to_vec()));
    assert!(buffer.is_empty());
}

#[test]
fn integers_are_big_endian_and_wait_until_they_are_whole() {
    let mut buffer = Buffer::new();
    buffer.append_u16(0x0102);
    buffer.append_i32(-2);
    buffer.prepend_u8(9);
    assert_eq!(buffer.peek(), [9, 1, 2, 0xff, 0xff, 0xff, 0xfe]);
    assert_eq!(buffer.peek_u32(), Some(0x0901_02ff));
    assert_eq!(buffer.read_u64(), None);
    assert_eq!(buffer.read_u8(), Some(9));
    assert_eq!(buffer.read_u16(), Some(0x0102));
    assert_eq!(buffer.peek_i32(), Some(-2));
    assert_eq!(buffer.peek_i64(), None);
    assert_eq!(buffer.read_i32(), Some(-2));
    assert_eq!(buffer.read_i8(), None);
    assert_eq!(buffer.peek_u8(), None);
}

#[test]
fn a_crlf_split_between_two_arrivals_is_found_from_the_last_byte_on() {
    let mut buffer = Buffer::from(&b"\n\rline\r"[..]);
    assert_eq!(buffer.find_crlf(), None);
    let resume = buffer.readable() - 1;
    buffer.append(b"\nnext\r\n");
    assert_eq!(buffer.find_crlf_from(resume), Some(6));
    assert_eq!(buffer.find_crlf_from(7), Some(12));
    assert_eq!(buffer.find_crlf_from(13), None);
    assert_eq!(buffer.find_eol_from(1), Some(7));
    assert_eq!(buffer.find_from(b'x', 1000), None);
}

#[test]
fn shrinking_keeps_the_content_and_gives_memory_back() {
    let mut buffer = Buffer::with_capacity(100_000);
    buffer.append(b"content");
    buffer.shrink(50);
    assert_eq!(buffer.peek(), b"content");
    assert!(buffer.writable() >= 50 && buffer.capacity() < 1000, "{buffer:?}");
    buffer.retrieve_all();
    buffer.shrink(0);
    assert_eq!(buffer.capacity(), 0);
    buffer.append(b"again");
    assert_eq!(buffer.peek(), b"again");
}

#[test]
fn the_kernel_reads_into_the_spare_room() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut buffer = Buffer::from(&b"so far, "[..]);
    theirs.write_all(b"and more").unwrap();
    let storage = buffer.spare(100);
    assert!(storage.capacity() - storage.len() >= 100);
    assert_eq!(rustix::io::read(&ours, rustix::buffer::spare_capacity(storage)), Ok(8));
    assert_eq!(buffer.peek(), b"so far, and more");
}

#[test]
fn standard_traits_read_and_write_the_content() {
    let mut buffer = Buffer::new();
    write!(buffer, "{} line\nrest", 1).unwrap();
    let mut line = String::new();
    assert_eq!(buffer.read_line(&mut line).unwrap(), 7);
    assert_eq!(line, "1 line\n");
    assert_eq!(buffer.copy_to_bytes(2), b"re"[..]);
    let mut all = Vec::new();
    assert_eq!(buffer.read_to_end(&mut all).unwrap(), 2);
    assert_eq!(all, b"st");
    assert_eq!(buffer.read(&mut [0; 4]).unwrap(), 0);
}

#[test]
fn buffers_are_equal_by_content_and_shown_without_it() {
    let mut moved = Buffer::from(&b"-secret"[..]);
    moved.retrieve(1);
    assert_eq!(moved, Buffer::from(b"secret".to_vec()));
    assert_eq!(moved.clone(), moved);
    assert_ne!(moved, Buffer::new());
    assert_eq!(
        format!("{:?}", Buffer::from(b"secret".to_vec())),
        "Buffer { prependable: 0, readable: 6, writable: 0 }"
    );
}

#[test]
#[should_panic(expected = "5 bytes asked for, but only 4 are readable")]
fn retrieving_more_than_is_readable_is_refused() {
    Buffer::from(&b"four"[..]).retrieve(5);
}

#[test]
#[should_panic(expected = "capacity overflow")]
fn an_impossible_reserve_is_refused() {
    Buffer::from(&b"x"[..]).reserve(usize::MAX);
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<u8>),
    Prepend(Vec<u8>),
    KernelReads(usize, Vec<u8>),
    Encode(Vec<u8>),
    AppendInteger(u32),
    PrependInteger(u16),
    /// These four in thousandths of what is readable.
    Retrieve(usize),
    Unwrite(usize),
    TakeN(usize),
    TakeBytes(usize),
    TryTakeN(usize),
    ReadInteger,
    Take,
    TakeAllBytes,
    Reserve(usize),
    Shrink(usize),
    Find(u8, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let byte = || prop_oneof![Just(b'\r'), Just(b'\n'), any::<u8>()];
    let content = || {
        let length = prop_oneof![4 => 0..20_usize, 1 => 20..300_usize, 1 => 1000..2000_usize];
        prop_oneof![
            3 => (any::<u8>(), length).prop_map(|(first, length)| pattern(first, length)),
            1 => prop::sample::select(vec!["\r", "\n", "\r\n", "\n\r\r\n"]).prop_map(Vec::from),
        ]
    };
    let thousandths = || 0..=1000_usize;
    prop_oneof![
        6 => content().prop_map(Step::Append),
        4 => content().prop_map(Step::Prepend),
        2 => (0..500_usize, content()).prop_map(|(at_least, bytes)| Step::KernelReads(at_least, bytes)),
        2 => content().prop_map(Step::Encode),
        2 => any::<u32>().prop_map(Step::AppendInteger),
        2 => any::<u16>().prop_map(Step::PrependInteger),
        5 => thousandths().prop_map(Step::Retrieve),
        2 => thousandths().prop_map(Step::Unwrite),
        2 => thousandths().prop_map(Step::TakeN),
        1 => thousandths().prop_map(Step::TakeBytes),
        2 => (0..100_usize).prop_map(Step::TryTakeN),
        2 => Just(Step::ReadInteger),
        1 => Just(Step::Take),
        1 => Just(Step::TakeAllBytes),
        1 => (0..3000_usize).prop_map(Step::Reserve),
        1 => (0..100_usize).prop_map(Step::Shrink),
        3 => (byte(), 0..400_usize).prop_map(|(byte, offset)| Step::Find(byte, offset)),
    ]
}

/// Bytes of which none equals its neighbours, with CR LF (13, 10) once in 256.
fn pattern(first: u8, length: usize) -> Vec<u8> {
    std::iter::successors(Some(first), |byte| Some(byte.wrapping_sub(3))).take(length).collect()
}

fn drain(model: &mut Vec<u8>, n: usize) -> Vec<u8> {
    model.drain(..n).collect()
}

proptest! {
    #[test]
    fn behaves_as_a_vector(adopted in prop::option::of(0..30_usize), steps in prop::collection::vec(step(), 0..80)) {
        let mut model = vec![b'a'; adopted.unwrap_or(0)];
        let mut buffer = adopted.map_or_else(Buffer::new, |_| Buffer::from(model.clone()));
        for step in steps {
            let share = |thousandths: usize| model.len() * thousandths / 1000;
            match step {
                Step::Append(bytes) => {
                    let (place, fits) = (buffer.peek().as_ptr(), bytes.len() <= buffer.writable());
                    buffer.append(&bytes);
                    prop_assert!(model.is_empty() || !fits || buffer.peek().as_ptr() == place);
                    model.extend(bytes);
                }
                Step::Prepend(bytes) => {
                    let (place, fits) = (buffer.peek().as_ptr(), bytes.len() <= buffer.prependable());
                    buffer.prepend(&bytes);
                    prop_assert!(model.is_empty() || !fits || buffer.peek()[bytes.len()..].as_ptr() == place);
                    model.splice(..0, bytes);
                }
                Step::KernelReads(at_least, mut bytes) => {
                    let storage = buffer.spare(at_least);
                    let room = storage.capacity() - storage.len();
                    prop_assert!(room >= at_least);
                    bytes.truncate(room);
                    storage.extend_from_slice(&bytes);
                    model.extend(bytes);
                }
                Step::Encode(bytes) => {
                    buffer.buf_mut().put_slice(&bytes);
                    model.extend(bytes);
                }
                Step::AppendInteger(value) => {
                    buffer.append_u32(value);
                    model.extend(value.to_be_bytes());
                }
                Step::PrependInteger(value) => {
                    buffer.prepend_u16(value);
                    model.splice(..0, value.to_be_bytes());
                }
                Step::Retrieve(thousandths) => {
                    let n = share(thousandths);
                    buffer.retrieve(n);
                    model.drain(..n);
                }
                Step::Unwrite(thousandths) => {
                    let n = share(thousandths);
                    buffer.unwrite(n);
                    model.truncate(model.len() - n);
                }
                Step::TakeN(thousandths) => {
                    let n = share(thousandths);
                    prop_assert_eq!(buffer.take_n(n), drain(&mut model, n));
                }
                Step::TakeBytes(thousandths) => {
                    let n = share(thousandths);
                    prop_assert_eq!(buffer.take_bytes(n), drain(&mut model, n));
                }
                Step::TryTakeN(n) => {
                    let expected = (n <= model.len()).then(|| drain(&mut model, n));
                    prop_assert_eq!(buffer.try_take_n(n), expected.as_deref());
                }
                Step::ReadInteger => {
                    let expected = (model.len() >= 4).then(|| drain(&mut model, 4));
                    prop_assert_eq!(buffer.peek_u32().map(u32::to_be_bytes).map(Vec::from), expected.clone());
                    prop_assert_eq!(buffer.read_u32().map(u32::to_be_bytes).map(Vec::from), expected);
                }
                Step::Take => {
                    prop_assert_eq!(Buffer::take(&mut buffer), &model[..]);
                    model.clear();
                }
                Step::TakeAllBytes => {
                    prop_assert_eq!(buffer.take_all_bytes(), &model[..]);
                    model.clear();
                }
                Step::Reserve(n) => {
                    buffer.reserve(n);
                    prop_assert!(buffer.writable() >= n);
                }
                Step::Shrink(reserve) => {
                    let before = buffer.capacity();
                    buffer.shrink(reserve);
                    prop_assert!(buffer.capacity() <= before);
                    prop_assert!(buffer.capacity() <= PREPEND + model.len() + reserve);
                }
                Step::Find(byte, offset) => {
                    let rest = model.get(offset..).unwrap_or(&[]);
                    let at = |found: usize| found + offset;
                    prop_assert_eq!(buffer.find_from(byte, offset), rest.iter().position(|b| *b == byte).map(at));
                    prop_assert_eq!(buffer.find(byte), model.iter().position(|b| *b == byte));
                    prop_assert_eq!(buffer.find_eol(), model.iter().position(|b| *b == b'\n'));
                    prop_assert_eq!(buffer.find_crlf(), model.windows(2).position(|pair| pair == b"\r\n"));
                    let crlf = rest.windows(2).position(|pair| pair == b"\r\n").map(at);
                    prop_assert_eq!(buffer.find_crlf_from(offset), crlf);
                }
            }
            prop_assert_eq!(buffer.peek(), &model[..]);
            prop_assert_eq!(buffer.is_empty(), model.is_empty());
            prop_assert_eq!(buffer.prependable() + buffer.readable() + buffer.writable(), buffer.capacity());
        }
    }
}

/// Counts the bytes that a buffer moves, by watching the address of its content.
struct Meter {
    buffer: Buffer,
    /// Bytes put in and taken out.
    passed: usize,
    moved: usize,
    largest: usize,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Append(usize),
    Encode(usize),
    Prepend(usize),
    Retrieve(usize),
    Unwrite(usize),
}

impl Meter {
    fn holding(n: usize) -> Self {
        let mut meter = Self { buffer: Buffer::new(), passed: 0, moved: 0, largest: 0 };
        meter.apply(Change::Append(n));
        meter
    }

    fn apply(&mut self, change: Change) {
        let before = self.buffer.readable();
        let place = self.buffer.peek().as_ptr();
        let mut shift = 0;
        match change {
            Change::Append(n) => self.buffer.append(&vec![0; n]),
            Change::Encode(n) => self.buffer.buf_mut().put_slice(&vec![0; n]),
            Change::Prepend(n) => {
                shift = n;
                self.buffer.prepend(&vec![0; n]);
            }
            Change::Retrieve(n) => {
                self.buffer.retrieve(n.min(before));
            }
            Change::Unwrite(n) => self.buffer.unwrite(n.min(before)),
        }
        let after = self.buffer.readable();
        self.passed += after.abs_diff(before);
        self.largest = self.largest.max(after);
        if after > before && self.buffer.peek()[shift..].as_ptr() != place {
            self.moved += before;
        }
    }

    fn is_linear(&self) -> bool {
        self.moved <= 12 * self.passed && self.buffer.capacity() <= 6 * self.largest + 2 * SMALLEST
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (moved, passed, largest) = (self.moved, self.passed, self.largest);
        write!(f, "{moved} bytes moved for {passed} that passed, at most {largest} in {:?}", self.buffer)
    }
}

#[test]
fn a_buffer_that_stays_full_moves_no_more_than_passes_through_it() {
    use Change::{Append, Encode, Prepend, Retrieve, Unwrite};
    let rounds: [&[Change]; 11] = [
        &[Append(9), Retrieve(9)],
        &[Encode(9), Retrieve(9)],
        &[Retrieve(9), Append(9)],
        &[Retrieve(9), Prepend(9)],
        &[Encode(4700), Retrieve(4700)],
        &[Append(1), Prepend(9), Retrieve(10)],
        &[Prepend(9), Retrieve(9), Append(1), Retrieve(1)],
        &[Prepend(9), Unwrite(9)],
        &[Prepend(9), Unwrite(9), Append(9), Retrieve(9)],
        &[Prepend(1), Append(1)],
        &[Append(40), Retrieve(13), Retrieve(13), Retrieve(13), Retrieve(1)],
    ];
    for round in rounds {
        let mut meter = Meter::holding(20_000);
        for change in round.iter().cycle().take(30_000) {
            meter.apply(*change);
        }
        assert!(meter.is_linear(), "{round:?}: {meter:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_cost_of_any_sequence_is_linear(
        content in 0..5000_usize,
        round in prop::collection::vec(
            prop_oneof![
                (1..50_usize).prop_map(Change::Append),
                (1..500_usize).prop_map(Change::Encode),
                (1..50_usize).prop_map(Change::Prepend),
                (1..50_usize).prop_map(Change::Retrieve),
                (1..50_usize).prop_map(Change::Unwrite),
            ],
            1..8,
        ),
    ) {
        let mut meter = Meter::holding(content);
        for change in round.iter().cycle().take(3000) {
            meter.apply(*change);
        }
        prop_assert!(meter.is_linear(), "{:?}", meter);
    }
}
