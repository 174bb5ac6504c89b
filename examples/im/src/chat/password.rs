//! Where passwords come from: a file, the environment, or the terminal.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// The variable that holds the password if there is no file.
pub(crate) const VARIABLE: &str = "IM_PASSWORD";

/// The password of a file, without the line end behind it, or else of the environment; nothing if there is neither.
pub(crate) fn given(file: Option<&Path>) -> Result<Option<String>, String> {
    let Some(file) = file else { return Ok(std::env::var(VARIABLE).ok()) };
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

/// Asks for the password on the terminal, which doesn't show it.
pub(crate) fn ask(user: &str) -> Result<String, String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(format!("there is no password: give --password-file or set {VARIABLE}"));
    }
    let _ = write!(io::stderr(), "password of {user}: ");
    let shown = tcgetattr(&stdin).map_err(|error| error.to_string())?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(|error| error.to_string())?;
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    let restored = tcsetattr(&stdin, OptionalActions::Now, &shown);
    let _ = writeln!(io::stderr());
    read.map_err(|error| error.to_string())?;
    restored.map_err(|error| error.to_string())?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
