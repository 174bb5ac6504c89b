//! Byte filters of tests: hexadecimal digits, repetition, and a slow one.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::time::{Duration, Instant};

use campana::Buffer;
use campana::session::{ByteContext, ByteFilter, ByteResult, Progress};

/// On the wire each byte is two hexadecimal digits, so that a byte may arrive in halves. The last that it sends is a full stop.
pub(crate) struct Hex;

impl ByteFilter for Hex {
    fn decode(&mut self, _cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        while let [high, low, ..] = *input.peek() {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or("no hexadecimal digit");
            output.append(&[(digit(high)? * 16 + digit(low)?) as u8]);
            input.retrieve(2);
        }
        Ok(Progress::Done)
    }

    fn encode(&mut self, _cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        output.append(hex(input.peek()).as_bytes());
        input.retrieve_all();
        Ok(Progress::Done)
    }

    fn finish(&mut self, _cx: &mut ByteContext<'_>, output: &mut Buffer) -> ByteResult {
        output.append(b".");
        Ok(Progress::Done)
    }
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each byte that comes in stands for so many of it, of which 64 KiB are given at a time.
pub(crate) struct Repeat {
    times: usize,
    left: usize,
}

impl Repeat {
    pub(crate) fn new(times: usize) -> Self {
        Self { times, left: 0 }
    }
}

impl ByteFilter for Repeat {
    fn decode(&mut self, _cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        let mut room = 64 * 1024;
        while let Some(&byte) = input.peek().first() {
            if self.left == 0 {
                self.left = if byte == b'\n' { 1 } else { self.times };
            }
            let given = self.left.min(room);
            output.append(&vec![byte; given]);
            (self.left, room) = (self.left - given, room - given);
            if self.left > 0 {
                return Ok(Progress::More);
            }
            input.retrieve(1);
        }
        Ok(Progress::Done)
    }

    fn encode(&mut self, _cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        output.append(input.take());
        Ok(Progress::Done)
    }
}

/// Lets one byte in, and one out, a second.
#[derive(Default)]
pub(crate) struct Slow {
    next_in: Option<Instant>,
    next_out: Option<Instant>,
}

const PACE: Duration = Duration::from_secs(1);

fn pass(next: &mut Option<Instant>, now: Instant, input: &mut Buffer, output: &mut Buffer) -> Progress {
    if let Some(wait) = next.and_then(|next| next.checked_duration_since(now)).filter(|wait| !wait.is_zero())
    {
        return Progress::After(wait);
    }
    output.append(input.take_n(1));
    *next = Some(now + PACE);
    if input.is_empty() { Progress::Done } else { Progress::After(PACE) }
}

impl ByteFilter for Slow {
    fn decode(&mut self, cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        Ok(pass(&mut self.next_in, cx.now(), input, output))
    }

    fn encode(&mut self, cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        Ok(pass(&mut self.next_out, cx.now(), input, output))
    }
}
