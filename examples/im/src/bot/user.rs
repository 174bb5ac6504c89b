//! One user of a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use campana::{CloseReason, LoopContext};
use im::client::{Arrival, ClientContext, ClientHandler, RequestError, ServerEvent};
use im::protocol::{ClientType, ErrorCode, LogIn, LoggedIn, Message, Register, Send, Sent as Stored, Status};

use super::histogram::Histogram;
use super::ledger::{Ledger, Received, Sent};
use super::meeting::Step;
use super::plan::{Phase, Plan, Random, Report, Talk};

pub(super) type Context<'a, 'b> = ClientContext<'a, 'b, User>;

/// The timer of the next message.
const SEND: u64 = 1;
/// The timer after which is tried again what the server had no time or room for.
const RETRY: u64 = 2;
/// After how long that is done, at first; it doubles until something is answered.
const RETRY_DELAY: Duration = Duration::from_millis(100);
const LONGEST_RETRY_DELAY: Duration = Duration::from_secs(5);

/// A user of a run, as a handler of its client.
pub(crate) struct User {
    pub(super) plan: Arc<Plan>,
    pub(super) index: usize,
    is_registered: bool,
    is_logged_in: bool,
    has_reported: Option<Phase>,
    /// What was asked for on this connection and has no answer yet, or was done: friends, then the group.
    pub(super) meeting: Vec<Step>,
    random: Random,
    /// When the next message is due.
    next: Option<Instant>,
    count: u64,
    /// Messages without an acknowledgement, by the user's own count.
    pending: BTreeMap<u64, Pending>,
    has_timer: bool,
    /// Whether something is to be tried again, and after how long the next time.
    retries: bool,
    retry_delay: Duration,
    outcome: Outcome,
}

/// What a user hands over at the end.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) ledger: Ledger,
    /// From when a message was due to when it was acknowledged.
    pub(crate) acknowledged: Histogram,
    /// From when a message was due to when it came.
    pub(crate) delivered: Histogram,
    /// What was wrong with what came.
    pub(crate) faults: Vec<String>,
}

#[derive(Clone, Copy)]
struct Pending {
    talk: Talk,
    due: u64,
    /// Whether it has been sent on this connection.
    under_way: bool,
}

impl User {
    pub(crate) fn new(plan: &Arc<Plan>, index: usize) -> Self {
        let steps = plan.friends_of(index).len() + usize::from(plan.group_of(index).is_some());
        Self {
            plan: Arc::clone(plan),
            index,
            is_registered: false,
            is_logged_in: false,
            has_reported: None,
            meeting: vec![Step::ToDo; steps],
            random: Random::new(plan.shape.seed.wrapping_mul(1_000_003) ^ index as u64),
            next: None,
            count: 0,
            pending: BTreeMap::new(),
            has_timer: false,
            retries: false,
            retry_delay: RETRY_DELAY,
            outcome: Outcome::default(),
        }
    }

    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    fn log_in(&self) -> LogIn {
        LogIn {
            name: self.plan.name(self.index),
            password: self.plan.shape.password.clone(),
            client: ClientType::Pc,
            status: Status::Online,
        }
    }

    fn register(&mut self, cx: &mut Context<'_, '_>) {
        let LogIn { name, password, .. } = self.log_in();
        cx.request(&Register { name, password, nickname: String::new() }, |user, cx, reply| match reply {
            Ok(_) => {
                Self::count(&user.plan.totals.registered);
                user.is_registered = true;
                cx.log_in(&user.log_in());
            }
            Err(error) if error.code() == Some(ErrorCode::NameTaken) => {
                user.is_registered = true;
                cx.log_in(&user.log_in());
            }
            Err(error) => user.fail_unless_temporary(cx, "register", &error),
        });
    }

    /// Ends the run for what will not get better by itself, and else tries it again later.
    pub(super) fn fail_unless_temporary(
        &mut self,
        cx: &mut Context<'_, '_>,
        what: &str,
        error: &RequestError,
    ) {
        match error {
            RequestError::Lost => {}
            error if error.is_temporary() => self.retry_later(cx),
            error => {
                let name = self.plan.name(self.index);
                self.plan.report(Report::Failed(format!("{name} could not {what}: {error}")));
            }
        }
    }

    fn retry_later(&mut self, cx: &mut Context<'_, '_>) {
        if !std::mem::replace(&mut self.retries, true) {
            // Users who were refused together come back one by one.
            cx.set_timer(self.retry_delay.mul_f64(0.5 + self.random.share()), RETRY);
            self.retry_delay = (self.retry_delay * 2).min(LONGEST_RETRY_DELAY);
        }
    }

    /// Does what is next.
    pub(super) fn advance(&mut self, cx: &mut Context<'_, '_>) {
        if !self.is_logged_in {
            return;
        }
        match self.plan.phase() {
            Phase::LogIn => {}
            Phase::Meet => self.meet(cx),
            Phase::Chat => self.chat(cx),
            Phase::Drain => self.drain(),
            Phase::End => {
                self.hand_over();
                cx.log_out();
            }
        }
    }

    pub(super) fn report_once(&mut self, phase: Phase, report: Report) {
        if self.has_reported < Some(phase) {
            self.has_reported = Some(phase);
            self.plan.report(report);
        }
    }

    /// Sends what is due, and sees to it that the rest is sent when it is.
    fn chat(&mut self, cx: &mut Context<'_, '_>) {
        let now = cx.now();
        let period = self.plan.period();
        // Users begin at different times, so that the rate is even.
        let first = period.mul_f64(self.random.share());
        let mut next = *self.next.get_or_insert_with(|| now + first);
        while next <= now {
            self.say(cx, next);
            next += period;
        }
        self.next = Some(next);
        if !std::mem::replace(&mut self.has_timer, true) {
            cx.set_timer(next - now, SEND);
        }
    }

    fn say(&mut self, cx: &mut Context<'_, '_>, due: Instant) {
        // What the server had no room for goes first.
        if self.retries || self.pending.len() >= self.plan.shape.window {
            return Self::count(&self.plan.totals.held_back);
        }
        self.count += 1;
        Self::count(&self.plan.totals.sent);
        let pending = Pending { talk: self.choose_talk(), due: self.plan.nanos(due), under_way: false };
        self.pending.insert(self.count, pending);
        self.send(cx, self.count, pending);
    }

    fn choose_talk(&mut self) -> Talk {
        if let Some(group) = self.plan.group_of(self.index)
            && self.random.share() < self.plan.shape.group_share
        {
            return Talk::Group(group);
        }
        let friends = self.plan.friends_of(self.index);
        let friend = friends[(self.random.next() % friends.len() as u64) as usize];
        self.plan.talk_with(self.index, friend)
    }

    fn send(&mut self, cx: &mut Context<'_, '_>, count: u64, message: Pending) {
        let Some(conversation) = self.plan.conversation(self.index, message.talk) else { return };
        self.pending.insert(count, Pending { under_way: true, ..message });
        let client_id = self.plan.client_id(self.index, count);
        let text = self.plan.text(self.index, count, message.due);
        cx.request(&Send { conversation, client_id, text }, move |user, cx, reply| {
            user.answered(cx, count, reply);
        });
    }

    fn answered(&mut self, cx: &mut Context<'_, '_>, count: u64, reply: Result<Stored, RequestError>) {
        match reply {
            Ok(stored) => {
                let Some(Pending { talk, due, .. }) = self.pending.remove(&count) else { return };
                self.retry_delay = RETRY_DELAY;
                let sent = Sent { talk: self.plan.index(talk), number: stored.number, count };
                self.outcome.ledger.sent.push(sent);
                let took = self.plan.nanos(Instant::now()).saturating_sub(due);
                self.outcome.acknowledged.add(Duration::from_nanos(took));
                Self::count(&self.plan.totals.acknowledged);
                self.plan.totals.due.fetch_add(self.plan.audience(talk), Relaxed);
                if self.plan.phase() == Phase::Drain {
                    self.drain();
                }
            }
            Err(error) => {
                if let Some(message) = self.pending.get_mut(&count) {
                    message.under_way = false;
                }
                if error != RequestError::Lost && error.is_temporary() {
                    self.outcome.ledger.reordered = true;
                }
                self.fail_unless_temporary(cx, "send", &error);
            }
        }
    }

    /// Sends again what has no acknowledgement, in the order in which it was sent at first.
    fn send_again(&mut self, cx: &mut Context<'_, '_>) {
        let waiting: Vec<(u64, Pending)> =
            self.pending.iter().filter(|(_, message)| !message.under_way).map(|(c, m)| (*c, *m)).collect();
        for (count, message) in waiting {
            Self::count(&self.plan.totals.retried);
            self.send(cx, count, message);
        }
    }

    fn drain(&mut self) {
        if self.pending.is_empty() {
            self.report_once(Phase::Drain, Report::Drained);
        }
    }

    fn hand_over(&mut self) {
        if self.has_reported < Some(Phase::End) {
            let mut outcome = Box::new(std::mem::take(&mut self.outcome));
            outcome.ledger.unanswered = self.pending.len();
            self.report_once(Phase::End, Report::Ended(self.index, outcome));
        }
    }

    fn receive(&mut self, message: &Message) {
        let Some((sender, count)) = self.plan.read_client_id(&message.client_id) else { return };
        let name = self.plan.name(self.index);
        let Some(due) = self.plan.read_text(sender, count, &message.text) else {
            return self.outcome.faults.push(format!("{name}: a text came changed: {message:?}"));
        };
        let talk = match message.conversation {
            im::protocol::Conversation::Group(_) => self.plan.group_of(self.index).map(Talk::Group),
            im::protocol::Conversation::User(_) => Some(self.plan.talk_with(self.index, sender)),
        };
        let is_it = |talk: &Talk| self.plan.conversation(self.index, *talk) == Some(message.conversation);
        let Some(talk) = talk.filter(is_it).filter(|_| self.plan.number(sender) == Some(message.sender))
        else {
            return self
                .outcome
                .faults
                .push(format!("{name}: a message came to the wrong place: {message:?}"));
        };
        let talk = self.plan.index(talk);
        self.outcome.ledger.received.push(Received { talk, number: message.number, sender, count });
        let took = self.plan.nanos(Instant::now()).saturating_sub(due);
        self.outcome.delivered.add(Duration::from_nanos(took));
        Self::count(&self.plan.totals.delivered);
    }
}

impl ClientHandler for User {
    fn credentials(&self) -> Option<LogIn> {
        self.is_registered.then(|| self.log_in())
    }

    fn on_connected(&mut self, cx: &mut Context<'_, '_>) {
        if !self.is_registered {
            self.register(cx);
        }
    }

    fn on_logged_in(&mut self, cx: &mut Context<'_, '_>, answer: Result<LoggedIn, RequestError>) {
        match answer {
            Ok(logged_in) => {
                self.is_logged_in = true;
                self.plan.set_number(self.index, logged_in.profile.user);
                self.report_once(Phase::LogIn, Report::LoggedIn);
                self.send_again(cx);
                self.advance(cx);
            }
            // The limit is over in a minute.
            Err(error) if error.code() == Some(ErrorCode::TooManyAttempts) => self.retry_later(cx),
            Err(error) => self.fail_unless_temporary(cx, "log in", &error),
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_, '_>, message: Message, arrival: Arrival) {
        match arrival {
            Arrival::New => self.receive(&message),
            Arrival::Again => Self::count(&self.plan.totals.repeated),
            Arrival::OutOfOrder => {
                let name = self.plan.name(self.index);
                self.outcome.faults.push(format!("{name}: came out of order: {message:?}"));
            }
        }
        cx.acknowledge(message.position);
    }

    fn on_event(&mut self, _cx: &mut Context<'_, '_>, event: ServerEvent) {
        if let ServerEvent::Kicked(kicked) = event {
            let name = self.plan.name(self.index);
            self.plan.report(Report::Failed(format!("{name} was kicked: {:?}", kicked.reason)));
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_, '_>, token: u64) {
        if token == SEND {
            self.has_timer = false;
            return self.advance(cx);
        }
        self.retries = false;
        if self.is_logged_in {
            self.send_again(cx);
            self.advance(cx);
        } else if self.is_registered {
            cx.log_in(&self.log_in());
        } else {
            self.register(cx);
        }
    }

    fn on_notified(&mut self, cx: Option<&mut Context<'_, '_>>) {
        match cx {
            Some(cx) => self.advance(cx),
            None if self.plan.phase() == Phase::End => self.hand_over(),
            None => {}
        }
    }

    fn on_disconnected(&mut self, _context: &mut LoopContext, reason: &CloseReason, again: bool) {
        log::debug!("{}: {reason}", self.plan.name(self.index));
        self.is_logged_in = false;
        self.has_timer = false;
        self.retries = false;
        // What was due meanwhile is not made up for.
        self.next = None;
        for step in self.meeting.iter_mut().filter(|step| **step == Step::UnderWay) {
            *step = Step::ToDo;
        }
        if again && self.plan.phase() < Phase::End {
            Self::count(&self.plan.totals.lost_connections);
        }
    }
}
