//! A panic in user code ends the connection that it happened on, and nothing else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use campana::{Buffer, CloseReason, Handler, TcpClient, TcpConnection, TcpServer};

#[path = "support/server.rs"]
mod server;

use server::{
    Moment, Running, Server, connect, connect_narrow, pattern, read_exact, read_to_end, small_buffers,
    wait_gone, wait_until,
};

const ON_PURPOSE: &str = "on purpose";
const OUTPUT: usize = 300_000;

/// Keeps the panics that are meant to happen out of the tests' output.
fn panic_on_purpose() -> ! {
    std::panic::panic_any(ON_PURPOSE);
}

fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref() != Some(&ON_PURPOSE) {
                usual(info);
            }
        }));
    });
}

/// A panic in one callback of one connection, with a bystander.
#[track_caller]
fn panic_in(moment: Moment) {
    silence();
    let shared = Arc::new((AtomicUsize::new(0), Mutex::new(None)));
    let in_callback = Arc::clone(&shared);
    let server = Server::configured(
        |config| {
            config.socket = small_buffers();
            config.high_water = 20_000;
            config.low_water = 10_000;
        },
        move |called, conn, input| {
            let (connections, victim) = &*in_callback;
            let id = conn.id();
            if called == Moment::Connect && connections.fetch_add(1, Ordering::SeqCst) == 1 {
                *victim.lock().unwrap() = Some(id);
                conn.set_timer(Duration::from_millis(1), 1);
            }
            let is_victim = *victim.lock().unwrap() == Some(id);
            if is_victim && called == moment {
                let _ = conn.send("never to be seen");
                panic_on_purpose();
            }
            match called {
                Moment::Data if is_victim => {
                    input.retrieve_all();
                    let _ = conn.send(pattern(OUTPUT));
                }
                Moment::Data => drop(conn.send(input.take())),
                _ => called.usual(conn, input),
            }
        },
    );
    let mut bystander = server.connect_and_wait();
    let mut victim = connect_narrow(server.address());
    let _ = victim.write_all(b"x");
    let mut block = [0; 16 * 1024];
    let mut received = 0;
    while received < OUTPUT {
        match victim.read(&mut block) {
            Ok(0) | Err(_) => break,
            Ok(n) => received += n,
        }
    }
    match moment {
        Moment::Stopping => server.handle.stop(Duration::from_secs(5)),
        _ => drop(victim.shutdown(std::net::Shutdown::Write)),
    }
    wait_gone(&mut victim);
    wait_until("the panic", || server.running.figures().panics == 1);
    wait_until("the count", || server.handle.figures().connections == 1);

    if moment != Moment::Stopping {
        bystander.write_all(b"still here").unwrap();
        assert_eq!(read_exact(&mut bystander, 10), b"still here");
    }
    let log = server.log.clone();
    let id = shared.1.lock().unwrap().unwrap();
    if moment == Moment::Connect {
        assert_eq!(log.lines_of(id), ["Connect"], "there is no state that on_close could be given");
    } else {
        log.wait("its end", |log| log.lines_of(id).iter().any(|line| line.starts_with("Closed")));
        let lines = log.lines_of(id);
        let expected = if moment == Moment::Close { "closed by the peer" } else { "a callback panicked" };
        assert_eq!(lines[lines.len() - 1], format!("Closed({expected})"), "{lines:#?}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("Closed")).count(), 1, "{lines:#?}");
    }
    let handle = server.handle.clone();
    server.running.stop();
    assert_eq!(log.states(), 0);
    assert_eq!(handle.figures().connections, 0);
    assert_eq!(log.count(Moment::Close), if moment == Moment::Connect { 1 } else { 2 });
}

#[test]
fn a_panic_in_on_connect_ends_its_connection_alone() {
    panic_in(Moment::Connect);
}

#[test]
fn a_panic_in_on_data_ends_its_connection_alone() {
    panic_in(Moment::Data);
}

#[test]
fn a_panic_in_on_write_complete_ends_its_connection_alone() {
    panic_in(Moment::WriteComplete);
}

#[test]
fn a_panic_in_on_high_water_ends_its_connection_alone() {
    panic_in(Moment::HighWater);
}

#[test]
fn a_panic_in_on_low_water_ends_its_connection_alone() {
    panic_in(Moment::LowWater);
}

#[test]
fn a_panic_in_on_read_closed_ends_its_connection_alone() {
    panic_in(Moment::ReadClosed);
}

#[test]
fn a_panic_in_on_timer_ends_its_connection_alone() {
    panic_in(Moment::Timer(1));
}

#[test]
fn a_panic_in_on_stopping_ends_its_connection_alone() {
    panic_in(Moment::Stopping);
}

#[test]
fn a_panic_in_on_close_is_the_end_of_its_connection_all_the_same() {
    panic_in(Moment::Close);
}

#[test]
fn a_panic_after_close_is_told_as_a_panic() {
    silence();
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Data => {
            conn.close();
            panic_on_purpose();
        }
        _ => moment.usual(conn, input),
    });
    let mut client = server.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(server.log.wait_closed(), "a callback panicked");
    server.end(1);
}

#[test]
fn a_panic_while_unread_input_is_left_loses_no_buffer_of_others() {
    silence();
    let server = Server::start(|moment, conn, input| match moment {
        // Incomplete input is left: little, then more than the shared buffer is used for.
        Moment::Data if input.peek().ends_with(b"!") => panic_on_purpose(),
        Moment::Data if input.peek().starts_with(b"echo") => conn.send(input.take()).unwrap(),
        Moment::Data => {}
        _ => moment.usual(conn, input),
    });
    for unread in [10, 5_000, 300_000] {
        let mut client = server.connect();
        client.write_all(&vec![b'.'; unread]).unwrap();
        wait_until("the input", || server.log.data().len() >= unread);
        client.write_all(b"!").unwrap();
        wait_gone(&mut client);
        let mut other = server.connect();
        other.write_all(b"echo").unwrap();
        assert_eq!(read_exact(&mut other, 4), b"echo");
    }
    server.log.wait_count(Moment::Close, 6);
    assert_eq!(server.running.figures().panics, 3);
    server.end(6);
}

/// Its states panic when they are dropped.
struct Fragile {
    closed: Arc<AtomicUsize>,
}

struct FragileState;

impl Drop for FragileState {
    fn drop(&mut self) {
        panic_on_purpose();
    }
}

impl Handler for Fragile {
    type State = FragileState;

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) -> FragileState {
        FragileState
    }

    fn on_data(&mut self, _: &mut FragileState, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        let _ = conn.send(input.take());
    }

    fn on_close(&mut self, state: FragileState, _: &mut TcpConnection<'_>, _: CloseReason) {
        self.closed.fetch_add(1, Ordering::SeqCst);
        drop(state);
    }
}

#[test]
fn states_whose_destructor_panics_end_each_alone_while_the_loop_runs_and_when_it_ends() {
    silence();
    let closed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&closed);
    let (running, handle) = Running::start(move |event_loop| {
        let server = TcpServer::bind("127.0.0.1:0").unwrap();
        server.start_with(event_loop, move |_, _| Fragile { closed: Arc::clone(&counted) }).unwrap()
    });
    let address = handle.local_addresses()[0].as_inet().unwrap();
    let mut clients: Vec<TcpStream> = (0..6).map(|_| connect(address)).collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        assert_eq!(read_exact(client, 1), b"x");
    }
    clients.truncate(4);
    wait_until("two to end", || handle.figures().connections == 4);
    assert_eq!(closed.load(Ordering::SeqCst), 2);
    clients[0].write_all(b"y").unwrap();
    assert_eq!(read_exact(&mut clients[0], 1), b"y");
    // The others end together with the loop, each with a panic of its own.
    running.stop();
    assert_eq!(closed.load(Ordering::SeqCst), 6);
    assert_eq!(handle.figures().connections, 0);
    assert!(handle.is_stopped());
}

#[test]
fn panics_in_every_on_close_leave_no_connection_untold_at_the_end_of_the_loop() {
    silence();
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Close => panic_on_purpose(),
        _ => moment.usual(conn, input),
    });
    let clients: Vec<_> = (0..5).map(|_| server.connect_and_wait()).collect();
    let handle = server.handle.clone();
    server.end(5);
    assert!(handle.is_stopped());
    drop(clients);
}

#[test]
fn a_panic_in_on_connect_does_not_stop_a_server_from_stopping_nor_lose_who_waits() {
    silence();
    let armed = Arc::new(AtomicBool::new(false));
    let explode = Arc::clone(&armed);
    let nth = AtomicUsize::new(0);
    let server = Server::start(move |moment, conn, input| match moment {
        Moment::Connect
            if explode.load(Ordering::SeqCst) && nth.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) =>
        {
            panic_on_purpose()
        }
        Moment::Data => {
            conn.send(input.take()).unwrap();
            conn.close();
        }
        _ => moment.usual(conn, input),
    });
    let mut early = server.connect_and_wait();
    server.running.settle();
    armed.store(true, Ordering::SeqCst);
    let held = server.running.hold();
    let mut waiting: Vec<_> = (0..9).map(|_| server.connect()).collect();
    server.handle.stop(Duration::from_secs(10));
    held.release();
    for client in &mut waiting {
        let _ = client.write_all(b"in the backlog");
    }
    let served = waiting.iter_mut().filter(|client| {
        let mut reply = Vec::new();
        let mut client: &TcpStream = client;
        client.read_to_end(&mut reply).is_ok() && reply == b"in the backlog"
    });
    assert_eq!(served.count(), 6);
    let first = server.log.ids()[0];
    server.log.wait("the early one to be told", |log| log.lines_of(first).contains(&"Stopping".to_owned()));
    drop(waiting);
    early.write_all(b"in flight").unwrap();
    assert_eq!(read_to_end(&mut early), b"in flight");
    drop(early);
    assert!(server.handle.wait_stopped(Duration::from_secs(5)));
    assert_eq!(server.handle.figures().connections, 0);
    server.running.stop();
}

#[test]
fn a_panic_in_a_clients_callbacks_ends_the_client_and_not_the_loop() {
    silence();
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Connect => conn.send("hello").unwrap(),
        _ => moment.usual(conn, input),
    });
    let address = server.address();
    let (in_connect, in_data, in_failed) = server.running.call(move |cx| {
        let client = || TcpClient::new(address).unwrap();
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        (
            client().on_connect(|_| -> () { panic_on_purpose() }).start(cx),
            client().on_data(|_, _| -> () { panic_on_purpose() }).start(cx),
            TcpClient::new(nobody).unwrap().on_connect_failed(|_, _, _| panic_on_purpose()).start(cx),
        )
    });
    for client in [in_connect, in_data, in_failed] {
        assert!(client.wait_stopped(Duration::from_secs(5)));
    }
    assert_eq!(server.running.figures().panics, 3);
    let mut still = server.connect();
    assert_eq!(read_exact(&mut still, 5), b"hello");
    drop(still);
    server.log.wait_count(Moment::Close, 3);
    server.end(3);
}

#[test]
fn a_panic_in_a_task_for_a_handler_ends_no_connection() {
    silence();
    let server = Server::start(Moment::usual);
    let client = server.connect_and_wait();
    server.handle.handlers()[0].run(|_, _| panic_on_purpose()).unwrap();
    server.handle.for_each(|_| panic_on_purpose()).unwrap();
    server.running.settle();
    assert_eq!(server.running.figures().panics, 2);
    assert_eq!(server.log.count(Moment::Close), 0);
    drop(client);
    server.log.wait_closed();
    server.end(1);
}

#[test]
fn a_task_whose_destructor_panics_does_no_harm_when_its_handler_is_gone() {
    silence();
    let server = Server::start(Moment::usual);
    let handler = server.handle.handlers().remove(0);
    server.handle.stop(Duration::ZERO);
    assert!(server.handle.wait_stopped(Duration::from_secs(5)));
    let fragile = FragileState;
    handler.run(move |_, _| drop(fragile)).unwrap();
    server.running.settle();
    assert_eq!(server.running.figures().panics, 1);
    server.end(0);
}

#[test]
fn a_repeating_timer_that_cancels_itself_may_panic_in_its_destructor() {
    silence();
    let (running, ()) = Running::start(|event_loop| {
        let fragile = FragileState;
        let own = Arc::new(Mutex::new(None));
        let cancelled = Arc::clone(&own);
        let timer = event_loop.context().run_every(Duration::from_millis(1), move |cx| {
            let _ = &fragile;
            cx.cancel(cancelled.lock().unwrap().unwrap());
        });
        *own.lock().unwrap() = Some(timer);
    });
    wait_until("the panic", || running.figures().panics == 1);
    running.settle();
    running.stop();
}
