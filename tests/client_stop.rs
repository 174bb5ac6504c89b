//! Clients are stopped, at any moment and from anywhere, or end with their loop.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use campana::{ClientHandle, TcpClient};

#[path = "support/connecting.rs"]
mod connecting;
#[path = "support/server.rs"]
mod server;

use connecting::{backoff, hanging, nobody, start};
use server::{Log, Moment, PATIENCE, Recorder, Running, Server, read_to_end, wait_until};

#[test]
fn stopping_while_connecting_waiting_or_looking_up_ends_the_client_without_a_callback() {
    let (listener, fillers) = hanging();
    let hangs = listener.local_addr().unwrap();
    let waits = backoff(Duration::from_secs(3600), None);
    let connecting = || TcpClient::new(hangs).unwrap();
    let looking_up = || TcpClient::new("no-such-host.invalid:1").unwrap();
    for client in [connecting(), looking_up()] {
        let log = Log::default();
        let recorder = Recorder::new(&log, Moment::usual);
        // The attempt begins with the first turn, in which the stop comes, and before any answer.
        let (running, handle) = Running::start(move |event_loop| {
            let handle = client.retry(waits).start_with(event_loop, recorder);
            handle.stop();
            handle.stop();
            handle
        });
        assert!(handle.wait_stopped(PATIENCE));
        running.settle();
        let figures = running.figures();
        assert_eq!((figures.channels, figures.timers_pending, figures.connections), (0, 0, 0));
        running.stop();
        assert_eq!(log.lines(), [""; 0]);
    }
    let (running, handle, log) = start(TcpClient::new(nobody()).unwrap().retry(waits), Moment::usual);
    log.wait("the failure", |log| log.lines().len() == 1);
    handle.stop();
    assert!(handle.wait_stopped(PATIENCE));
    running.settle();
    assert_eq!(running.figures().timers_pending, 0);
    running.stop();
    assert_eq!(log.lines().len(), 1);
    drop(fillers);
}

#[test]
fn stopping_a_connected_client_delivers_what_is_pending() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpClient::new(listener.local_addr().unwrap())
        .unwrap()
        .configure(|config| config.socket = server::small_buffers())
        .reconnect();
    let (running, handle, log) = start(client, |moment, conn, input| match moment {
        Moment::Connect => conn.send(server::pattern(500_000)).unwrap(),
        _ => moment.usual(conn, input),
    });
    let (mut accepted, _) = listener.accept().unwrap();
    log.wait_count(Moment::Connect, 1);
    handle.stop();
    assert!(read_to_end(&mut accepted) == server::pattern(500_000));
    drop(accepted);
    assert!(handle.wait_stopped(PATIENCE));
    assert_eq!(log.reasons(), ["stopping"]);
    running.stop();
    log.assert_whole_lives(1);
}

#[test]
fn stopping_at_any_moment_leaves_nothing_behind() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data => drop(conn.send(input.take())),
        _ => moment.usual(conn, input),
    });
    let (running, ()) = Running::start(|_| ());
    let address = server.address();
    for moment in 0..100_u64 {
        let log = Log::default();
        let recorder = Recorder::new(&log, |moment, conn, input| match moment {
            Moment::Connect => conn.send("x").unwrap(),
            Moment::Data => drop(conn.send(input.take())),
            _ => moment.usual(conn, input),
        });
        let client = TcpClient::new(address).unwrap().reconnect();
        let handle = running.call(move |cx| client.start_with(cx, recorder));
        // From before the first turn to many exchanges later; a short spin, as sleeping is too coarse.
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(moment * moment / 4) {
            std::hint::spin_loop();
        }
        let stopper = handle.clone();
        drop(handle);
        let stopped = std::thread::spawn(move || {
            stopper.stop();
            stopper.wait_stopped(PATIENCE)
        });
        assert!(stopped.join().unwrap(), "moment {moment}");
        log.assert_whole_lives(log.ids().len());
        assert!(log.ids().len() <= 1, "it connected again after the stop");
    }
    running.settle();
    let figures = running.figures();
    assert_eq!((figures.channels, figures.timers_pending, figures.connections), (0, 0, 0));
    wait_until("the server to see them go", || server.handle.figures().connections == 0);
    let connections = server.log.ids().len();
    running.stop();
    server.end(connections);
}

#[test]
fn the_end_of_the_loop_ends_a_client_in_whatever_state_it_is() {
    let (listener, fillers) = hanging();
    let hangs = listener.local_addr().unwrap();
    let server = Server::start(Moment::usual);
    let connected = server.address();
    for endpoint in [hangs, nobody(), connected] {
        let client = TcpClient::new(endpoint).unwrap().retry(backoff(Duration::from_secs(60), None));
        let (running, handle, log) = start(client, Moment::usual);
        if endpoint == connected {
            log.wait_count(Moment::Connect, 1);
        }
        running.stop();
        assert!(handle.is_stopped());
        assert!(handle.wait_stopped(Duration::ZERO));
        assert!(handle.connection().is_none());
        handle.stop();
        log.assert_whole_lives(usize::from(endpoint == connected));
    }
    server.log.wait_closed();
    server.end(1);
    drop(fillers);
}

#[test]
fn a_client_may_be_dropped_or_stopped_inside_its_own_callbacks() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Connect => conn.send("hello").unwrap(),
        _ => moment.usual(conn, input),
    });
    for stop_in in [Moment::Connect, Moment::Data, Moment::Close] {
        let slot: Arc<Mutex<Option<ClientHandle<Recorder>>>> = Arc::default();
        let inside = Arc::clone(&slot);
        let log = Log::default();
        let recorder = Recorder::new(&log, move |moment, conn, input| {
            if moment == stop_in {
                let handle = inside.lock().unwrap().take().unwrap();
                handle.stop();
                assert!(!handle.wait_stopped(PATIENCE), "it would wait for itself");
            }
            if moment == Moment::Data {
                input.retrieve_all();
                conn.close();
            }
        });
        let client = TcpClient::new(server.address()).unwrap().reconnect();
        let in_start = Arc::clone(&slot);
        let (running, handle) = Running::start(move |event_loop| {
            let handle = client.start_with(event_loop, recorder);
            *in_start.lock().unwrap() = Some(handle.clone());
            handle
        });
        assert!(handle.wait_stopped(PATIENCE), "{stop_in:?}");
        running.stop();
        log.assert_whole_lives(1);
    }
    server.log.wait_count(Moment::Close, 3);
    server.end(3);
}
