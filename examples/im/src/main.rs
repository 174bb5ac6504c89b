//! `im`: an instant-messaging server and its clients.

#[path = "../../support/mod.rs"]
mod support;

mod bot;
mod chat;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    let modes = [
        ("serve", "the server"),
        ("chat", "a client for the terminal and for pipes"),
        ("bot", "many users who chat, measured and checked"),
    ];
    match support::Options::mode(&modes) {
        "serve" => serve::run(),
        "chat" => chat::run(),
        "bot" => bot::run(),
        mode => support::fail(format_args!("{mode} is not there yet")),
    }
}
