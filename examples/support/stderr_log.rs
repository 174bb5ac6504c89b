//! A logger for the `log` facade that writes lines to standard error.

use std::io::{self, Write};

use log::{LevelFilter, Log, Metadata, Record};

use super::fail;

struct StderrLog;

/// Logs what is at least as important as `level`.
pub(crate) fn init(level: LevelFilter) {
    if log::set_logger(&StderrLog).is_ok() {
        log::set_max_level(level);
    }
}

/// The level of the environment variable `CAMPANA_LOG`; `info` without it.
pub(crate) fn level_of_environment() -> LevelFilter {
    match std::env::var("CAMPANA_LOG") {
        Ok(text) => text.parse().unwrap_or_else(|error| fail(format_args!("CAMPANA_LOG={text}: {error}"))),
        Err(_) => LevelFilter::Info,
    }
}

impl Log for StderrLog {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("?");
        // One write, so that the lines of several threads and processes stay whole.
        let line = format!("{:5} {name}: {}\n", record.level(), record.args());
        let _ = io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}
