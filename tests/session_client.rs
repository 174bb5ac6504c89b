//! Sessions of clients: connected, and connected again.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::codec::{Lines, Text};
use campana::connection::Backoff;
use campana::session::{FilterContext, MessageFilter, Session, SessionContext, SessionId, SessionService};
use campana::{CloseReason, TcpClient, TcpServer};

#[path = "support/server.rs"]
mod server;

use server::{PATIENCE, Running, read_to_end, wait_until};

/// What the sessions of one side have seen.
type Seen = Arc<Mutex<Vec<String>>>;

struct Noted {
    name: &'static str,
    number: usize,
    seen: Seen,
}

impl Noted {
    fn note(&self, what: &str) {
        self.seen.lock().unwrap().push(format!("{} {}: {what}", self.name, self.number));
    }
}

impl Session for Noted {
    type Codec = Text<Lines>;

    fn on_open(&mut self, cx: &mut SessionContext<'_, Self>) {
        self.note("open");
        if self.name == "client" {
            cx.write("hello").unwrap();
        }
    }

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        self.note(line);
        if self.name == "server" {
            cx.write("welcome").unwrap();
            cx.close();
        }
    }

    fn on_close(
        &mut self,
        _cx: &mut SessionContext<'_, Self>,
        reason: &CloseReason,
        _unwritten: Option<campana::session::WriteId>,
    ) {
        self.note(&reason.to_string());
    }
}

fn service() -> SessionService<Noted> {
    SessionService::new(|| Text::over(Lines::new()))
}

/// Makes sessions that are numbered from 1 on.
fn noted(
    name: &'static str,
    seen: &Seen,
) -> impl Fn(&mut campana::session::Opening<'_>) -> Noted + Send + Sync + use<> {
    let (count, seen) = (AtomicUsize::new(0), Arc::clone(seen));
    move |_| Noted { name, number: count.fetch_add(1, Ordering::Relaxed) + 1, seen: Arc::clone(&seen) }
}

fn quickly() -> Backoff {
    let mut backoff = Backoff::default();
    (backoff.initial, backoff.longest) = (Duration::from_millis(1), Duration::from_millis(5));
    backoff
}

#[test]
fn a_client_that_connects_again_has_a_new_session_each_time() {
    let seen = Seen::default();
    let of_server = noted("server", &Seen::default());
    let of_client = noted("client", &seen);
    let (running, sessions) = Running::start(move |event_loop| {
        let server = TcpServer::bind("127.0.0.1:0").unwrap();
        let (handle, _) = service().serve(server, event_loop, of_server).unwrap();
        let client = TcpClient::new(&handle.local_addresses()[0]).unwrap().retry(quickly()).reconnect();
        let (client, sessions) = service().connect(client, event_loop, of_client);
        drop((handle, client));
        sessions
    });
    wait_until("three sessions", || {
        seen.lock().unwrap().iter().any(|line| line == "client 3: closed by the peer")
    });
    assert!(sessions.stats().opened >= 3);
    running.stop();
    let seen = seen.lock().unwrap();
    let expected: Vec<_> = (1..=3)
        .flat_map(|number| {
            ["open", "welcome", "closed by the peer"].map(|what| format!("client {number}: {what}"))
        })
        .collect();
    assert_eq!(seen[..9], expected);
    assert_eq!(sessions.len(), 0);
}

/// Says goodbye.
struct Polite;

impl MessageFilter<Text<Lines>> for Polite {
    fn on_closing(&mut self, cx: &mut FilterContext<'_, Text<Lines>>) {
        cx.write("goodbye").unwrap();
    }
}

#[test]
fn a_client_that_is_stopped_closes_its_session_in_good_order() {
    let seen = Seen::default();
    let of_client = noted("stopped", &seen);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (running, client) = Running::start(move |event_loop| {
        let client = TcpClient::new(address).unwrap();
        service().filter("polite", || Polite).connect(client, event_loop, of_client).0
    });
    let (mut server, _) = listener.accept().unwrap();
    wait_until("the session", || !seen.lock().unwrap().is_empty());
    client.stop();
    assert_eq!(read_to_end(&mut server), b"goodbye\n");
    drop(server);
    assert!(client.wait_stopped(PATIENCE));
    assert_eq!(seen.lock().unwrap()[..], ["stopped 1: open", "stopped 1: stopping"]);
    running.stop();
}

#[test]
fn a_failure_to_connect_is_told_and_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failures: Arc<Mutex<Vec<(String, bool)>>> = Arc::default();
    let to = Arc::clone(&failures);
    let seen = Seen::default();
    let of_client = noted("client", &seen);
    let (running, ()) = Running::start(move |event_loop| {
        let client = TcpClient::new(address).unwrap().retry(quickly()).reconnect().on_connect_failed(
            move |_, error, retry| to.lock().unwrap().push((error.to_string(), retry.is_some())),
        );
        drop(service().connect(client, event_loop, of_client));
    });
    wait_until("two failures", || failures.lock().unwrap().len() >= 2);
    assert!(failures.lock().unwrap().iter().all(|(_, tries_again)| *tries_again));
    let (server, ()) = Running::start(move |event_loop| {
        let server = TcpServer::bind(address).unwrap();
        drop(service().serve(server, event_loop, noted("server", &Seen::default())).unwrap());
    });
    wait_until("a session", || !seen.lock().unwrap().is_empty());
    assert_eq!(seen.lock().unwrap()[0], "client 1: open");
    running.stop();
    server.stop();
}

#[test]
fn a_client_has_no_idle_time_unless_it_is_given_one() {
    type Times = Arc<Mutex<Vec<(Option<Duration>, SessionId)>>>;
    struct Quiet(Times);
    impl Session for Quiet {
        type Codec = Text<Lines>;
        fn on_open(&mut self, cx: &mut SessionContext<'_, Self>) {
            self.0.lock().unwrap().push((cx.config().idle_both, cx.id()));
        }
        fn on_message(&mut self, _cx: &mut SessionContext<'_, Self>, _line: &str) {}
    }
    let seen = Times::default();
    let (of_server, of_client) = (Arc::clone(&seen), Arc::clone(&seen));
    let (running, ()) = Running::start(move |event_loop| {
        let service = || SessionService::new(|| Text::over(Lines::new()));
        let server = TcpServer::bind("127.0.0.1:0").unwrap();
        let (handle, _) =
            service().serve(server, event_loop, move |_| Quiet(Arc::clone(&of_server))).unwrap();
        let client = TcpClient::new(&handle.local_addresses()[0]).unwrap();
        drop(service().connect(client, event_loop, move |_| Quiet(Arc::clone(&of_client))));
    });
    wait_until("both sessions", || seen.lock().unwrap().len() == 2);
    running.stop();
    let seen = seen.lock().unwrap();
    assert!(seen[0].1 != seen[1].1);
    let mut times = [seen[0].0, seen[1].0];
    times.sort_unstable();
    assert_eq!(times, [None, Some(Duration::from_secs(300))]);
}
