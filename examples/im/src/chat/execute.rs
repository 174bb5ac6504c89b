//! What commands do.

use im::client::RequestError;
use im::protocol::{
    AcceptFriend, ApplyFriend, ChangePassword, Conversation, CreateGroup, CreateTeam, DeleteFriend,
    DeleteTeam, FindGroups, FindUsers, Friends, GroupMembers, History, JoinGroup, LeaveGroup,
    ListConversations, LogIn, LogOut, MarkRead, MoveToTeam, MultiSend, RefuseFriend, Register, RenameTeam,
    Request, Send, SentToOne, SetProfile, SetRemark, SetStatus, UserId,
};

use super::command::{Command, HELP, Where, Who};
use super::lines;
use super::password;
use super::user::{Context, Phase, User};

type WithUsers = Box<dyn FnOnce(&mut User, &mut Context<'_, '_>, Vec<UserId>)>;

impl User {
    /// Begins a command. It ends with one call of [`succeed`](Self::succeed) or [`fail`](Self::fail).
    pub(super) fn execute(&mut self, cx: &mut Context<'_, '_>, command: Command) {
        match command {
            Command::Help => {
                self.print(HELP);
                self.succeed(cx, "");
            }
            Command::Quit => {
                self.leave(cx);
                self.succeed(cx, "");
            }
            Command::Wait { count, time } => self.wait(cx, count, time),
            Command::Register { .. }
            | Command::LogIn { .. }
            | Command::LogOut
            | Command::ChangePassword { .. }
            | Command::SetStatus(_)
            | Command::SetNickname(_)
            | Command::SetSignature(_)
            | Command::FindUsers(_) => self.execute_account(cx, command),
            Command::Friends
            | Command::Add { .. }
            | Command::Accept(_)
            | Command::Refuse(_)
            | Command::Remove(_)
            | Command::Remark { .. }
            | Command::CreateTeam(_)
            | Command::DeleteTeam(_)
            | Command::RenameTeam { .. }
            | Command::MoveToTeam { .. } => self.execute_friends(cx, command),
            Command::CreateGroup(_)
            | Command::JoinGroup(_)
            | Command::LeaveGroup(_)
            | Command::Members(_)
            | Command::FindGroups(_) => self.execute_groups(cx, command),
            Command::Say { .. }
            | Command::SayToSeveral { .. }
            | Command::SayToCurrent(_)
            | Command::SetCurrent(_)
            | Command::History { .. }
            | Command::MarkRead { .. }
            | Command::Conversations => self.execute_messages(cx, command),
        }
    }

    fn execute_account(&mut self, cx: &mut Context<'_, '_>, command: Command) {
        match command {
            Command::Register { name, password } => {
                let Some(password) = self.password(cx, password) else { return };
                let register = Register { name, password, nickname: String::new() };
                self.ask(cx, &register, |_, reply| format!("user={}", reply.user));
            }
            Command::LogIn { name, password, client } => {
                let Some(password) = self.password(cx, password) else { return };
                let client = client.unwrap_or(self.settings.client);
                let log_in = LogIn { name, password, client, status: self.settings.status };
                cx.log_in(&log_in);
                self.trying = Some(log_in);
            }
            Command::LogOut => {
                cx.acknowledge_noted();
                cx.request(&LogOut {}, |user, cx, reply| match reply {
                    Ok(_) => {
                        // The server closes the connection now, and the next one is nobody's.
                        user.settings.log_in = None;
                        user.names.clear();
                        user.current = None;
                        user.phase = Phase::NotReady;
                        cx.forget_positions();
                        user.succeed(cx, "");
                    }
                    Err(error) => user.fail_for(cx, &error),
                });
            }
            Command::ChangePassword { old, new } => {
                let change = ChangePassword { old, new };
                let log_in = self.settings.log_in.as_ref();
                let changed = log_in.map(|log_in| LogIn { password: change.new.clone(), ..log_in.clone() });
                self.ask(cx, &change, |user, _| {
                    user.settings.log_in = changed;
                    String::new()
                });
            }
            Command::SetStatus(status) => {
                self.ask(cx, &SetStatus { status }, move |user, _| {
                    user.settings.status = status;
                    if let Some(log_in) = &mut user.settings.log_in {
                        log_in.status = status;
                    }
                    String::new()
                });
            }
            Command::SetNickname(nickname) => {
                let change = SetProfile { nickname: Some(nickname), ..SetProfile::default() };
                self.ask(cx, &change, |_, profile| lines::profile(&profile));
            }
            Command::SetSignature(signature) => {
                let change = SetProfile { signature: Some(signature), ..SetProfile::default() };
                self.ask(cx, &change, |_, profile| lines::profile(&profile));
            }
            Command::FindUsers(name) => {
                self.ask(cx, &FindUsers { name: Some(name), user: None }, |user, found| {
                    for profile in &found.users {
                        user.note(profile);
                        user.print(format_args!("user {}", lines::profile(profile)));
                    }
                    format!("count={}", found.users.len())
                });
            }
            other => log::error!("{other:?} has nothing to do with accounts"),
        }
    }

    fn execute_friends(&mut self, cx: &mut Context<'_, '_>, command: Command) {
        match command {
            Command::Friends => self.ask(cx, &Friends {}, |user, list| {
                for friend in &list.friends {
                    user.note(&friend.profile);
                    user.print(format_args!(
                        "friend {} remark={} team={} {}",
                        lines::profile(&friend.profile),
                        lines::quoted(&friend.remark),
                        lines::quoted(&friend.team),
                        lines::devices(&friend.presence)
                    ));
                }
                for team in &list.teams {
                    user.print(format_args!("team name={}", lines::quoted(team)));
                }
                for application in &list.applications {
                    user.note(&application.profile);
                    user.print(format_args!(
                        "application {} time={} text={}",
                        lines::profile(&application.profile),
                        application.time,
                        lines::quoted(&application.text)
                    ));
                }
                format!(
                    "friends={} teams={} applications={}",
                    list.friends.len(),
                    list.teams.len(),
                    list.applications.len()
                )
            }),
            Command::Add { user, text } => self.ask_about(cx, user, |user| ApplyFriend { user, text }),
            Command::Accept(user) => self.ask_about(cx, user, |user| AcceptFriend { user }),
            Command::Refuse(user) => self.ask_about(cx, user, |user| RefuseFriend { user }),
            Command::Remove(user) => self.ask_about(cx, user, |user| DeleteFriend { user }),
            Command::Remark { user, text } => {
                self.ask_about(cx, user, |user| SetRemark { user, remark: text });
            }
            Command::CreateTeam(team) => self.ask(cx, &CreateTeam { team }, |_, _| String::new()),
            Command::DeleteTeam(team) => self.ask(cx, &DeleteTeam { team }, |_, _| String::new()),
            Command::RenameTeam { team, name } => {
                self.ask(cx, &RenameTeam { team, name }, |_, _| String::new());
            }
            Command::MoveToTeam { user, team } => {
                self.ask_about(cx, user, |user| MoveToTeam { user, team });
            }
            other => log::error!("{other:?} has nothing to do with friends"),
        }
    }

    fn execute_groups(&mut self, cx: &mut Context<'_, '_>, command: Command) {
        match command {
            Command::CreateGroup(name) => {
                self.ask(cx, &CreateGroup { name }, |_, reply| format!("group={}", reply.group));
            }
            Command::JoinGroup(group) => self.ask(cx, &JoinGroup { group }, |_, _| String::new()),
            Command::LeaveGroup(group) => self.ask(cx, &LeaveGroup { group }, |_, _| String::new()),
            Command::Members(group) => self.ask(cx, &GroupMembers { group }, |user, reply| {
                for member in &reply.members {
                    user.note(&member.profile);
                    let (profile, devices) =
                        (lines::profile(&member.profile), lines::devices(&member.presence));
                    user.print(format_args!("member {profile} {devices}"));
                }
                format!("count={}", reply.members.len())
            }),
            Command::FindGroups(name) => self.ask(cx, &FindGroups { name }, |user, found| {
                for group in &found.groups {
                    let (name, members) = (lines::quoted(&group.name), group.members);
                    user.print(format_args!(
                        "group found group={} members={members} name={name}",
                        group.group
                    ));
                }
                format!("count={}", found.groups.len())
            }),
            other => log::error!("{other:?} has nothing to do with groups"),
        }
    }

    fn execute_messages(&mut self, cx: &mut Context<'_, '_>, command: Command) {
        match command {
            Command::Say { to, text } => self.with_conversation(cx, to, |user, cx, conversation| {
                let client_id = user.client_id();
                user.send(cx, Send { conversation, client_id, text });
            }),
            Command::SayToCurrent(text) => match self.current {
                Some(conversation) => {
                    let client_id = self.client_id();
                    self.send(cx, Send { conversation, client_id, text });
                }
                None => self.fail(cx, "usage", "to whom? say it with /to"),
            },
            Command::SetCurrent(to) => self.with_conversation(cx, to, |user, cx, conversation| {
                user.current = Some(conversation);
                user.succeed(cx, format_args!("in={}", lines::conversation(conversation)));
            }),
            Command::SayToSeveral { users, text } => {
                self.with_users(cx, users, Vec::new(), |user, cx, users| {
                    let multi = MultiSend { users, client_id: user.client_id(), text };
                    let users = multi.users.clone();
                    user.ask(cx, &multi, move |user, reply| {
                        for (to, result) in users.iter().zip(&reply.results) {
                            match result {
                                SentToOne::Sent(sent) => user.print(format_args!(
                                    "sent in=user:{to} number={} position={} time={}",
                                    sent.number, sent.position, sent.time
                                )),
                                SentToOne::Failed(failure) => user.print(format_args!(
                                    "not-sent in=user:{to} {} {}",
                                    lines::code(failure.code),
                                    lines::quoted(&failure.text)
                                )),
                            }
                        }
                        format!("count={}", reply.results.len())
                    });
                });
            }
            Command::History { of, before, limit } => {
                self.with_conversation(cx, of, move |user, cx, conversation| {
                    let history = History { conversation, before, limit };
                    user.ask(cx, &history, |user, page| {
                        for message in &page.messages {
                            user.print(lines::message("history", message, user.name(message.sender)));
                        }
                        format!("count={} more={}", page.messages.len(), page.more)
                    });
                });
            }
            Command::MarkRead { of, number } => {
                self.with_conversation(cx, of, move |user, cx, conversation| {
                    user.ask(cx, &MarkRead { conversation, number }, |_, _| String::new());
                });
            }
            Command::Conversations => self.ask(cx, &ListConversations {}, |user, reply| {
                for state in &reply.conversations {
                    let place = lines::conversation(state.conversation);
                    let other = state.read_by_other.map(|number| format!(" read-by-other={number}"));
                    user.print(format_args!(
                        "conversation in={place} last={} read={}{} name={}",
                        state.last,
                        state.read,
                        other.unwrap_or_default(),
                        lines::quoted(&state.name)
                    ));
                }
                format!("count={}", reply.conversations.len())
            }),
            other => log::error!("{other:?} has nothing to do with messages"),
        }
    }

    /// Sends a message, and sends it again if its answer is lost: it is stored once.
    pub(super) fn send(&mut self, cx: &mut Context<'_, '_>, message: Send) {
        let again = message.clone();
        cx.request(&message, |user, cx, reply| match reply {
            Ok(sent) => {
                let place = lines::conversation(again.conversation);
                user.succeed(
                    cx,
                    format_args!(
                        "in={place} number={} position={} time={} duplicate={}",
                        sent.number, sent.position, sent.time, sent.duplicate
                    ),
                );
            }
            Err(RequestError::Lost) if user.phase == Phase::LoggedIn => user.lost = Some(again),
            Err(error) => user.fail_for(cx, &error),
        });
    }

    /// Sends the request of a command; `show` says what follows `ok COMMAND`.
    fn ask<R: Request + 'static>(
        &mut self,
        cx: &mut Context<'_, '_>,
        request: &R,
        show: impl FnOnce(&mut Self, R::Reply) -> String + 'static,
    ) {
        cx.request(request, |user, cx, reply| match reply {
            Ok(reply) => {
                let fields = show(user, reply);
                user.succeed(cx, fields);
            }
            Err(error) => user.fail_for(cx, &error),
        });
    }

    /// The same about a user, whose number has perhaps to be found first.
    fn ask_about<R: Request + 'static>(
        &mut self,
        cx: &mut Context<'_, '_>,
        who: Who,
        request: impl FnOnce(UserId) -> R + 'static,
    ) {
        self.with_user(cx, who, |user, cx, number| {
            user.ask(cx, &request(number), move |_, _| format!("user={number}"));
        });
    }

    fn with_conversation(
        &mut self,
        cx: &mut Context<'_, '_>,
        place: Where,
        then: impl FnOnce(&mut Self, &mut Context<'_, '_>, Conversation) + 'static,
    ) {
        match place {
            Where::Group(group) => then(self, cx, Conversation::Group(group)),
            Where::User(who) => {
                self.with_user(cx, who, |user, cx, number| then(user, cx, Conversation::User(number)));
            }
        }
    }

    /// Finds all users one after the other.
    fn with_users(
        &mut self,
        cx: &mut Context<'_, '_>,
        mut left: Vec<Who>,
        mut found: Vec<UserId>,
        then: impl FnOnce(&mut Self, &mut Context<'_, '_>, Vec<UserId>) + 'static,
    ) {
        if left.is_empty() {
            return then(self, cx, found);
        }
        let first = left.remove(0);
        // Boxed, as it would contain itself otherwise.
        let then: WithUsers = Box::new(then);
        self.with_user(cx, first, |user, cx, number| {
            found.push(number);
            user.with_users(cx, left, found, then);
        });
    }

    fn with_user(
        &mut self,
        cx: &mut Context<'_, '_>,
        who: Who,
        then: impl FnOnce(&mut Self, &mut Context<'_, '_>, UserId) + 'static,
    ) {
        let name = match who {
            Who::Number(number) => return then(self, cx, number),
            Who::Name(name) => name,
        };
        let is_it = |known: &str| known.eq_ignore_ascii_case(&name);
        if let Some((&number, _)) = self.names.iter().find(|(_, known)| is_it(known)) {
            return then(self, cx, number);
        }
        cx.request(&FindUsers { name: Some(name.clone()), user: None }, move |user, cx, reply| {
            let found = match reply {
                Ok(found) => found.users.into_iter().find(|profile| profile.name.eq_ignore_ascii_case(&name)),
                Err(error) => return user.fail_for(cx, &error),
            };
            match found {
                Some(profile) => {
                    user.note(&profile);
                    then(user, cx, profile.user);
                }
                None => user.fail(cx, "no_such_user", &format!("there is no user {name}")),
            }
        });
    }

    /// The password of a command, or else of the options.
    fn password(&mut self, cx: &mut Context<'_, '_>, given: Option<String>) -> Option<String> {
        let password = given.or_else(|| self.settings.password.clone());
        if password.is_none() {
            let text =
                format!("there is no password: give it, or --password-file, or set {}", password::VARIABLE);
            self.fail(cx, "usage", &text);
        }
        password
    }
}
