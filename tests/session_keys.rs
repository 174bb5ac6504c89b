//! Keys of sessions that have something of their own to do.

use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use campana::TcpServer;
use campana::codec::{Lines, Text};
use campana::session::{Session, SessionContext, SessionManager, SessionService};

#[path = "support/server.rs"]
mod server;

use server::{PATIENCE, Running, connect};

/// A key of which the last one that goes counts the sessions.
#[derive(Clone)]
struct Counted {
    _counts: Arc<Counts>,
}

struct Counts {
    sessions: SessionManager<Guest>,
    counted: Sender<Option<usize>>,
}

impl PartialEq for Counted {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Counted {}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

impl Drop for Counts {
    fn drop(&mut self) {
        let (give, count) = channel();
        let sessions = self.sessions.clone();
        // From another thread, so that a lock that is held fails the test and doesn't hang it.
        std::thread::spawn(move || give.send(sessions.len()));
        let _ = self.counted.send(count.recv_timeout(PATIENCE / 4).ok());
    }
}

/// Joins, claims and leaves, each time with a new key that is equal to the others.
struct Guest(Sender<Option<usize>>);

impl Session for Guest {
    type Codec = Text<Lines>;

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        let counts = Counts { sessions: cx.manager().clone(), counted: self.0.clone() };
        let key = Counted { _counts: Arc::new(counts) };
        match line {
            "join" => drop(cx.join(key)),
            "claim" => drop(cx.claim(key)),
            _ => drop(cx.leave(&key)),
        }
        let _ = cx.write("ok");
    }
}

fn ask(client: &mut TcpStream, line: &str) {
    writeln!(client, "{line}").unwrap();
    let mut answer = [0; 3];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ok\n");
}

#[test]
fn a_key_may_use_the_manager_when_it_is_dropped() {
    let (counted, counts) = channel();
    let (running, address): (_, SocketAddr) = Running::start(move |event_loop| {
        let server = TcpServer::bind("127.0.0.1:0").unwrap();
        let service = SessionService::new(|| Text::over(Lines::new()));
        let (handle, _) = service.serve(server, event_loop, move |_| Guest(counted.clone())).unwrap();
        handle.local_addresses()[0].as_inet().unwrap()
    });
    let (mut one, mut two) = (connect(address), connect(address));
    // The first one's key is the one that is kept for both, until the last of them has left, or another has claimed it.
    for (last, keys) in [("leave", 4), ("claim", 5)] {
        ask(&mut one, "join");
        ask(&mut two, "join");
        ask(&mut one, "leave");
        ask(&mut two, last);
        ask(&mut two, "leave");
        for _ in 0..keys {
            assert_eq!(
                counts.recv_timeout(PATIENCE),
                Ok(Some(2)),
                "the manager is locked while a key is dropped"
            );
        }
    }
    running.stop();
}
