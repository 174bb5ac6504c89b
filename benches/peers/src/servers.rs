//! The servers that are measured: each kind can do each of the services.

use std::fmt;
use std::str::FromStr;

use crate::arguments::Failure;

mod campana;
#[cfg(feature = "monoio")]
mod monoio;
mod raw;
mod session;
mod tokio;

/// What a server does with what it receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// Sends back what comes in.
    Echo,
    /// Sends back each frame: four bytes of length in network order, and as many bytes.
    Framed,
    /// Sends each line to every connection.
    FanOut,
    /// The same, with the connections on two loops.
    Broadcast,
}

/// Who serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Edge-triggered epoll and nothing else; each reply is written at once.
    Raw,
    /// The same, with small output written at the end of the batch of events.
    RawDeferred,
    /// The same, with one write for all whole frames of a read, from where they lie; other replies each at once.
    RawBatch,
    /// campana as it comes.
    Campana,
    /// campana with every send written at once.
    CampanaNow,
    /// campana with 50 us of looking before it blocks.
    CampanaBusy,
    /// campana through its session layer.
    CampanaSession,
    /// tokio on one thread, in the form that serves best.
    Tokio,
    /// tokio as it is usually written: frames by tokio-util's codec; for fan-out, each line written to each member at once.
    TokioUsual,
    /// monoio on io_uring.
    #[cfg(feature = "monoio")]
    Monoio,
}

/// The length of a frame's header.
const HEADER: usize = 4;
/// Output below this many bytes waits for the end of the batch, where output is deferred.
const DEFER_BELOW: usize = 4096;
/// How many threads have connections that lines are broadcast to.
const BROADCAST_LOOPS: usize = 2;
/// What a read asks for.
const READ_SIZE: usize = 64 * 1024;

/// Serves for ever.
pub fn serve(kind: Kind, service: Service, port: u16) -> Result<(), Failure> {
    match kind {
        Kind::Raw => raw::serve::<false>(service, port, false)?,
        Kind::RawDeferred => raw::serve::<true>(service, port, false)?,
        Kind::RawBatch => raw::serve::<false>(service, port, true)?,
        Kind::Campana => campana::serve(service, port, campana::Flavour::Default)?,
        Kind::CampanaNow => campana::serve(service, port, campana::Flavour::WriteAtOnce)?,
        Kind::CampanaBusy => campana::serve(service, port, campana::Flavour::BusyPoll)?,
        Kind::CampanaSession => session::serve(service, port)?,
        Kind::Tokio => tokio::serve(service, port, tokio::Style::Best)?,
        Kind::TokioUsual => tokio::serve(service, port, tokio::Style::Usual)?,
        #[cfg(feature = "monoio")]
        Kind::Monoio => monoio::serve(service, port)?,
    }
    Ok(())
}

/// Tells whoever started the server where it listens.
fn announce(port: u16) {
    println!("listening on 127.0.0.1:{port}");
}

/// The length of the frame at the front of `bytes`, header included, if all of it is there.
#[inline]
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    let length = HEADER + u32::from_be_bytes(*header) as usize;
    (bytes.len() >= length).then_some(length)
}

/// The length of the line at the front of `bytes`, its end included, if all of it is there.
#[inline]
fn line_length(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == b'\n').map(|end| end + 1)
}

const KINDS: &[(&str, Kind)] = &[
    ("raw", Kind::Raw),
    ("raw-deferred", Kind::RawDeferred),
    ("raw-batch", Kind::RawBatch),
    ("campana", Kind::Campana),
    ("campana-now", Kind::CampanaNow),
    ("campana-busy", Kind::CampanaBusy),
    ("campana-session", Kind::CampanaSession),
    ("tokio", Kind::Tokio),
    ("tokio-usual", Kind::TokioUsual),
    #[cfg(feature = "monoio")]
    ("monoio", Kind::Monoio),
];

const SERVICES: &[(&str, Service)] = &[
    ("echo", Service::Echo),
    ("framed", Service::Framed),
    ("fan-out", Service::FanOut),
    ("broadcast", Service::Broadcast),
];

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        look_up(KINDS, name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(name_of(KINDS, self))
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        look_up(SERVICES, name)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(name_of(SERVICES, self))
    }
}

fn look_up<T: Copy>(names: &[(&str, T)], name: &str) -> Result<T, String> {
    let found = names.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(known, _)| *known).collect();
        format!("there is only {}", known.join(", "))
    })
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    names.iter().find(|(_, known)| known == value).map_or("?", |(name, _)| name)
}
