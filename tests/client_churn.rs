//! Clients that are started and stopped in great numbers, at every moment of their lives, leave nothing behind.

use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use campana::connection::{Backoff, Callbacks, ClientHandle, ConnectError};
use campana::reactor::LoopPool;
use campana::socket::SocketOptions;
use campana::{EventLoop, TcpClient, TcpServer};

#[path = "support/patience.rs"]
mod patience;

use patience::{PATIENCE, wait_until};

/// Some of the tests count the sockets of the process, which is one for all.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How many sockets this process has. Loops have other descriptors, some of which they make when they first need them.
fn sockets() -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    entries
        .filter(|entry| {
            std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        })
        .count()
}

fn quick_retries() -> Backoff {
    let mut backoff = Backoff::default();
    (backoff.initial, backoff.longest) = (Duration::from_millis(1), Duration::from_millis(4));
    backoff
}

fn start(pool: &LoopPool, client: TcpClient) -> ClientHandle<Callbacks> {
    let (report, reports) = mpsc::channel();
    pool.next().post(move |context| report.send(client.start(context)).unwrap()).unwrap();
    reports.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn clients_stopped_at_any_moment_end_and_leave_no_socket_channel_or_timer() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let base = EventLoop::new().unwrap();
    let servers = LoopPool::new(&base.handle(), 1).unwrap();
    let clients = LoopPool::new(&base.handle(), 2).unwrap();
    let unix = format!("unix:@churn-{}", std::process::id());
    let (report, reports) = mpsc::channel();
    let server = TcpServer::bind("127.0.0.1:0").unwrap().and_bind(&unix).unwrap();
    // Half of those who come are sent away at once, so that some clients are about to connect again when they are stopped.
    let came = AtomicUsize::new(0);
    let server = server.on_connect(move |conn| {
        if came.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            conn.close();
        }
    });
    servers.next().post(move |context| report.send(server.start(context).unwrap()).unwrap()).unwrap();
    let server = reports.recv_timeout(PATIENCE).unwrap();
    let tcp = server.local_addresses()[0].as_inet().unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoints = [
        tcp.to_string(),
        format!("localhost:{}", tcp.port()),
        dead.to_string(),
        unix,
        "unix:@nobody".to_owned(),
    ];

    let (connected, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let before = sockets();
    for round in 0..1000_u64 {
        let (connects, ends) = (Arc::clone(&connected), Arc::clone(&ended));
        let client = TcpClient::new(&endpoints[round as usize % endpoints.len()])
            .unwrap()
            .retry(quick_retries())
            .reconnect()
            .on_connect(move |_| {
                connects.fetch_add(1, Ordering::Relaxed);
            })
            .on_close(move |_, _| {
                ends.fetch_add(1, Ordering::Relaxed);
            });
        let client = start(&clients, client);
        // From none to some 2 ms: before, during and after the first attempt, and while it waits for another.
        let stop_at = Instant::now() + Duration::from_micros(round * 37 % 2000);
        while Instant::now() < stop_at {
            std::hint::spin_loop();
        }
        client.stop();
        client.stop();
        assert!(
            client.wait_stopped(PATIENCE),
            "round {round}: {}",
            endpoints[round as usize % endpoints.len()]
        );
        assert!(client.is_stopped() && client.connection().is_none());
    }
    assert!(connected.load(Ordering::Relaxed) > 50, "hardly any got so far");
    wait_until("as many ends as connections", || {
        connected.load(Ordering::Relaxed) == ended.load(Ordering::Relaxed)
    });
    wait_until("all sockets to be closed", || sockets() <= before);
    for event_loop in clients.handles() {
        wait_until("all channels and timers to be gone", || {
            event_loop.post(|_| ()).unwrap();
            let figures = event_loop.figures();
            (figures.channels, figures.timers_pending) == (0, 0)
        });
    }
}

#[test]
fn dropping_a_pool_ends_its_clients_whatever_they_are_about() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let live = listener.local_addr().unwrap();
    let dead: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let before = sockets();
    for _ in 0..20 {
        let base = EventLoop::new().unwrap();
        let pool = LoopPool::new(&base.handle(), 2).unwrap();
        let clients: Vec<_> = (0..20)
            .map(|number| {
                let endpoint = [live.to_string(), dead.to_string(), format!("localhost:{}", live.port())];
                let client =
                    TcpClient::new(&endpoint[number % 3]).unwrap().retry(quick_retries()).reconnect();
                start(&pool, client)
            })
            .collect();
        drop(pool);
        assert!(clients.iter().all(ClientHandle::is_stopped));
        clients.iter().for_each(ClientHandle::stop);
    }
    wait_until("all sockets to be closed", || sockets() <= before);
}

/// Runs one client to its end. Answers how it failed to connect.
fn failure_of(client: TcpClient) -> Option<String> {
    let mut event_loop = EventLoop::new().unwrap();
    let failure = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&failure);
    client
        .on_connect(|conn| conn.context().quit())
        .on_connect_failed(move |context, error: &ConnectError, retry| {
            assert_eq!(retry, None);
            *noted.lock().unwrap() = Some(error.to_string());
            context.quit();
        })
        .start(&mut event_loop);
    event_loop.context().run_after(PATIENCE, |context| context.quit());
    event_loop.run().unwrap();
    failure.lock().unwrap().take()
}

#[test]
fn a_connection_of_a_socket_to_itself_is_a_failure() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = TcpClient::new(port).unwrap();
    let client = client.configure(|config| config.socket = SocketOptions::new().local_address(port));
    let failure = failure_of(client).expect("it fails");
    assert!(failure.contains("connected to itself"), "{failure}");
}

#[test]
fn a_unix_backlog_that_stays_full_is_a_time_out_and_one_that_empties_is_not() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let name = format!("backlog-{}", std::process::id());
    let address = UnixAddress::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _first = UnixStream::connect_addr(&address).unwrap();
    let client = TcpClient::new(format!("unix:@{name}")).unwrap();
    let failure = failure_of(client.clone().connect_timeout(Duration::from_millis(50))).expect("it fails");
    assert!(failure.contains("took too long"), "{failure}");

    // Nothing reports that the client has been refused once; should it not have been, the test merely shows less.
    let accepting = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        (listener.accept().unwrap(), listener.accept().unwrap())
    });
    assert_eq!(failure_of(client), None);
    accepting.join().unwrap();
}

#[test]
fn a_client_connects_again_each_time_that_the_server_closes() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut event_loop = EventLoop::new().unwrap();
    let server = TcpServer::bind("127.0.0.1:0")
        .unwrap()
        .on_connect(|conn| {
            let _ = conn.send("bye");
            conn.close();
        })
        .start(&mut event_loop)
        .unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, handle) = (Arc::clone(&count), event_loop.handle());
    let client = TcpClient::new(server.local_addresses()[0].clone())
        .unwrap()
        .retry(quick_retries())
        .reconnect()
        .on_data(move |_, input| {
            assert_eq!(input.take(), b"bye");
            if counted.fetch_add(1, Ordering::Relaxed) == 20 {
                handle.quit();
            }
        })
        .start(&mut event_loop);
    event_loop.context().run_after(PATIENCE, |context| context.quit());
    event_loop.run().unwrap();
    assert!(count.load(Ordering::Relaxed) > 20);
    assert!(!client.is_stopped());
    drop(event_loop);
    assert!(client.is_stopped());
}
