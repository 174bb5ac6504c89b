//! Whatever accept answers, the loop goes on accepting, rests in between, and serves the others.

use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use campana::TcpServer;
use campana::socket::{ListenOptions, Listener};
use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

#[path = "support/connecting.rs"]
mod connecting;
#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, connect, echo, is_served, wait_until};

/// Lets every accept on one descriptor fail, on the calling thread and for good.
fn forbid_accept(listener: RawFd, errno: Errno) {
    let is_it = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, listener as u64).unwrap();
    let rule = SeccompRule::new(vec![is_it]).unwrap();
    let calls = [libc::SYS_accept, libc::SYS_accept4].into_iter().map(|call| (call, vec![rule.clone()]));
    let filter = SeccompFilter::new(
        calls.collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.raw_os_error() as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    seccompiler::apply_filter(&BpfProgram::try_from(filter.unwrap()).unwrap()).unwrap();
}

fn listener() -> Listener {
    Listener::bind(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::new()).unwrap()
}

/// Counts the lines that tell of one error.
struct Lines;

static LINES: AtomicUsize = AtomicUsize::new(0);
const LOGGED: Errno = Errno::NOMEM;

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        let error = std::io::Error::from(LOGGED).to_string();
        if text.starts_with("accepting fails") && text.contains(&error) {
            LINES.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn flush(&self) {}
}

fn served_while_accept_answers(errno: Errno) {
    let (failing, sound) = (listener(), listener());
    let failing_fd = failing.as_raw_fd();
    let [failing_at, sound_at] = [&failing, &sound].map(|l| l.local_address().unwrap().as_inet().unwrap());
    let server = TcpServer::from_listeners(vec![failing, sound])
        .thread_init(move |_| forbid_accept(failing_fd, errno))
        .shed_after(Duration::ZERO);
    let server = Server::of(server, echo);
    let mut other = connect(sound_at);
    is_served(&mut other);
    // The kernel completes the connection, which then waits.
    let waiting = connect(failing_at);
    wait_until("the error", || server.handle.figures().accept_errors > 0);

    let turns = server.running.idle_turns(Duration::from_millis(550));
    assert!(turns <= 20, "{errno:?}: {turns} turns; it is to be tried again ten times a second");
    let first = server.handle.figures().accept_errors;
    wait_until("one more attempt", || server.handle.figures().accept_errors > first);
    is_served(&mut other);
    let mut newcomer = connect(sound_at);
    is_served(&mut newcomer);
    assert_eq!(server.log.count(Moment::Connect), 2, "{errno:?}");
    drop((waiting, other, newcomer));
    server.log.wait_count(Moment::Close, 2);
    server.end(2);
}

/// All at once, as each takes a while to show that nothing spins.
fn served_whatever_accept_answers(errors: &[Errno]) {
    std::thread::scope(|scope| {
        for errno in errors {
            scope.spawn(|| served_while_accept_answers(*errno));
        }
    });
}

#[test]
fn a_system_that_has_run_out_of_something_is_asked_again_and_others_are_served() {
    served_whatever_accept_answers(&[Errno::NFILE, Errno::MFILE, Errno::NOBUFS, Errno::INVAL, Errno::ACCESS]);
}

#[test]
fn errors_of_single_connections_that_never_end_do_not_make_the_loop_spin() {
    served_whatever_accept_answers(&[Errno::CONNABORTED, Errno::PROTO, Errno::PERM, Errno::OPNOTSUPP]);
}

#[test]
fn an_error_that_lasts_is_logged_about_once_a_second() {
    log::set_logger(&Lines).unwrap();
    log::set_max_level(log::LevelFilter::Error);
    let failing = listener();
    let failing_fd = failing.as_raw_fd();
    let address = failing.local_address().unwrap().as_inet().unwrap();
    let server = TcpServer::from_listeners(vec![failing]);
    let server = Server::of(server.thread_init(move |_| forbid_accept(failing_fd, LOGGED)), echo);
    let waiting = connect(address);
    wait_until("twenty errors", || server.handle.figures().accept_errors >= 20);
    let lines = LINES.load(Ordering::SeqCst);
    // Twenty attempts take two seconds, or longer on a busy machine.
    assert!((2..=10).contains(&lines), "{lines} lines");
    drop(waiting);
    server.end(0);
}

#[test]
fn one_loop_that_cannot_accept_leaves_the_others_accepting() {
    use campana::connection::Spread;
    let failing = listener();
    let failing_fd = failing.as_raw_fd();
    let address = failing.local_address().unwrap().as_inet().unwrap();
    let server = TcpServer::from_listeners(vec![failing]).threads(3).spread(Spread::ListenerPerLoop);
    // The first loop has this listener, the others have siblings of it.
    let server = Server::of(server.thread_init(move |_| forbid_accept(failing_fd, Errno::NFILE)), echo);
    let clients: Vec<TcpStream> = (0..60).map(|_| connect(address)).collect();
    wait_until("the error", || server.handle.figures().accept_errors > 0);
    // A third of them wait with the loop that fails; with so many, the others have most.
    server.log.wait("the others", |log| log.count(Moment::Connect) > 20);
    drop(clients);
    let accepted = server.handle.figures().accepted as usize;
    server.log.wait_count(Moment::Close, accepted);
    server.running.stop();
}

#[test]
fn a_listener_that_somebody_has_shut_down_serves_again_when_it_listens_again() {
    // A port that was asked for stays the socket's when it listens no more.
    let address = connecting::nobody();
    let listener = Listener::bind(&address.into(), &ListenOptions::new()).unwrap();
    let duplicate = listener.as_fd().try_clone_to_owned().unwrap();
    let server = Server::of(TcpServer::from_listeners(vec![listener]), echo);
    let mut before = connect(address);
    is_served(&mut before);
    rustix::net::shutdown(&duplicate, rustix::net::Shutdown::Both).unwrap();
    wait_until("the error", || server.handle.figures().accept_errors > 0);
    let turns = server.running.idle_turns(Duration::from_millis(550));
    assert!(turns <= 20, "{turns} turns while nobody can be accepted");
    assert!(TcpStream::connect(address).is_err());
    is_served(&mut before);

    rustix::net::listen(&duplicate, 16).unwrap();
    let mut after = connect(address);
    is_served(&mut after);
    drop((before, after));
    server.log.wait_count(Moment::Close, 2);
    server.end(2);
}
