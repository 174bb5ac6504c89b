//! A listener that no other socket may join serves all loops nevertheless.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use campana::socket::{ListenOptions, Listener};
use campana::{EventLoop, TcpServer};

/// A listener that the system lets no sibling join, since it has a connection and was bound without SO_REUSEADDR. So it is with
/// any listener, whatever its options, that another user bound: a service manager, or this process before it gave up its
/// privileges.
fn unshareable() -> (Listener, TcpStream) {
    let options = ListenOptions::new().reuse_address(false);
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let waiting = TcpStream::connect(listener.local_address().unwrap().to_string()).unwrap();
    assert!(listener.share().is_err(), "this test needs a listener that can't be shared");
    (listener, waiting)
}

#[test]
fn a_listener_without_siblings_hands_its_connections_over_to_all_loops() {
    let (listener, waiting) = unshareable();
    let mut event_loop = EventLoop::new().unwrap();
    let server = TcpServer::from_listeners(vec![listener])
        .threads(2)
        .on_data(|conn, _input| {
            let name = conn.context().handle().name().to_owned();
            conn.send(name)
        })
        .start(&mut event_loop)
        .unwrap();
    let address = server.local_addresses()[0].to_string();
    let asking = std::thread::spawn(move || {
        let mut names: Vec<String> = [waiting, TcpStream::connect(&address).unwrap()]
            .into_iter()
            .map(|mut peer| {
                peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                peer.write_all(b"who?").unwrap();
                let mut name = [0; 8];
                peer.read_exact(&mut name).unwrap();
                String::from_utf8_lossy(&name).into_owned()
            })
            .collect();
        names.sort_unstable();
        names
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while !asking.is_finished() && Instant::now() < deadline {
        event_loop.turn(Some(Duration::from_millis(10))).unwrap();
    }
    assert_eq!(asking.join().unwrap(), ["server-0", "server-1"]);
}
