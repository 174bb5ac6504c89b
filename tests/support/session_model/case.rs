//! What is played: steps, decoded from bytes.

use std::fmt;

use arbitrary::{Arbitrary, Result, Unstructured};

/// A sequence of steps, and under which conditions.
#[derive(Clone)]
pub(crate) struct Case {
    pub(super) seed: Option<u64>,
    /// Limits are so low that they are reached.
    pub(super) is_tight: bool,
    pub(super) steps: Vec<Step>,
}

impl Case {
    #[allow(dead_code, reason = "fuzzing decodes whole cases")]
    pub(crate) fn new(seed: Option<u64>, is_tight: bool, steps: Vec<Step>) -> Self {
        Self { seed, is_tight, steps }
    }
}

impl<'a> Arbitrary<'a> for Case {
    /// As many steps as there are bytes for: the usual coin for the end of a list makes short ones of random bytes.
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (seed, is_tight, mut steps) = (u.arbitrary()?, u.arbitrary()?, Vec::new());
        while !u.is_empty() {
            steps.push(u.arbitrary()?);
        }
        Ok(Self { seed, is_tight, steps })
    }
}

/// A line for each step, also where `{:#?}` is asked for.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {:?}, tight {}", self.seed, self.is_tight)?;
        self.steps.iter().try_for_each(|step| write!(f, "\n    {step:?}"))
    }
}

/// Times are milliseconds.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Step {
    Connect,
    /// What the next callback does.
    React(Reaction),
    ReactAlso(Reaction),
    Act(u8, Act),
    ActAlso(u8, Act),
    Peer(u8, PeerAct),
    PeerAlso(u8, PeerAct),
    PeerOnceMore(u8, PeerAct),
    Broadcast(Len),
    SendToKey(u8, Len),
    HandleSend(u8, Len),
    HandleClose(u8),
    Turn,
    TurnAlso,
    Idle,
    Advance(u16),
    HoldUp(u16),
    Stop,
}

#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Reaction {
    pub(super) acts: [Option<Act>; 2],
    pub(super) on_error: OnError,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum OnError {
    Continue,
    Close,
    Abort,
}

/// What a session does, or a filter as far as that can.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Act {
    Write(Len),
    WriteMany(u8, Len),
    Flush,
    Close,
    CloseBecause,
    CloseWhenSilent(u8),
    Abort,
    Shutdown,
    Pause,
    Resume,
    ResumeAlso,
    SetTimer(u8),
    CancelTimer,
    AddFilter(u8, FilterKind),
    ReplaceFilter(u8, FilterKind),
    RemoveFilter(u8),
    AddLayer(u8, u8),
    RemoveLayer(u8),
    AddBrake(u8, u8),
    RemoveBrake(u8),
    AddFaulty,
    Join(u8),
    Leave(u8),
    Claim(u8),
    SendToAll(Len),
    Panic,
}

/// A message filter that does something unusual now and then.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum FilterKind {
    Drops,
    Fails,
    Answers,
    Panics,
    Pauses,
    Closes,
}

#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum PeerAct {
    /// Makes a message, of which nothing leaves yet.
    Message(Len),
    MessageAlso(Len),
    NotText,
    TooLong,
    /// A message behind which all bytes are changed once more.
    Layer(u8),
    /// Sends so much of what is made.
    Send(u8),
    SendAll,
    SendAllAlso,
    Shutdown,
    Close,
    Reset,
    Window(u16),
    WindowOpens,
    WriteFails,
    WriteBlocks,
    Spurious,
}

/// Mostly short.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Len(pub(super) u16);

impl<'a> Arbitrary<'a> for Len {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let most = match u.int_in_range(0..=15)? {
            0..=7 => 20,
            8..=14 => 255,
            _ => 20_000,
        };
        Ok(Self(u.int_in_range(0..=most)?))
    }
}
