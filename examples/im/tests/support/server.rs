//! Servers, each with a directory of its own that outlives its processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use im::protocol::{
    ApplyFriend, Conversation, CreateGroup, GroupId, JoinGroup, Register, Registered, UserId,
};

use super::{Client, Device, Ended, PASSWORD, Program};

/// Passwords needn't be safe here.
const FAST: [&str; 2] = ["--password-memory", "8"];

/// A directory that is removed when this is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("im-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server whose process can be ended and started again.
pub(crate) struct Server {
    program: Option<Program>,
    address: SocketAddr,
    data: PathBuf,
    options: Vec<String>,
    // Dropped last.
    scratch: Option<Scratch>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with_options(&[])
    }

    pub(crate) fn with_options(options: &[&str]) -> Self {
        let scratch = Scratch::new();
        let mut server = Self::in_directory(scratch.path(), options);
        server.scratch = Some(scratch);
        server
    }

    /// A server whose data is in a directory of the caller's.
    pub(crate) fn in_directory(data: &Path, options: &[&str]) -> Self {
        Self::of(data, options, Command::new(env!("CARGO_BIN_EXE_im")))
    }

    /// A server that is started by a command that becomes `im`.
    pub(crate) fn of(data: &Path, options: &[&str], mut command: Command) -> Self {
        let options: Vec<String> = FAST.iter().chain(options).map(|&option| option.to_owned()).collect();
        let program = spawn(&mut command, "127.0.0.1:0", data, &options);
        let address = program.line().strip_prefix("listening on ").expect("an address").parse().unwrap();
        Self { program: Some(program), address, data: data.to_owned(), options, scratch: None }
    }

    pub(crate) fn program(&self) -> &Program {
        self.program.as_ref().expect("the server to run")
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn socket_address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn kill(&mut self) {
        self.program.take().expect("the server to run").kill();
    }

    #[track_caller]
    pub(crate) fn terminate(&mut self) -> Ended {
        self.program.take().expect("the server to run").terminate()
    }

    /// Waits until it has ended, as it was asked to.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Ended {
        self.program.take().expect("the server to run").wait()
    }

    /// Starts it again, at the same address.
    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_im"));
        let program = spawn(&mut command, &self.address.to_string(), &self.data, &self.options);
        assert_eq!(program.line(), format!("listening on {}", self.address));
        self.program = Some(program);
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Makes a user.
    pub(crate) fn register(&self, name: &str) -> UserId {
        let (name, password) = (name.to_owned(), PASSWORD.to_owned());
        let Registered { user } =
            self.connect().request(&Register { name, password, nickname: String::new() }).unwrap();
        user
    }

    /// A user who exists, at a device.
    pub(crate) fn log_in(&self, name: &str, device: Device) -> Client {
        let mut client = self.connect();
        client.log_in(name, device).unwrap();
        client
    }

    /// Makes users who are all friends of the first one.
    pub(crate) fn make_friends<const N: usize>(&self, names: [&str; N]) -> [UserId; N] {
        let users = names.map(|name| self.register(name));
        let mut first = self.log_in(names[0], Device::Pc);
        for (name, &user) in names.iter().zip(&users).skip(1) {
            self.log_in(name, Device::Pc)
                .request(&ApplyFriend { user: users[0], text: String::new() })
                .unwrap();
            first.request(&ApplyFriend { user, text: String::new() }).unwrap();
        }
        users
    }

    /// Makes a group with these members.
    pub(crate) fn make_group(&self, members: &[&str]) -> Conversation {
        let name = "group".to_owned();
        let group: GroupId =
            self.log_in(members[0], Device::Pc).request(&CreateGroup { name }).unwrap().group;
        for member in &members[1..] {
            self.log_in(member, Device::Pc).request(&JoinGroup { group }).unwrap();
        }
        Conversation::Group(group)
    }
}

fn spawn(command: &mut Command, listen: &str, data: &Path, options: &[String]) -> Program {
    Program::spawn(command.args(["serve", "--listen", listen, "--data"]).arg(data).args(options))
}
