//! Sends back whatever it receives (RFC 862).
//!
//! `cargo run --example echo`, then `nc 127.0.0.1 2007`. With `--control /tmp/echo.sock` it has a control socket, and whoever
//! is started with `--control /tmp/echo.sock --take-over` goes on where it was, without refusing anybody.

#[path = "support/control.rs"]
mod control;
mod support;

use std::process::ExitCode;

use support::Options;

fn main() -> ExitCode {
    let options = Options::server("Sends back whatever it receives (RFC 862).", "127.0.0.1:2007").control();
    control::serve(&options.parse(), |server, event_loop| {
        server
            .on_data(|conn, input| conn.send(input.take()))
            // Who doesn't read what comes back is not read from either, until they do.
            .on_high_water(|conn| conn.pause_reading())
            .on_low_water(|conn| conn.resume_reading())
            .start(event_loop)
    })
}
