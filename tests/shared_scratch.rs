//! The buffer that all connections of a loop read into: what a handler does to it, and leaves in it, is its connection's alone.

use std::mem;

use campana::socket::Address;
use campana::testing::{Peer, TestLoop};
use campana::{Buffer, ConnectionId, Handler, TcpConnection};

/// What `on_data` does, besides writing down what it is handed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Take,
    Leave,
    /// Takes one byte of each call.
    Nibble,
    /// Panics with the input where it is.
    Panic,
    /// Exchanges the buffer for one with other content, which is then its own input.
    Swap,
    /// Takes the buffer away altogether.
    Keep,
    /// Puts more behind the input and leaves it.
    Grow,
    PauseAndLeave,
    /// Takes its input, and lets another connection read on.
    ResumeOther,
}

struct Subject {
    /// What the connections do by turns, for each the last of them from then on.
    acts: Vec<(ConnectionId, Vec<Act>)>,
    log: Vec<(ConnectionId, Vec<u8>)>,
    kept: Vec<Buffer>,
    other: Option<ConnectionId>,
}

impl Subject {
    fn new() -> Self {
        Self { acts: Vec::new(), log: Vec::new(), kept: Vec::new(), other: None }
    }

    fn next(&mut self, id: ConnectionId) -> Act {
        match self.acts.iter_mut().find(|(of, _)| *of == id) {
            Some((_, acts)) if acts.len() > 1 => acts.remove(0),
            Some((_, acts)) => acts[0],
            None => Act::Take,
        }
    }
}

impl Handler for Subject {
    type State = ();

    fn on_connect(&mut self, _: &mut TcpConnection<'_>) {}

    fn on_data(&mut self, (): &mut (), conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        let id = conn.id();
        self.log.push((id, input.peek().to_vec()));
        match self.next(id) {
            Act::Take => input.retrieve_all(),
            Act::Leave => {}
            Act::Nibble => input.retrieve(1),
            Act::Panic => std::panic::resume_unwind(Box::new("meant")),
            Act::Swap => *input = Buffer::from(&b"swapped in"[..]),
            Act::Keep => self.kept.push(mem::take(input)),
            Act::Grow => input.append(&[b'+'; 300_000]),
            Act::PauseAndLeave => conn.pause_reading(),
            Act::ResumeOther => {
                input.retrieve_all();
                let other = self.other.unwrap();
                conn.peer(other).unwrap().resume_reading();
            }
        }
    }

    fn on_read_closed(&mut self, (): &mut (), conn: &mut TcpConnection<'_>) {
        self.log.push((conn.id(), conn.unread_input().to_vec()));
    }
}

struct Trial {
    test: TestLoop<Subject>,
}

impl Trial {
    fn new() -> Self {
        Self { test: TestLoop::new(Subject::new()).allow_panics() }
    }

    fn connect(&mut self, acts: &[Act]) -> Peer {
        let peer = self.test.connect();
        self.test.handler().acts.push((peer.id(), acts.to_vec()));
        peer
    }

    /// What `on_data` of a connection was handed since the last call, and what was left at the end.
    fn handed(&mut self, peer: &Peer) -> Vec<Vec<u8>> {
        let log = &mut self.test.handler().log;
        let (of_peer, others) = mem::take(log).into_iter().partition(|(id, _)| *id == peer.id());
        *log = others;
        of_peer.into_iter().map(|(_, bytes): (_, Vec<u8>)| bytes).collect()
    }
}

#[test]
fn what_a_panicking_handler_had_in_hands_is_seen_by_no_other_connection() {
    // Little, for which the shared buffer is used on, and much, which is read behind in place.
    for unread in [0, 100, 100_000] {
        let mut trial = Trial::new();
        let leaving = trial.connect(&[Act::Leave]);
        leaving.send(vec![b'.'; unread]);
        trial.test.run_until_idle();
        trial.handed(&leaving);
        let panicking = trial.connect(&[Act::Panic]);

        panicking.send("secret");
        // It is called, and finds nothing.
        leaving.report_readiness();
        trial.test.run_until_idle();
        assert_eq!(trial.handed(&panicking), [b"secret"]);
        assert!(trial.handed(&leaving).is_empty());

        leaving.send("!");
        trial.test.run_until_idle();
        let all = [vec![b'.'; unread], b"!".to_vec()].concat();
        assert_eq!(trial.handed(&leaving), [&all[..]]);
        leaving.shutdown();
        trial.test.run_until_idle();
        assert_eq!(trial.handed(&leaving), [all]);
    }
}

#[test]
fn a_packet_after_a_panic_has_nothing_of_what_was_there_before() {
    let mut trial = Trial::new();
    let packets = trial.test.connect_packet();
    let panicking = trial.connect(&[Act::Panic]);
    panicking.send("secret");
    trial.test.turn();
    for packet in ["", "packet"] {
        packets.send(packet);
    }
    trial.test.run_until_idle();
    assert_eq!(trial.handed(&packets), [&b""[..], b"packet"]);
}

#[test]
fn a_buffer_that_was_exchanged_is_the_input_from_then_on() {
    let mut trial = Trial::new();
    let swapping = trial.connect(&[Act::Swap, Act::Take]);
    let other = trial.connect(&[Act::Take]);
    swapping.send("first");
    other.send("other");
    trial.test.run_until_idle();
    swapping.send(", second");
    trial.test.run_until_idle();
    assert_eq!(trial.handed(&swapping), [&b"first"[..], b"swapped in, second"]);
    assert_eq!(trial.handed(&other), [b"other"]);
}

#[test]
fn a_buffer_that_was_taken_away_is_replaced() {
    let mut trial = Trial::new();
    let keeping = trial.connect(&[Act::Keep]);
    for _ in 0..3 {
        keeping.send("mine");
        trial.test.run_until_idle();
    }
    assert_eq!(trial.handed(&keeping), [b"mine"; 3]);
    assert!(trial.test.handler().kept.iter().all(|buffer| buffer.peek() == b"mine"));
}

#[test]
fn a_buffer_that_was_grown_is_read_behind() {
    let mut trial = Trial::new();
    let growing = trial.connect(&[Act::Grow, Act::Take]);
    let other = trial.connect(&[Act::Take]);
    growing.send("x");
    other.send("other");
    trial.test.run_until_idle();
    growing.send("y");
    trial.test.run_until_idle();
    let grown = [&b"x"[..], &[b'+'; 300_000], b"y"].concat();
    assert_eq!(trial.handed(&growing), [b"x".to_vec(), grown]);
    assert_eq!(trial.handed(&other), [b"other"]);
}

#[test]
fn input_that_is_nibbled_at_comes_again_with_what_is_new_and_at_its_end_is_still_there() {
    for address in ["192.0.2.7:5000".parse::<Address>().unwrap(), Address::unix_abstract("peer").unwrap()] {
        let mut trial = Trial::new();
        let peer = trial.test.connect_from(address);
        trial.test.handler().acts.push((peer.id(), vec![Act::Nibble]));
        for bytes in ["ab", "cd", "ef"] {
            peer.send(bytes);
            trial.test.run_until_idle();
        }
        assert_eq!(trial.handed(&peer), [&b"ab"[..], b"bcd", b"cdef"]);
        peer.shutdown();
        trial.test.run_until_idle();
        assert_eq!(trial.handed(&peer), [b"def"]);
    }
}

#[test]
fn another_connection_may_resume_one_that_paused_in_the_same_batch() {
    let mut trial = Trial::new();
    // Unread input alone, and with more behind it that was not read yet.
    for len in [10, 200_000] {
        let pausing = trial.connect(&[Act::PauseAndLeave, Act::Take]);
        let resuming = trial.connect(&[Act::ResumeOther]);
        trial.test.handler().other = Some(pausing.id());
        pausing.send(vec![b'.'; len]);
        resuming.send("go on");
        trial.test.run_until_idle();
        let handed = trial.handed(&pausing);
        assert!(handed.len() >= 2, "the rest has not come");
        // What was left comes again.
        assert_eq!(handed[1..].iter().map(Vec::len).sum::<usize>(), len);
    }
}

#[test]
fn a_paused_connection_that_is_called_for_its_output_still_finds_its_input_when_it_is_resumed() {
    let mut trial = Trial::new();
    let peer = trial.connect(&[Act::Take]);
    peer.set_window(0);
    let mut conn = trial.test.connection(peer.id()).unwrap();
    conn.send("output").unwrap();
    conn.pause_reading();
    trial.test.run_until_idle();
    peer.send("input");
    peer.set_window(100);
    trial.test.run_until_idle();
    assert_eq!(peer.receive(), b"output");
    assert!(trial.handed(&peer).is_empty());
    trial.test.connection(peer.id()).unwrap().resume_reading();
    trial.test.run_until_idle();
    assert_eq!(trial.handed(&peer), [b"input"]);
}

#[test]
fn what_a_handler_has_made_the_buffer_grow_to_is_given_up() {
    let mut trial = Trial::new();
    let growing = trial.connect(&[Act::Grow, Act::Take, Act::Keep]);
    for _ in 0..3 {
        growing.send("x");
        trial.test.run_until_idle();
    }
    let kept = &trial.test.handler().kept[0];
    assert!(kept.capacity() <= 256 * 1024, "{} bytes", kept.capacity());
}

#[test]
fn a_flood_of_empty_packets_ends_at_the_read_budget() {
    let mut trial =
        Trial { test: TestLoop::new(Subject::new()).configure(|config| config.read_budget = 640) };
    let peer = trial.test.connect_packet();
    (0..1000).for_each(|_| peer.send(""));
    trial.test.turn();
    let first = trial.handed(&peer).len();
    assert!((1..=100).contains(&first), "{first} in one turn");
    trial.test.run_until_idle();
    assert_eq!(first + trial.handed(&peer).len(), 1000);
}

#[test]
fn a_panic_in_a_task_after_input_was_handled_ends_no_connection() {
    let mut trial = Trial::new();
    let peer = trial.connect(&[Act::Take]);
    peer.send("as usual");
    trial.test.run_until_idle();
    let handler = trial.test.handler_handle();
    handler.run(|_, _| std::panic::resume_unwind(Box::new("meant"))).unwrap();
    trial.test.run_until_idle();
    assert!(peer.close_reason().is_none(), "{:?}", peer.close_reason());
    assert_eq!(trial.test.context().handle().figures().panics, 1);
}
