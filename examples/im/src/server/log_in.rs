//! Logging in: a way through three threads, and back to the session.

use std::sync::Arc;
use std::time::Instant;

use super::answers::Asker;
use super::directory::Login;
use super::feed::Feed;
use super::online::Online;
use super::session::{Account, Chat, Cx, Phase};
use super::shared::Shared;
use super::texts;
use crate::passwords::Attempt;
use crate::protocol::{ErrorCode, Failure, LogIn, LoggedIn, MAX_FRAME};
use crate::storage::{Credentials, OpenedDevice};

/// A log-in under way.
struct LogInAttempt {
    shared: Arc<Shared>,
    asker: Asker,
    attempt: Attempt,
    request: LogIn,
}

impl Chat {
    pub(super) fn log_in(&mut self, cx: &mut Cx<'_>, seq: u32, request: LogIn) -> Result<(), Failure> {
        self.require_guest()?;
        texts::check_name(&request.name)?;
        let attempt = self.shared.attempts.begin(&request.name, self.address, cx.now())?;
        self.phase = Phase::Checking;
        let asker = self.asker(cx, seq);
        LogInAttempt { shared: Arc::clone(&self.shared), asker, attempt, request }.look_up();
        Ok(())
    }

    /// Refuses who is somebody already, or about to be.
    pub(super) fn require_guest(&self) -> Result<(), Failure> {
        match self.phase {
            Phase::Guest => Ok(()),
            Phase::Checking => Err(Failure::new(
                ErrorCode::AlreadyLoggedIn,
                "an earlier log-in or registration is being checked",
            )),
            Phase::User(_) => Err(Failure::new(ErrorCode::AlreadyLoggedIn, "you are logged in")),
        }
    }

    fn logged_in(&mut self, cx: &mut Cx<'_>, seq: u32, online: Online, name: String, reply: LoggedIn) {
        let (feed, next) = Feed::begin(reply.acknowledged);
        log::debug!("{}: {name} logged in, {:?}", cx.id(), online.login.client);
        self.phase = Phase::User(Box::new(Account { online, name, feed }));
        cx.set_authenticated();
        cx.codec().set_max(MAX_FRAME);
        self.finish::<LogIn>(cx, seq, &Ok(reply));
        self.go_on(cx, next);
    }
}

impl LogInAttempt {
    /// First, on the reading thread: is there such a user?
    fn look_up(self) {
        let (shared, name) = (Arc::clone(&self.shared), self.request.name.clone());
        shared.storage.read(
            move |store| store.credentials_by_name(&name),
            move |result| match result {
                Ok(found) => self.check(found),
                Err(failure) => self.give_up(failure),
            },
        );
    }

    /// Then, on a thread for passwords: is it the password?
    fn check(self, found: Option<Credentials>) {
        let shared = Arc::clone(&self.shared);
        let (password, hash) =
            (self.request.password.clone(), found.as_ref().map(|found| found.password.clone()));
        shared.passwords.check(password, hash, move |result| match (result, found) {
            (Ok(true), Some(credentials)) => self.open(credentials),
            (Ok(_), _) => self.reject(Failure::new(ErrorCode::WrongPassword, "name or password is wrong")),
            (Err(failure), _) => self.give_up(failure),
        });
    }

    /// Then, on the writing thread: where does the device stand? There the user is online from now on, so that no change of
    /// friends and no message, all of which happen there, can fall between being read from the database and being told.
    fn open(self, credentials: Credentials) {
        let (shared, client) = (Arc::clone(&self.shared), self.request.client);
        shared.storage.write(
            move |store| Ok((store.open_device(&credentials, client)?, store.now())),
            move |result| match result {
                Ok((opened, time)) => self.succeed(opened, time),
                Err(failure) if failure.code == ErrorCode::WrongPassword => self.reject(failure),
                Err(failure) => self.give_up(failure),
            },
        );
    }

    fn succeed(self, opened: OpenedDevice, time: i64) {
        let Self { shared, asker, attempt, request } = self;
        shared.attempts.take_back(attempt);
        let OpenedDevice { profile, position, friends } = opened;
        let login = Login { user: profile.user, client: request.client, session: asker.peer.clone() };
        let online = Online::new(&shared, login, request.status, friends);
        let name = profile.name.clone();
        let reply = LoggedIn { profile, acknowledged: position, time };
        // If the session has ended in the meantime, `online` is dropped with what can't run, and so the user goes offline.
        asker.peer.run(move |chat, cx| chat.logged_in(cx, asker.seq, online, name, reply));
    }

    fn reject(self, failure: Failure) {
        self.shared.attempts.failed(self.attempt, Instant::now());
        answer(self.asker, failure);
    }

    /// It could not be checked, which is not the client's fault.
    fn give_up(self, failure: Failure) {
        self.shared.attempts.take_back(self.attempt);
        answer(self.asker, failure);
    }
}

fn answer(asker: Asker, failure: Failure) {
    let seq = asker.seq;
    asker.peer.run(move |chat, cx| {
        chat.phase = Phase::Guest;
        chat.finish::<LogIn>(cx, seq, &Err(failure));
    });
}
