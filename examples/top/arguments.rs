//! What the command line says, and how the program ends if it can't go on.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

const SHORTEST_INTERVAL: f64 = 0.1;
const LONGEST_INTERVAL: f64 = 3600.0;

const HELP: &str = "\
A live view of a server through its control socket.

Usage: top PATH [--interval SECONDS]

  PATH                the control socket, or @NAME for an abstract one
  --interval SECONDS  how often the server is asked (default: 1)
  --help              show this help
";

pub(crate) struct Arguments {
    /// The control socket.
    pub(crate) path: String,
    /// How often the server is asked.
    pub(crate) interval: Duration,
}

impl Arguments {
    /// Reads the process's arguments. Ends it if it was asked for help or for nonsense.
    pub(crate) fn read() -> Self {
        let mut arguments = std::env::args_os().skip(1).map(|argument| {
            argument.into_string().unwrap_or_else(|argument| fail(format_args!("{argument:?} is not UTF-8")))
        });
        let mut path = None;
        let mut interval = Duration::from_secs(1);
        while let Some(argument) = arguments.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (argument.as_str(), None),
            };
            match name {
                "--help" => {
                    // It doesn't matter if nobody reads it.
                    let _ = io::stdout().write_all(HELP.as_bytes());
                    std::process::exit(0);
                }
                "--interval" => {
                    let value = value.or_else(|| arguments.next());
                    interval =
                        read_interval(&value.unwrap_or_else(|| fail("--interval SECONDS lacks its value")));
                }
                _ if name.starts_with('-') => {
                    fail(format_args!("unknown option {argument:?}; --help lists those there are"))
                }
                _ if path.is_none() => path = Some(argument),
                _ => fail(format_args!("there is one path, so what is {argument:?}?")),
            }
        }
        let path = path.unwrap_or_else(|| fail("the path of a control socket is needed: top PATH"));
        Self { path, interval }
    }
}

/// What `result` holds, or the end of the process with status 1 and its error as one line on standard error.
pub(crate) fn or_fail<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| fail(error))
}

fn fail(message: impl Display) -> ! {
    let line = format!("top: {message}\n");
    let _ = io::stderr().write_all(line.as_bytes());
    std::process::exit(1);
}

fn read_interval(text: &str) -> Duration {
    match text.parse() {
        Ok(seconds) if (SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&seconds) => {
            Duration::from_secs_f64(seconds)
        }
        _ => fail(format_args!(
            "--interval can't be {text}: it is a number of seconds from {SHORTEST_INTERVAL} to {LONGEST_INTERVAL}"
        )),
    }
}
