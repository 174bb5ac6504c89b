//! Sends characters for as long as the peer takes them (RFC 864), and tells how many those were.
//!
//! More is sent each time that all of it has reached the kernel, so that a slow reader costs no memory.
//!
//! `cargo run --release --example chargen`, then `nc 127.0.0.1 2019 | head -c 1G | wc -c`.

mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use campana::{Buffer, CloseReason, Handler, LoopContext, TcpConnection};
use support::Options;

fn main() -> ExitCode {
    let arguments = Options::server("Sends characters without end (RFC 864).", "127.0.0.1:2019")
        .option("--every SECONDS", Some("3"), "how often the throughput is logged")
        .parse();
    let every = arguments.seconds("--every");

    let (pattern, sent) = (pattern(), Arc::new(AtomicU64::new(0)));
    support::serve(&arguments, |server, event_loop| {
        report_throughput(event_loop.context(), every, Arc::clone(&sent));
        // Each loop makes a generator of its own; all of them share one pattern.
        server.start_with(event_loop, move |_, _| Generator {
            pattern: pattern.clone(),
            sent: Arc::clone(&sent),
        })
    })
}

struct Generator {
    pattern: Bytes,
    sent: Arc<AtomicU64>,
}

impl Handler for Generator {
    type State = ();

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) {
        let _ = conn.send(&self.pattern);
    }

    fn on_data(&mut self, (): &mut (), _conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        input.retrieve_all();
    }

    fn on_write_complete(&mut self, (): &mut (), conn: &mut TcpConnection<'_>) {
        self.sent.fetch_add(self.pattern.len() as u64, Ordering::Relaxed);
        let _ = conn.send(&self.pattern);
    }

    /// This server is never silent by itself, which is what the default waits for.
    fn on_stopping(&mut self, (): &mut (), conn: &mut TcpConnection<'_>) {
        conn.close();
    }

    fn on_close(&mut self, (): (), conn: &mut TcpConnection<'_>, reason: CloseReason) {
        log::info!("{}: {reason} after {} bytes", conn.peer_address(), conn.stats().bytes_out);
    }
}

/// Lines of 72 printing characters, each of which begins one character further on; after 95 of them it starts again.
fn pattern() -> Bytes {
    const PRINTING: std::ops::RangeInclusive<u8> = b' '..=b'~';
    let mut pattern = Vec::new();
    for first in 0..PRINTING.len() {
        pattern.extend(PRINTING.cycle().skip(first).take(72));
        pattern.extend(b"\r\n");
    }
    // Few large sends cost less than many small ones.
    pattern.repeat(8).into()
}

/// Logs what was sent since the last time, if anything was.
fn report_throughput(context: &mut LoopContext, every: Duration, sent: Arc<AtomicU64>) {
    let (mut sent_before, mut before) = (0, context.now());
    context.run_every(every, move |context| {
        let sent = sent.load(Ordering::Relaxed);
        if sent > sent_before {
            let mib = (sent - sent_before) as f64 / f64::from(1 << 20);
            log::info!("{:.3} MiB/s", mib / (context.now() - before).as_secs_f64());
        }
        (sent_before, before) = (sent, context.now());
    });
}
