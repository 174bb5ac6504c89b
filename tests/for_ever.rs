//! Callbacks that see to it that they are called again, for ever, leave room for connections, timers and other threads.

use std::io::Write;
use std::time::{Duration, Instant};

use campana::{Buffer, ConnectionHandle, LoopContext, TcpConnection, TcpServer};

#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, connect, pattern, read_exact, wait_gone, wait_until};

const IDLE: Duration = Duration::from_millis(300);

fn task_for_ever(cx: &mut LoopContext) {
    cx.run_later(task_for_ever);
}

fn post_for_ever(cx: &mut LoopContext) {
    // An error means that the loop is gone, which ends it.
    let _ = cx.handle().post(post_for_ever);
}

fn timer_for_ever(cx: &mut LoopContext) {
    cx.run_after(Duration::ZERO, timer_for_ever);
}

fn by_handle_for_ever(handle: ConnectionHandle) {
    let again = handle.clone();
    let _ = handle.run(move |_| by_handle_for_ever(again));
}

/// Starts one of each kind at the request of a peer, and echoes otherwise.
fn act(moment: Moment, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
    match moment {
        Moment::Data if input.peek() == b"for ever" => {
            input.retrieve_all();
            conn.configure(|config| config.idle = None);
            by_handle_for_ever(conn.handle());
            conn.set_timer(Duration::ZERO, 1);
            let context = conn.context();
            task_for_ever(context);
            post_for_ever(context);
            timer_for_ever(context);
            context.run_every(Duration::ZERO, |_| {});
        }
        Moment::Timer(1) => drop(conn.set_timer(Duration::ZERO, 1)),
        _ => server::echo(moment, conn, input),
    }
}

#[test]
fn tasks_and_timers_that_never_end_leave_room_for_connections_deadlines_and_other_threads() {
    for threads in [0, 2] {
        let server = TcpServer::bind("127.0.0.1:0").unwrap().threads(threads);
        let server = server.configure(|config| {
            config.idle = Some(IDLE);
            // More than one turn for a large message.
            config.read_budget = 10_000;
        });
        let server = Server::of(server, act);
        // On every loop, whichever has got which connection.
        let mut culprits: Vec<_> = (0..8).map(|_| connect(server.address())).collect();
        culprits.iter_mut().for_each(|culprit| culprit.write_all(b"for ever").unwrap());
        server.log.wait_count(Moment::Data, culprits.len());

        for length in [1, 1_000, 200_000] {
            let message = pattern(length);
            // New ones are accepted, and served several at a time.
            let mut clients: Vec<_> = (0..4).map(|_| connect(server.address())).collect();
            for client in &mut clients {
                client.write_all(&message).unwrap();
            }
            for client in &mut clients {
                assert!(read_exact(client, length) == message);
            }
        }
        let began = Instant::now();
        let mut silent = connect(server.address());
        wait_gone(&mut silent);
        assert!(began.elapsed() >= IDLE);
        server.running.settle();

        let handlers = server.handle.handlers();
        let before: Vec<_> = handlers.iter().map(|handler| handler.loop_handle().figures()).collect();
        wait_until("a thousand turns of each loop", || {
            let turns = handlers.iter().map(|handler| handler.loop_handle().figures().turns);
            turns.zip(&before).all(|(turns, before)| turns > before.turns + 1000)
        });
        assert!(handlers.iter().all(|handler| handler.loop_handle().figures().panics == 0));
        let connections = server.log.ids().len();
        server.end(connections);
    }
}
