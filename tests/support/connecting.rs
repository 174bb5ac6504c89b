//! Clients under test, and listeners that they can't get through to.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use campana::connection::Backoff;
use campana::{Buffer, ClientHandle, TcpClient, TcpConnection};

use super::server::{Log, Moment, Recorder, Running};

pub(crate) fn backoff(initial: Duration, attempts: Option<u32>) -> Backoff {
    let mut backoff = Backoff::default();
    backoff.initial = initial;
    backoff.longest = 4 * initial;
    backoff.attempts = attempts;
    backoff
}

/// A client with a recorder, on a loop of its own.
pub(crate) fn start(
    client: TcpClient,
    act: impl Fn(Moment, &mut TcpConnection<'_>, &mut Buffer) + Send + Sync + 'static,
) -> (Running, ClientHandle<Recorder>, Log) {
    let log = Log::default();
    let recorder = Recorder::new(&log, act);
    let (running, handle) = Running::start(move |event_loop| client.start_with(event_loop, recorder));
    (running, handle, log)
}

/// An address on which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A listener whose queue is full, so that connecting to it hangs; and those who fill it.
pub(crate) fn hanging() -> (TcpListener, Vec<socket2::Socket>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(1).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap().into();
    let mut fillers = Vec::new();
    loop {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let connected = socket.connect_timeout(&address, Duration::from_millis(100));
        fillers.push(socket);
        if connected.is_err() {
            return (listener, fillers);
        }
    }
}
