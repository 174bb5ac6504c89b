//! Listening sockets that a service manager opens and hands to a process that it starts.
//!
//! These tests have a program of their own because starting a process duplicates every descriptor
//! for a moment, which tests of closing would notice.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use campana::socket::Listener;

/// Does its work only in a process that one of the tests below starts.
#[test]
fn in_the_started_process() {
    if std::env::var_os("LISTEN_FDS").is_none() {
        return;
    }
    let inherited = Listener::inherited().unwrap();
    eprintln!("inherited: {}", inherited.len());
    for listener in inherited {
        let (accepted, _) = listener.accept().unwrap();
        accepted.send(b"handed over").unwrap();
    }
}

/// Starts this program again with `listener` as descriptor 3.
fn start(listener: TcpListener, listen_pid: &str) -> io::Result<Output> {
    let variables = format!("LISTEN_FDS=1 LISTEN_PID={listen_pid}");
    let program = "exec \"$0\" --exact in_the_started_process --nocapture 3<&0";
    Command::new("sh")
        .args(["-c", &format!("{variables} {program}")])
        .arg(std::env::current_exe()?)
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .output()
}

#[test]
fn a_listener_that_a_service_manager_hands_over_is_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let output = start(listener, "$$").unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut input = String::new();
    client.read_to_string(&mut input).unwrap();
    assert_eq!(input, "handed over");
}

#[test]
fn a_listener_for_another_process_is_left_alone() {
    let output = start(TcpListener::bind("127.0.0.1:0").unwrap(), "1").unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("inherited: 0"), "{text}");
}
