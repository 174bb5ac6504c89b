//! Everything may be done from inside every callback.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use campana::{Buffer, ConnectionId, Handler, TcpClient, TcpConnection, TcpServer};

#[path = "support/server.rs"]
mod server;

use server::{
    Moment, PATIENCE, Server, connect, connect_narrow, half_close, pattern, read_exact, small_buffers,
    wait_until,
};

const OUTPUT: usize = 300_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    SendLittle,
    SendMuch,
    Flush,
    Shutdown,
    Close,
    Fail,
    ForceClose,
    CloseAfterNoTime,
    CloseWhenSilent,
    Pause,
    Resume,
    PauseAndResume,
    SetTimer,
    CancelTimer,
    ChangeLimits,
    RunByHandle,
    ClosePeer,
    ForceClosePeer,
    CloseOthers,
    ForceCloseAll,
    Quit,
    StopServer,
    StartServer,
    StartClient,
}

const ACTIONS: [Action; 24] = [
    Action::SendLittle,
    Action::SendMuch,
    Action::Flush,
    Action::Shutdown,
    Action::Close,
    Action::Fail,
    Action::ForceClose,
    Action::CloseAfterNoTime,
    Action::CloseWhenSilent,
    Action::Pause,
    Action::Resume,
    Action::PauseAndResume,
    Action::SetTimer,
    Action::CancelTimer,
    Action::ChangeLimits,
    Action::RunByHandle,
    Action::ClosePeer,
    Action::ForceClosePeer,
    Action::CloseOthers,
    Action::ForceCloseAll,
    Action::Quit,
    Action::StopServer,
    Action::StartServer,
    Action::StartClient,
];

impl Action {
    /// Whether other connections go on afterwards.
    fn spares_others(self) -> bool {
        !matches!(
            self,
            Self::ClosePeer
                | Self::ForceClosePeer
                | Self::CloseOthers
                | Self::ForceCloseAll
                | Self::Quit
                | Self::StopServer
        )
    }
}

/// What the callbacks of one run share.
#[derive(Default)]
struct Shared {
    bystander: Mutex<Option<ConnectionId>>,
    victim: Mutex<Option<ConnectionId>>,
    done: AtomicBool,
    /// Of the server that was started in a callback.
    second_server: Mutex<Option<SocketAddr>>,
    stop: Mutex<Option<Box<dyn Fn() + Send>>>,
}

fn perform(action: Action, conn: &mut TcpConnection<'_>, shared: &Shared, own: SocketAddr) {
    let id = conn.id();
    match action {
        Action::SendLittle => drop(conn.send("little")),
        Action::SendMuch => drop(conn.send(pattern(1_000_000))),
        Action::Flush => conn.flush(),
        Action::Shutdown => conn.shutdown(),
        Action::Close => conn.close(),
        Action::Fail => conn.fail("on purpose"),
        Action::ForceClose => conn.force_close(),
        Action::CloseAfterNoTime => conn.close_after(Duration::ZERO),
        Action::CloseWhenSilent => conn.close_when_silent(Duration::ZERO),
        Action::Pause => conn.pause_reading(),
        Action::Resume => conn.resume_reading(),
        Action::PauseAndResume => {
            conn.pause_reading();
            conn.resume_reading();
        }
        Action::SetTimer => {
            for token in 10..20 {
                conn.set_timer(Duration::ZERO, token);
            }
        }
        Action::CancelTimer => {
            let timer = conn.set_timer(Duration::ZERO, 99);
            conn.cancel_timer(timer);
            assert!(!conn.cancel_timer(timer));
        }
        Action::ChangeLimits => conn.configure(|config| {
            config.idle = Some(Duration::ZERO);
            config.write_stall = Some(Duration::ZERO);
            config.hard_cap = 0;
        }),
        Action::RunByHandle => {
            let handle = conn.handle();
            let _ = handle.send("by handle");
            let _ = handle.run(|conn| conn.force_close());
            let _ = handle.send("too late");
        }
        Action::ClosePeer | Action::ForceClosePeer => {
            let bystander = shared.bystander.lock().unwrap().unwrap();
            if let Some(mut peer) = conn.peer(bystander) {
                if action == Action::ClosePeer { peer.close() } else { peer.force_close() }
            }
        }
        Action::CloseOthers | Action::ForceCloseAll => {
            for other in conn.context().connections() {
                if other != id || action == Action::ForceCloseAll {
                    conn.context().connection(other).unwrap().force_close();
                }
            }
        }
        Action::Quit => conn.context().quit(),
        Action::StopServer => (shared.stop.lock().unwrap().as_ref().unwrap())(),
        Action::StartServer => {
            let server = TcpServer::bind("127.0.0.1:0")
                .unwrap()
                .on_data(|conn, input| conn.send(input.take()))
                .start(conn.context())
                .unwrap();
            *shared.second_server.lock().unwrap() = server.local_addresses()[0].as_inet();
        }
        Action::StartClient => {
            TcpClient::new(own).unwrap().on_connect(|conn| conn.send("hello")).start(conn.context());
        }
    }
}

/// Brings a connection through all its callbacks, does `action` in the one that is named, and checks what must hold
/// whatever was done.
#[track_caller]
fn run(moment: Moment, action: Action) {
    let shared = Arc::new(Shared::default());
    let own = Arc::new(Mutex::new(None));
    let (in_callback, own_address) = (Arc::clone(&shared), Arc::clone(&own));
    let server = Server::configured(
        |config| {
            config.socket = small_buffers();
            config.high_water = 20_000;
            config.low_water = 10_000;
        },
        move |called, conn, input| {
            let shared = &*in_callback;
            let id = conn.id();
            if called == Moment::Connect {
                let mut bystander = shared.bystander.lock().unwrap();
                let mut victim = shared.victim.lock().unwrap();
                if bystander.is_none() {
                    *bystander = Some(id);
                } else if victim.is_none() {
                    *victim = Some(id);
                    conn.set_timer(Duration::from_millis(1), 1);
                }
            }
            let is_victim = *shared.victim.lock().unwrap() == Some(id);
            let is_it = called == moment && is_victim && !shared.done.swap(true, Ordering::SeqCst);
            match called {
                Moment::Data if is_victim => {
                    input.retrieve_all();
                    let _ = conn.send(pattern(OUTPUT));
                }
                Moment::Data => drop(conn.send(input.take())),
                Moment::ReadClosed if is_victim && moment == Moment::ReadClosed => {}
                _ => called.usual(conn, input),
            }
            if is_it {
                let own: SocketAddr = own_address.lock().unwrap().unwrap();
                perform(action, conn, shared, own);
            }
        },
    );
    *own.lock().unwrap() = Some(server.address());
    let stopped = server.handle.clone();
    *shared.stop.lock().unwrap() = Some(Box::new(move || stopped.stop(Duration::from_secs(5))));

    let mut bystander = server.connect_and_wait();
    let victim = connect_narrow(server.address());
    go_through_it_all(victim, &shared.done, || {
        if moment == Moment::Stopping {
            server.handle.stop(Duration::from_secs(5));
            server.log.wait_count(Moment::Stopping, 1);
        }
    });
    if action.spares_others() && moment != Moment::Stopping {
        bystander.write_all(b"still here").unwrap();
        assert_eq!(read_exact(&mut bystander, 10), b"still here", "{action:?} in {moment:?}");
    }
    if let Some(address) = *shared.second_server.lock().unwrap() {
        let mut client = connect(address);
        client.write_all(b"second").unwrap();
        assert_eq!(read_exact(&mut client, 6), b"second", "{action:?} in {moment:?}");
    }
    let log = server.log.clone();
    let figures = server.running.figures();
    assert_eq!(figures.panics, 0, "{action:?} in {moment:?}: {:#?}", log.lines());
    let handle = server.handle.clone();
    server.running.stop();
    log.assert_whole_lives(log.ids().len());
    assert_eq!(handle.figures().connections, 0, "{action:?} in {moment:?}");
    assert!(
        shared.done.load(Ordering::SeqCst),
        "{action:?} in {moment:?} never happened: {:#?}",
        log.lines()
    );
}

/// Sends something, reads what comes for it, and closes the one direction and then the other.
fn go_through_it_all(mut client: TcpStream, done: &AtomicBool, before_the_end: impl FnOnce()) {
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let _ = client.write_all(b"x");
    read_until(&mut client, OUTPUT, done);
    before_the_end();
    let _ = client.shutdown(Shutdown::Write);
    read_until(&mut client, usize::MAX, done);
}

/// Reads so many bytes, or to the end; or, once the action has been done, for as long as something comes.
fn read_until(client: &mut TcpStream, wanted: usize, done: &AtomicBool) {
    let mut block = [0; 16 * 1024];
    let mut received = 0;
    let began = Instant::now();
    while received < wanted && began.elapsed() < PATIENCE {
        match client.read(&mut block) {
            Ok(0) => return,
            Ok(n) => received += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock && !done.load(Ordering::SeqCst) => {}
            Err(_) => return,
        }
    }
}

#[track_caller]
fn run_all(moment: Moment) {
    for action in ACTIONS {
        run(moment, action);
    }
}

#[test]
fn everything_may_be_done_in_on_connect() {
    run_all(Moment::Connect);
}

#[test]
fn everything_may_be_done_in_on_data() {
    run_all(Moment::Data);
}

#[test]
fn everything_may_be_done_in_on_write_complete() {
    run_all(Moment::WriteComplete);
}

#[test]
fn everything_may_be_done_in_on_high_water() {
    run_all(Moment::HighWater);
}

#[test]
fn everything_may_be_done_in_on_low_water() {
    run_all(Moment::LowWater);
}

#[test]
fn everything_may_be_done_in_on_read_closed() {
    run_all(Moment::ReadClosed);
}

#[test]
fn everything_may_be_done_in_on_timer() {
    run_all(Moment::Timer(1));
}

#[test]
fn everything_may_be_done_in_on_stopping() {
    run_all(Moment::Stopping);
}

#[test]
fn everything_may_be_done_in_on_close() {
    run_all(Moment::Close);
}

#[test]
fn sending_in_every_on_write_complete_leaves_room_for_others() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data if input.peek() == b"flood" => {
            input.retrieve_all();
            conn.send(&[0; 64 * 1024]).unwrap();
        }
        Moment::Data => conn.send(input.take()).unwrap(),
        Moment::WriteComplete if conn.stats().bytes_out > 1000 => drop(conn.send(&[0; 64 * 1024])),
        _ => moment.usual(conn, input),
    });
    let mut flooded = server.connect_and_wait();
    let mut other = server.connect_and_wait();
    flooded.write_all(b"flood").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let reader = std::thread::spawn(move || {
        let mut block = vec![0; 1 << 20];
        while !stopped.load(Ordering::SeqCst) && flooded.read(&mut block).unwrap() > 0 {}
    });
    for _ in 0..100 {
        other.write_all(b"ping").unwrap();
        assert_eq!(read_exact(&mut other, 4), b"ping");
    }
    stop.store(true, Ordering::SeqCst);
    reader.join().unwrap();
    drop(other);
    server.end(2);
}

#[test]
fn timers_of_a_connection_fire_once_and_not_after_their_cancel() {
    let log = Arc::new(Mutex::new(None));
    let to_cancel = Arc::clone(&log);
    let server = Server::start(move |moment, conn, input| match moment {
        Moment::Connect => {
            conn.set_timer(Duration::from_millis(1), 1);
            *to_cancel.lock().unwrap() = Some(conn.set_timer(Duration::from_millis(1), 2));
            conn.set_timer(Duration::from_millis(1), 3);
            conn.set_timer(Duration::from_millis(20), 4);
        }
        // Its sibling is due in the same turn.
        Moment::Timer(1) => {
            let sibling = to_cancel.lock().unwrap().take().unwrap();
            assert!(conn.cancel_timer(sibling));
            assert!(!conn.cancel_timer(sibling));
        }
        _ => moment.usual(conn, input),
    });
    let client = server.connect();
    server.log.wait_count(Moment::Timer(4), 1);
    drop(client);
    server.log.wait_closed();
    let log = server.end(1);
    let timers: Vec<_> = log.lines().into_iter().filter(|line| line.starts_with("Timer")).collect();
    assert_eq!(timers, ["Timer(1)", "Timer(3)", "Timer(4)"]);
}

#[test]
fn a_connection_that_ends_takes_its_timers_with_it() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Connect => {
            for token in 0..100 {
                conn.set_timer(Duration::from_secs(3600), token);
            }
        }
        _ => moment.usual(conn, input),
    });
    drop(server.connect_and_wait());
    server.log.wait_closed();
    server.running.settle();
    assert_eq!(server.running.figures().timers_pending, 0);
    server.end(1);
}

#[test]
fn closing_each_other_in_on_close_ends_each_once() {
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data | Moment::Close => {
            input.retrieve_all();
            for id in conn.context().connections() {
                conn.context().connection(id).unwrap().force_close();
            }
        }
        _ => moment.usual(conn, input),
    });
    let mut clients: Vec<_> = (0..50).map(|_| server.connect_and_wait()).collect();
    clients[17].write_all(b"x").unwrap();
    server.log.wait_count(Moment::Close, 50);
    drop(clients);
    server.end(50);
}

#[test]
fn connections_of_another_handler_on_the_loop_can_be_reached() {
    struct Relay {
        to: Arc<Mutex<Option<ConnectionId>>>,
        heard: Arc<AtomicUsize>,
    }
    impl Handler for Relay {
        type State = ();
        fn on_connect(&mut self, _: &mut TcpConnection<'_>) {}
        fn on_data(&mut self, (): &mut (), conn: &mut TcpConnection<'_>, input: &mut Buffer) {
            self.heard.fetch_add(input.readable(), Ordering::SeqCst);
            let to = self.to.lock().unwrap().unwrap();
            conn.peer(to).unwrap().send(input.take()).unwrap();
        }
    }
    let first = Server::start(Moment::usual);
    let mut receiver = first.connect_and_wait();
    let to = Arc::new(Mutex::new(Some(first.log.ids()[0])));
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heard);
    let second = first.running.call(move |cx| {
        let server = TcpServer::bind("127.0.0.1:0").unwrap();
        let handle = server
            .start_with(cx, move |_, _| Relay { to: Arc::clone(&to), heard: Arc::clone(&counted) })
            .unwrap();
        handle.local_addresses()[0].as_inet().unwrap()
    });
    let mut sender = connect(second);
    sender.write_all(b"across").unwrap();
    assert_eq!(read_exact(&mut receiver, 6), b"across");
    assert_eq!(heard.load(Ordering::SeqCst), 6);
    half_close(&sender);
    wait_until("the sender's end", || first.running.figures().connections == 1);
    first.end(1);
}
