//! Which command does what.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

use super::excerpt::excerpt;
use super::failure::code;
use super::{Command, Failure};

/// The commands of a control socket. It has `help`, which lists them.
#[derive(Clone, Debug)]
pub struct Router {
    commands: BTreeMap<String, Command>,
}

impl Router {
    /// A router with `help` alone.
    #[must_use]
    pub fn new() -> Self {
        let help = help();
        Self { commands: BTreeMap::from([(help.name().to_owned(), help)]) }
    }

    /// Adds a command.
    ///
    /// # Errors
    ///
    /// [`CommandError`], if there is a command of this name already, or if one of its parameters is documented that it hasn't.
    pub fn add(&mut self, command: Command) -> Result<&mut Self, CommandError> {
        if self.commands.contains_key(command.name()) {
            return Err(CommandError::Duplicate { command: command.name().to_owned() });
        }
        if let Some(parameter) = command.unknown_parameter() {
            let (command, parameter) = (command.name().to_owned(), parameter.to_owned());
            return Err(CommandError::UnknownParameter { command, parameter });
        }
        self.commands.insert(command.name().to_owned(), command);
        Ok(self)
    }

    /// Adds a command, in the place of the one that has its name, which is answered.
    ///
    /// # Errors
    ///
    /// [`CommandError::UnknownParameter`]; the one before is still there then.
    pub fn replace(&mut self, command: Command) -> Result<Option<Command>, CommandError> {
        let before = self.commands.remove(command.name());
        match (self.add(command), before) {
            (Ok(_), before) => Ok(before),
            (Err(error), before) => {
                if let Some(before) = before {
                    self.commands.insert(before.name().to_owned(), before);
                }
                Err(error)
            }
        }
    }

    /// A command, by its name.
    #[must_use]
    pub fn command(&self, name: &str) -> Option<&Command> {
        self.commands.get(name)
    }

    /// All commands, by their names.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.commands.values()
    }

    /// What is answered to a command that is not there.
    #[cold]
    pub(super) fn unknown(&self, name: &str) -> Failure {
        let names: Vec<&str> = self.commands.keys().map(String::as_str).collect();
        Failure::new(format!(
            "there is no command `{}`: there are {}",
            excerpt(&name.escape_debug().to_string(), 200),
            names.join(", ")
        ))
        .code(code::UNKNOWN_COMMAND)
        .with("commands", names)
    }
}

impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Help {
    command: Option<String>,
}

fn help() -> Command {
    Command::new("help", "Lists the commands, with what they take.")
        .parameter("command", "the only one that is to be listed")
        .answers(|call, Help { command }| {
            let router = call.router();
            let commands: Vec<Value> = match &command {
                None => router.commands().map(described).collect(),
                Some(name) => vec![described(router.command(name).ok_or_else(|| router.unknown(name))?)],
            };
            Ok(json!({ "commands": commands }))
        })
}

fn described(command: &Command) -> Value {
    json!({
        "name": command.name(),
        "summary": command.summary(),
        "role": command.role(),
        "parameters": command.parameters(),
    })
}

/// Why a command was not taken into a router.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CommandError {
    /// There is one of this name.
    Duplicate {
        /// Its name.
        command: String,
    },
    /// One of its parameters is documented, but its type has no such field.
    UnknownParameter {
        /// The command's name.
        command: String,
        /// The parameter's.
        parameter: String,
    },
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { command } => {
                write!(f, "there is a command `{command}` already: choose another name, or replace it")
            }
            Self::UnknownParameter { command, parameter } => {
                write!(f, "the command `{command}` documents `{parameter}`, which its parameters don't have")
            }
        }
    }
}

impl Error for CommandError {}
