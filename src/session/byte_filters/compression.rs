//! Streams compressed by deflate.

use std::error::Error;
use std::fmt;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use crate::buffer::Buffer;
use crate::session::{ByteContext, ByteFilter, ByteResult, Progress};

/// The most plain bytes that one call of `decode` gives.
const MOST_AT_ONCE: usize = 64 * 1024;

/// How many plain bytes a peer may be ahead of what the ratio allows.
const ADVANCE: u64 = 1024 * 1024;

/// Room that is offered to the compressor and the decompressor at a time.
const LEAST_ROOM: usize = 256;
const MOST_ROOM: usize = 16 * 1024;

/// What a deflate stream that was flushed ends with.
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];

/// Compresses what is sent and decompresses what comes in: a zlib stream (RFC 1950, 1951) in each direction, which begins with the
/// first byte and goes on for as long as the filter is there. So what was sent before helps to compress what comes after, and small
/// messages that resemble each other become a few bytes each.
///
/// Whatever is written in one go is flushed, so that the peer can decode it without waiting for more; that costs 4 to 5 bytes. The
/// stream is ended when the session closes or the filter is taken out.
///
/// # What a peer can do with it
///
/// What is decompressed is delivered in pieces of 64 KiB, and other connections have their turn in between: however much a few bytes
/// expand to, it takes up neither memory nor the loop. A peer whose stream expands to more than [`max_ratio`](Self::max_ratio) times
/// its length, which is 100 unless it is set, and 1 MiB more than that, is cut off: each compressed byte gives it the right to as
/// many plain ones, and not more than 1 MiB of such rights is saved up.
///
/// Input that is no zlib stream, or one with errors in it, ends the session with a [`CompressionError`]; so does a stream that ends
/// while the peer sends more behind it, or that is cut off inside of what was flushed together. A peer that closes without ending
/// its stream, but after a flush, is not to blame.
///
/// # What it costs
///
/// About 315 KiB for each session that has sent something, and 45 KiB for each that has received something.
///
/// # Switched on and off in the middle
///
/// Both sides agree by messages of theirs, say. The one that says yes adds the filter right behind its reply, as
/// [`byte_filters`](crate::session::SessionView::byte_filters) shows, and the other when it gets that reply: bytes that have come
/// with it and are not decoded yet go to the filter. How to end it again [`switch_off`](Self::switch_off) says.
///
/// ```
/// use campana::codec::{Lines, Text};
/// use campana::session::byte_filters::Compression;
/// use campana::session::{Session, SessionContext};
///
/// struct Chat;
///
/// impl Session for Chat {
///     type Codec = Text<Lines>;
///
///     fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
///         if line == "compress" && !cx.byte_filters().contains("compression") {
///             let _ = cx.write("yes");
///             let _ = cx.byte_filters().add_last("compression", Box::new(Compression::new()));
///         }
///     }
/// }
/// ```
pub struct Compression {
    level: u32,
    max_ratio: u64,
    /// Made with the first byte, as they are large.
    compress: Option<Box<Compress>>,
    decompress: Option<Box<Decompress>>,
    /// How many plain bytes may still come for the compressed ones that have come.
    allowance: u64,
    /// The last bytes that were decompressed.
    last: [u8; 4],
    input_ended: bool,
    output_ended: bool,
    is_off: bool,
    counters: CompressionCounters,
}

/// How many bytes have passed a [`Compression`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct CompressionCounters {
    /// Bytes received.
    pub compressed_in: u64,
    /// Bytes that they were before the peer compressed them.
    pub plain_in: u64,
    /// Bytes to be sent, before they are compressed.
    pub plain_out: u64,
    /// Bytes that they are when they are sent.
    pub compressed_out: u64,
}

/// Why a [`Compression`] can't go on.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CompressionError {
    /// What came in is no zlib stream, or has errors in it.
    Corrupt,
    /// What came in expands to more than is allowed.
    Ratio {
        /// How often its own length.
        max: u32,
    },
    /// The peer has ended its stream, and sent more.
    AfterEnd,
    /// The input ended inside of something.
    CutOff,
}

impl fmt::Display for CompressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt => f.write_str("the compressed stream is corrupt: does the peer compress?"),
            Self::Ratio { max } => write!(
                f,
                "the compressed stream expands to more than {max} times its length: raise `max_ratio` if that is meant"
            ),
            Self::AfterEnd => f.write_str(
                "the peer has ended its compressed stream and sent more, without having agreed to switch it off",
            ),
            Self::CutOff => f.write_str("the compressed stream was cut off"),
        }
    }
}

impl Error for CompressionError {}

impl Compression {
    /// A filter that compresses at level 6.
    #[must_use]
    pub fn new() -> Self {
        Self {
            level: 6,
            max_ratio: 100,
            compress: None,
            decompress: None,
            allowance: ADVANCE,
            last: FLUSHED,
            input_ended: false,
            output_ended: false,
            is_off: false,
            counters: CompressionCounters::default(),
        }
    }

    /// How much trouble to take: from 0, which doesn't compress, over 1, the fastest, to 9. Default 6.
    ///
    /// # Panics
    ///
    /// With more than 9.
    #[must_use]
    pub fn level(mut self, level: u32) -> Self {
        assert!(level <= 9, "the levels of compression are 0 to 9");
        self.level = level;
        self
    }

    /// How many times its own length what comes in may expand to, beside 1 MiB. Default 100; deflate gets to 1032.
    #[must_use]
    pub fn max_ratio(mut self, ratio: u32) -> Self {
        self.max_ratio = ratio.into();
        self
    }

    /// What has passed so far. A running session's filter is found by
    /// [`SessionContext::byte_filter`](crate::session::SessionContext::byte_filter).
    #[must_use]
    pub fn counters(&self) -> CompressionCounters {
        self.counters
    }

    /// Ends the stream of what is sent: what is written from here on goes out plain. From the peer a compressed stream is expected
    /// up to its end, and plain bytes behind it. So it can be switched off whatever is under way: one side says so and calls this,
    /// and the other, when it hears of it, answers and does the same. Before a side has called this, bytes behind the end of its
    /// peer's stream are an error.
    ///
    /// ```
    /// use campana::codec::{Lines, Text};
    /// use campana::session::byte_filters::Compression;
    /// use campana::session::{Session, SessionContext};
    ///
    /// struct Chat;
    ///
    /// impl Session for Chat {
    ///     type Codec = Text<Lines>;
    ///
    ///     fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
    ///         if line == "plain" {
    ///             let _ = cx.write("yes");
    ///             if let Some(compression) = cx.byte_filter::<Compression>("compression") {
    ///                 compression.switch_off();
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    pub fn switch_off(&mut self) {
        self.is_off = true;
    }

    /// Decompresses into so much room. Answers how much of it was needed.
    fn decompress(
        &mut self,
        input: &mut Buffer,
        output: &mut Buffer,
        room: usize,
    ) -> Result<usize, CompressionError> {
        let decompress = self.decompress.get_or_insert_with(|| Box::new(Decompress::new(true)));
        let before = (decompress.total_in(), decompress.total_out());
        let spare = output.spare(room);
        let from = spare.len();
        spare.resize(from + room, 0);
        let result = decompress.decompress(input.peek(), &mut spare[from..], FlushDecompress::None);
        let taken = (decompress.total_in() - before.0) as usize;
        let given = (decompress.total_out() - before.1) as usize;
        spare.truncate(from + given);
        for &byte in &input.take_n(taken)[taken.saturating_sub(4)..] {
            self.last.rotate_left(1);
            self.last[3] = byte;
        }
        self.counters.compressed_in += taken as u64;
        self.counters.plain_in += given as u64;
        self.input_ended = matches!(result, Ok(Status::StreamEnd));
        let allowance = self.allowance.saturating_add((taken as u64).saturating_mul(self.max_ratio));
        if given as u64 > allowance {
            let max = u32::try_from(self.max_ratio).unwrap_or(u32::MAX);
            return Err(CompressionError::Ratio { max });
        }
        self.allowance = (allowance - given as u64).min(ADVANCE);
        result.map(|_| given).map_err(|_| CompressionError::Corrupt)
    }

    /// Ends the stream, once.
    fn end_output(&mut self, output: &mut Buffer) {
        if !self.output_ended {
            self.output_ended = true;
            self.compress(&mut Buffer::new(), output, FlushCompress::Finish);
            self.compress = None;
        }
    }

    /// Compresses all of the input, and flushes or ends the stream.
    fn compress(&mut self, input: &mut Buffer, output: &mut Buffer, flush: FlushCompress) {
        let level = flate2::Compression::new(self.level);
        let compress = self.compress.get_or_insert_with(|| Box::new(Compress::new(level, true)));
        let mut was_full = false;
        loop {
            let before = (compress.total_in(), compress.total_out());
            let spare = output.spare((input.readable() / 2).clamp(LEAST_ROOM, MOST_ROOM));
            // It fails only without progress, which is nothing to be done about: the end is told by the room that is left.
            let _ = compress.compress_vec(input.peek(), spare, flush);
            let is_full = spare.len() == spare.capacity();
            let taken = compress.total_in() - before.0;
            input.retrieve(taken as usize);
            self.counters.plain_out += taken;
            self.counters.compressed_out += compress.total_out() - before.1;
            // The call after one that had no room may only give what was left of that, with the flush still to come.
            if !is_full && !was_full {
                return;
            }
            was_full = is_full;
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::new()
    }
}

impl ByteFilter for Compression {
    fn decode(&mut self, _cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        if self.input_ended && self.is_off {
            return Ok(pass_plain(input, output));
        }
        if self.input_ended && !input.is_empty() {
            return Err(CompressionError::AfterEnd.into());
        }
        let mut given = 0;
        while !self.input_ended {
            let room = input.readable().saturating_mul(4).clamp(LEAST_ROOM, MOST_ROOM);
            let room = room.min(MOST_AT_ONCE - given);
            if room == 0 {
                return Ok(Progress::More);
            }
            let before = input.readable();
            let so_much = self.decompress(input, output, room)?;
            given += so_much;
            // It may stop early with more inside, so that only a call without progress says that there is none.
            if so_much == 0 && input.readable() == before {
                return Ok(Progress::Done);
            }
        }
        // What is behind the end comes with the next call: the session may know by then what that means.
        Ok(if input.is_empty() { Progress::Done } else { Progress::More })
    }

    fn encode(&mut self, _cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        if self.is_off {
            self.end_output(output);
            output.append(input.take());
        } else {
            self.compress(input, output, FlushCompress::Sync);
        }
        Ok(Progress::Done)
    }

    fn on_input_closed(&mut self, _cx: &mut ByteContext<'_>) -> ByteResult {
        if self.input_ended || self.last == FLUSHED {
            Ok(Progress::Done)
        } else {
            Err(CompressionError::CutOff.into())
        }
    }

    fn finish(&mut self, _cx: &mut ByteContext<'_>, output: &mut Buffer) -> ByteResult {
        if self.compress.is_some() {
            self.end_output(output);
        }
        Ok(Progress::Done)
    }
}

fn pass_plain(input: &mut Buffer, output: &mut Buffer) -> Progress {
    let passed = input.readable().min(MOST_AT_ONCE);
    output.append(input.take_n(passed));
    if input.is_empty() { Progress::Done } else { Progress::More }
}

impl fmt::Debug for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compression")
            .field("level", &self.level)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
