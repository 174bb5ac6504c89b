//! What the examples have in common and what is not their point: options, a logger, and the life of a server process.

#![allow(dead_code)] // Each example uses what it needs of it.

mod options;
mod stderr_log;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use campana::reactor::signal::{SIGINT, SIGTERM};
use campana::{EventLoop, Handler, LoopContext, ServerHandle, TcpServer};

pub(crate) use options::{Arguments, Options};

/// For how long a server's connections may go on after the first SIGINT or SIGTERM.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// Runs a server on the addresses of `--listen` until SIGINT or SIGTERM. `start` says what it does and starts it.
///
/// The first signal lets the connections finish, a second one ends them at once.
pub(crate) fn serve<H: Handler>(
    arguments: &Arguments,
    start: impl FnOnce(TcpServer, &mut EventLoop) -> io::Result<ServerHandle<H>>,
) -> ExitCode {
    let mut event_loop = new_event_loop();
    let server = or_fail(bind(arguments).and_then(|server| start(server, &mut event_loop)));
    run_server(event_loop, &server)
}

/// Runs a server's loop until the server has stopped on SIGINT or SIGTERM.
pub(crate) fn run_server<H: Handler>(event_loop: EventLoop, server: &ServerHandle<H>) -> ExitCode {
    let stopped = server.clone();
    run(event_loop, server.local_addresses(), move |_, signals| {
        let deadline = if signals == 1 { DRAIN } else { Duration::ZERO };
        stopped.stop_then(deadline, LoopContext::quit);
    })
}

/// Prints the addresses, and runs a loop until it quits; `on_signal` is told of each SIGINT and SIGTERM, and how many came.
pub(crate) fn run(
    mut event_loop: EventLoop,
    addresses: &[impl Display],
    mut on_signal: impl FnMut(&mut LoopContext, usize) + 'static,
) -> ExitCode {
    let mut signals = 0;
    or_fail(event_loop.context().on_signals(&[SIGINT, SIGTERM], move |cx, _| {
        signals += 1;
        on_signal(cx, signals);
    }));
    for address in addresses {
        print(format_args!("listening on {address}"));
    }
    or_fail(event_loop.run());
    ExitCode::SUCCESS
}

/// An event loop, or the end of the process with a line that says why there can't be one.
pub(crate) fn new_event_loop() -> EventLoop {
    or_fail(EventLoop::new())
}

/// What `result` holds, or the end of the process with status 1 and its error as one line on standard error.
pub(crate) fn or_fail<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| fail(error))
}

/// Ends the process with status 1 and one line on standard error.
pub(crate) fn fail(message: impl Display) -> ! {
    fail_with(1, message)
}

/// As [`fail`], with another status.
pub(crate) fn fail_with(status: i32, message: impl Display) -> ! {
    let line = format!("{}: {message}\n", env!("CARGO_BIN_NAME"));
    let _ = io::stderr().write_all(line.as_bytes());
    std::process::exit(status);
}

/// Prints a line on standard output at once. Unlike `println`, it doesn't mind if nobody reads it.
pub(crate) fn print(line: impl Display) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

pub(crate) fn bind(arguments: &Arguments) -> io::Result<TcpServer> {
    let mut addresses = arguments.listen().into_iter();
    let Some(first) = addresses.next() else { fail("there is no address to listen on") };
    let mut server = TcpServer::bind(first)?.threads(arguments.value("--threads"));
    for address in addresses {
        server = server.and_bind(address)?;
    }
    Ok(server)
}
