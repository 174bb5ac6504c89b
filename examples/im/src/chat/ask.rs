//! What commands have in common: requests with their results as lines, and names of users.

use im::client::RequestError;
use im::protocol::{Conversation, FindUsers, Request, Send, UserId};

use super::command::{Where, Who};
use super::lines;
use super::user::{Context, Phase, User};

type WithUsers = Box<dyn FnOnce(&mut User, &mut Context<'_, '_>, Vec<UserId>)>;

impl User {
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
    pub(super) fn ask<R: Request + 'static>(
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
    pub(super) fn ask_about<R: Request + 'static>(
        &mut self,
        cx: &mut Context<'_, '_>,
        who: Who,
        request: impl FnOnce(UserId) -> R + 'static,
    ) {
        self.with_user(cx, who, |user, cx, number| {
            user.ask(cx, &request(number), move |_, _| format!("user={number}"));
        });
    }

    pub(super) fn with_conversation(
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
    pub(super) fn with_users(
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
}
