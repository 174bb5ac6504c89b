//! Gives a command to a control socket and prints what comes back.
//!
//! `cargo run --example ctl -- /run/app.sock connections sort=bytes_in limit=5`, with `help` in the place of a command to see
//! what there is.
//!
//! A blocking client, and no event loop. Values of parameters are JSON or text, whatever the command takes; results that are lists of
//! objects become tables.

#[path = "ctl/output.rs"]
mod output;
#[path = "ctl/params.rs"]
mod params;
mod support;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use campana::control::{ClientError, ControlClient, ErrorReply, ToControlAddress};
use params::Parameter;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use support::{Arguments, Options, fail_with};

const FAILED: u8 = 1;
const USAGE: i32 = 2;
const NO_ANSWER: i32 = 3;

/// In bytes: more than any server's buffer holds.
const LARGEST_REPLY: usize = 16 << 20;

const NOTES: &str = "\
PATH is the socket's path, or @NAME for an abstract name. `ctl PATH help` lists the commands, `ctl PATH help COMMAND` shows what one takes.

  KEY=VALUE    a number, true, false, null, or any other JSON; text if it is no JSON, or if the command takes a string there
  KEY:=JSON    JSON, in any case
  A.B=VALUE    the member B of the object A

A table has no histograms and other long lists of numbers; --json has them. One that is too wide for the terminal has a line for each
member instead, if the objects fit in side by side.

Exit status: 0 if all went well, 1 if the server answered with an error, 2 if the arguments are wrong, 3 if there is no connection,
no answer in time, or nothing to write the output to.";

fn main() -> ExitCode {
    let arguments = Options::new("Gives a command to a control socket and prints the result.")
        .operands("PATH COMMAND [KEY=VALUE]...")
        .usage_status(USAGE)
        .option("--json", None, "print the result, or on standard error the error, as JSON")
        .option(
            "--table",
            None,
            "print a list of objects as a table and all else as lines, which is done without this as well",
        )
        .option(
            "--timeout SECONDS",
            Some("10"),
            "for how long to wait, for the connection and then for the answer",
        )
        .notes(NOTES)
        .parse();
    let timeout = arguments.seconds("--timeout");
    let is_json = arguments.has("--json");
    if is_json && arguments.has("--table") {
        arguments.fail("--json and --table exclude each other");
    }
    let [path, command, given @ ..] = arguments.operands() else {
        arguments.fail("PATH and COMMAND are needed: `ctl PATH help` lists the commands");
    };
    let address = path.to_control_address().unwrap_or_else(|error| arguments.fail(error));
    let given = parameters(&arguments, command, given);
    let mut client = ControlClient::connect_timeout(address, Some(timeout))
        .unwrap_or_else(|error| fail_with(NO_ANSWER, error));
    client.set_reply_limit(LARGEST_REPLY);
    match request(&mut client, command, given) {
        Ok(result) if is_json => write(&format!("{result}\n")),
        Ok(result) if command == "help" => write(&help(path, &result)),
        Ok(result) => write(&output::text_of(&result, width())),
        Err(ClientError::Failed(error)) if is_json => {
            let _ = writeln!(io::stderr(), "{}", json_of(error));
            return ExitCode::from(FAILED);
        }
        Err(ClientError::Failed(error)) => {
            fail_with(FAILED.into(), output::printable(&error.to_string()));
        }
        Err(ClientError::TimedOut) => {
            fail_with(NO_ANSWER, "no answer in time: see whether the server is busy, or raise --timeout")
        }
        Err(error @ ClientError::TooLarge { .. }) => fail_with(USAGE, error),
        Err(error) => fail_with(NO_ANSWER, error),
    }
    ExitCode::SUCCESS
}

fn parameters(arguments: &Arguments, command: &str, given: &[String]) -> Vec<Parameter> {
    // Less to type for what is wanted most.
    if let ("help", [name]) = (command, given)
        && !name.contains('=')
    {
        return vec![Parameter::text("command", name)];
    }
    let read = given.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>();
    let read = read.and_then(|given| params::object_of(&given).map(|_| given));
    read.unwrap_or_else(|error| arguments.fail(error))
}

fn request(
    client: &mut ControlClient,
    command: &str,
    mut given: Vec<Parameter>,
) -> Result<Box<RawValue>, ClientError> {
    let mut first_error = None;
    // What looks like a number may be meant as text, which the command alone knows.
    if given.iter().any(Parameter::is_ambiguous) {
        match client.request("help", &json!({"command": command})) {
            Ok(Described { commands }) => {
                let takes_text = |name: &str| {
                    let mut parameters = commands.iter().flat_map(|command| &command.parameters);
                    parameters.any(|parameter| parameter.name == name && parameter.is_text())
                };
                given.iter_mut().filter(|given| takes_text(given.key())).for_each(Parameter::take_as_text);
            }
            // The server may have no such help; or it may have said at last why it closes.
            Err(error @ (ClientError::Failed(_) | ClientError::UnexpectedResult(_))) => {
                first_error = Some(error)
            }
            Err(error) => return Err(error),
        }
    }
    let params = params::object_of(&given).unwrap_or_else(|error| fail_with(USAGE, error));
    client.request(command, &params).map_err(|error| match (error, first_error) {
        (ClientError::Disconnected, Some(first)) => first,
        (error, _) => error,
    })
}

fn json_of(error: ErrorReply) -> Value {
    let mut members = error.base;
    members.insert("code".into(), error.code.into());
    members.insert("errors".into(), error.errors.into());
    members.into()
}

#[derive(Deserialize)]
struct Described {
    commands: Vec<DescribedCommand>,
}

#[derive(Deserialize)]
struct DescribedCommand {
    name: String,
    summary: String,
    role: Option<String>,
    parameters: Vec<DescribedParameter>,
}

#[derive(Deserialize)]
struct DescribedParameter {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    required: bool,
    doc: String,
}

impl DescribedParameter {
    fn is_text(&self) -> bool {
        self.kind == "string" || self.choices().is_some()
    }

    /// `one of` and some texts, if the parameter is one of these.
    fn choices(&self) -> Option<&str> {
        Some(&*self.kind).filter(|kind| kind.starts_with("one of "))
    }
}

/// The commands, each in a line; of a single one what it takes.
fn help(path: &str, result: &RawValue) -> String {
    match serde_json::from_str(result.get()) {
        Ok(Described { commands }) => match &commands[..] {
            [command] => help_of(path, command),
            commands => output::columns(commands.iter().map(|command| {
                let role = command.role.as_ref().map(|role| format!(" (role {role})")).unwrap_or_default();
                [command.name.clone(), format!("{}{role}", command.summary)]
            })),
        },
        // Another server's help.
        Err(_) => output::text_of(result, width()),
    }
}

fn help_of(path: &str, command: &DescribedCommand) -> String {
    let DescribedCommand { name, summary, role, parameters } = command;
    let role = role.as_ref().map(|role| format!(" (role {role})")).unwrap_or_default();
    let usage = parameters.iter().map(|DescribedParameter { name, required, .. }| match required {
        true => format!(" {name}=.."),
        false => format!(" [{name}=..]"),
    });
    let head = format!("{summary}{role}\n\nUsage: ctl {path} {name}{}\n", usage.collect::<String>());
    let rows = parameters.iter().map(|parameter| {
        let DescribedParameter { name, kind, doc, .. } = parameter;
        // A list of what there is to choose from would push all that is said far to the right.
        match parameter.choices() {
            Some(choices) => [format!("  {name}"), "string".into(), format!("{doc} ({choices})")],
            None => [format!("  {name}"), kind.clone(), doc.clone()],
        }
    });
    let gap = if parameters.is_empty() { "" } else { "\n" };
    format!("{}{gap}{}", output::printable(&head), output::columns(rows))
}

/// How many columns the terminal has, if standard output is one.
fn width() -> Option<usize> {
    let (columns, _) = io::stdout().is_terminal().then(ratatui::crossterm::terminal::size)?.ok()?;
    Some(columns.into())
}

/// Writes to standard output: all as it is, but to a terminal nothing that would do something to that. Nothing is wrong if nobody
/// reads it to its end.
fn write(text: &str) {
    let mut stdout = io::stdout().lock();
    let text = if stdout.is_terminal() { output::printable(text) } else { text.into() };
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail_with(NO_ANSWER, error),
        _ => {}
    }
}
