//! Users, their passwords and profiles.

use rusqlite::{ErrorCode as SqliteCode, Row, params};

use super::{Store, StoreError};
use crate::protocol::{ErrorCode, Profile, UserId};

/// Most users that a search finds.
const FOUND: i64 = 50;

/// What a log-in is checked against.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) user: UserId,
    /// A hash, in PHC format.
    pub(crate) password: String,
}

impl Store<'_> {
    /// Makes a user.
    pub(crate) fn create_user(
        &self,
        name: &str,
        password: &str,
        nickname: &str,
    ) -> Result<UserId, StoreError> {
        let inserted = self.execute(
            "INSERT INTO users (name, password, nickname, created) VALUES (?1, ?2, ?3, ?4)",
            params![name, password, nickname, self.now],
        );
        match inserted {
            Err(StoreError::Database(error))
                if error.sqlite_error_code() == Some(SqliteCode::ConstraintViolation) =>
            {
                Err(StoreError::refused(
                    ErrorCode::NameTaken,
                    "a user of this name exists: choose another one",
                ))
            }
            Err(error) => Err(error),
            Ok(_) => Ok(UserId(self.connection.last_insert_rowid())),
        }
    }

    pub(crate) fn credentials_by_name(&self, name: &str) -> Result<Option<Credentials>, StoreError> {
        self.row("SELECT id, password FROM users WHERE name = ?1", [name], read_credentials)
    }

    pub(crate) fn credentials_of(&self, user: UserId) -> Result<Option<Credentials>, StoreError> {
        self.row("SELECT id, password FROM users WHERE id = ?1", [user.0], read_credentials)
    }

    /// Replaces a password, unless it was replaced since the old one was checked.
    pub(crate) fn set_password(&self, checked: &Credentials, password: &str) -> Result<(), StoreError> {
        let changed = self.execute(
            "UPDATE users SET password = ?1 WHERE id = ?2 AND password = ?3",
            params![password, checked.user.0, checked.password],
        )?;
        if changed == 0 { Err(password_replaced()) } else { Ok(()) }
    }

    /// Fails if the password was replaced since it was checked.
    pub(super) fn check_still_valid(&self, checked: &Credentials) -> Result<(), StoreError> {
        let now = self.credentials_of(checked.user)?;
        if now.is_some_and(|now| now.password == checked.password) {
            Ok(())
        } else {
            Err(password_replaced())
        }
    }

    /// Replaces what is given.
    pub(crate) fn set_profile(
        &self,
        user: UserId,
        nickname: Option<&str>,
        signature: Option<&str>,
    ) -> Result<Profile, StoreError> {
        self.execute(
            "UPDATE users SET nickname = coalesce(?2, nickname), signature = coalesce(?3, signature) WHERE id = ?1",
            params![user.0, nickname, signature],
        )?;
        self.profile(user)
    }

    /// What everybody may know of a user.
    pub(crate) fn profile(&self, user: UserId) -> Result<Profile, StoreError> {
        let found = self.profile_if_any(user)?;
        found.ok_or_else(|| StoreError::refused(ErrorCode::NoSuchUser, "there is no such user"))
    }

    pub(crate) fn profile_if_any(&self, user: UserId) -> Result<Option<Profile>, StoreError> {
        self.row("SELECT id, name, nickname, signature FROM users WHERE id = ?1", [user.0], read_profile)
    }

    /// Users whose names begin with a text.
    pub(crate) fn users_by_prefix(&self, prefix: &str) -> Result<Vec<Profile>, StoreError> {
        self.rows(
            "SELECT id, name, nickname, signature FROM users WHERE name >= ?1 AND name < ?2 ORDER BY name LIMIT ?3",
            params![prefix, end_of_prefix(prefix), FOUND],
            read_profile,
        )
    }
}

/// A text behind all that begin with `prefix`, for comparisons that do without an index on patterns.
pub(super) fn end_of_prefix(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}

fn password_replaced() -> StoreError {
    StoreError::refused(ErrorCode::WrongPassword, "the password was changed in the meantime")
}

fn read_credentials(row: &Row<'_>) -> rusqlite::Result<Credentials> {
    Ok(Credentials { user: UserId(row.get(0)?), password: row.get(1)? })
}

/// Reads a profile from the first four columns: id, name, nickname, signature.
pub(super) fn read_profile(row: &Row<'_>) -> rusqlite::Result<Profile> {
    Ok(Profile {
        user: UserId(row.get(0)?),
        name: row.get(1)?,
        nickname: row.get(2)?,
        signature: row.get(3)?,
    })
}
