//! What a case is made of.

use std::fmt::Write as _;

use arbitrary::{Arbitrary, Result, Unstructured};

/// What clients of a control socket do, and the handlers that put requests off.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Whether chance takes part.
    pub(super) seed: Option<u64>,
    pub(super) limits: Limits,
    pub(super) steps: Vec<Step>,
}

impl Case {
    pub(crate) fn new(seed: Option<u64>, limits: Limits, steps: Vec<Step>) -> Self {
        Self { seed, limits, steps }
    }
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let (seed, limits) = (bytes.arbitrary()?, bytes.arbitrary()?);
        let mut steps = Vec::new();
        while !bytes.is_empty() {
            steps.push(bytes.arbitrary()?);
        }
        Ok(Self::new(seed, limits, steps))
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Limits {
    max_errors: u8,
    max_consecutive_errors: u8,
    max_in_flight: u8,
    max_request: u8,
    /// Whether clients have the role that one of the commands asks for.
    pub(super) is_operator: bool,
}

impl Limits {
    /// None as often as one.
    pub(super) fn max_errors(self) -> u64 {
        u64::from(self.max_errors).saturating_sub(127) / 4
    }

    pub(super) fn max_consecutive_errors(self) -> u64 {
        u64::from(self.max_consecutive_errors).saturating_sub(127) / 16
    }

    pub(super) fn max_in_flight(self) -> usize {
        usize::from(self.max_in_flight) / 16
    }

    pub(super) fn max_request(self) -> usize {
        100 + 4 * usize::from(self.max_request)
    }
}

/// Numbers choose among the clients, and among the requests put off, that there are.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Connect,
    /// One packet, or several at once.
    Send(u8, Vec<Packet>),
    /// The same so many times.
    Repeat(u8, Packet, u8),
    Answer(u8, Answer),
    Turn,
    /// Until nothing is under way.
    Settle,
    /// So many times ten milliseconds.
    Advance(u16),
    /// How much a client takes in before writes to it would block.
    Window(u8, u16),
    HalfClose(u8),
    Close(u8),
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match bytes.int_in_range(0..=39)? {
            0..=15 => Self::Send(bytes.arbitrary()?, vec![bytes.arbitrary()?]),
            16..=18 => Self::Send(bytes.arbitrary()?, bytes.arbitrary()?),
            19 => Self::Repeat(bytes.arbitrary()?, bytes.arbitrary()?, bytes.int_in_range(0..=63)?),
            20..=25 => Self::Answer(bytes.arbitrary()?, bytes.arbitrary()?),
            26..=29 => Self::Turn,
            30..=33 => Self::Settle,
            34 => Self::Advance(bytes.arbitrary()?),
            35 => Self::Window(bytes.arbitrary()?, bytes.arbitrary()?),
            36 => Self::HalfClose(bytes.arbitrary()?),
            37 => Self::Close(bytes.arbitrary()?),
            _ => Self::Connect,
        })
    }
}

/// What becomes of a request that was put off.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Answer {
    Reply,
    Fail,
    Drop,
    ReplyAndEnd,
}

#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Request(Request),
    Raw(Vec<u8>),
    Text(String),
    Json(Json),
    /// With one byte changed, at a place that the number chooses.
    Damaged(Request, u16, u8),
    /// With nothing behind such a place.
    CutOff(Request, u16),
    /// The members' values without their names, in the order of a struct's fields.
    Values(Request),
}

impl<'a> Arbitrary<'a> for Packet {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match bytes.int_in_range(0..=16)? {
            0..=10 => Self::Request(bytes.arbitrary()?),
            11 => Self::Raw(bytes.arbitrary()?),
            12 => Self::Text(bytes.arbitrary()?),
            13 => Self::Json(bytes.arbitrary()?),
            14 => Self::Damaged(bytes.arbitrary()?, bytes.arbitrary()?, bytes.arbitrary()?),
            15 => Self::CutOff(bytes.arbitrary()?, bytes.arbitrary()?),
            _ => Self::Values(bytes.arbitrary()?),
        })
    }
}

impl Packet {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let place = |bytes: &[u8], place: u16| usize::from(place) % bytes.len().max(1);
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Text(text) => text.clone().into_bytes(),
            Self::Json(json) => json.text().into_bytes(),
            Self::Request(request) => request.text().into_bytes(),
            Self::Damaged(request, at, byte) => {
                let mut bytes = request.text().into_bytes();
                let at = place(&bytes, *at);
                bytes[at] = *byte;
                bytes
            }
            Self::CutOff(request, at) => {
                let mut bytes = request.text().into_bytes();
                bytes.truncate(place(&bytes, *at));
                bytes
            }
            Self::Values(Request { version, command, params, id, .. }) => {
                let values = [version, command, params, id].into_iter().flatten().cloned();
                Json::Array(values.collect()).text().into_bytes()
            }
        }
    }
}

/// A request, as a rule.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    version: Option<Json>,
    command: Option<Json>,
    params: Option<Json>,
    id: Option<Json>,
    others: Vec<(Name, Json)>,
    /// Which member comes first.
    first: u8,
}

const COMMANDS: [&str; 12] =
    ["echo", "add", "later", "fail", "none", "later", "guarded", "large", "help", "echo", "end", "terminate"];

impl<'a> Arbitrary<'a> for Request {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        // Members that are what they have to be, mostly; also when there are no bytes left.
        let member = |bytes: &mut Unstructured<'a>, usual: Option<Json>| -> Result<Option<Json>> {
            if bytes.ratio(30, 31)? { Ok(usual) } else { bytes.arbitrary() }
        };
        let command = *bytes.choose(&COMMANDS)?;
        let params = match command {
            "echo" | "later" => bytes.arbitrary::<Option<Vec<(Name, Json)>>>()?.map(Json::Object),
            "add" => Some(object([
                ("a", Json::Integer(bytes.arbitrary()?)),
                ("b", Json::Integer(bytes.arbitrary()?)),
            ])),
            "fail" => Some(object([
                (
                    "messages",
                    Json::Array(bytes.arbitrary::<Vec<String>>()?.into_iter().map(Json::Text).collect()),
                ),
                ("code", bytes.arbitrary::<Option<String>>()?.map_or(Json::Null, Json::Text)),
                ("base", Json::Object(bytes.arbitrary()?)),
            ])),
            "large" => Some(object([("length", Json::Large(u64::from(bytes.arbitrary::<u8>()?) * 1000))])),
            "help" => bytes.arbitrary::<Option<u8>>()?.map(|which| {
                let name = COMMANDS.get(usize::from(which)).copied().unwrap_or("nothing");
                object([("command", text(name))])
            }),
            // These, which end the session, not too often.
            "end" | "terminate" if bytes.ratio(2, 3)? => Some(Json::Null),
            _ => None,
        };
        let id = bytes.arbitrary::<Option<u8>>()?.map(|number| text(&number.to_string()));
        Ok(Self {
            version: member(bytes, Some(Json::Integer(1)))?,
            command: member(bytes, Some(text(command)))?,
            params: member(bytes, params)?,
            id: member(bytes, id)?,
            others: if bytes.ratio(30, 31)? { Vec::new() } else { bytes.arbitrary()? },
            first: bytes.arbitrary()?,
        })
    }
}

impl Request {
    fn text(&self) -> String {
        let Self { version, command, params, id, others, first } = self;
        let own =
            [(Name::Version, version), (Name::Command, command), (Name::Params, params), (Name::Id, id)];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        let mut members: Vec<(Name, Json)> = own.chain(others.iter().cloned()).collect();
        let first = usize::from(*first) % members.len().max(1);
        members.rotate_left(first);
        Json::Object(members).text()
    }
}

fn text(text: &str) -> Json {
    Json::Text(text.to_owned())
}

fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(members.into_iter().map(|(name, value)| (Name::Text(name.to_owned()), value)).collect())
}

/// Names, those with a meaning among them.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Name {
    Version,
    Command,
    Params,
    Id,
    Ok,
    Code,
    Errors,
    Result,
    A,
    Text(String),
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Self::Version => "version",
            Self::Command => "command",
            Self::Params => "params",
            Self::Id => "id",
            Self::Ok => "ok",
            Self::Code => "code",
            Self::Errors => "errors",
            Self::Result => "result",
            Self::A => "a",
            Self::Text(text) => text,
        }
    }
}

/// JSON, and what is but nearly so.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    Large(u64),
    Float(f64),
    Text(String),
    /// One of what parsers differ about.
    Odd(u8),
    Array(Vec<Json>),
    Object(Vec<(Name, Json)>),
    /// So deep.
    Nested(u8),
    /// Written as it is.
    Raw(String),
}

const ODD: [&str; 14] = [
    "1.0",
    "1e0",
    "-0",
    "1e999",
    "-1e-999",
    "18446744073709551616",
    "0.1",
    r#""\ud800""#,
    r#""\ud83d\ude00""#,
    r#""\u0000""#,
    " 1 ",
    "\"\u{7f}\u{2028}\"",
    "00",
    "\"\u{1}\"",
];

impl Json {
    fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, to: &mut String) {
        match self {
            Self::Null => to.push_str("null"),
            Self::Bool(value) => _ = write!(to, "{value}"),
            Self::Integer(value) => _ = write!(to, "{value}"),
            Self::Large(value) => _ = write!(to, "{value}"),
            Self::Float(value) => _ = write!(to, "{value:e}"),
            Self::Text(text) => to.push_str(&quoted(text)),
            Self::Odd(which) => to.push_str(ODD[usize::from(*which) % ODD.len()]),
            Self::Array(values) => {
                to.push('[');
                for (index, value) in values.iter().enumerate() {
                    to.push_str(if index == 0 { "" } else { "," });
                    value.write(to);
                }
                to.push(']');
            }
            Self::Object(members) => {
                to.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    to.push_str(if index == 0 { "" } else { "," });
                    to.push_str(&quoted(name.text()));
                    to.push(':');
                    value.write(to);
                }
                to.push('}');
            }
            Self::Nested(depth) => {
                let depth = usize::from(*depth);
                _ = write!(to, "{}{}", "[".repeat(depth), "]".repeat(depth));
            }
            Self::Raw(text) => to.push_str(text),
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
