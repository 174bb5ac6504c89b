//! What all users of a run have in common: who talks to whom, how fast, and how far they are.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use im::protocol::{Conversation, GroupId, UserId};

use super::user::Outcome;

/// What a run is to be.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// What names of users and groups begin with.
    pub(crate) prefix: String,
    pub(crate) password: String,
    pub(crate) users: usize,
    pub(crate) groups: usize,
    /// Which part of the messages goes to groups.
    pub(crate) group_share: f64,
    /// Messages a second that all of them send together.
    pub(crate) rate: f64,
    /// Bytes of a message's text.
    pub(crate) length: usize,
    /// How many messages of a user may wait for their acknowledgements.
    pub(crate) window: usize,
    pub(crate) seed: u64,
}

/// A run under way, shared by its users on all loops.
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    /// Tells this run's messages from those of earlier ones.
    run: String,
    /// What times are counted from.
    began: Instant,
    numbers: Vec<OnceLock<UserId>>,
    groups: Vec<OnceLock<GroupId>>,
    phase: AtomicU8,
    pub(crate) reports: Sender<Report>,
    pub(crate) totals: Totals,
}

/// What all users have done together so far.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) registered: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    /// Deliveries that the acknowledged messages have to lead to.
    pub(crate) due: AtomicU64,
    pub(crate) delivered: AtomicU64,
    /// Messages that were sent once more.
    pub(crate) retried: AtomicU64,
    /// Messages that the server delivered again after a connection was lost.
    pub(crate) repeated: AtomicU64,
    pub(crate) lost_connections: AtomicU64,
    /// Messages that were not sent when they should have been, as too many waited for their acknowledgements or the server was busy.
    pub(crate) held_back: AtomicU64,
}

/// What the main thread hears of users.
pub(crate) enum Report {
    LoggedIn,
    /// A group is there.
    GroupReady,
    /// The user's friends and group are as they have to be.
    Ready,
    /// All that the user has sent is acknowledged.
    Drained,
    Ended(usize, Box<Outcome>),
    /// The run can't go on.
    Failed(String),
}

/// How far a run is. Users begin with what comes next when they are notified.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    LogIn,
    /// Friends and groups are made.
    Meet,
    Chat,
    /// Nothing new is sent.
    Drain,
    /// Users hand over what they have noted, and log out.
    End,
}

/// A conversation of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Talk {
    /// Of a user with the next one.
    Pair(usize),
    Group(usize),
}

impl Plan {
    pub(crate) fn new(shape: Shape, reports: Sender<Report>) -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            run: format!("{:x}{:x}", since_1970.as_micros(), std::process::id()),
            began: Instant::now(),
            numbers: (0..shape.users).map(|_| OnceLock::new()).collect(),
            groups: (0..shape.groups).map(|_| OnceLock::new()).collect(),
            phase: AtomicU8::new(Phase::LogIn as u8),
            reports,
            totals: Totals::default(),
            shape,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::LogIn,
            1 => Phase::Meet,
            2 => Phase::Chat,
            3 => Phase::Drain,
            _ => Phase::End,
        }
    }

    pub(crate) fn begin(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    pub(crate) fn report(&self, report: Report) {
        // Without the main thread the process is about to end.
        let _ = self.reports.send(report);
    }

    /// The time between two messages of one user.
    pub(crate) fn period(&self) -> Duration {
        Duration::from_secs_f64(self.shape.users as f64 / self.shape.rate)
    }

    pub(crate) fn name(&self, user: usize) -> String {
        format!("{}{user}", self.shape.prefix)
    }

    pub(crate) fn group_name(&self, group: usize) -> String {
        format!("{}{group}", self.shape.prefix)
    }

    pub(crate) fn set_number(&self, user: usize, number: UserId) {
        let _ = self.numbers[user].set(number);
    }

    pub(crate) fn number(&self, user: usize) -> Option<UserId> {
        self.numbers[user].get().copied()
    }

    pub(crate) fn set_group(&self, group: usize, id: GroupId) {
        let _ = self.groups[group].set(id);
    }

    pub(crate) fn group(&self, group: usize) -> Option<GroupId> {
        self.groups[group].get().copied()
    }

    /// The group that a user is in.
    pub(crate) fn group_of(&self, user: usize) -> Option<usize> {
        user.checked_rem(self.shape.groups)
    }

    /// The users whom a user talks with: the one before and the one behind, in a circle.
    pub(crate) fn friends_of(&self, user: usize) -> Vec<usize> {
        let count = self.shape.users;
        let mut friends = vec![(user + 1) % count, (user + count - 1) % count];
        friends.dedup();
        friends
    }

    pub(crate) fn talk_with(&self, user: usize, friend: usize) -> Talk {
        let follows = (user + 1) % self.shape.users == friend;
        let is_first = follows && (self.shape.users > 2 || user == 0);
        Talk::Pair(if is_first { user } else { friend })
    }

    /// A number for each conversation: what ledgers call it.
    pub(crate) fn index(&self, talk: Talk) -> usize {
        match talk {
            Talk::Pair(user) => user,
            Talk::Group(group) => self.shape.users + group,
        }
    }

    /// Who takes part in each conversation, by its number.
    pub(crate) fn members(&self) -> Vec<Vec<usize>> {
        let count = self.shape.users;
        let pairs = (0..count).map(|user| vec![user, (user + 1) % count]);
        let groups = (0..self.shape.groups).map(|group| (group..count).step_by(self.shape.groups).collect());
        pairs.chain(groups).collect()
    }

    /// How many others get what is said in a conversation.
    pub(crate) fn audience(&self, talk: Talk) -> u64 {
        match talk {
            Talk::Pair(_) => 1,
            Talk::Group(group) => {
                (self.shape.users - group).div_ceil(self.shape.groups).saturating_sub(1) as u64
            }
        }
    }

    /// The conversation as a user sees it.
    pub(crate) fn conversation(&self, user: usize, talk: Talk) -> Option<Conversation> {
        match talk {
            Talk::Pair(first) => {
                let other = if first == user { (first + 1) % self.shape.users } else { first };
                self.number(other).map(Conversation::User)
            }
            Talk::Group(group) => self.group(group).map(Conversation::Group),
        }
    }

    /// Nanoseconds since the beginning.
    pub(crate) fn nanos(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn client_id(&self, sender: usize, count: u64) -> String {
        format!("{}-{sender}-{count}", self.run)
    }

    /// The sender and its count for the message; nothing if it is of another run.
    pub(crate) fn read_client_id(&self, client_id: &str) -> Option<(usize, u64)> {
        let (sender, count) = client_id.strip_prefix(&self.run)?.strip_prefix('-')?.split_once('-')?;
        Some((sender.parse().ok()?, count.parse().ok()?))
    }

    /// What a message says: when it was due, and then what its receiver can work out.
    pub(crate) fn text(&self, sender: usize, count: u64, due: u64) -> String {
        let mut text = format!("{due} ");
        let mut random = Random::new(self.shape.seed ^ ((sender as u64) << 40) ^ count);
        while text.len() < self.shape.length {
            text.push(char::from(b'a' + (random.next() % 26) as u8));
        }
        text
    }

    /// When the message of a text was due; nothing if the text is not what was sent.
    pub(crate) fn read_text(&self, sender: usize, count: u64, text: &str) -> Option<u64> {
        let due = text.split_once(' ')?.0.parse().ok()?;
        (self.text(sender, count, due) == text).then_some(due)
    }
}

/// Numbers that look random: splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to but not 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(users: usize, groups: usize) -> Plan {
        let (prefix, password) = ("bot".to_owned(), "secret1".to_owned());
        let shape = Shape {
            prefix,
            password,
            users,
            groups,
            group_share: 0.1,
            rate: 10.0,
            length: 40,
            window: 10,
            seed: 1,
        };
        Plan::new(shape, std::sync::mpsc::channel().0)
    }

    #[test]
    fn both_ends_of_a_friendship_agree_on_the_conversation() {
        for users in 2..6 {
            let plan = plan(users, 0);
            (0..users).for_each(|user| plan.set_number(user, UserId(user as i64)));
            for user in 0..users {
                for friend in plan.friends_of(user) {
                    let talk = plan.talk_with(user, friend);
                    assert_eq!(talk, plan.talk_with(friend, user), "{users}: {user} {friend}");
                    let members = &plan.members()[plan.index(talk)];
                    assert!(members.contains(&user) && members.contains(&friend));
                    let seen = plan.conversation(user, talk);
                    assert_eq!(seen, Some(Conversation::User(UserId(friend as i64))));
                }
            }
        }
    }

    #[test]
    fn groups_have_the_members_that_are_counted() {
        let plan = plan(7, 3);
        for group in 0..3 {
            let members = &plan.members()[plan.index(Talk::Group(group))];
            assert!(members.iter().all(|user| plan.group_of(*user) == Some(group)));
            assert_eq!(plan.audience(Talk::Group(group)) as usize, members.len() - 1);
        }
    }

    #[test]
    fn texts_and_client_ids_are_read_back_and_changed_ones_refused() {
        let plan = plan(3, 0);
        let text = plan.text(1, 5, 123_456);
        assert_eq!((text.len(), plan.read_text(1, 5, &text)), (40, Some(123_456)));
        assert_eq!(plan.read_text(1, 6, &text), None);
        assert_eq!(plan.read_text(1, 5, &text[..39]), None);
        assert_eq!(plan.read_client_id(&plan.client_id(2, 77)), Some((2, 77)));
        assert_eq!(plan.read_client_id("someone's-1-2"), None);
    }
}
