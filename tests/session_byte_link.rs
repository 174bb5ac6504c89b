//! Two sessions back to back with byte filters on both sides: negotiation, chopping, delay, and loss of the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use campana::CloseReason;
use campana::codec::{Lines, Text};
use campana::session::byte_filters::{Compression, HexTap, TrafficShaper};
use campana::session::{Session, SessionContext, SessionService, Sessions, WriteId};
use campana::testing::{Link, Loss, TestLoop};

const LINES: u64 = 300;

/// What becomes of a side, for the test to see.
#[derive(Clone, Default)]
struct Figures {
    received: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    unwritten: Arc<AtomicU64>,
    ended: Arc<AtomicU64>,
}

fn read(figure: &AtomicU64) -> u64 {
    figure.load(Ordering::Relaxed)
}

/// Agrees with its peer to compress, and then both send numbered lines.
struct Talker {
    asks: bool,
    figures: Figures,
}

impl Talker {
    fn talk(cx: &mut SessionContext<'_, Self>) {
        cx.byte_filters().add_last("compression", Box::new(Compression::new())).unwrap();
        for number in 0..LINES {
            cx.write(&format!("line {number}")).unwrap();
        }
        cx.write("end").unwrap();
    }
}

impl Session for Talker {
    type Codec = Text<Lines>;

    fn on_open(&mut self, cx: &mut SessionContext<'_, Self>) {
        if self.asks {
            cx.write("compress").unwrap();
        }
    }

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        match line {
            "compress" => {
                cx.write("yes").unwrap();
                Self::talk(cx);
            }
            "yes" => Self::talk(cx),
            "end" => {
                assert_eq!(read(&self.figures.received), LINES);
                cx.close();
            }
            line => {
                let number = self.figures.received.fetch_add(1, Ordering::Relaxed);
                assert_eq!(line, format!("line {number}"));
            }
        }
    }

    fn on_written(&mut self, _: &mut SessionContext<'_, Self>, up_to: WriteId) {
        assert!(self.figures.written.swap(up_to.number(), Ordering::Relaxed) < up_to.number());
    }

    fn on_close(&mut self, _: &mut SessionContext<'_, Self>, _: &CloseReason, unwritten: Option<WriteId>) {
        self.figures.unwritten.store(unwritten.map_or(0, WriteId::number), Ordering::Relaxed);
        self.figures.ended.fetch_add(1, Ordering::Relaxed);
    }
}

fn side(asks: bool, shaped: bool) -> (TestLoop<Sessions<Talker>>, Figures) {
    let figures = Figures::default();
    let of_session = figures.clone();
    let mut service =
        SessionService::new(|| Text::over(Lines::new())).configure(|config| config.idle_both = None);
    if shaped {
        service =
            service.byte_filter("shaper", || TrafficShaper::new().outbound(2000, 100).inbound(3000, 200));
    }
    let service = service.byte_filter("tap", HexTap::new);
    (TestLoop::sessions(service, move |_| Talker { asks, figures: of_session.clone() }), figures)
}

#[test]
fn both_sides_agree_to_compress_and_get_all_that_the_other_says() {
    for (seed, shaped) in (0..40).flat_map(|seed| [(seed, false), (seed, true)]) {
        let ((left, of_left), (right, of_right)) = (side(true, shaped), side(false, shaped));
        let mut link = Link::new(left, right).latency(Duration::from_millis(20)).seed(seed);
        link.connect();
        link.advance(Duration::from_secs(30));
        for (figures, writes) in [(&of_left, LINES + 2), (&of_right, LINES + 2)] {
            assert_eq!((read(&figures.received), read(&figures.ended)), (LINES, 1), "seed {seed}");
            assert_eq!((read(&figures.written), read(&figures.unwritten)), (writes, 0), "seed {seed}");
        }
    }
}

#[test]
fn a_connection_that_is_lost_leaves_each_write_resolved_once_and_nothing_out_of_order() {
    for (seed, shaped) in (0..60).flat_map(|seed| [(seed, false), (seed, true)]) {
        let ((left, of_left), (right, of_right)) = (side(true, shaped), side(false, shaped));
        let mut link = Link::new(left, right).seed(seed);
        link.lose_next_after(100 + 37 * seed, Loss::Reset);
        link.connect();
        link.advance(Duration::from_secs(30));
        for figures in [&of_left, &of_right] {
            assert_eq!(read(&figures.ended), 1, "seed {seed}");
            let (written, unwritten) = (read(&figures.written), read(&figures.unwritten));
            // What was told last, and the first that never is, have nothing between them.
            assert!(unwritten == 0 || unwritten == written + 1, "seed {seed}: {written}, {unwritten}");
        }
    }
}
