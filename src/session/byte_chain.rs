//! The byte filters of one session, in order, and the bytes that wait between them.

use std::rc::Rc;
use std::time::Instant;

use super::SessionId;
use super::body::LoopShared;
use super::byte_filter::ByteFilter;
use super::byte_stage::{Call, Failed, Stage};
use super::edits::{Edit, Name};
use super::marks::Marks;
use crate::buffer::Buffer;
use crate::reactor::TimerId;

/// The layer's own view of the chain is positions: `given` counts what the codec has given, the connection counts what it was given,
/// and marks in between say which of the one has come with which of the other.
///
/// ```text
///   plain <── stage n .. stage 0 <── raw       the codec decodes `plain`
///   staged ──> stage n .. stage 0 ──> wire     the connection sends `wire`
/// ```
pub(super) struct ByteChain {
    id: SessionId,
    shared: Rc<LoopShared>,
    stages: Vec<Stage>,
    /// What the codec is to decode.
    pub(super) plain: Buffer,
    /// The codec has stopped in the middle of `plain`.
    pub(super) is_stopped: bool,
    /// While the codec has `plain`: the place at which what it leaves comes in.
    rest_place: Option<usize>,
    /// A timer of zero is set, as there is more to be pulled.
    pub(super) is_resuming: bool,
    /// What goes to the connection.
    pub(super) wire: Buffer,
    reply: Buffer,
    given: u64,
    /// How much of the codec's output has come as far as `wire`, if that is news.
    arrived: Option<u64>,
    /// Something that was in `wire` has not become output of the connection.
    wire_lost: bool,
    /// Where in the connection's output the codec's is.
    marks: Marks,
    /// How much of the codec's output has been written, as far as that is known.
    written: u64,
    input_ended: bool,
    is_finishing: bool,
    /// What has failed on the way in. What was decoded before comes before it.
    failed_input: Option<Failed>,
    /// What has failed, until the session is told.
    pub(super) failure: Option<Failed>,
    pub(super) ending: Ending,
    pub(super) water: Water,
    /// The timer for filters that want to be called again.
    pub(super) timer: Option<(Instant, TimerId)>,
}

/// How the end of a session that is to go out after what waits is coming on.
#[derive(Default)]
pub(super) struct Ending {
    /// It waits for filters.
    pub(super) waits: bool,
    /// Since when, in nanoseconds.
    pub(super) since: Option<u64>,
}

/// Whether more output waits than the high-water mark: here and at the connection together.
#[derive(Default)]
pub(super) struct Water {
    pub(super) is_high: bool,
    /// The session has not been told of the last crossing.
    pub(super) is_news: bool,
}

impl ByteChain {
    /// A chain without filters, for a connection that has been given `position` bytes.
    pub(super) fn new(id: SessionId, shared: Rc<LoopShared>, position: u64) -> Self {
        let mut marks = Marks::default();
        marks.push(position, position);
        Self {
            id,
            shared,
            stages: Vec::new(),
            plain: Buffer::new(),
            is_stopped: false,
            rest_place: None,
            is_resuming: false,
            wire: Buffer::new(),
            reply: Buffer::new(),
            given: position,
            arrived: None,
            wire_lost: false,
            marks,
            written: 0,
            input_ended: false,
            is_finishing: false,
            failed_input: None,
            failure: None,
            ending: Ending::default(),
            water: Water::default(),
            timer: None,
        }
    }

    pub(super) fn find(&mut self, name: &str) -> Option<&mut dyn ByteFilter> {
        let stage = self.stages.iter_mut().find(|stage| stage.name == name)?;
        Some(stage.filter())
    }

    /// Whether the session has to be told of something.
    pub(super) fn has_news(&self) -> bool {
        self.failure.is_some() || self.water.is_news
    }

    /// Whether a filter has panicked, and may have lost its place in the stream.
    pub(super) fn has_panicked(&self) -> bool {
        self.stages.iter().any(Stage::has_panicked)
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.is_finishing
    }

    /// How many bytes the codec has given.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// How much of them has been written, when the kernel has taken so much of the connection's output.
    pub(super) fn written(&mut self, of_wire: u64) -> u64 {
        self.written = self.marks.pass(of_wire).unwrap_or(self.written);
        self.written
    }

    pub(super) fn held_output(&self) -> usize {
        self.stages.iter().map(|stage| stage.outbound.readable()).sum()
    }

    /// When a filter wants to be called; `inwards` if those count that wait for input to go on.
    pub(super) fn wake_at(&self, inwards: bool) -> Option<Instant> {
        self.stages.iter().filter_map(|stage| stage.wake_at(inwards)).min()
    }

    /// Whether more input would only pile up.
    pub(super) fn holds_input(&self) -> bool {
        self.failed_input.is_none() && self.stages.iter().any(Stage::holds_input)
    }

    /// Gives storage that holds nothing back to the loop.
    pub(super) fn rest(&mut self) {
        let spare = &self.shared.spare_buffers;
        for buffer in [&mut self.plain, &mut self.wire, &mut self.reply] {
            spare.take_back(buffer);
        }
        for stage in &mut self.stages {
            spare.take_back(&mut stage.inbound);
            spare.take_back(&mut stage.outbound);
        }
    }

    fn fail(&mut self, result: Result<(), Failed>) {
        if let Err(failed) = result {
            self.failure.get_or_insert(failed);
        }
    }
}

/// The way out.
impl ByteChain {
    /// Takes what the codec has given, and brings it on its way to the wire.
    pub(super) fn write(&mut self, staged: &mut Buffer, now: Instant) {
        let given = staged.readable() as u64;
        match self.stages.len().checked_sub(1) {
            Some(tail) => self.encode(tail, staged, now),
            None => {
                self.shared.spare_buffers.lend(&mut self.wire);
                self.wire.append(staged.take());
                self.arrived = Some(self.given + given);
            }
        }
        // Not before: a filter that panics has not taken it.
        self.given += given;
        self.push(now);
    }

    /// Brings what waits for the wire as near to it as the filters let it.
    pub(super) fn push(&mut self, now: Instant) {
        for place in (0..self.stages.len()).rev() {
            self.encode(place, &mut Buffer::new(), now);
        }
    }

    /// What was in `wire` has been given to the connection, whose output ends at `position` by it.
    pub(super) fn passed_to_wire(&mut self, position: u64) {
        if let Some(plain) = self.arrived.take()
            && !self.wire_lost
        {
            self.marks.push(position, plain);
        }
    }

    /// The connection has refused what was in `wire`: nothing of it is ever written, nor anything behind it.
    pub(super) fn lose_wire(&mut self) {
        self.wire_lost = true;
    }

    /// Lets each filter put its last bytes behind what it has sent, from the tail on. Answers whether all is out.
    pub(super) fn finish(&mut self, now: Instant) -> bool {
        self.is_finishing = true;
        for place in (0..self.stages.len()).rev() {
            if self.stages[place].finished {
                continue;
            }
            self.encode(place, &mut Buffer::new(), now);
            if self.stages[place].encodes() && !self.stages[place].is_empty_outwards() {
                return false;
            }
            if !self.finish_stage(place, now) {
                return false;
            }
        }
        true
    }

    /// Answers whether the filter has nothing more to send. One that has failed won't.
    fn finish_stage(&mut self, place: usize, now: Instant) -> bool {
        let Self { stages, wire, reply, shared, .. } = self;
        let (outer, rest) = stages.split_at_mut(place);
        let Some(stage) = rest.first_mut() else { return true };
        let output = outer.last_mut().map_or(wire, |next| &mut next.outbound);
        let mut result = Ok(());
        if stage.encodes() {
            shared.spare_buffers.lend(output);
            match stage.finish(output, Call { id: self.id, now, reply }) {
                Ok(is_finished) => {
                    output.append(reply.take());
                    if !is_finished {
                        return false;
                    }
                }
                Err(failed) => result = Err(failed),
            }
        }
        if stage.has_failed_outwards() {
            // What a filter that failed has left can't be sent by anyone.
            stage.finished = true;
            stage.outbound.retrieve_all();
            stage.marks.clear();
        }
        self.fail(result);
        true
    }

    /// Lets a filter encode what waits in front of it, and behind that `fresh`.
    fn encode(&mut self, place: usize, fresh: &mut Buffer, now: Instant) {
        let Self { stages, wire, reply, shared, .. } = self;
        let (outer, rest) = stages.split_at_mut(place);
        let Some(stage) = rest.first_mut() else { return };
        if !stage.encodes() {
            stage.outbound.append(fresh.take());
            return;
        }
        let mut next = outer.last_mut();
        loop {
            let output = next.as_mut().map_or(&mut *wire, |next| &mut next.outbound);
            shared.spare_buffers.lend(output);
            let encoded = stage.encode(fresh, output, Call { id: self.id, now, reply });
            output.append(reply.take());
            match encoded {
                Ok((true, _)) => {}
                Ok((false, Some(plain))) => {
                    match next {
                        Some(next) => next.marks.push(next.end(), plain),
                        None => self.arrived = Some(plain),
                    }
                    return;
                }
                Ok((false, None)) => return,
                Err(failed) => return self.fail(Err(failed)),
            }
        }
    }
}

/// The way in.
impl ByteChain {
    /// Takes what has come from the wire, and brings all nearer to the codec, each filter once. Answers whether there may be more
    /// after it.
    pub(super) fn pull(&mut self, raw: &mut Buffer, limit: usize, now: Instant) -> bool {
        let first = self.stages.iter().rposition(|stage| !stage.decodes()).map_or(0, |last| last + 1);
        if first > 0 {
            raw.retrieve_all();
            self.stages[..first].iter_mut().for_each(Stage::stop_decoding);
        }
        if self.stages.is_empty() {
            self.shared.spare_buffers.lend(&mut self.plain);
            self.plain.append(raw.take());
        }
        for place in first..self.stages.len() {
            let mut nothing = Buffer::new();
            let raw = if place == 0 { &mut *raw } else { &mut nothing };
            if let Err(failed) = self.decode(place, raw, limit, now) {
                self.failed_input.get_or_insert(failed);
            }
        }
        self.push(now);
        self.stages.iter().any(Stage::has_more_input)
    }

    /// Takes what has come from the wire and leaves it where it is.
    pub(super) fn keep(&mut self, raw: &mut Buffer) {
        match self.stages.first_mut() {
            Some(stage) if stage.decodes() => stage.inbound.append(raw.take()),
            Some(_) => raw.retrieve_all(),
            None => self.plain.append(raw.take()),
        }
    }

    /// Takes what the codec is to decode.
    pub(super) fn take_plain(&mut self) -> Buffer {
        self.rest_place = Some(self.stages.len());
        std::mem::take(&mut self.plain)
    }

    /// Puts back what the codec has left. If filters have come in behind the codec's back, it is theirs.
    pub(super) fn put_back(&mut self, mut rest: Buffer) {
        let place = self.rest_place.take().unwrap_or(self.stages.len());
        let target = self.stages.get_mut(place).map_or(&mut self.plain, |stage| &mut stage.inbound);
        rest.append(target.peek());
        *target = rest;
    }

    /// All that could be decoded has been delivered: now comes what has failed behind it.
    pub(super) fn confirm_failure(&mut self) {
        if let Some(failed) = self.failed_input.take() {
            self.failure.get_or_insert(failed);
        }
    }

    /// Tells the filters that nothing more will come. Answers whether all that came has come through them; if not, this is to be
    /// called again.
    pub(super) fn end_input(&mut self, now: Instant) -> bool {
        if self.stages.iter().any(|stage| stage.has_more_input() || stage.holds_input()) {
            return false;
        }
        self.input_ended = true;
        for place in 0..self.stages.len() {
            if self.stages[place].decodes() {
                let ended = self.call(place, now, Stage::end_input);
                self.fail(ended);
            }
        }
        self.push(now);
        true
    }

    fn decode(&mut self, place: usize, raw: &mut Buffer, limit: usize, now: Instant) -> Result<(), Failed> {
        let Self { stages, plain, wire, reply, shared, .. } = self;
        let (before, behind) = stages.split_at_mut(place + 1);
        let Some((stage, outer)) = before.split_last_mut() else { return Ok(()) };
        if !stage.decodes() {
            return Ok(());
        }
        let output = behind.first_mut().map_or(plain, |next| &mut next.inbound);
        shared.spare_buffers.lend(output);
        let decoded = stage.decode(raw, output, Call { id: self.id, now, reply });
        if !stage.finished {
            outer.last_mut().map_or(wire, |next| &mut next.outbound).append(reply.peek());
        }
        reply.retrieve_all();
        decoded?;
        if stage.inbound.readable() > limit {
            return Err(stage.fail(format!("more than {limit} bytes of input left: raise `input_limit`")));
        }
        Ok(())
    }

    /// Calls a filter for something that gives no bytes but replies.
    fn call(
        &mut self,
        place: usize,
        now: Instant,
        call: impl FnOnce(&mut Stage, Call<'_>) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let Self { stages, wire, reply, .. } = self;
        let (outer, rest) = stages.split_at_mut(place);
        let Some(stage) = rest.first_mut() else { return Ok(()) };
        let result = call(stage, Call { id: self.id, now, reply });
        if !stage.finished {
            outer.last_mut().map_or(wire, |next| &mut next.outbound).append(reply.peek());
        }
        reply.retrieve_all();
        result
    }
}

/// Changes.
impl ByteChain {
    /// Makes changes. Those behind a filter that fails are made as well, so that places stay what they are.
    pub(super) fn apply(&mut self, edits: Vec<Edit<dyn ByteFilter>>, now: Instant) {
        for edit in edits {
            match edit {
                Edit::Insert(place, name, filter) => self.insert(place, name, filter, now),
                Edit::Remove(place) => self.remove(place, now),
                Edit::Replace(place, name, filter) => {
                    self.remove(place, now);
                    self.insert(place, name, filter, now);
                }
            }
        }
        self.push(now);
    }

    /// What waits to be decoded where the filter comes in is its to decode.
    fn insert(&mut self, place: usize, name: Name, filter: Box<dyn ByteFilter>, now: Instant) {
        let next = self.stages.get_mut(place).map_or(&mut self.plain, |next| &mut next.inbound);
        let mut stage = Stage::new(name, filter, std::mem::take(next));
        (stage.input_ended, stage.finished) = (self.input_ended, self.is_finishing);
        if place == self.stages.len() {
            if let Some(tail) = self.stages.last_mut() {
                tail.marks.push(tail.end(), self.given);
                tail.marks.set_same(None);
            }
            stage.marks.set_same(Some((0, self.given)));
        }
        self.stages.insert(place, stage);
        self.rest_place = self.rest_place.map(|at| if place < at { at + 1 } else { at });
        if !self.is_finishing {
            let opened = self.call(place, now, Stage::open);
            self.fail(opened);
        }
    }

    fn remove(&mut self, place: usize, now: Instant) {
        self.encode(place, &mut Buffer::new(), now);
        if self.stages[place].encodes() {
            self.finish_stage(place, now);
        }
        let stage = self.stages.remove(place);
        self.rest_place = self.rest_place.map(|at| if place < at { at - 1 } else { at });
        let next = self.stages.get_mut(place).map_or(&mut self.plain, |next| &mut next.inbound);
        // What it has given already came before what it was still to decode.
        next.append(stage.inbound.peek());
        self.pass_on(place, stage);
    }

    /// What a filter that is taken out was holding back goes on without it.
    fn pass_on(&mut self, place: usize, mut stage: Stage) {
        let was_tail = place == self.stages.len();
        let first_left = self.given - if was_tail { stage.outbound.readable() as u64 } else { 0 };
        match place.checked_sub(1).and_then(|next| self.stages.get_mut(next)) {
            Some(next) => {
                let end = next.end();
                next.outbound.append(stage.outbound.peek());
                stage.marks.drain_into(&mut next.marks, stage.taken(), end);
                if was_tail {
                    next.marks.set_same(Some((end, first_left)));
                }
            }
            None => {
                self.wire.append(stage.outbound.peek());
                let last = if was_tail { Some(self.given) } else { stage.marks.last() };
                self.arrived = last.or(self.arrived);
            }
        }
    }
}
