//! What commands do.

use im::protocol::{
    AcceptFriend, ApplyFriend, ChangePassword, CreateGroup, CreateTeam, DeleteFriend, DeleteTeam, FindGroups,
    FindUsers, Friends, GroupMembers, History, JoinGroup, LeaveGroup, ListConversations, LogIn, LogOut,
    MarkRead, MoveToTeam, MultiSend, RefuseFriend, Register, RenameTeam, Send, SentToOne, SetProfile,
    SetRemark, SetStatus,
};

use super::command::{Command, HELP};
use super::lines;
use super::password;
use super::user::{Context, Phase, User};

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
