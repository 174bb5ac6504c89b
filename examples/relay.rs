//! Relays connections to another address, either of which may be TCP or a Unix socket.
//!
//! `cargo run --example relay -- --to example.com:80`, then `curl -H 'Host: example.com' http://127.0.0.1:2020/`.
//!
//! Two connections make a pair: one was accepted, the other is a client's to the target, on the same loop. What one receives the
//! other sends, and all else that happens to one is passed on as well:
//!
//! ```text
//! output above the high-water mark    the other one is not read, so that its peer is held back
//! output below the low-water mark     the other one is read again
//! the peer sends no more              the other one is shut down; the opposite direction goes on
//! reset, time-out, failure            the other one is reset
//! ```

mod support;

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use campana::connection::{ClientHandle, ConnectError, ConnectionConfig, Endpoint};
use campana::socket::{KeepAlive, SocketOptions};
use campana::{Buffer, CloseReason, ConnectionId, Handler, LoopContext, TcpClient, TcpConnection};
use support::Options;

fn main() -> ExitCode {
    let arguments = Options::server("Relays connections to another address.", "127.0.0.1:2020")
        .option("--to ADDR", None, "where to: HOST:PORT, 127.0.0.1:PORT, unix:/path or unix:@name")
        .parse();
    let target: Endpoint = arguments.value("--to");
    support::serve(&arguments, |server, event_loop| {
        server.configure(for_a_relay).start_with(event_loop, move |_, _| Accepted { target: target.clone() })
    })
}

/// A slow reader is held back instead of being cut off, for as long as it is there at all.
fn for_a_relay(config: &mut ConnectionConfig) {
    config.write_stall = None;
    config.slow_consumer = None;
    config.socket =
        SocketOptions::new().keepalive(KeepAlive::new(Duration::from_secs(60), Duration::from_secs(10), 6));
}

/// The other connection of each of this loop's pairs.
///
/// Both are in here from the moment that the target is connected. The one that ends first takes both out.
#[derive(Default)]
struct Pairs {
    others: HashMap<ConnectionId, ConnectionId>,
}

impl Pairs {
    fn join(&mut self, one: ConnectionId, other: ConnectionId) {
        self.others.insert(one, other);
        self.others.insert(other, one);
    }

    fn part(&mut self, one: ConnectionId) -> Option<ConnectionId> {
        let other = self.others.remove(&one)?;
        self.others.remove(&other);
        Some(other)
    }
}

/// The other connection of the pair, if it is still there.
fn other<'a>(conn: &'a mut TcpConnection<'_>) -> Option<TcpConnection<'a>> {
    let id = conn.id();
    let other = conn.context().local::<Pairs>().others.get(&id).copied()?;
    conn.peer(other)
}

fn relay_data(conn: &mut TcpConnection<'_>, input: &mut Buffer) {
    if let Some(mut other) = other(conn) {
        // An error means that the other one is ending, which its on_close passes on.
        let _ = other.send(input.take());
    }
}

fn relay_high_water(conn: &mut TcpConnection<'_>) {
    if let Some(mut other) = other(conn) {
        other.pause_reading();
    }
}

fn relay_low_water(conn: &mut TcpConnection<'_>) {
    if let Some(mut other) = other(conn) {
        other.resume_reading();
    }
}

fn relay_end_of_input(conn: &mut TcpConnection<'_>) {
    match other(conn) {
        Some(mut other) => other.shutdown(),
        None => conn.close(),
    }
}

fn relay_close(conn: &mut TcpConnection<'_>, reason: &CloseReason) {
    let id = conn.id();
    let Some(other) = conn.context().local::<Pairs>().part(id) else { return };
    let Some(mut other) = conn.peer(other) else { return };
    match reason {
        // Both directions have ended, and the other one has been told: it ends when its last output is out.
        CloseReason::Peer | CloseReason::Local => {}
        CloseReason::Stopping => other.close(),
        _ => {
            if let Some(socket) = other.socket() {
                let _ = socket.reset_on_close();
            }
            other.force_close();
        }
    }
}

/// The connections that were accepted on one loop.
struct Accepted {
    target: Endpoint,
}

impl Handler for Accepted {
    /// The client that connects to the target.
    type State = Option<ClientHandle<Connected>>;

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) -> Self::State {
        // There is nowhere to put what it sends until the target is connected.
        conn.pause_reading();
        let accepted = conn.id();
        let client = TcpClient::new(&self.target).map(|client| client.configure(for_a_relay));
        match client {
            Ok(client) => Some(client.start_with(conn.context(), Connected { accepted })),
            Err(error) => {
                log::error!("{}: {error}", self.target);
                conn.close();
                None
            }
        }
    }

    fn on_data(&mut self, _: &mut Self::State, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        relay_data(conn, input);
    }

    fn on_high_water(&mut self, _: &mut Self::State, conn: &mut TcpConnection<'_>) {
        relay_high_water(conn);
    }

    fn on_low_water(&mut self, _: &mut Self::State, conn: &mut TcpConnection<'_>) {
        relay_low_water(conn);
    }

    fn on_read_closed(&mut self, _: &mut Self::State, conn: &mut TcpConnection<'_>) {
        relay_end_of_input(conn);
    }

    fn on_close(&mut self, client: Self::State, conn: &mut TcpConnection<'_>, reason: CloseReason) {
        let stats = conn.stats();
        let (peer, received, sent) = (conn.peer_address(), stats.bytes_in, stats.bytes_out);
        log::info!("{peer}: {received} bytes in, {sent} bytes out; {reason}");
        relay_close(conn, &reason);
        // It may not have got as far as being connected.
        if let Some(client) = client.filter(|client| client.connection().is_none()) {
            client.stop();
        }
    }
}

/// The connection to the target that belongs to an accepted one.
struct Connected {
    accepted: ConnectionId,
}

impl Handler for Connected {
    type State = ();

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) {
        let own = conn.id();
        conn.context().local::<Pairs>().join(self.accepted, own);
        match conn.peer(self.accepted) {
            Some(mut accepted) => accepted.resume_reading(),
            None => conn.force_close(),
        }
    }

    fn on_data(&mut self, (): &mut (), conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        relay_data(conn, input);
    }

    fn on_high_water(&mut self, (): &mut (), conn: &mut TcpConnection<'_>) {
        relay_high_water(conn);
    }

    fn on_low_water(&mut self, (): &mut (), conn: &mut TcpConnection<'_>) {
        relay_low_water(conn);
    }

    fn on_read_closed(&mut self, (): &mut (), conn: &mut TcpConnection<'_>) {
        relay_end_of_input(conn);
    }

    fn on_close(&mut self, (): (), conn: &mut TcpConnection<'_>, reason: CloseReason) {
        relay_close(conn, &reason);
    }

    fn on_connect_failed(&mut self, context: &mut LoopContext, error: &ConnectError, _: Option<Duration>) {
        let Some(mut accepted) = context.connection(self.accepted) else { return };
        log::warn!("{}: the target can't be reached: {error}", accepted.peer_address());
        accepted.close();
    }
}
