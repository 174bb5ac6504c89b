//! `im serve`: the server as a process.

use std::process::ExitCode;
use std::time::Duration;

use campana::LoopContext;
use im::server::{Config, Server};

use crate::support::{self, Options};

/// For how long sessions may take to end after the first SIGINT or SIGTERM.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until SIGINT or SIGTERM. The first one lets what is under way be answered, a second one ends all at once.
pub(crate) fn run() -> ExitCode {
    let arguments = Options::server("An instant-messaging server.", "127.0.0.1:7100")
        .option("--data DIR", Some("im-data"), "directory of the database, which is made if it isn't there")
        .option("--silence SECONDS", Some("30"), "a client that says nothing for so long is dropped")
        .option(
            "--log-in-deadline SECONDS",
            Some("10"),
            "a connection that hasn't logged in by then is closed",
        )
        .option(
            "--stall SECONDS",
            Some("30"),
            "a client that takes nothing of what waits for it is closed then",
        )
        .option("--password-threads N", Some("2"), "threads that hash passwords")
        .option("--password-memory KIB", Some("19456"), "memory for each hash: what makes guessing expensive")
        .option(
            "--control PATH",
            None,
            "a control socket to look into it and to steer it: see the examples ctl and top",
        )
        .of_mode("serve")
        .parse();
    let mut config = Config::new(arguments.value::<String>("--data"));
    config.listen = arguments.listen();
    config.threads = arguments.value("--threads");
    config.silence = arguments.seconds("--silence");
    config.log_in_deadline = arguments.seconds("--log-in-deadline");
    config.stall = arguments.seconds("--stall");
    config.password_threads = arguments.value("--password-threads");
    config.password_memory = arguments.value("--password-memory");

    let mut event_loop = support::new_event_loop();
    let server = support::or_fail(Server::start(&config, &mut event_loop));
    if let Some(path) = arguments.optional::<String>("--control") {
        support::or_fail(server.inspector().on_drained(LoopContext::quit).serve(&mut event_loop, path));
    }
    let stopper = server.stopper();
    let status = support::run(event_loop, server.local_addresses(), move |_, signals| {
        let deadline = if signals == 1 { DRAIN } else { Duration::ZERO };
        stopper.stop(deadline, LoopContext::quit);
    });
    server.close();
    status
}
