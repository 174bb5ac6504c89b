//! What is measured: one row of the table each.

use crate::arguments::Failure;
use crate::load::Pattern;
use crate::servers::{Kind, Service};

/// One use of a server.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    pub service: Service,
    pub pattern: Pattern,
    pub connections: usize,
    pub senders: usize,
    pub bytes: usize,
    pub depth: usize,
}

impl Row {
    /// Whether this kind of server has something of its own to show here.
    pub fn concerns(&self, kind: Kind) -> bool {
        if self.service == Service::Broadcast {
            return matches!(
                kind,
                Kind::Raw | Kind::Campana | Kind::CampanaSession | Kind::Tokio | Kind::TokioUsual
            );
        }
        match kind {
            Kind::RawBatch => self.service == Service::Framed,
            Kind::CampanaBusy => self.connections == 1,
            Kind::TokioUsual => self.pattern != Pattern::Churn,
            #[cfg(feature = "monoio")]
            Kind::Monoio => self.service != Service::FanOut,
            _ => true,
        }
    }
}

const fn echo(name: &'static str, what: &'static str, connections: usize, bytes: usize) -> Row {
    Row {
        name,
        what,
        service: Service::Echo,
        pattern: Pattern::Echo,
        connections,
        senders: 1,
        bytes,
        depth: 1,
    }
}

const fn fan_out(name: &'static str, what: &'static str, senders: usize, depth: usize) -> Row {
    Row {
        name,
        what,
        service: Service::FanOut,
        pattern: Pattern::FanOut,
        connections: 1000,
        senders,
        bytes: 64,
        depth,
    }
}

pub const ROWS: [Row; 13] = [
    echo("1x64", "1 connection x 64 B", 1, 64),
    echo("10x64", "10 x 64 B", 10, 64),
    echo("100x64", "100 x 64 B", 100, 64),
    echo("1000x64", "1000 x 64 B", 1000, 64),
    echo("100x1024", "100 x 1 KiB", 100, 1024),
    echo("100x16384", "100 x 16 KiB", 100, 16 * 1024),
    echo("10x65536", "10 x 64 KiB", 10, 64 * 1024),
    Row {
        pattern: Pattern::Framed,
        service: Service::Framed,
        depth: 16,
        ..echo("framed", "100 x 64 B framed, 16 under way", 100, 64)
    },
    fan_out("fan-out", "1 line to 1000 members", 1, 1),
    fan_out("fan-out-lines", "16 lines of 1 sender to 1000", 1, 16),
    fan_out("fan-out-senders", "a line of each of 16 senders to 1000", 16, 1),
    Row {
        service: Service::Broadcast,
        ..fan_out("session-broadcast", "1 line to 1000 members on 2 loops", 1, 1)
    },
    Row { pattern: Pattern::Churn, ..echo("churn", "connect, echo 64 B, close; 32 at a time", 32, 64) },
];

/// `peers rows`.
pub fn list() -> Result<(), Failure> {
    for row in ROWS {
        println!("{:<16} {}", row.name, row.what);
    }
    Ok(())
}
