//! Requests about groups.

use super::session::{Chat, Cx};
use super::texts;
use crate::protocol::{
    CreateGroup, Done, Failure, FindGroups, GroupChange, GroupCreated, GroupEvent, GroupMembers, GroupsFound,
    JoinGroup, LeaveGroup, Member, Members, Presence,
};

impl Chat {
    pub(super) fn create_group(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: CreateGroup,
    ) -> Result<(), Failure> {
        texts::check_line("name", &request.name, 1, texts::NAME)?;
        let user = self.account()?.online.login.user;
        self.write::<CreateGroup, _>(
            cx,
            seq,
            move |store| store.create_group(user, &request.name),
            move |committed, group| {
                let event = GroupEvent { group, user, change: GroupChange::Joined };
                committed.shared.send_to_others(user, committed.peer, &event);
                GroupCreated { group }
            },
        );
        Ok(())
    }

    pub(super) fn join_group(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: JoinGroup,
    ) -> Result<(), Failure> {
        let (user, group) = (self.account()?.online.login.user, request.group);
        self.write::<JoinGroup, _>(
            cx,
            seq,
            move |store| store.join_group(user, group),
            move |committed, members| {
                let event = GroupEvent { group, user, change: GroupChange::Joined };
                committed.shared.send_to_all(&members, Some(committed.peer), &event);
                Done {}
            },
        );
        Ok(())
    }

    pub(super) fn leave_group(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: LeaveGroup,
    ) -> Result<(), Failure> {
        let (user, group) = (self.account()?.online.login.user, request.group);
        self.write::<LeaveGroup, _>(
            cx,
            seq,
            move |store| store.leave_group(user, group),
            move |committed, members| {
                let event = GroupEvent { group, user, change: GroupChange::Left };
                committed.shared.send_to_all(&members, None, &event);
                committed.shared.send_to_others(user, committed.peer, &event);
                Done {}
            },
        );
        Ok(())
    }

    pub(super) fn group_members(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: GroupMembers,
    ) -> Result<(), Failure> {
        let user = self.account()?.online.login.user;
        self.read::<GroupMembers>(
            cx,
            seq,
            move |store| {
                let profiles = store.group_members(user, request.group)?.into_iter();
                let members = profiles.map(|profile| Member { profile, presence: Presence::new() });
                Ok(Members { members: members.collect() })
            },
            |shared, list| {
                let members = list.members.iter_mut();
                shared.directory.fill_in(members.map(|member| (member.profile.user, &mut member.presence)));
            },
        );
        Ok(())
    }

    pub(super) fn find_groups(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        request: FindGroups,
    ) -> Result<(), Failure> {
        self.read::<FindGroups>(
            cx,
            seq,
            move |store| Ok(GroupsFound { groups: store.groups_by_prefix(&request.name)? }),
            |_, _| {},
        );
        Ok(())
    }
}
