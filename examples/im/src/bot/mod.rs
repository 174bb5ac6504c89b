//! `im bot`: many users who chat, measured and checked.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use campana::connection::Endpoint;
use campana::reactor::LoopPool;
use im::client::{Client, ClientConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{self, Arguments, Options};

mod histogram;
mod ledger;
mod meeting;
mod plan;
mod summary;
mod user;

use plan::{Phase, Plan, Report, Shape};
use summary::Summary;
use user::{Outcome, User};

/// Descriptors beside those of connections.
const OTHER_DESCRIPTORS: u64 = 64;

/// Users are back soon when the server is: what is measured is the server, not its absence.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// Runs users against a server; status 1 if something was lost, doubled or reordered.
pub(crate) fn run() -> ExitCode {
    let arguments = Options::new(
        "Users who chat at a rate: measures how long messages take, and checks that none is lost, doubled or reordered.",
    )
    .of_mode("bot")
    .option("--connect ADDR", Some("127.0.0.1:7100"), "the server's address")
    .option("--users N", Some("100"), "how many users; each has two others to talk to")
    .option("--rate R", Some("100"), "messages a second that all of them send together")
    .option("--seconds S", Some("10"), "for how long")
    .option("--groups G", Some("0"), "how many groups; each user is in one, if there are any")
    .option("--group-share X", Some("0.1"), "which part of the messages goes to groups")
    .option("--length BYTES", Some("64"), "of a message's text")
    .option("--threads N", Some("1"), "loops of the clients")
    .option("--prefix NAME", Some("bot"), "what the users' names begin with; those that exist are used again")
    .option("--password TEXT", Some("bot-password"), "of all of them")
    .option("--log-ins N", Some("16"), "how many register or log in at once")
    .option("--window N", Some("100"), "how many messages of a user may wait for acknowledgement")
    .option("--patience SECONDS", Some("60"), "how long nothing may happen before the run has failed")
    .option("--compress", None, "compresses both directions")
    .option("--seed N", Some("1"), "makes the users choose otherwise")
    .parse();
    let shape = Shape {
        prefix: arguments.value("--prefix"),
        password: arguments.value("--password"),
        users: at_least(&arguments, "--users", 2),
        groups: arguments.value("--groups"),
        group_share: arguments.value("--group-share"),
        rate: arguments.value("--rate"),
        length: arguments.value("--length"),
        window: at_least(&arguments, "--window", 1),
        seed: arguments.value("--seed"),
    };
    if !(shape.rate > 0.0 && shape.rate.is_finite()) {
        support::fail("--rate has to be more than zero");
    }
    if shape.groups > shape.users {
        support::fail("there can't be more groups than users");
    }
    let server: Endpoint = arguments.value("--connect");
    let threads: NonZeroUsize = arguments.value("--threads");
    let seconds = arguments.seconds("--seconds");
    let log_ins = at_least(&arguments, "--log-ins", 1);
    allow_descriptors(shape.users as u64 + OTHER_DESCRIPTORS);

    let base = support::new_event_loop();
    let pool = support::or_fail(LoopPool::new(&base.handle(), threads.get()));
    let (reports, inbox) = channel();
    let plan = Arc::new(Plan::new(shape, reports));
    let mut config = ClientConfig::new(server);
    config.retry.longest = LONGEST_DELAY;
    config.compress = arguments.has("--compress");
    let run = Run {
        plan: Arc::clone(&plan),
        inbox,
        pool,
        config,
        patience: arguments.seconds("--patience"),
        clients: Vec::new(),
    };
    let summary = run.through(seconds, log_ins);
    summary.print();
    if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn at_least(arguments: &Arguments, name: &str, least: usize) -> usize {
    let value: usize = arguments.value(name);
    if value < least {
        support::fail(format_args!("{name} has to be at least {least}"));
    }
    value
}

/// Raises the limit on descriptors, as far as the system allows.
fn allow_descriptors(needed: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return;
    }
    let raised = Some(maximum.map_or(needed, |maximum| maximum.min(needed)));
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: raised, maximum }) {
        log::warn!("the limit on descriptors stays {current:?}: {error}");
    }
}

/// A run, seen from the main thread.
struct Run {
    plan: Arc<Plan>,
    inbox: Receiver<Report>,
    pool: LoopPool,
    config: ClientConfig,
    patience: Duration,
    clients: Vec<Client<User>>,
}

impl Run {
    /// All phases, one after the other.
    fn through(mut self, seconds: Duration, log_ins: usize) -> Summary {
        let users = self.plan.shape.users;
        let began = Instant::now();
        for _ in 0..log_ins.min(users) {
            self.start_one();
        }
        self.count_to(users, |run, report| {
            let is_it = matches!(report, Report::LoggedIn);
            if is_it && run.clients.len() < users {
                run.start_one();
            }
            is_it
        });
        let log_in = began.elapsed();
        self.begin(Phase::Meet);
        let mut groups = self.plan.shape.groups;
        self.count_to(users, |run, report| {
            if matches!(report, Report::GroupReady) {
                groups -= 1;
                if groups == 0 {
                    run.notify();
                }
            }
            matches!(report, Report::Ready)
        });

        summary::print_beginning(&self.plan, log_in);
        let began = Instant::now();
        self.begin(Phase::Chat);
        while let Some(left) = seconds.checked_sub(began.elapsed()) {
            match self.inbox.recv_timeout(left) {
                Ok(Report::Failed(text)) => support::fail(text),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let chat = began.elapsed();
        self.begin(Phase::Drain);
        let drained = self.count_if_any(users, |report| matches!(report, Report::Drained));
        if drained < users {
            log::warn!("{} users have messages without an answer", users - drained);
        }
        self.wait_for_deliveries();
        let outcomes = self.collect();
        self.pool.stop();
        Summary::new(&self.plan, outcomes, chat)
    }

    fn start_one(&mut self) {
        let index = self.clients.len();
        let (config, user) = (self.config.clone(), User::new(&self.plan, index));
        let (sender, started) = channel();
        let posted = self.pool.next().post(move |cx| drop(sender.send(Client::start(&config, cx, user))));
        support::or_fail(posted);
        self.clients.push(support::or_fail(support::or_fail(started.recv())));
    }

    fn begin(&self, phase: Phase) {
        self.plan.begin(phase);
        self.notify();
    }

    fn notify(&self) {
        self.clients.iter().for_each(Client::notify);
    }

    /// Waits for so many reports that count.
    fn count_to(&mut self, count: usize, counts: impl FnMut(&mut Self, &Report) -> bool) {
        let mut counts = counts;
        let mut counted = 0;
        while counted < count {
            match self.inbox.recv_timeout(self.patience) {
                Ok(Report::Failed(text)) => support::fail(text),
                Ok(report) => counted += usize::from(counts(self, &report)),
                Err(_) => support::fail(format_args!(
                    "nothing has happened for {:?} ({:?}): {counted} of {count} users are ready",
                    self.patience,
                    self.plan.phase()
                )),
            }
        }
    }

    /// Waits for so many reports that count, or until none comes for too long; answers how many came.
    fn count_if_any(&self, count: usize, counts: impl Fn(&Report) -> bool) -> usize {
        let mut counted = 0;
        while counted < count {
            match self.inbox.recv_timeout(self.patience) {
                Ok(Report::Failed(text)) => support::fail(text),
                Ok(report) => counted += usize::from(counts(&report)),
                Err(_) => break,
            }
        }
        counted
    }

    /// Waits until all that was acknowledged is delivered, or nothing comes any more.
    fn wait_for_deliveries(&self) {
        let totals = &self.plan.totals;
        let (mut delivered, mut since) = (0, Instant::now());
        while totals.delivered.load(Relaxed) < totals.due.load(Relaxed) && since.elapsed() < self.patience {
            // Counters tell nobody that they have changed, and a loop that counts has better things to do.
            std::thread::sleep(Duration::from_millis(10));
            let now = totals.delivered.load(Relaxed);
            if now != delivered {
                (delivered, since) = (now, Instant::now());
            }
        }
    }

    fn collect(&self) -> Vec<Outcome> {
        self.begin(Phase::End);
        let mut outcomes: Vec<Option<Outcome>> = self.clients.iter().map(|_| None).collect();
        let mut left = outcomes.len();
        while left > 0 {
            match self.inbox.recv_timeout(self.patience) {
                Ok(Report::Ended(user, outcome)) => {
                    outcomes[user] = Some(*outcome);
                    left -= 1;
                }
                Ok(Report::Failed(text)) => support::fail(text),
                Ok(_) => {}
                Err(_) => support::fail(format_args!("{left} users have not handed over what they noted")),
            }
        }
        outcomes.into_iter().flatten().collect()
    }
}
