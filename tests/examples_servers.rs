//! The examples that serve by themselves, run as processes: what all of them have in common, and echo, discard, chargen,
//! daytime, time, idle_kick, max_connections. Those whose clients talk to each other are in `examples_rooms.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are tests too.

use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use campana::Address;
use client::{ANY_PORT, Client, assert_ended_well, serve};
use program::{Ended, Program, run, unique, wait_until};
use rustix::process::Signal;

#[path = "support/client.rs"]
mod client;
#[path = "support/program.rs"]
mod program;

const SERVERS: [&str; 9] =
    ["echo", "discard", "chargen", "daytime", "time", "chat", "idle_kick", "max_connections", "hub"];

/// A directory that goes with this value.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(unique(name));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> String {
        format!("unix:{}", self.0.join("socket").display())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn assert_refused(ended: &Ended, because: &str) {
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(because), "{because:?} was expected: {ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
}

#[test]
fn each_server_listens_on_all_kinds_of_addresses_and_ends_on_a_signal() {
    for (number, example) in SERVERS.into_iter().enumerate() {
        for (threads, signal) in [("0", Signal::TERM), ("2", Signal::INT)] {
            let directory = Directory::new(&format!("{example}-{threads}"));
            let (path, name) = (directory.socket(), format!("unix:@{}", unique(example)));
            let mut wanted = vec!["127.0.0.1:0", &path, &name];
            // Some containers have no IPv6.
            if TcpListener::bind("[::1]:0").is_ok() {
                wanted.insert(number % 3, "[::1]:0");
            }
            let listen = wanted.iter().flat_map(|address| ["--listen", address]);
            let arguments: Vec<&str> = listen.chain(["--threads", threads]).collect();
            let program = Program::start(example, &arguments);
            for wanted in wanted {
                let address = program.next_address();
                match address.port() {
                    Some(port) => {
                        assert_ne!(port, 0);
                        assert_eq!(address.ip(), wanted.parse::<Address>().unwrap().ip());
                    }
                    None => assert_eq!(address.to_string(), wanted),
                }
                Client::connect(&address);
            }
            program.signal(signal);
            let ended = program.wait();
            assert_ended_well(&ended);
            assert!(ended.stdout.is_empty(), "one line for each address and no more: {ended:?}");
            assert!(!directory.0.join("socket").exists(), "{example} leaves its socket behind");
        }
    }
}

#[test]
fn each_server_shows_its_help() {
    for example in SERVERS {
        let ended = run(example, &["--help"]);
        assert_ended_well(&ended);
        let help = ended.stdout.join("\n");
        for shown in [&format!("Usage: {example} "), "--listen ADDR", "--threads N", "--help", "127.0.0.1:20"]
        {
            assert!(help.contains(shown), "{shown} is missing in {help}");
        }
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn wrong_options_end_with_status_1_and_one_line() {
    for example in SERVERS {
        assert_refused(&run(example, &["--no-such-thing"]), "unknown option \"--no-such-thing\"");
    }
    for (arguments, because) in [
        (&["surplus"][..], "unknown option \"surplus\""),
        (&["--threads"], "--threads N lacks its value"),
        (&["--threads", "many"], "--threads N can't be many"),
        (&["--threads=-1"], "--threads N can't be -1"),
        (&["--listen", "localhost:80"], "has to be looked up first"),
        (&["--listen", "127.0.0.1"], "has no port"),
        (&["--listen", "unix:"], "needs a name"),
        (&["--log", "loud"], "--log LEVEL can't be loud"),
        (&["--help=yes"], "--help takes no value"),
    ] {
        assert_refused(&run("echo", arguments), because);
    }
    for (example, arguments, because) in [
        ("idle_kick", ["--idle", "0"], "more than zero"),
        ("idle_kick", ["--idle", "soon"], "--idle SECONDS can't be soon"),
        ("max_connections", ["--max", "x"], "--max N can't be x"),
        ("discard", ["--every", "-1"], "--every SECONDS can't be -1"),
        ("chat", ["--max-line", ""], "--max-line BYTES can't be"),
        ("hub", ["--max-pending", "1k"], "--max-pending BYTES can't be 1k"),
    ] {
        assert_refused(&run(example, &[&ANY_PORT[..], &arguments].concat()), because);
    }
}

#[test]
fn an_address_in_use_ends_with_status_1_and_one_line() {
    let directory = Directory::new("in-use");
    for threads in ["0", "2"] {
        for wanted in ["127.0.0.1:0", &directory.socket(), &format!("unix:@{}", unique("in-use"))] {
            let (first, address) = Program::serve("echo", &["--listen", wanted, "--threads", threads]);
            let taken = address.to_string();
            let second = run("echo", &["--listen", "127.0.0.1:0", "--listen", &taken, "--threads", threads]);
            assert_refused(&second, &format!("echo: cannot listen on {taken}: "));
            Client::connect(&address).assert_echo("the first one goes on");
            assert_ended_well(&first.terminate());
        }
    }
    assert_refused(
        &run("echo", &["--listen", "unix:/no-such-directory/socket"]),
        "create the directory first",
    );
}

#[test]
fn a_signal_lets_pending_output_be_read_to_its_end() {
    // What the example sends at a time.
    const PIECE: usize = 95 * 74 * 8;
    for threads in [0, 2] {
        let (chargen, address) = serve("chargen", threads, &[]);
        let mut client = Client::connect(&address);
        client.read(1);
        chargen.signal(Signal::TERM);
        assert_eq!((client.read_to_end().len() + 1) % PIECE, 0);
        drop(client);
        assert_ended_well(&chargen.wait());
    }
}

#[test]
fn a_second_signal_does_not_wait_for_those_who_read_nothing() {
    for threads in [0, 2] {
        let (chargen, address) = serve("chargen", threads, &[]);
        let mut client = Client::connect(&address);
        client.read(1);
        let began = Instant::now();
        chargen.signal(Signal::TERM);
        // Signals that come together would count as one.
        wait_until("the first signal to be seen", || Client::try_connect(&address).is_err());
        chargen.signal(Signal::TERM);
        assert_ended_well(&chargen.wait());
        assert!(began.elapsed() < Duration::from_secs(5), "it waited for the client");
    }
}

#[test]
fn a_server_whose_standard_output_nobody_reads_serves_all_the_same() {
    let address = format!("unix:@{}", unique("no-stdout"));
    let examples = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples");
    let mut child = Command::new(examples.join("echo"))
        .args(["--listen", &address])
        .stdout(Stdio::piped())
        .spawn()
        .expect("examples are built: cargo build --examples");
    drop(child.stdout.take());
    wait_until("the server to listen", || Client::try_connect(&address.parse().unwrap()).is_ok());
    Client::connect(&address.parse().unwrap()).assert_echo("still here");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn echo_sends_back_all_that_came_before_the_half_close() {
    for threads in [0, 2] {
        let (echo, address) = serve("echo", threads, &[]);
        let mut client = Client::connect(&address);
        let sent: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
        client.send(&sent);
        client.half_close();
        assert_eq!(client.read_to_end(), sent);
        assert_ended_well(&echo.terminate());
    }
}

#[test]
fn echo_holds_back_who_does_not_read_and_loses_nothing() {
    let (echo, address) = serve("echo", 0, &[]);
    let mut client = Client::connect(&address);
    let memory_before = echo.memory_kib("VmRSS");
    // More than the kernel's buffers hold; the time-out tells that no more is taken.
    let socket = client.socket();
    socket.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut sent = 0;
    let error = loop {
        assert!(sent < 64 << 20, "an echo that nobody reads has to stop somewhere");
        match (&mut &*socket).write(&[sent as u8; 1000]) {
            Ok(length) => sent += length,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error} after {sent} bytes");
    assert!(echo.memory_kib("VmRSS") < memory_before + 4096, "the server holds what it should leave");
    client.half_close();
    assert_eq!(client.read_to_end().len(), sent);
    assert_ended_well(&echo.terminate());
}

#[test]
fn discard_answers_nothing_and_logs_its_throughput() {
    for threads in [0, 2] {
        let (discard, address) = serve("discard", threads, &["--every", "0.01"]);
        let mut client = Client::connect(&address);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(100) {
            client.send([7; 10_000]);
        }
        client.half_close();
        assert_eq!(client.read_to_end(), b"");
        let ended = discard.terminate();
        assert_ended_well(&ended);
        assert!(ended.stderr.contains(" MiB/s, "), "{ended:?}");
    }
}

#[test]
fn chargen_sends_lines_that_rotate_by_one_character() {
    for threads in [0, 2] {
        let (chargen, address) = serve("chargen", threads, &[]);
        let mut client = Client::connect(&address);
        let printing: String = (' '..='~').collect();
        let endless = printing.repeat(2);
        // Far beyond the first write, so that those that follow it are seen as well.
        for number in 0..20_000 {
            let first = number % printing.len();
            assert_eq!(client.line(), format!("{}\r\n", &endless[first..first + 72]), "line {number}");
        }
        drop(client);
        assert_ended_well(&chargen.terminate());
    }
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn daytime_tells_what_date_does_and_closes() {
    for threads in [0, 2] {
        let (daytime, address) = serve("daytime", threads, &[]);
        let before = seconds_since_1970();
        let told = String::from_utf8(Client::connect(&address).read_to_end()).unwrap();
        let possible: Vec<String> = (before..=seconds_since_1970()).map(date).collect();
        assert!(possible.contains(&told), "{told:?} is none of {possible:?}");
        assert_ended_well(&daytime.terminate());
    }
}

fn date(seconds_since_1970: u64) -> String {
    let date = Command::new("date")
        .env("LC_ALL", "C")
        .args(["-u", "-d", &format!("@{seconds_since_1970}"), "+%A, %B %-d, %Y %H:%M:%S-UTC\r"])
        .output();
    String::from_utf8(date.unwrap().stdout).unwrap()
}

#[test]
fn time_tells_the_seconds_since_1900_and_shuts_down() {
    for threads in [0, 2] {
        let (time, address) = serve("time", threads, &[]);
        let before = seconds_since_1970();
        let told = Client::connect(&address).read_to_end();
        let told = u64::from(u32::from_be_bytes(told.try_into().expect("four bytes")));
        let since_1900 = |seconds| (seconds + 2_208_988_800_u64) % (1 << 32);
        assert!((since_1900(before)..=since_1900(seconds_since_1970())).contains(&told), "{told}");
        assert_ended_well(&time.terminate());
    }
}

#[test]
fn idle_kick_throws_out_who_is_idle_and_nobody_else() {
    for threads in [0, 2] {
        let (idle_kick, address) = serve("idle_kick", threads, &["--idle", "0.5"]);
        let mut busy = Client::connect(&address);
        let mut idle = Client::connect(&address);
        let began = Instant::now();
        idle.assert_echo("the last for some time");
        let idle = std::thread::spawn(move || idle.read_to_end());
        while !idle.is_finished() {
            busy.assert_echo("still here");
        }
        assert_eq!(idle.join().unwrap(), b"");
        assert!(began.elapsed() >= Duration::from_millis(500), "it was thrown out too early");
        busy.assert_echo("still here");
        drop(busy);
        let ended = idle_kick.terminate();
        assert_ended_well(&ended);
        assert_eq!(ended.stderr.matches("was idle").count(), 1, "{ended:?}");
    }
}

#[test]
fn max_connections_refuses_one_more_until_one_has_gone() {
    for threads in [0, 2] {
        let (server, address) = serve("max_connections", threads, &["--max", "2"]);
        let mut clients = [Client::connect(&address), Client::connect(&address)];
        clients.iter_mut().for_each(|client| client.assert_echo("served"));
        for _ in 0..3 {
            assert!(!Client::connect(&address).is_served());
        }
        clients.iter_mut().for_each(|client| client.assert_echo("still served"));

        let [first, second] = clients;
        drop(first);
        wait_until("the place to be free", || Client::connect(&address).is_served());
        drop(second);
        let ended = server.terminate();
        assert_ended_well(&ended);
        assert!(ended.stderr.contains("is here: 2 of 2 connections, 0 refused"), "{ended:?}");
        assert!(ended.stderr.contains("is gone: 1 of 2 connections, "), "{ended:?}");
        assert!(ended.stderr.contains("is gone: 0 of 2 connections, "), "{ended:?}");
        assert!(!ended.stderr.contains("connections, 2 refused"), "it counts all that it refuses: {ended:?}");
        assert!(!ended.stderr.contains("3 of 2"), "{ended:?}");
    }
}
