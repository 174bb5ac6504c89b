use std::sync::mpsc;

use super::{DEADLINE, TestServer};
use crate::protocol::{Acknowledge, ClientType, Heartbeat};

#[test]
fn who_asks_for_much_at_once_waits_when_the_storage_is_crowded_and_nobody_is_refused() {
    let server = TestServer::start();
    let names: Vec<String> = (0..70).map(|number| format!("user{number}")).collect();
    let mut clients: Vec<_> = names
        .iter()
        .map(|name| {
            server.register(name);
            server.log_in(name, ClientType::Pc)
        })
        .collect();
    let (go, gate) = mpsc::channel::<()>();
    server.shared.storage.write(move |_| Ok(gate.recv_timeout(DEADLINE)), |_| {});
    // Together more than the queue takes, and each no more than a session may have under way.
    let seqs: Vec<Vec<u32>> = clients
        .iter_mut()
        .map(|client| (0..64).map(|_| client.send(&Acknowledge { position: 0 })).collect())
        .collect();
    // Each loop has read what had come before these are answered.
    for _ in 0..10 {
        server.connect().request(&Heartbeat {}).unwrap();
    }
    assert!(server.shared.storage.is_crowded());
    go.send(()).unwrap();
    for (client, seqs) in clients.iter_mut().zip(seqs) {
        for seq in seqs {
            client.answer::<Acknowledge>(seq).unwrap();
        }
    }
}
