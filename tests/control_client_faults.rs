//! The blocking client of control sockets where servers are gone, late, silent or flooding, and where descriptors come along.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use campana::control::{ClientError, ControlClient};
use campana::reactor::signal::SIGUSR1;
use campana::socket::{ListenOptions, Listener, Socket, SocketOptions};
use control_peer::{Fake, PATIENCE, Peer, ok, unique, wait_for, wait_until};
use process::Process;
use rustix::event::PollFlags;
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

#[path = "support/control_peer.rs"]
mod control_peer;
#[path = "support/process.rs"]
mod process;

const SHORT: Duration = Duration::from_millis(30);

#[track_caller]
fn assert_timed_out<T: std::fmt::Debug>(outcome: Result<T, ClientError>, from: Instant, least: Duration) {
    assert!(matches!(outcome, Err(ClientError::TimedOut)), "{outcome:?}");
    assert!(from.elapsed() >= least && from.elapsed() < PATIENCE);
}

#[test]
fn a_server_that_closes_instead_of_answering_has_disconnected() {
    let (mut client, server) = Fake::with_client(|peer| drop(peer.request()));
    assert!(matches!(client.request::<_, Value>("any", &()), Err(ClientError::Disconnected)));
    server.end();
    assert!(matches!(client.request::<_, Value>("any", &()), Err(ClientError::Disconnected)));
    assert!(matches!(client.send("any", &()), Err(ClientError::Disconnected)));
}

#[test]
fn replies_from_before_a_close_are_taken_also_when_it_was_a_reset() {
    for unread_requests in [0, 1] {
        let (mut client, server) = Fake::with_client(move |peer| {
            let requests = [peer.request(), peer.request()];
            peer.answer(&requests[1], 1);
            peer.answer(&requests[0], 0);
            if unread_requests > 0 {
                wait_for(&peer.socket, PollFlags::IN);
            }
        });
        let ids: Vec<String> = (0..2 + unread_requests).map(|_| client.send("any", &()).unwrap()).collect();
        server.end();
        for (number, id) in ids.iter().enumerate().take(2) {
            assert_eq!(client.wait(id).unwrap().into_result::<usize>().unwrap(), number);
        }
        if unread_requests > 0 {
            assert!(matches!(client.wait(&ids[2]), Err(ClientError::Disconnected)));
            assert!(matches!(client.receive(), Err(ClientError::Disconnected)));
        }
    }
}

#[test]
fn a_server_that_ends_its_output_answers_no_more() {
    let (mut client, server) = Fake::with_client(|peer| {
        let request = peer.request();
        peer.answer(&request, 1);
        peer.socket.shutdown_write().unwrap();
        while peer.receive().is_some() {}
    });
    assert_eq!(client.request::<_, u8>("any", &()).unwrap(), 1);
    assert!(matches!(client.request::<_, u8>("any", &()), Err(ClientError::Disconnected)));
    drop(client);
    server.end();
}

/// A server that refuses its client, before or after that has sent something, and closes at once.
#[test]
fn a_refusal_is_told_although_the_connection_is_gone_by_then() {
    let refusal = r#"{"version":1,"ok":false,"code":"refused","errors":["not you"]}"#;
    let (mut client, server) = Fake::with_client(move |peer| peer.send(refusal));
    server.end();
    match client.request::<_, Value>("any", &()) {
        Err(ClientError::Failed(error)) => {
            assert_eq!((&*error.code, &*error.errors[0]), ("refused", "not you"))
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(client.request::<_, Value>("any", &()), Err(ClientError::Disconnected)));

    let (mut client, server) = Fake::with_client(move |peer| {
        wait_for(&peer.socket, PollFlags::IN);
        peer.send(refusal);
    });
    let id = client.send("any", &()).unwrap();
    server.end();
    assert!(matches!(client.wait(&id), Err(ClientError::Failed(_))));
    assert!(matches!(client.wait(&id), Err(ClientError::Disconnected)));
}

/// Who reads no more may still have said why, which is looked for, but not for ever.
#[test]
fn a_server_that_reads_no_more_and_floods_is_waited_for_no_longer_than_any_other() {
    let (report, reports) = channel();
    let (mut client, server) = Fake::with_client(move |peer| {
        rustix::net::shutdown(&peer.socket, rustix::net::Shutdown::Read).unwrap();
        report.send(()).unwrap();
        // So large that the client is busy for longer with one than the server.
        let reply = ok(&json!({"id": "nobody's"}), vec![1; 50_000]);
        let end = Instant::now() + PATIENCE / 3;
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| while peer.floods(&reply) && Instant::now() < end {});
            }
        });
    });
    client.set_timeout(Some(SHORT));
    reports.recv_timeout(PATIENCE).unwrap();
    let from = Instant::now();
    assert!(matches!(client.request::<_, Value>("any", &()), Err(ClientError::Disconnected)));
    assert!(from.elapsed() < PATIENCE / 6, "{:?}", from.elapsed());
    drop(client);
    server.end();
}

#[test]
fn a_request_that_times_out_is_given_up_and_its_late_reply_is_dropped() {
    let (release, released) = channel();
    let (mut client, server) = Fake::with_client(move |peer| {
        let late = peer.request();
        released.recv_timeout(PATIENCE).unwrap();
        peer.answer(&late, "late");
        peer.echo();
    });
    client.set_timeout(Some(SHORT));
    let from = Instant::now();
    assert_timed_out(client.request::<_, Value>("any", &()), from, SHORT);
    assert_eq!(client.outstanding(), 0);
    release.send(()).unwrap();
    client.set_timeout(Some(PATIENCE));
    assert_eq!(client.request::<_, Value>("echo", &json!({"a": 1})).unwrap(), json!({"a": 1}));
    drop(client);
    server.end();
}

#[test]
fn a_wait_that_times_out_can_be_repeated() {
    let (release, released) = channel();
    let (mut client, server) = Fake::with_client(move |peer| {
        let request = peer.request();
        released.recv_timeout(PATIENCE).unwrap();
        peer.answer(&request, "late");
    });
    client.set_timeout(Some(SHORT));
    let id = client.send("any", &()).unwrap();
    let from = Instant::now();
    assert_timed_out(client.wait(&id), from, SHORT);
    assert_timed_out(client.receive(), from, 2 * SHORT);
    release.send(()).unwrap();
    server.end();
    // No time is needed for what is there already.
    client.set_timeout(Some(Duration::ZERO));
    assert_eq!(client.wait(&id).unwrap().into_result::<String>().unwrap(), "late");
}

#[test]
fn the_longest_of_times_is_for_ever() {
    for timeout in [None, Some(Duration::MAX)] {
        let (mut client, server) = Fake::with_client(|peer| peer.echo());
        client.set_timeout(timeout);
        assert!(client.request::<_, Value>("echo", &json!({})).is_ok());
        drop(client);
        server.end();
    }
}

#[test]
fn sending_to_a_server_that_does_not_read_times_out() {
    let (release, released) = channel();
    let (mut client, server) = Fake::with_client(move |peer| {
        released.recv_timeout(PATIENCE).unwrap();
        peer.echo();
    });
    client.set_timeout(Some(SHORT));
    let text = json!({"text": "x".repeat(100_000)});
    let mut sent = Vec::new();
    let from = loop {
        let from = Instant::now();
        match client.send("echo", &text) {
            Ok(id) => sent.push(id),
            outcome => {
                assert_timed_out(outcome, from, SHORT);
                break from;
            }
        }
        assert!(sent.len() < 100, "a server that doesn't read is sent everything");
    };
    assert!(from.elapsed() >= SHORT);
    assert_eq!(client.outstanding(), sent.len(), "what was not sent is not in flight");
    release.send(()).unwrap();
    client.set_timeout(Some(PATIENCE));
    for id in &sent {
        assert_eq!(client.wait(id).unwrap().into_result::<Value>().unwrap(), text);
    }
    drop(client);
    server.end();
}

#[test]
fn requests_without_end_don_t_wait_for_a_server_that_waits_for_its_replies_to_be_read() {
    let (mut client, server) = Fake::with_client(|peer| peer.echo());
    let text = json!({"text": "x".repeat(10_000)});
    // Far more than both sides' buffers hold.
    let ids: Vec<String> = (0..500).map(|_| client.send("echo", &text).unwrap()).collect();
    for id in &ids {
        assert_eq!(client.wait(id).unwrap().into_result::<Value>().unwrap(), text);
    }
    drop(client);
    server.end();
}

#[test]
fn requests_beyond_1024_wait_until_a_reply_is_taken() {
    let (mut client, server) = Fake::with_client(|peer| peer.echo());
    for _ in 0..1024 {
        client.send("echo", &json!({})).unwrap();
    }
    assert!(matches!(client.send("echo", &json!({})), Err(ClientError::Full)));
    assert!(matches!(client.request::<_, Value>("echo", &json!({})), Err(ClientError::Full)));
    client.receive().unwrap();
    client.send("echo", &json!({})).unwrap();
    assert!(matches!(client.send("echo", &json!({})), Err(ClientError::Full)));
    drop(client);
    server.end();
}

#[test]
fn replies_that_nobody_takes_are_kept_up_to_16_mib() {
    let (mut client, server) = Fake::with_client(|peer| {
        while let Some(request) = peer.receive() {
            peer.send(ok(&request, 1) + &" ".repeat(100_000));
        }
    });
    let mut ids: Vec<String> = (0..200).map(|_| client.send("text", &()).unwrap()).collect();
    assert!(matches!(client.wait(ids.last().unwrap()), Err(ClientError::Full)));
    let text = json!({"text": "x".repeat(100_000)});
    // Nor does it read on to make room for what it sends.
    let error = loop {
        match client.send("text", &text) {
            Ok(id) => ids.push(id),
            Err(error) => break error,
        }
        assert!(ids.len() < 300);
    };
    assert!(matches!(error, ClientError::Full), "{error:?}");
    for id in &ids {
        assert_eq!(client.wait(id).unwrap().into_result::<u8>().unwrap(), 1);
    }
    assert_eq!(client.request::<_, u8>("text", &()).unwrap(), 1);
    drop(client);
    server.end();
}

#[test]
fn replies_that_nobody_asked_for_are_dropped_and_hold_nothing_up_for_ever() {
    let (mut client, server) = Fake::with_client(|peer| {
        let request = peer.request();
        // Of blanks for the most part, which take longer to read than to send; and more at once than are read meanwhile.
        let reply = ok(&json!({"id": "nobody's"}), 1) + &" ".repeat(1_000);
        std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| while peer.floods(&reply) {});
            }
        });
        drop(request);
    });
    client.set_timeout(Some(SHORT));
    let id = client.send("any", &()).unwrap();
    let from = Instant::now();
    assert_timed_out(client.wait(&id), from, SHORT);
    assert_timed_out(client.receive(), from, 2 * SHORT);
    assert!(from.elapsed() < 50 * SHORT, "only an empty queue ended it");
    assert_eq!(client.outstanding(), 1);
    drop(client);
    server.end();
}

#[test]
fn signals_interrupt_nothing() {
    const TEST: &str = "signals_interrupt_nothing";
    if let Some(name) = process::role() {
        return interrupted_client(&name);
    }
    let (interrupt, interrupts) = channel();
    let fake = Fake::start(move |peer| {
        while let Some(request) = peer.receive() {
            let thread = request["params"]["thread"].as_i64().unwrap() as i32;
            for _ in 0..20 {
                wait_sleeping(thread);
                // A process's signal goes to the thread by whose id it is sent, if that hasn't one already.
                kill_process(Pid::from_raw(thread).unwrap(), Signal::USR1).unwrap();
                interrupt.send(()).unwrap();
            }
            peer.answer(&request, request["params"].clone());
        }
    });
    let mut client = Process::start(TEST, &fake.name);
    assert_eq!(client.ask("5 requests"), "5 results");
    client.end();
    fake.end();
    assert_eq!(interrupts.iter().count(), 100);
}

/// The client's side, in another process.
fn interrupted_client(name: &str) {
    std::thread::spawn(|| {
        let mut event_loop = campana::EventLoop::new().unwrap();
        event_loop.context().on_signals(&[SIGUSR1], |_, _| ()).unwrap();
        event_loop.run().unwrap();
    });
    let handled = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(caught, 16).unwrap() & 1 << (SIGUSR1 - 1) != 0
    };
    wait_until("the signal's handler", handled);
    let mut client = ControlClient::connect_timeout(name, Some(PATIENCE)).unwrap();
    process::answer(|_| {
        for number in 0..5 {
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            let params = json!({"number": number, "thread": thread});
            assert_eq!(client.request::<_, Value>("echo", &params).unwrap(), params);
        }
        "5 results".into()
    });
}

/// Waits until a thread of another process sleeps.
fn wait_sleeping(thread: i32) {
    wait_until("the client to sleep", || {
        let stat = std::fs::read_to_string(format!("/proc/{thread}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('S')
    });
}

#[test]
fn connecting_waits_for_room_in_the_backlog_up_to_its_deadline() {
    let name = unique();
    let address = format!("seqpacket:{name}").parse().unwrap();
    let listener = Listener::bind(&address, &ListenOptions::new().backlog(1)).unwrap();
    let mut waiting = Vec::new();
    while let Ok((socket, _)) = Socket::connect(&address, &SocketOptions::new()) {
        waiting.push(socket);
    }
    let from = Instant::now();
    assert_timed_out(ControlClient::connect_timeout(&name, Some(SHORT)), from, SHORT);

    let (report, reports) = channel();
    let connecting = std::thread::spawn(move || {
        report.send(rustix::thread::gettid()).unwrap();
        ControlClient::connect_timeout(&name, Some(PATIENCE))
    });
    let thread = reports.recv_timeout(PATIENCE).unwrap().as_raw_nonzero();
    // It sleeps between attempts alone.
    wait_until("an attempt to connect", || {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap_or_default();
        stat.starts_with(&format!("{} ", libc::SYS_clock_nanosleep))
    });
    let served = std::thread::spawn(move || {
        let peers: Vec<Peer> = (0..=waiting.len()).map(|_| Peer::accept(&listener)).collect();
        peers.last().unwrap().echo();
    });
    let mut client = connecting.join().unwrap().unwrap();
    assert!(client.request::<_, Value>("echo", &json!({})).is_ok());
    drop(client);
    served.join().unwrap();
}

/// Sends a packet along with copies of a descriptor.
#[track_caller]
fn pass(peer: &Peer, packet: &str, descriptor: &PipeWriter, copies: usize) {
    let descriptors: Vec<BorrowedFd<'_>> = vec![descriptor.as_fd(); copies];
    peer.socket.send_with_descriptors(packet.as_bytes(), &descriptors).unwrap();
}

/// Whether no copy of a pipe's other end is open.
#[track_caller]
fn assert_all_closed(mut pipe: PipeReader) {
    wait_for(&pipe, PollFlags::IN);
    assert_eq!(pipe.read(&mut [0]).unwrap(), 0);
}

#[test]
fn descriptors_come_with_the_reply_that_they_belong_to() {
    let (mut pipe, writer) = std::io::pipe().unwrap();
    let (mut client, server) = Fake::with_client(move |peer| {
        let other = peer.request();
        let request = peer.request();
        pass(&peer, &ok(&other, 1), &writer, 3);
        pass(&peer, &ok(&request, 2), &writer, 2);
    });
    let other = client.send("other", &()).unwrap();
    let (result, descriptors): (u8, Vec<OwnedFd>) =
        client.request_with_descriptors("handover", &(), 2).unwrap();
    server.end();
    assert_eq!((result, descriptors.len()), (2, 2));
    assert_eq!(client.wait(&other).unwrap().into_result::<u8>().unwrap(), 1);
    for descriptor in descriptors {
        assert!(rustix::io::fcntl_getfd(&descriptor).unwrap().contains(FdFlags::CLOEXEC));
        PipeWriter::from(descriptor).write_all(b"here").unwrap();
        pipe.read_exact(&mut [0; 4]).unwrap();
    }
    assert_all_closed(pipe);
}

#[test]
fn descriptors_that_come_unasked_or_with_an_error_are_closed() {
    let (pipe, writer) = std::io::pipe().unwrap();
    let (mut client, server) = Fake::with_client(move |peer| {
        let request = peer.request();
        pass(&peer, &ok(&request, 1), &writer, 253);
        let request = peer.request();
        pass(&peer, &ok(&request, 1), &writer, 1);
        let request = peer.request();
        let id = &request["id"];
        let error = json!({"version": 1, "id": id, "ok": false, "code": "failed", "errors": ["no"]});
        pass(&peer, &error.to_string(), &writer, 1);
        let request = peer.request();
        pass(
            &peer,
            &error.to_string().replace(id.as_str().unwrap(), request["id"].as_str().unwrap()),
            &writer,
            9,
        );
        let request = peer.request();
        pass(&peer, "no reply", &writer, 1);
        pass(&peer, &ok(&json!({"id": "nobody's"}), 1), &writer, 1);
        pass(&peer, &ok(&request, 1), &writer, 1);
        let request = peer.request();
        pass(&peer, &ok(&request, "no number"), &writer, 1);
    });
    assert_eq!(client.request::<_, u8>("any", &()).unwrap(), 1);
    let id = client.send("any", &()).unwrap();
    assert_eq!(client.wait(&id).unwrap().into_result::<u8>().unwrap(), 1);
    let mut handover =
        || client.request_with_descriptors::<_, u8>("handover", &(), 1).map(|(result, _)| result);
    assert!(matches!(handover(), Err(ClientError::Failed(_))));
    assert!(matches!(handover(), Err(ClientError::Failed(_))), "the server's error counts for more");
    assert!(matches!(handover(), Err(ClientError::Malformed(_))));
    assert!(matches!(handover(), Err(ClientError::UnexpectedResult(_))));
    server.end();
    assert_all_closed(pipe);
}

#[test]
fn more_descriptors_than_were_asked_for_are_lost_all_together() {
    for (max, sent) in [(0, 1), (1, 2), (2, 3), (2, 253)] {
        let (pipe, writer) = std::io::pipe().unwrap();
        let (mut client, server) = Fake::with_client(move |peer| {
            let request = peer.request();
            pass(&peer, &ok(&request, 1), &writer, sent);
            peer.echo();
        });
        let outcome = client.request_with_descriptors::<_, u8>("handover", &(), max);
        assert!(
            matches!(outcome, Err(ClientError::DescriptorsLost { max: told }) if told == max),
            "{outcome:?}"
        );
        let (result, none) = client.request_with_descriptors::<_, Value>("echo", &json!({}), max).unwrap();
        assert_eq!((result, none.len()), (json!({}), 0));
        drop(client);
        server.end();
        assert_all_closed(pipe);
    }
}
