//! Command-line options: declared with their help, then read from the process's arguments.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use campana::Address;

use super::{fail, fail_with, print, stderr_log};

/// The options that a program has.
pub(crate) struct Options {
    mode: Option<&'static str>,
    summary: &'static str,
    declared: Vec<Declared>,
    operands: Option<&'static str>,
    notes: &'static str,
    usage_status: i32,
}

struct Declared {
    /// The option as the help shows it: `--name VALUE`, or `--name` alone for one that takes no value.
    usage: &'static str,
    default: Option<&'static str>,
    help: &'static str,
}

impl Options {
    /// The mode of a program that has several, each with its help: the process's first argument. Ends the process if that is
    /// none of them. The options of the mode are then declared and read with [`of_mode`](Self::of_mode).
    pub(crate) fn mode(modes: &[(&'static str, &'static str)]) -> &'static str {
        let given = std::env::args_os().nth(1).unwrap_or_default();
        if given == "--help" {
            print(format_args!("Usage: {} MODE [OPTION]...\n", env!("CARGO_BIN_NAME")));
            for (mode, help) in modes {
                print(format_args!("  {mode:8}  {help}"));
            }
            print("\nMODE --help shows the options of a mode.");
            std::process::exit(0);
        }
        let found = modes.iter().find(|(mode, _)| given == *mode);
        found.map(|(mode, _)| *mode).unwrap_or_else(|| {
            let names: Vec<&str> = modes.iter().map(|(mode, _)| *mode).collect();
            fail(format_args!("the first argument has to be one of: {}", names.join(", ")))
        })
    }

    /// A program with `--log` and `--help` alone.
    pub(crate) fn new(summary: &'static str) -> Self {
        Self { mode: None, summary, declared: Vec::new(), operands: None, notes: "", usage_status: 1 }
    }

    /// A server, which has `--listen` and `--threads` too.
    pub(crate) fn server(summary: &'static str, listen: &'static str) -> Self {
        Self::new(summary)
            .option(
                "--listen ADDR",
                Some(listen),
                "127.0.0.1:PORT, [::1]:PORT, unix:/path or unix:@name; may be repeated",
            )
            .option("--threads N", Some("0"), "threads that serve connections; 0: one loop does it all")
    }

    /// One more option: `--name VALUE`, or `--name` for one that takes no value.
    pub(crate) fn option(
        mut self,
        usage: &'static str,
        default: Option<&'static str>,
        help: &'static str,
    ) -> Self {
        self.declared.push(Declared { usage, default, help });
        self
    }

    /// Takes operands besides options, in any order; all that follows `--` are operands.
    pub(crate) fn operands(mut self, usage: &'static str) -> Self {
        self.operands = Some(usage);
        self
    }

    /// What the help says at its end.
    pub(crate) fn notes(mut self, notes: &'static str) -> Self {
        self.notes = notes;
        self
    }

    /// The status with which the process ends if its arguments are wrong, for a program that needs 1 for something else.
    pub(crate) fn usage_status(mut self, status: i32) -> Self {
        self.usage_status = status;
        self
    }

    /// The options of one mode of a program that has several.
    pub(crate) fn of_mode(mut self, mode: &'static str) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Reads the process's arguments, and sets up logging. Ends the process if it was asked for help or for nonsense.
    pub(crate) fn parse(self) -> Arguments {
        let options = self
            .option(
                "--log LEVEL",
                None,
                "off, error, warn, info, debug or trace; default: $CAMPANA_LOG or info",
            )
            .option("--help", None, "show this help");
        let (given, operands) = options.read(options.arguments());
        let arguments = Arguments { options, given, operands };
        if arguments.has("--help") {
            arguments.options.print_help();
            std::process::exit(0);
        }
        let level: Option<log::LevelFilter> = arguments.optional("--log");
        stderr_log::init(level.unwrap_or_else(stderr_log::level_of_environment));
        arguments
    }

    /// What follows the program's name, and its mode if it has one.
    fn arguments(&self) -> impl Iterator<Item = std::ffi::OsString> + use<> {
        std::env::args_os().skip(if self.mode.is_some() { 2 } else { 1 })
    }

    fn read(
        &self,
        arguments: impl Iterator<Item = std::ffi::OsString>,
    ) -> (Vec<(&'static str, String)>, Vec<String>) {
        let mut arguments = arguments.map(|argument| {
            argument
                .into_string()
                .unwrap_or_else(|argument| self.fail(format_args!("{argument:?} is not UTF-8")))
        });
        let (mut given, mut operands) = (Vec::new(), Vec::new());
        while let Some(argument) = arguments.next() {
            if self.operands.is_some() && !argument.starts_with("--") {
                operands.push(argument);
                continue;
            }
            if self.operands.is_some() && argument == "--" {
                operands.extend(arguments);
                break;
            }
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let Some(declared) = self.declared.iter().find(|declared| declared.name() == name) else {
                self.fail(format_args!("unknown option {argument:?}; --help lists those there are"));
            };
            let value = match (declared.takes_value(), value) {
                (true, value) => value
                    .or_else(|| arguments.next())
                    .unwrap_or_else(|| self.fail(format_args!("{} lacks its value", declared.usage))),
                (false, None) => String::new(),
                (false, Some(_)) => self.fail(format_args!("{name} takes no value")),
            };
            given.push((declared.name(), value));
        }
        (given, operands)
    }

    fn print_help(&self) {
        let mode = self.mode.map(|mode| format!(" {mode}")).unwrap_or_default();
        let operands = self.operands.map(|operands| format!(" {operands}")).unwrap_or_default();
        let program = env!("CARGO_BIN_NAME");
        print(format_args!("{}\n\nUsage: {program}{mode} [OPTION]...{operands}\n", self.summary));
        let width = self.declared.iter().map(|declared| declared.usage.len()).max().unwrap_or(0);
        for Declared { usage, default, help } in &self.declared {
            let default = default.map(|value| format!(" (default: {value})")).unwrap_or_default();
            print(format_args!("  {usage:width$}  {help}{default}"));
        }
        if !self.notes.is_empty() {
            print(format_args!("\n{}", self.notes));
        }
    }

    fn fail(&self, message: impl Display) -> ! {
        fail_with(self.usage_status, message)
    }

    fn declared(&self, name: &str) -> &Declared {
        let found = self.declared.iter().find(|declared| declared.name() == name);
        found.unwrap_or_else(|| unreachable!("{name} was not declared"))
    }
}

impl Declared {
    fn name(&self) -> &'static str {
        self.usage.split(' ').next().unwrap_or(self.usage)
    }

    fn takes_value(&self) -> bool {
        self.usage.contains(' ')
    }
}

/// The options that a program was given. A value that can't be read ends the process with a line that says so: ask for all of
/// them first.
pub(crate) struct Arguments {
    options: Options,
    given: Vec<(&'static str, String)>,
    operands: Vec<String>,
}

impl Arguments {
    /// What was given besides options.
    pub(crate) fn operands(&self) -> &[String] {
        &self.operands
    }

    /// Ends the process, as its arguments are wrong.
    pub(crate) fn fail(&self, message: impl Display) -> ! {
        self.options.fail(message)
    }

    /// Whether an option was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// The value of an option; the last one, if it was given several times.
    pub(crate) fn value<T: FromStr<Err: Display>>(&self, name: &str) -> T {
        self.optional(name)
            .unwrap_or_else(|| self.fail(format_args!("{} is needed", self.options.declared(name).usage)))
    }

    /// The value of an option without a default, if it was given.
    pub(crate) fn optional<T: FromStr<Err: Display>>(&self, name: &str) -> Option<T> {
        self.texts(name).last().map(|text| self.read(name, text))
    }

    /// The value of an option that is a number of seconds: more than zero, with a fraction if need be.
    pub(crate) fn seconds(&self, name: &str) -> Duration {
        let seconds: f64 = self.value(name);
        match Duration::try_from_secs_f64(seconds) {
            Ok(Duration::ZERO) => self.reject(name, seconds, "it has to be more than zero"),
            Ok(duration) => duration,
            Err(error) => self.reject(name, seconds, error),
        }
    }

    /// The addresses of `--listen`.
    pub(crate) fn listen(&self) -> Vec<Address> {
        self.texts("--listen").iter().map(|text| self.read("--listen", text)).collect()
    }

    fn texts(&self, name: &str) -> Vec<&str> {
        let given = self.given.iter().filter(|(given, _)| *given == name);
        let texts: Vec<&str> = given.map(|(_, value)| value.as_str()).collect();
        if texts.is_empty() { self.options.declared(name).default.into_iter().collect() } else { texts }
    }

    fn read<T: FromStr<Err: Display>>(&self, name: &str, text: &str) -> T {
        text.parse().unwrap_or_else(|error| self.reject(name, text, error))
    }

    fn reject(&self, name: &str, text: impl Display, error: impl Display) -> ! {
        self.fail(format_args!("{} can't be {text}: {error}", self.options.declared(name).usage))
    }
}
