//! The disk is full: what can't be stored is refused, and all else goes on.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are tests too.

use std::path::Path;
use std::process::Command;

use im::protocol::{Conversation, ErrorCode, Heartbeat, History, Register};
use rustix::process::{Resource, Rlimit, prlimit};
use support::{Client, Device, Scratch, Server};

mod support;

/// Bytes of a message.
const LENGTH: usize = 16 * 1024;
/// More messages than the disk has room for.
const TOO_MANY: usize = 1000;

/// A file system in memory, of few MiB.
struct SmallDisk(Scratch);

impl SmallDisk {
    /// Nothing, if this process may not mount.
    fn mount() -> Option<Self> {
        let disk = Scratch::new();
        let mounted = Self::command("mount", &["-t", "tmpfs", "-o", "size=3m", "tmpfs"], disk.path());
        mounted.then(|| Self(disk))
    }

    fn grow(&self) {
        assert!(Self::command("mount", &["-o", "remount,size=64m"], self.0.path()));
    }

    fn command(name: &str, arguments: &[&str], path: &Path) -> bool {
        Command::new(name).args(arguments).arg(path).output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Self::command("umount", &[], self.0.path());
    }
}

fn text(message: usize) -> String {
    format!("{message} {}", "x".repeat(LENGTH))
}

/// Sends until the disk is full, and gives how many messages were stored.
#[track_caller]
fn fill(client: &mut Client, to: Conversation) -> usize {
    for message in 0..TOO_MANY {
        match client.say(to, &message.to_string(), &text(message)) {
            Ok(sent) => assert_eq!(sent.number, message as i64 + 1),
            Err(failure) => {
                assert_eq!(failure.code, ErrorCode::StorageFailed, "{failure}");
                return message;
            }
        }
    }
    panic!("the disk is not full");
}

#[track_caller]
fn assert_stored(client: &mut Client, conversation: Conversation, count: usize) {
    let mut before = None;
    for message in (0..count).rev() {
        let page = client.request(&History { conversation, before, limit: Some(1) }).unwrap();
        assert_eq!(page.messages.len(), 1);
        assert_eq!(page.messages[0].text, text(message));
        before = Some(page.messages[0].number);
    }
}

/// Fills the disk of a server, makes room by `make_room`, and looks at what happens.
fn fill_and_go_on(server: &mut Server, make_room: impl FnOnce(&Server)) {
    let [ann, bob] = server.make_friends(["ann", "bob"]);
    let to = Conversation::User(bob);
    let mut client = server.log_in("ann", Device::Pc);
    let mut reader = server.log_in("bob", Device::Pc);
    let stored = fill(&mut client, to);
    assert!(stored > 10, "{stored}");

    // It is refused again and again; what needs no room goes on, on this connection and others.
    let refused = client.say(to, &stored.to_string(), &text(stored)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::StorageFailed);
    client.request(&Heartbeat {}).unwrap();
    assert_stored(&mut client, to, stored);
    for message in 0..stored {
        assert_eq!(reader.event::<im::protocol::Message>().text, text(message));
    }
    let mut other = server.log_in("bob", Device::Web);
    assert_eq!(other.missed().len(), stored);

    make_room(server);
    let sent = client.say(to, &stored.to_string(), &text(stored)).unwrap();
    assert_eq!((sent.number, sent.duplicate), (stored as i64 + 1, false));
    let (name, password) = ("cid".to_owned(), support::PASSWORD.to_owned());
    server.connect().request(&Register { name, password, nickname: String::new() }).unwrap();
    assert_eq!(reader.event::<im::protocol::Message>().number, sent.number);
    assert_eq!(server.terminate().status, Some(0));

    server.start_again();
    assert_stored(&mut server.log_in("ann", Device::Pc), to, stored + 1);
    assert_stored(&mut server.log_in("bob", Device::Pc), Conversation::User(ann), stored + 1);
}

#[test]
fn a_full_file_system_refuses_messages_and_takes_them_when_it_has_room() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: only root may mount a small file system");
        return;
    };
    let mut server = Server::in_directory(&disk.0.path().join("data"), &[]);
    fill_and_go_on(&mut server, |_| disk.grow());
    drop(server);
}

#[test]
fn files_that_may_not_grow_refuse_messages_until_they_may() {
    let scratch = Scratch::new();
    // Told that the limit is reached by the call's error, not by a signal.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -S -f 4096; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_im")]);
    let mut server = Server::of(scratch.path(), &[], limited);
    fill_and_go_on(&mut server, |server| {
        let unlimited = Rlimit { current: None, maximum: None };
        prlimit(Some(server.program().id()), Resource::Fsize, unlimited).unwrap();
    });
}
