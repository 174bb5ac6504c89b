//! Durations of zero and of the longest there are, wherever one is asked for: nothing overflows, and nothing fires early.

use std::io::Write;
use std::time::Duration;

use campana::connection::Backoff;
use campana::reactor::LoopConfig;
use campana::{EventLoop, TcpClient};

#[path = "support/server.rs"]
mod server;

use server::{
    Log, Moment, PATIENCE, Recorder, Server, any, connect_narrow, echo, half_close, is_served, pattern,
    read_exact, small_buffers, wait_gone,
};

const LONGEST: [Duration; 4] = [
    Duration::MAX,
    Duration::from_nanos(u64::MAX),
    // One nanosecond more than fits into the loop's clock.
    Duration::new(18_446_744_073, 709_551_616),
    Duration::from_secs(1 << 40),
];

#[test]
fn connections_whose_deadlines_are_the_longest_there_are_live_and_end_as_others_do() {
    for longest in LONGEST {
        let server = Server::configured(
            |config| {
                config.idle = Some(longest);
                config.write_stall = Some(longest);
                config.slow_consumer = Some(longest);
                config.linger = longest;
                config.high_water = 10_000;
                config.low_water = 5_000;
                config.socket = small_buffers();
            },
            |moment, conn, input| match moment {
                Moment::Data if input.peek() == b"much" => {
                    input.retrieve_all();
                    conn.send(pattern(500_000)).unwrap();
                }
                Moment::Data if input.peek() == b"close" => conn.close(),
                _ => echo(moment, conn, input),
            },
        );
        let mut client = connect_narrow(server.address());
        is_served(&mut client);
        client.write_all(b"much").unwrap();
        // With the output blocked, above its mark and to be lingered for, all deadlines are under way.
        server.log.wait_count(Moment::HighWater, 1);
        client.write_all(b"close").unwrap();
        server.log.wait("the last input", |log| log.data().ends_with(b"close"));
        server.running.settle();
        assert_eq!(server.log.count(Moment::Close), 0, "with {longest:?}");
        assert!(read_exact(&mut client, 500_000) == pattern(500_000));
        half_close(&client);
        assert_eq!(server.log.wait_closed(), "closed by this side");
        assert_eq!(server.running.figures().panics, 0);
        server.end(1);
    }
}

#[test]
fn the_longest_delays_of_a_connection_do_not_come() {
    for longest in LONGEST {
        let server = Server::start(move |moment, conn, input| match moment {
            Moment::Connect => {
                conn.set_timer(longest, 1);
                let cancelled = conn.set_timer(longest, 2);
                assert!(conn.cancel_timer(cancelled));
                conn.set_timer(Duration::ZERO, 3);
                conn.close_when_silent(longest);
            }
            Moment::Data if input.peek() == b"last" => conn.close_after(longest),
            _ => echo(moment, conn, input),
        });
        let mut client = server.connect();
        server.log.wait_count(Moment::Timer(3), 1);
        is_served(&mut client);
        client.write_all(b"last").unwrap();
        // It is shut down, and otherwise left alone.
        assert_eq!(server::read_to_end(&mut client), b"");
        server.running.settle();
        assert_eq!(server.log.count(Moment::Close), 0, "with {longest:?}");
        drop(client);
        server.log.wait_closed();
        assert_eq!((server.log.count(Moment::Timer(1)), server.log.count(Moment::Timer(2))), (0, 0));
        assert_eq!(server.running.figures().panics, 0);
        server.end(1);
    }
}

#[test]
fn deadlines_of_zero_end_a_connection_at_once_and_the_loop_goes_on() {
    let server = Server::configured(
        |config| {
            config.idle = Some(Duration::ZERO);
            config.write_stall = Some(Duration::ZERO);
            config.slow_consumer = Some(Duration::ZERO);
            config.linger = Duration::ZERO;
        },
        echo,
    );
    for ended in 1..=20 {
        wait_gone(&mut server.connect());
        server.log.wait_count(Moment::Close, ended);
    }
    assert!(server.log.reasons().iter().all(|reason| reason == "timed out: idle"));
    let turns = server.running.idle_turns(Duration::from_millis(100));
    assert!(turns <= 5, "{turns} turns for nothing");
    server.end(20);
}

#[test]
fn a_server_with_all_the_time_in_the_world_stops_when_its_last_connection_ends() {
    for longest in LONGEST {
        let server = Server::of(any().shed_after(longest), |moment, conn, input| match moment {
            Moment::Stopping => {}
            _ => echo(moment, conn, input),
        });
        let mut client = server.connect_and_wait();
        server.handle.stop(longest);
        server.log.wait_count(Moment::Stopping, 1);
        is_served(&mut client);
        assert!(!server.handle.is_stopped());
        let (handle, waiting) = (server.handle.clone(), std::sync::mpsc::channel());
        std::thread::spawn(move || waiting.0.send(handle.wait_stopped(longest)));
        drop(client);
        assert_eq!(waiting.1.recv_timeout(PATIENCE), Ok(true));
        server.end(1);
    }
}

#[test]
fn clients_that_would_wait_for_ever_connect_fail_and_stop_as_others_do() {
    let server = Server::start(echo);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for longest in LONGEST {
        let log = Log::default();
        let mut backoff = Backoff::default();
        (backoff.initial, backoff.longest) = (longest, longest);
        let clients = [server.address(), nobody].map(|address| {
            let client = TcpClient::new(address).unwrap().connect_timeout(longest);
            let client = client.retry(backoff).reconnect();
            let log = log.clone();
            server.running.call(move |cx| client.start_with(cx, Recorder::new(&log, Moment::usual)))
        });
        log.wait_count(Moment::Connect, 1);
        log.wait("the failure", |log| log.lines().iter().any(|line| line.starts_with("ConnectFailed")));
        server.running.settle();
        assert_eq!(log.lines().len(), 2, "another attempt: {:#?}", log.lines());
        for client in clients {
            client.stop();
            assert!(client.wait_stopped(longest));
        }
    }
    assert_eq!(server.running.figures().panics, 0);
}

#[test]
fn a_loop_may_be_told_to_wait_for_ever_and_is_woken_all_the_same() {
    for longest in LONGEST {
        let mut config = LoopConfig::default();
        config.slow_callback = longest;
        let mut event_loop = EventLoop::with_config(config).unwrap();
        let handle = event_loop.handle();
        let other = std::thread::spawn(move || handle.post(|_| {}).unwrap());
        while event_loop.handle().figures().tasks == 0 {
            event_loop.turn(Some(longest)).unwrap();
        }
        other.join().unwrap();
    }
}
