//! Event loops on threads, servers on them, and raw sockets at the other end.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use campana::connection::ConnectionConfig;
use campana::reactor::LoopFigures;
use campana::socket::SocketOptions;
use campana::{Buffer, EventLoop, LoopContext, LoopHandle, ServerHandle, TcpConnection, TcpServer};
use socket2::SockRef;

#[path = "patience.rs"]
mod patience;
mod recorder;

pub(crate) use patience::{PATIENCE, wait_until};
pub(crate) use recorder::{Act, Event, Log, Moment, Recorder};

/// An event loop that runs on a thread of its own until this is dropped.
pub(crate) struct Running {
    handle: LoopHandle,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Makes a loop on a new thread, calls `setup` there, and then runs the loop.
    pub(crate) fn start<R: Send + 'static>(
        setup: impl FnOnce(&mut EventLoop) -> R + Send + 'static,
    ) -> (Self, R) {
        let (report, reports) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut event_loop = EventLoop::new().unwrap();
            let result = setup(&mut event_loop);
            report.send((event_loop.handle(), result)).unwrap();
            event_loop.run().unwrap();
        });
        let (handle, result) = reports.recv_timeout(PATIENCE).unwrap();
        (Self { handle, thread: Some(thread) }, result)
    }

    pub(crate) fn handle(&self) -> &LoopHandle {
        &self.handle
    }

    pub(crate) fn figures(&self) -> LoopFigures {
        self.handle.figures()
    }

    /// Runs something on the loop, and waits for its result.
    #[track_caller]
    pub(crate) fn call<R: Send + 'static>(
        &self,
        task: impl FnOnce(&mut LoopContext) -> R + Send + 'static,
    ) -> R {
        let (report, reports) = std::sync::mpsc::channel();
        self.handle.post(move |cx| report.send(task(cx)).unwrap()).unwrap();
        reports.recv_timeout(PATIENCE).unwrap()
    }

    /// Waits until what is ready now has been seen to, and it was quiet for some turns.
    #[track_caller]
    pub(crate) fn settle(&self) {
        for _ in 0..4 {
            self.call(|_| ());
        }
    }

    /// Holds the loop up until what is returned is dropped, so that what happens meanwhile comes to it all at once.
    #[track_caller]
    pub(crate) fn hold(&self) -> Held {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (report, reports) = std::sync::mpsc::channel();
        let task = move |_: &mut LoopContext| {
            report.send(()).unwrap();
            let _ = released.recv_timeout(PATIENCE);
        };
        self.handle.post(task).unwrap();
        reports.recv_timeout(PATIENCE).unwrap();
        Held(release)
    }

    /// How many turns the loop makes while nothing happens for `time`; the two that ask are taken off.
    pub(crate) fn idle_turns(&self, time: Duration) -> u64 {
        self.settle();
        let before = self.figures().turns;
        std::thread::sleep(time);
        self.figures().turns - before
    }

    /// Quits the loop, and waits for its thread.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.finish();
    }

    #[track_caller]
    fn finish(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.handle.quit();
        let end = Instant::now() + PATIENCE;
        while !thread.is_finished() {
            if Instant::now() >= end {
                assert!(std::thread::panicking(), "the loop doesn't end");
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let ended = thread.join();
        assert!(ended.is_ok() || std::thread::panicking(), "the loop's thread has panicked");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A loop that is held up.
pub(crate) struct Held(std::sync::mpsc::Sender<()>);

impl Held {
    pub(crate) fn release(self) {
        let _ = self.0.send(());
    }
}

/// A server with a recorder on a loop of its own.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) handle: ServerHandle<Recorder>,
    pub(crate) log: Log,
}

impl Server {
    /// A server on a port of the system's choice.
    pub(crate) fn start(
        act: impl Fn(Moment, &mut TcpConnection<'_>, &mut Buffer) + Send + Sync + 'static,
    ) -> Self {
        Self::configured(|_| {}, act)
    }

    /// As [`start`](Self::start), with limits and deadlines.
    pub(crate) fn configured(
        change: impl FnOnce(&mut ConnectionConfig),
        act: impl Fn(Moment, &mut TcpConnection<'_>, &mut Buffer) + Send + Sync + 'static,
    ) -> Self {
        Self::of(TcpServer::bind("127.0.0.1:0").unwrap().configure(change), act)
    }

    pub(crate) fn of(
        server: TcpServer,
        act: impl Fn(Moment, &mut TcpConnection<'_>, &mut Buffer) + Send + Sync + 'static,
    ) -> Self {
        let log = Log::default();
        let for_handlers = log.clone();
        let act: Act = Arc::new(act);
        let (running, handle) = Running::start(move |event_loop| {
            server.start_with(event_loop, move |_, _| Recorder::with(&for_handlers, &act)).unwrap()
        });
        Self { running, handle, log }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.handle.local_addresses()[0].as_inet().unwrap()
    }

    /// A raw client.
    #[track_caller]
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address())
    }

    /// A raw client, whose connection the server knows of by the time that this returns.
    #[track_caller]
    pub(crate) fn connect_and_wait(&self) -> TcpStream {
        let before = self.log.count(Moment::Connect);
        let stream = self.connect();
        self.log.wait_count(Moment::Connect, before + 1);
        stream
    }

    /// How many bytes have arrived on the one connection that the kernel still has.
    #[track_caller]
    pub(crate) fn unread(&self) -> usize {
        self.running.call(|cx| {
            let id = cx.connections()[0];
            let conn = cx.connection(id).unwrap();
            usize::try_from(rustix::io::ioctl_fionread(conn.socket().unwrap()).unwrap()).unwrap()
        })
    }

    /// Ends the loop, and checks that all lives were whole.
    #[track_caller]
    pub(crate) fn end(self, connections: usize) -> Log {
        let Self { running, log, .. } = self;
        running.stop();
        log.assert_whole_lives(connections);
        log
    }
}

#[track_caller]
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Small kernel buffers, so that back-pressure comes after kilobytes rather than megabytes.
pub(crate) fn small_buffers() -> SocketOptions {
    SocketOptions::new().send_buffer_size(8 * 1024).recv_buffer_size(8 * 1024)
}

/// A raw client with small buffers, which have to be set before it connects.
#[track_caller]
pub(crate) fn connect_narrow(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
    let socket = socket.unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    socket.set_send_buffer_size(8 * 1024).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Closes a socket so that the other end sees a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Reads to the end of the stream.
///
/// # Panics
///
/// If it ends with an error, a reset for one.
#[track_caller]
pub(crate) fn read_to_end(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(error) => panic!("{error} after {} bytes", bytes.len()),
    }
}

#[track_caller]
pub(crate) fn read_exact(stream: &mut impl Read, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Waits until the other end has closed or reset the connection, and discards what comes before that.
#[track_caller]
pub(crate) fn wait_gone(stream: &mut impl Read) {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                return;
            }
        }
    }
}

pub(crate) fn half_close(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Bytes of which a lost, repeated or exchanged one shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// How many descriptors this process has open.
pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Echoes, and does the usual besides.
pub(crate) fn echo(moment: Moment, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
    match moment {
        Moment::Data => drop(conn.send(input.take())),
        _ => moment.usual(conn, input),
    }
}

#[track_caller]
pub(crate) fn is_served(stream: &mut TcpStream) {
    stream.write_all(b"ping").unwrap();
    assert_eq!(read_exact(stream, 4), b"ping");
}

/// A server on whatever port is free.
pub(crate) fn any() -> TcpServer {
    TcpServer::bind("127.0.0.1:0").unwrap()
}
