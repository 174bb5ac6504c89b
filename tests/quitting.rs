//! Quitting with everything still alive: every callback that is owed is called, and no descriptor or thread is left.
//!
//! The tests count the descriptors and threads of the process, so they run one after the other.

use std::io::Write;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::reactor::LoopPool;
use campana::{Buffer, ConnectionHandle, EventLoop, LoopContext, TcpClient, TcpConnection, TcpServer};

#[path = "support/alone.rs"]
mod alone;
#[path = "support/server.rs"]
mod server;

use alone::one_at_a_time;
use server::{
    Log, Moment, Recorder, Running, Server, connect, connect_narrow, half_close, open_descriptors, pattern,
    reset, small_buffers, wait_gone, wait_until,
};

const LATER: Duration = Duration::from_secs(3600);
/// What the peers of [`Everything`] ask for; the last one is left to the test.
const REQUESTS: [&str; 7] = ["idle", "much", "close", "pause", "timer", "half-close", "quiet"];
/// With both ends of the client's.
const CONNECTIONS: usize = REQUESTS.len() + 2;

/// How many threads of pools there are.
fn pool_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("loop-")).count()
}

/// Runs `round` twice, and checks that the second time leaves nothing; the first one leaves what is made only once.
#[track_caller]
fn leaves_nothing(mut round: impl FnMut()) {
    round();
    let before = open_descriptors();
    round();
    wait_until("all descriptors to be closed", || open_descriptors() == before);
    // The system takes a moment to clear one away that has been joined.
    wait_until("all threads to be gone", || pool_threads() == 0);
}

/// Does what its peer asks for, and leaves every end to others.
fn act(moment: Moment, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
    if moment != Moment::Data {
        return;
    }
    match input.take() {
        b"much" => conn.send(pattern(1_000_000)).unwrap(),
        b"close" => {
            conn.send(pattern(1_000_000)).unwrap();
            conn.close();
        }
        b"pause" => conn.pause_reading(),
        b"timer" => drop(conn.set_timer(LATER, 0)),
        b"little" => conn.send("little").unwrap(),
        b"soon" => drop(conn.set_timer(Duration::from_millis(1), 1)),
        _ => {}
    }
}

/// A server with connections in every state, and a client of it on the same loop.
struct Everything {
    server: Server,
    peers: Vec<TcpStream>,
    /// Kept until all is over: handles keep nothing open.
    handles: Arc<Mutex<Vec<ConnectionHandle>>>,
}

impl Everything {
    fn start(threads: usize) -> Self {
        Self::with(threads, |_, _| {})
    }

    /// `then` is called in each callback of the server's.
    fn with(threads: usize, then: impl Fn(Moment, &mut TcpConnection<'_>) + Send + Sync + 'static) -> Self {
        let handles: Arc<Mutex<Vec<_>>> = Arc::default();
        let kept = Arc::clone(&handles);
        let server = TcpServer::bind("127.0.0.1:0").unwrap().threads(threads).configure(|config| {
            config.socket = small_buffers();
            config.idle = Some(LATER);
            config.linger = LATER;
        });
        let server = Server::of(server, move |moment, conn, input| {
            if moment == Moment::Connect {
                kept.lock().unwrap().push(conn.handle());
            }
            act(moment, conn, input);
            then(moment, conn);
        });
        let peers = REQUESTS.map(|request| {
            let mut peer = connect_narrow(server.address());
            peer.write_all(request.as_bytes()).unwrap();
            if request == "half-close" {
                half_close(&peer);
            }
            peer
        });
        let (log, address) = (server.log.clone(), server.address());
        server.running.call(move |cx| {
            TcpClient::new(address).unwrap().start_with(cx, Recorder::new(&log, |_, _, _| {}));
        });
        server.log.wait_count(Moment::Connect, CONNECTIONS);
        server.log.wait_count(Moment::Data, REQUESTS.len());
        server.log.wait_count(Moment::ReadClosed, 1);
        Self { server, peers: peers.into(), handles }
    }

    /// Waits for the end of the loop, which somebody else has asked for.
    #[track_caller]
    fn wait_ended(self, connections: usize) {
        let Self { server, mut peers, handles } = self;
        wait_until("the loop to end", || !server.running.handle().is_alive());
        let handle = server.handle.clone();
        let log = server.end(connections);
        assert!(handle.is_stopped());
        let reasons = log.reasons();
        let stopping = reasons.iter().filter(|reason| *reason == "stopping").count();
        // But for the one that was closed before, and the one that may have been reset.
        assert!(stopping >= connections - 2, "{reasons:?}");
        peers.iter_mut().for_each(wait_gone);
        assert!(handles.lock().unwrap().iter().all(|handle| !handle.is_open()));
    }
}

/// Quits in the callback that `provoke` brings about for the last of the peers.
#[track_caller]
fn quit_in(moment: Moment, provoke: impl Fn(&mut Everything)) {
    let _alone = one_at_a_time();
    leaves_nothing(|| {
        let armed = Arc::new(AtomicBool::new(false));
        let is_armed = Arc::clone(&armed);
        let mut everything = Everything::with(0, move |called, conn| {
            if called == moment && is_armed.load(Ordering::SeqCst) {
                conn.context().quit();
            }
        });
        armed.store(true, Ordering::SeqCst);
        provoke(&mut everything);
        let connections = if moment == Moment::Connect { CONNECTIONS + 1 } else { CONNECTIONS };
        everything.wait_ended(connections);
    });
}

fn ask_for(request: &str) -> impl Fn(&mut Everything) {
    move |everything| everything.peers.last_mut().unwrap().write_all(request.as_bytes()).unwrap()
}

#[test]
fn quit_in_on_connect_ends_everything() {
    quit_in(Moment::Connect, |everything| {
        let late = connect(everything.server.address());
        everything.peers.push(late);
    });
}

#[test]
fn quit_in_on_data_ends_everything() {
    quit_in(Moment::Data, ask_for("whatever"));
}

#[test]
fn quit_in_on_write_complete_ends_everything() {
    quit_in(Moment::WriteComplete, ask_for("little"));
}

#[test]
fn quit_in_on_high_water_ends_everything() {
    quit_in(Moment::HighWater, ask_for("much"));
}

#[test]
fn quit_in_on_timer_ends_everything() {
    quit_in(Moment::Timer(1), ask_for("soon"));
}

#[test]
fn quit_in_on_read_closed_ends_everything() {
    quit_in(Moment::ReadClosed, |everything| half_close(everything.peers.last().unwrap()));
}

#[test]
fn quit_in_on_close_ends_everything() {
    quit_in(Moment::Close, |everything| reset(everything.peers.pop().unwrap()));
}

#[test]
fn quit_by_a_task_or_a_timer_ends_everything() {
    let _alone = one_at_a_time();
    let ways: [fn(&mut LoopContext); 4] = [
        LoopContext::quit,
        |cx| cx.run_later(LoopContext::quit),
        |cx| {
            cx.run_after(Duration::from_millis(1), LoopContext::quit);
        },
        |cx| {
            cx.run_every(Duration::from_millis(1), LoopContext::quit);
        },
    ];
    for way in ways {
        leaves_nothing(|| {
            let everything = Everything::start(0);
            everything.server.running.handle().post(way).unwrap();
            everything.wait_ended(CONNECTIONS);
        });
    }
}

#[test]
fn quit_by_another_thread_ends_everything_on_all_loops() {
    let _alone = one_at_a_time();
    for threads in [0, 1, 3] {
        leaves_nothing(|| {
            let everything = Everything::start(threads);
            let handle = everything.server.running.handle().clone();
            std::thread::spawn(move || handle.quit()).join().unwrap();
            everything.wait_ended(CONNECTIONS);
        });
    }
}

#[test]
fn quit_before_run_ends_those_who_wait_without_a_callback() {
    let _alone = one_at_a_time();
    for threads in [0, 2] {
        leaves_nothing(|| {
            let log = Log::default();
            let for_handlers = log.clone();
            let (running, (server, mut peers)) = Running::start(move |event_loop| {
                let server = TcpServer::bind("127.0.0.1:0").unwrap().threads(threads);
                let make = move |_: &mut LoopContext, _: &_| Recorder::new(&for_handlers, |_, _, _| {});
                let server = server.start_with(event_loop, make).unwrap();
                let address = server.local_addresses()[0].as_inet().unwrap();
                let peers: Vec<_> = (0..10).map(|_| connect(address)).collect();
                event_loop.handle().quit();
                (server, peers)
            });
            wait_until("the loop to end", || !running.handle().is_alive());
            running.stop();
            assert!(server.is_stopped());
            peers.iter_mut().for_each(wait_gone);
            // Loops of their own may have been quicker.
            let connections = log.ids().len();
            assert!(threads > 0 || connections == 0);
            log.assert_whole_lives(connections);
        });
    }
}

#[test]
fn a_thousand_pools_dropped_at_once_leave_no_thread_and_no_descriptor() {
    let _alone = one_at_a_time();
    let base = EventLoop::new().unwrap();
    leaves_nothing(|| {
        for _ in 0..500 {
            let pool = LoopPool::new(&base.handle(), 2).unwrap();
            let handles = pool.handles().to_vec();
            drop(pool);
            assert!(handles.iter().all(|handle| !handle.is_alive()));
        }
    });
}

#[test]
fn servers_dropped_with_their_loops_as_soon_as_somebody_connects_tell_every_end() {
    let _alone = one_at_a_time();
    let name = format!("campana-quitting-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let log = Log::default();
    leaves_nothing(|| {
        for _ in 0..250 {
            let mut base = EventLoop::new().unwrap();
            let for_handlers = log.clone();
            let server = TcpServer::bind(format!("unix:@{name}")).unwrap().threads(2);
            let make = move |_: &mut LoopContext, _: &_| Recorder::new(&for_handlers, |_, _, _| {});
            let server = server.start_with(&mut base, make).unwrap();
            let mut peers = [(); 3].map(|()| UnixStream::connect_addr(&address).unwrap());
            base.turn(Some(Duration::ZERO)).unwrap();
            drop(base);
            assert!(server.is_stopped());
            peers.iter_mut().for_each(wait_gone);
        }
    });
    assert!(log.count(Moment::Connect) > 100, "hardly any were accepted");
    log.assert_whole_lives(log.ids().len());
}

#[test]
fn posts_that_race_with_the_end_of_a_loop_run_or_are_dropped_and_fail_afterwards() {
    let _alone = one_at_a_time();
    let (mut accepted, mut ran_in_all) = (0, 0);
    for _ in 0..50 {
        let (running, ()) = Running::start(|_| ());
        let (token, ran) = (Arc::new(()), Arc::new(AtomicUsize::new(0)));
        let posters: Vec<_> = (0..3)
            .map(|_| {
                let (handle, token, ran) = (running.handle().clone(), Arc::clone(&token), Arc::clone(&ran));
                std::thread::spawn(move || {
                    let post = || {
                        let (token, ran) = (Arc::clone(&token), Arc::clone(&ran));
                        handle.post(move |_| {
                            ran.fetch_add(1, Ordering::SeqCst);
                            drop(token);
                        })
                    };
                    let accepted = std::iter::repeat_with(post).take_while(Result::is_ok).count();
                    assert!(post().is_err(), "it had failed before");
                    accepted
                })
            })
            .collect();
        wait_until("some to run", || ran.load(Ordering::SeqCst) > 10);
        running.stop();
        accepted += posters.into_iter().map(|poster| poster.join().unwrap()).sum::<usize>();
        ran_in_all += ran.load(Ordering::SeqCst);
        assert_eq!(Arc::strong_count(&token), 1, "tasks are left");
    }
    assert!(ran_in_all <= accepted, "{ran_in_all} of {accepted}");
}
