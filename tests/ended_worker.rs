//! A server goes on when one of its loops was told to quit: nobody is handed over to a loop that has ended.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use campana::connection::Spread;
use campana::{EventLoop, TcpServer};

mod support {
    pub(crate) mod reactor;
}
use support::reactor::wait_until;

fn go_on_with(spread: Spread) {
    let (report, reports) = std::sync::mpsc::channel();
    let base = std::thread::spawn(move || {
        let mut event_loop = EventLoop::new().unwrap();
        let server = TcpServer::bind("127.0.0.1:0")
            .unwrap()
            .threads(2)
            .spread(spread)
            .on_data(|conn, input| {
                if input.peek() == b"q" {
                    conn.context().quit();
                }
                conn.send(input.take())
            })
            .start(&mut event_loop)
            .unwrap();
        report.send((server, event_loop.handle())).unwrap();
        event_loop.run().unwrap();
    });
    let (server, handle) = reports.recv().unwrap();
    let address = server.local_addresses()[0].as_inet().unwrap();
    let ask = |text: &[u8]| {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        peer.write_all(text)?;
        let mut answer = [0];
        peer.read_exact(&mut answer).map(|()| answer[0])
    };
    let _ = ask(b"q");
    wait_until("one loop to end", || {
        server.handlers().iter().any(|handler| !handler.loop_handle().is_alive())
    });
    let answers: Vec<_> = (0..6).map(|_| ask(b"a").ok()).collect();
    handle.quit();
    base.join().unwrap();
    assert_eq!(answers, [Some(b'a'); 6]);
}

#[test]
fn connections_are_spread_in_turn_over_the_loops_that_are_left() {
    go_on_with(Spread::RoundRobin);
}

#[test]
fn a_loop_that_has_ended_is_not_the_one_with_the_fewest_connections() {
    go_on_with(Spread::LeastConnections);
}
