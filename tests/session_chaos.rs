//! Whatever sessions do in whatever callback, each has one whole life.

use std::sync::Mutex;
use std::time::Duration;

use campana::codec::{Lines, Text};
use campana::session::{ErrorAction, FilterContext, MessageFilter, SessionService, Verdict};

#[path = "support/byte_filters.rs"]
mod byte_filters;
#[path = "support/probe.rs"]
mod probe;

use byte_filters::{Hex, Slow};
use probe::{Cx, Probe, Then, Told, lines, probes};

/// Random numbers that can be repeated.
struct Dice(Mutex<u64>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Mutex::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1))
    }

    fn below(&self, sides: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % sides
    }
}

/// Does one thing or another in each callback.
struct Meddler(Dice);

impl MessageFilter<Text<Lines>> for Meddler {
    fn on_message(&mut self, cx: &mut FilterContext<'_, Text<Lines>>, message: &mut &str) -> Verdict {
        match self.0.below(12) {
            0 => Verdict::Drop,
            1 => Verdict::fail("at random"),
            2 => {
                *message = "replaced";
                Verdict::Pass
            }
            3 => {
                let _ = cx.write("from the filter");
                Verdict::Pass
            }
            4 => {
                cx.pause_reading();
                cx.set_timer(Duration::from_millis(100), 1);
                Verdict::Pass
            }
            _ => Verdict::Pass,
        }
    }

    fn on_write(&mut self, _cx: &mut FilterContext<'_, Text<Lines>>, _message: &mut &str) -> Verdict {
        if self.0.below(10) == 0 { Verdict::Drop } else { Verdict::Pass }
    }

    fn on_timer(&mut self, cx: &mut FilterContext<'_, Text<Lines>>, _token: u64) -> Verdict {
        cx.resume_reading();
        Verdict::Pass
    }

    fn on_closing(&mut self, cx: &mut FilterContext<'_, Text<Lines>>) {
        let _ = cx.write("goodbye");
    }
}

fn meddle(dice: &Dice, told: &Told, cx: &mut Cx<'_>) -> Then {
    for _ in 0..dice.below(3) {
        match dice.below(40) {
            0 => cx.close(),
            1 => cx.abort(),
            2 => cx.shutdown(),
            3..6 => cx.pause_reading(),
            6..12 => cx.resume_reading(),
            12..15 => {
                cx.set_timer(Duration::from_millis(dice.below(500)), 1);
            }
            15 => drop(cx.filters().add_last("added", Box::new(Meddler(Dice::new(dice.below(1000)))))),
            16 => drop(cx.filters().remove("added")),
            17 => drop(cx.filters().replace("meddler", "meddler", Box::new(Meddler(Dice::new(7))))),
            18 => drop(cx.byte_filters().add_first("slow", Box::new(Slow::default()))),
            19 => drop(cx.byte_filters().remove("slow")),
            20 => cx.flush(),
            21 => cx.close_when_silent(Duration::from_secs(1)),
            22 => cx.configure(|config| config.idle_read = Some(Duration::from_millis(300))),
            23 if !matches!(told, Told::Close(..)) => panic!("at random"),
            24 => {
                cx.join("somewhere");
            }
            25 => drop(cx.claim("somebody")),
            26 => drop(cx.write(&"x".repeat(5000))),
            27 => drop(cx.write("two\nlines")),
            28 => drop(cx.manager().all().send("to all")),
            29 => cx.set_authenticated(),
            _ => drop(cx.write("text")),
        }
    }
    match told {
        // Nothing resumes a session that nobody has told to; so something does.
        Told::Idle(..) => {
            cx.resume_reading();
            Then::Usual
        }
        Told::Error(_) => Then::Error(match dice.below(3) {
            0 => ErrorAction::Close,
            1 => ErrorAction::Abort,
            _ => ErrorAction::Continue,
        }),
        _ if dice.below(2) == 0 => Then::Nothing,
        _ => Then::Usual,
    }
}

/// One life of a few sessions; answers what they were told.
fn live(seed: u64, service: SessionService<Probe>, packets: bool) -> Vec<Told> {
    let dice = Dice::new(seed);
    let of_sessions = Dice::new(seed + 1);
    let service = service
        .filter("meddler", move || Meddler(Dice::new(seed + 2)))
        .configure(|config| config.idle_both = Some(Duration::from_secs(20)));
    let (test, log) = probes(service, move |told, cx| meddle(&of_sessions, told, cx));
    let mut test = test.allow_panics().seed(seed);
    let peers: Vec<_> =
        (0..3).map(|_| if packets { test.connect_packet() } else { test.connect() }).collect();
    for _ in 0..20 {
        let peer = &peers[dice.below(3) as usize];
        match dice.below(12) {
            0 => peer.set_window(dice.below(10_000) as usize),
            1 => peer.set_window(usize::MAX),
            2 => peer.shutdown(),
            3 if dice.below(4) == 0 => peer.reset(),
            4 => peer.send("half a li"),
            5 => peer.send(b"\xff\n"),
            6 => test.advance(Duration::from_millis(dice.below(3000))),
            _ => peer.send("one\ntwo\nthree\n"),
        }
        test.run_until_idle();
    }
    for peer in &peers {
        peer.set_window(usize::MAX);
        peer.close();
    }
    test.advance(Duration::from_secs(120));
    assert!(test.manager().is_empty(), "{:?}", test.manager());
    let stats = test.manager().stats();
    assert_eq!((stats.opened, stats.closed), (3, 3));
    assert!(test.manager().keyed(&"somewhere").is_empty() && test.manager().keyed(&"somebody").is_empty());
    assert_eq!(log.count(|told| matches!(told, Told::Close(..))), 3);
    assert!(log.count(|told| *told == Told::Open) <= 3);
    log.take()
}

#[test]
fn whatever_sessions_do_each_has_one_whole_life() {
    // Panics are part of it, and their messages would be too many.
    std::panic::set_hook(Box::new(|_| ()));
    let result = std::panic::catch_unwind(|| {
        for seed in 0..300 {
            live(seed, lines(), false);
            live(seed, lines().byte_filter("hex", || Hex), false);
            live(seed, lines(), true);
            live(seed, lines().configure(|config| config.authentication = Some(Default::default())), false);
        }
    });
    drop(std::panic::take_hook());
    if let Err(payload) = result {
        let text = payload.downcast_ref::<String>().cloned();
        panic!("{}", text.unwrap_or_else(|| "see the seed above".into()));
    }
}
