//! What byte filters leave of a burst in memory. One test, as the allocator counts for the whole process.

use std::alloc::System;

use campana::session::byte_filters::{Compression, TrafficShaper};
use campana::testing::Peer;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[path = "support/byte_sessions.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod byte_sessions;

use byte_sessions::{Log, Test, Xor, echo_sessions};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that are allocated now.
fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

const SESSIONS: usize = 30;

/// What a loop may keep for all of them.
const OF_LOOP: usize = 1024 * 1024;

/// What is kept after large exchanges, beyond what there was after small ones.
fn kept(test: &mut Test, log: &Log) -> usize {
    let peers: Vec<_> = (0..SESSIONS).map(|_| test.connect()).collect();
    for peer in &peers {
        peer.send("one\n");
    }
    test.run_until_idle();
    drop((log.take(), peers.iter().map(Peer::receive).collect::<Vec<_>>()));
    let before = allocated();
    for _ in 0..2 {
        for peer in &peers {
            peer.send("a line like many others\n".repeat(5_000));
            test.run_until_idle();
            drop((log.take(), peer.receive()));
        }
    }
    for peer in &peers {
        peer.send("one\n");
    }
    test.run_until_idle();
    drop((log.take(), peers.iter().map(Peer::receive).collect::<Vec<_>>()));
    allocated().saturating_sub(before)
}

#[test]
fn a_burst_leaves_no_memory_behind_and_compression_takes_what_is_documented() {
    let (mut test, log) = echo_sessions(|service| service);
    let without_filters = kept(&mut test, &log);
    drop(test);

    let (mut test, log) = echo_sessions(|service| {
        let service = service.byte_filter("shaper", || TrafficShaper::new().outbound(u64::MAX, u64::MAX / 2));
        service.byte_filter("one", || Xor(1)).byte_filter("two", || Xor(1))
    });
    let with_filters = kept(&mut test, &log);
    println!("{with_filters} bytes are kept with filters, {without_filters} without");
    assert!(with_filters < without_filters + OF_LOOP, "{with_filters}, {without_filters} without");
    drop(test);

    let (mut test, _) = echo_sessions(|service| service.byte_filter("compression", Compression::new));
    let first = test.connect();
    // The buffers of the loop.
    first.send([0x78, 0x9c, 0, 0, 0, 0xff, 0xff]);
    test.with_session(&first, |_, cx| assert!(cx.write("first").is_ok()));
    let peer = test.connect();
    let before = allocated();
    test.with_session(&peer, |_, cx| assert!(cx.write("first").is_ok()));
    let compressor = allocated() - before;
    println!("a compressor takes {compressor} bytes");
    assert!((64 * 1024..330 * 1024).contains(&compressor), "{compressor}");
    let before = allocated();
    peer.send([0x78, 0x9c, 0, 0, 0, 0xff, 0xff]);
    test.run_until_idle();
    let decompressor = allocated() - before;
    println!("a decompressor takes {decompressor} bytes");
    assert!((32 * 1024..64 * 1024).contains(&decompressor), "{decompressor}");
}
