//! `im`: an instant-messaging server and its clients.

#[path = "../../support/mod.rs"]
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mode = support::Options::mode(&[("serve", "the server")]);
    support::fail(format_args!("{mode} is not there yet"))
}
