//! What an idle connection costs its server in user space.

use std::time::Duration;

use crate::arguments::{Arguments, Failure};
use crate::load::{Load, Pattern, Until};
use crate::process::{CORES, IdleConnections, Server};
use crate::servers::{Kind, Service};

/// `peers memory`: connections that have echoed one message each, and then do nothing.
pub fn run(mut arguments: Arguments) -> Result<(), Failure> {
    let connections = arguments.option("connections")?.unwrap_or(5000);
    let bytes = arguments.option("bytes")?.unwrap_or(64);
    let kinds = match arguments.list("kinds") {
        Some(names) => names.iter().map(|name| name.parse()).collect::<Result<Vec<Kind>, _>>()?,
        None => vec![Kind::Raw, Kind::Campana, Kind::CampanaSession, Kind::Tokio, Kind::TokioUsual],
    };
    arguments.finish()?;
    println!("{connections} idle connections, each after one message of {bytes} B\n");
    println!("| | heap, B a connection | resident, B a connection |\n| --- | --- | --- |");
    for kind in kinds {
        // A session has a codec; other connections that wait for frames differ from those that echo by the share of one.
        let service = if kind == Kind::CampanaSession { Service::Framed } else { Service::Echo };
        let mut server = Server::start(kind, service, Some(CORES.0), true)?;
        let mut load = Load {
            pattern: Pattern::Idle,
            server: server.address,
            connections: 1,
            senders: 1,
            bytes,
            depth: 1,
            lockstep: true,
            until: Until::Elapsed(Duration::ZERO),
            watch: None,
        };
        // What the first connection costs is not what each costs.
        drop(IdleConnections::open(&load)?);
        let (heap_before, resident_before) = server.memory()?;
        load.connections = connections;
        let idle = IdleConnections::open(&load)?;
        let (heap, resident) = server.memory()?;
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / connections as f64;
        println!("| {kind} | {:.0} | {:.0} |", each(heap_before, heap), each(resident_before, resident));
        drop(idle);
    }
    Ok(())
}
