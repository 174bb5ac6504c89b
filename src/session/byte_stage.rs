//! One byte filter of a session, with the bytes that wait in front of it.

use std::error::Error;
use std::time::Instant;

use super::SessionId;
use super::byte_filter::{ByteContext, ByteFilter, ByteResult, Progress};
use super::edits::Name;
use super::marks::Marks;
use crate::buffer::Buffer;

/// A filter has failed.
pub(super) struct Failed {
    pub(super) name: Name,
    pub(super) error: Box<dyn Error + Send + Sync>,
}

/// Whether a filter is to be called again without anything new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Again {
    No,
    Now,
    At(Instant),
}

impl Again {
    /// What follows from an answer. `moved` says whether the call has taken or given anything.
    fn of(progress: Progress, moved: bool, now: Instant) -> Self {
        match progress {
            Progress::More if moved => Self::Now,
            Progress::More | Progress::Done => Self::No,
            Progress::After(time) => now.checked_add(time).map_or(Self::No, Self::At),
        }
    }

    fn is_due(self, now: Instant) -> bool {
        match self {
            Self::No => false,
            Self::Now => true,
            Self::At(time) => time <= now,
        }
    }

    fn time(self) -> Option<Instant> {
        match self {
            Self::At(time) => Some(time),
            Self::No | Self::Now => None,
        }
    }
}

/// What a filter's calls are given beside bytes.
pub(super) struct Call<'a> {
    pub(super) id: SessionId,
    pub(super) now: Instant,
    pub(super) reply: &'a mut Buffer,
}

impl Call<'_> {
    fn context(&mut self) -> ByteContext<'_> {
        ByteContext { id: self.id, now: self.now, reply: self.reply }
    }
}

/// A filter with the bytes that wait in front of it, on either side.
pub(super) struct Stage {
    pub(super) name: Name,
    filter: Box<dyn ByteFilter>,
    pub(super) inbound: Buffer,
    pub(super) outbound: Buffer,
    /// How many bytes the filter has taken out of `outbound`.
    taken: u64,
    /// How far the codec's output comes with what is in `outbound`.
    pub(super) marks: Marks,
    decode_again: Again,
    encode_again: Again,
    /// Set while the filter is called; what is left of a call that panicked.
    is_running: bool,
    decode_failed: bool,
    encode_failed: bool,
    /// The filter has been told that nothing more comes in.
    pub(super) input_ended: bool,
    /// The filter has sent its last.
    pub(super) finished: bool,
}

impl Stage {
    pub(super) fn new(name: Name, filter: Box<dyn ByteFilter>, inbound: Buffer) -> Self {
        Self {
            name,
            filter,
            inbound,
            outbound: Buffer::new(),
            taken: 0,
            marks: Marks::default(),
            decode_again: Again::No,
            encode_again: Again::No,
            is_running: false,
            decode_failed: false,
            encode_failed: false,
            input_ended: false,
            finished: false,
        }
    }

    pub(super) fn filter(&mut self) -> &mut dyn ByteFilter {
        &mut *self.filter
    }

    /// A call has panicked.
    pub(super) fn has_panicked(&self) -> bool {
        self.is_running
    }

    pub(super) fn decodes(&self) -> bool {
        !self.decode_failed && !self.is_running && !self.input_ended
    }

    pub(super) fn encodes(&self) -> bool {
        !self.has_failed_outwards() && !self.finished
    }

    /// Whether what waits on the way out does so in vain.
    pub(super) fn has_failed_outwards(&self) -> bool {
        self.encode_failed || self.is_running
    }

    /// What the filter would give nobody takes any more.
    pub(super) fn stop_decoding(&mut self) {
        self.decode_failed = true;
        self.inbound.retrieve_all();
    }

    /// Whether there is something to decode without anything new.
    pub(super) fn has_more_input(&self) -> bool {
        self.decodes() && self.decode_again == Again::Now
    }

    /// Whether more input would only pile up.
    pub(super) fn holds_input(&self) -> bool {
        let waits = self.decode_again.time().is_some() && !self.inbound.is_empty();
        self.decodes() && (self.decode_again == Again::Now || waits)
    }

    /// Whether all of the output has been taken by the filter, and given by it.
    pub(super) fn is_empty_outwards(&self) -> bool {
        self.outbound.is_empty() && self.encode_again == Again::No
    }

    /// When the filter wants to be called.
    pub(super) fn wake_at(&self, inwards: bool) -> Option<Instant> {
        let decode = self.decode_again.time().filter(|_| inwards && self.decodes());
        let encode = self.encode_again.time().filter(|_| self.encodes());
        decode.into_iter().chain(encode).min()
    }

    /// Where the bytes end that wait in `outbound`, counted from the first.
    pub(super) fn end(&self) -> u64 {
        self.taken + self.outbound.readable() as u64
    }

    /// How many bytes of `outbound` have been taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn open(&mut self, mut call: Call<'_>) -> Result<(), Failed> {
        let result = self.call(|filter| filter.on_open(&mut call.context()));
        self.decode_again = Again::of(self.told(result)?, false, call.now);
        Ok(())
    }

    /// Decodes what waits, and behind it `raw`, into `output`.
    pub(super) fn decode(
        &mut self,
        raw: &mut Buffer,
        output: &mut Buffer,
        mut call: Call<'_>,
    ) -> Result<(), Failed> {
        if !self.inbound.is_empty() {
            self.inbound.append(raw.take());
        }
        if self.inbound.is_empty() && raw.is_empty() && !self.decode_again.is_due(call.now) {
            return Ok(());
        }
        let mut inbound = std::mem::take(&mut self.inbound);
        let input = if inbound.is_empty() { &mut *raw } else { &mut inbound };
        let before = (input.readable(), output.readable());
        let result = self.call(|filter| filter.decode(&mut call.context(), input, output));
        let moved = before != (input.readable(), output.readable());
        inbound.append(raw.take());
        self.inbound = inbound;
        self.decode_failed = result.is_err();
        self.decode_again = Again::of(self.told(result)?, moved, call.now);
        Ok(())
    }

    /// Encodes what waits, and behind it `fresh`, into `output`, once. Answers whether to call again, and how far the codec's
    /// output has come.
    pub(super) fn encode(
        &mut self,
        fresh: &mut Buffer,
        output: &mut Buffer,
        mut call: Call<'_>,
    ) -> Result<(bool, Option<u64>), Failed> {
        if !self.outbound.is_empty() {
            self.outbound.append(fresh.take());
        }
        if self.outbound.is_empty() && fresh.is_empty() && !self.encode_again.is_due(call.now) {
            return Ok((false, None));
        }
        let mut outbound = std::mem::take(&mut self.outbound);
        let input = if outbound.is_empty() { &mut *fresh } else { &mut outbound };
        let before = (input.readable(), output.readable());
        let result = self.call(|filter| filter.encode(&mut call.context(), input, output));
        let moved = before != (input.readable(), output.readable());
        self.taken += before.0.saturating_sub(input.readable()) as u64;
        outbound.append(fresh.take());
        self.outbound = outbound;
        self.encode_failed = result.is_err();
        self.encode_again = Again::of(self.told(result)?, moved, call.now);
        if self.encode_again == Again::Now {
            return Ok((true, None));
        }
        Ok((false, self.marks.pass(self.taken)))
    }

    /// Tells the filter that nothing more comes in.
    pub(super) fn end_input(&mut self, mut call: Call<'_>) -> Result<(), Failed> {
        self.input_ended = true;
        let result = self.call(|filter| filter.on_input_closed(&mut call.context()));
        self.told(result)?;
        match self.inbound.readable() {
            0 => Ok(()),
            left => {
                Err(self.fail(format!("the input ended inside of something: {left} bytes are left of it")))
            }
        }
    }

    /// Lets the filter send its last. Answers whether it has.
    pub(super) fn finish(&mut self, output: &mut Buffer, mut call: Call<'_>) -> Result<bool, Failed> {
        loop {
            let before = output.readable();
            let result = self.call(|filter| filter.finish(&mut call.context(), output));
            self.encode_failed = result.is_err();
            match Again::of(self.told(result)?, output.readable() != before, call.now) {
                Again::Now => {}
                again => {
                    self.encode_again = again;
                    self.finished = again == Again::No;
                    return Ok(self.finished);
                }
            }
        }
    }

    pub(super) fn fail(&mut self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Failed {
        self.decode_failed = true;
        Failed { name: self.name.clone(), error: error.into() }
    }

    fn call(&mut self, call: impl FnOnce(&mut dyn ByteFilter) -> ByteResult) -> ByteResult {
        self.is_running = true;
        let result = call(&mut *self.filter);
        self.is_running = false;
        result
    }

    fn told(&self, result: ByteResult) -> Result<Progress, Failed> {
        result.map_err(|error| Failed { name: self.name.clone(), error })
    }
}
