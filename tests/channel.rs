//! Channels over every kind of descriptor: readiness as state, interest without system calls, ends without stale events.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

#[path = "support/reactor.rs"]
mod support;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use campana::EventLoop;
use campana::reactor::{Channel, ChannelId, EventSource};
use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use support::{OnDrop, turn_until};

/// A pair of connected sockets that don't block.
fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

/// Reads one byte; tells the channel when there is none.
fn read_byte(device: &mut impl Read, channel: &mut Channel<'_>) -> Option<u8> {
    let mut byte = [0];
    match device.read(&mut byte) {
        Ok(0) => {
            channel.close();
            None
        }
        Ok(_) => Some(byte[0]),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            channel.clear_readable();
            None
        }
    }
}

fn turn(event_loop: &mut EventLoop) {
    event_loop.turn(Some(Duration::ZERO)).unwrap();
}

/// Registers a source that counts its calls, and does what `act` does.
fn count_calls<D: AsFd + 'static>(
    event_loop: &mut EventLoop,
    device: D,
    mut act: impl FnMut(&mut D, &mut Channel<'_>) + 'static,
) -> (ChannelId, Rc<Cell<usize>>) {
    let calls = Rc::new(Cell::new(0));
    let count = Rc::clone(&calls);
    let source = move |device: &mut D, channel: &mut Channel<'_>| {
        count.set(count.get() + 1);
        act(device, channel);
    };
    let channel = event_loop.context().register(device, source).unwrap();
    (channel, calls)
}

#[test]
fn a_source_that_stops_half_way_is_called_again_until_it_has_drained() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"abcdefgh").unwrap();
    let read = Rc::new(RefCell::new(Vec::new()));
    let reads = Rc::clone(&read);
    let (_, calls) = count_calls(&mut event_loop, ours, move |ours, channel| {
        reads.borrow_mut().extend(read_byte(ours, channel));
    });
    turn_until(&mut event_loop, "all bytes", |_| read.borrow().len() == 8);
    assert_eq!(*read.borrow(), b"abcdefgh");
    // One call more, which finds nothing; then there is silence, for as many turns as one likes.
    turn_until(&mut event_loop, "the last call", |_| calls.get() == 9);
    (0..10).for_each(|_| turn(&mut event_loop));
    assert_eq!(calls.get(), 9);
    theirs.write_all(b"i").unwrap();
    turn_until(&mut event_loop, "news", |_| calls.get() == 11);
    assert_eq!(read.borrow().len(), 9);
}

#[test]
fn a_source_that_never_drains_is_called_once_or_twice_a_turn_and_holds_nobody_up() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, _theirs) = pair();
    let (greedy, calls) = count_calls(&mut event_loop, ours, |_, _| {});
    event_loop.context().channel(greedy).unwrap().enable_writing();
    let (modest, mut peer) = pair();
    let (_, modest_calls) = count_calls(&mut event_loop, modest, |device, channel| {
        read_byte(device, channel);
    });
    for _ in 0..20 {
        peer.write_all(b"x").unwrap();
        let before = (calls.get(), modest_calls.get());
        turn(&mut event_loop);
        turn(&mut event_loop);
        assert!(modest_calls.get() > before.1);
        assert!((2..=4).contains(&(calls.get() - before.0)), "{} calls", calls.get() - before.0);
    }
}

#[test]
fn pipes_eventfds_and_timerfds_are_driven_alike() {
    let mut event_loop = EventLoop::new().unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let read = Rc::new(RefCell::new(Vec::new()));
    let reads = Rc::clone(&read);
    count_calls(&mut event_loop, reader, move |reader, channel| {
        reads.borrow_mut().extend(read_byte(reader, channel));
    });

    let counter = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
    let adder = counter.try_clone().unwrap();
    let sum = Rc::new(Cell::new(0));
    let sums = Rc::clone(&sum);
    count_calls(&mut event_loop, counter, move |counter, channel| {
        let mut number = [0; 8];
        match rustix::io::read(&*counter, &mut number) {
            Ok(_) => sums.set(sums.get() + u64::from_ne_bytes(number)),
            Err(_) => channel.clear_readable(),
        }
    });

    let timer =
        timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC).unwrap();
    let millisecond = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let each_millisecond = Itimerspec { it_interval: millisecond, it_value: millisecond };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &each_millisecond).unwrap();
    let ticks = Rc::new(Cell::new(0));
    let tick = Rc::clone(&ticks);
    count_calls(&mut event_loop, timer, move |timer, channel| {
        let mut number = [0; 8];
        match rustix::io::read(&*timer, &mut number) {
            Ok(_) => tick.set(tick.get() + u64::from_ne_bytes(number)),
            Err(_) => channel.clear_readable(),
        }
    });

    for round in 1..=3 {
        writer.write_all(b"x").unwrap();
        rustix::io::write(&adder, &5_u64.to_ne_bytes()).unwrap();
        let wanted = ticks.get() + 2;
        turn_until(&mut event_loop, "all three", |_| {
            read.borrow().len() == round && sum.get() == 5 * round as u64 && ticks.get() >= wanted
        });
    }
    assert_eq!(event_loop.handle().figures().channels, 3);
    // The end of the pipe closes its channel.
    drop(writer);
    turn_until(&mut event_loop, "the pipe's end", |event_loop| event_loop.handle().figures().channels == 2);
}

#[test]
fn readiness_survives_while_reading_is_disabled() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, mut theirs) = pair();
    let (channel, calls) = count_calls(&mut event_loop, ours, |ours, channel| {
        if read_byte(ours, channel).is_some() {
            channel.disable_reading();
        }
    });
    turn(&mut event_loop);
    theirs.write_all(b"ab").unwrap();
    turn_until(&mut event_loop, "the first byte", |event_loop| {
        !event_loop.context().channel(channel).unwrap().is_reading()
    });
    let before = calls.get();
    theirs.write_all(b"c").unwrap();
    (0..10).for_each(|_| turn(&mut event_loop));
    assert_eq!(calls.get(), before);
    let mut view = event_loop.context().channel(channel).unwrap();
    assert!(view.is_readable());
    // Both bytes come, though the poller has nothing new to say about them.
    view.enable_reading();
    turn_until(&mut event_loop, "the second byte", |_| calls.get() == before + 1);
    event_loop.context().channel(channel).unwrap().enable_reading();
    turn_until(&mut event_loop, "the third byte", |_| calls.get() == before + 2);
}

#[test]
fn what_arrives_before_reading_is_enabled_is_not_lost() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, mut theirs) = pair();
    let (channel, calls) = count_calls(&mut event_loop, ours, |ours, channel| {
        read_byte(ours, channel);
    });
    event_loop.context().channel(channel).unwrap().disable_reading();
    theirs.write_all(b"x").unwrap();
    (0..3).for_each(|_| turn(&mut event_loop));
    assert_eq!(calls.get(), 0);
    event_loop.context().channel(channel).unwrap().enable_reading();
    turn_until(&mut event_loop, "the call", |_| calls.get() >= 1);
}

#[test]
fn writing_is_heard_of_only_when_asked_for_and_again_after_the_peer_has_read() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, mut theirs) = pair();
    let written = Rc::new(Cell::new(0));
    let writes = Rc::clone(&written);
    let (channel, calls) = count_calls(&mut event_loop, ours, move |ours, channel| {
        if !channel.is_writing() {
            return channel.clear_readable();
        }
        match ours.write(&[0; 4096]) {
            Ok(n) => writes.set(writes.get() + n),
            Err(_) => channel.clear_writable(),
        }
    });
    (0..3).for_each(|_| turn(&mut event_loop));
    assert_eq!(calls.get(), 0, "a new channel is interested in reading only");
    event_loop.context().channel(channel).unwrap().enable_writing();
    let is_full = |event_loop: &mut EventLoop| !event_loop.context().channel(channel).unwrap().is_writable();
    turn_until(&mut event_loop, "a full socket", is_full);
    let before = calls.get();
    (0..10).for_each(|_| turn(&mut event_loop));
    assert_eq!(calls.get(), before);
    let full = written.get();
    let mut sink = vec![0; full];
    theirs.read_exact(&mut sink).unwrap();
    turn_until(&mut event_loop, "more room", |_| written.get() > full);
    event_loop.context().channel(channel).unwrap().disable_writing();
    turn(&mut event_loop);
    let before = calls.get();
    (0..10).for_each(|_| turn(&mut event_loop));
    assert_eq!(calls.get(), before);
}

#[test]
fn a_source_that_closes_itself_is_called_no_more_and_dropped_with_its_descriptor() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"more than one").unwrap();
    let dropped = Rc::new(Cell::new(false));
    let drops = Rc::clone(&dropped);
    let guard = OnDrop(move || drops.set(true));
    let was_dropped = Rc::clone(&dropped);
    let (id, calls) = count_calls(&mut event_loop, ours, move |ours, channel| {
        let _guard = &guard;
        channel.close();
        channel.close();
        // The view names nothing any more, and both that it was given are still there.
        assert!(!channel.is_readable() && !channel.is_reading());
        channel.enable_writing();
        assert!(ours.read(&mut [0]).is_ok());
        assert!(!was_dropped.get());
    });
    turn_until(&mut event_loop, "the call", |_| calls.get() > 0);
    turn(&mut event_loop);
    assert!(dropped.get());
    assert!(event_loop.context().channel(id).is_none());
    assert_eq!(theirs.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    (0..3).for_each(|_| turn(&mut event_loop));
    assert_eq!((calls.get(), event_loop.handle().figures().panics), (1, 0));
}

#[test]
fn an_event_for_a_channel_closed_in_the_same_batch_is_dropped() {
    let mut event_loop = EventLoop::new().unwrap();
    let channels: Rc<RefCell<Vec<ChannelId>>> = Rc::default();
    let mut peers = Vec::new();
    let calls = Rc::new(Cell::new(0));
    for number in 0..2 {
        let (ours, theirs) = pair();
        peers.push(theirs);
        let (all, count) = (Rc::clone(&channels), Rc::clone(&calls));
        let source = move |_: &mut UnixStream, channel: &mut Channel<'_>| {
            count.set(count.get() + 1);
            let other = all.borrow()[1 - number];
            channel.context().channel(other).unwrap().close();
            // Whatever gets the freed slot must not get the event that was meant for its predecessor.
            let (ours, theirs) = pair();
            channel.context().local::<Vec<UnixStream>>().push(theirs);
            let never = |_: &mut UnixStream, _: &mut Channel<'_>| unreachable!("nothing happened to it");
            channel.context().register(ours, never).unwrap();
            channel.clear_readable();
        };
        channels.borrow_mut().push(event_loop.context().register(ours, source).unwrap());
    }
    for peer in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    turn(&mut event_loop);
    assert_eq!(calls.get(), 1, "whichever came first has closed the other one");
    (0..3).for_each(|_| turn(&mut event_loop));
    let figures = event_loop.handle().figures();
    assert_eq!((figures.stale_events, figures.panics, figures.channels), (1, 0, 2));
}

#[test]
fn a_channel_closed_while_it_waits_on_the_ready_list_is_not_called() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"x").unwrap();
    let (id, calls) = count_calls(&mut event_loop, ours, |_, _| {});
    turn_until(&mut event_loop, "the first call", |_| calls.get() > 0);
    // It has not drained, so it is on the list.
    let before = calls.get();
    event_loop.context().channel(id).unwrap().close();
    (0..3).for_each(|_| turn(&mut event_loop));
    assert_eq!(calls.get(), before);
}

#[test]
fn a_hang_up_is_reported_once_though_nothing_is_wanted() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, theirs) = pair();
    let seen = Rc::new(Cell::new(false));
    let sees = Rc::clone(&seen);
    let (id, calls) = count_calls(&mut event_loop, ours, move |_, channel| {
        assert!(!channel.is_reading() && !channel.is_writing());
        sees.set(channel.is_hung_up() && channel.is_read_closed());
    });
    event_loop.context().channel(id).unwrap().disable_reading();
    (0..3).for_each(|_| turn(&mut event_loop));
    assert_eq!(calls.get(), 0);
    drop(theirs);
    turn_until(&mut event_loop, "the hang-up", |_| calls.get() > 0);
    (0..10).for_each(|_| turn(&mut event_loop));
    assert!(seen.get());
    assert_eq!(calls.get(), 1);
}

#[test]
fn an_error_without_a_hang_up_is_reported_once_though_nothing_is_wanted() {
    // A pipe that nobody reads is in error, and no more than that.
    let (reader, writer) = io::pipe().unwrap();
    let mut event_loop = EventLoop::new().unwrap();
    let calls = Rc::new(Cell::new(0));
    let count = Rc::clone(&calls);
    let source = move |_: &mut io::PipeWriter, channel: &mut Channel<'_>| {
        assert!(channel.is_hung_up() && channel.is_writable());
        count.set(count.get() + 1);
    };
    let id = event_loop.context().register(writer, source).unwrap();
    event_loop.context().channel(id).unwrap().disable_reading();
    turn(&mut event_loop);
    assert_eq!(calls.get(), 0);
    drop(reader);
    turn_until(&mut event_loop, "the error", |_| calls.get() > 0);
    (0..3).for_each(|_| turn(&mut event_loop));
    assert_eq!(calls.get(), 1);
}

#[test]
fn the_peers_half_close_shows_as_read_closed_and_is_no_hang_up() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, theirs) = pair();
    let (id, calls) = count_calls(&mut event_loop, ours, |_, channel| channel.disable_reading());
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    turn_until(&mut event_loop, "the half-close", |_| calls.get() > 0);
    let channel = event_loop.context().channel(id).unwrap();
    assert!(channel.is_read_closed() && channel.is_readable() && !channel.is_hung_up());
}

#[test]
fn out_of_band_data_shows_as_priority() {
    let mut event_loop = EventLoop::new().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    let (id, calls) = count_calls(&mut event_loop, ours, |_, channel| channel.disable_reading());
    socket2::SockRef::from(&theirs).send_out_of_band(b"!").unwrap();
    turn_until(&mut event_loop, "the call", |_| calls.get() > 0);
    let mut channel = event_loop.context().channel(id).unwrap();
    assert!(channel.is_priority());
    channel.clear_readable();
    assert!(!channel.is_priority());
}

#[test]
fn a_duplicate_that_lives_elsewhere_does_not_report_after_the_close() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, mut theirs) = pair();
    let duplicate = ours.try_clone().unwrap();
    let (id, calls) = count_calls(&mut event_loop, ours, |_, channel| channel.clear_readable());
    turn(&mut event_loop);
    event_loop.context().channel(id).unwrap().close();
    turn(&mut event_loop);
    let before = event_loop.handle().figures();
    theirs.write_all(b"x").unwrap();
    (0..3).for_each(|_| turn(&mut event_loop));
    let after = event_loop.handle().figures();
    assert_eq!((after.events, after.stale_events), (before.events, before.stale_events));
    assert_eq!(calls.get(), 0);
    // And it can be registered anew.
    let (_, calls) = count_calls(&mut event_loop, duplicate, |ours, channel| {
        read_byte(ours, channel);
    });
    turn_until(&mut event_loop, "the duplicate's own event", |_| calls.get() > 0);
}

#[test]
fn a_plain_file_cannot_be_registered_and_is_dropped_with_its_source() {
    let mut event_loop = EventLoop::new().unwrap();
    let dropped = Rc::new(Cell::new(false));
    let drops = Rc::clone(&dropped);
    let guard = OnDrop(move || drops.set(true));
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    let source = move |_: &mut File, _: &mut Channel<'_>| assert!(size_of_val(&guard) < 100);
    let error = event_loop.context().register(file, source).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert!(dropped.get());
    turn(&mut event_loop);
    assert_eq!(event_loop.handle().figures().channels, 0);
}

#[test]
fn a_descriptor_can_be_registered_once_only() {
    /// Two devices with one descriptor.
    #[derive(Clone)]
    struct Shared(Rc<OwnedFd>);

    impl AsFd for Shared {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    let mut event_loop = EventLoop::new().unwrap();
    let (ours, mut theirs) = pair();
    let device = Shared(Rc::new(ours.into()));
    let (_, calls) = count_calls(&mut event_loop, device.clone(), |_, channel| channel.clear_readable());
    let nothing = |_: &mut Shared, _: &mut Channel<'_>| unreachable!("it was not registered");
    let error = event_loop.context().register(device, nothing).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    theirs.write_all(b"x").unwrap();
    turn_until(&mut event_loop, "the first one's event", |_| calls.get() > 0);
}

/// A source that another thread talks to.
struct Counter {
    calls: usize,
    told: Vec<u32>,
}

impl EventSource<UnixStream> for Counter {
    fn on_ready(&mut self, ours: &mut UnixStream, channel: &mut Channel<'_>) {
        self.calls += 1;
        read_byte(ours, channel);
    }
}

#[test]
fn another_thread_reaches_a_source_by_its_handle() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, mut theirs) = pair();
    let channel = event_loop.context().register(ours, Counter { calls: 0, told: Vec::new() }).unwrap();
    let handle = event_loop.context().source_handle::<Counter>(channel).unwrap();
    let wrong_type = event_loop.context().source_handle::<String>(channel).unwrap();
    theirs.write_all(b"x").unwrap();
    let (answer, answers) = std::sync::mpsc::channel();
    let posted = std::thread::spawn(move || {
        wrong_type.run(|_, _| unreachable!("the source is no string")).unwrap();
        for number in 0..3 {
            handle.run(move |counter, _| counter.told.push(number)).unwrap();
        }
        handle.run(move |counter, _| answer.send(counter.told.clone()).unwrap()).unwrap();
        assert!(handle.loop_handle().is_alive());
        handle
    });
    turn_until(&mut event_loop, "the answer", |_| match answers.try_recv() {
        Ok(told) => {
            assert_eq!(told, [0, 1, 2]);
            true
        }
        Err(_) => false,
    });
    let handle = posted.join().unwrap();
    // Gone, and its index reused: the handle reaches nobody.
    event_loop.context().channel(channel).unwrap().close();
    turn(&mut event_loop);
    let (ours, _theirs) = pair();
    event_loop.context().register(ours, Counter { calls: 0, told: Vec::new() }).unwrap();
    handle.run(|_, _| unreachable!("the source is gone")).unwrap();
    (0..3).for_each(|_| turn(&mut event_loop));
    assert_eq!(event_loop.handle().figures().panics, 0);
    assert!(event_loop.context().source_handle::<Counter>(channel).is_none());
}

#[test]
fn a_panic_for_a_source_that_was_sent_a_task_closes_it() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, mut theirs) = pair();
    let channel = event_loop.context().register(ours, Counter { calls: 0, told: Vec::new() }).unwrap();
    let handle = event_loop.context().source_handle::<Counter>(channel).unwrap();
    handle.run(|_, _| panic!("on purpose")).unwrap();
    turn_until(&mut event_loop, "the panic", |event_loop| event_loop.handle().figures().panics == 1);
    turn(&mut event_loop);
    assert!(event_loop.context().channel(channel).is_none());
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
    // What a task owns that can't be run any more is dropped, and may panic at that.
    let bomb = OnDrop(|| panic!("on purpose, in a destructor"));
    handle.run(move |_, _| drop(bomb)).unwrap();
    turn_until(&mut event_loop, "the destructor", |event_loop| event_loop.handle().figures().panics == 2);
}

#[test]
fn a_source_registered_in_a_callback_is_called_in_the_same_or_the_next_turn() {
    let mut event_loop = EventLoop::new().unwrap();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"x").unwrap();
    let calls = Rc::new(Cell::new(0));
    let count = Rc::clone(&calls);
    event_loop.context().run_later(move |cx| {
        cx.register(ours, move |_: &mut UnixStream, channel: &mut Channel<'_>| {
            count.set(count.get() + 1);
            channel.clear_readable();
        })
        .unwrap();
    });
    turn(&mut event_loop);
    turn(&mut event_loop);
    assert_eq!(calls.get(), 1);
}

#[test]
fn ten_thousand_channels_come_and_go_without_leaving_anything() {
    let mut event_loop = EventLoop::new().unwrap();
    let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let alive = Rc::new(());
    let mut last = None;
    for round in 0..10_000 {
        let (ours, theirs) = pair();
        let kept = Rc::clone(&alive);
        let source = move |_: &mut UnixStream, channel: &mut Channel<'_>| {
            assert_eq!(*kept, ());
            channel.close();
        };
        let id = event_loop.context().register(ours, source).unwrap();
        assert_ne!(last.replace(id), Some(id));
        drop(theirs);
        if round % 100 == 99 {
            turn_until(&mut event_loop, "the hang-ups", |_| Rc::strong_count(&alive) == 1);
        }
    }
    // Other tests of this program run beside this one, with a few descriptors each.
    let after = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(after < before + 500, "{before} descriptors before, {after} after");
    turn(&mut event_loop);
    assert_eq!(event_loop.handle().figures().channels, 0);
}
