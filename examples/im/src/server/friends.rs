//! Requests about friends and teams.

use super::answers::Committed;
use super::session::{Chat, Cx};
use super::shared::encode;
use super::texts;
use crate::protocol::{
    AcceptFriend, ApplyFriend, CreateTeam, DeleteFriend, DeleteTeam, Done, Failure, FriendChange,
    FriendEvent, Friends, MoveToTeam, Presence, Profile, RefuseFriend, RenameTeam, SetRemark,
};
use crate::storage::{ApplicationOutcome, Pair};

impl Chat {
    pub(super) fn friends(&mut self, cx: &mut Cx<'_>, seq: u32) -> Result<(), Failure> {
        let user = self.account()?.online.login.user;
        self.read::<Friends>(
            cx,
            seq,
            move |store| store.friend_list(user),
            |shared, list| {
                let friends = list.friends.iter_mut();
                shared.directory.fill_in(friends.map(|friend| (friend.profile.user, &mut friend.presence)));
            },
        );
        Ok(())
    }

    pub(super) fn apply_friend(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: ApplyFriend,
    ) -> Result<(), Failure> {
        let ApplyFriend { user: other, text } = request;
        texts::check_line("text", &text, 0, texts::LINE)?;
        let user = self.account()?.online.login.user;
        self.write::<ApplyFriend, _>(
            cx,
            seq,
            move |store| Ok((store.apply_friend(user, other, &text)?, text)),
            |committed, (outcome, text)| {
                match outcome {
                    ApplicationOutcome::Friends(pair) => committed.befriended(&pair),
                    ApplicationOutcome::Waits(pair) => {
                        committed.tell_other(pair, FriendChange::Applied, text);
                    }
                }
                Done {}
            },
        );
        Ok(())
    }

    pub(super) fn accept_friend(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: AcceptFriend,
    ) -> Result<(), Failure> {
        let user = self.account()?.online.login.user;
        self.write::<AcceptFriend, _>(
            cx,
            seq,
            move |store| store.accept_friend(user, request.user),
            |committed, pair| {
                committed.befriended(&pair);
                Done {}
            },
        );
        Ok(())
    }

    pub(super) fn refuse_friend(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: RefuseFriend,
    ) -> Result<(), Failure> {
        let user = self.account()?.online.login.user;
        self.write::<RefuseFriend, _>(
            cx,
            seq,
            move |store| store.refuse_friend(user, request.user),
            |committed, pair| {
                committed.tell_other(pair, FriendChange::Refused, String::new());
                Done {}
            },
        );
        Ok(())
    }

    pub(super) fn delete_friend(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: DeleteFriend,
    ) -> Result<(), Failure> {
        let user = self.account()?.online.login.user;
        self.write::<DeleteFriend, _>(
            cx,
            seq,
            move |store| store.delete_friend(user, request.user),
            |committed, pair| {
                committed.unfriended(&pair);
                Done {}
            },
        );
        Ok(())
    }

    pub(super) fn set_remark(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: SetRemark,
    ) -> Result<(), Failure> {
        texts::check_line("remark", &request.remark, 0, texts::NAME)?;
        let user = self.account()?.online.login.user;
        let run =
            move |store: &crate::storage::Store<'_>| store.set_remark(user, request.user, &request.remark);
        self.write::<SetRemark, _>(cx, seq, run, |_, ()| Done {});
        Ok(())
    }

    pub(super) fn create_team(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: CreateTeam,
    ) -> Result<(), Failure> {
        texts::check_line("team", &request.team, 1, texts::NAME)?;
        let user = self.account()?.online.login.user;
        let run = move |store: &crate::storage::Store<'_>| store.create_team(user, &request.team);
        self.write::<CreateTeam, _>(cx, seq, run, |_, ()| Done {});
        Ok(())
    }

    pub(super) fn rename_team(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: RenameTeam,
    ) -> Result<(), Failure> {
        texts::check_line("name", &request.name, 1, texts::NAME)?;
        let user = self.account()?.online.login.user;
        let run =
            move |store: &crate::storage::Store<'_>| store.rename_team(user, &request.team, &request.name);
        self.write::<RenameTeam, _>(cx, seq, run, |_, ()| Done {});
        Ok(())
    }

    pub(super) fn delete_team(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: DeleteTeam,
    ) -> Result<(), Failure> {
        let user = self.account()?.online.login.user;
        let run = move |store: &crate::storage::Store<'_>| store.delete_team(user, &request.team);
        self.write::<DeleteTeam, _>(cx, seq, run, |_, ()| Done {});
        Ok(())
    }

    pub(super) fn move_to_team(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: MoveToTeam,
    ) -> Result<(), Failure> {
        let user = self.account()?.online.login.user;
        let run =
            move |store: &crate::storage::Store<'_>| store.move_to_team(user, request.user, &request.team);
        self.write::<MoveToTeam, _>(cx, seq, run, |_, ()| Done {});
        Ok(())
    }
}

/// Telling both sides. It happens on the storage thread, in the order of the commits.
impl Committed<'_> {
    fn befriended(&self, pair: &Pair) {
        let Pair { user, other } = pair;
        self.shared.directory.befriend(user.user, other.user, |peer, friend, presence| {
            let profile = if friend == user.user { user } else { other };
            if peer != self.peer {
                peer.send(&encode(&about(profile, FriendChange::Accepted, presence.clone())));
            }
        });
    }

    fn unfriended(&self, pair: &Pair) {
        let Pair { user, other } = pair;
        self.shared.directory.unfriend(user.user, other.user, |peer, friend| {
            let profile = if friend == user.user { user } else { other };
            if peer != self.peer {
                peer.send(&encode(&about(profile, FriendChange::Deleted, Presence::new())));
            }
        });
    }

    fn tell_other(&self, pair: Pair, change: FriendChange, text: String) {
        let event = FriendEvent { text, ..about(&pair.user, change, Presence::new()) };
        self.shared.send_to_all(&[pair.other.user], None, &event);
    }
}

fn about(profile: &Profile, change: FriendChange, presence: Presence) -> FriendEvent {
    FriendEvent { profile: profile.clone(), change, text: String::new(), presence }
}
