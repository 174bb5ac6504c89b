//! A handler that sends more whenever all is written doesn't keep the loop to itself.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::{EventLoop, TcpServer};

/// Large enough to be written at once, and small against the kernel's buffer.
const CHUNK: [u8; 8 * 1024] = [0; 8 * 1024];
const CALLS: usize = 10;

#[test]
fn write_complete_is_called_at_most_once_a_turn() {
    let mut event_loop = EventLoop::new().unwrap();
    let turns = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&turns);
    let server = TcpServer::bind("127.0.0.1:0")
        .unwrap()
        .on_connect(|conn| conn.send(&CHUNK))
        .on_write_complete(move |conn| {
            let mut turns = noted.lock().unwrap();
            turns.push(conn.context().handle().figures().turns);
            if turns.len() == CALLS {
                conn.context().quit();
                return Ok(());
            }
            conn.send(&CHUNK)
        })
        .start(&mut event_loop)
        .unwrap();
    let _peer = TcpStream::connect(server.local_addresses()[0].as_inet().unwrap()).unwrap();
    event_loop.context().run_after(Duration::from_secs(10), |context| context.quit());
    event_loop.run().unwrap();
    let turns = turns.lock().unwrap();
    assert_eq!(turns.len(), CALLS);
    assert!(turns.windows(2).all(|pair| pair[0] < pair[1]), "{turns:?}");
}
