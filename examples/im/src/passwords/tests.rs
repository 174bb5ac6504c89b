use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Attempts, Passwords, QUEUE};
use crate::protocol::{ErrorCode, Failure};

const DEADLINE: Duration = Duration::from_secs(30);
/// The least there is, for hashes that are fast.
const MEMORY: u32 = 8;

fn hash(passwords: &Passwords, password: &str) -> String {
    let (give, result) = mpsc::channel();
    passwords.hash(password.to_owned(), move |hash| give.send(hash).unwrap());
    result.recv_timeout(DEADLINE).unwrap().unwrap()
}

fn check(passwords: &Passwords, password: &str, hash: Option<&str>) -> bool {
    let (give, result) = mpsc::channel();
    passwords.check(password.to_owned(), hash.map(str::to_owned), move |right| give.send(right).unwrap());
    result.recv_timeout(DEADLINE).unwrap().unwrap()
}

#[test]
fn the_right_password_alone_is_right() {
    let passwords = Passwords::start(2, MEMORY).unwrap();
    let stored = hash(&passwords, "correct horse");
    assert!(stored.starts_with("$argon2id$") && !stored.contains("horse"), "{stored}");
    assert_ne!(stored, hash(&passwords, "correct horse"), "no salt");
    assert!(check(&passwords, "correct horse", Some(&stored)));
    assert!(!check(&passwords, "correct hors", Some(&stored)));
    assert!(!check(&passwords, "correct horse", None));
    assert!(!check(&passwords, "nobody's", None));
    assert!(!check(&passwords, "x", Some("not a hash")));
    passwords.close();
}

#[test]
fn hashes_of_another_cost_stay_good() {
    let passwords = Passwords::start(1, 64).unwrap();
    let stored = hash(&passwords, "correct horse");
    passwords.close();
    let passwords = Passwords::start(1, MEMORY).unwrap();
    assert!(check(&passwords, "correct horse", Some(&stored)));
    passwords.close();
}

#[test]
fn what_finds_the_queue_full_is_refused_as_busy() {
    let passwords = Passwords::start(1, MEMORY).unwrap();
    let (go, gate) = mpsc::channel::<()>();
    passwords.check(String::new(), None, move |_| gate.recv_timeout(DEADLINE).unwrap());
    let (give, results) = mpsc::channel();
    let queued = QUEUE + 10;
    for _ in 0..queued {
        let give = give.clone();
        passwords.check(String::new(), None, move |right| give.send(right).unwrap());
    }
    let first: Result<bool, Failure> = results.recv_timeout(DEADLINE).unwrap();
    assert_eq!(first.unwrap_err().code, ErrorCode::Busy);
    go.send(()).unwrap();
    let checked = (1..queued).filter(|_| results.recv_timeout(DEADLINE).unwrap().is_ok()).count();
    assert!((QUEUE - 1..=QUEUE).contains(&checked), "{checked}");
    passwords.close();
}

#[test]
fn new_passwords_leave_room_for_those_that_are_to_be_checked() {
    let passwords = Passwords::start(1, MEMORY).unwrap();
    let (go, gate) = mpsc::channel::<()>();
    passwords.check(String::new(), None, move |_| gate.recv_timeout(DEADLINE).unwrap());
    let (give, hashed) = mpsc::channel();
    for _ in 0..QUEUE {
        let give = give.clone();
        passwords.hash("correct horse".to_owned(), move |hash| give.send(hash.is_ok()).unwrap());
    }
    assert!(!hashed.recv_timeout(DEADLINE).unwrap(), "all of the queue is taken");
    let (give, checked) = mpsc::channel();
    passwords.check("correct horse".to_owned(), None, move |right| give.send(right).unwrap());
    go.send(()).unwrap();
    assert_eq!(checked.recv_timeout(DEADLINE).unwrap(), Ok(false));
    passwords.close();
}

#[test]
fn what_waits_when_it_is_closed_is_refused() {
    let passwords = Passwords::start(1, MEMORY).unwrap();
    let ((go, gate), (started, starts)) = (mpsc::channel::<()>(), mpsc::channel());
    passwords.check(String::new(), None, move |_| {
        started.send(()).unwrap();
        gate.recv_timeout(DEADLINE).unwrap();
    });
    starts.recv_timeout(DEADLINE).unwrap();
    let (give, checked) = mpsc::channel();
    passwords.check(String::new(), None, move |right| give.send(right).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| passwords.close());
        while !passwords.closing.load(std::sync::atomic::Ordering::Relaxed) {
            std::thread::yield_now();
        }
        go.send(()).unwrap();
    });
    assert_eq!(checked.recv_timeout(DEADLINE).unwrap().map_err(|failure| failure.code), Err(ErrorCode::Busy));
}

const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

#[test]
fn an_account_is_refused_after_ten_failures_until_the_window_is_over() {
    let (attempts, start) = (Attempts::default(), Instant::now());
    for _ in 0..10 {
        let attempt = attempts.begin("Ann", None, start).unwrap();
        attempts.failed(attempt, start);
    }
    let refused = attempts.begin("ann", HERE, start + Duration::from_secs(59)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::TooManyAttempts);
    attempts.begin("bob", HERE, start).unwrap();
    attempts.begin("ann", HERE, start + Duration::from_secs(60)).unwrap();
}

#[test]
fn log_ins_that_succeed_do_not_count() {
    let (attempts, now) = (Attempts::default(), Instant::now());
    for _ in 0..200 {
        let attempt = attempts.begin("ann", HERE, now).unwrap();
        attempts.take_back(attempt);
    }
    assert!(attempts.lock().accounts.is_empty());
}

#[test]
fn log_ins_under_way_count_until_they_have_succeeded() {
    let (attempts, now) = (Attempts::default(), Instant::now());
    let under_way: Vec<_> = (0..10).map(|_| attempts.begin("ann", None, now).unwrap()).collect();
    attempts.begin("ann", None, now).unwrap_err();
    under_way.into_iter().for_each(|attempt| attempts.take_back(attempt));
    attempts.begin("ann", None, now).unwrap();
}

#[test]
fn an_address_is_refused_after_fifty_failures_whatever_the_account() {
    let (attempts, now) = (Attempts::default(), Instant::now());
    for number in 0..50 {
        let attempt = attempts.begin(&format!("user{number}"), HERE, now).unwrap();
        attempts.failed(attempt, now);
    }
    assert_eq!(attempts.begin("ann", HERE, now).unwrap_err().code, ErrorCode::TooManyAttempts);
    attempts.begin("ann", None, now).unwrap();
}

#[test]
fn the_addresses_of_one_network_count_as_one() {
    let (attempts, now) = (Attempts::default(), Instant::now());
    let address = |host| Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host)));
    for number in 0..50 {
        let attempt = attempts.begin(&format!("user{number}"), address(number), now).unwrap();
        attempts.failed(attempt, now);
    }
    attempts.begin("ann", address(999), now).unwrap_err();
    attempts.begin("ann", Some(IpAddr::V6(Ipv6Addr::LOCALHOST)), now).unwrap();
}

#[test]
fn accounts_are_forgotten_when_their_window_is_over() {
    let (attempts, start) = (Attempts::default(), Instant::now());
    for number in 0..super::attempts::REMEMBERED {
        attempts.begin(&number.to_string(), None, start).unwrap();
    }
    attempts.begin("ann", None, start + Duration::from_secs(61)).unwrap();
    assert_eq!(attempts.lock().accounts.len(), 1);
}
