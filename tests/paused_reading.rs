//! What a peer sent before it closed is still there when a paused connection reads again, however much later that is.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::mpsc;
use std::time::Duration;

use campana::{CloseReason, EventLoop, TcpServer};

const SENT: usize = 100_000;
const LINGER: Duration = Duration::from_millis(20);
/// Ten times as long as a connection that failed would be kept.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves one connection, which is not read for a while. Answers how many bytes came, and whether the peer closed it in good
/// order. `talk` is the peer.
fn received_after_a_pause(
    server: TcpServer,
    talk: impl FnOnce(campana::Address) + Send + 'static,
) -> (u64, bool) {
    let mut event_loop = EventLoop::new().unwrap();
    let (report, reports) = mpsc::channel();
    let server = server
        .configure(|config| config.linger = LINGER)
        .on_connect(|conn| {
            conn.pause_reading();
            conn.shutdown();
            let id = conn.id();
            conn.context().run_after(PAUSE, move |context| {
                if let Some(mut conn) = context.connection(id) {
                    conn.resume_reading();
                }
            });
        })
        .on_close(move |conn, reason| {
            let _ = report
                .send((conn.stats().bytes_in, matches!(reason, CloseReason::Peer | CloseReason::Local)));
            conn.context().quit();
        })
        .start(&mut event_loop)
        .unwrap();
    let address = server.local_addresses()[0].clone();
    let peer = std::thread::spawn(move || talk(address));
    event_loop.context().run_after(Duration::from_secs(10), |context| context.quit());
    event_loop.run().unwrap();
    peer.join().unwrap();
    reports.try_recv().expect("the connection ended in time")
}

#[test]
fn a_tcp_peer_that_closed_both_directions_is_read_to_its_end() {
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let received = received_after_a_pause(server, |address| {
        let mut stream = TcpStream::connect(address.as_inet().unwrap()).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        stream.write_all(&vec![1; SENT]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    assert_eq!(received, (SENT as u64, true));
}

#[test]
fn a_unix_peer_that_is_gone_is_read_to_its_end() {
    let server = TcpServer::bind(format!("unix:@paused-{}", std::process::id())).unwrap();
    let received = received_after_a_pause(server, |address| {
        let name = SocketAddr::from_abstract_name(address.as_abstract().unwrap()).unwrap();
        let mut stream = UnixStream::connect_addr(&name).unwrap();
        stream.write_all(&vec![1; SENT]).unwrap();
    });
    assert_eq!(received, (SENT as u64, true));
}
