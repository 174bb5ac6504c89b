//! Lines of output: a word that says what it is, then `key=value`, with what people wrote as JSON strings.

use std::fmt::Display;
use std::io::{self, Write};

use im::protocol::{Conversation, ErrorCode, Message, Presence, Profile, Status};

/// Prints a line at once.
///
/// # Errors
///
/// If nobody reads it.
pub(crate) fn print(line: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// A text on one line, whatever is in it.
pub(crate) fn quoted(text: &str) -> String {
    // Its only control characters are escaped ones: a terminal takes none for a command, of which some are 0x80 to 0x9f.
    let json = serde_json::to_string(text).unwrap_or_default();
    let mut quoted = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_control() {
            quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            quoted.push(character);
        }
    }
    quoted
}

pub(crate) fn conversation(conversation: Conversation) -> String {
    match conversation {
        Conversation::User(user) => format!("user:{user}"),
        Conversation::Group(group) => format!("group:{group}"),
    }
}

/// A line for a message; `name` is its sender's, if it is known.
pub(crate) fn message(kind: &str, message: &Message, name: &str) -> String {
    format!(
        "{kind} in={} number={} from={} name={name} client={} position={} time={} id={} text={}",
        conversation(message.conversation),
        message.number,
        message.sender,
        message.client.name(),
        message.position,
        message.time,
        quoted(&message.client_id),
        quoted(&message.text)
    )
}

/// `user=17 name=ann nickname="Ann" signature=""`
pub(crate) fn profile(profile: &Profile) -> String {
    let Profile { user, name, nickname, signature } = profile;
    format!("user={user} name={name} nickname={} signature={}", quoted(nickname), quoted(signature))
}

/// `devices=pc:online,web:away`, or `devices=none` for who is offline.
pub(crate) fn devices(presence: &Presence) -> String {
    let devices: Vec<String> =
        presence.iter().map(|device| format!("{}:{}", device.client.name(), status(device.status))).collect();
    format!("devices={}", if devices.is_empty() { "none".to_owned() } else { devices.join(",") })
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Online => "online",
        Status::Busy => "busy",
        Status::Away => "away",
        Status::Invisible => "invisible",
    }
}

/// The code as the protocol has it: `not_a_friend`.
pub(crate) fn code(code: ErrorCode) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(name)) => name,
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use im::protocol::{ClientType, Device, GroupId, UserId};

    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_it_says() {
        let sent = Message {
            position: 9,
            conversation: Conversation::Group(GroupId(5)),
            number: 2,
            sender: UserId(17),
            client: ClientType::Web,
            client_id: "c 1".to_owned(),
            time: 1000,
            text: "two\nlines \"\u{1b}[2J\u{7f}\u{9b}2J".to_owned(),
        };
        assert_eq!(
            message("message", &sent, "ann"),
            r#"message in=group:5 number=2 from=17 name=ann client=web position=9 time=1000 id="c 1" text="two\nlines \"\u001b[2J\u007f\u009b2J""#
        );
    }

    #[test]
    fn nowhere_is_none() {
        assert_eq!(devices(&vec![]), "devices=none");
        let pc = Device { client: ClientType::Pc, status: Status::Busy };
        let web = Device { client: ClientType::Web, status: Status::Online };
        assert_eq!(devices(&vec![pc, web]), "devices=pc:busy,web:online");
    }

    #[test]
    fn codes_are_those_of_the_protocol() {
        assert_eq!(code(ErrorCode::NotAFriend), "not_a_friend");
    }
}
