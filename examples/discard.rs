//! Throws away whatever it receives (RFC 863), and tells how fast it came.
//!
//! `cargo run --release --example discard`, then `head -c 1G /dev/zero | nc -N 127.0.0.1 2009`.

mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use campana::LoopContext;
use support::Options;

fn main() -> ExitCode {
    let arguments = Options::server("Throws away whatever it receives (RFC 863).", "127.0.0.1:2009")
        .option("--every SECONDS", Some("3"), "how often the throughput is logged")
        .parse();
    let every = arguments.seconds("--every");

    let received = Arc::new(Received::default());
    support::serve(&arguments, |server, event_loop| {
        report_throughput(event_loop.context(), every, Arc::clone(&received));
        server.on_data(move |_, input| received.add(input.take().len())).start(event_loop)
    })
}

/// What all loops have received together.
#[derive(Default)]
struct Received {
    bytes: AtomicU64,
    chunks: AtomicU64,
}

impl Received {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.chunks.fetch_add(1, Ordering::Relaxed);
    }
}

/// Logs what came in since the last time, if anything did.
fn report_throughput(context: &mut LoopContext, every: Duration, received: Arc<Received>) {
    let (mut bytes_before, mut chunks_before, mut before) = (0, 0, context.now());
    context.run_every(every, move |context| {
        let (bytes, chunks) =
            (received.bytes.load(Ordering::Relaxed), received.chunks.load(Ordering::Relaxed));
        let seconds = (context.now() - before).as_secs_f64();
        let (new_bytes, new_chunks) = (bytes - bytes_before, chunks - chunks_before);
        if let Some(mean) = new_bytes.checked_div(new_chunks) {
            let mib = new_bytes as f64 / f64::from(1 << 20) / seconds;
            log::info!("{mib:.3} MiB/s, {:.0} chunks/s of {mean} bytes", new_chunks as f64 / seconds);
        }
        (bytes_before, chunks_before, before) = (bytes, chunks, context.now());
    });
}
