//! What other threads send to a loop that is held up is bounded, however small the pieces are.

use std::net::TcpStream;

use campana::{EventLoop, SendError, TcpServer};

mod support {
    pub(crate) mod reactor;
}
use support::reactor::turn_until;

const HARD_CAP: usize = 100_000;

#[test]
fn pieces_of_no_bytes_and_of_one_byte_come_to_an_end_too() {
    let mut event_loop = EventLoop::new().unwrap();
    let server = TcpServer::bind("127.0.0.1:0")
        .unwrap()
        .configure(|config| config.hard_cap = HARD_CAP)
        .start(&mut event_loop)
        .unwrap();
    let _peer = TcpStream::connect(server.local_addresses()[0].as_inet().unwrap()).unwrap();
    turn_until(&mut event_loop, "the connection", |event_loop| {
        !event_loop.context().connections().is_empty()
    });
    let context = event_loop.context();
    let id = context.connections()[0];
    let conn = context.connection(id).unwrap().handle();
    for piece in ["", "1"] {
        let sent = (0..HARD_CAP).take_while(|_| conn.send(piece).is_ok()).count();
        assert!(sent < HARD_CAP / 100, "{sent} pieces are under way");
        assert_eq!(conn.send(piece), Err(SendError::Full));
        turn_until(&mut event_loop, "room again", |_| conn.send(piece).is_ok());
    }
}
