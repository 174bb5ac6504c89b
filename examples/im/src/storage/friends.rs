//! Applications and friendships.

use rusqlite::params;

use super::users::read_profile;
use super::{Store, StoreError};
use crate::protocol::{Application, ErrorCode, Friend, FriendList, Presence, Profile, UserId};

/// Most friends of a user: their list has to fit into a frame.
const FRIENDS: i64 = 500;
/// Most applications that wait for a user.
const APPLICATIONS: i64 = 200;

/// Two users between whom something happened.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// The one who asked for it.
    pub(crate) user: Profile,
    pub(crate) other: Profile,
}

/// What an application led to.
#[derive(Clone, Debug)]
pub(crate) enum ApplicationOutcome {
    /// It waits for an answer.
    Waits(Pair),
    /// The other one had applied too.
    Friends(Pair),
}

impl Store<'_> {
    /// The friends of a user, by number alone.
    pub(crate) fn friend_ids(&self, user: UserId) -> Result<Vec<UserId>, StoreError> {
        self.rows("SELECT friend FROM friendships WHERE user = ?1", [user.0], |row| row.get(0).map(UserId))
    }

    pub(crate) fn are_friends(&self, user: UserId, other: UserId) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM friendships WHERE user = ?1 AND friend = ?2";
        Ok(self.row(sql, [user.0, other.0], |_| Ok(()))?.is_some())
    }

    /// Friends, teams and applications. Where friends are is not known here.
    pub(crate) fn friend_list(&self, user: UserId) -> Result<FriendList, StoreError> {
        let friends = self.rows(
            "SELECT u.id, u.name, u.nickname, u.signature, f.remark, f.team
             FROM friendships f JOIN users u ON u.id = f.friend WHERE f.user = ?1 ORDER BY u.name",
            [user.0],
            |row| {
                Ok(Friend {
                    profile: read_profile(row)?,
                    remark: row.get(4)?,
                    team: row.get::<_, Option<_>>(5)?.unwrap_or_default(),
                    presence: Presence::new(),
                })
            },
        )?;
        let applications = self.rows(
            "SELECT u.id, u.name, u.nickname, u.signature, a.text, a.time
             FROM applications a JOIN users u ON u.id = a.applicant WHERE a.user = ?1 ORDER BY a.time, u.id",
            [user.0],
            |row| Ok(Application { profile: read_profile(row)?, text: row.get(4)?, time: row.get(5)? }),
        )?;
        Ok(FriendList { friends, teams: self.teams(user)?, applications })
    }

    /// Asks `other` to be a friend of `user`.
    pub(crate) fn apply_friend(
        &self,
        user: UserId,
        other: UserId,
        text: &str,
    ) -> Result<ApplicationOutcome, StoreError> {
        let pair = self.pair(user, other)?;
        if user == other {
            return Err(StoreError::refused(ErrorCode::BadRequest, "that is you"));
        }
        if self.are_friends(user, other)? {
            return Err(StoreError::refused(ErrorCode::AlreadyFriends, "you are friends"));
        }
        if self.take_application(user, other)? {
            self.befriend(user, other)?;
            return Ok(ApplicationOutcome::Friends(pair));
        }
        let sql = "SELECT count(*) FROM applications WHERE user = ?1 AND applicant <> ?2";
        if self.number(sql, [other.0, user.0])? >= APPLICATIONS {
            return Err(StoreError::refused(
                ErrorCode::LimitReached,
                "too many ask this user: try again later",
            ));
        }
        self.execute(
            "INSERT INTO applications (user, applicant, text, time) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET text = excluded.text, time = excluded.time",
            params![other.0, user.0, text, self.now],
        )?;
        Ok(ApplicationOutcome::Waits(pair))
    }

    /// Agrees to what `applicant` asked `user`.
    pub(crate) fn accept_friend(&self, user: UserId, applicant: UserId) -> Result<Pair, StoreError> {
        self.require_application(user, applicant)?;
        self.befriend(user, applicant)?;
        self.pair(user, applicant)
    }

    /// Declines what `applicant` asked `user`.
    pub(crate) fn refuse_friend(&self, user: UserId, applicant: UserId) -> Result<Pair, StoreError> {
        self.require_application(user, applicant)?;
        self.pair(user, applicant)
    }

    /// Ends a friendship on both sides.
    pub(crate) fn delete_friend(&self, user: UserId, friend: UserId) -> Result<Pair, StoreError> {
        let sql = "DELETE FROM friendships WHERE (user, friend) IN (VALUES (?1, ?2), (?2, ?1))";
        if self.execute(sql, [user.0, friend.0])? == 0 {
            return Err(not_a_friend());
        }
        self.pair(user, friend)
    }

    /// Notes something on a friend.
    pub(crate) fn set_remark(&self, user: UserId, friend: UserId, remark: &str) -> Result<(), StoreError> {
        let sql = "UPDATE friendships SET remark = ?3 WHERE user = ?1 AND friend = ?2";
        let changed = self.execute(sql, params![user.0, friend.0, remark])?;
        if changed == 0 { Err(not_a_friend()) } else { Ok(()) }
    }

    fn befriend(&self, user: UserId, other: UserId) -> Result<(), StoreError> {
        for (user, friend) in [(user, other), (other, user)] {
            if self.number("SELECT count(*) FROM friendships WHERE user = ?1", [user.0])? >= FRIENDS {
                return Err(StoreError::refused(ErrorCode::LimitReached, "one of you has too many friends"));
            }
            self.execute("INSERT INTO friendships (user, friend) VALUES (?1, ?2)", [user.0, friend.0])?;
        }
        Ok(())
    }

    fn require_application(&self, user: UserId, applicant: UserId) -> Result<(), StoreError> {
        if self.take_application(user, applicant)? {
            return Ok(());
        }
        Err(StoreError::refused(ErrorCode::NoSuchApplication, "this user has not asked you"))
    }

    fn take_application(&self, user: UserId, applicant: UserId) -> Result<bool, StoreError> {
        let sql = "DELETE FROM applications WHERE user = ?1 AND applicant = ?2";
        Ok(self.execute(sql, [user.0, applicant.0])? > 0)
    }

    fn pair(&self, user: UserId, other: UserId) -> Result<Pair, StoreError> {
        Ok(Pair { user: self.profile(user)?, other: self.profile(other)? })
    }
}

pub(super) fn not_a_friend() -> StoreError {
    StoreError::refused(ErrorCode::NotAFriend, "this user is not a friend of yours")
}
