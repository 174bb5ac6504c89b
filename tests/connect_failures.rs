//! However connecting fails, it is told once and with its reason, and neither a descriptor nor a timer is left.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use campana::TcpClient;
use campana::connection::Backoff;
use campana::socket::{Address, SocketOptions};

#[path = "support/alone.rs"]
mod alone;
#[path = "support/connecting.rs"]
mod connecting;
#[path = "support/server.rs"]
mod server;

use alone::one_at_a_time;
use connecting::{backoff, hanging, nobody, start};
use server::{Log, Moment, PATIENCE, Recorder, Running, Server, open_descriptors, wait_until};

/// A client's failures with what follows from each, and how many turns its loop made.
fn failures(client: TcpClient) -> (Vec<String>, u64) {
    let before = open_descriptors();
    let (running, handle, log) = start(client, Moment::usual);
    assert!(handle.wait_stopped(PATIENCE));
    running.settle();
    let figures = running.figures();
    assert_eq!((figures.channels, figures.timers_pending, figures.connections), (0, 0, 0));
    let turns = running.idle_turns(Duration::from_millis(50));
    assert!(turns <= 5, "{turns} turns after the end");
    running.stop();
    // The handle keeps what its loop is woken by.
    drop(handle);
    assert_eq!(open_descriptors(), before, "descriptors are left");
    assert_eq!(log.ids().len(), 0, "a connection was told of");
    (log.lines(), figures.turns)
}

#[track_caller]
fn fails_once(client: TcpClient, reason: &str) {
    let (lines, turns) = failures(client);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains(reason) && lines[0].ends_with(", false)"), "{lines:?}, not {reason}");
    assert!(turns <= 20, "{turns} turns for one attempt");
}

fn from(local: SocketAddr, to: SocketAddr) -> TcpClient {
    let options = SocketOptions::new().local_address(local);
    TcpClient::new(to).unwrap().configure(|config| config.socket = options)
}

#[test]
fn a_refusal_is_one_failure_on_every_kind_of_socket() {
    let _guard = one_at_a_time();
    fails_once(TcpClient::new(nobody()).unwrap(), "connection refused: nobody listens there");
    let v6 = TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap();
    fails_once(TcpClient::new(v6).unwrap(), "connection refused");
    let name = format!("campana-nobody-{}", std::process::id());
    fails_once(TcpClient::new(Address::unix_abstract(&name).unwrap()).unwrap(), "connection refused");
    fails_once(TcpClient::new(Address::seqpacket_abstract(&name).unwrap()).unwrap(), "connection refused");
}

#[test]
fn a_path_without_a_server_is_one_failure_that_says_what_is_there_instead() {
    let _guard = one_at_a_time();
    let directory = std::env::temp_dir().join(format!("campana-connect-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let [stale, file, missing] = ["stale", "file", "missing"].map(|name| directory.join(name));
    drop(UnixListener::bind(&stale).unwrap());
    std::fs::write(&file, "no socket").unwrap();
    for (path, reason) in
        [(&stale, "connection refused"), (&file, "connection refused"), (&missing, "No such file")]
    {
        fails_once(TcpClient::new(Address::unix_path(path).unwrap()).unwrap(), reason);
    }
    assert!(stale.exists(), "it is the server's to replace");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_deadline_that_passes_while_connecting_is_one_failure() {
    let _guard = one_at_a_time();
    let (listener, fillers) = hanging();
    let client = TcpClient::new(listener.local_addr().unwrap()).unwrap();
    let timeout = Duration::from_millis(150);
    let began = Instant::now();
    fails_once(client.connect_timeout(timeout), "took too long");
    assert!((timeout..Duration::from_secs(5)).contains(&began.elapsed()), "{:?}", began.elapsed());
    drop(fillers);
}

#[test]
fn a_listener_that_goes_away_while_somebody_connects_refuses_them() {
    let _guard = one_at_a_time();
    let (listener, fillers) = hanging();
    let client = TcpClient::new(listener.local_addr().unwrap()).unwrap().connect_timeout(PATIENCE);
    let (running, handle, log) = start(client, Moment::usual);
    wait_until("the attempt", || running.figures().channels == 1);
    let before = open_descriptors();
    drop(listener);
    // The kernel asks again after a second, and is told so.
    assert!(handle.wait_stopped(PATIENCE));
    running.settle();
    assert_eq!(log.lines(), ["ConnectFailed(connection refused: nobody listens there, false)"]);
    // The listener's and the client's own.
    assert_eq!(open_descriptors(), before - 2);
    assert!(running.figures().turns <= 20);
    drop((running, fillers));
}

#[test]
fn a_client_that_is_stopped_while_connecting_gives_its_descriptor_back_and_calls_nobody() {
    let _guard = one_at_a_time();
    let (listener, fillers) = hanging();
    let before = open_descriptors();
    let (running, handle, log) =
        start(TcpClient::new(listener.local_addr().unwrap()).unwrap(), Moment::usual);
    wait_until("the attempt", || running.figures().channels == 1);
    handle.stop();
    assert!(handle.wait_stopped(PATIENCE));
    running.settle();
    assert_eq!((running.figures().channels, running.figures().timers_pending), (0, 0));
    running.stop();
    drop(handle);
    assert_eq!(log.lines(), [""; 0]);
    assert_eq!(open_descriptors(), before);
    drop(fillers);
}

#[test]
fn a_socket_that_would_be_connected_to_itself_is_one_failure() {
    let _guard = one_at_a_time();
    let address = nobody();
    fails_once(from(address, address), "connected to itself");
}

#[test]
fn an_own_address_that_cannot_be_had_is_one_failure() {
    let _guard = one_at_a_time();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    fails_once(from(taken, nobody()), "Address already in use");
    fails_once(from("192.0.2.1:0".parse().unwrap(), taken), "Cannot assign requested address");
}

#[test]
fn many_attempts_in_vain_are_as_many_failures_and_leave_nothing() {
    let _guard = one_at_a_time();
    let mut quick: Backoff = backoff(Duration::from_millis(1), Some(50));
    quick.longest = Duration::from_millis(2);
    let began = Instant::now();
    let (lines, turns) = failures(TcpClient::new(nobody()).unwrap().retry(quick));
    assert_eq!(lines.len(), 50);
    assert!(lines[..49].iter().all(|line| line.ends_with("true)")) && lines[49].ends_with("false)"));
    assert!(turns <= 50 * 10, "{turns} turns for 50 attempts");
    // Each pause is of half its length at least.
    assert!(began.elapsed() >= Duration::from_millis(49));
}

#[test]
fn one_client_started_twice_is_two_connections() {
    let _guard = one_at_a_time();
    let server = Server::start(Moment::usual);
    let client = TcpClient::new(server.address()).unwrap();
    let log = Log::default();
    let recorders = [(); 2].map(|()| Recorder::new(&log, Moment::usual));
    let (running, handles) = Running::start(move |event_loop| {
        recorders.map(|recorder| client.clone().start_with(event_loop, recorder))
    });
    log.wait_count(Moment::Connect, 2);
    wait_until("both to be accepted", || server.handle.figures().connections == 2);
    handles[0].stop();
    assert!(handles[0].wait_stopped(PATIENCE));
    assert!(handles[1].connection().is_some_and(|handle| handle.is_open()));
    handles[1].stop();
    assert!(handles[1].wait_stopped(PATIENCE));
    running.stop();
    log.assert_whole_lives(2);
    server.log.wait_count(Moment::Close, 2);
    server.end(2);
}
