//! A server of a control socket that does what a test says, right or wrong.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use campana::Address;
use campana::control::ControlClient;
use campana::socket::{ListenOptions, Listener, Socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

#[path = "patience.rs"]
mod patience;

pub(crate) use patience::{PATIENCE, wait_until};

/// An abstract name that nobody else has.
pub(crate) fn unique() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("@campana-control-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst))
}

pub(crate) fn listen(name: &str) -> Listener {
    let address: Address = format!("seqpacket:{name}").parse().unwrap();
    Listener::bind(&address, &ListenOptions::new()).unwrap()
}

/// A server on a thread of its own.
pub(crate) struct Fake {
    pub(crate) name: String,
    thread: JoinHandle<()>,
}

impl Fake {
    /// Accepts one client and does with it as `act` says; the connection closes when that returns.
    pub(crate) fn start(act: impl FnOnce(Peer) + Send + 'static) -> Self {
        let name = unique();
        let listener = listen(&name);
        Self { name, thread: std::thread::spawn(move || act(Peer::accept(&listener))) }
    }

    /// A server, and a client of it.
    pub(crate) fn with_client(act: impl FnOnce(Peer) + Send + 'static) -> (ControlClient, Self) {
        let fake = Self::start(act);
        let client = ControlClient::connect_timeout(&fake.name, Some(PATIENCE)).unwrap();
        (client, fake)
    }

    /// Waits until it has done what it had to.
    #[track_caller]
    pub(crate) fn end(self) {
        wait_until("the server's end", || self.thread.is_finished());
        self.thread.join().unwrap();
    }
}

/// A server's end of a connection.
pub(crate) struct Peer {
    pub(crate) socket: Socket,
}

impl Peer {
    #[track_caller]
    pub(crate) fn accept(listener: &Listener) -> Self {
        wait_for(listener, PollFlags::IN);
        Self { socket: listener.accept().unwrap().0 }
    }

    /// The next request, or nothing at the end.
    #[track_caller]
    pub(crate) fn receive(&self) -> Option<Value> {
        wait_for(&self.socket, PollFlags::IN);
        let mut packet = Vec::with_capacity(512 * 1024);
        let received = match self.socket.recv_packet(&mut packet) {
            // The client went with something unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            received => received.unwrap(),
        };
        assert!(!received.truncated);
        (!received.end_of_file).then(|| serde_json::from_slice(&packet).unwrap())
    }

    #[track_caller]
    pub(crate) fn request(&self) -> Value {
        self.receive().expect("a request")
    }

    /// Sends a packet as soon as there is room for it.
    #[track_caller]
    pub(crate) fn send(&self, packet: impl AsRef<[u8]>) {
        assert!(self.send_if_read(packet), "the client is gone");
    }

    /// As [`send`](Self::send); says whether the client is still there.
    #[track_caller]
    pub(crate) fn send_if_read(&self, packet: impl AsRef<[u8]>) -> bool {
        loop {
            match self.socket.send(packet.as_ref()) {
                Ok(_) => return true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait_for(&self.socket, PollFlags::OUT);
                }
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
                    return false;
                }
            }
        }
    }

    /// Sends a packet if there is room for it, and says whether the client is still there.
    pub(crate) fn floods(&self, packet: &str) -> bool {
        !matches!(self.socket.send(packet.as_bytes()), Err(error) if error.kind() != ErrorKind::WouldBlock)
    }

    /// Answers a request with a result.
    #[track_caller]
    pub(crate) fn answer(&self, request: &Value, result: impl Into<Value>) {
        self.send(ok(request, result));
    }

    /// Answers every request with its parameters, until the client has gone.
    #[track_caller]
    pub(crate) fn echo(&self) {
        while let Some(request) = self.receive() {
            if !self.send_if_read(ok(&request, request["params"].clone())) {
                return;
            }
        }
    }
}

/// The reply with a result.
pub(crate) fn ok(request: &Value, result: impl Into<Value>) -> String {
    json!({"version": 1, "id": request["id"], "ok": true, "result": result.into()}).to_string()
}

#[track_caller]
pub(crate) fn wait_for(fd: &impl AsFd, flags: PollFlags) {
    let limit = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let mut polled = [PollFd::new(fd, flags)];
    assert_eq!(poll(&mut polled, Some(&limit)).unwrap(), 1, "nothing happened");
}
