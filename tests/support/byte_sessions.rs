//! Sessions of lines with byte filters, which note what they are told, and filters to try the chain with.

use std::sync::{Arc, Mutex};

use campana::codec::{Lines, Text};
use campana::session::{
    ByteContext, ByteFilter, ByteResult, ErrorAction, Progress, Session, SessionContext, SessionError,
    SessionService, Sessions, WriteId,
};
use campana::testing::TestLoop;
use campana::{Buffer, CloseReason};

/// What a session was told, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

pub(crate) type Cx<'a> = SessionContext<'a, Noting>;
type OnLine = Arc<dyn Fn(&mut Cx<'_>, &str) + Send + Sync>;

/// Notes what it is told, and does with a line what the test says; by default it echoes.
#[derive(Clone)]
pub(crate) struct Noting {
    pub(crate) log: Log,
    on_line: OnLine,
    pub(crate) on_error: ErrorAction,
}

impl Session for Noting {
    type Codec = Text<Lines>;

    fn on_message(&mut self, cx: &mut Cx<'_>, line: &str) {
        self.log.note(format!("message {line}"));
        (self.on_line)(cx, line);
    }

    fn on_written(&mut self, _: &mut Cx<'_>, up_to: WriteId) {
        self.log.note(format!("written {up_to}"));
    }

    fn on_high_water(&mut self, _: &mut Cx<'_>) {
        self.log.note("high");
    }

    fn on_low_water(&mut self, _: &mut Cx<'_>) {
        self.log.note("low");
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, _: u64) {
        cx.resume_reading();
    }

    fn on_input_closed(&mut self, cx: &mut Cx<'_>) {
        self.log.note("input closed");
        cx.close();
    }

    fn on_error(&mut self, cx: &mut Cx<'_>, error: &SessionError) -> ErrorAction {
        self.log.note(format!("error: {error}"));
        let _ = cx.write("sorry");
        self.on_error
    }

    fn on_close(&mut self, _: &mut Cx<'_>, reason: &CloseReason, unwritten: Option<WriteId>) {
        let unwritten = unwritten.map_or(String::new(), |id| format!(", unwritten from {id}"));
        self.log.note(format!("close: {reason}{unwritten}"));
    }
}

pub(crate) type Test = TestLoop<Sessions<Noting>>;
pub(crate) type Service = SessionService<Noting>;

/// A loop of sessions that do `on_line` with each line.
pub(crate) fn sessions_that(
    on_line: impl Fn(&mut Cx<'_>, &str) + Send + Sync + 'static,
    with: impl FnOnce(Service) -> Service,
) -> (Test, Log) {
    sessions_with(ErrorAction::Close, on_line, with)
}

/// As [`sessions_that`], with what they answer in `on_error`.
pub(crate) fn sessions_with(
    on_error: ErrorAction,
    on_line: impl Fn(&mut Cx<'_>, &str) + Send + Sync + 'static,
    with: impl FnOnce(Service) -> Service,
) -> (Test, Log) {
    let log = Log::default();
    let session = Noting { log: log.clone(), on_line: Arc::new(on_line), on_error };
    let service = with(SessionService::new(|| Text::over(Lines::new())));
    (TestLoop::sessions(service, move |_| session.clone()), log)
}

/// A loop of sessions that echo lines.
pub(crate) fn echo_sessions(with: impl FnOnce(Service) -> Service) -> (Test, Log) {
    sessions_that(|cx, line| drop(cx.write(line)), with)
}

/// Changes each byte, and nothing else.
pub(crate) struct Xor(pub(crate) u8);

impl Xor {
    fn pass(&self, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        let bytes: Vec<u8> = input.take().iter().map(|byte| byte ^ self.0).collect();
        output.append(&bytes);
        Ok(Progress::Done)
    }
}

impl ByteFilter for Xor {
    fn decode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        self.pass(input, output)
    }

    fn encode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        self.pass(input, output)
    }
}

/// Two characters for each byte. Half a byte waits in the input for the other half; what comes in is decoded a few bytes at a
/// time. It begins with an announcement of its own, in front of all else, and ends with another.
#[derive(Default)]
pub(crate) struct Hex {
    pub(crate) announces: bool,
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl ByteFilter for Hex {
    fn on_open(&mut self, cx: &mut ByteContext<'_>) -> ByteResult {
        if self.announces {
            cx.reply().append(b"<");
        }
        Ok(Progress::Done)
    }

    fn decode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        for _ in 0..3 {
            let Some(pair) = input.try_take_n(2) else { return Ok(Progress::Done) };
            let text = std::str::from_utf8(pair).map_err(|_| "no hexadecimal")?;
            output
                .append(&[u8::from_str_radix(text, 16).map_err(|_| format!("{text:?} is no hexadecimal"))?]);
        }
        Ok(Progress::More)
    }

    fn encode(&mut self, _: &mut ByteContext<'_>, input: &mut Buffer, output: &mut Buffer) -> ByteResult {
        let n = input.readable().min(5);
        output.append(hex(input.take_n(n)).as_bytes());
        Ok(if input.is_empty() { Progress::Done } else { Progress::More })
    }

    fn finish(&mut self, _: &mut ByteContext<'_>, output: &mut Buffer) -> ByteResult {
        if self.announces {
            output.append(b">");
        }
        Ok(Progress::Done)
    }
}
