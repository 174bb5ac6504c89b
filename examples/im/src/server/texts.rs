//! What names and texts may be.

use crate::protocol::{ErrorCode, Failure};

/// Most bytes of a nickname, a remark, the name of a team or a group.
pub(super) const NAME: usize = 64;
/// Most bytes of a signature or of the text of an application.
pub(super) const LINE: usize = 256;

/// The name of a user, as it is registered.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=32).contains(&name.len()) && name.bytes().all(is_allowed) {
        return Ok(());
    }
    Err(bad("a name has 1 to 32 letters, digits, dots, underscores or hyphens of ASCII"))
}

/// A password, as it is chosen.
pub(super) fn check_password(password: &str) -> Result<(), Failure> {
    if (6..=128).contains(&password.len()) { Ok(()) } else { Err(bad("a password has 6 to 128 bytes")) }
}

/// A text that is shown on one line.
pub(super) fn check_line(what: &str, text: &str, least: usize, most: usize) -> Result<(), Failure> {
    check_length(what, text, least, most)?;
    if text.chars().any(char::is_control) {
        return Err(bad(format!("{what} has control characters")));
    }
    Ok(())
}

pub(super) fn check_length(what: &str, text: &str, least: usize, most: usize) -> Result<(), Failure> {
    if (least..=most).contains(&text.len()) {
        return Ok(());
    }
    Err(bad(format!("{what} has {} bytes: it has to have {least} to {most}", text.len())))
}

pub(super) fn bad(text: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::BadRequest, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_of_ascii() {
        for name in ["a", "Ann.B_c-9", &"x".repeat(32)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "a b", "ä", "a/b", "a\n", &"x".repeat(33)] {
            assert_eq!(check_name(name).unwrap_err().code, ErrorCode::BadRequest, "{name}");
        }
    }

    #[test]
    fn lines_have_no_control_characters() {
        assert_eq!(check_line("x", "Ännchen \"von\" Tharau", 1, 64), Ok(()));
        for line in ["", "a\nb", "\u{1b}[2J", "\u{85}", &"x".repeat(65)] {
            assert_eq!(check_line("x", line, 1, 64).unwrap_err().code, ErrorCode::BadRequest, "{line:?}");
        }
    }

    #[test]
    fn passwords_are_neither_short_nor_endless() {
        assert_eq!(check_password("sechs!"), Ok(()));
        assert!(check_password("fünf").is_err() && check_password(&"x".repeat(129)).is_err());
    }
}
