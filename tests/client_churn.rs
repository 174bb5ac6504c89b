//! Clients that are started and stopped in great numbers, at every moment of their lives, leave nothing behind.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use campana::connection::{Backoff, Callbacks, ClientHandle};
use campana::reactor::LoopPool;
use campana::{EventLoop, TcpClient, TcpServer};

#[path = "support/alone.rs"]
mod alone;
#[path = "support/patience.rs"]
mod patience;

use alone::one_at_a_time;
use patience::{PATIENCE, wait_until};

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
    let _guard = one_at_a_time();
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
    let _guard = one_at_a_time();
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

#[test]
fn a_client_connects_again_each_time_that_the_server_closes() {
    let _guard = one_at_a_time();
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
