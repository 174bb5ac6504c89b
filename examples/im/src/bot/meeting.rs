//! How users come to know each other before they chat.

use im::client::RequestError;
use im::protocol::{ApplyFriend, CreateGroup, ErrorCode, FindGroups, GroupId, JoinGroup};

use super::plan::{Phase, Report};
use super::user::{Context, User};

/// How far one friendship is, or the membership in the group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    ToDo,
    /// It was asked for, on this connection.
    UnderWay,
    Done,
}

impl User {
    /// Does what is still to be done, and reports when there is nothing left.
    pub(super) fn meet(&mut self, cx: &mut Context<'_, '_>) {
        let friends = self.plan.friends_of(self.index);
        for step in 0..self.meeting.len() {
            if self.meeting[step] != Step::ToDo {
                continue;
            }
            match friends.get(step) {
                Some(&friend) => self.befriend(cx, step, friend),
                None => self.find_group(cx, step),
            }
        }
        if self.meeting.iter().all(|step| *step == Step::Done) {
            self.report_once(Phase::Meet, Report::Ready);
        }
    }

    /// Applies, as the other one does too.
    fn befriend(&mut self, cx: &mut Context<'_, '_>, step: usize, friend: usize) {
        let Some(number) = self.plan.number(friend) else { return };
        self.meeting[step] = Step::UnderWay;
        cx.request(&ApplyFriend { user: number, text: String::new() }, move |user, cx, reply| {
            let is_done = |error: &RequestError| error.code() == Some(ErrorCode::AlreadyFriends);
            user.met(
                cx,
                step,
                reply.map(drop).or_else(|error| if is_done(&error) { Ok(()) } else { Err(error) }),
            );
        });
    }

    fn met(&mut self, cx: &mut Context<'_, '_>, step: usize, result: Result<(), RequestError>) {
        self.meeting[step] = if result.is_ok() { Step::Done } else { Step::ToDo };
        match result {
            Ok(()) => self.advance(cx),
            Err(error) => self.fail_unless_temporary(cx, "meet the others", &error),
        }
    }

    /// Joins the group, which its first member looks for or makes.
    fn find_group(&mut self, cx: &mut Context<'_, '_>, step: usize) {
        let Some(group) = self.plan.group_of(self.index) else { return };
        if let Some(id) = self.plan.group(group) {
            return self.join(cx, step, id);
        }
        if self.index != group {
            return;
        }
        self.meeting[step] = Step::UnderWay;
        let name = self.plan.group_name(group);
        cx.request(&FindGroups { name: name.clone() }, move |user, cx, reply| match reply {
            Ok(found) => match found.groups.iter().find(|found| found.name == name) {
                Some(found) => {
                    user.plan.set_group(group, found.group);
                    user.plan.report(Report::GroupReady);
                    user.join(cx, step, found.group);
                }
                None => user.make_group(cx, step, name),
            },
            Err(error) => user.met(cx, step, Err(error)),
        });
    }

    fn make_group(&mut self, cx: &mut Context<'_, '_>, step: usize, name: String) {
        let group = self.index;
        cx.request(&CreateGroup { name }, move |user, cx, reply| {
            let result = reply.map(|made| {
                user.plan.set_group(group, made.group);
                user.plan.report(Report::GroupReady);
            });
            user.met(cx, step, result);
        });
    }

    fn join(&mut self, cx: &mut Context<'_, '_>, step: usize, group: GroupId) {
        self.meeting[step] = Step::UnderWay;
        cx.request(&JoinGroup { group }, move |user, cx, reply| {
            let is_done = |error: &RequestError| error.code() == Some(ErrorCode::AlreadyAMember);
            user.met(
                cx,
                step,
                reply.map(drop).or_else(|error| if is_done(&error) { Ok(()) } else { Err(error) }),
            );
        });
    }
}
