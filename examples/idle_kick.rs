//! An echo server that throws out those who say nothing for a while.
//!
//! Nothing but a deadline of the connection is needed for it, which costs one timer a connection however much is said.
//!
//! `cargo run --example idle_kick -- --idle 3`, then `nc 127.0.0.1 2008`.

mod support;

use std::process::ExitCode;

use campana::CloseReason;
use campana::connection::Deadline;
use support::Options;

fn main() -> ExitCode {
    let arguments = Options::server("Throws out those who are idle; echoes to the others.", "127.0.0.1:2008")
        .option("--idle SECONDS", Some("10"), "for how long nothing may be received or sent")
        .parse();
    let idle = arguments.seconds("--idle");

    support::serve(&arguments, |server, event_loop| {
        server
            .configure(|config| config.idle = Some(idle))
            .on_connect(|conn| log::info!("{} is here", conn.peer_address()))
            .on_data(|conn, input| conn.send(input.take()))
            .on_close(|conn, reason| match reason {
                CloseReason::TimedOut(Deadline::Idle) => log::info!("{} was idle", conn.peer_address()),
                reason => log::info!("{} is gone: {reason}", conn.peer_address()),
            })
            .start(event_loop)
    })
}
