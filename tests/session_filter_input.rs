//! Input that byte filters have in hand, and changes of filters while there is input.

use std::sync::atomic::{AtomicUsize, Ordering};

use campana::codec::{Lines, Text};
use campana::session::MessageFilter;

#[path = "support/byte_filters.rs"]
mod byte_filters;
#[path = "support/probe.rs"]
mod probe;

use byte_filters::{Hex, Repeat, hex};
use probe::{Then, Told, lines, on_message, probes};

struct Passes;

impl MessageFilter<Text<Lines>> for Passes {}

#[test]
fn each_of_many_messages_in_one_read_may_change_the_filters() {
    let count = AtomicUsize::new(0);
    let (mut test, log) = probes(
        lines(),
        on_message(move |_, cx| {
            let name = format!("filter {}", count.fetch_add(1, Ordering::Relaxed));
            cx.filters().add_last(name, Box::new(Passes)).unwrap();
        }),
    );
    let peer = test.connect();
    peer.send("x\n".repeat(100));
    test.run_until_idle();
    assert_eq!(log.lines().len(), 101);
    test.with_session(&peer, |_, cx| assert_eq!(cx.filters().names().len(), 100));
}

#[test]
fn each_of_many_messages_in_one_read_may_look_at_the_filters() {
    let text = "x\n".repeat(100);
    for (service, wire) in [(lines(), text.clone()), (lines().byte_filter("hex", || Hex), hex(text))] {
        let (mut test, log) = probes(
            service,
            on_message(|_, cx| {
                let _ = cx.filters().contains("none") || cx.byte_filters().contains("none");
            }),
        );
        let peer = test.connect();
        peer.send(wire);
        test.run_until_idle();
        assert_eq!(log.count(|told| matches!(told, Told::Message(_))), 100);
    }
}

#[test]
fn much_that_comes_of_little_is_all_delivered_before_the_end_of_the_input() {
    const LENGTH: usize = 5 * 1024 * 1024;
    let service = campana::session::SessionService::new(|| Text::over(Lines::new().max(LENGTH)))
        .byte_filter("repeat", || Repeat::new(LENGTH));
    let (mut test, log) = probes(service, |_, _| Then::Usual);
    let peer = test.connect();
    peer.send("a\nb\n");
    peer.close();
    test.run_until_idle();
    let told = log.take();
    assert_eq!(told.len(), 5, "{:?}", told.iter().map(|told| told.to_string().len()).collect::<Vec<_>>());
    assert_eq!(told[2], Told::Message("b".repeat(LENGTH)));
    assert_eq!(told[3], Told::InputClosed);
}

#[test]
fn a_byte_filter_that_is_added_has_what_comes_after_the_message() {
    let (mut test, log) = probes(
        lines(),
        on_message(|text, cx| {
            cx.write("ok").unwrap();
            if text == "hex" {
                cx.byte_filters().add_last("hex", Box::new(Hex)).unwrap();
            }
        }),
    );
    let peer = test.connect();
    peer.send(format!("plain\nhex\n{}", hex("coded\n")));
    test.run_until_idle();
    assert_eq!(log.lines_but_written(), ["open", "message plain", "message hex", "message coded"]);
    assert_eq!(String::from_utf8(peer.receive()).unwrap(), format!("ok\nok\n{}", hex("ok\n")));
}

#[test]
fn a_byte_filter_that_is_taken_out_leaves_what_it_had_in_its_order() {
    let (mut test, log) = probes(
        lines().byte_filter("hex", || Hex),
        on_message(|text, cx| {
            if text == "pause" {
                cx.pause_reading();
            }
        }),
    );
    let peer = test.connect();
    // What is behind the pause is decoded already, but for half a byte.
    peer.send(hex("pause\nfirst "));
    peer.send("7");
    test.run_until_idle();
    test.with_session(&peer, |_, cx| {
        cx.byte_filters().remove("hex").unwrap();
        cx.resume_reading();
    });
    peer.send(" second\n");
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "message pause", "message first 7 second"]);
    assert_eq!(peer.receive(), b".", "its last word");
}

#[test]
fn a_byte_filter_that_fails_closes_even_if_the_session_would_go_on() {
    let (mut test, log) = probes(lines().byte_filter("hex", || Hex), |told, _| match told {
        Told::Error(_) => Then::Error(campana::session::ErrorAction::Continue),
        _ => Then::Usual,
    });
    let peer = test.connect();
    peer.send("xx");
    peer.close();
    test.run_until_idle();
    assert_eq!(
        log.lines(),
        [
            "open",
            "error: filter hex: no hexadecimal digit",
            "close: protocol error: filter hex: no hexadecimal digit"
        ]
    );
}
