//! Compression by way of sessions: of any input from a peer, and of any messages between two.
#![no_main]

use std::alloc::System;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arbitrary::Arbitrary;
use campana::CloseReason;
use campana::codec::{LengthPrefixed, RawBytes};
use campana::session::byte_filters::Compression;
use campana::session::{ErrorAction, Session, SessionContext, SessionError, SessionService, Sessions};
use campana::testing::{Link, TestLoop};
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

libfuzzer_sys::fuzz_target!(|case: Case| match &case {
    Case::Input(input) => input.play(),
    Case::Talk(talk) => talk.play(),
});

#[derive(Arbitrary, Debug)]
enum Case {
    Input(Input),
    Talk(Talk),
}

/// What a peer sends to a session that decompresses.
#[derive(Arbitrary)]
struct Input {
    seed: u64,
    parts: Vec<Part>,
    /// What is done to the bytes on their way: where, and to what.
    errors: Vec<(u16, u8)>,
    cut_off: u8,
    /// Where the input is cut into pieces, each of which arrives after the one before it.
    cuts: Vec<u8>,
    max_ratio: u8,
    pauses: bool,
}

#[derive(Arbitrary, Debug)]
enum Part {
    /// Bytes as they are, so that what resembles a zlib stream can be anywhere.
    Raw(Vec<u8>),
    /// A header alone, behind which anything is a deflate stream.
    Header,
    Compressed {
        plain: Vec<u8>,
        flush: bool,
    },
    /// What expands to much.
    Zeros(u16),
    End,
}

/// The bytes that a peer sends are of more use than where they come from.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}, ratio {}, pauses {}, cuts {:?}",
            self.seed, self.max_ratio, self.pauses, self.cuts
        )?;
        write!(f, "\n    {:?}\n    {:02x?}", self.parts, self.bytes())
    }
}

/// Room for what one call may give, for what it gave before, and for all that a loop and a session keep.
const MOST_MEMORY: usize = 512 * 1024;
/// More of what expands shows nothing more.
const MOST_ZEROS: usize = 6 * 1024 * 1024;
/// How many bytes one call may give.
const MOST_AT_ONCE: usize = 64 * 1024;
/// How many plain bytes a peer may be ahead.
const ADVANCE: usize = 1024 * 1024;

impl Input {
    fn play(&self) {
        let bytes = self.bytes();
        let expected = Arc::new(Expected::of(&bytes));
        let seen = Arc::new(Mutex::new(Seen { most: bytes.len() * 4 + MOST_MEMORY, ..Seen::default() }));
        let of_session = (Arc::clone(&expected), Arc::clone(&seen));
        let (max_ratio, pauses) = (u32::from(self.max_ratio), self.pauses);
        let service = SessionService::new(|| RawBytes)
            .byte_filter("compression", move || Compression::new().max_ratio(max_ratio));
        let receiver = move |_: &mut campana::session::Opening<'_>| Receiver {
            seen: Arc::clone(&of_session.1),
            expected: Arc::clone(&of_session.0),
            pauses,
        };
        let mut test = TestLoop::sessions(service, receiver).seed(self.seed);
        let peer = test.connect();
        seen.lock().unwrap().before = allocated();
        let mut rest = &bytes[..];
        for &cut in &self.cuts {
            let (piece, behind) = rest.split_at(rest.len().min(usize::from(cut)));
            peer.send(piece);
            test.turn();
            rest = behind;
        }
        peer.send(rest);
        peer.shutdown();
        test.advance(Duration::from_secs(10));
        peer.close();
        test.advance(Duration::from_secs(60));
        expected.compare(&seen.lock().unwrap(), bytes.len() * usize::from(self.max_ratio));
    }

    fn bytes(&self) -> Vec<u8> {
        let mut compress = Compress::new(flate2::Compression::fast(), true);
        let (mut bytes, mut zeros_left) = (Vec::new(), MOST_ZEROS);
        for part in &self.parts {
            match part {
                Part::Raw(raw) => bytes.extend(raw),
                Part::Header => bytes.extend([0x78, 0x01]),
                Part::Compressed { plain, flush } => {
                    let flush = if *flush { FlushCompress::Sync } else { FlushCompress::None };
                    pack(&mut compress, plain, flush, &mut bytes);
                }
                Part::Zeros(times) => {
                    let zeros = vec![0; zeros_left.min(64 * usize::from(*times))];
                    zeros_left -= zeros.len();
                    pack(&mut compress, &zeros, FlushCompress::Sync, &mut bytes);
                }
                Part::End => {
                    pack(&mut compress, &[], FlushCompress::Finish, &mut bytes);
                    compress.reset();
                }
            }
        }
        for &(place, byte) in &self.errors {
            if let Some(wrong) = bytes.get_mut(usize::from(place)) {
                *wrong = byte;
            }
        }
        bytes.truncate(bytes.len() - bytes.len().min(usize::from(self.cut_off)));
        bytes
    }
}

fn pack(compress: &mut Compress, mut plain: &[u8], flush: FlushCompress, packed: &mut Vec<u8>) {
    loop {
        packed.reserve(64);
        let before = compress.total_in();
        compress.compress_vec(plain, packed, flush).unwrap();
        plain = &plain[(compress.total_in() - before) as usize..];
        if packed.len() < packed.capacity() {
            return;
        }
    }
}

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// What a session has seen.
#[derive(Default)]
struct Seen {
    before: usize,
    most: usize,
    received: usize,
    errors: Vec<String>,
    input_closed: u32,
    /// Whether it was for what came in.
    closed: Vec<bool>,
}

struct Receiver {
    expected: Arc<Expected>,
    seen: Arc<Mutex<Seen>>,
    pauses: bool,
}

impl Session for Receiver {
    type Codec = RawBytes;

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, plain: &[u8]) {
        let memory = allocated();
        let mut seen = self.seen.lock().unwrap();
        assert!(memory.saturating_sub(seen.before) <= seen.most, "{memory} after {}", seen.before);
        assert!(plain.len() <= MOST_AT_ONCE, "{} bytes at once", plain.len());
        assert!(seen.errors.is_empty() && seen.closed.is_empty() && seen.input_closed == 0);
        assert!(!cx.is_reading_paused());
        let from = seen.received;
        seen.received += plain.len();
        assert!(self.expected.plain.get(from..seen.received) == Some(plain), "other bytes at {from}");
        if self.pauses {
            cx.pause_reading();
            cx.set_timer(Duration::from_millis(1), 0);
        }
    }

    fn on_timer(&mut self, cx: &mut SessionContext<'_, Self>, _token: u64) {
        cx.resume_reading();
    }

    fn on_input_closed(&mut self, cx: &mut SessionContext<'_, Self>) {
        self.seen.lock().unwrap().input_closed += 1;
        cx.close();
    }

    fn on_error(&mut self, _cx: &mut SessionContext<'_, Self>, error: &SessionError) -> ErrorAction {
        let SessionError::ByteFilter { error, .. } = error else { panic!("another error: {error}") };
        self.seen.lock().unwrap().errors.push(error.to_string());
        // It can't, and is closed.
        ErrorAction::Continue
    }

    fn on_close(
        &mut self,
        _cx: &mut SessionContext<'_, Self>,
        reason: &CloseReason,
        _unwritten: Option<campana::session::WriteId>,
    ) {
        self.seen.lock().unwrap().closed.push(matches!(reason, CloseReason::Protocol(_)));
    }
}

/// What another hand makes of a stream.
struct Expected {
    plain: Vec<u8>,
    end: &'static str,
}

/// What a decompressor has not given yet when it finds an error it doesn't give any more.
const WINDOW: usize = 32 * 1024;

impl Expected {
    fn of(bytes: &[u8]) -> Self {
        let (mut decompress, mut plain) = (Decompress::new(true), Vec::new());
        loop {
            plain.reserve(2 * WINDOW);
            let before = (decompress.total_in(), plain.len());
            let result =
                decompress.decompress_vec(&bytes[before.0 as usize..], &mut plain, FlushDecompress::None);
            let end = match result {
                Err(_) => "corrupt",
                Ok(Status::StreamEnd) if decompress.total_in() < bytes.len() as u64 => "sent more",
                Ok(Status::StreamEnd) => "",
                _ if plain.len() > before.1 || decompress.total_in() > before.0 => continue,
                _ if bytes.is_empty() || bytes.ends_with(&[0, 0, 0xff, 0xff]) => "",
                _ => "cut off",
            };
            return Self { plain, end };
        }
    }

    /// `rights` is how many plain bytes the peer has a right to, beside its advance.
    fn compare(&self, seen: &Seen, rights: usize) {
        assert_eq!(seen.closed.len(), 1, "it is closed once");
        let most = rights + ADVANCE;
        let is_too_much = seen.errors.first().is_some_and(|error| error.contains("expands to more"));
        if is_too_much {
            assert!(self.plain.len() > ADVANCE, "{} bytes are not too much", self.plain.len());
            assert!(seen.received <= most + MOST_AT_ONCE, "{} bytes, and {most} allowed", seen.received);
        } else {
            assert!(self.plain.len() <= most, "{} bytes, and {most} allowed", self.plain.len());
            let lost = if self.end == "corrupt" { WINDOW } else { 0 };
            assert!(seen.received + lost >= self.plain.len(), "{} of {}", seen.received, self.plain.len());
            assert_eq!(self.end.is_empty(), seen.errors.is_empty(), "{:?}: {:?}", self.end, seen.errors);
        }
        if let Some(error) = seen.errors.first() {
            assert!(is_too_much || error.contains(self.end), "{error}, but {}", self.end);
            assert_eq!((seen.errors.len(), seen.input_closed), (1, 0), "{:?}", seen.errors);
            assert!(seen.closed[0], "closed for another reason");
        } else {
            assert_eq!(seen.input_closed, 1);
        }
    }
}

/// What two sessions say to each other, both compressing.
#[derive(Arbitrary, Debug)]
struct Talk {
    seed: u64,
    levels: (u8, u8),
    latency: u8,
    bursts: Vec<Burst>,
}

#[derive(Arbitrary, Debug)]
struct Burst {
    from_left: bool,
    messages: Vec<Message>,
    /// So many milliseconds pass after it.
    pause: u8,
}

#[derive(Arbitrary, Debug)]
enum Message {
    Bytes(Vec<u8>),
    Repeated(u8, u16),
    /// What deflate can make nothing of.
    Noise(u8, u16),
    /// The sender ends its stream, and the receiver does so when it hears of it.
    SwitchOff,
}

impl Message {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => [b"bytes ", &bytes[..]].concat(),
            Self::Repeated(byte, times) => vec![*byte; usize::from(*times)],
            Self::Noise(seed, len) => {
                let noise = (0..u64::from(*len)).map(|at| {
                    let mixed = (at + (u64::from(*seed) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as u8
                });
                noise.collect()
            }
            Self::SwitchOff => OFF.to_vec(),
        }
    }
}

/// The message that switches off: longer than those that are repeated, and unlike any other.
const OFF: &[u8] = b"bytesoff";

type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

struct Talker {
    heard: Heard,
    is_off: bool,
}

impl Talker {
    fn say(&mut self, cx: &mut SessionContext<'_, Self>, message: &[u8]) {
        cx.write(message).unwrap();
        if message == OFF && !std::mem::replace(&mut self.is_off, true) {
            cx.byte_filter::<Compression>("compression").unwrap().switch_off();
        }
    }
}

impl Session for Talker {
    type Codec = LengthPrefixed;

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, message: &[u8]) {
        self.heard.lock().unwrap().push(message.to_vec());
        if message == OFF && !self.is_off {
            self.say(cx, OFF);
        }
    }

    fn on_error(&mut self, _cx: &mut SessionContext<'_, Self>, error: &SessionError) -> ErrorAction {
        panic!("an error without a cause: {error}");
    }

    fn on_input_closed(&mut self, _cx: &mut SessionContext<'_, Self>) {
        panic!("nobody has closed");
    }
}

impl Talk {
    fn play(&self) {
        let heard = [Heard::default(), Heard::default()];
        let side = |level: u8, heard: &Heard| -> TestLoop<Sessions<Talker>> {
            let heard = Arc::clone(heard);
            let service = SessionService::new(|| LengthPrefixed::new(4).min(0).max(1 << 20))
                .configure(|config| config.idle_both = None)
                .byte_filter("compression", move || {
                    Compression::new().level(u32::from(level % 10)).max_ratio(2000)
                });
            TestLoop::sessions(service, move |_| Talker { heard: Arc::clone(&heard), is_off: false })
        };
        let (left, right) = (side(self.levels.0, &heard[1]), side(self.levels.1, &heard[0]));
        let mut link =
            Link::new(left, right).latency(Duration::from_millis(self.latency.into())).seed(self.seed);
        let (left, right) = link.connect();
        let mut said = [Vec::new(), Vec::new()];
        for burst in &self.bursts {
            let messages: Vec<_> = burst.messages.iter().map(Message::bytes).collect();
            said[usize::from(!burst.from_left)].extend(messages.iter().cloned());
            let say = move |talker: &mut Talker, cx: &mut SessionContext<'_, Talker>| {
                messages.iter().for_each(|message| talker.say(cx, message));
            };
            let side = if burst.from_left {
                link.left().with_session(&left, say)
            } else {
                link.right().with_session(&right, say)
            };
            assert!(side, "the session is there");
            link.advance(Duration::from_millis(burst.pause.into()));
        }
        link.advance(Duration::from_secs(5));
        for (said, heard) in said.iter().zip(&heard) {
            let mut heard = heard.lock().unwrap().clone();
            if heard.len() > said.len() {
                // The answer to the other side's.
                let answer = heard.iter().position(|message| message == OFF).unwrap();
                heard.remove(answer);
            }
            assert!(*said == heard, "{} messages said, {} heard", said.len(), heard.len());
        }
    }
}
