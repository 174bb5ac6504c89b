//! Which calls a message filter gets: those that it says it has a use for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use campana::codec::{Lines, Text};
use campana::session::{FilterContext, MessageFilter, Session, SessionContext, SessionService, Verdict};
use campana::testing::TestLoop;

struct Echo;

impl Session for Echo {
    type Codec = Text<Lines>;

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        if line == "all" {
            cx.manager().all().send("to all").unwrap();
        } else {
            cx.write(line).unwrap();
        }
    }
}

#[derive(Default)]
struct Calls {
    opened: AtomicU32,
    messages: AtomicU32,
    writes: AtomicU32,
    encoded: AtomicU32,
}

impl Calls {
    fn counts(&self) -> [u32; 4] {
        [&self.opened, &self.messages, &self.writes, &self.encoded].map(|count| count.load(Ordering::Relaxed))
    }
}

struct Picky {
    wants: (bool, bool),
    calls: Arc<Calls>,
}

fn count(calls: &AtomicU32) -> Verdict {
    calls.fetch_add(1, Ordering::Relaxed);
    Verdict::Pass
}

impl MessageFilter<Text<Lines>> for Picky {
    fn wants_messages(&self) -> bool {
        self.wants.0
    }

    fn wants_writes(&self) -> bool {
        self.wants.1
    }

    fn on_open(&mut self, _: &mut FilterContext<'_, Text<Lines>>) -> Verdict {
        count(&self.calls.opened)
    }

    fn on_message(&mut self, _: &mut FilterContext<'_, Text<Lines>>, _: &mut &str) -> Verdict {
        count(&self.calls.messages)
    }

    fn on_write(&mut self, _: &mut FilterContext<'_, Text<Lines>>, _: &mut &str) -> Verdict {
        count(&self.calls.writes)
    }

    fn on_write_encoded(&mut self, _: &mut FilterContext<'_, Text<Lines>>, _: &[u8]) -> Verdict {
        count(&self.calls.encoded)
    }
}

/// Two lines to a filter between two that want everything: what each of the three was called for.
fn calls_of(wants: (bool, bool)) -> [[u32; 4]; 3] {
    let calls: [Arc<Calls>; 3] = Default::default();
    let picky = |place: usize, wants| {
        let calls = Arc::clone(&calls[place]);
        move || Picky { wants, calls: Arc::clone(&calls) }
    };
    let service = SessionService::new(|| Text::over(Lines::new()))
        .filter("outer", picky(0, (true, true)))
        .filter("picky", picky(1, wants))
        .filter("inner", picky(2, (true, true)));
    let mut test = TestLoop::sessions(service, |_| Echo);
    let peer = test.connect();
    peer.send("line\nall\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"line\nto all\n");
    calls.map(|calls| calls.counts())
}

const ALL: [u32; 4] = [1, 2, 1, 1];

#[test]
fn a_filter_sees_messages_and_writes_unless_it_says_otherwise() {
    assert_eq!(calls_of((true, true)), [ALL; 3]);
}

#[test]
fn a_filter_without_use_for_messages_is_passed_over_by_them_alone() {
    assert_eq!(calls_of((false, true)), [ALL, [1, 0, 1, 1], ALL]);
}

#[test]
fn a_filter_without_use_for_writes_is_passed_over_by_both_kinds_of_them() {
    assert_eq!(calls_of((true, false)), [ALL, [1, 2, 0, 0], ALL]);
}

#[test]
fn a_filter_without_use_for_either_still_hears_of_the_opening() {
    assert_eq!(calls_of((false, false)), [ALL, [1, 0, 0, 0], ALL]);
}
