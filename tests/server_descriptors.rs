//! A server gives back every descriptor and thread that it took. One test, as the counts are the whole process's.

use std::io::Write;

use campana::TcpServer;
use campana::connection::Spread;

#[path = "support/server.rs"]
mod server;

use server::{Moment, PATIENCE, Server, half_close, open_descriptors, read_exact, reset, wait_until};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn descriptors_and_threads_are_back_where_they_were_however_a_server_and_its_connections_end() {
    // What the standard library and the test harness set up once is there after the first round.
    let mut before = None;
    for round in 0..25 {
        let spread = [Spread::ListenerPerLoop, Spread::RoundRobin, Spread::LeastConnections][round % 3];
        let name = format!("unix:@campana-descriptors-{}-{round}", std::process::id());
        let server = TcpServer::bind("127.0.0.1:0").unwrap().and_bind(&*name).unwrap();
        let server =
            Server::of(server.threads(round % 4).spread(spread), |moment, conn, input| match moment {
                Moment::Data if input.peek() == b"force" => conn.force_close(),
                Moment::Data if input.peek() == b"close" => conn.close(),
                Moment::Data => drop(conn.send(input.take())),
                _ => moment.usual(conn, input),
            });
        let mut clients: Vec<_> = (0..24).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.write_all(b"ping").unwrap();
            assert_eq!(read_exact(client, 4), b"ping");
        }
        // Each way for a connection to end; the last ones are left to the server's end.
        for (number, mut client) in clients.drain(..20).enumerate() {
            match number % 5 {
                0 => reset(client),
                1 => client.write_all(b"force").unwrap(),
                2 => client.write_all(b"close").unwrap(),
                3 => half_close(&client),
                _ => drop(client),
            }
        }
        server.log.wait_count(Moment::Close, 20);
        if round % 2 == 0 {
            server.handle.stop(std::time::Duration::ZERO);
            assert!(server.handle.wait_stopped(PATIENCE));
        }
        server.end(24);
        drop(clients);
        match before {
            None => before = Some((open_descriptors(), threads())),
            Some((descriptors, tasks)) => {
                wait_until("all descriptors to be closed", || open_descriptors() == descriptors);
                wait_until("all threads to end", || threads() == tasks);
            }
        }
    }
}
