//! Sessions that echo, with one filter of those that come with the library.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::CloseReason;
use campana::codec::{Lines, Text};
use campana::session::filters::MessageRate;
use campana::session::{MessageFilter, Session, SessionContext, SessionService, Sessions, WriteId};
use campana::testing::{Peer, TestLoop};

/// Echoes, and does some other things that it is told to.
pub(crate) struct Echo {
    log: Log,
}

/// What sessions have got.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

impl Session for Echo {
    type Codec = Text<Lines>;

    fn on_open(&mut self, _cx: &mut SessionContext<'_, Self>) {
        self.log.lock().unwrap().push("open".to_owned());
    }

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        self.log.lock().unwrap().push(line.to_owned());
        match line {
            "login secret" => cx.set_authenticated(),
            "faster" => cx.filter::<MessageRate>("filter").unwrap().set(1000, Duration::from_secs(1), 1000),
            "pause" => cx.pause_reading(),
            "shut down" => cx.shutdown(),
            _ => {}
        }
        let _ = cx.write(line);
    }

    fn on_close(&mut self, _cx: &mut SessionContext<'_, Self>, reason: &CloseReason, _: Option<WriteId>) {
        self.log.lock().unwrap().push(format!("closed: {reason}"));
    }
}

/// Echoing sessions with one filter, without idle times of their own.
pub(crate) fn echoes_with<F>(filter: F) -> SessionService<Echo>
where
    F: MessageFilter<Text<Lines>> + Clone + Send + Sync,
{
    SessionService::new(|| Text::over(Lines::new()))
        .configure(|config| config.idle_both = None)
        .filter("filter", move || filter.clone())
}

pub(crate) fn sessions_with<F>(filter: F) -> (TestLoop<Sessions<Echo>>, Log)
where
    F: MessageFilter<Text<Lines>> + Clone + Send + Sync,
{
    start(echoes_with(filter))
}

pub(crate) fn start(service: SessionService<Echo>) -> (TestLoop<Sessions<Echo>>, Log) {
    let log = Log::default();
    let of_sessions = Arc::clone(&log);
    (TestLoop::sessions(service, move |_| Echo { log: Arc::clone(&of_sessions) }), log)
}

pub(crate) fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

pub(crate) fn say(test: &mut TestLoop<Sessions<Echo>>, peer: &Peer, text: &str) -> String {
    peer.send(text);
    test.run_until_idle();
    heard(peer)
}

pub(crate) fn heard(peer: &Peer) -> String {
    String::from_utf8(peer.receive()).unwrap()
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
