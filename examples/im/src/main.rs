//! `im`: an instant-messaging server and its clients.

#[path = "../../support/mod.rs"]
mod support;

mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    match support::Options::mode(&[("serve", "the server")]) {
        "serve" => serve::run(),
        mode => support::fail(format_args!("{mode} is not there yet")),
    }
}
