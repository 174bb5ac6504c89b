//! A chat room: each line goes to everybody, whichever loop they are on.
//!
//! Each loop has a [`Room`] of its own with the members that live there, in plain fields without a lock. What is said is posted to
//! all rooms, and each passes it on to its members. Only the names, which must be unique in all rooms at once, are behind a lock.
//!
//! `cargo run --example chat -- --threads 4`, then `nc 127.0.0.1 2030` in several terminals, and type: text, `/nick NAME`, `/who`.

mod support;

use std::collections::{BTreeSet, HashSet};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use campana::connection::ConnectionId;
use campana::{Buffer, CloseReason, Handler, LoopContext, ServerHandle, TcpConnection};
use support::Options;

fn main() -> ExitCode {
    let arguments = Options::server("A chat room of lines, with /nick NAME and /who.", "127.0.0.1:2030")
        .option("--max-line BYTES", Some("1000"), "the longest line; a longer one ends its connection")
        .parse();
    let max_line = arguments.value("--max-line");

    let names = Names::default();
    support::serve(&arguments, |server, event_loop| {
        server
            // A member who reads too slowly is dropped when so much waits for it.
            .configure(|config| config.hard_cap = 1 << 20)
            .start_with(event_loop, move |_, server| Room {
                server: server.clone(),
                names: names.clone(),
                max_line,
                members: HashSet::new(),
            })
    })
}

/// The members on one loop.
struct Room {
    server: ServerHandle<Self>,
    names: Names,
    max_line: usize,
    members: HashSet<ConnectionId>,
}

struct Member {
    name: String,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
}

impl Handler for Room {
    type State = Member;

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) -> Member {
        let name = self.names.claim_for_guest();
        let _ = conn.send(format!("* you are {name}; /nick NAME changes it, /who tells who is here\n"));
        self.members.insert(conn.id());
        self.say(format!("* {name} has joined"));
        Member { name, line: Vec::new() }
    }

    fn on_data(&mut self, member: &mut Member, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        while let Some(end) = input.find_eol() {
            member.line.extend(input.take_n(end + 1));
            self.take_line(member, conn);
            // It is closed if the line was too long: nothing more of it counts.
            if !conn.is_open() {
                return;
            }
        }
        member.line.extend(input.take());
        self.check_length(member, conn);
    }

    /// Who has said all they had to say leaves; a last line counts even without its end.
    fn on_read_closed(&mut self, member: &mut Member, conn: &mut TcpConnection<'_>) {
        if conn.is_open() && !member.line.is_empty() {
            self.take_line(member, conn);
        }
        conn.close();
    }

    fn on_stopping(&mut self, _member: &mut Member, conn: &mut TcpConnection<'_>) {
        let _ = conn.send("* the room is closing\n");
        conn.close();
    }

    fn on_close(&mut self, member: Member, conn: &mut TcpConnection<'_>, reason: CloseReason) {
        log::info!("{} from {}: {reason}", member.name, conn.peer_address());
        self.members.remove(&conn.id());
        self.names.release(&member.name);
        self.say(format!("* {} has left", member.name));
    }
}

impl Room {
    fn take_line(&mut self, member: &mut Member, conn: &mut TcpConnection<'_>) {
        if !self.check_length(member, conn) {
            return;
        }
        let line = std::mem::take(&mut member.line);
        // What a terminal would take for a command must not get to the others.
        let text: String = String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).collect();
        match text.trim_end().split_once(' ').unwrap_or((text.trim_end(), "")) {
            ("", "") => {}
            ("/nick", name) => self.rename(member, conn, name.trim()),
            ("/who", _) => {
                let _ = conn.send(format!("* here: {}\n", self.names.list()));
            }
            (command, _) if command.starts_with('/') => {
                let _ = conn.send(format!("* there is no {command}\n"));
            }
            _ => self.say(format!("{}: {text}", member.name)),
        }
    }

    fn check_length(&self, member: &Member, conn: &mut TcpConnection<'_>) -> bool {
        let max = self.max_line;
        let fits = without_line_end(&member.line).len() <= max;
        if !fits {
            let _ = conn.send(format!("* a line may have {max} bytes at most: goodbye\n"));
            conn.fail(format!("a line of more than {max} bytes"));
        }
        fits
    }

    fn rename(&self, member: &mut Member, conn: &mut TcpConnection<'_>, name: &str) {
        match self.names.claim(name) {
            Ok(()) => {
                self.names.release(&member.name);
                let former = std::mem::replace(&mut member.name, name.to_owned());
                self.say(format!("* {former} is {name} now"));
            }
            Err(why) => drop(conn.send(format!("* {name:?} can't be your name: {why}\n"))),
        }
    }

    /// Sends a line to everybody: the room of each loop passes it on to its members.
    fn say(&self, line: String) {
        let line = Bytes::from(line + "\n");
        for room in self.server.handlers() {
            let line = line.clone();
            // It fails only if that loop has ended, and then nobody is there.
            let _ = room.run(move |room, context| room.deliver(context, &line));
        }
    }

    fn deliver(&self, context: &mut LoopContext, line: &Bytes) {
        for &member in &self.members {
            if let Some(mut conn) = context.connection(member) {
                // A member that doesn't keep up is closed by this, and none of the others.
                let _ = conn.send(line);
            }
        }
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The names in use, in all rooms together.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Used>>);

#[derive(Default)]
struct Used {
    names: BTreeSet<String>,
    guests: u64,
}

impl Names {
    fn claim(&self, name: &str) -> Result<(), &'static str> {
        let length = name.chars().count();
        if !(1..=20).contains(&length) || !name.chars().all(|c| c.is_alphanumeric() || "-_".contains(c)) {
            return Err("it takes 1 to 20 letters, digits, - or _");
        }
        if self.lock().names.insert(name.to_owned()) { Ok(()) } else { Err("it is taken") }
    }

    fn claim_for_guest(&self) -> String {
        let mut used = self.lock();
        loop {
            used.guests += 1;
            let name = format!("guest-{}", used.guests);
            if used.names.insert(name.clone()) {
                return name;
            }
        }
    }

    fn release(&self, name: &str) {
        self.lock().names.remove(name);
    }

    fn list(&self) -> String {
        self.lock().names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
