//! Two sessions back to back: what one sends the other gets, whatever the way does to it.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::CloseReason;
use campana::codec::LengthPrefixed;
use campana::session::{Session, SessionContext, SessionService, Sessions, WriteId};
use campana::testing::{Link, Loss, TestLoop};

#[path = "support/byte_filters.rs"]
mod byte_filters;

const SECOND: Duration = Duration::from_secs(1);
const MESSAGES: u32 = 40;

/// What one side has seen.
#[derive(Default, Debug)]
struct Seen {
    opened: usize,
    received: Vec<Vec<u8>>,
    written: u64,
    refused: usize,
    closed: Vec<(String, Option<u64>)>,
}

/// Sends a message at each timer, and keeps what comes.
struct Sender {
    seen: Arc<Mutex<Seen>>,
    next: u32,
}

/// The message of a number, of any length from 4 bytes on.
fn message(number: u32) -> Vec<u8> {
    let length = 4 + (number as usize * 7919) % 600;
    number.to_be_bytes().into_iter().cycle().take(length).collect()
}

impl Session for Sender {
    type Codec = LengthPrefixed;

    fn on_open(&mut self, cx: &mut SessionContext<'_, Self>) {
        self.seen.lock().unwrap().opened += 1;
        cx.set_timer(Duration::ZERO, 0);
    }

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, message: &[u8]) {
        let mut seen = self.seen.lock().unwrap();
        seen.received.push(message.to_vec());
        // The one that connected says when it is done.
        if seen.received.len() == MESSAGES as usize && self.next == MESSAGES {
            cx.close();
        }
    }

    fn on_timer(&mut self, cx: &mut SessionContext<'_, Self>, _token: u64) {
        for _ in 0..4 {
            if self.next < MESSAGES {
                match cx.write(&message(self.next)) {
                    Ok(id) => {
                        self.next += 1;
                        assert_eq!(id.number(), u64::from(self.next));
                    }
                    Err(_) => self.seen.lock().unwrap().refused += 1,
                }
            }
        }
        if self.next < MESSAGES {
            cx.set_timer(Duration::from_millis(30), 0);
        }
    }

    fn on_written(&mut self, _cx: &mut SessionContext<'_, Self>, up_to: WriteId) {
        let mut seen = self.seen.lock().unwrap();
        assert!(up_to.number() > seen.written, "told twice");
        seen.written = up_to.number();
    }

    fn on_close(
        &mut self,
        _cx: &mut SessionContext<'_, Self>,
        reason: &CloseReason,
        unwritten: Option<WriteId>,
    ) {
        let mut seen = self.seen.lock().unwrap();
        let first_unwritten = unwritten.map(WriteId::number);
        // Each write is one or the other.
        match first_unwritten {
            Some(first) => assert_eq!(first, seen.written + 1),
            None => assert_eq!(seen.written, u64::from(self.next)),
        }
        seen.closed.push((reason.to_string(), first_unwritten));
    }
}

type Side = (TestLoop<Sessions<Sender>>, Arc<Mutex<Seen>>);

fn side(with_filter: bool) -> Side {
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let of_sessions = Arc::clone(&seen);
    let mut service = SessionService::new(|| LengthPrefixed::new(4)).configure(|config| {
        config.idle_both = Some(60 * SECOND);
    });
    if with_filter {
        service = service.byte_filter("hex", || byte_filters::Hex);
    }
    (TestLoop::sessions(service, move |_| Sender { seen: Arc::clone(&of_sessions), next: 0 }), seen)
}

fn all() -> Vec<Vec<u8>> {
    (0..MESSAGES).map(message).collect()
}

#[test]
fn what_is_sent_arrives_in_its_order_both_ways() {
    for with_filter in [false, true] {
        for seed in 0..100 {
            let ((left, of_left), (right, of_right)) = (side(with_filter), side(with_filter));
            let mut link = Link::new(left, right).latency(Duration::from_millis(80)).seed(seed);
            link.connect();
            link.advance(30 * SECOND);
            for seen in [of_left, of_right] {
                let seen = seen.lock().unwrap();
                assert_eq!(seen.received, all());
                assert_eq!((seen.written, seen.refused, seen.closed.len()), (u64::from(MESSAGES), 0, 1));
            }
        }
    }
}

#[test]
fn packets_arrive_as_they_were_sent() {
    for seed in 0..50 {
        let ((left, of_left), (right, of_right)) = (side(false), side(false));
        let mut link = Link::new(left, right).latency(Duration::from_millis(80)).seed(seed);
        link.connect_packet();
        link.advance(30 * SECOND);
        for seen in [of_left, of_right] {
            assert_eq!(seen.lock().unwrap().received, all());
        }
    }
}

#[test]
fn after_a_loss_both_sides_have_the_beginning_and_are_told_of_one_end() {
    let losses = Cell::new((0, 0));
    for with_filter in [false, true] {
        for seed in 0..100 {
            let ((left, of_left), (right, of_right)) = (side(with_filter), side(with_filter));
            let mut link = Link::new(left, right).latency(Duration::from_millis(80)).seed(seed);
            link.lose_next_within(20_000);
            let (left, right) = link.connect();
            link.advance(100 * SECOND);
            assert!(left.close_reason().is_some() && right.close_reason().is_some());
            for seen in [of_left, of_right] {
                let seen = seen.lock().unwrap();
                assert_eq!(seen.closed.len(), 1);
                assert_eq!(seen.received[..], all()[..seen.received.len()]);
                let (resets, silences) = losses.get();
                match &*seen.closed[0].0 {
                    "reset by the peer" => losses.set((resets + 1, silences)),
                    _ => losses.set((resets, silences + 1)),
                }
            }
            assert!(link.left().manager().is_empty() && link.right().manager().is_empty());
        }
    }
    let (resets, silences) = losses.get();
    assert!(resets > 50 && silences > 50, "{resets} resets, {silences} silences");
}

#[test]
fn a_loss_comes_after_as_many_bytes_as_was_said() {
    let ((left, of_left), (right, of_right)) = (side(false), side(false));
    let mut link = Link::new(left, right);
    // The lengths and contents of the first two messages of the left side, and no byte of the third.
    let point = message(0).len() + message(1).len() + 8;
    link.lose_next_after(point as u64, Loss::Reset);
    let (left, right) = link.connect();
    link.run_until_idle();
    assert_eq!(of_right.lock().unwrap().received, all()[..2]);
    assert_eq!(of_left.lock().unwrap().received.len(), 0);
    assert_eq!(left.close_reason().unwrap().to_string(), "reset by the peer");
    assert_eq!(right.close_reason().unwrap().to_string(), "reset by the peer");
}

#[test]
fn silence_is_noticed_by_the_stalled_writer_and_by_the_idle_reader() {
    let ((left, of_left), (right, _)) = (side(false), side(false));
    let mut link = Link::new(left, right);
    let (left, right) = link.connect();
    link.advance(Duration::from_millis(1));
    link.lose(Loss::Silence);
    link.advance(31 * SECOND);
    assert_eq!(left.close_reason().unwrap().to_string(), "timed out: no progress in sending");
    assert_eq!(right.close_reason().unwrap().to_string(), "timed out: no progress in sending");
    let seen = of_left.lock().unwrap();
    assert_eq!(seen.closed[0].1, Some(5), "what was written before the loss was written");
}

#[test]
fn a_new_connection_over_the_same_link_is_a_new_session() {
    let ((left, of_left), (right, of_right)) = (side(false), side(false));
    let mut link = Link::new(left, right).seed(1);
    link.lose_next_after(7, Loss::Reset);
    let first = link.connect();
    link.run_until_idle();
    assert!(first.0.close_reason().is_some());
    of_left.lock().unwrap().written = 0;
    of_right.lock().unwrap().written = 0;
    let second = link.connect();
    link.advance(10 * SECOND);
    assert!(first.0.id() != second.0.id());
    for seen in [of_left, of_right] {
        let seen = seen.lock().unwrap();
        assert_eq!((seen.opened, seen.closed.len()), (2, 2));
        assert_eq!(seen.received, all());
    }
}

#[test]
fn the_same_seed_gives_the_same_course_and_others_give_others() {
    let course = |seed| {
        let ((left, of_left), (right, of_right)) = (side(false), side(false));
        let mut link = Link::new(left, right).latency(Duration::from_millis(80)).seed(seed);
        link.lose_next_within(20_000);
        link.connect();
        link.advance(100 * SECOND);
        let course = (&*of_left.lock().unwrap(), &*of_right.lock().unwrap());
        format!("{course:?}")
    };
    for seed in 0..10 {
        assert_eq!(course(seed), course(seed));
    }
    let courses: HashSet<String> = (0..10).map(course).collect();
    assert!(courses.len() > 5, "{}", courses.len());
}

#[test]
fn latency_delays_each_message_by_as_much() {
    let ((left, _), (right, of_right)) = (side(false), side(false));
    let mut link = Link::new(left, right).latency(SECOND);
    link.connect();
    link.advance(Duration::from_millis(999));
    assert!(of_right.lock().unwrap().received.is_empty());
    link.advance(Duration::from_millis(1));
    assert_eq!(of_right.lock().unwrap().received.len(), 4);
}
