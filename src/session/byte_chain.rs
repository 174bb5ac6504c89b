//! The byte filters of one session, in order, and the bytes that wait between them.

use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant};

use super::SessionId;
use super::byte_filter::{ByteContext, ByteFilter, ByteResult, Progress};
use super::edits::{Edit, Name};
use crate::buffer::Buffer;

/// A filter has failed.
pub(super) struct Failed {
    pub(super) name: Name,
    pub(super) error: Box<dyn Error + Send + Sync>,
}

/// A filter with the bytes that wait in front of it, on either side.
struct Stage {
    name: Name,
    filter: Box<dyn ByteFilter>,
    inbound: Buffer,
    outbound: Buffer,
    /// How many bytes were ever put into `outbound`.
    outbound_end: u64,
    /// Ends of what the codec gave, at the places in `outbound` that they have come to.
    marks: Marks,
}

/// Pairs of a position in some stream and the position in the codec's output that has wholly come to it.
type Marks = VecDeque<(u64, u64)>;

pub(super) struct ByteChain {
    id: SessionId,
    stages: Vec<Stage>,
    /// What the codec is to decode.
    pub(super) plain: Buffer,
    /// What goes to the connection.
    pub(super) wire: Buffer,
    /// How many bytes the codec has given.
    taken: u64,
    /// How much of the codec's output has come as far as `wire`, if that is news.
    arrived: Option<u64>,
    /// Where in the connection's output the codec's is.
    marks: Marks,
    /// How much of the codec's output has been written, as far as that is known.
    written: u64,
    /// When a filter wants to go on, seen from the last call of it.
    pub(super) wake_after: Option<Duration>,
    /// Whether a filter is held back from its input, so that more of it would only pile up.
    pub(super) holds_input: bool,
    /// Whether the filters have been told that nothing more will come.
    input_closed: bool,
}

impl ByteChain {
    /// A chain without filters, for a connection that has been given `position` bytes.
    pub(super) fn new(id: SessionId, position: u64) -> Self {
        Self {
            id,
            stages: Vec::new(),
            plain: Buffer::new(),
            wire: Buffer::new(),
            taken: position,
            arrived: None,
            marks: Marks::from([(position, position)]),
            written: 0,
            wake_after: None,
            holds_input: false,
            input_closed: false,
        }
    }

    pub(super) fn find(&mut self, name: &str) -> Option<&mut dyn ByteFilter> {
        let stage = self.stages.iter_mut().find(|stage| stage.name == name)?;
        Some(&mut *stage.filter)
    }

    /// How many bytes the codec has given.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// How much of them has been written, when the kernel has taken so much of the connection's output.
    pub(super) fn written(&mut self, of_wire: u64) -> u64 {
        while let Some(&(position, plain)) = self.marks.front() {
            if position > of_wire {
                break;
            }
            self.written = plain;
            self.marks.pop_front();
        }
        self.written
    }

    pub(super) fn held_output(&self) -> usize {
        self.stages.iter().map(|stage| stage.outbound.readable()).sum()
    }

    /// Takes what the codec has given, and brings it on its way to the wire.
    pub(super) fn write(&mut self, staging: &mut Buffer, now: Instant) -> Result<(), Failed> {
        self.taken += staging.readable() as u64;
        let taken = self.taken;
        match self.stages.last_mut() {
            Some(last) => {
                last.put(staging.peek());
                last.marks.push_back((last.outbound_end, taken));
            }
            None => {
                self.wire.append(staging.peek());
                self.arrived = Some(taken);
            }
        }
        staging.retrieve_all();
        self.push(now)
    }

    /// Brings what waits for the wire as near to it as the filters let it.
    pub(super) fn push(&mut self, now: Instant) -> Result<(), Failed> {
        for place in (0..self.stages.len()).rev() {
            self.encode(place, now)?;
        }
        Ok(())
    }

    /// What is in `wire` has been given to the connection, whose output ends at `position` by it.
    pub(super) fn passed_to_wire(&mut self, position: u64) {
        if let Some(plain) = self.arrived.take() {
            self.marks.push_back((position, plain));
        }
    }

    /// Takes what has come from the wire.
    pub(super) fn receive(&mut self, raw: &mut Buffer) {
        match self.stages.first_mut() {
            Some(first) => first.inbound.append(raw.peek()),
            None => self.plain.append(raw.peek()),
        }
        raw.retrieve_all();
    }

    /// Brings what has come nearer to the codec, each filter once. Answers whether there may be more after it.
    pub(super) fn pull(&mut self, now: Instant) -> Result<bool, Failed> {
        let mut more = false;
        self.holds_input = false;
        for place in 0..self.stages.len() {
            match self.decode(place, now)? {
                Progress::Done => {}
                Progress::More => more = true,
                Progress::After(time) => {
                    self.holds_input = true;
                    self.wake_in(time);
                }
            }
        }
        Ok(more)
    }

    /// Tells the filters that nothing more will come.
    pub(super) fn input_closed(&mut self, now: Instant) -> Result<(), Failed> {
        if std::mem::replace(&mut self.input_closed, true) {
            return Ok(());
        }
        for place in 0..self.stages.len() {
            self.call(place, now, |filter, cx| filter.on_input_closed(cx))?;
        }
        self.push(now)
    }

    /// Lets each filter put its last bytes behind what it has sent.
    pub(super) fn finish(&mut self, now: Instant) -> Result<(), Failed> {
        for place in (0..self.stages.len()).rev() {
            self.encode(place, now)?;
            self.finish_stage(place, now)?;
        }
        Ok(())
    }

    /// Makes changes.
    pub(super) fn apply(&mut self, edits: Vec<Edit<dyn ByteFilter>>, now: Instant) -> Result<(), Failed> {
        for edit in edits {
            match edit {
                Edit::Insert(place, name, filter) => self.insert(place, name, filter, now)?,
                Edit::Remove(place) => self.remove(place, now)?,
                Edit::Replace(place, name, filter) => {
                    self.remove(place, now)?;
                    self.insert(place, name, filter, now)?;
                }
            }
        }
        Ok(())
    }

    /// What waits to be decoded where the filter comes in is its to decode.
    fn insert(
        &mut self,
        place: usize,
        name: Name,
        filter: Box<dyn ByteFilter>,
        now: Instant,
    ) -> Result<(), Failed> {
        let next = match self.stages.get_mut(place) {
            Some(stage) => &mut stage.inbound,
            None => &mut self.plain,
        };
        let inbound = std::mem::take(next);
        let (outbound, outbound_end, marks) = (Buffer::new(), 0, Marks::new());
        self.stages.insert(place, Stage { name, filter, inbound, outbound, outbound_end, marks });
        self.call(place, now, |filter, cx| filter.on_open(cx))
    }

    fn remove(&mut self, place: usize, now: Instant) -> Result<(), Failed> {
        self.encode(place, now)?;
        self.finish_stage(place, now)?;
        let mut stage = self.stages.remove(place);
        let next = match self.stages.get_mut(place) {
            Some(next) => &mut next.inbound,
            None => &mut self.plain,
        };
        // What it has given already came before what it was still to decode.
        next.append(stage.inbound.peek());
        // What it was holding back goes on without it.
        let waiting = stage.marks.drain(..).next_back();
        self.put_further(place, stage.outbound.peek(), waiting.map(|(_, plain)| plain));
        Ok(())
    }

    fn decode(&mut self, place: usize, now: Instant) -> Result<Progress, Failed> {
        let (before, behind) = self.stages.split_at_mut(place + 1);
        let Some(stage) = before.last_mut() else { return Ok(Progress::Done) };
        if stage.inbound.is_empty() {
            return Ok(Progress::Done);
        }
        let output = behind.first_mut().map_or(&mut self.plain, |next| &mut next.inbound);
        let mut reply = Buffer::new();
        let mut cx = ByteContext { id: self.id, now, reply: &mut reply };
        let result = stage.filter.decode(&mut cx, &mut stage.inbound, output);
        let progress = result.map_err(|error| Failed { name: stage.name.clone(), error })?;
        self.put_further(place, reply.peek(), None);
        Ok(progress)
    }

    fn encode(&mut self, place: usize, now: Instant) -> Result<(), Failed> {
        while !self.stages[place].outbound.is_empty() {
            let stage = &mut self.stages[place];
            let (mut output, mut reply) = (Buffer::new(), Buffer::new());
            let mut cx = ByteContext { id: self.id, now, reply: &mut reply };
            let left = stage.outbound.readable();
            let result = stage.filter.encode(&mut cx, &mut stage.outbound, &mut output);
            let progress = result.map_err(|error| Failed { name: stage.name.clone(), error })?;
            let took_some = stage.outbound.readable() < left;
            let arrived = stage.take_marks();
            self.put_further(place, output.peek(), arrived);
            self.put_further(place, reply.peek(), None);
            match progress {
                Progress::More if took_some => {}
                Progress::After(time) => {
                    self.wake_in(time);
                    break;
                }
                Progress::More | Progress::Done => break,
            }
        }
        Ok(())
    }

    fn finish_stage(&mut self, place: usize, now: Instant) -> Result<(), Failed> {
        let mut output = Buffer::new();
        self.call(place, now, |filter, cx| filter.finish(cx, &mut output))?;
        self.put_further(place, output.peek(), None);
        Ok(())
    }

    fn call(
        &mut self,
        place: usize,
        now: Instant,
        call: impl FnOnce(&mut dyn ByteFilter, &mut ByteContext<'_>) -> ByteResult,
    ) -> Result<(), Failed> {
        let stage = &mut self.stages[place];
        let mut reply = Buffer::new();
        let result = call(&mut *stage.filter, &mut ByteContext { id: self.id, now, reply: &mut reply });
        let progress = result.map_err(|error| Failed { name: stage.name.clone(), error })?;
        self.put_further(place, reply.peek(), None);
        if let Progress::After(time) = progress {
            self.wake_in(time);
        }
        Ok(())
    }

    /// Puts bytes that the filter at `place` gives in front of the next one on the way out. `arrived` is how far the codec's output
    /// has come with them.
    fn put_further(&mut self, place: usize, bytes: &[u8], arrived: Option<u64>) {
        match place.checked_sub(1) {
            Some(next) => {
                let next = &mut self.stages[next];
                next.put(bytes);
                if let Some(plain) = arrived {
                    next.marks.push_back((next.outbound_end, plain));
                }
            }
            None => {
                self.wire.append(bytes);
                self.arrived = arrived.or(self.arrived);
            }
        }
    }

    fn wake_in(&mut self, time: Duration) {
        self.wake_after = Some(self.wake_after.map_or(time, |earlier| earlier.min(time)));
    }
}

impl Stage {
    fn put(&mut self, bytes: &[u8]) {
        self.outbound.append(bytes);
        self.outbound_end += bytes.len() as u64;
    }

    /// Takes the marks that lie in what the filter has taken of its input. Answers the last of them.
    fn take_marks(&mut self) -> Option<u64> {
        let taken = self.outbound_end - self.outbound.readable() as u64;
        let passed = self.marks.partition_point(|&(position, _)| position <= taken);
        self.marks.drain(..passed).next_back().map(|(_, plain)| plain)
    }
}
