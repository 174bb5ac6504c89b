//! Tells the time as a number: the seconds since 1900, 32 bits, high byte first (RFC 868).
//!
//! `cargo run --example time`, then `nc -d 127.0.0.1 2037 | od -An -tu4 --endian=big`.

mod support;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::Options;

/// From 1900 to 1970: 70 years of 365 days, and 17 leap days.
const SECONDS_1900_TO_1970: u64 = (70 * 365 + 17) * 86_400;

fn main() -> ExitCode {
    let arguments = Options::server("Tells the time as a number (RFC 868).", "127.0.0.1:2037").parse();
    support::serve(&arguments, |server, event_loop| {
        server
            .on_connect(|conn| {
                let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                // The number starts again from zero in 2036, as the RFC has it.
                let time = (since_1970.as_secs() + SECONDS_1900_TO_1970) as u32;
                let _ = conn.send(&time.to_be_bytes());
                // A shutdown alone would leave the connection to peers who never close it.
                conn.close_after(Duration::from_secs(10));
            })
            .start(event_loop)
    })
}
