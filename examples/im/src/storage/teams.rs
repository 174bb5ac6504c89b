//! The teams into which a user sorts friends.

use rusqlite::params;

use super::friends::not_a_friend;
use super::{Store, StoreError};
use crate::protocol::{ErrorCode, UserId};

/// Most teams of a user.
const TEAMS: i64 = 100;

impl Store<'_> {
    pub(super) fn teams(&self, user: UserId) -> Result<Vec<String>, StoreError> {
        self.rows("SELECT name FROM teams WHERE user = ?1 ORDER BY name", [user.0], |row| row.get(0))
    }

    pub(crate) fn create_team(&self, user: UserId, team: &str) -> Result<(), StoreError> {
        self.require_no_team(user, team)?;
        if self.number("SELECT count(*) FROM teams WHERE user = ?1", [user.0])? >= TEAMS {
            return Err(StoreError::refused(ErrorCode::LimitReached, "you have too many teams"));
        }
        self.execute("INSERT INTO teams (user, name) VALUES (?1, ?2)", params![user.0, team]).map(drop)
    }

    /// Renames a team; its friends stay in it.
    pub(crate) fn rename_team(&self, user: UserId, team: &str, name: &str) -> Result<(), StoreError> {
        self.require_team(user, team)?;
        if team != name {
            self.require_no_team(user, name)?;
        }
        let sql = "UPDATE teams SET name = ?3 WHERE user = ?1 AND name = ?2";
        self.execute(sql, params![user.0, team, name]).map(drop)
    }

    /// Removes a team; its friends stay friends.
    pub(crate) fn delete_team(&self, user: UserId, team: &str) -> Result<(), StoreError> {
        self.require_team(user, team)?;
        self.execute(
            "UPDATE friendships SET team = NULL WHERE user = ?1 AND team = ?2",
            params![user.0, team],
        )?;
        self.execute("DELETE FROM teams WHERE user = ?1 AND name = ?2", params![user.0, team]).map(drop)
    }

    /// Puts a friend into a team, or out of any.
    pub(crate) fn move_to_team(&self, user: UserId, friend: UserId, team: &str) -> Result<(), StoreError> {
        let team = (!team.is_empty()).then_some(team);
        if let Some(team) = team {
            self.require_team(user, team)?;
        }
        let sql = "UPDATE friendships SET team = ?3 WHERE user = ?1 AND friend = ?2";
        let changed = self.execute(sql, params![user.0, friend.0, team])?;
        if changed == 0 { Err(not_a_friend()) } else { Ok(()) }
    }

    fn has_team(&self, user: UserId, team: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM teams WHERE user = ?1 AND name = ?2";
        Ok(self.row(sql, params![user.0, team], |_| Ok(()))?.is_some())
    }

    fn require_team(&self, user: UserId, team: &str) -> Result<(), StoreError> {
        if self.has_team(user, team)? {
            return Ok(());
        }
        Err(StoreError::refused(ErrorCode::NoSuchTeam, "you have no team of this name"))
    }

    fn require_no_team(&self, user: UserId, team: &str) -> Result<(), StoreError> {
        if self.has_team(user, team)? {
            return Err(StoreError::refused(ErrorCode::TeamExists, "you have a team of this name"));
        }
        Ok(())
    }
}
