//! Sends back whatever it receives (RFC 862).
//!
//! `cargo run --example echo`, then `nc 127.0.0.1 2007`.

mod support;

use std::process::ExitCode;

use support::Options;

fn main() -> ExitCode {
    let arguments = Options::server("Sends back whatever it receives (RFC 862).", "127.0.0.1:2007").parse();
    support::serve(&arguments, |server, event_loop| {
        server.on_data(|conn, input| conn.send(input.take())).start(event_loop)
    })
}
