//! What a tap shows. One test, as there is one logger for the whole process.

use std::sync::Mutex;

use campana::codec::{Lines, Text};
use campana::session::byte_filters::HexTap;
use campana::session::{Session, SessionContext, SessionService};
use campana::testing::TestLoop;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// All that is logged under the tap's target.
struct Collector(Mutex<Vec<String>>);

static COLLECTOR: Collector = Collector(Mutex::new(Vec::new()));

impl Log for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "campana::session::hex"
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            assert_eq!(record.level(), Level::Trace);
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

struct Echo;

impl Session for Echo {
    type Codec = Text<Lines>;

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        let _ = cx.write(&line.repeat(3));
    }
}

#[test]
fn what_passes_is_shown_with_offsets_in_both_directions_and_bounded() {
    log::set_logger(&COLLECTOR).unwrap();
    let service =
        SessionService::new(|| Text::over(Lines::new())).byte_filter("tap", || HexTap::new().limit(20));
    let mut test = TestLoop::sessions(service, |_| Echo);
    let peer = test.connect();

    // Nobody listens; it is counted all the same.
    peer.send("123456\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"123456123456123456\n");
    assert_eq!(COLLECTOR.0.lock().unwrap().len(), 0);

    log::set_max_level(LevelFilter::Trace);
    peer.send("hello world\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"hello worldhello worldhello world\n");
    let id = peer.id();
    let expected = [
        format!("{id} in  00000007  68 65 6c 6c 6f 20 77 6f  72 6c 64 0a              hello world."),
        format!("{id} out 00000013  68 65 6c 6c 6f 20 77 6f  72 6c 64 68 65 6c 6c 6f  hello worldhello"),
        format!("{id} out 00000023  20 77 6f 72                                        wor"),
        format!("{id} out 00000027  14 more bytes"),
    ];
    assert_eq!(*COLLECTOR.0.lock().unwrap(), expected);
}
