//! Sends back whatever it receives (RFC 862).
//!
//! `cargo run --example echo`, then `nc 127.0.0.1 2007`.

mod support;

use std::process::ExitCode;

use support::Options;

fn main() -> ExitCode {
    let arguments = Options::server("Sends back whatever it receives (RFC 862).", "127.0.0.1:2007").parse();
    support::serve(&arguments, |server, event_loop| {
        server
            .on_data(|conn, input| conn.send(input.take()))
            // Who doesn't read what comes back is not read from either, until they do.
            .on_high_water(|conn| conn.pause_reading())
            .on_low_water(|conn| conn.resume_reading())
            .start(event_loop)
    })
}
