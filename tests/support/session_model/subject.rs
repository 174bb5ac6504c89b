//! The session under test, and its filters: they do what they are told, and look whether what they see can be.

use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use campana::codec::{LengthPrefixed, Text};
use campana::session::{
    ByteContext, ByteFilter, ByteResult, ErrorAction, FilterContext, Idle, MessageFilter, Progress, Session,
    SessionContext, SessionError, SessionState, SessionView, Verdict, WriteError, WriteId,
};
use campana::{Buffer, CloseReason};

use super::case::{Act, FilterKind, OnError, Reaction};
use super::ledger::{Content, Ledger, Record};

pub(super) type Lines = Text<LengthPrefixed>;
type Cx<'a> = SessionContext<'a, Subject>;

pub(super) struct Subject {
    ledger: Ledger,
    index: usize,
}

impl Subject {
    pub(super) fn new(ledger: Ledger) -> Self {
        ledger.open().records.push(Record::default());
        let index = ledger.open().records.len() - 1;
        Self { ledger, index }
    }

    /// A callback begins.
    fn enter(&self, cx: &mut Cx<'_>) -> Entered {
        let stats = cx.stats();
        let mut book = self.ledger.open();
        let record = &mut book.records[self.index];
        assert!(!record.in_callback && !record.closed, "one callback at a time, and none after the last");
        record.in_callback = true;
        record.output.settle(stats.messages_out);
        assert_eq!(stats.messages_in, record.messages_in, "messages are counted");
        assert!(record.keys.iter().all(|key| cx.has_key(key)), "keys stay");
        drop(book);
        Entered(self.ledger.clone(), self.index)
    }

    /// A callback begins that only sessions get that are not closing.
    fn enter_open(&self, cx: &mut Cx<'_>) -> Entered {
        assert!(!is_over(cx.state()), "it is closing");
        assert!(self.ledger.open().records[self.index].opened);
        self.enter(cx)
    }

    fn react(&self, cx: &mut Cx<'_>) -> ErrorAction {
        let reaction = self.ledger.open().reactions.pop_front();
        let Some(Reaction { acts, on_error }) = reaction else { return ErrorAction::Close };
        acts.iter().flatten().for_each(|act| self.perform(cx, act));
        match on_error {
            OnError::Continue => ErrorAction::Continue,
            OnError::Close => ErrorAction::Close,
            OnError::Abort => ErrorAction::Abort,
        }
    }

    fn with<R>(&self, run: impl FnOnce(&mut Record) -> R) -> R {
        run(&mut self.ledger.open().records[self.index])
    }

    /// Does something from outside of callbacks.
    pub(super) fn act(&self, cx: &mut Cx<'_>, act: &Act) {
        let _entered = self.enter(cx);
        self.perform(cx, act);
    }

    /// Nothing is under way any more.
    pub(super) fn check_at_rest(&self) {
        assert!(self.with(|record| record.input.is_done()), "all that came in is decoded");
    }

    fn perform(&self, cx: &mut Cx<'_>, act: &Act) {
        match act {
            Act::Write(len) => self.write(cx, len.0),
            Act::WriteMany(times, len) => (0..times % 16).for_each(|_| self.write(cx, len.0)),
            Act::Flush => cx.flush(),
            Act::Close => cx.close(),
            Act::CloseBecause => cx.close_because(CloseReason::Refused("no more".into())),
            Act::CloseWhenSilent(time) => cx.close_when_silent(millis(*time)),
            Act::Abort => cx.abort(),
            Act::Shutdown => {
                self.with(|record| record.is_shut_down = true);
                cx.shutdown();
            }
            Act::Pause => cx.pause_reading(),
            Act::Resume | Act::ResumeAlso => cx.resume_reading(),
            Act::SetTimer(time) => {
                let token = self.with(|record| record.next_token);
                let timer = cx.set_timer(millis(*time), token);
                self.with(|record| {
                    record.next_token += 1;
                    record.timers.push((token, timer));
                });
            }
            Act::CancelTimer => {
                if let Some((_, timer)) = self.with(|record| record.timers.pop()) {
                    assert!(cx.cancel_timer(timer) || is_over(cx.state()));
                    assert!(!cx.cancel_timer(timer), "cancelled twice");
                }
            }
            Act::AddFilter(name, kind) => {
                let filter = Box::new(Unusual::new(self, *kind));
                let _ = cx.filters().add_last(filter_name(*name), filter);
            }
            Act::ReplaceFilter(name, kind) => {
                let (name, filter) = (filter_name(*name), Box::new(Unusual::new(self, *kind)));
                let _ = cx.filters().replace(name, name, filter);
            }
            Act::RemoveFilter(name) => drop(cx.filters().remove(filter_name(*name))),
            Act::AddLayer(name, key) => {
                let place = usize::from(name % 3);
                let layer = Box::new(Layer { inwards: 0, outwards: *key });
                if cx.byte_filters().add_last(LAYERS[place], layer).is_ok() {
                    self.with(|record| {
                        record.output.key ^= key;
                        record.output.layers[place] = Some(*key);
                    });
                }
            }
            Act::RemoveLayer(name) => {
                let place = usize::from(name % 3);
                let removed = cx.byte_filters().remove(LAYERS[place]).is_ok();
                let key = self.with(|record| record.output.layers[place].take());
                assert_eq!(removed, key.is_some());
                self.with(|record| record.output.key ^= key.unwrap_or(0));
            }
            Act::AddBrake(name, time) => {
                let brake = Box::new(Brake { time: millis(*time), ends: [None, None] });
                // Nearest to the connection: what it holds back has gone through all layers.
                let _ = cx.byte_filters().add_first(BRAKES[usize::from(name % 2)], brake);
            }
            Act::RemoveBrake(name) => drop(cx.byte_filters().remove(BRAKES[usize::from(name % 2)])),
            Act::AddFaulty => drop(cx.byte_filters().add_last("faulty", Box::new(Faulty { calls: 0 }))),
            Act::Join(key) => {
                let is_new = self.with(|record| record.keys.insert(key % 3));
                assert_eq!(cx.join(key % 3), is_new);
            }
            Act::Leave(key) => {
                let had_it = self.with(|record| record.keys.remove(&(key % 3)));
                assert_eq!(cx.leave(&(key % 3)), had_it);
            }
            Act::Claim(key) => {
                let key = key % 3;
                let mut had_it = 0;
                for (index, record) in self.ledger.open().records.iter_mut().enumerate() {
                    had_it += usize::from(record.keys.remove(&key) && index != self.index);
                }
                self.with(|record| record.keys.insert(key));
                assert!(cx.claim(key).len() <= had_it, "it is taken from those who had it");
                assert_eq!(cx.manager().keyed(&key).ids(), [cx.id()]);
            }
            Act::SendToAll(len) => {
                let text = self.ledger.open().text(len.0);
                let _ = cx.manager().all().send(&text);
            }
            Act::Panic => self.panic(),
        }
    }

    fn write(&self, cx: &mut Cx<'_>, len: u16) {
        let text = self.ledger.open().text(len);
        let result = cx.write(&text);
        if matches!(result, Err(WriteError::Closed)) {
            assert!(self.with(|record| record.is_shut_down) || is_over(cx.state()), "it is open");
        }
        let state = cx.state();
        self.with(|record| record.output.confirm(&result, state));
    }

    fn panic(&self) -> ! {
        self.ledger.open().panics += 1;
        // Without the panic hook, which fuzzers take for a crash.
        resume_unwind(Box::new("meant"));
    }
}

fn is_over(state: SessionState) -> bool {
    matches!(state, SessionState::Closing | SessionState::Closed)
}

fn millis(time: u8) -> Duration {
    Duration::from_millis(time.into())
}

const LAYERS: [&str; 3] = ["layer 0", "layer 1", "layer 2"];
const BRAKES: [&str; 2] = ["brake 0", "brake 1"];

fn filter_name(name: u8) -> &'static str {
    ["filter 0", "filter 1", "filter 2"][usize::from(name % 3)]
}

/// A callback is under way.
struct Entered(Ledger, usize);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.open().records[self.1].in_callback = false;
    }
}

impl Session for Subject {
    type Codec = Lines;

    fn on_open(&mut self, cx: &mut Cx<'_>) {
        let _entered = self.enter(cx);
        assert!(!self.with(|record| std::mem::replace(&mut record.opened, true)), "it opens once");
        self.react(cx);
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, message: &str) {
        let _entered = self.enter_open(cx);
        let current = self.with(|record| record.current.take());
        assert_eq!(current.as_deref(), Some(message), "another message than that which came in");
        self.react(cx);
    }

    fn on_written(&mut self, cx: &mut Cx<'_>, up_to: WriteId) {
        let _entered = self.enter(cx);
        self.with(|record| record.output.report(up_to.number()));
        self.react(cx);
    }

    fn on_high_water(&mut self, cx: &mut Cx<'_>) {
        let _entered = self.enter(cx);
        assert!(!self.with(|record| std::mem::replace(&mut record.is_high, true)), "high water twice");
        self.react(cx);
    }

    fn on_low_water(&mut self, cx: &mut Cx<'_>) {
        let _entered = self.enter(cx);
        assert!(self.with(|record| std::mem::replace(&mut record.is_high, false)), "low water without high");
        self.react(cx);
    }

    fn on_idle(&mut self, cx: &mut Cx<'_>, _idle: Idle) {
        let _entered = self.enter_open(cx);
        self.react(cx);
    }

    fn on_input_closed(&mut self, cx: &mut Cx<'_>) {
        let _entered = self.enter_open(cx);
        assert!(!cx.is_reading_paused(), "it is paused");
        self.with(|record| {
            assert!(record.peer_ended && record.input.is_done(), "the end comes behind all messages");
            assert!(!std::mem::replace(&mut record.input_closed, true), "the input ends once");
        });
        self.react(cx);
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, token: u64) {
        let _entered = self.enter_open(cx);
        self.with(|record| {
            let timer = record.timers.iter().position(|&(set, _)| set == token);
            record.timers.swap_remove(timer.expect("a timer fires once, and not when it is cancelled"));
        });
        self.react(cx);
    }

    fn on_error(&mut self, cx: &mut Cx<'_>, error: &SessionError) -> ErrorAction {
        let _entered = self.enter(cx);
        self.with(|record| {
            record.errors += 1;
            match error {
                SessionError::Decode(_) if record.input.is_done() => {
                    assert!(record.peer_ended && !record.input.is_broken, "half a message: {error}");
                    record.input.is_broken = true;
                }
                SessionError::Decode(_) => {
                    let content = record.input.next();
                    assert!(matches!(content, Content::NotText | Content::TooLong), "{content:?}: {error}");
                }
                SessionError::ByteFilter { name, .. } => assert_eq!(name, "faulty"),
                SessionError::Filter { name, .. } => assert!(name.starts_with("filter")),
                _ => {}
            }
        });
        self.react(cx)
    }

    fn on_stopping(&mut self, cx: &mut Cx<'_>) {
        let _entered = self.enter(cx);
        assert!(self.ledger.open().stops);
        self.react(cx);
    }

    fn on_close(&mut self, cx: &mut Cx<'_>, _reason: &CloseReason, unwritten: Option<WriteId>) {
        let _entered = self.enter(cx);
        assert_eq!(cx.state(), SessionState::Closed);
        assert!(matches!(cx.write("late"), Err(WriteError::Closed)));
        self.with(|record| {
            record.output.end(unwritten);
            record.closed = true;
        });
        self.react(cx);
    }
}

/// The filter next to the codec: it sees what comes in before all others, and what goes out after them.
pub(super) struct Gauge {
    ledger: Ledger,
    index: usize,
}

impl Gauge {
    pub(super) fn new(ledger: Ledger) -> Self {
        let index = ledger.open().records.len() - 1;
        Self { ledger, index }
    }

    fn passing(&self, cx: &mut SessionView<'_, Lines>, encoded: impl IntoIterator<Item = u8>) -> Verdict {
        let accepted = cx.stats().messages_out;
        let output = &mut self.ledger.open().records[self.index].output;
        output.settle(accepted);
        output.tentative(encoded);
        Verdict::Pass
    }
}

impl MessageFilter<Lines> for Gauge {
    fn on_message(&mut self, cx: &mut FilterContext<'_, Lines>, message: &mut &str) -> Verdict {
        assert!(!is_over(cx.state()) && !cx.is_reading_paused(), "delivered while it is paused or closing");
        let mut book = self.ledger.open();
        let record = &mut book.records[self.index];
        assert!(!record.input_closed);
        record.messages_in += 1;
        record.current = Some((*message).to_owned());
        match record.input.next() {
            Content::Text(text) => assert_eq!(text, *message),
            Content::Layer(key) => {
                assert_eq!(*message, format!("layer {key}"));
                record.output.key ^= key;
                let layer = Layer { inwards: key, outwards: key };
                let name = format!("agreed {}", record.messages_in);
                cx.byte_filters().add_last(name, Box::new(layer)).unwrap();
            }
            content => panic!("{content:?} is no message: {message}"),
        }
        Verdict::Pass
    }

    fn on_write(&mut self, cx: &mut FilterContext<'_, Lines>, message: &mut &str) -> Verdict {
        let len = (message.len() as u16).to_be_bytes();
        self.passing(cx, len.into_iter().chain(message.bytes()))
    }

    fn on_write_encoded(&mut self, cx: &mut FilterContext<'_, Lines>, encoded: &[u8]) -> Verdict {
        self.passing(cx, encoded.iter().copied())
    }
}

/// Does something unusual with each third message.
struct Unusual {
    ledger: Ledger,
    index: usize,
    kind: FilterKind,
    messages: u32,
}

impl Unusual {
    fn new(subject: &Subject, kind: FilterKind) -> Self {
        Self { ledger: subject.ledger.clone(), index: subject.index, kind, messages: 0 }
    }

    fn pass(&mut self, cx: &mut FilterContext<'_, Lines>) -> Verdict {
        self.messages += 1;
        if !self.messages.is_multiple_of(3) {
            return Verdict::Pass;
        }
        match self.kind {
            FilterKind::Drops => return Verdict::Drop,
            FilterKind::Fails => return Verdict::fail("it fails"),
            FilterKind::Closes => return Verdict::refuse("it closes"),
            FilterKind::Answers => self.write(cx),
            FilterKind::Panics => {
                self.ledger.open().panics += 1;
                resume_unwind(Box::new("meant"));
            }
            FilterKind::Pauses => {
                cx.pause_reading();
                cx.set_timer(Duration::from_millis(5), 0);
            }
        }
        Verdict::Pass
    }

    fn write(&self, cx: &mut FilterContext<'_, Lines>) {
        let text = self.ledger.open().text(9);
        let result = cx.write(&text);
        let state = cx.state();
        self.ledger.open().records[self.index].output.confirm(&result, state);
    }
}

impl MessageFilter<Lines> for Unusual {
    fn on_message(&mut self, cx: &mut FilterContext<'_, Lines>, _message: &mut &str) -> Verdict {
        self.pass(cx)
    }

    fn on_write(&mut self, cx: &mut FilterContext<'_, Lines>, _message: &mut &str) -> Verdict {
        self.pass(cx)
    }

    fn on_timer(&mut self, cx: &mut FilterContext<'_, Lines>, _token: u64) -> Verdict {
        cx.resume_reading();
        Verdict::Pass
    }

    fn on_closing(&mut self, cx: &mut FilterContext<'_, Lines>) {
        if matches!(self.kind, FilterKind::Answers) {
            self.write(cx);
        }
    }
}

/// Changes each byte.
struct Layer {
    inwards: u8,
    outwards: u8,
}

fn change(key: u8, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
    let bytes: Vec<u8> = input.take().iter().map(|byte| byte ^ key).collect();
    output.append(&bytes);
    Ok(Progress::Done)
}

impl ByteFilter for Layer {
    fn decode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        change(self.inwards, input, output)
    }

    fn encode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        change(self.outwards, input, output)
    }
}

/// Holds bytes back for a time, in each direction.
struct Brake {
    time: Duration,
    ends: [Option<Instant>; 2],
}

impl Brake {
    fn pass(&mut self, way: usize, now: Instant, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        if input.is_empty() {
            return Ok(Progress::Done);
        }
        let end = *self.ends[way].get_or_insert(now + self.time);
        if now < end {
            return Ok(Progress::After(end - now));
        }
        self.ends[way] = None;
        output.append(input.take());
        Ok(Progress::Done)
    }
}

impl ByteFilter for Brake {
    fn decode(&mut self, cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        self.pass(0, cx.now(), input, output)
    }

    fn encode(&mut self, cx: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        self.pass(1, cx.now(), input, output)
    }
}

/// Fails when it is called the fourth time.
struct Faulty {
    calls: u32,
}

impl Faulty {
    fn pass(&mut self, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        self.calls += 1;
        if self.calls > 3 {
            return Err("it fails".into());
        }
        change(0, input, output)
    }
}

impl ByteFilter for Faulty {
    fn decode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        self.pass(input, output)
    }

    fn encode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        self.pass(input, output)
    }
}
