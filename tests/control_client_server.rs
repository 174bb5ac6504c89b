//! The blocking client of control sockets against the server that it is made for.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::control::{Access, ClientError, Command, ControlClient, Failure, Responder};
use control::{Control, echo};
use serde::Deserialize;
use serde_json::{Value, json};
use server::PATIENCE;

#[path = "support/control.rs"]
mod control;
#[path = "support/server.rs"]
mod server;

#[derive(Deserialize)]
struct Bytes {
    bytes: usize,
}

/// A command whose requests are put by, and where they are found with their parameters.
fn later() -> (Command, Receiver<(Value, Responder)>) {
    let (put_by, requests) = channel();
    let put_by: Mutex<Sender<_>> = Mutex::new(put_by);
    let later = Command::new("later", "Answers later.").defers(move |_, params: Value, responder| {
        put_by.lock().unwrap().send((params, responder)).unwrap();
    });
    (later, requests)
}

fn text() -> Command {
    Command::new("text", "Answers with so many bytes.")
        .answers(|_, Bytes { bytes }: Bytes| Ok("x".repeat(bytes)))
}

#[track_caller]
fn connect(control: &Control) -> ControlClient {
    let mut client = ControlClient::connect(control.address()).unwrap();
    client.set_timeout(Some(PATIENCE));
    client
}

#[test]
fn answers_from_other_threads_in_any_order_reach_those_who_wait() {
    let (later, requests) = later();
    let control = Control::start([later]);
    let requests = Arc::new(Mutex::new(requests));
    let answering: Vec<_> = (0..4)
        .map(|_| {
            let requests = Arc::clone(&requests);
            std::thread::spawn(move || {
                // The last of each handful is answered first.
                loop {
                    let handful: Vec<_> = {
                        let requests = requests.lock().unwrap();
                        (0..5).map_while(|_| requests.recv_timeout(PATIENCE).ok()).collect()
                    };
                    if handful.is_empty() {
                        return;
                    }
                    handful.into_iter().rev().for_each(|(n, responder)| responder.reply(n).unwrap());
                }
            })
        })
        .collect();
    let mut client = connect(&control);
    let ids: Vec<String> = (0..200).map(|n| client.send("later", &json!({"n": n})).unwrap()).collect();
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(client.wait(id).unwrap().into_result::<Value>().unwrap(), json!({"n": n}));
    }
    control.running.stop();
    // The last who has the command, and thereby the sender of its requests.
    drop(control.handle);
    answering.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn replies_as_large_as_a_packet_takes_come_and_larger_ones_are_an_error() {
    let control = Control::start([text()]);
    let mut client = connect(&control);
    assert_eq!(client.request::<_, String>("text", &json!({"bytes": 200_000})).unwrap().len(), 200_000);
    match client.request::<_, String>("text", &json!({"bytes": 8_000_000})) {
        Err(ClientError::Failed(error)) => assert_eq!(error.code, "too_large"),
        other => panic!("{other:?}"),
    }
    // The connection would end with what is over the limit of its pending output.
    match client.request::<_, String>("text", &json!({"bytes": 10_000_000})) {
        Err(ClientError::Failed(error)) => assert_eq!(error.code, "too_large"),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.request::<_, String>("text", &json!({"bytes": 1})).unwrap(), "x");
}

#[test]
fn descriptors_that_a_command_passes_are_the_clients() {
    let (passed, mut kept) = std::io::pipe().unwrap();
    let passed = OwnedFd::from(passed);
    let pass = Command::new("pass", "Passes copies of a pipe.").defers(move |_, count: Value, responder| {
        let count = count["count"].as_u64().unwrap();
        let copies = (0..count).map(|_| passed.try_clone().unwrap()).collect();
        responder.reply_with_descriptors(count, copies).unwrap();
    });
    let control = Control::start([pass, echo()]);
    let mut client = connect(&control);
    let (count, descriptors): (u8, Vec<OwnedFd>) =
        client.request_with_descriptors("pass", &json!({"count": 3}), 10).unwrap();
    assert_eq!((count, descriptors.len()), (3, 3));
    for descriptor in descriptors {
        kept.write_all(b"through the pipe").unwrap();
        let mut read = [0; 16];
        std::io::PipeReader::from(descriptor).read_exact(&mut read).unwrap();
        assert_eq!(&read, b"through the pipe");
    }
    assert!(matches!(
        client.request_with_descriptors::<_, u8>("pass", &json!({"count": 3}), 2),
        Err(ClientError::DescriptorsLost { max: 2 })
    ));
    // Unasked, they are closed, and the result is there all the same.
    assert_eq!(client.request::<_, u8>("pass", &json!({"count": 253})).unwrap(), 253);
    assert!(client.request_with_descriptors::<_, Value>("echo", &json!({}), 5).unwrap().1.is_empty());
    // The server's own is the only one that is left: its end is seen as soon as that goes.
    control.running.stop();
    drop(control.handle);
    assert_eq!(kept.write(b"?").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_server_that_stops_answers_what_is_in_flight_and_then_has_disconnected() {
    let (later, requests) = later();
    let control = Control::start([later]);
    let mut client = connect(&control);
    let id = client.send("later", &()).unwrap();
    let (_, responder) = requests.recv_timeout(PATIENCE).unwrap();
    control.handle.stop(PATIENCE);
    server::wait_until("the server to stop listening", || ControlClient::connect(control.address()).is_err());
    responder.reply("at last").unwrap();
    assert_eq!(client.wait(&id).unwrap().into_result::<String>().unwrap(), "at last");
    let error = client.request::<_, Value>("later", &()).unwrap_err();
    assert!(matches!(error, ClientError::Disconnected), "{error:?}");
}

#[test]
fn a_server_that_dies_has_disconnected() {
    let (later, requests) = later();
    let control = Control::start([later]);
    let mut client = connect(&control);
    let waiting = std::thread::spawn(move || client.request::<_, Value>("later", &()));
    let request = requests.recv_timeout(PATIENCE).unwrap();
    control.running.stop();
    let error = waiting.join().unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Disconnected), "{error:?}");
    drop(request);
}

#[test]
fn a_server_that_refuses_says_so() {
    let control = Control::configured([echo()], |server| server.authorize(|_| Access::Refused));
    for _ in 0..20 {
        let mut client = connect(&control);
        match client.request::<_, Value>("echo", &()) {
            Err(ClientError::Failed(error)) => assert_eq!(error.code, "refused"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_a_failure_brings_along_is_in_the_error() {
    let fail = Command::new("fail", "Fails.").answers(|_, (): ()| {
        Err::<(), _>(Failure::new("one").and("two").code("mine").with("hint", json!({"a": [1]})))
    });
    let control = Control::start([fail]);
    match connect(&control).request::<_, Value>("fail", &()) {
        Err(ClientError::Failed(error)) => {
            assert_eq!((&*error.code, &*error.errors), ("mine", &["one".to_owned(), "two".to_owned()][..]));
            assert_eq!(Value::from(error.base), json!({"hint": {"a": [1]}}));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_that_is_too_late_ends_nothing() {
    let (later, requests) = later();
    let control = Control::start([later, echo()]);
    let mut client = connect(&control);
    client.set_timeout(Some(Duration::from_millis(20)));
    let error = client.request::<_, Value>("later", &()).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut), "{error:?}");
    requests.recv_timeout(PATIENCE).unwrap().1.reply("too late").unwrap();
    client.set_timeout(Some(PATIENCE));
    assert_eq!(client.request::<_, Value>("echo", &json!({"a": 1})).unwrap(), json!({"a": 1}));
}
