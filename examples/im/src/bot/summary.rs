//! What a run has shown, in lines.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::histogram::Histogram;
use super::ledger::{self, Checked, Ledger};
use super::plan::Plan;
use super::user::Outcome;
use crate::support;

/// Only so many faults are shown.
const SHOWN: usize = 20;

/// Says what the run is, and that it begins.
pub(crate) fn print_beginning(plan: &Plan, log_in: Duration) {
    let shape = &plan.shape;
    support::print(format_args!(
        "run           {} users, {} groups, {} messages/s, {} bytes each, seed {}",
        shape.users, shape.groups, shape.rate, shape.length, shape.seed
    ));
    support::print(format_args!(
        "log-in        {} users in {:.1} s, {} of them new",
        shape.users,
        log_in.as_secs_f64(),
        plan.totals.registered.load(Relaxed)
    ));
}

/// The result of a run.
pub(crate) struct Summary {
    lines: Vec<String>,
    check: Result<Checked, Vec<String>>,
}

impl Summary {
    pub(crate) fn new(plan: &Plan, outcomes: Vec<Outcome>, chat: Duration) -> Self {
        let (mut acknowledged, mut delivered) = (Histogram::default(), Histogram::default());
        let (mut ledgers, mut faults): (Vec<Ledger>, _) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            acknowledged.merge(&outcome.acknowledged);
            delivered.merge(&outcome.delivered);
            faults.extend(outcome.faults);
            ledgers.push(outcome.ledger);
        }
        let mut check = ledger::check(&ledgers, &plan.members());
        if !faults.is_empty() {
            faults.extend(check.err().into_iter().flatten());
            check = Err(faults);
        }

        let totals = &plan.totals;
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
        let a_second = |count: u64| (count as f64 / chat.as_secs_f64()).round();
        let (sent, answered, came) = (get(&totals.sent), get(&totals.acknowledged), get(&totals.delivered));
        let lines = vec![
            format!(
                "sent          {sent} in {:.1} s ({}/s), held back {}",
                chat.as_secs_f64(),
                a_second(sent),
                get(&totals.held_back)
            ),
            format!("acknowledged  {answered} ({}/s), {}", a_second(answered), latencies(&acknowledged)),
            format!("delivered     {came} ({}/s), {}", a_second(came), latencies(&delivered)),
            format!(
                "trouble       lost connections {}, sent again {}, delivered again {}",
                get(&totals.lost_connections),
                get(&totals.retried),
                get(&totals.repeated)
            ),
        ];
        Self { lines, check }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.check.is_ok()
    }

    pub(crate) fn print(&self) {
        self.lines.iter().for_each(support::print);
        match &self.check {
            Ok(Checked { conversations, messages, deliveries }) => support::print(format_args!(
                "check         good: {conversations} conversations, {messages} messages, {deliveries} deliveries; \
                 none lost, doubled or reordered"
            )),
            Err(faults) => {
                support::print(format_args!("check         bad: {} faults", faults.len()));
                faults
                    .iter()
                    .take(SHOWN)
                    .for_each(|fault| support::print(format_args!("fault         {fault}")));
            }
        }
    }
}

/// Quantiles in milliseconds.
fn latencies(histogram: &Histogram) -> String {
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let quantile = |share| millis(histogram.quantile(share));
    format!(
        "latency in ms: p50 {:.2}, p90 {:.2}, p99 {:.2}, max {:.2}",
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        millis(histogram.max())
    )
}
