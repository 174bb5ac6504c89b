//! Clients: connecting, failing to, trying again, and being stopped.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use campana::{ClientHandle, TcpClient};

#[path = "support/connecting.rs"]
mod connecting;
#[path = "support/server.rs"]
mod server;

use connecting::{backoff, nobody, start};
use server::{Log, Moment, PATIENCE, Recorder, Running, Server, half_close, read_exact, read_to_end};

#[test]
fn a_connection_is_used_and_closed_and_that_is_the_end_of_the_client() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data => conn.send(input.take()).unwrap(),
        _ => moment.usual(conn, input),
    });
    let client = TcpClient::new(server.address()).unwrap();
    let (running, handle, log) = start(client, |moment, conn, input| match moment {
        Moment::Connect => {
            assert!(conn.peer_address().as_inet().is_some());
            conn.send("hello").unwrap();
        }
        Moment::Data => {
            input.retrieve_all();
            conn.close();
        }
        _ => moment.usual(conn, input),
    });
    assert!(handle.wait_stopped(PATIENCE));
    assert!(handle.connection().is_none());
    assert_eq!(log.data(), b"hello");
    assert_eq!(log.reasons(), ["closed by this side"]);
    running.stop();
    log.assert_whole_lives(1);
    server.log.wait_closed();
    server.end(1);
}

#[test]
fn the_first_attempt_is_tried_again_until_somebody_listens() {
    let address = nobody();
    let client = TcpClient::new(address).unwrap().retry(backoff(Duration::from_millis(20), None));
    let (running, handle, log) = start(client, |moment, conn, input| match moment {
        Moment::Connect => conn.close(),
        _ => moment.usual(conn, input),
    });
    log.wait("three failures", |log| log.lines().len() >= 3);
    let listener = TcpListener::bind(address).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    assert_eq!(read_to_end(&mut accepted), b"");
    drop(accepted);
    assert!(handle.wait_stopped(PATIENCE));
    running.stop();
    log.assert_whole_lives(1);
    let failures = log.lines().into_iter().filter(|line| line.starts_with("ConnectFailed"));
    assert!(failures.into_iter().all(|line| line.ends_with("true)")));
}

#[test]
fn a_back_off_waits_longer_each_time_and_gives_up_after_its_attempts() {
    let initial = Duration::from_millis(40);
    let client = TcpClient::new(nobody()).unwrap().retry(backoff(initial, Some(4)));
    let began = Instant::now();
    let (running, handle, log) = start(client, Moment::usual);
    assert!(handle.wait_stopped(PATIENCE));
    // Three pauses of at least half of 40, 80 and 160 ms.
    assert!(began.elapsed() >= Duration::from_millis(140), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(2));
    running.stop();
    let last: Vec<_> = log.lines().iter().map(|line| line.ends_with("true)")).collect();
    assert_eq!(last, [true, true, true, false]);
}

#[test]
fn a_lost_connection_is_made_again_with_the_same_handler() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpClient::new(listener.local_addr().unwrap())
        .unwrap()
        .retry(backoff(Duration::from_millis(5), None))
        .reconnect();
    let (running, handle, log) = start(client, |moment, conn, input| match moment {
        Moment::Connect => conn.send("here again").unwrap(),
        _ => moment.usual(conn, input),
    });
    for round in 0..6 {
        let (mut accepted, _) = listener.accept().unwrap();
        assert_eq!(read_exact(&mut accepted, 10), b"here again");
        assert!(handle.connection().is_some());
        // In good order and by a reset, in turn.
        if round % 2 == 0 {
            drop(accepted)
        } else {
            server::reset(accepted)
        }
        log.wait_count(Moment::Close, round + 1);
    }
    let (mut last, _) = listener.accept().unwrap();
    read_exact(&mut last, 10);
    handle.stop();
    assert_eq!(read_to_end(&mut last), b"");
    drop(last);
    assert!(handle.wait_stopped(PATIENCE));
    running.stop();
    log.assert_whole_lives(7);
    assert_eq!(log.reasons().last().unwrap(), "stopping");
}

#[test]
fn without_reconnecting_a_lost_connection_is_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpClient::new(listener.local_addr().unwrap())
        .unwrap()
        .retry(backoff(Duration::from_millis(5), None));
    let (running, handle, log) = start(client, Moment::usual);
    drop(listener.accept().unwrap());
    assert!(handle.wait_stopped(PATIENCE));
    running.stop();
    log.assert_whole_lives(1);
    assert_eq!(log.reasons(), ["closed by the peer"]);
}

#[test]
fn a_host_name_is_looked_up_and_its_addresses_are_tried_one_after_the_other() {
    // `localhost` may have an IPv6 address first, on which nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpClient::new(&*format!("localhost:{port}")).unwrap();
    let (running, handle, log) = start(client, Moment::usual);
    let (mut accepted, _) = listener.accept().unwrap();
    log.wait_count(Moment::Connect, 1);
    handle.connection().unwrap().send("found").unwrap();
    assert_eq!(read_exact(&mut accepted, 5), b"found");
    drop(accepted);
    assert!(handle.wait_stopped(PATIENCE));
    running.stop();
    log.assert_whole_lives(1);
}

#[test]
fn a_name_that_does_not_exist_is_one_failure_and_holds_nobody_up() {
    let client = TcpClient::new("no-such-host.invalid:80").unwrap();
    let (running, handle, log) = start(client, Moment::usual);
    // The loop turns while the name is looked up.
    running.settle();
    assert!(handle.wait_stopped(PATIENCE));
    assert!(running.figures().longest_callback < Duration::from_millis(500));
    running.stop();
    assert_eq!(log.lines().len(), 1);
    // Where there is no resolver at all it may take longer than the deadline to learn that.
    let line = log.lines().remove(0);
    assert!(line.contains("could not be looked up") || line.contains("took too long"), "{line}");
}

fn full_unix_listener(name: &str) -> (UnixListener, Vec<UnixStream>, UnixAddress) {
    let address = UnixAddress::from_abstract_name(name).unwrap();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap())
        .unwrap();
    socket.listen(0).unwrap();
    let listener = UnixListener::from(std::os::fd::OwnedFd::from(socket));
    let filler = UnixStream::connect_addr(&address).unwrap();
    (listener, vec![filler], address)
}

#[test]
fn a_unix_listener_with_a_full_backlog_is_tried_until_there_is_room() {
    let name = format!("campana-client-full-{}", std::process::id());
    let (listener, fillers, _) = full_unix_listener(&name);
    let (running, handle, log) = start(TcpClient::new(&*format!("unix:@{name}")).unwrap(), Moment::usual);
    let turns = running.idle_turns(Duration::from_millis(300));
    assert!(turns <= 100, "{turns} turns while the backlog is full");
    assert_eq!(log.lines().len(), 0);
    drop(listener.accept().unwrap());
    let (accepted, _) = listener.accept().unwrap();
    log.wait_count(Moment::Connect, 1);
    drop((accepted, fillers));
    assert!(handle.wait_stopped(PATIENCE));
    running.stop();
    log.assert_whole_lives(1);
}

#[test]
fn a_unix_listener_whose_backlog_stays_full_is_given_up_at_the_deadline() {
    let name = format!("campana-client-stays-full-{}", std::process::id());
    let (listener, fillers, _) = full_unix_listener(&name);
    let timeout = Duration::from_millis(150);
    let client = TcpClient::new(&*format!("unix:@{name}")).unwrap().connect_timeout(timeout);
    let began = Instant::now();
    let (running, handle, log) = start(client, Moment::usual);
    assert!(handle.wait_stopped(PATIENCE));
    assert!(began.elapsed() >= timeout);
    running.stop();
    assert_eq!(log.lines(), ["ConnectFailed(connecting took too long, false)"]);
    drop((listener, fillers));
}

#[test]
fn the_handle_of_a_client_knows_its_connection_in_every_callback_but_the_last() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Connect => conn.send("hello").unwrap(),
        _ => moment.usual(conn, input),
    });
    let slot: Arc<Mutex<Option<ClientHandle<Recorder>>>> = Arc::default();
    let inside = Arc::clone(&slot);
    let log = Log::default();
    let recorder = Recorder::new(&log, move |moment, conn, input| {
        let connection = inside.lock().unwrap().as_ref().unwrap().connection();
        let is_this = connection.is_some_and(|handle| handle.id() == conn.id() && handle.is_open());
        assert_eq!(is_this, moment != Moment::Close, "in {moment:?}");
        if moment == Moment::Data {
            conn.close();
        }
        input.retrieve_all();
    });
    let client = TcpClient::new(server.address()).unwrap();
    let (running, handle) = Running::start(move |event_loop| {
        let handle = client.start_with(event_loop, recorder);
        *slot.lock().unwrap() = Some(handle.clone());
        handle
    });
    assert!(handle.wait_stopped(PATIENCE));
    assert_eq!(running.figures().panics, 0);
    running.stop();
    log.assert_whole_lives(1);
    server.log.wait_closed();
    server.end(1);
}

#[test]
fn many_clients_on_one_loop_are_independent() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data => conn.send(input.take()).unwrap(),
        _ => moment.usual(conn, input),
    });
    let address = server.address();
    let echoed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&echoed);
    let (running, handles) = Running::start(move |event_loop| {
        let make = |number: usize| {
            let counted = Arc::clone(&counted);
            let text = format!("client {number:03}");
            let expected = text.clone();
            TcpClient::new(address)
                .unwrap()
                .on_connect(move |conn| conn.send(&text))
                .on_data(move |conn, input| {
                    if input.readable() == expected.len() {
                        assert_eq!(input.take(), expected.as_bytes());
                        counted.fetch_add(1, Ordering::SeqCst);
                        conn.close();
                    }
                })
                .start(event_loop)
        };
        (0..200).map(make).collect::<Vec<_>>()
    });
    for handle in &handles {
        assert!(handle.wait_stopped(PATIENCE));
    }
    assert_eq!((echoed.load(Ordering::SeqCst), running.figures().panics), (200, 0));
    running.stop();
    server.log.wait_count(Moment::Close, 200);
    server.end(200);
}

#[test]
fn a_peer_that_closes_at_once_is_one_whole_life() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..20 {
        let client = TcpClient::new(listener.local_addr().unwrap()).unwrap();
        let (running, handle, log) = start(client, Moment::usual);
        let (accepted, _): (TcpStream, _) = listener.accept().unwrap();
        half_close(&accepted);
        server::reset(accepted);
        assert!(handle.wait_stopped(PATIENCE));
        running.stop();
        let failed = log.lines().len() == 1;
        log.assert_whole_lives(usize::from(!failed));
    }
}

#[test]
fn a_client_half_closes_and_still_reads_the_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpClient::new(listener.local_addr().unwrap()).unwrap();
    let (running, handle, log) = start(client, |moment, conn, input| match moment {
        Moment::Connect => {
            conn.send("question").unwrap();
            conn.shutdown();
        }
        _ => moment.usual(conn, input),
    });
    let (mut accepted, _) = listener.accept().unwrap();
    let mut question = String::new();
    accepted.read_to_string(&mut question).unwrap();
    accepted.write_all(format!("answer to {question}").as_bytes()).unwrap();
    drop(accepted);
    assert!(handle.wait_stopped(PATIENCE));
    running.stop();
    assert_eq!(log.data(), b"answer to question");
    assert_eq!(log.reasons(), ["closed by this side"]);
    log.assert_whole_lives(1);
}
