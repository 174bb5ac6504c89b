//! Listening sockets that one server hands to the next: nobody is refused, nothing is lost, and no socket more is needed.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use campana::connection::Spread;
use campana::socket::{ListenOptions, Listener, Socket, SocketOptions};
use campana::{Address, LoopContext, ServerHandle, TcpServer};

#[path = "support/server.rs"]
mod server;

use server::{
    Act, Log, Moment, PATIENCE, Recorder, Running, Server, any, connect, echo, is_served, read_exact,
    read_to_end, wait_until,
};

/// Duplicates of all listening sockets of a server.
#[track_caller]
fn duplicates(server: &ServerHandle<Recorder>) -> Vec<Listener> {
    let (report, reports) = channel();
    server.duplicate_listeners(move |_, listeners| report.send(listeners.unwrap()).unwrap());
    reports.recv_timeout(PATIENCE).unwrap()
}

/// The sockets behind some descriptors.
fn sockets(listeners: &[Listener]) -> Vec<u64> {
    let inode = |listener| rustix::fs::fstat(listener).unwrap().st_ino;
    let mut inodes: Vec<u64> = listeners.iter().map(inode).collect();
    inodes.sort_unstable();
    inodes
}

/// A server that goes on with another one's sockets.
#[track_caller]
fn succeed(predecessor: &Server, threads: usize) -> Server {
    let listeners = duplicates(&predecessor.handle);
    Server::of(TcpServer::from_listeners(listeners).threads(threads), echo)
}

/// A path that goes with this value.
struct Path(PathBuf);

impl Path {
    fn new(test: &str) -> Self {
        Self(std::env::temp_dir().join(format!("campana-{test}-{}", std::process::id())))
    }

    fn server(&self, scheme: &str) -> TcpServer {
        TcpServer::bind(format!("{scheme}:{}", self.0.display())).unwrap()
    }

    fn listener(&self) -> Listener {
        let address = Address::unix_path(&self.0).unwrap();
        Listener::bind(&address, &ListenOptions::default()).unwrap()
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Clients that come one after the other, each with one exchange, until this is dropped.
struct Load {
    ends: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (ends, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = || {
            let (ends, served) = (Arc::clone(&ends), Arc::clone(&served));
            std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    is_served(&mut connect(address));
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = (0..4).map(|_| client()).collect();
        Self { ends, served, threads }
    }

    /// Waits until some more have been served.
    #[track_caller]
    fn wait_for_some(&self) {
        let enough = self.served.load(Ordering::Relaxed) + 20;
        wait_until("clients to be served", || {
            assert!(!self.threads.iter().any(JoinHandle::is_finished), "a client was not served");
            self.served.load(Ordering::Relaxed) >= enough
        });
    }

    /// How many were served. All were, or this panics.
    #[track_caller]
    fn end(mut self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("every client to be served");
        }
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

#[test]
fn everybody_is_served_while_one_server_follows_the_other_and_the_sockets_stay_the_same() {
    for threads in [0, 3] {
        let mut server = Server::of(any().threads(threads), echo);
        let load = Load::start(server.address());
        let (address, at_first) = (server.address(), sockets(&duplicates(&server.handle)));
        assert_eq!(at_first.len(), threads.max(1));
        for _ in 0..20 {
            let successor = succeed(&server, threads);
            load.wait_for_some();
            server.handle.retire(PATIENCE);
            load.wait_for_some();
            assert!(server.handle.wait_stopped(PATIENCE));
            assert_eq!(successor.handle.local_addresses(), [address.into()]);
            assert_eq!(sockets(&duplicates(&successor.handle)), at_first);
            server = successor;
        }
        assert!(load.end() >= 20 * 20);
        server.handle.stop(PATIENCE);
        assert!(server.handle.wait_stopped(PATIENCE));
        assert!(TcpStream::connect(address).is_err(), "somebody still has the socket");
    }
}

#[test]
fn everybody_is_served_whatever_the_numbers_of_loops() {
    let mut server = Server::of(any(), echo);
    let load = Load::start(server.address());
    let mut at_most = 1;
    for (threads, spread) in [
        (2, Spread::ListenerPerLoop),
        (0, Spread::ListenerPerLoop),
        (5, Spread::ListenerPerLoop),
        (2, Spread::ListenerPerLoop),
        (3, Spread::RoundRobin),
        (1, Spread::LeastConnections),
        (5, Spread::ListenerPerLoop),
    ] {
        let listeners = duplicates(&server.handle);
        assert_eq!(listeners.len(), at_most);
        at_most = at_most.max(threads);
        let next = TcpServer::from_listeners(listeners).threads(threads).spread(spread);
        let successor = Server::of(next, echo);
        server.handle.retire(PATIENCE);
        load.wait_for_some();
        assert!(server.handle.wait_stopped(PATIENCE));
        server = successor;
    }
    load.end();
}

#[test]
fn those_who_wait_are_left_to_the_successor() {
    for threads in [0, 2] {
        let predecessor = Server::of(any().threads(threads), echo);
        predecessor.handle.pause_accepting();
        for handler in predecessor.handle.handlers() {
            let (report, reports) = channel();
            handler.run(move |_, _| report.send(()).unwrap()).unwrap();
            reports.recv_timeout(PATIENCE).unwrap();
        }
        predecessor.running.settle();
        let listeners = duplicates(&predecessor.handle);
        let mut waiting: Vec<_> = (0..20).map(|_| predecessor.connect()).collect();
        predecessor.handle.retire(PATIENCE);
        assert!(predecessor.handle.wait_stopped(PATIENCE));
        waiting.push(predecessor.connect());
        assert_eq!(predecessor.handle.figures().accepted, 0);

        // Nobody comes any more from whom it could learn that others wait.
        let successor = Server::of(TcpServer::from_listeners(listeners).threads(1), echo);
        waiting.iter_mut().for_each(is_served);
        drop(waiting);
        successor.log.wait_count(Moment::Close, 21);
        successor.end(21);
    }
}

#[test]
fn a_server_whose_sockets_were_duplicated_goes_on_when_nothing_comes_of_it() {
    let path = Path::new("nothing-comes");
    for threads in [0, 2] {
        let server = Server::of(path.server("unix").and_bind("127.0.0.1:0").unwrap().threads(threads), echo);
        drop(duplicates(&server.handle));
        // One that has started and then ends otherwise than by a stop.
        drop(succeed(&server, 1));
        let address = server.handle.local_addresses().iter().find_map(Address::as_inet).unwrap();
        for _ in 0..20 {
            is_served(&mut connect(address));
        }
        let mut client = UnixStream::connect(&path.0).unwrap();
        client.write_all(b"ping").unwrap();
        assert_eq!(read_exact(&mut client, 4), b"ping");
        drop(client);
        server.log.wait_count(Moment::Close, 21);
        server.end(21);
        assert!(!path.0.exists());
    }
}

#[test]
fn a_retired_server_serves_those_it_has_until_they_are_silent_or_the_deadline_comes() {
    let predecessor = Server::of(any().threads(2), |moment, conn, input| match moment {
        Moment::Stopping => {}
        _ => echo(moment, conn, input),
    });
    let mut busy = predecessor.connect_and_wait();
    let successor = succeed(&predecessor, 2);
    let began = Instant::now();
    predecessor.handle.retire(Duration::from_millis(700));
    while began.elapsed() < Duration::from_millis(400) {
        is_served(&mut busy);
        is_served(&mut successor.connect());
    }
    assert!(!predecessor.handle.is_stopped());
    assert!(predecessor.handle.wait_stopped(PATIENCE));
    assert!(began.elapsed() >= Duration::from_millis(700));
    assert_eq!(read_to_end(&mut busy), b"");
    // It may have had somebody more, just before it was told.
    let accepted = predecessor.handle.figures().accepted;
    predecessor.end(accepted as usize);
}

#[test]
fn a_retired_server_is_at_rest_while_its_successor_accepts() {
    let predecessor = Server::of(any(), echo);
    let mut kept = predecessor.connect_and_wait();
    let successor = succeed(&predecessor, 0);
    predecessor.handle.retire(Duration::from_secs(60));
    predecessor.running.settle();
    let before = predecessor.running.figures();
    for _ in 0..100 {
        is_served(&mut connect(successor.address()));
    }
    let events = predecessor.running.figures().events - before.events;
    assert!(events <= 2, "{events} events of a socket that is none of its business any more");
    is_served(&mut kept);
}

#[test]
fn two_servers_on_one_socket_do_not_spin() {
    let predecessor = Server::of(any(), echo);
    let successor = succeed(&predecessor, 0);
    let before = [&predecessor, &successor].map(|server| server.running.figures().turns);
    for _ in 0..50 {
        is_served(&mut connect(successor.address()));
    }
    for (server, before) in [&predecessor, &successor].into_iter().zip(before) {
        assert!(server.running.figures().turns - before < 50 * 10);
        assert!(server.running.idle_turns(Duration::from_millis(100)) < 5);
    }
}

#[test]
fn a_handler_asks_for_the_sockets_of_all_loops_from_its_own() {
    let server = Server::of(any().threads(3), echo);
    let (report, reports) = channel();
    for handler in server.handle.handlers() {
        let (handle, report) = (server.handle.clone(), report.clone());
        let task = move |_: &mut Recorder, _: &mut LoopContext| {
            handle.duplicate_listeners(move |_, listeners| report.send(listeners.unwrap()).unwrap());
        };
        handler.run(task).unwrap();
    }
    let gathered: Vec<_> = (0..3).map(|_| sockets(&reports.recv_timeout(PATIENCE).unwrap())).collect();
    assert!(gathered.iter().all(|sockets| sockets.len() == 3 && *sockets == gathered[0]), "{gathered:?}");
}

#[test]
fn listeners_of_all_loops_and_of_the_base_loop_are_duplicated() {
    let name = format!("unix:@campana-duplicated-{}", std::process::id());
    let server = any().and_bind("127.0.0.1:0").unwrap().and_bind(&*name).unwrap().threads(2);
    let server = Server::of(server, echo);
    let listeners = duplicates(&server.handle);
    let mut addresses: Vec<String> =
        listeners.iter().map(|listener| listener.local_address().unwrap().to_string()).collect();
    let mut wanted: Vec<String> = server.handle.local_addresses().iter().map(ToString::to_string).collect();
    wanted.extend(wanted.clone().into_iter().filter(|address| *address != name));
    addresses.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(addresses, wanted);
}

#[test]
fn a_loop_that_has_ended_has_no_listener_to_be_duplicated() {
    let server = Server::of(any().threads(3), echo);
    let ended = server.handle.handlers()[1].loop_handle().clone();
    ended.quit();
    wait_until("the loop's end", || !ended.is_alive());
    assert_eq!(duplicates(&server.handle).len(), 2);
}

#[test]
fn a_server_that_has_stopped_has_no_listeners() {
    for threads in [0, 2] {
        let server = Server::of(any().threads(threads), echo);
        server.handle.stop(PATIENCE);
        assert!(server.handle.wait_stopped(PATIENCE));
        assert!(duplicates(&server.handle).is_empty());
    }
}

#[test]
fn a_server_that_retires_before_it_is_up_leaves_its_sockets_alone_as_well() {
    let path = Path::new("retires-early");
    let listener = path.listener();
    let duplicate = listener.try_clone().unwrap();
    let (running, handle) = Running::start(|event_loop| {
        let server = TcpServer::from_listeners(vec![listener]).threads(2);
        let made = |_: &mut LoopContext, server: &ServerHandle<Recorder>| {
            server.retire(PATIENCE);
            let act: Act = Arc::new(echo);
            Recorder::with(&Log::default(), &act)
        };
        server.start_with(event_loop, made).unwrap()
    });
    assert!(handle.wait_stopped(PATIENCE));
    let _waiting = UnixStream::connect(&path.0).unwrap();
    assert!(duplicate.accept().is_ok());
    running.stop();
}

#[test]
fn the_path_of_a_unix_socket_goes_with_the_successor_that_owns_it() {
    for (scheme, threads) in [("unix", 0), ("seqpacket", 0), ("unix", 2)] {
        let path = Path::new("owned-path");
        let predecessor = Server::of(path.server(scheme).threads(threads), echo);
        let address = predecessor.handle.local_addresses()[0].clone();
        let mut listeners = duplicates(&predecessor.handle);
        listeners.iter_mut().for_each(|listener| listener.own_path().unwrap());
        let successor = Server::of(TcpServer::from_listeners(listeners).threads(threads), echo);
        predecessor.handle.retire(PATIENCE);
        assert!(predecessor.handle.wait_stopped(PATIENCE));
        predecessor.end(0);

        let (client, _) = Socket::connect(&address, &SocketOptions::new()).unwrap();
        client.send(b"ping").unwrap();
        let mut reply = Vec::with_capacity(16);
        wait_until("the echo", || matches!(client.recv(&mut reply), Ok(4)));
        assert!(TcpServer::bind(address.clone()).is_err(), "it is taken by a server that runs");
        drop(client);
        successor.log.wait_count(Moment::Close, 1);
        successor.handle.stop(PATIENCE);
        assert!(successor.handle.wait_stopped(PATIENCE));
        assert!(!path.0.exists());
        successor.end(1);
    }
}

#[test]
fn the_path_of_a_unix_socket_stays_when_nobody_owns_it_and_is_replaced_by_the_next_server() {
    let path = Path::new("nobodys-path");
    let predecessor = Server::of(path.server("unix"), echo);
    let successor = succeed(&predecessor, 0);
    predecessor.handle.retire(PATIENCE);
    assert!(predecessor.handle.wait_stopped(PATIENCE));
    successor.handle.stop(PATIENCE);
    assert!(successor.handle.wait_stopped(PATIENCE));
    assert!(path.0.exists());
    Server::of(path.server("unix"), echo).end(0);
    assert!(!path.0.exists());
}

#[test]
fn only_what_is_a_listeners_own_path_can_be_owned() {
    let path = Path::new("not-its-path");
    let owner = path.listener();
    let mut duplicate = owner.try_clone().unwrap();
    drop(owner);
    assert!(!path.0.exists(), "a duplicate doesn't keep its path");
    assert_eq!(duplicate.own_path().unwrap_err().kind(), std::io::ErrorKind::NotFound);
    std::fs::write(&path.0, "not yours").unwrap();
    assert_eq!(duplicate.own_path().unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    drop(duplicate);
    assert_eq!(std::fs::read_to_string(&path.0).unwrap(), "not yours");

    let mut pathless = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    assert_eq!(pathless.own_path().unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}
