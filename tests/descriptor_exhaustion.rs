//! What needs a descriptor when there is none is a clear error, leaves nothing behind, and works again later. One test, as the limit
//! is the whole process's.

use std::time::Duration;

use campana::reactor::LoopPool;
use campana::{EventLoop, TcpClient, TcpServer};

#[path = "support/connecting.rs"]
mod connecting;
#[path = "support/descriptor_limit.rs"]
mod descriptor_limit;
#[path = "support/server.rs"]
mod server;

use connecting::backoff;
use descriptor_limit::{exhaust_descriptors, raise_limit};
use server::{
    Log, Moment, PATIENCE, Recorder, Running, Server, echo, is_served, open_descriptors, wait_until,
};

#[test]
fn loops_servers_and_clients_without_a_descriptor_fail_clearly_and_a_client_that_may_tries_again() {
    let at_first = open_descriptors();
    let server = Server::start(echo);
    let (running, ()) = Running::start(|_| ());
    let mut other = server.connect_and_wait();
    is_served(&mut other);
    let log = Log::default();
    let recorder = Recorder::new(&log, |moment, conn, input| match moment {
        Moment::Connect => conn.send("ping").unwrap(),
        Moment::Data if input.peek() == b"ping" => conn.close(),
        _ => moment.usual(conn, input),
    });
    let client = TcpClient::new(server.address()).unwrap().retry(backoff(Duration::from_millis(50), None));
    let with_threads = TcpServer::bind("127.0.0.1:0").unwrap().threads(2);

    exhaust_descriptors();
    let errors = [
        EventLoop::new().map(drop).unwrap_err(),
        LoopPool::new(running.handle(), 2).map(drop).unwrap_err(),
        TcpServer::bind("127.0.0.1:0").map(drop).unwrap_err(),
        running.call(move |cx| with_threads.start(cx).map(drop)).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("Too many open files"), "{error}");
    }
    // The address of the server that could not start came free, and with it a descriptor.
    let taken = std::fs::File::open("/dev/null").unwrap();
    let handle = running.call(move |cx| client.start_with(cx, recorder));
    log.wait("some failures", |log| log.lines().len() >= 3);
    let failed = "ConnectFailed(connecting failed: Too many open files (os error 24), true)";
    assert!(log.lines().iter().all(|line| line == failed), "{:?}", log.lines());
    let turns = running.idle_turns(Duration::from_millis(300));
    assert!(turns <= 30, "{turns} turns for a few attempts");
    is_served(&mut other);

    raise_limit();
    drop(taken);
    assert!(handle.wait_stopped(PATIENCE));
    assert_eq!(log.reasons(), ["closed by this side"]);
    log.assert_whole_lives(1);
    drop((other, handle));
    server.log.wait_count(Moment::Close, 2);
    running.stop();
    let Server { running, handle, .. } = server;
    running.stop();
    drop(handle);
    wait_until("all descriptors to be closed", || open_descriptors() == at_first);
}
