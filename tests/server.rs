//! Servers: addresses, loops, limits, and stopping in good order.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::TcpServer;
use campana::connection::Spread;
use campana::socket::{Address, ListenOptions, Listener};

#[path = "support/server.rs"]
mod server;

use server::{
    Act, Log, Moment, PATIENCE, Recorder, Running, Server, any, connect, echo, half_close, is_served,
    read_exact, wait_gone, wait_until,
};

#[test]
fn several_addresses_of_all_kinds_are_served_at_once() {
    for threads in [0, 2] {
        let name = format!("campana-server-{}-{threads}", std::process::id());
        let server = any()
            .and_bind("[::1]:0")
            .unwrap()
            .and_bind("127.0.0.1:0")
            .unwrap()
            .and_bind(Address::unix_abstract(&name).unwrap())
            .unwrap();
        let server = Server::of(server.threads(threads), echo);
        let addresses = server.handle.local_addresses().to_vec();
        assert_eq!(addresses.len(), 4);
        for address in &addresses[..3] {
            assert_ne!(address.port(), Some(0));
            is_served(&mut connect(address.as_inet().unwrap()));
        }
        let (client, _) = campana::socket::Socket::connect(&addresses[3], &Default::default()).unwrap();
        client.send(b"x").unwrap();
        server.log.wait_count(Moment::Data, 4);
        drop(client);
        server.log.wait_count(Moment::Close, 4);
        server.end(4);
    }
}

#[test]
fn every_way_of_spreading_gives_all_loops_connections() {
    for spread in [Spread::ListenerPerLoop, Spread::RoundRobin, Spread::LeastConnections] {
        let server = Server::of(any().threads(3).spread(spread), echo);
        let mut clients: Vec<_> = (0..90).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(is_served);
        let loops: Vec<_> = server
            .handle
            .handlers()
            .iter()
            .map(|handler| handler.loop_handle().figures().connections)
            .collect();
        assert_eq!(loops.iter().sum::<usize>(), 90, "{spread}: {loops:?}");
        match spread {
            Spread::ListenerPerLoop => assert!(loops.iter().all(|count| *count > 5), "{spread}: {loops:?}"),
            _ => assert_eq!(loops, [30, 30, 30], "{spread}"),
        }
        assert_eq!(server.running.figures().connections, 0, "the base loop serves none");
        drop(clients);
        server.log.wait_count(Moment::Close, 90);
        server.end(90);
    }
}

#[test]
fn a_unix_address_is_spread_over_all_loops_too() {
    let address = Address::unix_abstract(format!("campana-spread-{}", std::process::id())).unwrap();
    let server = Server::of(TcpServer::bind(address.clone()).unwrap().threads(3), echo);
    let clients: Vec<_> =
        (0..30).map(|_| campana::socket::Socket::connect(&address, &Default::default()).unwrap().0).collect();
    server.log.wait_count(Moment::Connect, 30);
    let loops = server.handle.handlers();
    assert!(loops.iter().all(|handler| handler.loop_handle().figures().connections == 10));
    drop(clients);
    server.log.wait_count(Moment::Close, 30);
    server.end(30);
}

#[test]
fn least_connections_fills_up_the_loop_that_has_lost_some() {
    let server = Server::of(any().threads(2).spread(Spread::LeastConnections), echo);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(is_served);
    let first = server.handle.handlers()[0].loop_handle().clone();
    first
        .post(|cx| {
            for id in cx.connections() {
                cx.connection(id).unwrap().force_close();
            }
        })
        .unwrap();
    wait_until("them to end", || first.figures().connections == 0);
    let mut more: Vec<_> = (0..10).map(|_| server.connect()).collect();
    more.iter_mut().for_each(is_served);
    assert_eq!(first.figures().connections, 10);
    drop((clients, more));
    server.log.wait_count(Moment::Close, 30);
    server.end(30);
}

#[test]
fn one_connection_more_than_allowed_is_refused_and_the_counts_are_right_afterwards() {
    for threads in [0, 2] {
        let server = Server::of(any().max_connections(3).threads(threads), echo);
        for round in 1..=3 {
            let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
            clients.iter_mut().for_each(is_served);
            for _ in 0..5 {
                wait_gone(&mut server.connect());
            }
            let figures = server.handle.figures();
            assert_eq!((figures.connections, figures.accepted, figures.refused), (3, 3 * round, 5 * round));
            clients.iter_mut().for_each(is_served);
            drop(clients);
            wait_until("room again", || server.handle.figures().connections == 0);
        }
        assert_eq!(server.log.count(Moment::Connect), 9, "a refused one is never told of");
        server.end(9);
    }
}

#[test]
fn one_address_may_have_so_many_connections_and_others_theirs() {
    let server = Server::of(any().max_per_address(2), echo);
    let from = |last: u8| {
        let local: SocketAddr = (IpAddr::from([127, 0, 0, last]), 0).into();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&local.into()).unwrap();
        socket.connect(&server.address().into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    for round in 1..=3 {
        let mut clients: Vec<_> = [1, 2, 1, 2].map(from).into();
        clients.iter_mut().for_each(is_served);
        wait_gone(&mut from(1));
        wait_gone(&mut from(2));
        is_served(&mut from(3));
        assert_eq!(server.handle.figures().refused_by_address, 2 * round);
        drop(clients);
        wait_until("them to be gone", || server.handle.figures().connections == 0);
    }
    server.end(15);
}

#[test]
fn a_connection_that_panics_or_is_closed_by_force_gives_its_place_back() {
    let server = Server::of(any().max_connections(1).max_per_address(1), |moment, conn, input| {
        if moment == Moment::Data {
            input.retrieve_all();
            conn.force_close();
        }
    });
    for _ in 0..10 {
        let mut client = server.connect_and_wait();
        client.write_all(b"x").unwrap();
        wait_gone(&mut client);
        wait_until("its place", || server.handle.figures().connections == 0);
    }
    server.end(10);
}

#[test]
fn while_accepting_is_paused_those_who_come_wait() {
    for (threads, spread) in [(0, Spread::RoundRobin), (2, Spread::RoundRobin), (2, Spread::ListenerPerLoop)]
    {
        let server = Server::of(any().threads(threads).spread(spread), echo);
        let mut first = server.connect_and_wait();
        server.handle.pause_accepting();
        server.running.settle();
        for handler in server.handle.handlers() {
            settle(handler.loop_handle());
        }
        let mut waiting: Vec<_> = (0..5).map(|_| server.connect()).collect();
        for client in &mut waiting {
            client.write_all(b"ping").unwrap();
        }
        is_served(&mut first);
        let turns = server.running.idle_turns(Duration::from_millis(100));
        assert!(turns <= 5, "{turns} turns while paused");
        assert_eq!(server.log.count(Moment::Connect), 1);
        server.handle.resume_accepting();
        for client in &mut waiting {
            assert_eq!(read_exact(client, 4), b"ping");
        }
        drop((first, waiting));
        server.log.wait_count(Moment::Close, 6);
        server.end(6);
    }
}

fn settle(event_loop: &campana::LoopHandle) {
    let (report, reports) = std::sync::mpsc::channel();
    event_loop.post(move |_| report.send(()).unwrap()).unwrap();
    reports.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn sockets_that_listen_already_are_served() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Somebody came before there was a server.
    let mut early = connect(address);
    for threads in [0, 2] {
        let listener = Listener::from_fd(listener.try_clone().unwrap().into()).unwrap();
        let server = Server::of(TcpServer::from_listeners(vec![listener]).threads(threads), echo);
        assert_eq!(server.address(), address);
        if threads == 0 {
            is_served(&mut early);
            half_close(&early);
            server.log.wait_count(Moment::Close, 1);
        }
        let mut client = server.connect();
        is_served(&mut client);
        drop(client);
        server.log.wait_count(Moment::Close, if threads == 0 { 2 } else { 1 });
        server.running.stop();
    }
}

#[test]
fn handlers_are_made_on_their_own_loops_and_know_the_server() {
    let threads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&threads);
    let (running, handle) = Running::start(move |event_loop| {
        any()
            .threads(3)
            .name("worker")
            .start_with(event_loop, move |cx, handle| {
                assert_eq!(handle.local_addresses().len(), 1);
                let thread = std::thread::current();
                assert_eq!(thread.name(), Some(cx.handle().name()));
                seen.lock().unwrap().push(thread.name().unwrap().to_owned());
                Recorder::new(&Log::default(), echo)
            })
            .unwrap()
    });
    let mut names = threads.lock().unwrap().clone();
    names.sort();
    assert_eq!(names, ["worker-0", "worker-1", "worker-2"]);
    is_served(&mut connect(handle.local_addresses()[0].as_inet().unwrap()));
    running.stop();
}

#[test]
fn a_server_that_can_not_start_leaves_nothing_behind() {
    let (running, address) = Running::start(|event_loop| {
        let server = any().threads(2);
        let act: Act = Arc::new(echo);
        let first = AtomicBool::new(true);
        let made = server.start_with(event_loop, move |_, _| {
            assert!(!first.swap(false, Ordering::SeqCst), "the first factory call fails on purpose");
            Recorder::with(&Log::default(), &act)
        });
        assert!(made.is_err());
        // The same address is free again.
        let listener = any();
        let server = listener.threads(1).start(event_loop).unwrap();
        server.local_addresses()[0].as_inet().unwrap()
    });
    drop(connect(address));
    running.stop();
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let server = Server::start(echo);
    let address = server.address();
    let error = TcpServer::bind(address).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    server.end(0);
    // Free again at once, in spite of connections that are still being wound up.
    let mut server = Some(Server::of(TcpServer::bind(address).unwrap(), echo));
    let mut client = server.as_ref().unwrap().connect();
    is_served(&mut client);
    server.take().unwrap().running.stop();
    let again = TcpServer::bind_with(address, &ListenOptions::new()).unwrap();
    drop((again, client));
}

#[test]
fn a_burst_of_connections_is_accepted_to_the_last_one() {
    let server = Server::of(any().threads(2).spread(Spread::RoundRobin), echo);
    let held = server.running.hold();
    let mut clients: Vec<_> = (0..500).map(|_| server.connect()).collect();
    held.release();
    server.log.wait_count(Moment::Connect, 500);
    clients.iter_mut().for_each(is_served);
    drop(clients);
    server.log.wait_count(Moment::Close, 500);
    server.end(500);
}
