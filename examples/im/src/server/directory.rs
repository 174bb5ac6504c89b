//! Who is logged in, at which devices, and who is told of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use crate::protocol::{ClientType, Device, Presence, Status, UserId};

/// All users who are logged in. `S` names a session.
///
/// It is shared by all loops and the storage thread, and locked for moments only. What is to be told about a change is told by a
/// closure while the lock is held, so that two changes reach everybody in the order in which they happened; such a closure may do
/// no more than post to loops.
#[derive(Debug)]
pub(crate) struct Directory<S> {
    online: Mutex<Online<S>>,
}

#[derive(Debug)]
struct Online<S> {
    users: HashMap<UserId, User<S>>,
}

#[derive(Debug)]
struct User<S> {
    devices: Vec<DeviceSession<S>>,
    friends: HashSet<UserId>,
}

#[derive(Debug)]
struct DeviceSession<S> {
    client: ClientType,
    status: Status,
    session: S,
}

/// A user at a device, through one session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Login<S> {
    pub(crate) user: UserId,
    pub(crate) client: ClientType,
    pub(crate) session: S,
}

impl<S: Clone + PartialEq> Directory<S> {
    pub(crate) fn new() -> Self {
        Self { online: Mutex::new(Online { users: HashMap::new() }) }
    }

    /// Puts a session in, in the place of another one of the same user and kind of device, which it gives. `tell` is called for
    /// each session of a friend if the user's presence changes by it.
    pub(crate) fn log_in(
        &self,
        login: &Login<S>,
        status: Status,
        friends: impl IntoIterator<Item = UserId>,
        tell: impl FnMut(&S, &Presence),
    ) -> Option<S> {
        let mut online = self.lock();
        let before = online.presence(login.user);
        let user = online.users.entry(login.user).or_insert_with(User::new);
        user.friends = friends.into_iter().collect();
        let place = user.devices.iter().position(|device| device.client == login.client);
        let replaced = place.map(|place| user.devices.swap_remove(place).session);
        let device = DeviceSession { client: login.client, status, session: login.session.clone() };
        user.devices.push(device);
        online.tell_if_changed(login.user, &before, tell);
        replaced
    }

    /// Takes a session out, unless another one has taken its place.
    pub(crate) fn log_out(&self, login: &Login<S>, tell: impl FnMut(&S, &Presence)) {
        let mut online = self.lock();
        let before = online.presence(login.user);
        let Some(user) = online.users.get_mut(&login.user) else { return };
        user.devices.retain(|device| !device.is(login));
        let friends = std::mem::take(&mut user.friends);
        if user.devices.is_empty() {
            online.users.remove(&login.user);
        } else {
            user.friends.clone_from(&friends);
        }
        online.tell(login.user, &friends, &before, tell);
    }

    /// Says how present the user is at the device of a session.
    pub(crate) fn set_status(&self, login: &Login<S>, status: Status, tell: impl FnMut(&S, &Presence)) {
        let mut online = self.lock();
        let before = online.presence(login.user);
        let Some(user) = online.users.get_mut(&login.user) else { return };
        if let Some(device) = user.devices.iter_mut().find(|device| device.is(login)) {
            device.status = status;
        }
        online.tell_if_changed(login.user, &before, tell);
    }

    /// Two users are friends from now on. `tell` is called for each session of both, with the other one's number and presence.
    pub(crate) fn befriend(&self, one: UserId, two: UserId, mut tell: impl FnMut(&S, UserId, &Presence)) {
        let mut online = self.lock();
        for (user, friend) in [(one, two), (two, one)] {
            let presence = online.presence(friend);
            if let Some(user) = online.users.get_mut(&user) {
                user.friends.insert(friend);
                user.devices.iter().for_each(|device| tell(&device.session, friend, &presence));
            }
        }
    }

    /// Two users are friends no more. `tell` is called for each session of both, with the other one's number.
    pub(crate) fn unfriend(&self, one: UserId, two: UserId, mut tell: impl FnMut(&S, UserId)) {
        let mut online = self.lock();
        for (user, friend) in [(one, two), (two, one)] {
            if let Some(user) = online.users.get_mut(&user) {
                user.friends.remove(&friend);
                user.devices.iter().for_each(|device| tell(&device.session, friend));
            }
        }
    }

    /// Where a user is, as far as others may see it.
    #[cfg(test)]
    fn presence(&self, user: UserId) -> Presence {
        self.lock().presence(user)
    }

    /// Where each of many users is.
    pub(crate) fn fill_in<'a>(&self, users: impl IntoIterator<Item = (UserId, &'a mut Presence)>) {
        let online = self.lock();
        for (user, presence) in users {
            *presence = online.presence(user);
        }
    }

    /// Calls `visit` for each session of these users, with the user and the kind of device.
    pub(crate) fn for_each_of(&self, users: &[UserId], mut visit: impl FnMut(UserId, ClientType, &S)) {
        let online = self.lock();
        for user in users {
            let devices = online.users.get(user).map_or(&[][..], |user| &user.devices);
            devices.iter().for_each(|device| visit(*user, device.client, &device.session));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Online<S>> {
        self.online.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<S> Online<S> {
    fn presence(&self, user: UserId) -> Presence {
        let devices = self.users.get(&user).map_or(&[][..], |user| &user.devices);
        let visible = devices.iter().filter(|device| device.status != Status::Invisible);
        let mut presence: Presence =
            visible.map(|device| Device { client: device.client, status: device.status }).collect();
        presence.sort_by_key(|device| device.client);
        presence
    }

    fn tell_if_changed(&self, user: UserId, before: &Presence, tell: impl FnMut(&S, &Presence)) {
        if let Some(User { friends, .. }) = self.users.get(&user) {
            self.tell(user, friends, before, tell);
        }
    }

    fn tell(
        &self,
        user: UserId,
        friends: &HashSet<UserId>,
        before: &Presence,
        mut tell: impl FnMut(&S, &Presence),
    ) {
        let presence = self.presence(user);
        if presence == *before {
            return;
        }
        for friend in friends.iter().filter_map(|friend| self.users.get(friend)) {
            friend.devices.iter().for_each(|device| tell(&device.session, &presence));
        }
    }
}

impl<S> User<S> {
    fn new() -> Self {
        Self { devices: Vec::new(), friends: HashSet::new() }
    }
}

impl<S: PartialEq> DeviceSession<S> {
    fn is(&self, login: &Login<S>) -> bool {
        self.client == login.client && self.session == login.session
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId(1);
    const BOB: UserId = UserId(2);
    const CID: UserId = UserId(3);

    /// Sessions are numbers here; ann and bob are friends.
    struct Users {
        directory: Directory<u32>,
        told: Vec<(u32, Presence)>,
    }

    impl Users {
        fn new() -> Self {
            Self { directory: Directory::new(), told: Vec::new() }
        }

        fn log_in(&mut self, user: UserId, client: ClientType, session: u32, status: Status) -> Option<u32> {
            let friends = match user {
                ANN => vec![BOB],
                BOB => vec![ANN],
                _ => vec![],
            };
            let login = Login { user, client, session };
            self.directory
                .log_in(&login, status, friends, |to, presence| self.told.push((*to, presence.clone())))
        }

        fn log_out(&mut self, user: UserId, client: ClientType, session: u32) {
            let login = Login { user, client, session };
            self.directory.log_out(&login, |to, presence| self.told.push((*to, presence.clone())));
        }

        fn set_status(&mut self, user: UserId, client: ClientType, session: u32, status: Status) {
            let login = Login { user, client, session };
            self.directory.set_status(&login, status, |to, presence| self.told.push((*to, presence.clone())));
        }

        fn told(&mut self) -> Vec<(u32, Presence)> {
            std::mem::take(&mut self.told)
        }

        fn sessions_of(&self, users: &[UserId]) -> Vec<u32> {
            let mut sessions = Vec::new();
            self.directory.for_each_of(users, |_, _, session| sessions.push(*session));
            sessions
        }
    }

    fn at(client: ClientType, status: Status) -> Device {
        Device { client, status }
    }

    #[test]
    fn friends_and_nobody_else_are_told_who_comes_and_goes() {
        let mut users = Users::new();
        users.log_in(BOB, ClientType::Pc, 20, Status::Online);
        users.log_in(BOB, ClientType::Web, 21, Status::Online);
        users.log_in(CID, ClientType::Pc, 30, Status::Online);
        assert_eq!(users.told(), []);
        users.log_in(ANN, ClientType::Mobile, 10, Status::Busy);
        let there = vec![at(ClientType::Mobile, Status::Busy)];
        assert_eq!(users.told(), [(20, there.clone()), (21, there)]);
        users.log_out(ANN, ClientType::Mobile, 10);
        assert_eq!(users.told(), [(20, vec![]), (21, vec![])]);
        assert_eq!(users.sessions_of(&[ANN, BOB, CID]), [20, 21, 30]);
    }

    #[test]
    fn a_second_session_of_a_kind_replaces_the_first_and_nobody_sees_it() {
        let mut users = Users::new();
        users.log_in(BOB, ClientType::Pc, 20, Status::Online);
        assert_eq!(users.log_in(ANN, ClientType::Pc, 10, Status::Online), None);
        users.told();
        assert_eq!(users.log_in(ANN, ClientType::Pc, 11, Status::Online), Some(10));
        users.log_out(ANN, ClientType::Pc, 10);
        assert_eq!(users.told(), []);
        assert_eq!(users.sessions_of(&[ANN]), [11]);
        assert_eq!(users.log_in(ANN, ClientType::Mobile, 12, Status::Online), None);
        assert_eq!(users.sessions_of(&[ANN]), [11, 12]);
    }

    #[test]
    fn a_replaced_session_changes_no_status() {
        let mut users = Users::new();
        users.log_in(ANN, ClientType::Pc, 10, Status::Online);
        users.log_in(ANN, ClientType::Pc, 11, Status::Online);
        users.set_status(ANN, ClientType::Pc, 10, Status::Invisible);
        assert_eq!(users.directory.presence(ANN), [at(ClientType::Pc, Status::Online)]);
    }

    #[test]
    fn who_is_invisible_looks_offline() {
        let mut users = Users::new();
        users.log_in(BOB, ClientType::Pc, 20, Status::Online);
        users.log_in(ANN, ClientType::Pc, 10, Status::Invisible);
        assert_eq!(users.told(), []);
        assert_eq!(users.directory.presence(ANN), []);
        users.set_status(ANN, ClientType::Pc, 10, Status::Away);
        assert_eq!(users.told(), [(20, vec![at(ClientType::Pc, Status::Away)])]);
        users.set_status(ANN, ClientType::Pc, 10, Status::Away);
        assert_eq!(users.told(), []);
        users.set_status(ANN, ClientType::Pc, 10, Status::Invisible);
        assert_eq!(users.told(), [(20, vec![])]);
        users.log_out(ANN, ClientType::Pc, 10);
        assert_eq!(users.told(), []);
    }

    #[test]
    fn a_new_friendship_is_told_to_both_and_tells_of_both() {
        let mut users = Users::new();
        users.log_in(ANN, ClientType::Pc, 10, Status::Online);
        users.log_in(CID, ClientType::Web, 30, Status::Away);
        let mut told = Vec::new();
        users.directory.befriend(ANN, CID, |to, friend, presence| told.push((*to, friend, presence.clone())));
        let (ann, cid) = (vec![at(ClientType::Pc, Status::Online)], vec![at(ClientType::Web, Status::Away)]);
        assert_eq!(told, [(10, CID, cid), (30, ANN, ann)]);
        users.log_out(CID, ClientType::Web, 30);
        assert_eq!(users.told(), [(10, vec![])]);
        users.directory.unfriend(ANN, CID, |_, _| {});
        users.log_in(CID, ClientType::Web, 31, Status::Online);
        assert_eq!(users.told(), []);
    }
}
