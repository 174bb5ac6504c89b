//! `im chat`: a client for a terminal, which can be driven from a pipe as well.
//!
//! Lines in are commands, done one after the other; lines out are what they led to and what the server says. Each command ends
//! with one line, `ok COMMAND ...` or `error COMMAND CODE "text"`.

use std::io::{BufReader, stdin};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use campana::connection::Endpoint;
use im::client::{Client, ClientConfig};
use im::protocol::{ClientType, LogIn, Status};

use crate::support::{self, Options};

mod ask;
mod command;
mod execute;
mod input;
mod lines;
mod password;
mod user;

use user::User;

/// Runs the client until the input ends or `/quit`.
pub(crate) fn run() -> ExitCode {
    let arguments = Options::new("A client for the terminal and for pipes; /help lists what it understands.")
        .of_mode("chat")
        .option("--connect ADDR", Some("127.0.0.1:7100"), "the server's address")
        .option(
            "--user NAME",
            None,
            "logs this user in at the start, and again after each loss of the connection",
        )
        .option(
            "--password-file FILE",
            None,
            "holds the password; otherwise $IM_PASSWORD, or the terminal is asked",
        )
        .option("--client TYPE", Some("pc"), "what to be: mobile, pc or web")
        .option(
            "--status STATUS",
            Some("online"),
            "how present to be at first: online, busy, away or invisible",
        )
        .option("--compress", None, "compresses both directions, once logged in")
        .option("--strict", None, "stops at the first command that fails, with status 1")
        .parse();
    let server: Endpoint = arguments.value("--connect");
    let name: Option<String> = arguments.optional("--user");
    let file: Option<PathBuf> = arguments.optional("--password-file");
    let client: ClientType = arguments.value("--client");
    let status: Status = arguments.value("--status");

    let mut password = support::or_fail(password::given(file.as_deref()));
    if let (Some(name), None) = (&name, &password) {
        password = Some(support::or_fail(password::ask(name)));
    }
    let log_in = name.zip(password.clone()).map(|(name, password)| LogIn { name, password, client, status });

    let mut event_loop = support::new_event_loop();
    let (lines, reader) = input::lines();
    let failed = Arc::new(AtomicBool::new(false));
    let user = User::new(user::Settings {
        log_in,
        password,
        client,
        status,
        strict: arguments.has("--strict"),
        failed: Arc::clone(&failed),
        lines,
        event_loop: event_loop.handle(),
    });
    let mut config = ClientConfig::new(server);
    config.compress = arguments.has("--compress");
    let client = support::or_fail(Client::start(&config, &mut event_loop, user));
    // It waits for input that may never come, and so is not waited for.
    std::thread::spawn(move || reader.run(BufReader::new(stdin()), move || client.notify()));
    support::or_fail(event_loop.run());
    if failed.load(Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
