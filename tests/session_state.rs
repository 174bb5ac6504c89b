//! The table of `SessionState`, cell by cell.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::session::{AttributeKey, SessionHandle, SessionState, WriteError};
use campana::testing::Peer;

#[path = "support/probe.rs"]
mod probe;

use probe::{Cx, Log, Probe, ProbeLoop, Then, Told, lines, on_message, probes};

#[derive(Clone, PartialEq, Eq, Hash)]
struct Room;

const NAME: AttributeKey<&str> = AttributeKey::new("name");

fn state_of(test: &mut ProbeLoop, peer: &Peer) -> Option<SessionState> {
    let state = Arc::new(Mutex::new(None));
    let to = Arc::clone(&state);
    test.with_session(peer, move |_, cx| *to.lock().unwrap() = Some(cx.state()));
    *state.lock().unwrap()
}

/// A session that is being closed: its peer takes nothing of what was written before.
fn closing() -> (ProbeLoop, Log, Peer, SessionHandle<Probe>) {
    let (mut test, log) = probes(lines(), |told, cx| {
        if *told == Told::Open {
            cx.join(Room);
            cx.attributes().set(NAME, "closing");
        }
        Then::Usual
    });
    let peer = test.connect();
    test.run_until_idle();
    peer.set_window(0);
    let session = test.session(&peer).unwrap();
    test.with_session(&peer, |_, cx| {
        cx.write("one").unwrap();
        cx.set_timer(Duration::from_secs(1), 1);
        cx.close();
        assert_eq!(cx.state(), SessionState::Closing);
    });
    test.run_until_idle();
    assert_eq!(log.lines(), ["open"]);
    (test, log, peer, session)
}

#[test]
fn an_open_session_is_connected_then_idle_then_connected_again() {
    let service = lines().configure(|config| {
        config.idle_read = Some(Duration::from_secs(2));
        config.idle_write = Some(Duration::from_secs(3));
        config.idle_both = Some(Duration::from_secs(4));
    });
    let (mut test, _) = probes(service, |told, _| match told {
        Told::Idle(..) => Then::Nothing,
        _ => Then::Usual,
    });
    let peer = test.connect();
    test.run_until_idle();
    assert_eq!(state_of(&mut test, &peer), Some(SessionState::Connected));
    test.advance(Duration::from_secs(2));
    let idle = |read, write, both| Some((read, write, both));
    let seen = |state: Option<SessionState>| match state {
        Some(SessionState::Idle { read, write, both, .. }) => Some((read, write, both)),
        _ => None,
    };
    assert_eq!(seen(state_of(&mut test, &peer)), idle(true, false, false));
    test.advance(Duration::from_secs(2));
    assert_eq!(seen(state_of(&mut test, &peer)), idle(true, true, true));
    peer.send("half a li");
    test.run_until_idle();
    assert_eq!(seen(state_of(&mut test, &peer)), idle(false, true, false), "bytes without a message count");
    test.with_session(&peer, |_, cx| drop(cx.write("out")));
    test.run_until_idle();
    assert_eq!(state_of(&mut test, &peer), Some(SessionState::Connected));
}

#[test]
fn an_idle_session_does_all_that_a_connected_one_does() {
    let service = lines().configure(|config| config.idle_read = Some(Duration::from_secs(1)));
    let (mut test, log) = probes(service, on_message(|text, cx| drop(cx.write(text))));
    let peer = test.connect();
    test.advance(Duration::from_secs(1));
    assert!(matches!(state_of(&mut test, &peer), Some(SessionState::Idle { read: true, .. })));
    test.session(&peer).unwrap().send("sent").unwrap();
    test.with_session(&peer, |_, cx| {
        assert!(matches!(cx.state(), SessionState::Idle { .. }));
        cx.pause_reading();
        cx.resume_reading();
        cx.set_timer(Duration::from_millis(10), 3);
    });
    test.advance(Duration::from_millis(10));
    peer.send("asked\n");
    test.run_until_idle();
    assert_eq!(peer.receive(), b"sent\nasked\n");
    assert_eq!(log.lines_but_written(), ["open", "idle Read 1", "timer 3", "message asked"]);
}

#[test]
fn a_closing_session_gets_no_message_idle_timer_or_end_of_input() {
    let (mut test, log, peer, _) = closing();
    test.with_session(&peer, |_, cx| {
        cx.configure(|config| config.idle_both = Some(Duration::from_secs(1)));
    });
    peer.send("message\n");
    peer.shutdown();
    test.advance(Duration::from_secs(2));
    assert_eq!(log.lines(), [""; 0]);
}

#[test]
fn a_closing_session_accepts_nothing() {
    let (mut test, _, peer, session) = closing();
    test.with_session(&peer, |_, cx| {
        assert!(matches!(cx.write("late"), Err(WriteError::Closed)));
        assert!(matches!(cx.write(""), Err(WriteError::Closed)), "an empty message neither");
    });
    assert!(matches!(session.send("late"), Err(WriteError::Closed)));
    test.manager().all().send("late").unwrap();
    test.run_until_idle();
    peer.set_window(usize::MAX);
    test.run_until_idle();
    assert_eq!(peer.receive(), b"one\n");
}

#[test]
fn a_closing_session_is_told_what_is_written() {
    let (mut test, log, peer, _) = closing();
    peer.set_window(usize::MAX);
    test.run_until_idle();
    assert!(peer.is_read_closed());
    peer.close();
    test.run_until_idle();
    assert_eq!(log.lines(), ["written 1", "close: closed by this side"]);
}

#[test]
fn closing_again_does_nothing() {
    let (mut test, log, peer, session) = closing();
    test.with_session(&peer, |_, cx| cx.close());
    session.close().unwrap();
    test.run_until_idle();
    assert_eq!(log.lines(), [""; 0]);
    peer.set_window(usize::MAX);
    test.run_until_idle();
    assert_eq!(peer.receive(), b"one\n");
}

#[test]
fn a_closing_session_can_be_aborted() {
    let (mut test, log, peer, session) = closing();
    session.abort().unwrap();
    test.run_until_idle();
    assert_eq!(log.lines(), ["close: closed by this side; unwritten from 1"]);
    assert_eq!(peer.receive(), b"");
}

#[test]
fn a_session_that_closes_and_aborts_in_one_callback_is_aborted() {
    let (mut test, log) = probes(lines(), |_, _| Then::Usual);
    let peer = test.connect();
    peer.set_window(0);
    test.with_session(&peer, |_, cx| {
        cx.write("lost").unwrap();
        cx.close();
        cx.abort();
        cx.abort();
    });
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "close: closed by this side; unwritten from 1"]);
}

#[test]
fn pausing_and_resuming_a_closing_session_does_nothing() {
    let (mut test, log, peer, _) = closing();
    peer.send("message\n");
    test.with_session(&peer, |_, cx| {
        cx.pause_reading();
        cx.resume_reading();
    });
    peer.set_window(usize::MAX);
    test.run_until_idle();
    peer.close();
    test.run_until_idle();
    assert_eq!(log.lines(), ["written 1", "close: closed by this side"]);
}

#[test]
fn a_closing_session_is_run_with_and_found_and_keeps_its_attributes() {
    let (mut test, _, peer, session) = closing();
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    session
        .run(move |_, cx| {
            assert_eq!(cx.attributes().get(NAME), Some(&"closing"));
            assert_eq!(cx.stats().messages_out, 1);
            assert!(cx.local_address().is_ok());
            count.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    test.run_until_idle();
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    assert_eq!(test.manager().keyed(&Room).ids(), [session.id()]);
    assert!(session.is_open(), "it has not ended yet");
    drop(peer);
}

#[test]
fn a_closed_session_has_all_but_writing_in_on_close_and_nothing_afterwards() {
    let (mut test, log) = probes(lines(), |told, cx| {
        match told {
            Told::Open => {
                cx.join(Room);
                cx.attributes().set(NAME, "closed");
            }
            Told::Close(..) => in_on_close(cx),
            _ => {}
        }
        Then::Usual
    });
    let peer = test.connect();
    peer.send("one\n");
    test.run_until_idle();
    let (session, manager) = (test.session(&peer).unwrap(), test.manager());
    peer.reset();
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "message one", "close: reset by the peer"]);

    assert!(!session.is_open());
    assert!(matches!(session.send("late"), Err(WriteError::Closed)));
    assert!(manager.session(session.id()).is_none());
    assert!(manager.keyed(&Room).is_empty());
    session.run(|_, _| panic!("it is dropped")).unwrap();
    session.close().unwrap();
    session.abort().unwrap();
    test.run_until_idle();
    assert_eq!(log.lines(), [""; 0]);
}

fn in_on_close(cx: &mut Cx<'_>) {
    assert_eq!(cx.state(), SessionState::Closed);
    assert!(matches!(cx.write("late"), Err(WriteError::Closed)));
    assert_eq!(cx.attributes().get(NAME), Some(&"closed"));
    assert_eq!(cx.stats().messages_in, 1);
    assert_eq!(cx.stats().throughput.bytes_in, 0.0);
    assert!(cx.local_address().is_ok());
    assert!(cx.has_key(&Room));
    assert_eq!(cx.manager().keyed(&Room).len(), 1);
    cx.close();
    cx.abort();
    cx.pause_reading();
    cx.resume_reading();
    cx.shutdown();
    cx.set_timer(Duration::ZERO, 1);
    let _ = cx.filters().remove("none");
}

#[test]
fn what_is_written_while_closing_is_told_before_on_close() {
    let (mut test, log) = probes(lines(), on_message(|text, cx| drop(cx.write(text))));
    let peer = test.connect();
    peer.set_window(4);
    peer.send("one\ntwo\n");
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "message one", "message two", "written 1"]);
    test.with_session(&peer, |_, cx| cx.close());
    peer.set_window(2);
    test.run_until_idle();
    peer.set_window(2);
    test.with_session(&peer, |_, cx| {
        cx.flush();
        cx.abort();
    });
    test.run_until_idle();
    assert_eq!(log.lines(), ["written 2", "close: closed by this side"]);
}
