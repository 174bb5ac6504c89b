//! The UDP echo example, run as a process.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are tests too.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use program::{PATIENCE, Program, run};
use rustix::process::Signal;

#[allow(dead_code)] // What the tests of other examples need of it.
#[path = "support/program.rs"]
mod program;

/// Sends a datagram and receives the answer, with the address that it comes from.
#[track_caller]
fn exchange(client: &UdpSocket, datagram: &[u8], to: SocketAddr) -> (Vec<u8>, SocketAddr) {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(datagram, to).unwrap();
    let mut answer = vec![0; 70_000];
    loop {
        match client.recv_from(&mut answer) {
            Ok((length, from)) => return (answer[..length].to_vec(), from),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}"),
        }
    }
}

#[test]
fn it_echoes_on_every_address_and_ends_with_0_on_a_signal() {
    for (signal, threads) in [(Signal::TERM, "0"), (Signal::INT, "2")] {
        let program = Program::start(
            "udp_echo",
            &["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--threads", threads],
        );
        for any_port in ["127.0.0.1:0", "[::1]:0"] {
            let address = program.next_address().as_inet().unwrap();
            // Several senders, as it is by their addresses that the kernel chooses a loop.
            for length in [0, 1, 100, 1472, 9000, 65_507, 64, 512] {
                let client = UdpSocket::bind(any_port).unwrap();
                let datagram: Vec<u8> = (0..length).map(|n| n as u8).collect();
                assert!(exchange(&client, &datagram, address) == (datagram, address));
            }
        }
        program.signal(signal);
        let ended = program.wait();
        assert_eq!((ended.status, ended.stdout.len()), (Some(0), 0), "{ended:?}");
    }
}

#[test]
fn it_explains_itself_and_what_is_wrong() {
    let help = run("udp_echo", &["--help"]);
    assert_eq!(help.status, Some(0));
    assert!(help.stdout.iter().any(|line| line.contains("--listen ADDR")), "{help:?}");

    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for address in [taken.as_str(), "unix:/tmp/no", "nonsense"] {
        let ended = run("udp_echo", &["--listen", address]);
        assert_eq!((ended.status, ended.stdout.len()), (Some(1), 0), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}
