//! Vectored writes that stop in the middle of a chunk go on at the very byte.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

#[path = "support/server.rs"]
mod server;

use server::{Moment, Server, connect_narrow, pattern, read_exact, small_buffers};

/// Long enough to be shared rather than copied; a prime, so that where the kernel stops is seldom a boundary.
const BODY: usize = 1_009;
/// More than one vectored write takes.
const CHUNKS: usize = 400;

/// Sends headers of so many bytes, each with a body behind it, to a peer that reads them in odd pieces.
fn sent_in_pieces(header: usize) {
    let chunk = header + BODY;
    let all = Bytes::from(pattern(CHUNKS * chunk));
    let (expected, to_send) = (all.clone(), all);
    let server = Server::configured(
        |config| config.socket = small_buffers(),
        move |moment, conn, input| match moment {
            Moment::Data => {
                input.retrieve_all();
                for number in 0..CHUNKS {
                    let from = number * chunk;
                    conn.send(&to_send[from..from + header]).unwrap();
                    conn.send(to_send.slice(from + header..from + chunk)).unwrap();
                }
            }
            _ => moment.usual(conn, input),
        },
    );
    let mut client = connect_narrow(server.address());
    client.write_all(b"x").unwrap();
    server.log.wait_count(Moment::HighWater, 1);
    let inside = Arc::new(AtomicUsize::new(0));
    let mut received = Vec::new();
    while received.len() < expected.len() {
        received.extend(read_exact(&mut client, 773.min(expected.len() - received.len())));
        let seen = Arc::clone(&inside);
        // What is pending ends with a whole chunk; so if it isn't a number of chunks, its first one was cut.
        let look = server.handle.for_each(move |conn| {
            let is_cut = !conn.pending_output().is_multiple_of(chunk);
            seen.fetch_add(usize::from(is_cut), Ordering::SeqCst);
        });
        look.unwrap();
    }
    assert!(received == expected, "bytes were lost, repeated or exchanged");
    server.log.wait_count(Moment::WriteComplete, 1);
    assert!(inside.load(Ordering::SeqCst) > 10, "hardly any write stopped inside a chunk");
    drop(client);
    server.log.wait_closed();
    let stats = server.log.last_stats().unwrap();
    assert_eq!((stats.bytes_out, stats.bytes_discarded), (expected.len() as u64, 0));
    server.end(1);
}

#[test]
fn shared_chunks_that_leave_in_pieces_arrive_byte_for_byte() {
    sent_in_pieces(0);
}

#[test]
fn copied_headers_between_shared_bodies_arrive_byte_for_byte() {
    sent_in_pieces(7);
}
