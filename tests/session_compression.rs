//! Compression of a session's streams: that they are zlib streams, flushed and bounded, and switched on in the middle.

use std::time::Duration;

use campana::codec::{Codec, LengthPrefixed};
use campana::session::byte_filters::{Compression, CompressionCounters};
use campana::session::{ErrorAction, Session, SessionContext, SessionService};
use campana::testing::TestLoop;
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

#[path = "support/byte_sessions.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod byte_sessions;

use byte_sessions::{Cx, Log, Service, Test, Xor, sessions_with};

/// The peer's end of both streams, by another hand.
struct Zlib {
    compress: Compress,
    decompress: Decompress,
    ended: bool,
}

impl Zlib {
    fn new() -> Self {
        let compress = Compress::new(flate2::Compression::best(), true);
        Self { compress, decompress: Decompress::new(true), ended: false }
    }

    fn pack_with(&mut self, bytes: impl AsRef<[u8]>, flush: FlushCompress) -> Vec<u8> {
        let mut bytes = bytes.as_ref();
        let mut packed = Vec::with_capacity(1024);
        loop {
            let before = self.compress.total_in();
            self.compress.compress_vec(bytes, &mut packed, flush).unwrap();
            bytes = &bytes[(self.compress.total_in() - before) as usize..];
            if packed.len() < packed.capacity() {
                return packed;
            }
            packed.reserve(64 * 1024);
        }
    }

    fn pack(&mut self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.pack_with(bytes, FlushCompress::Sync)
    }

    fn end(&mut self) -> Vec<u8> {
        self.pack_with("", FlushCompress::Finish)
    }

    fn unpack(&mut self, packed: &[u8]) -> String {
        String::from_utf8(self.unpack_bytes(packed)).unwrap()
    }

    fn unpack_bytes(&mut self, mut packed: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        while !self.ended {
            plain.reserve(64 * 1024);
            let before = (self.decompress.total_in(), plain.len());
            let status = self.decompress.decompress_vec(packed, &mut plain, FlushDecompress::None).unwrap();
            self.ended = status == Status::StreamEnd;
            let taken = (self.decompress.total_in() - before.0) as usize;
            packed = &packed[taken..];
            if taken == 0 && plain.len() == before.1 {
                break;
            }
        }
        assert!(packed.is_empty());
        plain
    }
}

fn echo(cx: &mut Cx<'_>, line: &str) {
    let _ = cx.write(line);
}

fn compressed(
    make: impl Fn() -> Compression + Send + Sync + 'static,
    on_line: impl Fn(&mut Cx<'_>, &str) + Send + Sync + 'static,
) -> (Test, Log) {
    let with = |service: Service| service.byte_filter("compression", make);
    sessions_with(ErrorAction::Close, on_line, with)
}

fn messages(log: &Log) -> usize {
    log.take().iter().filter(|text| text.starts_with("message")).count()
}

fn counters(test: &mut Test, peer: &campana::testing::Peer) -> CompressionCounters {
    let (tell, told) = std::sync::mpsc::channel();
    assert!(test.with_session(peer, move |_, cx| {
        tell.send(cx.byte_filter::<Compression>("compression").unwrap().counters()).unwrap();
    }));
    told.recv().unwrap()
}

#[test]
fn each_answer_can_be_decoded_at_once_and_the_stream_is_ended_with_the_session() {
    for seed in 0..50 {
        let (test, log) = compressed(Compression::new, echo);
        let mut test = test.seed(seed);
        let (peer, mut zlib) = (test.connect(), Zlib::new());
        for number in 0..20 {
            let line = format!("this is line {number}\n");
            peer.send(zlib.pack(&line));
            test.run_until_idle();
            assert_eq!(zlib.unpack(&peer.receive()), line);
        }
        assert!(!zlib.ended);
        peer.send(zlib.end());
        peer.shutdown();
        test.run_until_idle();
        assert_eq!(zlib.unpack(&peer.receive()), "");
        assert!(zlib.ended && peer.is_read_closed());
        assert_eq!(log.take().pop().unwrap(), "close: closed by the peer");
    }
}

#[test]
fn one_stream_for_the_whole_session_makes_little_of_what_resembles_what_came_before() {
    let (mut test, _) = compressed(|| Compression::new().level(9), echo);
    let (peer, mut zlib) = (test.connect(), Zlib::new());
    let line = "{\"command\":\"say\",\"room\":\"hall\",\"text\":\"what was said before helps\"}\n";
    for _ in 0..100 {
        peer.send(zlib.pack(line));
        test.run_until_idle();
        assert_eq!(zlib.unpack(&peer.receive()), line);
    }
    let counters = counters(&mut test, &peer);
    assert_eq!((counters.plain_in, counters.plain_out), (100 * line.len() as u64, 100 * line.len() as u64));
    assert_eq!(counters.compressed_in, zlib.compress.total_out());
    assert_eq!(counters.compressed_out, zlib.decompress.total_in());
    assert!(counters.compressed_out < counters.plain_out / 3, "{counters:?}");
}

#[test]
fn every_level_gives_what_any_decoder_reads() {
    // Neither all the same nor nothing but chance.
    let mut state = 1u32;
    let lines: Vec<String> = (0..200)
        .map(|number| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            format!("{number} {}", format!("{:x}", state >> 8).repeat(1 + number % 50))
        })
        .collect();
    let text = lines.join("\n") + "\n";
    for level in 0..=9 {
        let (mut test, _) = compressed(move || Compression::new().level(level), echo);
        let (peer, mut zlib) = (test.connect(), Zlib::new());
        peer.send(zlib.pack(&text));
        test.run_until_idle();
        assert_eq!(zlib.unpack(&peer.receive()), text, "{level}");
    }
}

#[test]
fn it_is_switched_on_in_the_middle_also_if_the_peer_does_not_wait_for_the_answer() {
    for seed in 0..50 {
        let (test, log) = sessions_with(
            ErrorAction::Close,
            |cx, line| {
                if line == "compress" {
                    cx.write("yes").unwrap();
                    cx.byte_filters().add_last("compression", Box::new(Compression::new())).unwrap();
                    cx.write("compressed").unwrap();
                } else {
                    cx.write(line).unwrap();
                }
            },
            |service| service.byte_filter("xor", || Xor(1)),
        );
        let mut test = test.seed(seed);
        let (peer, mut zlib) = (test.connect(), Zlib::new());
        let xor = |bytes: &[u8]| bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
        let request = [b"one\ncompress\n".to_vec(), zlib.pack("two\n"), zlib.pack("three\n")].concat();
        peer.send(xor(&request));
        test.run_until_idle();
        let received = xor(&peer.receive());
        let (plain, packed) = received.split_at(b"one\nyes\n".len());
        assert_eq!(plain, b"one\nyes\n");
        assert_eq!(zlib.unpack(packed), "compressed\ntwo\nthree\n");
        assert_eq!(messages(&log), 4);
    }
}

#[test]
fn it_is_switched_off_again_and_what_comes_behind_the_end_of_the_stream_is_plain() {
    for seed in 0..50 {
        let (test, _) = sessions_with(
            ErrorAction::Close,
            |cx, line| {
                cx.write(line).unwrap();
                if line == "plain" {
                    cx.byte_filter::<Compression>("compression").unwrap().switch_off();
                    cx.write("off").unwrap();
                }
            },
            |service| service.byte_filter("compression", Compression::new),
        );
        let mut test = test.seed(seed);
        let (peer, mut zlib) = (test.connect(), Zlib::new());
        peer.send([zlib.pack("one\n"), zlib.pack("plain\n"), zlib.end(), b"two\n".to_vec()].concat());
        test.run_until_idle();
        let mut received = peer.receive();
        let plain = received.split_off(received.len() - b"off\ntwo\n".len());
        assert_eq!(zlib.unpack(&received), "one\nplain\n");
        assert!(zlib.ended);
        assert_eq!(plain, b"off\ntwo\n");
        test.with_session(&peer, |_, cx| {
            cx.byte_filters().remove("compression").unwrap();
            cx.write("removed").unwrap();
        });
        peer.send("three\n");
        test.run_until_idle();
        assert_eq!(peer.receive(), b"removed\nthree\n");
    }
}

#[test]
fn a_bomb_is_delivered_in_pieces_and_other_connections_go_on_meanwhile() {
    let (mut test, log) = compressed(
        || Compression::new().max_ratio(2000),
        |cx, line| {
            if line.starts_with('?') {
                cx.write(line).unwrap();
            }
        },
    );
    let line = "x".repeat(999) + "\n";
    let (bomber, other) = (test.connect(), test.connect());
    let bomb = Zlib::new().pack(line.repeat(64 * 1024));
    assert!(bomb.len() < 400_000);
    bomber.send(&bomb);
    let mut zlib = Zlib::new();
    other.send(zlib.pack("?\n"));
    // Its own read may come after the bomb's in the same turn.
    test.turn();
    test.turn();
    assert_eq!(zlib.unpack(&other.receive()), "?\n");
    let delivered = messages(&log);
    assert!(delivered < 3000, "{delivered}");
    assert!(test.connection(bomber.id()).unwrap().is_reading_paused());
    let counters = counters(&mut test, &bomber);
    // What was decompressed and not delivered is at most one piece.
    assert!(counters.plain_in < 3_000_000 && counters.plain_in > 0, "{counters:?}");
    test.run_until_idle();
    assert_eq!(delivered + messages(&log), 64 * 1024 + 1);
    assert!(!test.connection(bomber.id()).unwrap().is_reading_paused());
}

#[test]
fn a_stream_that_expands_more_than_is_allowed_is_cut_off() {
    for seed in 0..20 {
        let (test, log) = compressed(Compression::new, |_, _| {});
        let mut test = test.seed(seed);
        let (peer, mut zlib) = (test.connect(), Zlib::new());
        let line = "x".repeat(999) + "\n";
        // As much as goes ahead.
        peer.send(zlib.pack(line.repeat(1000)));
        test.run_until_idle();
        assert_eq!(messages(&log), 1000);
        peer.send(zlib.pack(line.repeat(1000)));
        test.run_until_idle();
        let told = log.take();
        let error = told.iter().find(|text| text.starts_with("error")).expect("a bomb is an error");
        assert!(error.contains("more than 100 times") && error.contains("max_ratio"), "{error}");
        assert!(told.len() < 900, "{}", told.len());
        assert_eq!(zlib.unpack(&peer.receive()), "sorry\n");
        assert!(zlib.ended && peer.is_read_closed());
    }
}

#[test]
fn an_advance_is_earned_again_but_not_saved_up() {
    let (mut test, log) = compressed(|| Compression::new().max_ratio(2), |_, _| {});
    let (peer, mut zlib) = (test.connect(), Zlib::new());
    // 2 MiB that hardly shrink.
    let mut state = 1u64;
    let noise: String = (0..2048)
        .map(|_| {
            let line: String = (0..1023)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    char::from(b'!' + (state >> 33) as u8 % 90)
                })
                .collect();
            line + "\n"
        })
        .collect();
    peer.send(zlib.pack(&noise));
    test.run_until_idle();
    assert_eq!(messages(&log), 2048);
    peer.send(zlib.pack(("x".repeat(1023) + "\n").repeat(3000)));
    test.run_until_idle();
    assert!(log.take().iter().any(|text| text.contains("more than 2 times")));
}

#[test]
fn a_corrupt_stream_is_an_error_behind_the_messages_before_it() {
    for seed in 0..50 {
        let (test, log) = compressed(Compression::new, echo);
        let mut test = test.seed(seed);
        let (peer, mut zlib) = (test.connect(), Zlib::new());
        let mut stream = [zlib.pack("one\n"), zlib.pack("two\n")].concat();
        // A block of a kind that there isn't.
        stream.extend([0xff; 20]);
        peer.send(stream);
        test.run_until_idle();
        assert_eq!(zlib.unpack(&peer.receive()), "one\ntwo\nsorry\n");
        let told: Vec<_> = log.take().into_iter().filter(|text| !text.starts_with("written")).collect();
        assert_eq!(told[..2], ["message one", "message two"]);
        assert!(
            told[2].starts_with("error: filter compression: ") && told[2].contains("corrupt"),
            "{told:?}"
        );
        peer.close();
        test.run_until_idle();
        assert!(log.take().pop().unwrap().starts_with("close: protocol error"));
    }
}

#[test]
fn plain_text_is_a_corrupt_stream() {
    let (mut test, log) = compressed(Compression::new, echo);
    let peer = test.connect();
    peer.send("GET / HTTP/1.1\r\n\r\n");
    test.run_until_idle();
    assert!(log.take()[0].contains("does the peer compress?"));
}

#[test]
fn more_behind_the_end_of_the_stream_is_an_error() {
    let (mut test, log) = compressed(Compression::new, echo);
    let (peer, mut zlib) = (test.connect(), Zlib::new());
    peer.send([zlib.pack("one\n"), zlib.end()].concat());
    test.run_until_idle();
    assert_eq!(log.take(), ["message one", "written 1"]);
    peer.send("x");
    test.run_until_idle();
    assert!(log.take()[0].contains("has ended its compressed stream and sent more"));
}

#[test]
fn a_stream_that_is_cut_off_is_an_error_unless_that_was_behind_a_flush() {
    let mut zlib = Zlib::new();
    let whole = [zlib.pack("one\n"), zlib.pack("two\n")].concat();
    for length in 0..=whole.len() {
        let (mut test, log) = compressed(Compression::new, |_, _| {});
        let peer = test.connect();
        peer.send(&whole[..length]);
        peer.shutdown();
        test.run_until_idle();
        let told = log.take();
        let first = Zlib::new().pack("one\n").len();
        let is_cut_off = ![0, first, whole.len()].contains(&length);
        assert_eq!(told.iter().any(|text| text.contains("was cut off")), is_cut_off, "{length}: {told:?}");
        assert_eq!(told.iter().any(|text| text == "input closed"), !is_cut_off, "{length}: {told:?}");
    }
}

#[test]
fn a_session_that_pauses_after_each_message_of_a_bomb_does_not_pile_it_up() {
    let (mut test, log) = compressed(
        || Compression::new().max_ratio(2000),
        |cx, _| {
            cx.pause_reading();
            cx.set_timer(Duration::from_millis(1), 0);
        },
    );
    let (peer, mut zlib) = (test.connect(), Zlib::new());
    peer.send(zlib.pack(("x".repeat(999) + "\n").repeat(20_000)));
    test.advance(Duration::from_secs(1));
    let delivered = messages(&log);
    assert!((900..=1001).contains(&delivered), "{delivered}");
    let counters = counters(&mut test, &peer);
    assert!(counters.plain_in < 1000 * delivered as u64 + 200_000, "{delivered}: {counters:?}");
    test.advance(Duration::from_secs(20));
    assert_eq!(delivered + messages(&log), 20_000);
}

/// Answers a number by as many bytes.
struct Giver;

impl Session for Giver {
    type Codec = LengthPrefixed;

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, message: &[u8]) {
        let length: usize = std::str::from_utf8(message).unwrap().parse().unwrap();
        cx.write(&vec![b'~'; length]).unwrap();
    }
}

#[test]
fn a_write_of_any_length_is_flushed_whole_at_every_level() {
    let lengths = [100, 15_000, 31_000, 31_500, 31_870, 32_000, 32_767, 40_000, 100_000];
    for (level, length) in [0, 1, 6].into_iter().flat_map(|level| lengths.map(|length| (level, length))) {
        // A loop for each, as the room that there is depends on what was there before.
        let service = SessionService::new(|| LengthPrefixed::new(4))
            .byte_filter("compression", move || Compression::new().level(level));
        let mut test = TestLoop::sessions(service, |_| Giver);
        let (peer, mut zlib) = (test.connect(), Zlib::new());
        let asked = LengthPrefixed::new(4).encode_to_bytes(length.to_string().as_bytes()).unwrap();
        peer.send(zlib.pack(asked));
        test.run_until_idle();
        assert_eq!(zlib.unpack_bytes(&peer.receive()).len(), length + 4, "at level {level}");
    }
}
