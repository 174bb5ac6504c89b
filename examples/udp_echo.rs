//! Sends every datagram back to where it came from.
//!
//! `cargo run --example udp_echo`, then `nc -u 127.0.0.1 2007`. With threads, each loop has a socket of its own on each address,
//! and the kernel spreads the senders over them.

mod support;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use campana::reactor::{Datagrams, LoopPool, UdpChannel, UdpOptions, UdpSocket};
use campana::{Address, LoopContext};
use support::{Options, or_fail};

fn main() -> ExitCode {
    let arguments = Options::new("Sends every datagram back to where it came from (RFC 862).")
        .option("--listen ADDR", Some("127.0.0.1:2007"), "127.0.0.1:PORT or [::1]:PORT; may be repeated")
        .option("--threads N", Some("0"), "threads that echo; 0: one loop does it all")
        .parse();
    let event_loop = support::new_event_loop();
    let pool = or_fail(LoopPool::new(&event_loop.handle(), arguments.value("--threads")));
    let listening =
        arguments.listen().iter().map(|address| or_fail(bind(address, &pool))).collect::<Vec<_>>();
    support::run(event_loop, &listening, |cx, _| LoopContext::quit(cx))
}

/// Gives each loop a socket that is bound to this address.
fn bind(address: &Address, pool: &LoopPool) -> io::Result<SocketAddr> {
    let loops = pool.handles();
    let options = UdpOptions::new().reuse_port(loops.len() > 1);
    let first = UdpSocket::bind_with(address, &options)?;
    // Port 0 was for the system to choose; the others follow the first one.
    let address = first.local_address();
    let mut sockets = vec![first];
    for _ in 1..loops.len() {
        sockets.push(UdpSocket::bind_with(address, &options)?);
    }
    for (event_loop, socket) in loops.iter().zip(sockets) {
        let start = move |cx: &mut LoopContext| drop(or_fail(socket.start(cx, echo)));
        event_loop.post(start).map_err(io::Error::other)?;
    }
    Ok(address)
}

fn echo(socket: &mut UdpChannel<'_>, datagrams: Datagrams<'_>) {
    for datagram in datagrams {
        socket.send_to(datagram.bytes, datagram.from);
    }
}
