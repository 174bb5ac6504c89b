//! The user at the terminal, as a handler of the client: what the server says becomes lines, and lines become commands.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use campana::connection::ConnectError;
use campana::{CloseReason, LoopContext, LoopHandle};
use im::client::{Arrival, ClientContext, ClientHandler, RequestError, ServerEvent};
use im::protocol::{
    ClientType, Conversation, FriendChange, Friends, GroupChange, KickReason, LogIn, LoggedIn, Message,
    Profile, Send, Status, UserId,
};

use super::input::{Input, Lines};
use super::{command, lines};
use crate::support;

pub(super) type Context<'a, 'b> = ClientContext<'a, 'b, User>;

/// The timer of `/wait`.
const WAIT: u64 = 1;

/// What the options say.
pub(super) struct Settings {
    /// Who is logged in at the start.
    pub(super) log_in: Option<LogIn>,
    /// What `/register` and `/login` take if they name no password.
    pub(super) password: Option<String>,
    pub(super) client: ClientType,
    pub(super) status: Status,
    pub(super) strict: bool,
    /// Set when the process has to end with status 1.
    pub(super) failed: Arc<AtomicBool>,
    pub(super) lines: Lines,
    pub(super) event_loop: LoopHandle,
}

/// The user.
pub(crate) struct User {
    pub(super) settings: Settings,
    /// The log-in that `/login` tries.
    pub(super) trying: Option<LogIn>,
    /// Names of users, as far as they have been heard of.
    pub(super) names: HashMap<UserId, String>,
    /// Where lines go that are no commands.
    pub(super) current: Option<Conversation>,
    pub(super) phase: Phase,
    /// The command under way.
    running: Option<String>,
    /// A message whose answer was lost, to be sent again.
    pub(super) lost: Option<Send>,
    wait: Option<Wait>,
    /// Messages that came and that no `/wait` has waited for.
    came: u64,
    run: u128,
    sent: u64,
}

/// How far the user is with the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// There has been no connection yet.
    Connecting,
    /// There is none at the moment, or it isn't logged in yet.
    NotReady,
    /// Nobody is logged in, and nobody need be.
    Anonymous,
    LoggedIn,
    /// No command is done any more.
    Leaving,
}

#[derive(Clone, Copy)]
struct Wait {
    count: u64,
    until: Instant,
}

impl User {
    pub(super) fn new(settings: Settings) -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            settings,
            trying: None,
            names: HashMap::new(),
            current: None,
            phase: Phase::Connecting,
            running: None,
            lost: None,
            wait: None,
            came: 0,
            run: since_1970.as_micros() ^ u128::from(std::process::id()) << 52,
            sent: 0,
        }
    }

    /// Prints a line.
    pub(super) fn print(&self, line: impl std::fmt::Display) {
        if let Err(error) = lines::print(line) {
            support::fail(format_args!("standard output: {error}"));
        }
    }

    /// Does the next command, if there is one and none is under way.
    pub(super) fn advance(&mut self, cx: &mut Context<'_, '_>) {
        while self.running.is_none() && matches!(self.phase, Phase::Anonymous | Phase::LoggedIn) {
            match self.settings.lines.next() {
                None => return,
                Some(Input::End) => self.leave(cx),
                Some(Input::Line(line)) => match command::parse(&line) {
                    Ok(None) => {}
                    Ok(Some(command)) => {
                        self.running = Some(command::name(&line));
                        self.execute(cx, command);
                    }
                    Err(misuse) => {
                        self.running = Some(misuse.name);
                        self.fail(cx, "usage", &misuse.text);
                    }
                },
            }
        }
    }

    /// The command under way is done.
    pub(super) fn succeed(&mut self, cx: &mut Context<'_, '_>, fields: impl std::fmt::Display) {
        if let Some(name) = self.running.take() {
            self.print(format_args!("ok {name} {fields}").to_string().trim_end());
        }
        self.advance(cx);
    }

    /// The command under way has failed.
    pub(super) fn fail(&mut self, cx: &mut Context<'_, '_>, code: &str, text: &str) {
        if let Some(name) = self.running.take() {
            self.print(format_args!("error {name} {code} {}", lines::quoted(text)));
        }
        if self.settings.strict {
            self.settings.failed.store(true, Relaxed);
            self.leave(cx);
        }
        self.advance(cx);
    }

    pub(super) fn fail_for(&mut self, cx: &mut Context<'_, '_>, error: &RequestError) {
        match error {
            RequestError::Failed(failure) => self.fail(cx, &lines::code(failure.code), &failure.text),
            RequestError::Lost => self.fail(cx, "connection_lost", &error.to_string()),
        }
    }

    /// Ends without a connection if nothing is left that would need one.
    fn leave_unconnected(&self) {
        if self.running.is_none() && self.lost.is_none() && self.settings.lines.at_end() {
            self.settings.event_loop.quit();
        }
    }

    pub(super) fn leave(&mut self, cx: &mut Context<'_, '_>) {
        match std::mem::replace(&mut self.phase, Phase::Leaving) {
            Phase::LoggedIn => cx.log_out(),
            Phase::Leaving => {}
            Phase::Connecting | Phase::NotReady | Phase::Anonymous => cx.stop(),
        }
    }

    /// A name for a message that no other message has.
    pub(super) fn client_id(&mut self) -> String {
        self.sent += 1;
        format!("{:x}-{}", self.run, self.sent)
    }

    pub(super) fn note(&mut self, profile: &Profile) {
        self.names.insert(profile.user, profile.name.clone());
    }

    pub(super) fn name(&self, user: UserId) -> &str {
        self.names.get(&user).map_or("?", String::as_str)
    }

    pub(super) fn wait(&mut self, cx: &mut Context<'_, '_>, count: u64, time: Duration) {
        self.wait = Some(Wait { count, until: cx.now() + time });
        self.check_wait(cx);
    }

    fn check_wait(&mut self, cx: &mut Context<'_, '_>) {
        let Some(Wait { count, until }) = self.wait else { return };
        let left = until.saturating_duration_since(cx.now());
        if self.came >= count {
            self.wait = None;
            self.came -= count;
            self.succeed(cx, format_args!("messages={count}"));
        } else if left.is_zero() {
            self.wait = None;
            let came = std::mem::take(&mut self.came);
            self.fail(cx, "timeout", &format!("{came} messages came"));
        } else {
            cx.set_timer(left, WAIT);
        }
    }

    fn log_in_failed(&mut self, cx: &mut Context<'_, '_>, error: &RequestError) {
        if self.trying.take().is_some() {
            return self.fail_for(cx, error);
        }
        if error.is_temporary() {
            // With the next connection it is tried again.
            return cx.abort();
        }
        self.running.get_or_insert_with(|| "login".to_owned());
        self.settings.failed.store(true, Relaxed);
        self.phase = Phase::Leaving;
        self.fail_for(cx, error);
        cx.stop();
    }
}

impl ClientHandler for User {
    fn credentials(&self) -> Option<LogIn> {
        self.settings.log_in.clone()
    }

    fn on_connected(&mut self, cx: &mut Context<'_, '_>) {
        self.print(format_args!("connected {}", cx.server_address()));
        let is_anonymous = self.settings.log_in.is_none();
        self.phase = if is_anonymous { Phase::Anonymous } else { Phase::NotReady };
        self.check_wait(cx);
        self.advance(cx);
    }

    fn on_logged_in(&mut self, cx: &mut Context<'_, '_>, answer: Result<LoggedIn, RequestError>) {
        let LoggedIn { profile, acknowledged, .. } = match answer {
            Ok(logged_in) => logged_in,
            Err(error) => return self.log_in_failed(cx, &error),
        };
        self.note(&profile);
        self.phase = Phase::LoggedIn;
        cx.request(&Friends {}, |user, _, list| {
            list.iter().flat_map(|list| &list.friends).for_each(|friend| user.note(&friend.profile));
        });
        let fields = format!("user={} name={} acknowledged={acknowledged}", profile.user, profile.name);
        if let Some(log_in) = self.trying.take() {
            self.settings.log_in = Some(log_in);
            return self.succeed(cx, fields);
        }
        self.print(format_args!("logged-in {fields}"));
        if let Some(message) = self.lost.take() {
            self.send(cx, message);
        }
        self.advance(cx);
    }

    fn on_message(&mut self, cx: &mut Context<'_, '_>, message: Message, arrival: Arrival) {
        match arrival {
            Arrival::New => {
                self.print(lines::message("message", &message, self.name(message.sender)));
                self.came += 1;
                if self.wait.is_some_and(|wait| self.came >= wait.count) {
                    self.check_wait(cx);
                }
            }
            Arrival::Again => {}
            Arrival::OutOfOrder => {
                self.print(lines::message("out-of-order", &message, self.name(message.sender)));
            }
        }
        cx.acknowledge(message.position);
    }

    fn on_event(&mut self, _cx: &mut Context<'_, '_>, event: ServerEvent) {
        match event {
            ServerEvent::CaughtUp(caught_up) => {
                self.print(format_args!("caught-up position={}", caught_up.position));
            }
            ServerEvent::Presence(event) => {
                let (name, devices) = (self.name(event.user), lines::devices(&event.presence));
                self.print(format_args!("presence user={} name={name} {devices}", event.user));
            }
            ServerEvent::Friend(event) => {
                self.note(&event.profile);
                let change = match event.change {
                    FriendChange::Applied => "applied",
                    FriendChange::Accepted => "accepted",
                    FriendChange::Refused => "refused",
                    FriendChange::Deleted => "deleted",
                    _ => "changed",
                };
                self.print(format_args!(
                    "friend {change} {} {} text={}",
                    lines::profile(&event.profile),
                    lines::devices(&event.presence),
                    lines::quoted(&event.text)
                ));
            }
            ServerEvent::Group(event) => {
                let change = match event.change {
                    GroupChange::Joined => "joined",
                    GroupChange::Left => "left",
                    _ => "changed",
                };
                let name = self.name(event.user);
                self.print(format_args!(
                    "group {change} group={} user={} name={name}",
                    event.group, event.user
                ));
            }
            ServerEvent::Read(event) => {
                let (place, name) = (lines::conversation(event.conversation), self.name(event.user));
                let (user, number) = (event.user, event.number);
                self.print(format_args!("read in={place} user={user} name={name} number={number}"));
            }
            ServerEvent::Kicked(kicked) => {
                let reason = match kicked.reason {
                    KickReason::LoggedInElsewhere => "logged_in_elsewhere",
                    KickReason::PasswordChanged => "password_changed",
                    _ => "unknown",
                };
                self.print(format_args!("kicked {reason}"));
                self.settings.failed.store(true, Relaxed);
                self.phase = Phase::Leaving;
            }
            ServerEvent::Stopping => self.print("stopping"),
            event => log::info!("{event:?}"),
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_, '_>, _token: u64) {
        self.check_wait(cx);
    }

    fn on_notified(&mut self, cx: Option<&mut Context<'_, '_>>) {
        // Without a connection a line waits for the next one.
        match cx {
            Some(cx) => self.advance(cx),
            None if self.phase == Phase::NotReady => self.leave_unconnected(),
            None => {}
        }
    }

    fn on_disconnected(&mut self, context: &mut LoopContext, reason: &CloseReason, again: bool) {
        self.print(format_args!("disconnected {}", lines::quoted(&reason.to_string())));
        if again {
            self.phase = Phase::NotReady;
            self.leave_unconnected();
        } else {
            context.quit();
        }
    }

    fn on_connect_failed(
        &mut self,
        context: &mut LoopContext,
        error: &ConnectError,
        retry: Option<Duration>,
    ) {
        if self.phase == Phase::Connecting {
            support::fail(format_args!("can't connect: {error}"));
        }
        let Some(delay) = retry else { return context.quit() };
        self.print(format_args!(
            "unreachable {} again={:.1}s",
            lines::quoted(&error.to_string()),
            delay.as_secs_f64()
        ));
    }
}
