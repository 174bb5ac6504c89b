//! What can be typed: lines into commands.

use std::str::FromStr;
use std::time::Duration;

use im::protocol::{ClientType, GroupId, Status, UserId};

/// The commands, for people.
pub(crate) const HELP: &str = "\
/register NAME [PASSWORD]            make a user; without PASSWORD that of the options is taken
/login NAME [PASSWORD] [CLIENT]      CLIENT is mobile, pc or web
/logout
/password OLD NEW
/status online|busy|away|invisible
/nickname TEXT  /signature TEXT
/find NAME                           users whose names begin so
/friends                             friends, teams, and who asks to be a friend
/add USER [TEXT]  /accept USER  /refuse USER  /remove USER
/remark USER [TEXT]
/team create|delete NAME  /team rename NAME NAME  /team move USER [NAME]
/msg USER TEXT  /multi USER,USER.. TEXT
/group create NAME  /group join|leave|members ID  /group find NAME  /group msg ID TEXT
/to USER|group:ID                    TEXT without a command goes there from now on
/history USER|group:ID [BEFORE] [LIMIT]
/read USER|group:ID NUMBER
/conversations
/wait COUNT [SECONDS]                until so many more messages have come; 30 s unless it is said
/help  /quit
USER is a name or a number; @NAME is a name even if it is all digits.";

/// A user as typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    Number(UserId),
    Name(String),
}

/// A conversation as typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Where {
    User(Who),
    Group(GroupId),
}

/// A command as typed.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Command {
    Help,
    Quit,
    Register { name: String, password: Option<String> },
    LogIn { name: String, password: Option<String>, client: Option<ClientType> },
    LogOut,
    ChangePassword { old: String, new: String },
    SetStatus(Status),
    SetNickname(String),
    SetSignature(String),
    FindUsers(String),
    Friends,
    Add { user: Who, text: String },
    Accept(Who),
    Refuse(Who),
    Remove(Who),
    Remark { user: Who, text: String },
    CreateTeam(String),
    DeleteTeam(String),
    RenameTeam { team: String, name: String },
    MoveToTeam { user: Who, team: String },
    Say { to: Where, text: String },
    SayToSeveral { users: Vec<Who>, text: String },
    SayToCurrent(String),
    SetCurrent(Where),
    CreateGroup(String),
    JoinGroup(GroupId),
    LeaveGroup(GroupId),
    Members(GroupId),
    FindGroups(String),
    History { of: Where, before: Option<i64>, limit: Option<u32> },
    MarkRead { of: Where, number: i64 },
    Conversations,
    Wait { count: u64, time: Duration },
}

/// A line that is no command: which word it began with, and what is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Misuse {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// What lines of output call the command of a line: its word; both, of `/team` and `/group`.
pub(crate) fn name(line: &str) -> String {
    let Some(command) = line.strip_prefix('/') else { return "say".to_owned() };
    let mut words = command.split_whitespace();
    match (words.next(), words.next()) {
        (Some(first @ ("team" | "group")), Some(second)) => format!("{first}-{second}"),
        (first, _) => first.unwrap_or("/").to_owned(),
    }
}

/// Reads a line; nothing if it is empty.
pub(crate) fn parse(line: &str) -> Result<Option<Command>, Misuse> {
    let line = line.trim_end_matches(['\r', '\n']);
    if line.trim().is_empty() {
        return Ok(None);
    }
    let name = name(line);
    let misuse = |text: String| Misuse { name: name.clone(), text };
    let Some(rest) = line.strip_prefix('/') else { return Ok(Some(Command::SayToCurrent(line.to_owned()))) };
    let mut words = Words(rest);
    let command = words.word("a command").and_then(|word| words.command(word)).map_err(misuse)?;
    if !words.0.trim().is_empty() {
        return Err(misuse(format!("{:?} is too much", words.0.trim())));
    }
    Ok(Some(command))
}

/// What is left of a line.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn command(&mut self, word: &str) -> Result<Command, String> {
        Ok(match word {
            "help" => Command::Help,
            "quit" => Command::Quit,
            "register" => Command::Register { name: self.owned("NAME")?, password: self.optional_word() },
            "login" => Command::LogIn {
                name: self.owned("NAME")?,
                password: self.optional_word(),
                client: self.optional("CLIENT")?,
            },
            "logout" => Command::LogOut,
            "password" => Command::ChangePassword { old: self.owned("OLD")?, new: self.owned("NEW")? },
            "status" => Command::SetStatus(self.value("online, busy, away or invisible")?),
            "nickname" => Command::SetNickname(self.text()),
            "signature" => Command::SetSignature(self.text()),
            "find" => Command::FindUsers(self.owned("NAME")?),
            "friends" => Command::Friends,
            "add" => Command::Add { user: self.value("USER")?, text: self.text() },
            "accept" => Command::Accept(self.value("USER")?),
            "refuse" => Command::Refuse(self.value("USER")?),
            "remove" => Command::Remove(self.value("USER")?),
            "remark" => Command::Remark { user: self.value("USER")?, text: self.text() },
            "team" => self.team()?,
            "msg" => {
                let to = Where::User(self.value("USER")?);
                Command::Say { to, text: self.needed_text()? }
            }
            "multi" => {
                let users = self.word("USER,USER..")?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                Command::SayToSeveral { users, text: self.needed_text()? }
            }
            "group" => self.group()?,
            "to" => Command::SetCurrent(self.value("USER or group:ID")?),
            "history" => Command::History {
                of: self.value("USER or group:ID")?,
                before: self.optional("BEFORE")?,
                limit: self.optional("LIMIT")?,
            },
            "read" => {
                Command::MarkRead { of: self.value("USER or group:ID")?, number: self.value("NUMBER")? }
            }
            "conversations" => Command::Conversations,
            "wait" => {
                let (count, seconds) = (self.value("COUNT")?, self.optional("SECONDS")?.unwrap_or(30.0));
                let time =
                    Duration::try_from_secs_f64(seconds).map_err(|error| format!("SECONDS: {error}"))?;
                Command::Wait { count, time }
            }
            _ => return Err(format!("there is no /{word}; /help shows what there is")),
        })
    }

    fn team(&mut self) -> Result<Command, String> {
        Ok(match self.word("create, delete, rename or move")? {
            "create" => Command::CreateTeam(self.needed_text()?),
            "delete" => Command::DeleteTeam(self.needed_text()?),
            "rename" => Command::RenameTeam { team: self.owned("NAME")?, name: self.needed_text()? },
            "move" => Command::MoveToTeam { user: self.value("USER")?, team: self.text() },
            word => return Err(format!("there is no /team {word}")),
        })
    }

    fn group(&mut self) -> Result<Command, String> {
        Ok(match self.word("create, join, leave, members, find or msg")? {
            "create" => Command::CreateGroup(self.needed_text()?),
            "join" => Command::JoinGroup(self.group_id()?),
            "leave" => Command::LeaveGroup(self.group_id()?),
            "members" => Command::Members(self.group_id()?),
            "find" => Command::FindGroups(self.needed_text()?),
            "msg" => Command::Say { to: Where::Group(self.group_id()?), text: self.needed_text()? },
            word => return Err(format!("there is no /group {word}")),
        })
    }

    fn group_id(&mut self) -> Result<GroupId, String> {
        self.value("ID").map(GroupId)
    }

    fn optional_word(&mut self) -> Option<String> {
        let rest = self.0.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    fn word(&mut self, what: &str) -> Result<&'a str, String> {
        let rest = self.0.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.0 = rest;
        if word.is_empty() { Err(format!("{what} is missing")) } else { Ok(word) }
    }

    fn owned(&mut self, what: &str) -> Result<String, String> {
        self.word(what).map(str::to_owned)
    }

    fn value<T: FromStr<Err: ToString>>(&mut self, what: &str) -> Result<T, String> {
        let word = self.word(what)?;
        word.parse().map_err(|error: T::Err| format!("{word:?} is not {what}: {}", error.to_string()))
    }

    fn optional<T: FromStr<Err: ToString>>(&mut self, what: &str) -> Result<Option<T>, String> {
        if self.0.trim().is_empty() { Ok(None) } else { self.value(what).map(Some) }
    }

    /// All that is left but for the space before it.
    fn text(&mut self) -> String {
        let text = self.0.strip_prefix(char::is_whitespace).unwrap_or(self.0).to_owned();
        self.0 = "";
        text
    }

    fn needed_text(&mut self) -> Result<String, String> {
        let text = self.text();
        if text.is_empty() { Err("TEXT is missing".to_owned()) } else { Ok(text) }
    }
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text.strip_prefix('@'), text.parse()) {
            (None, Ok(number)) => Ok(Self::Number(UserId(number))),
            (name, _) => match name.unwrap_or(text) {
                "" => Err("the name is empty".to_owned()),
                name => Ok(Self::Name(name.to_owned())),
            },
        }
    }
}

impl FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("group:") {
            Some(number) => match number.parse() {
                Ok(number) => Ok(Self::Group(GroupId(number))),
                Err(_) => Err("a group is a number".to_owned()),
            },
            None => text.parse().map(Self::User),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Command {
        parse(line).unwrap().unwrap()
    }

    fn misuse(line: &str) -> String {
        let misuse = parse(line).unwrap_err();
        format!("{}: {}", misuse.name, misuse.text)
    }

    #[test]
    fn users_are_names_or_numbers() {
        assert_eq!(read("/accept 17"), Command::Accept(Who::Number(UserId(17))));
        assert_eq!(read("/accept ann"), Command::Accept(Who::Name("ann".to_owned())));
        assert_eq!(read("/accept @17"), Command::Accept(Who::Name("17".to_owned())));
        assert!(parse("/accept @").is_err());
    }

    #[test]
    fn the_text_of_a_message_is_what_follows_one_space() {
        let to = Where::User(Who::Name("ann".to_owned()));
        assert_eq!(read("/msg ann  two  spaces \n"), Command::Say { to, text: " two  spaces ".to_owned() });
        assert_eq!(read("hello /you\r\n"), Command::SayToCurrent("hello /you".to_owned()));
    }

    #[test]
    fn what_may_be_left_out_may_be_left_out() {
        let name = || "ann".to_owned();
        assert_eq!(read("/login ann"), Command::LogIn { name: name(), password: None, client: None });
        assert_eq!(
            read("/login ann secret1 web"),
            Command::LogIn {
                name: name(),
                password: Some("secret1".to_owned()),
                client: Some(ClientType::Web)
            }
        );
        let of = Where::Group(GroupId(5));
        assert_eq!(read("/history group:5 100"), Command::History { of, before: Some(100), limit: None });
        assert_eq!(read("/wait 3"), Command::Wait { count: 3, time: Duration::from_secs(30) });
    }

    #[test]
    fn empty_lines_are_nothing() {
        assert_eq!((parse(""), parse(" \t\r\n")), (Ok(None), Ok(None)));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        assert_eq!(misuse("/frobnicate"), "frobnicate: there is no /frobnicate; /help shows what there is");
        assert_eq!(misuse("/msg ann"), "msg: TEXT is missing");
        assert_eq!(misuse("/"), "/: a command is missing");
        assert_eq!(misuse("/friends now"), "friends: \"now\" is too much");
        assert_eq!(
            misuse("/status asleep"),
            "status: \"asleep\" is not online, busy, away or invisible: a status is online, busy, away or invisible"
        );
    }

    #[test]
    fn every_command_of_the_help_is_there() {
        for command in HELP.split_whitespace().filter_map(|word| word.strip_prefix('/')) {
            let unknown = format!("there is no /{command};");
            assert!(!parse(&format!("/{command}")).is_err_and(|misuse| misuse.text.starts_with(&unknown)));
        }
    }
}
