//! Byte filters that come and go at random while writes are under way: nothing is lost or out of order, and nothing is called written
//! that the peer can't have.

use std::time::Duration;

use campana::session::byte_filters::TrafficShaper;

#[path = "support/byte_sessions.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod byte_sessions;

use byte_sessions::{Cx, Log, Xor, sessions_that};

/// Chance, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// The highest id that was told as written, with what has been told since the last call.
fn written(log: &Log, before: u64) -> u64 {
    let told = log.take();
    assert!(!told.iter().any(|text| text.starts_with("error")), "{told:?}");
    let ids = told.iter().filter_map(|text| text.strip_prefix("written ")).map(|id| id.parse().unwrap());
    ids.fold(before, |before, id| {
        assert!(id > before, "{told:?}");
        id
    })
}

/// Changes filters, all of which leave bytes as they are.
fn change(cx: &mut Cx<'_>, roll: u64) {
    let name = ["one", "two", "three"][(roll % 3) as usize];
    let is_shaper = roll % 7 < 3;
    let filter = move || -> Box<dyn campana::session::ByteFilter> {
        if is_shaper { Box::new(TrafficShaper::new().outbound(2000, 50)) } else { Box::new(Xor(0)) }
    };
    let mut filters = cx.byte_filters();
    if !filters.contains(name) {
        let added = if roll.is_multiple_of(2) {
            filters.add_last(name, filter())
        } else {
            filters.add_first(name, filter())
        };
        added.unwrap();
    } else if roll % 5 < 2 {
        filters.replace(name, name, filter()).unwrap();
    } else {
        filters.remove(name).unwrap();
    }
}

#[test]
fn filters_that_come_and_go_lose_nothing_and_call_nothing_written_that_is_not() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let (mut test, log) = sessions_that(|_, _| {}, |service| service);
        let peer = test.connect();
        let (mut received, mut told, mut accepted) = (String::new(), 0, 0u64);
        for _ in 0..60 {
            let (roll, lines) = (dice.below(1 << 20), dice.below(30));
            match dice.below(5) {
                0 => peer.set_window(dice.below(300) as usize),
                1 => test.advance(Duration::from_millis(dice.below(40))),
                2 => {
                    test.with_session(&peer, move |_, cx| change(cx, roll));
                }
                3 => {
                    // Before and behind a change.
                    test.with_session(&peer, move |_, cx| {
                        for number in accepted..accepted + lines {
                            cx.write(&format!("line {number}")).unwrap();
                            if number == accepted + lines / 2 {
                                change(cx, roll);
                            }
                        }
                    });
                    accepted += lines;
                }
                _ => {
                    test.with_session(&peer, move |_, cx| {
                        for number in accepted..accepted + lines {
                            cx.write(&format!("line {number}")).unwrap();
                        }
                    });
                    accepted += lines;
                }
            }
            test.turn();
            received.push_str(std::str::from_utf8(&peer.receive()).unwrap());
            told = written(&log, told);
            let complete = received.matches('\n').count() as u64;
            assert!(told <= complete && complete <= accepted, "seed {seed}: {told}, {complete}, {accepted}");
        }
        let expected: String = (0..accepted).map(|number| format!("line {number}\n")).collect();
        if seed % 2 == 0 {
            test.manager().all().close();
            peer.set_window(usize::MAX);
            test.advance(Duration::from_secs(60));
            received.push_str(std::str::from_utf8(&peer.receive()).unwrap());
            assert_eq!(received, expected, "seed {seed}");
            assert!(peer.is_read_closed());
            assert_eq!(written(&log, told), accepted, "seed {seed}");
        } else {
            test.manager().all().abort();
            test.run_until_idle();
            received.push_str(std::str::from_utf8(&peer.receive()).unwrap());
            assert!(expected.starts_with(&received), "seed {seed}");
            let complete = received.matches('\n').count() as u64;
            let end = log.take();
            let last = end.iter().filter_map(|text| text.strip_prefix("written ")).next_back();
            let told = last.map_or(told, |id| id.parse().unwrap());
            let unwritten = end[end.len() - 1].split("unwritten from ").nth(1);
            match unwritten {
                Some(id) => assert_eq!(id.parse::<u64>().unwrap(), told + 1, "seed {seed}"),
                None => assert_eq!(told, accepted, "seed {seed}"),
            }
            assert!(told <= complete, "seed {seed}: {told}, {complete}");
        }
    }
}
