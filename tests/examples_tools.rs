//! The examples that carry, move and measure, run as processes: relay, file_transfer, pingpong, roundtrip, seqpacket_echo.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use campana::Address;
use program::{PATIENCE, Program, run, unique, wait_until};
use rustix::process::Signal;

#[path = "support/program.rs"]
mod program;

fn connect(address: &Address) -> TcpStream {
    with_deadline(TcpStream::connect(address.as_inet().unwrap()).unwrap())
}

fn with_deadline(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A relay to a listener, and a connection through it: the relay, its client's end, and its target's end.
fn relayed() -> (Program, TcpStream, TcpStream) {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = target.local_addr().unwrap().to_string();
    let (relay, address) = Program::serve("relay", &["--listen", "127.0.0.1:0", "--to", &to]);
    let client = connect(&address);
    (relay, client, with_deadline(target.accept().unwrap().0))
}

fn read_to_end(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// The bytes from one place of an endless stream on, which differ from those of any place near.
fn pattern(from: usize, len: usize) -> Vec<u8> {
    const PERIOD: usize = 1_000_003;
    static STREAM: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..PERIOD).map(|place| (place * 31 + place / 251) as u8).collect());
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let period = &STREAM[(from + bytes.len()) % PERIOD..];
        bytes.extend_from_slice(&period[..period.len().min(len - bytes.len())]);
    }
    bytes
}

#[test]
fn relay_passes_on_the_clients_half_close_and_then_the_answer() {
    let (relay, mut client, mut target) = relayed();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut target), b"question");
    target.write_all(b"answer").unwrap();
    drop(target);
    assert_eq!(read_to_end(&mut client), b"answer");
    assert_eq!(relay.terminate().status, Some(0));
}

#[test]
fn relay_passes_on_the_targets_half_close_and_then_what_the_client_still_sends() {
    let (relay, mut client, mut target) = relayed();
    target.write_all(b"greeting").unwrap();
    target.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client), b"greeting");
    client.write_all(b"still there").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut target), b"still there");
    assert_eq!(relay.terminate().status, Some(0));
}

#[test]
fn relay_passes_a_reset_on_in_both_directions() {
    let (_relay, client, mut target) = relayed();
    reset(client);
    assert_eq!(target.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);

    let (_relay, mut client, mut target) = relayed();
    // Otherwise it may be a connection that the relay never saw established.
    client.write_all(b"?").unwrap();
    target.read_exact(&mut [0]).unwrap();
    reset(target);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn relay_closes_the_client_whose_target_is_dead_and_goes_on() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (relay, address) = Program::serve("relay", &["--listen", "127.0.0.1:0", "--to", &dead]);
    for _ in 0..2 {
        let mut client = connect(&address);
        client.write_all(b"is anybody there?").unwrap();
        assert_eq!(read_to_end(&mut client), b"");
    }
    let ended = relay.terminate();
    assert_eq!(ended.status, Some(0));
    assert_eq!(ended.stderr.matches("can't be reached: connection refused").count(), 2, "{ended:?}");
}

#[test]
fn relay_keeps_what_comes_before_the_name_of_its_target_is_looked_up() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("localhost:{}", target.local_addr().unwrap().port());
    let (_relay, address) = Program::serve("relay", &["--listen", "127.0.0.1:0", "--to", &to]);
    let sent = pattern(0, 100_000);
    let mut client = connect(&address);
    client.write_all(&sent).unwrap();
    drop(client);
    assert!(read_to_end(&mut with_deadline(target.accept().unwrap().0)) == sent);
}

#[test]
fn relay_goes_between_unix_sockets_and_keeps_what_was_sent_before_a_close() {
    let path = std::env::temp_dir().join(unique("relay-target"));
    let _ = std::fs::remove_file(&path);
    let target = UnixListener::bind(&path).unwrap();
    let (to, listen) = (format!("unix:{}", path.display()), format!("unix:{}.relay", path.display()));
    let (relay, address) = Program::serve("relay", &["--listen", &listen, "--to", &to]);
    let mut client = UnixStream::connect(address.as_pathname().unwrap()).unwrap();
    let sent = pattern(0, 1_000_000);
    let reader = std::thread::spawn(move || read_to_end(&mut target.accept().unwrap().0));
    client.write_all(&sent).unwrap();
    drop(client);
    assert!(reader.join().unwrap() == sent);
    assert_eq!(relay.terminate().status, Some(0));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn relay_holds_little_for_a_slow_reader_and_loses_nothing() {
    let (relay, client, target) = relayed();
    carry_slowly(&relay, &target, &client);
    carry_slowly(&relay, &client, &target);
    // The relay would wait for the ends of both before its own.
    drop((client, target));
    assert_eq!(relay.terminate().status, Some(0));
}

/// Carries 100 MB to a reader that doesn't read until the writer is stuck, and then more slowly than the writer writes.
fn carry_slowly(relay: &Program, mut from: &TcpStream, mut to: &TcpStream) {
    const TOTAL: usize = 100_000_000;
    const CHUNK: usize = 50_000;
    let before = relay.memory_kib("VmRSS");
    let mut written = 0;
    // The kernel's buffers take some 10 MB; the rest has to wait with the writer.
    from.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut rest = loop {
        let chunk = pattern(written, CHUNK);
        match from.write(&chunk) {
            Ok(n) => written += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break written,
            Err(error) => panic!("{error}"),
        }
        assert!(written < TOTAL / 2, "nobody holds the writer back");
    };
    assert_bounded(relay, before);
    from.set_write_timeout(Some(PATIENCE)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while rest < TOTAL {
                let chunk = pattern(rest, CHUNK.min(TOTAL - rest));
                from.write_all(&chunk).unwrap();
                rest += chunk.len();
            }
        });
        let mut bytes = vec![0; CHUNK];
        for number in 0..TOTAL / CHUNK {
            to.read_exact(&mut bytes).unwrap();
            assert!(bytes == pattern(number * CHUNK, CHUNK), "chunk {number} differs");
            if number % 100 == 0 {
                assert_bounded(relay, before);
            }
        }
    });
}

fn assert_bounded(relay: &Program, before: u64) {
    let now = relay.memory_kib("VmRSS");
    assert!(now < before + 4 * 1024, "from {before} to {now} KiB");
}

#[test]
fn relay_carries_many_connections_at_once() {
    const CLIENTS: usize = 100;
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = target.local_addr().unwrap().to_string();
    let listen = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--threads", "2", "--to", &to];
    let (relay, first) = Program::serve("relay", &listen);
    let addresses = [first, relay.next_address()];
    let echo = std::thread::spawn(move || {
        for _ in 0..CLIENTS {
            let mut stream = target.accept().unwrap().0;
            std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap());
        }
    });
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let address = &addresses[client % 2];
            scope.spawn(move || {
                let mut stream = connect(address);
                let mut writer = stream.try_clone().unwrap();
                let sent = pattern(client, 200_000);
                let expected = sent.clone();
                let writing = std::thread::spawn(move || {
                    writer.write_all(&sent).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                let mut echoed = vec![0; expected.len()];
                stream.read_exact(&mut echoed).unwrap();
                assert!(echoed == expected, "client {client}");
                writing.join().unwrap();
            });
        }
    });
    echo.join().unwrap();
    assert_eq!(relay.terminate().status, Some(0));
}

/// A file of 64 MiB that is removed when this is dropped, and the place for a copy.
struct Files {
    original: PathBuf,
    copy: PathBuf,
}

impl Files {
    fn new(name: &str) -> Self {
        let original = std::env::temp_dir().join(unique(name));
        let copy = original.with_extension("copy");
        std::fs::write(&original, pattern(0, 64 << 20)).unwrap();
        Self { original, copy }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.original);
        let _ = std::fs::remove_file(&self.copy);
    }
}

#[test]
fn file_transfer_copies_a_large_file_in_little_memory() {
    let files = Files::new("file-transfer");
    let (original, copy) = (files.original.to_str().unwrap(), files.copy.to_str().unwrap());
    let unix = format!("unix:@{}", unique("file-transfer"));
    let listen = ["server", "--file", original, "--listen", "127.0.0.1:0", "--listen", &unix];
    let (server, tcp) = Program::serve("file_transfer", &listen);
    for address in [tcp.to_string(), unix] {
        let client = run("file_transfer", &["client", "--connect", &address, "--out", copy]);
        assert_eq!(client.status, Some(0), "{client:?}");
        assert!(client.stdout[0].starts_with("received 67108864 bytes in "), "{client:?}");
        assert!(std::fs::read(copy).unwrap() == std::fs::read(original).unwrap());
        std::fs::remove_file(copy).unwrap();
    }
    let most = server.memory_kib("VmHWM");
    assert!(most < 16 * 1024, "{most} KiB");
    assert_eq!(server.terminate().status, Some(0));
}

#[test]
fn file_transfer_notices_that_a_transfer_broke_off() {
    let files = Files { original: PathBuf::new(), copy: std::env::temp_dir().join(unique("broken-off")) };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let arguments = ["client", "--connect", &address, "--out", files.copy.to_str().unwrap()];
    let client = Program::start("file_transfer", &arguments);
    let mut connection = server.accept().unwrap().0;
    connection.write_all(&[1; 1000]).unwrap();
    wait_until("the beginning of the file", || {
        std::fs::metadata(&files.copy).is_ok_and(|metadata| metadata.len() == 1000)
    });
    reset(connection);
    let ended = client.wait();
    assert_eq!(ended.status, Some(1));
    assert_eq!(ended.stderr, "file_transfer: broken off after 1000 bytes: reset by the peer\n");
}

#[test]
fn pingpong_shows_sessions_threads_messages_and_throughput() {
    let unix = format!("unix:@{}", unique("pingpong"));
    let arguments = ["server", "--listen", "127.0.0.1:0", "--listen", &unix, "--threads", "1"];
    let (server, tcp) = Program::serve("pingpong", &arguments);
    let plan = ["--sessions", "20", "--threads", "2", "--block", "1000", "--seconds", "0.3"];
    for address in [tcp.to_string(), unix] {
        let ended = run("pingpong", &[&["client", "--connect", &address][..], &plan].concat());
        assert_plausible(&ended, 0.3);
    }
    assert_eq!(server.terminate().status, Some(0));
    assert_plausible(&run("pingpong", &[&["local"][..], &plan].concat()), 0.3);
}

#[track_caller]
fn assert_plausible(ended: &program::Ended, seconds: f64) {
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let names = "sessions  threads    block    messages      MiB/s  average message";
    assert_eq!((ended.stdout.len(), ended.stdout[0].as_str()), (2, names));
    let figures: Vec<f64> =
        ended.stdout[1].split_whitespace().map(|figure| figure.parse().unwrap()).collect();
    let &[sessions, threads, block, messages, mib_per_second, average] = &figures[..] else {
        panic!("{figures:?}");
    };
    assert_eq!((sessions, threads, block), (20.0, 2.0, 1000.0));
    assert!(messages >= 100.0 && average > 0.0 && average <= 1000.0, "{figures:?}");
    // The measured time is a little longer than the one that was asked for.
    let at_most = messages * average / f64::from(1 << 20) / seconds;
    assert!(mib_per_second > at_most / 3.0 && mib_per_second <= at_most * 1.01, "{figures:?}");
}

#[test]
fn roundtrip_shows_percentiles_in_order_and_a_histogram_of_all() {
    let (server, address) = Program::serve("roundtrip", &["server", "--listen", "[::1]:0"]);
    let ended = run("roundtrip", &["client", "--connect", &address.to_string(), "--count", "2000"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let [title, names, times, empty, head, histogram @ ..] = &ended.stdout[..] else { panic!("{ended:?}") };
    assert_eq!((title.as_str(), empty.as_str()), ("2000 round trips, in microseconds", ""));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(names), ["min", "p50", "p90", "p99", "p99.9", "max"]);
    let times: Vec<f64> = words(times).iter().map(|time| time.parse().unwrap()).collect();
    assert!(times[0] > 0.0 && times.is_sorted() && times[5] < 30e6, "{times:?}");
    assert_eq!(words(head), ["below", "count"]);
    let counts = histogram.iter().map(|line| words(line)[1].parse::<usize>().unwrap());
    assert_eq!(counts.sum::<usize>(), 2000);
    let bounds: Vec<f64> = histogram.iter().map(|line| words(line)[0].parse().unwrap()).collect();
    assert!(bounds.is_sorted() && times[0] < bounds[0] && times[5] < bounds[bounds.len() - 1] + 0.1);
    assert_eq!(server.terminate().status, Some(0));
}

#[test]
fn seqpacket_echo_keeps_the_boundaries_of_packets_and_empty_ones() {
    let path = std::env::temp_dir().join(unique("seqpacket"));
    let by_path = format!("seqpacket:{}", path.display());
    let by_name = format!("seqpacket:@{}", unique("seqpacket"));
    let (server, _) =
        Program::serve("seqpacket_echo", &["server", "--listen", &by_path, "--listen", &by_name]);
    for address in [&by_path, &by_name] {
        let ended = run("seqpacket_echo", &["client", "--connect", address, "--packets", "one,,three,"]);
        assert_eq!(
            ended.stdout,
            ["3 bytes: \"one\"", "0 bytes: \"\"", "5 bytes: \"three\"", "0 bytes: \"\""]
        );
        assert_eq!(ended.status, Some(0), "{ended:?}");
    }
    assert_eq!(server.terminate().status, Some(0));
    assert!(!path.exists(), "the server takes its path away");
}

#[test]
fn servers_end_well_on_either_signal_and_name_an_address_that_is_taken() {
    let file = file!();
    let seqpacket = format!("seqpacket:@{}", unique("taken"));
    for (example, arguments, listen) in [
        ("relay", &["--to", "127.0.0.1:1"][..], "127.0.0.1:0"),
        ("file_transfer", &["server", "--file", file], "127.0.0.1:0"),
        ("pingpong", &["server", "--threads", "2"], "127.0.0.1:0"),
        ("roundtrip", &["server"], "127.0.0.1:0"),
        ("seqpacket_echo", &["server"], &seqpacket),
    ] {
        let (server, address) = Program::serve(example, &[arguments, &["--listen", listen]].concat());
        let second = run(example, &[arguments, &["--listen", &address.to_string()]].concat());
        assert_eq!(second.status, Some(1), "{example}: {second:?}");
        assert_eq!(second.stderr.lines().count(), 1, "{example}: {second:?}");
        assert!(second.stderr.contains(&address.to_string()), "{example}: {second:?}");
        server.signal(Signal::INT);
        assert_eq!(server.wait().status, Some(0), "{example}");
    }
}

#[test]
fn wrong_options_end_with_status_1_and_one_line() {
    for (example, arguments) in [
        ("relay", &[][..]),
        ("relay", &["--to", "nonsense"]),
        ("file_transfer", &["server", "--file", "/nonexistent"]),
        ("file_transfer", &["client", "--connect", "127.0.0.1:1", "--out", "/nonexistent/x"]),
        ("pingpong", &[]),
        ("pingpong", &["client", "--threads", "0"]),
        ("pingpong", &["client", "--connect", "127.0.0.1:1"]),
        ("roundtrip", &["client", "--count", "0"]),
        ("roundtrip", &["client", "--connect", "127.0.0.1:1"]),
        ("seqpacket_echo", &["server", "--listen", "127.0.0.1:0"]),
        ("seqpacket_echo", &["client", "--connect", "seqpacket:@campana-nobody-listens"]),
    ] {
        let ended = run(example, arguments);
        assert_eq!(ended.status, Some(1), "{example} {arguments:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{example} {arguments:?}: {ended:?}");
        assert!(ended.stderr.starts_with(&format!("{example}: ")), "{ended:?}");
    }
}

#[test]
fn every_mode_has_its_help() {
    for (example, modes) in [
        ("relay", &[][..]),
        ("file_transfer", &["server", "client"]),
        ("pingpong", &["server", "client", "local"]),
        ("roundtrip", &["server", "client"]),
        ("seqpacket_echo", &["server", "client"]),
    ] {
        let ended = run(example, &["--help"]);
        assert_eq!(ended.status, Some(0), "{ended:?}");
        let text = ended.stdout.join("\n");
        assert!(modes.iter().all(|mode| text.contains(mode)), "{text}");
        for mode in modes {
            let ended = run(example, &[mode, "--help"]);
            assert_eq!(ended.status, Some(0), "{ended:?}");
            assert!(
                ended.stdout.join("\n").contains(&format!("Usage: {example} {mode} [OPTION]")),
                "{ended:?}"
            );
        }
    }
}
