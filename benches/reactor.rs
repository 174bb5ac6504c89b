//! What the parts of the reactor cost: `cargo bench`. How campana compares with others is measured in `benches/peers`.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use campana::testing::TestLoop;
use campana::{Buffer, EventLoop, Handler, LoopHandle, Output, ServerHandle, TcpConnection, TcpServer};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn buffer(c: &mut Criterion) {
    let mut group = c.benchmark_group("buffer");
    let (mut buffer, message) = (Buffer::new(), [7; 64]);
    group.bench_function("append and take 64 bytes", |b| {
        b.iter(|| {
            buffer.append(black_box(&message));
            black_box(Buffer::take(&mut buffer));
        });
    });
    group.bench_function("frame: append, prepend a length, read it back", |b| {
        b.iter(|| {
            buffer.append(black_box(&message));
            buffer.prepend_u32(64);
            let length = buffer.read_u32().unwrap_or_default() as usize;
            black_box(buffer.take_n(length));
        });
    });
    let mut lines = Buffer::new();
    lines.append(&b"a line of some sixty-four bytes, with the end where it should be\r\n".repeat(100));
    group.throughput(Throughput::Elements(100));
    group.bench_function("find a hundred line ends", |b| {
        b.iter_batched_ref(
            || lines.clone(),
            |lines| {
                while let Some(end) = lines.find_crlf() {
                    lines.retrieve(end + 2);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Does nothing; what is sent comes from outside.
struct Silent;

impl Handler for Silent {
    type State = ();

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) {}

    fn on_data(&mut self, (): &mut (), _: &mut TcpConnection<'_>, input: &mut Buffer) {
        input.retrieve_all();
    }

    fn wants_write_complete(&self) -> bool {
        false
    }
}

/// Sends that wait for a peer, and leave in parts: without system calls, so that only the queue is measured.
fn output_queue(c: &mut Criterion) {
    let mut group = c.benchmark_group("output queue");
    let mut test = TestLoop::new(Silent);
    let peer = test.connect();
    let shared = Bytes::from(vec![7; 1024]);
    let kinds: [(&str, Output<'_>); 2] = [
        ("a hundred copied sends of 64 bytes", Output::Slice(&[7; 64])),
        ("a hundred shared sends of 1 KiB", Output::Shared(shared)),
    ];
    group.throughput(Throughput::Elements(100));
    for (name, output) in kinds {
        let length = output.len() * 100;
        group.bench_function(name, |b| {
            b.iter(|| {
                peer.set_window(0);
                let mut conn = test.connection(peer.id()).expect("the connection");
                for _ in 0..100 {
                    conn.send(output.clone()).expect("room");
                }
                for _ in 0..4 {
                    peer.set_window(length / 4);
                    test.turn();
                }
                assert_eq!(black_box(peer.receive()).len(), length);
            });
        });
    }
    group.finish();
}

fn timers(c: &mut Criterion) {
    let mut group = c.benchmark_group("timers");
    for pending in [0, 100_000] {
        let mut event_loop = EventLoop::new().expect("an event loop");
        let cx = event_loop.context();
        for n in 0..pending {
            cx.run_after(Duration::from_micros(1_000_000 + n * 600), |_| ());
        }
        let mut n = 0;
        group.bench_function(format!("set and cancel, {pending} pending"), |b| {
            b.iter(|| {
                n = (n + 7919) % 60_000_000;
                let timer = cx.run_after(Duration::from_micros(1_000_000 + n), |_| ());
                assert!(cx.cancel(black_box(timer)));
            });
        });
    }
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("set and fire ten thousand", |b| {
        let mut event_loop = EventLoop::new().expect("an event loop");
        b.iter(|| {
            for _ in 0..10_000 {
                event_loop.context().run_after(Duration::ZERO, |_| ());
            }
            event_loop.turn(Some(Duration::ZERO)).expect("a turn");
        });
    });
    group.finish();
}

fn posts(c: &mut Criterion) {
    let mut group = c.benchmark_group("posts");
    let (thread, handle, _) = start(|_| ());
    group.bench_function("round trip to a sleeping loop", |b| {
        let (answer, answers) = mpsc::channel();
        b.iter(|| {
            let answer = answer.clone();
            handle.post(move |_| answer.send(()).expect("somebody waits")).expect("the loop lives");
            answers.recv().expect("an answer");
        });
    });
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("ten thousand in a row", |b| {
        let (answer, answers) = mpsc::channel();
        b.iter(|| {
            for _ in 0..9_999 {
                handle.post(|_| ()).expect("the loop lives");
            }
            let answer = answer.clone();
            handle.post(move |_| answer.send(()).expect("somebody waits")).expect("the loop lives");
            answers.recv().expect("an answer");
        });
    });
    stop(thread, &handle);
    group.finish();
}

fn echo(c: &mut Criterion) {
    let mut group = c.benchmark_group("echo over loopback");
    let (thread, handle, address) = start(drop);
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    for size in [64, 16 * 1024] {
        let mut message = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} bytes there and back"), |b| {
            b.iter(|| {
                stream.write_all(&message).expect("sent");
                stream.read_exact(&mut message).expect("echoed");
            });
        });
    }
    drop(stream);
    stop(thread, &handle);
    group.finish();
}

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan-out over loopback");
    let (report, servers) = mpsc::channel();
    let (thread, handle, address) = start(move |server| drop(report.send(server)));
    let server = servers.recv().expect("a server");
    let mut members: Vec<_> = (0..100).map(|_| TcpStream::connect(address).expect("a connection")).collect();
    let mut line = [0; 64];
    for member in &mut members {
        // Once it is echoed to, a member is surely among the server's connections.
        member.write_all(&line).expect("sent");
        member.read_exact(&mut line).expect("echoed");
    }
    group.throughput(Throughput::Elements(100));
    group.bench_function("one line to a hundred members", |b| {
        b.iter(|| {
            server.broadcast(&[7; 64]).expect("the loop lives");
            for member in &mut members {
                member.read_exact(&mut line).expect("received");
            }
        });
    });
    drop(members);
    stop(thread, &handle);
    group.finish();
}

/// An echo server on a loop and a thread of its own.
fn start(tell: impl FnOnce(ServerHandle) + Send + 'static) -> (JoinHandle<()>, LoopHandle, SocketAddr) {
    let (report, reports) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut event_loop = EventLoop::new().expect("an event loop");
        let server = TcpServer::bind("127.0.0.1:0").expect("an address");
        let server =
            server.on_data(|conn, input| conn.send(input.take())).start(&mut event_loop).expect("a server");
        let address = server.local_addresses()[0].as_inet().expect("an IP address");
        tell(server);
        report.send((event_loop.handle(), address)).expect("a listener");
        event_loop.run().expect("the loop runs");
    });
    let (handle, address) = reports.recv().expect("a loop");
    (thread, handle, address)
}

fn stop(thread: JoinHandle<()>, handle: &LoopHandle) {
    handle.quit();
    thread.join().expect("the loop ends");
}

criterion_group!(benches, buffer, output_queue, timers, posts, echo, fan_out);
criterion_main!(benches);
