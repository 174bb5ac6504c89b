//! Sends a file to each who connects, chunk by chunk: the next one is read when the one before has reached the kernel.
//!
//! `cargo run --example file_transfer -- server --file big.iso`, then
//! `cargo run --example file_transfer -- client --connect 127.0.0.1:2021 --out copy.iso`, or `nc 127.0.0.1 2021 > copy.iso`.
//!
//! However large the file and however slow the reader, a connection holds one chunk. The end of the file is the end of the
//! stream, so that a transfer that breaks off has to be a reset: the receiver could not tell it from a whole file otherwise.

mod support;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use campana::connection::{ConnectError, Endpoint};
use campana::{Buffer, CloseReason, Handler, LoopContext, TcpClient, TcpConnection};
use support::Options;

const CHUNK: usize = 64 * 1024;

fn main() -> ExitCode {
    match Options::mode(&[("server", "sends a file"), ("client", "receives it")]) {
        "server" => server(),
        _ => client(),
    }
}

fn server() -> ExitCode {
    let arguments = Options::server("Sends a file to each who connects.", "127.0.0.1:2021")
        .of_mode("server")
        .option("--file PATH", None, "the file to send")
        .parse();
    let path: PathBuf = arguments.value("--file");
    // Better to be told now than by the first who connects.
    support::or_fail(File::open(&path).map_err(|error| format!("{}: {error}", path.display())));
    support::serve(&arguments, |server, event_loop| {
        server.start_with(event_loop, move |_, _| Sender { path: path.clone() })
    })
}

struct Sender {
    path: PathBuf,
}

impl Sender {
    /// Sends the next chunk, or says that there is none. Reading a file may block, but hardly ever for long.
    fn send_chunk(&self, file: &mut Option<File>, conn: &mut TcpConnection<'_>) {
        let Some(source) = file else { return };
        let mut chunk = Vec::with_capacity(CHUNK);
        match source.take(CHUNK as u64).read_to_end(&mut chunk) {
            Ok(0) => {
                *file = None;
                conn.shutdown();
            }
            Ok(_) => {
                let _ = conn.send(chunk);
            }
            Err(error) => self.break_off(&error, conn),
        }
    }

    fn break_off(&self, error: &io::Error, conn: &mut TcpConnection<'_>) {
        log::error!("{}: {error}", self.path.display());
        if let Some(socket) = conn.socket() {
            let _ = socket.reset_on_close();
        }
        conn.force_close();
    }
}

impl Handler for Sender {
    /// The rest of the file; nothing when all of it is sent.
    type State = Option<File>;

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) -> Option<File> {
        let mut file = match File::open(&self.path) {
            Ok(file) => Some(file),
            Err(error) => {
                self.break_off(&error, conn);
                None
            }
        };
        self.send_chunk(&mut file, conn);
        file
    }

    fn on_data(&mut self, _: &mut Option<File>, _: &mut TcpConnection<'_>, input: &mut Buffer) {
        input.retrieve_all();
    }

    fn on_write_complete(&mut self, file: &mut Option<File>, conn: &mut TcpConnection<'_>) {
        self.send_chunk(file, conn);
    }

    fn on_read_closed(&mut self, _: &mut Option<File>, _: &mut TcpConnection<'_>) {
        // It has nothing to say, and still gets the whole file; then both directions are closed.
    }

    fn on_close(&mut self, rest: Option<File>, conn: &mut TcpConnection<'_>, reason: CloseReason) {
        let (peer, sent) = (conn.peer_address(), conn.stats().bytes_out);
        match rest {
            None => log::info!("{peer}: all {sent} bytes sent"),
            Some(_) => log::warn!("{peer}: {reason} after {sent} bytes"),
        }
    }
}

fn client() -> ExitCode {
    let arguments = Options::new("Receives a file.")
        .of_mode("client")
        .option("--connect ADDR", Some("127.0.0.1:2021"), "the server's address")
        .option("--out PATH", None, "where to write the file")
        .parse();
    let server: Endpoint = arguments.value("--connect");
    let path: PathBuf = arguments.value("--out");
    let file = support::or_fail(File::create(&path).map_err(|error| format!("{}: {error}", path.display())));
    let mut event_loop = support::new_event_loop();
    support::or_fail(TcpClient::new(server)).start_with(&mut event_loop, Receiver { file, path });
    support::or_fail(event_loop.run());
    ExitCode::SUCCESS
}

struct Receiver {
    file: File,
    path: PathBuf,
}

impl Handler for Receiver {
    /// When the transfer began.
    type State = Instant;

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) -> Instant {
        Instant::now()
    }

    fn on_data(&mut self, _: &mut Instant, _: &mut TcpConnection<'_>, input: &mut Buffer) {
        if let Err(error) = self.file.write_all(input.take()) {
            support::fail(format_args!("{}: {error}", self.path.display()));
        }
    }

    fn on_close(&mut self, began: Instant, conn: &mut TcpConnection<'_>, reason: CloseReason) {
        let received = conn.stats().bytes_in;
        if !matches!(reason, CloseReason::Peer) {
            support::fail(format_args!("broken off after {received} bytes: {reason}"));
        }
        let seconds = began.elapsed().as_secs_f64();
        let speed = received as f64 / seconds / f64::from(1 << 20);
        support::print(format_args!("received {received} bytes in {seconds:.3} s: {speed:.1} MiB/s"));
        conn.context().quit();
    }

    fn on_connect_failed(&mut self, _: &mut LoopContext, error: &ConnectError, _: Option<Duration>) {
        support::fail(error);
    }
}
