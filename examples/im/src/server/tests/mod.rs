//! The whole server in this process, and clients with blocking sockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use campana::{EventLoop, LoopContext};

use super::shared::Shared;
use super::{Config, Server, Stopper};
use crate::protocol::{
    AcceptFriend, ApplyFriend, ClientType, Conversation, LogIn, LoggedIn, Register, Send, Sent, Status,
    UserId,
};
use client::Client;

mod accounts;
mod client;
mod compression;
mod crowding;
mod delivery;
mod devices;
mod frames;
mod friends;
mod groups;
mod messages;
mod stopping;

/// For what must happen: long enough for a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "correct horse";

/// A server with a directory of its own, which goes with it.
struct TestServer {
    address: SocketAddr,
    directory: PathBuf,
    stopper: Stopper,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    fn start() -> Self {
        Self::start_with(|_| {})
    }

    fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("im-server-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        Self::start_in(directory, change)
    }

    fn start_in(directory: PathBuf, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(&directory);
        config.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.threads = 2;
        config.password_memory = 8;
        change(&mut config);
        let (give, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut event_loop = EventLoop::new().unwrap();
            let server = Server::start(&config, &mut event_loop).unwrap();
            let address = server.local_addresses()[0].as_inet().unwrap();
            give.send((address, server.stopper(), Arc::clone(&server.shared))).unwrap();
            event_loop.run().unwrap();
            server.close();
        });
        let (address, stopper, shared) = started.recv_timeout(DEADLINE).unwrap();
        Self { address, directory, stopper, shared, thread: Some(thread) }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Registers a user.
    fn register(&self, name: &str) -> UserId {
        let request =
            Register { name: name.to_owned(), password: PASSWORD.to_owned(), nickname: String::new() };
        self.connect().request(&request).unwrap().user
    }

    /// A client that is logged in, and has been sent what waited for it.
    fn log_in(&self, name: &str, client: ClientType) -> Client {
        let mut connected = self.connect();
        log_in(&mut connected, name, client);
        connected.caught_up();
        connected
    }

    /// Two new users who are friends, at their computers.
    fn friends(&self, one: &str, two: &str) -> [Client; 2] {
        let users = [one, two].map(|name| self.register(name));
        let mut clients = [one, two].map(|name| self.log_in(name, ClientType::Pc));
        befriend(&mut clients, users);
        clients
    }

    /// Stops it in good order; its directory stays.
    fn stop(mut self) -> PathBuf {
        self.shut_down();
        std::mem::take(&mut self.directory)
    }

    fn shut_down(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stopper.stop(Duration::from_secs(5), LoopContext::quit);
            thread.join().unwrap();
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.shut_down();
        }
        if !self.directory.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

fn log_in(client: &mut Client, name: &str, kind: ClientType) -> LoggedIn {
    client.request(&log_in_request(name, kind)).unwrap()
}

fn log_in_request(name: &str, client: ClientType) -> LogIn {
    LogIn { name: name.to_owned(), password: PASSWORD.to_owned(), client, status: Status::Online }
}

fn befriend(clients: &mut [Client; 2], users: [UserId; 2]) {
    clients[0].request(&ApplyFriend { user: users[1], text: String::new() }).unwrap();
    clients[1].request(&AcceptFriend { user: users[0] }).unwrap();
    clients[0].event::<crate::protocol::FriendEvent>();
    clients[1].forget_events();
}

fn message(conversation: Conversation, client_id: &str, text: &str) -> Send {
    Send { conversation, client_id: client_id.to_owned(), text: text.to_owned() }
}

fn say(client: &mut Client, conversation: Conversation, client_id: &str) -> Sent {
    client.request(&message(conversation, client_id, "hello")).unwrap()
}
