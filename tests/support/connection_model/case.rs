//! What is played: steps, decoded from bytes.

use std::fmt;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use campana::connection::ConnectionConfig;

/// A sequence of steps, and under which conditions.
#[derive(Clone)]
pub(crate) struct Case {
    pub(super) seed: Option<u64>,
    pub(super) settings: Vec<Setting>,
    pub(super) steps: Vec<Step>,
}

impl Case {
    #[allow(dead_code, reason = "fuzzing decodes whole cases")]
    pub(crate) fn new(seed: Option<u64>, settings: Vec<Setting>, steps: Vec<Step>) -> Self {
        Self { seed, settings, steps }
    }
}

/// A line for each step, also where `{:#?}` is asked for.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {:?}, settings {:?}", self.seed, self.settings)?;
        self.steps.iter().try_for_each(|step| write!(f, "\n    {step:?}"))
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Connect {
        tcp: bool,
    },
    /// What the next callback does.
    React(Reaction),
    Act {
        on: u8,
        act: Act,
    },
    Peer {
        on: u8,
        act: PeerAct,
    },
    Turn,
    Idle,
    Advance(Duration),
    HoldUp(Duration),
    Stop,
}

/// What a callback does.
#[derive(Clone, Debug)]
pub(crate) struct Reaction {
    pub(super) takes: Take,
    pub(super) acts: Vec<Act>,
}

/// How much of its input `on_data` takes.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Take {
    All,
    Nothing,
    Some(u16),
}

/// What a user does to a connection.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Send { len: u32, shared: bool },
    SendToOther { on: u8, len: u32 },
    Flush,
    Shutdown,
    Close,
    Fail,
    ForceClose,
    CloseAfter(Duration),
    CloseWhenSilent(Duration),
    Pause,
    Resume,
    SetTimer(Duration),
    CancelTimer(u8),
    Configure(Setting),
    RunLater(Box<Act>),
    Post(Box<Act>),
    HandleClose,
    Panic,
}

#[derive(Clone, Debug)]
pub(crate) enum PeerAct {
    Send(u32),
    Shutdown,
    Close,
    Reset,
    TimeOut,
    Window(usize),
    WriteFails,
    WriteBlocks,
    Spurious,
}

/// One setting of a configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Setting {
    Waters { high: usize, low: usize },
    HardCap(usize),
    DeferOutput(usize),
    ReadBudget(usize),
    InputLimit(usize),
    PacketLimit(usize),
    Linger(Duration),
    Idle(Option<Duration>),
    WriteStall(Option<Duration>),
    SlowConsumer(Option<Duration>),
}

impl Setting {
    pub(super) fn apply(self, config: &mut ConnectionConfig) {
        match self {
            Self::Waters { high, low } => (config.high_water, config.low_water) = (high, low),
            Self::HardCap(bytes) => config.hard_cap = bytes,
            Self::DeferOutput(bytes) => config.defer_output = bytes,
            Self::ReadBudget(bytes) => config.read_budget = bytes,
            Self::InputLimit(bytes) => config.input_limit = bytes,
            Self::PacketLimit(bytes) => config.packet_limit = bytes,
            Self::Linger(time) => config.linger = time,
            Self::Idle(time) => config.idle = time,
            Self::WriteStall(time) => config.write_stall = time,
            Self::SlowConsumer(time) => config.slow_consumer = time,
        }
    }
}

impl<'a> Arbitrary<'a> for Case {
    /// As many steps as there are bytes for: the usual coin for the end of a list makes short ones of random bytes.
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut case = Self { seed: u.arbitrary()?, settings: Vec::new(), steps: Vec::new() };
        for _ in 0..u.int_in_range(0..=6)? {
            case.settings.push(u.arbitrary()?);
        }
        while !u.is_empty() {
            case.steps.push(u.arbitrary()?);
        }
        Ok(case)
    }
}

impl<'a> Arbitrary<'a> for Reaction {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut reaction = Self { takes: u.arbitrary()?, acts: Vec::new() };
        for _ in 0..u.int_in_range(0..=3)? {
            reaction.acts.push(u.arbitrary()?);
        }
        Ok(reaction)
    }
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.int_in_range(0..=63)? {
            0..=11 => Self::React(u.arbitrary()?),
            12..=23 => Self::Act { on: u.arbitrary()?, act: u.arbitrary()? },
            24..=43 => Self::Peer { on: u.arbitrary()?, act: u.arbitrary()? },
            44..=53 => Self::Turn,
            54..=55 => Self::Idle,
            56..=58 => Self::Advance(time(u)?),
            59 => Self::HoldUp(time(u)?),
            60..=62 => Self::Connect { tcp: u.arbitrary()? },
            _ => Self::Stop,
        })
    }
}

impl<'a> Arbitrary<'a> for Act {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.int_in_range(0..=63)? {
            0..=19 => Self::Send { len: len(u)?, shared: u.arbitrary()? },
            20..=25 => Self::SendToOther { on: u.arbitrary()?, len: len(u)? },
            26..=28 => Self::Flush,
            29..=30 => Self::Shutdown,
            31..=32 => Self::Close,
            33 => Self::Fail,
            34 => Self::ForceClose,
            35 => Self::CloseAfter(time(u)?),
            36 => Self::CloseWhenSilent(time(u)?),
            37..=41 => Self::Pause,
            42..=46 => Self::Resume,
            47..=50 => Self::SetTimer(time(u)?),
            51..=52 => Self::CancelTimer(u.arbitrary()?),
            53..=55 => Self::Configure(u.arbitrary()?),
            56..=58 => Self::RunLater(Box::new(u.arbitrary()?)),
            59..=61 => Self::Post(Box::new(u.arbitrary()?)),
            62 => Self::HandleClose,
            _ => Self::Panic,
        })
    }
}

impl<'a> Arbitrary<'a> for PeerAct {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.int_in_range(0..=31)? {
            0..=13 => Self::Send(len(u)?),
            14..=22 => Self::Window(len(u)? as usize),
            23..=24 => Self::Window(usize::MAX),
            25 => Self::Shutdown,
            26 => Self::Close,
            27 => Self::Reset,
            28 => Self::TimeOut,
            29 => Self::WriteFails,
            30 => Self::WriteBlocks,
            _ => Self::Spurious,
        })
    }
}

impl<'a> Arbitrary<'a> for Setting {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.int_in_range(0..=11)? {
            0..=2 => {
                let (one, other) = (bytes(u)?, bytes(u)?);
                Self::Waters { high: one.max(other), low: one.min(other) }
            }
            3 => Self::HardCap(bytes(u)?),
            4 => Self::DeferOutput(bytes(u)?),
            5 => Self::ReadBudget(bytes(u)?),
            6 => Self::InputLimit(bytes(u)?),
            7 => Self::PacketLimit(bytes(u)?),
            8 => Self::Linger(time(u)?),
            9 => Self::Idle(u.arbitrary::<bool>()?.then(|| time(u)).transpose()?),
            10 => Self::WriteStall(u.arbitrary::<bool>()?.then(|| time(u)).transpose()?),
            _ => Self::SlowConsumer(u.arbitrary::<bool>()?.then(|| time(u)).transpose()?),
        })
    }
}

/// Mostly short, and rarely too long for a packet, or for the queues of a model that is to be played quickly.
fn len(u: &mut Unstructured<'_>) -> Result<u32> {
    let most = match u.int_in_range(0..=63)? {
        0..=9 => 0,
        10..=25 => 16,
        26..=41 => 300,
        42..=50 => 3000,
        51..=59 => 9000,
        60..=62 => 60_000,
        _ => 240_000,
    };
    u.int_in_range(0..=most)
}

fn bytes(u: &mut Unstructured<'_>) -> Result<usize> {
    Ok(len(u)? as usize)
}

/// From nothing to minutes.
fn time(u: &mut Unstructured<'_>) -> Result<Duration> {
    let unit = *u.choose(&[0, 1, 1_000_000, 1_000_000_000])?;
    Ok(Duration::from_nanos(unit * u64::from(u.arbitrary::<u8>()?)))
}
