//! A control socket on a loop of its own, and clients of it that see every packet.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use campana::Address;
use campana::control::{Command, ControlHandle, ControlServer, Failure, Router};
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::server::{PATIENCE, Running};

/// An abstract name that nobody else has, as control sockets are named.
pub(crate) fn name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("@campana-control-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst))
}

/// A router with these commands.
pub(crate) fn router(commands: impl IntoIterator<Item = Command>) -> Router {
    let mut router = Router::new();
    for command in commands {
        router.add(command).unwrap();
    }
    router
}

/// Answers its parameters.
pub(crate) fn echo() -> Command {
    Command::new("echo", "Answers its parameters.").answers(|_, params: Value| Ok(params))
}

/// Answers an error.
pub(crate) fn wrong() -> Command {
    Command::new("wrong", "Answers an error.")
        .answers(|_, (): ()| Err::<(), _>(Failure::new("wrong as ever")))
}

/// A control socket on a loop of its own.
pub(crate) struct Control {
    pub(crate) running: Running,
    pub(crate) handle: ControlHandle,
}

impl Control {
    #[track_caller]
    pub(crate) fn start(commands: impl IntoIterator<Item = Command>) -> Self {
        Self::configured(commands, |server| server)
    }

    #[track_caller]
    pub(crate) fn configured(
        commands: impl IntoIterator<Item = Command>,
        change: impl FnOnce(ControlServer) -> ControlServer + Send + 'static,
    ) -> Self {
        let router = router(commands);
        let (running, handle) = Running::start(move |event_loop| {
            change(ControlServer::bind(name())).start(event_loop, router).unwrap()
        });
        Self { running, handle }
    }

    pub(crate) fn address(&self) -> Address {
        self.handle.server().local_addresses()[0].clone()
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Wire {
        Wire::connect(&self.address())
    }
}

/// A client that sends and receives packets as they are. It waits for what it is to receive, but not for ever.
#[derive(Debug)]
pub(crate) struct Wire(pub(crate) Socket);

impl Wire {
    #[track_caller]
    pub(crate) fn connect(address: &Address) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub(crate) fn try_connect(address: &Address) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        let system = match (address.as_pathname(), address.as_abstract()) {
            (Some(path), _) => SockAddr::unix(path)?,
            (None, name) => SockAddr::unix(OsStr::from_bytes(&[b"\0", name.unwrap()].concat()))?,
        };
        socket.connect(&system)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    #[track_caller]
    pub(crate) fn send(&self, packet: impl AsRef<[u8]>) {
        let packet = packet.as_ref();
        assert_eq!((&self.0).write(packet).unwrap(), packet.len());
    }

    /// Sends a request with an id, and without parameters.
    #[track_caller]
    pub(crate) fn command(&self, command: &str, id: &str) {
        self.send(serde_json::json!({"version": 1, "command": command, "id": id}).to_string());
    }

    /// The text of the next reply; `None` is the end.
    #[track_caller]
    pub(crate) fn receive_text(&self) -> Option<String> {
        let mut packet = vec![0; 512 * 1024];
        let length = match (&self.0).read(&mut packet) {
            Ok(length) => length,
            // The server closed with something that it had not read: that is told once, before what it had sent.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (&self.0).read(&mut packet).unwrap(),
            Err(error) => panic!("{error}"),
        };
        packet.truncate(length);
        (length > 0).then(|| String::from_utf8(packet).unwrap())
    }

    /// The next reply; `None` is the end.
    #[track_caller]
    pub(crate) fn receive(&self) -> Option<Value> {
        self.receive_text().map(|text| serde_json::from_str(&text).unwrap())
    }

    /// Sends a packet, and receives one.
    #[track_caller]
    pub(crate) fn ask(&self, packet: impl AsRef<[u8]>) -> Value {
        self.send(packet);
        self.receive().expect("a reply")
    }

    /// Gives a command without parameters, and receives the reply.
    #[track_caller]
    pub(crate) fn run(&self, command: &str) -> Value {
        self.command(command, "run");
        let reply = self.receive().expect("a reply");
        assert_eq!(reply["id"], "run");
        reply
    }

    /// That the session lives, and owes nothing: what comes next is the answer to a request that is made now.
    #[track_caller]
    pub(crate) fn assert_lives(&self) {
        self.command("help", "does it live?");
        let reply = self.receive().expect("the session to live");
        assert_eq!((&reply["id"], &reply["ok"]), (&"does it live?".into(), &true.into()), "{reply}");
    }

    /// That the session ends, without another reply.
    #[track_caller]
    pub(crate) fn assert_ends(&self) {
        assert_eq!(self.receive_text(), None);
    }

    /// Whether nothing comes for some time.
    pub(crate) fn is_silent(&self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).unwrap();
        let received = (&self.0).read(&mut [0; 1]);
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        received.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    pub(crate) fn half_close(&self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }
}
