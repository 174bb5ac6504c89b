//! Destructors of the user's that panic, wherever a loop comes to drop them: the loop lives, and the others with it.

use std::io::Write;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use campana::{Buffer, CloseReason, EventLoop, Handler, LoopContext, TcpClient, TcpConnection, TcpServer};

#[path = "support/server.rs"]
mod server;

use server::{Moment, PATIENCE, Running, Server, any, connect, is_served, read_exact, wait_gone, wait_until};

/// Panics, without a word from the panic hook, when it is dropped; counts that before.
struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        resume_unwind(Box::new("on purpose"));
    }
}

/// Panics with a payload whose destructor panics as well.
fn panic_twice(dropped: &Arc<AtomicUsize>) -> ! {
    resume_unwind(Box::new(Bomb(Arc::clone(dropped))))
}

/// Echoes; its handler is a bomb, and so is each state.
struct Fragile {
    dropped: Arc<AtomicUsize>,
    _bomb: Bomb,
}

impl Fragile {
    fn new(dropped: &Arc<AtomicUsize>) -> Self {
        Self { dropped: Arc::clone(dropped), _bomb: Bomb(Arc::clone(dropped)) }
    }
}

impl Handler for Fragile {
    type State = Bomb;

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) -> Bomb {
        Bomb(Arc::clone(&self.dropped))
    }

    fn on_data(&mut self, _: &mut Bomb, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        if input.peek() == b"panic" {
            panic_twice(&self.dropped);
        }
        let _ = conn.send(input.take());
    }

    fn on_close(&mut self, _: Bomb, _: &mut TcpConnection<'_>, _: CloseReason) {}
}

#[test]
fn a_panic_whose_payload_panics_when_dropped_ends_with_the_task_or_timer() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (running, ()) = Running::start(|_| ());
    type Plant = fn(&mut LoopContext, Arc<AtomicUsize>);
    let plants: [Plant; 4] = [
        |_, dropped| panic_twice(&dropped),
        |cx, dropped| cx.run_later(move |_| panic_twice(&dropped)),
        |cx, dropped| {
            cx.run_after(Duration::ZERO, move |_| panic_twice(&dropped));
        },
        |cx, dropped| {
            cx.run_every(Duration::from_millis(1), move |_| panic_twice(&dropped));
        },
    ];
    for (number, plant) in plants.into_iter().enumerate() {
        let count = Arc::clone(&dropped);
        running.handle().post(move |cx| plant(cx, count)).unwrap();
        wait_until("the panic", || running.figures().panics > number as u64);
        running.settle();
    }
    assert_eq!(running.figures().panics, 4);
    assert_eq!(dropped.load(Ordering::SeqCst), 4);
    running.stop();
}

#[test]
fn a_panic_whose_payload_panics_when_dropped_ends_its_connection_alone() {
    let dropped = Arc::new(AtomicUsize::new(0));
    for moment in [Moment::Connect, Moment::Data, Moment::ReadClosed, Moment::Close] {
        let count = Arc::clone(&dropped);
        let victims = Arc::new(AtomicUsize::new(0));
        let number = Arc::clone(&victims);
        let server = Server::start(move |called, conn, input| {
            let is_second = called == Moment::Connect && number.fetch_add(1, Ordering::SeqCst) == 1;
            match called {
                Moment::Connect if !is_second => {}
                Moment::Data if input.peek() != b"panic" => drop(conn.send(input.take())),
                _ if called == moment && number.load(Ordering::SeqCst) == 2 => panic_twice(&count),
                _ => called.usual(conn, input),
            }
        });
        let mut bystander = server.connect_and_wait();
        let mut victim = server.connect_and_wait();
        let _ = victim.write_all(b"panic");
        let _ = victim.shutdown(std::net::Shutdown::Write);
        wait_gone(&mut victim);
        wait_until("the panic", || server.running.figures().panics == 1);
        is_served(&mut bystander);
        let log = server.log.clone();
        server.running.stop();
        assert_eq!(log.states(), 0, "{moment:?}");
    }
}

#[test]
fn a_state_that_panics_when_dropped_after_its_callback_has_panicked_ends_its_connection_alone() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dropped);
    let (running, handle) = Running::start(move |event_loop| {
        any().start_with(event_loop, move |_, _| Fragile::new(&count)).unwrap()
    });
    let address = handle.local_addresses()[0].as_inet().unwrap();
    let (mut victim, mut bystander) = (connect(address), connect(address));
    is_served(&mut victim);
    is_served(&mut bystander);
    victim.write_all(b"panic").unwrap();
    wait_gone(&mut victim);
    // The callback, its payload, and the state.
    wait_until("the count", || handle.figures().connections == 1);
    is_served(&mut bystander);
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
    running.stop();
    // The other state, and the handler.
    assert_eq!(dropped.load(Ordering::SeqCst), 4);
    assert!(handle.is_stopped());
}

#[test]
fn handlers_that_panic_when_dropped_do_no_harm_to_a_server_that_stops_or_to_its_loops() {
    for threads in [0, 2] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let other = Server::start(server::echo);
        let count = Arc::clone(&dropped);
        let handle = other
            .running
            .call(move |cx| any().threads(threads).start_with(cx, move |_, _| Fragile::new(&count)).unwrap());
        let mut peer = connect(handle.local_addresses()[0].as_inet().unwrap());
        is_served(&mut peer);
        handle.stop(Duration::ZERO);
        assert!(handle.wait_stopped(PATIENCE));
        wait_gone(&mut peer);
        let handlers = threads.max(1);
        wait_until("the handlers to be dropped", || dropped.load(Ordering::SeqCst) == handlers + 1);
        let mut bystander = other.connect_and_wait();
        is_served(&mut bystander);
        drop(bystander);
        other.log.wait_closed();
        other.end(1);
    }
}

#[test]
fn a_client_whose_handler_and_state_panic_when_dropped_ends_alone() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let server = Server::start(|moment, conn, input| match moment {
        Moment::Connect => conn.send("hello").unwrap(),
        _ => moment.usual(conn, input),
    });
    let (address, count) = (server.address(), Arc::clone(&dropped));
    let client =
        server.running.call(move |cx| TcpClient::new(address).unwrap().start_with(cx, Fragile::new(&count)));
    server.log.wait_count(Moment::Data, 1);
    client.stop();
    assert!(client.wait_stopped(PATIENCE));
    wait_until("both to be dropped", || dropped.load(Ordering::SeqCst) == 2);
    let mut still = server.connect();
    assert_eq!(read_exact(&mut still, 5), b"hello");
    drop(still);
    server.log.wait_count(Moment::Close, 2);
    server.end(2);
}

#[test]
fn locals_that_panic_when_dropped_do_not_keep_a_loop_from_ending() {
    struct First(#[expect(dead_code, reason = "it is there to be dropped")] Bomb);
    struct Second(#[expect(dead_code, reason = "it is there to be dropped")] Bomb);
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    event_loop.context().local_or_insert_with(|_| First(Bomb(Arc::clone(&dropped))));
    event_loop.context().local_or_insert_with(|_| Second(Bomb(Arc::clone(&dropped))));
    let server = TcpServer::bind("127.0.0.1:0").unwrap().start(&mut event_loop).unwrap();
    drop(event_loop);
    assert_eq!((dropped.load(Ordering::SeqCst), handle.figures().panics), (2, 2));
    assert!(server.is_stopped());
}
