//! A broadcast to a thousand, of whom one does not read.

use std::io::Read;

use bytes::Bytes;

#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, connect_narrow, pattern, read_exact, small_buffers, wait_gone};

const MEMBERS: usize = 1_000;
const HARD_CAP: usize = 150_000;

#[test]
fn one_of_a_thousand_members_who_does_not_read_is_closed_at_its_cap_and_the_others_miss_nothing() {
    let server = Server::configured(
        |config| {
            config.socket = small_buffers();
            config.hard_cap = HARD_CAP;
        },
        Moment::usual,
    );
    let mut stuck = connect_narrow(server.address());
    let mut clients: Vec<_> = (1..MEMBERS).map(|_| server.connect()).collect();
    server.log.wait_count(Moment::Connect, MEMBERS);
    let line = Bytes::from(pattern(4_000));
    let mut lines = 0;
    // Its cap, and what the kernel takes for it, are a few dozen lines.
    while server.log.count(Moment::Close) == 0 {
        lines += 1;
        assert!(lines < 200, "the stuck member stays");
        server.handle.broadcast(line.clone()).unwrap();
        for client in &mut clients {
            assert!(read_exact(client, line.len()) == line);
        }
        let pending = server.running.call(|cx| {
            let ids = cx.connections();
            ids.into_iter().filter_map(|id| Some(cx.connection(id)?.pending_output())).sum::<usize>()
        });
        assert!(pending <= HARD_CAP, "{pending} bytes are pending");
    }
    assert!(lines * line.len() > HARD_CAP, "it was closed early");
    assert_eq!(server.log.reasons(), ["the peer reads too slowly"]);
    wait_gone(&mut stuck);
    // All the others are still there.
    server.handle.broadcast("last").unwrap();
    for client in &mut clients {
        let mut last = [0; 4];
        client.read_exact(&mut last).unwrap();
        assert_eq!(&last, b"last");
    }
    drop(clients);
    server.log.wait_count(Moment::Close, MEMBERS);
    server.end(MEMBERS);
}
