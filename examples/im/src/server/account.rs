//! Requests about the user's own account, and about who there is.

use std::sync::Arc;
use std::time::Instant;

use super::answers::Asker;
use super::session::{Chat, Cx, Phase};
use super::shared::Shared;
use super::texts;
use crate::passwords::Attempt;
use crate::protocol::{
    ChangePassword, Done, ErrorCode, Failure, FindUsers, Found, KickReason, Register, Registered, SetProfile,
};
use crate::storage::Credentials;

impl Chat {
    pub(super) fn register(&mut self, cx: &mut Cx<'_>, seq: u32, request: Register) -> Result<(), Failure> {
        self.require_guest()?;
        let Register { name, password, nickname } = request;
        texts::check_name(&name)?;
        texts::check_password(&password)?;
        texts::check_line("nickname", &nickname, 0, texts::NAME)?;
        let nickname = if nickname.is_empty() { name.clone() } else { nickname };
        self.phase = Phase::Checking;
        let (asker, shared) = (self.asker(cx, seq), Arc::clone(&self.shared));
        self.shared.passwords.hash(password, move |result| match result {
            Ok(hash) => {
                let create =
                    move |store: &crate::storage::Store<'_>| store.create_user(&name, &hash, &nickname);
                shared.storage.write(create, move |result| {
                    registered(asker, result.map(|user| Registered { user }));
                });
            }
            Err(failure) => registered(asker, Err(failure)),
        });
        Ok(())
    }

    pub(super) fn change_password(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: ChangePassword,
    ) -> Result<(), Failure> {
        texts::check_password(&request.new)?;
        let account = self.account()?;
        let user = account.online.login.user;
        let attempt = self.shared.attempts.begin(&account.name, self.address, cx.now())?;
        let (asker, shared) = (self.asker(cx, seq), Arc::clone(&self.shared));
        self.shared.storage.read(
            move |store| store.credentials_of(user),
            move |result| {
                let change = PasswordChange { shared, asker, attempt, request };
                match result {
                    Ok(Some(credentials)) => change.check(credentials),
                    Ok(None) => change.give_up(Failure::new(ErrorCode::NoSuchUser, "there is no such user")),
                    Err(failure) => change.give_up(failure),
                }
            },
        );
        Ok(())
    }

    pub(super) fn set_profile(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: SetProfile,
    ) -> Result<(), Failure> {
        let SetProfile { nickname, signature } = request;
        texts::check_line("nickname", nickname.as_deref().unwrap_or("-"), 1, texts::NAME)?;
        texts::check_line("signature", signature.as_deref().unwrap_or(""), 0, texts::LINE)?;
        let user = self.account()?.online.login.user;
        self.write::<SetProfile, _>(
            cx,
            seq,
            move |store| store.set_profile(user, nickname.as_deref(), signature.as_deref()),
            |_, profile| profile,
        );
        Ok(())
    }

    pub(super) fn find_users(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: FindUsers,
    ) -> Result<(), Failure> {
        if request.user.is_some() == request.name.is_some() {
            return Err(Failure::new(ErrorCode::BadRequest, "give either user or name"));
        }
        self.read::<FindUsers>(
            cx,
            seq,
            move |store| {
                let users = match (request.user, request.name) {
                    (Some(user), _) => store.profile_if_any(user)?.into_iter().collect(),
                    (None, name) => store.users_by_prefix(&name.unwrap_or_default())?,
                };
                Ok(Found { users })
            },
            |_, _| {},
        );
        Ok(())
    }
}

fn registered(asker: Asker, result: Result<Registered, Failure>) {
    let seq = asker.seq;
    asker.peer.run(move |chat, cx| {
        chat.phase = Phase::Guest;
        chat.finish::<Register>(cx, seq, &result);
    });
}

/// A change of a password under way: checked and hashed on a thread for passwords, then stored.
struct PasswordChange {
    shared: Arc<Shared>,
    asker: Asker,
    attempt: Attempt,
    request: ChangePassword,
}

impl PasswordChange {
    fn check(self, credentials: Credentials) {
        let (shared, old) = (Arc::clone(&self.shared), self.request.old.clone());
        shared.passwords.check(old, Some(credentials.password.clone()), move |result| match result {
            Ok(true) => self.hash(credentials),
            Ok(false) => {
                self.shared.attempts.failed(self.attempt, Instant::now());
                let failure = Failure::new(ErrorCode::WrongPassword, "the old password is wrong");
                self.asker.answer::<ChangePassword>(Err(failure));
            }
            Err(failure) => self.give_up(failure),
        });
    }

    fn hash(self, credentials: Credentials) {
        let (shared, new) = (Arc::clone(&self.shared), self.request.new.clone());
        shared.passwords.hash(new, move |result| match result {
            Ok(hash) => self.store(credentials, hash),
            Err(failure) => self.give_up(failure),
        });
    }

    fn store(self, credentials: Credentials, hash: String) {
        let Self { shared, asker, attempt, .. } = self;
        shared.attempts.take_back(attempt);
        let (user, of_storage) = (credentials.user, Arc::clone(&shared));
        of_storage.storage.write(
            move |store| store.set_password(&credentials, &hash),
            move |result| {
                if result.is_ok() {
                    shared.kick_others(user, &asker.peer, KickReason::PasswordChanged);
                }
                asker.answer::<ChangePassword>(result.map(|()| Done {}));
            },
        );
    }

    /// It could not be checked, which is not the client's fault.
    fn give_up(self, failure: Failure) {
        self.shared.attempts.take_back(self.attempt);
        self.asker.answer::<ChangePassword>(Err(failure));
    }
}
