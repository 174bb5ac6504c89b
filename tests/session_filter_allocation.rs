//! What filters on the way of each message cost in allocations: none. One test, as the allocator counts for the whole process.

use std::alloc::System;
use std::time::Duration;

use campana::codec::{Lines, Text};
use campana::session::filters::{
    AuthenticationGate, BeforeLogIn, Counted, KeepAlive, KeepAliveMessages, MessageKinds, MessageRate,
    StatisticsTap, WhenEmpty,
};
use campana::session::{Session, SessionContext, SessionService};
use campana::testing::TestLoop;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many allocations there were so far.
fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

#[derive(Clone)]
struct Rules;

impl BeforeLogIn<Text<Lines>> for Rules {
    fn allows(&self, _line: &&str) -> bool {
        true
    }
}

impl KeepAliveMessages<Text<Lines>> for Rules {
    fn is_request(&self, line: &&str) -> bool {
        line.starts_with("ping")
    }
}

impl MessageKinds<Text<Lines>> for Rules {
    const LABELS: &'static [&'static str] = &["short", "long"];

    fn received(&self, line: &&str) -> Counted {
        Counted { kind: usize::from(line.len() > 4), bytes: line.len() }
    }

    fn written(&self, line: &&str) -> Counted {
        self.received(line)
    }
}

/// Notes how many allocations there were at the first and at the last of many messages that come together.
struct Measured {
    at_first: usize,
    between: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Session for Measured {
    type Codec = Text<Lines>;

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        // Looking at the chain changes nothing, and costs as much.
        assert!(cx.filters().contains("tap"));
        match line {
            "write" => drop(cx.write("written")),
            "first" => self.at_first = allocations(),
            "last" => {
                let between = allocations() - self.at_first;
                self.between.store(between, std::sync::atomic::Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

#[test]
fn a_message_that_passes_filters_allocates_nothing() {
    let tap = StatisticsTap::new(Rules);
    let of_sessions = tap.clone();
    let service = SessionService::new(|| Text::over(Lines::new()))
        .filter("tap", move || of_sessions.clone())
        .filter("keep-alive", || KeepAlive::new(Rules))
        .filter("rate", || MessageRate::new(500, Duration::from_secs(1)).when_empty(WhenEmpty::Drop))
        .filter("gate", || AuthenticationGate::new(Rules));
    let between = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(usize::MAX));
    let of_sessions = std::sync::Arc::clone(&between);
    let mut test =
        TestLoop::sessions(service, move |_| Measured { at_first: 0, between: of_sessions.clone() });
    let peer = test.connect();
    // The buffers have their size then.
    peer.send("x\n".repeat(400) + &"write\n".repeat(20));
    test.run_until_idle();
    test.advance(Duration::from_secs(1));
    peer.send(format!(
        "first\n{}{}last\n{}",
        "x\n".repeat(400),
        "write\n".repeat(20),
        "dropped\n".repeat(400)
    ));
    test.run_until_idle();
    assert_eq!(between.load(std::sync::atomic::Ordering::Relaxed), 0);
    let snapshot = tap.snapshot();
    assert_eq!(snapshot.kinds[0].received.messages, 801);
    assert_eq!(snapshot.kinds[1].received.messages, 441);
    assert_eq!(snapshot.kinds[1].written.messages, 40);
}
