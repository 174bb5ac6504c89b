//! Names of Unix sockets: as long as can be or too long, with a NUL in them, taken, and left behind.

use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use campana::socket::{Address, Socket, SocketOptions};
use campana::{TcpClient, TcpServer};

#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, echo, wait_until};

/// A directory of a test's own, removed with what is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("campana-{test}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A path in it of so many bytes.
    fn path_of(&self, length: usize) -> PathBuf {
        let directory = self.0.as_os_str().len() + 1;
        self.0.join("p".repeat(length - directory))
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.0).unwrap().next().is_none()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// Connects to a server and is served once.
fn assert_serves(server: &Server, address: &Address) {
    let before = server.log.count(Moment::Close);
    let (client, _) = Socket::connect(address, &SocketOptions::new()).unwrap();
    client.send(b"ping").unwrap();
    let mut reply = Vec::with_capacity(16);
    wait_until("the echo", || matches!(client.recv(&mut reply), Ok(4)));
    assert_eq!(reply, b"ping");
    drop(client);
    server.log.wait_count(Moment::Close, before + 1);
}

#[test]
fn the_longest_path_serves_and_a_longer_one_is_refused_rather_than_cut_off() {
    let scratch = Scratch::new("long-path");
    let longest = scratch.path_of(107);
    let server = Server::of(TcpServer::bind(unix(&longest)).unwrap(), echo);
    assert_serves(&server, &Address::unix_path(&longest).unwrap());
    server.end(1);
    assert!(scratch.is_empty(), "the path goes with its server");

    let too_long = unix(&scratch.path_of(108));
    for error in [TcpServer::bind(&*too_long).unwrap_err(), TcpClient::new(&*too_long).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(text.contains("108") && text.contains("107"), "{text}");
    }
    assert!(scratch.is_empty(), "something was made under another name");
}

#[test]
fn a_path_with_a_nul_is_refused_rather_than_cut_off() {
    let scratch = Scratch::new("nul-in-path");
    let with_nul = format!("{}/cut\0off", unix(&scratch.0));
    for error in [TcpServer::bind(&*with_nul).unwrap_err(), TcpClient::new(&*with_nul).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().to_lowercase().contains("nul"), "{error}");
    }
    assert!(scratch.is_empty(), "something was made under another name");
}

#[test]
fn an_abstract_name_counts_to_its_last_byte_whatever_is_in_it() {
    let stem = format!("campana-abstract-{}", std::process::id()).into_bytes();
    let mut longest = stem.clone();
    longest.resize(107, b'a');
    let names = [stem.clone(), [&stem[..], b"\0"].concat(), [&stem[..], b"\0b"].concat(), longest];
    let servers = names.map(|name| {
        let address = Address::unix_abstract(&name).unwrap();
        (Server::of(TcpServer::bind(address.clone()).unwrap(), echo), address)
    });
    for (server, address) in &servers {
        assert_eq!(server.handle.local_addresses(), std::slice::from_ref(address));
        assert_serves(server, address);
    }
    for (server, _) in servers {
        // Nobody came to another one's door.
        assert_eq!(server.handle.figures().accepted, 1);
        server.end(1);
    }
}

#[test]
fn a_path_left_behind_is_taken_over_by_the_next_server() {
    let scratch = Scratch::new("stale-path");
    let path = scratch.path_of(80);
    // As a server leaves it that was killed.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let address = Address::unix_path(&path).unwrap();
    assert_eq!(
        Socket::connect(&address, &SocketOptions::new()).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    let server = Server::of(TcpServer::bind(address.clone()).unwrap(), echo);
    assert_serves(&server, &address);
    server.end(1);
    assert!(!path.exists());
}

#[test]
fn a_path_that_a_server_has_or_that_is_no_socket_is_left_alone() {
    let scratch = Scratch::new("taken-path");
    let (live, file) = (scratch.path_of(80), scratch.path_of(81));
    let address = Address::unix_path(&live).unwrap();
    let server = Server::of(TcpServer::bind(address.clone()).unwrap(), echo);
    std::fs::write(&file, "somebody's notes").unwrap();
    for path in [&live, &file, &scratch.0] {
        let error = TcpServer::bind(unix(path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
        assert!(error.to_string().contains(&unix(path)), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody's notes");
    assert_eq!(server.handle.figures().accepted, 0, "finding that out is no connection");
    assert_serves(&server, &address);
    server.end(1);
}
