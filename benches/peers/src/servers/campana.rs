//! The services on campana.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use campana::codec::{Codec, LengthPrefixed};
use campana::connection::Spread;
use campana::reactor::LoopConfig;
use campana::{
    Buffer, CloseReason, ConnectionId, EventLoop, Handler, ServerHandle, TcpConnection, TcpServer,
};

use super::{BROADCAST_LOOPS, Service, announce};

/// How campana is configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flavour {
    Default,
    WriteAtOnce,
    BusyPoll,
}

pub(super) fn serve(service: Service, port: u16, flavour: Flavour) -> io::Result<()> {
    let mut config = LoopConfig::default();
    if flavour == Flavour::BusyPoll {
        config.busy_poll = Duration::from_micros(50);
    }
    let mut event_loop = EventLoop::with_config(config)?;
    let mut server = TcpServer::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), port))?.max_connections(20_000);
    if flavour == Flavour::WriteAtOnce {
        server = server.configure(|connection| connection.defer_output = 0);
    }
    let address = match service {
        Service::Echo => server.start_with(&mut event_loop, |_, _| Echo)?.local_addresses().first().cloned(),
        Service::Framed => {
            let server = server.start_with(&mut event_loop, |_, _| EchoFrames::default())?;
            server.local_addresses().first().cloned()
        }
        Service::Broadcast => {
            let server = server.threads(BROADCAST_LOOPS).spread(Spread::RoundRobin);
            let server = server.start_with(&mut event_loop, |_, server| Broadcast(server.clone()))?;
            server.local_addresses().first().cloned()
        }
        Service::FanOut => {
            let server = server.start_with(&mut event_loop, |_, _| FanOut::default())?;
            server.local_addresses().first().cloned()
        }
    };
    announce(address.and_then(|address| address.port()).unwrap_or(0));
    event_loop.run()
}

struct Echo;

impl Handler for Echo {
    type State = ();

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) {}

    fn on_data(&mut self, (): &mut (), conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        // An error means that the connection is ending.
        let _ = conn.send(input.take());
    }

    fn wants_write_complete(&self) -> bool {
        false
    }
}

/// Sends back each frame, with one send for all that came together.
#[derive(Debug, Default)]
struct EchoFrames {
    output: Buffer,
}

impl Handler for EchoFrames {
    type State = LengthPrefixed;

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) -> LengthPrefixed {
        LengthPrefixed::new(4)
    }

    fn on_data(&mut self, codec: &mut LengthPrefixed, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        loop {
            match codec.decode(input) {
                // What was decoded can be encoded.
                Ok(Some(message)) => drop(codec.encode(message, &mut self.output)),
                Ok(None) => break,
                Err(error) => {
                    conn.fail(error.to_string());
                    break;
                }
            }
        }
        let _ = conn.send(&mut self.output);
    }

    fn wants_write_complete(&self) -> bool {
        false
    }
}

/// Sends each line to all members.
#[derive(Debug, Default)]
struct FanOut {
    members: Vec<ConnectionId>,
}

impl Handler for FanOut {
    type State = ();

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) {
        self.members.push(conn.id());
    }

    fn on_data(&mut self, (): &mut (), conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        while let Some(end) = input.find_eol() {
            let line = input.take_n(end + 1);
            for &member in &self.members {
                if let Some(mut member) = conn.peer(member) {
                    // A member that can't be sent to is about to leave.
                    let _ = member.send(line);
                }
            }
        }
    }

    fn wants_write_complete(&self) -> bool {
        false
    }

    fn on_close(&mut self, (): (), conn: &mut TcpConnection<'_>, _reason: CloseReason) {
        let leaving = conn.id();
        self.members.retain(|member| *member != leaving);
    }
}

/// Sends each line to all connections of the server, on all loops.
struct Broadcast(ServerHandle<Self>);

impl Handler for Broadcast {
    type State = ();

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) {}

    fn on_data(&mut self, (): &mut (), _: &mut TcpConnection<'_>, input: &mut Buffer) {
        while let Some(end) = input.find_eol() {
            // The loops last as long as the process.
            let _ = self.0.broadcast(input.take_n(end + 1));
        }
    }

    fn wants_write_complete(&self) -> bool {
        false
    }
}
