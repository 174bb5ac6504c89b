use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::EventLoop;
use crate::socket::ListenOptions;

fn bind() -> Listener {
    Listener::bind(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::new()).unwrap()
}

/// So many listeners of one address.
fn siblings(count: usize) -> Vec<Listener> {
    let first = bind();
    let others: Vec<Listener> = (1..count).map(|_| first.share().unwrap()).collect();
    std::iter::once(first).chain(others).collect()
}

fn inodes(listeners: &[Listener]) -> Vec<u64> {
    let mut inodes: Vec<u64> =
        listeners.iter().map(|listener| rustix::fs::fstat(listener).unwrap().st_ino).collect();
    inodes.sort_unstable();
    inodes
}

/// How many listeners each loop gets; none is lost, and none goes to the base loop.
#[track_caller]
fn dealt(listeners: Vec<Listener>, loops: usize) -> Vec<usize> {
    let before = inodes(&listeners);
    let (of_base, of_loops) = deal_out(listeners, Spread::ListenerPerLoop, loops).unwrap();
    assert!(of_base.is_empty());
    let counts = of_loops.iter().map(Vec::len).collect();
    let after = inodes(&of_loops.into_iter().flatten().collect::<Vec<_>>());
    assert!(before.iter().all(|inode| after.binary_search(inode).is_ok()), "one was dropped");
    counts
}

#[test]
fn each_loop_gets_one_of_as_many_siblings_and_none_is_made() {
    assert_eq!(dealt(siblings(3), 3), [1, 1, 1]);
}

#[test]
fn missing_siblings_are_made() {
    assert_eq!(dealt(siblings(1), 3), [1, 1, 1]);
    assert_eq!(dealt(siblings(2), 5), [1, 1, 1, 1, 1]);
}

#[test]
fn more_siblings_than_loops_are_all_dealt_out() {
    assert_eq!(dealt(siblings(5), 2), [3, 2]);
    assert_eq!(dealt(siblings(4), 1), [4]);
}

#[test]
fn what_is_left_of_one_address_does_not_always_go_to_the_same_loop() {
    let mut listeners = siblings(3);
    listeners.extend(siblings(3));
    assert_eq!(dealt(listeners, 2), [3, 3]);
}

#[test]
fn siblings_of_several_addresses_may_come_mixed() {
    let (first, second) = (siblings(2), siblings(2));
    let mixed = first.into_iter().zip(second).flat_map(|(one, other)| [one, other]).collect();
    let (_, of_loops) = deal_out(mixed, Spread::ListenerPerLoop, 2).unwrap();
    for of_loop in of_loops {
        assert_eq!(by_address(of_loop).unwrap().len(), 2, "one of each address");
    }
}

#[test]
fn all_siblings_are_the_base_loops_where_it_hands_over() {
    let (of_base, of_loops) = deal_out(siblings(3), Spread::RoundRobin, 2).unwrap();
    assert_eq!(of_base.len(), 3);
    assert!(of_loops.iter().all(Vec::is_empty));
}

type Gathered = io::Result<Vec<Listener>>;

fn gather(parts: usize) -> (EventLoop, Vec<Part>, Receiver<Gathered>) {
    let event_loop = EventLoop::new().unwrap();
    let (report, reports) = channel();
    let gathering = Gathering::new(event_loop.handle(), move |_, listeners| report.send(listeners).unwrap());
    let parts = (0..parts).map(|number| gathering.part(number)).collect();
    (event_loop, parts, reports)
}

#[test]
fn what_is_gathered_is_in_the_order_of_the_loops() {
    let (mut event_loop, parts, reports) = gather(3);
    let listeners = siblings(3);
    let wanted: Vec<u64> =
        listeners.iter().map(|listener| rustix::fs::fstat(listener).unwrap().st_ino).collect();
    let answers: Vec<_> = parts.into_iter().zip(listeners).rev().collect();
    for (part, listener) in answers {
        event_loop.turn(Some(std::time::Duration::ZERO)).unwrap();
        assert!(reports.try_recv().is_err(), "not before all have answered");
        part.answer(Ok(vec![listener]));
    }
    event_loop.turn(Some(std::time::Duration::ZERO)).unwrap();
    let gathered = reports.try_recv().unwrap().unwrap();
    let gathered: Vec<u64> =
        gathered.iter().map(|listener| rustix::fs::fstat(listener).unwrap().st_ino).collect();
    assert_eq!(gathered, wanted);
}

#[test]
fn a_loop_that_ends_without_an_answer_has_no_listeners() {
    let (mut event_loop, mut parts, reports) = gather(2);
    drop(parts.remove(0));
    parts.remove(0).answer(Ok(vec![bind()]));
    event_loop.turn(Some(std::time::Duration::ZERO)).unwrap();
    assert_eq!(reports.try_recv().unwrap().unwrap().len(), 1);
}

#[test]
fn one_loop_that_fails_fails_all() {
    let (mut event_loop, parts, reports) = gather(3);
    for (number, part) in parts.into_iter().enumerate() {
        let answer = if number == 1 { Err(rustix::io::Errno::MFILE.into()) } else { Ok(vec![bind()]) };
        part.answer(answer);
    }
    event_loop.turn(Some(std::time::Duration::ZERO)).unwrap();
    let error = reports.try_recv().unwrap().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
}
