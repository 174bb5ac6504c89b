//! An echo server for so many connections at a time, and no more.
//!
//! One more is closed as soon as it is accepted, without any callback.
//!
//! `cargo run --example max_connections -- --max 2`, then `nc 127.0.0.1 2012` three times.

mod support;

use std::process::ExitCode;

use campana::{Buffer, CloseReason, Handler, ServerHandle, TcpConnection};
use support::Options;

fn main() -> ExitCode {
    let arguments = Options::server("Echoes to so many at a time, and no more.", "127.0.0.1:2012")
        .option("--max N", Some("5"), "how many connections there may be")
        .parse();
    let max = arguments.value("--max");

    support::serve(&arguments, |server, event_loop| {
        server
            .max_connections(max)
            .start_with(event_loop, move |_, server| Echo { server: server.clone(), max })
    })
}

struct Echo {
    server: ServerHandle<Self>,
    max: usize,
}

impl Echo {
    fn log(&self, what: impl std::fmt::Display) {
        let figures = self.server.figures();
        log::info!(
            "{what}: {} of {} connections, {} refused",
            figures.connections,
            self.max,
            figures.refused
        );
    }
}

impl Handler for Echo {
    type State = ();

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) {
        self.log(format_args!("{} is here", conn.peer_address()));
    }

    fn on_data(&mut self, (): &mut (), conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        let _ = conn.send(input.take());
    }

    fn on_close(&mut self, (): (), conn: &mut TcpConnection<'_>, _reason: CloseReason) {
        self.log(format_args!("{} is gone", conn.peer_address()));
    }
}
