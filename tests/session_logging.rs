//! What the logging filter says. A program of its own, as it has the log for itself.

use std::sync::{Mutex, Once};
use std::time::Duration;

use campana::codec::{Lines, Text};
use campana::session::filters::{DescribeMessages, Logging};
use campana::session::{MessageFilter, Session, SessionContext, SessionService, Sessions};
use campana::testing::TestLoop;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// What was logged, by target, as tests run at the same time.
struct Collector(Mutex<Vec<(String, String)>>);

static COLLECTOR: Collector = Collector(Mutex::new(Vec::new()));

impl Log for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        self.0.lock().unwrap().push((record.target().to_owned(), line));
    }

    fn flush(&self) {}
}

/// What was logged for a target since this was last asked, without the session's id.
fn logged(target: &str) -> Vec<String> {
    let mut lines = COLLECTOR.0.lock().unwrap();
    let (taken, left) = std::mem::take(&mut *lines).into_iter().partition(|(of, _)| of == target);
    *lines = left;
    let taken: Vec<(String, String)> = taken;
    let without_id = |line: String| {
        let (level, rest) = line.split_once(" session ").unwrap();
        let (_, text) = rest.split_once(": ").unwrap();
        format!("{level} {text}")
    };
    taken.into_iter().map(|(_, line)| without_id(line)).collect()
}

struct Echo;

impl Session for Echo {
    type Codec = Text<Lines>;

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        let _ = cx.write(line);
    }
}

fn sessions_with<F>(filter: F) -> TestLoop<Sessions<Echo>>
where
    F: MessageFilter<Text<Lines>> + Clone + Send + Sync,
{
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&COLLECTOR).unwrap();
        log::set_max_level(LevelFilter::Debug);
    });
    let service = SessionService::new(|| Text::over(Lines::new())).filter("log", move || filter.clone());
    TestLoop::sessions(service, |_| Echo)
}

/// What is logged of one message and its echo.
fn of_a_message<F>(filter: F, target: &str, message: &str) -> Vec<String>
where
    F: MessageFilter<Text<Lines>> + Clone + Send + Sync,
{
    let mut test = sessions_with(filter);
    let peer = test.connect();
    logged(target);
    peer.send(format!("{message}\n"));
    test.run_until_idle();
    logged(target)
}

#[test]
fn a_session_is_logged_from_its_beginning_to_its_end() {
    let target = "whole life";
    let mut test = sessions_with(Logging::sizes().target(target));
    let peer = test.connect();
    peer.send("one\nthree\n");
    test.run_until_idle();
    test.manager().all().send("news").unwrap();
    test.run_until_idle();
    peer.shutdown();
    test.run_until_idle();
    peer.close();
    test.run_until_idle();
    assert_eq!(
        logged(target),
        [
            "DEBUG opened by 192.0.2.1:49152",
            "DEBUG received #1, 3 bytes",
            "DEBUG writes #1, 3 bytes",
            "DEBUG received #2, 5 bytes",
            "DEBUG writes #2, 5 bytes",
            "DEBUG writes #3, 5 bytes as encoded",
            "DEBUG the peer sends no more",
            "DEBUG closes",
            "DEBUG ended: closed by the peer; 10 bytes and 2 messages received, 15 bytes and 3 messages written",
        ]
    );
}

#[test]
fn idleness_is_logged() {
    let target = "idle";
    let mut test = sessions_with(Logging::new().target(target).level(Level::Info));
    test.connect();
    test.advance(Duration::from_secs(300));
    assert_eq!(logged(target)[1..], ["INFO idle (Both), told 1 times", "INFO closes"]);
}

#[test]
fn content_is_logged_only_if_it_is_asked_for() {
    let secret = "password \x1b[0m";
    let numbered = of_a_message(Logging::new().target("nothing"), "nothing", secret);
    assert_eq!(numbered, ["DEBUG received #1", "DEBUG writes #1"]);
    let sized = of_a_message(Logging::sizes().target("sizes"), "sizes", secret);
    assert_eq!(sized, ["DEBUG received #1, 13 bytes", "DEBUG writes #1, 13 bytes"]);
    let shown = of_a_message(Logging::content().target("content"), "content", secret);
    let escaped = "\"password \\u{1b}[0m\"";
    assert_eq!(shown, [format!("DEBUG received #1, {escaped}"), format!("DEBUG writes #1, {escaped}")]);
}

#[test]
fn long_content_is_cut() {
    let shown = of_a_message(Logging::content().target("cut").longest(10), "cut", &"x".repeat(5000));
    assert_eq!(shown[0], "DEBUG received #1, \"xxxxxxxxx...");
}

#[test]
fn messages_are_described_as_the_program_says() {
    #[derive(Clone)]
    struct Commands;
    impl DescribeMessages<Text<Lines>> for Commands {
        fn received(&self, line: &&str, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(line.split(' ').next().unwrap())
        }

        fn written(&self, _line: &&str, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Ok(())
        }
    }
    let described = of_a_message(Logging::describing(Commands).target("kinds"), "kinds", "login secret");
    assert_eq!(described, ["DEBUG received #1, login", "DEBUG writes #1"]);
}

#[test]
fn what_is_below_the_level_of_the_log_is_not_logged() {
    assert_eq!(of_a_message(Logging::content().target("trace").level(Level::Trace), "trace", "x").len(), 0);
}
