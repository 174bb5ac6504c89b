use super::*;
use crate::EventLoop;
use crate::connection::admission::Limits;
use crate::socket::ListenOptions;

/// An acceptor on a loop that is never turned, so that what it asks of the loop stays to be looked at.
struct Case {
    event_loop: EventLoop,
    acceptor: Acceptor,
    gate: Gate,
}

impl Case {
    fn new(shed_after: Duration) -> Self {
        let mut event_loop = EventLoop::new().unwrap();
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &ListenOptions::new()).unwrap();
        let acceptor = Acceptor::new(event_loop.context(), 0, 0, listener).unwrap();
        let gate = Gate::new(Limits { connections: 10, per_address: None, shed_after });
        Self { event_loop, acceptor, gate }
    }

    /// What follows when accept answers `errno`. The listener was readable before.
    fn take(&mut self, errno: Errno) -> Next {
        let context = self.event_loop.context();
        context.channel_set(self.acceptor.channel, Flags::READABLE, true);
        self.acceptor.take_error(context, &self.gate, &errno.into())
    }

    fn is_readable(&mut self) -> bool {
        self.event_loop.context().channel_has(self.acceptor.channel, Flags::READABLE)
    }

    fn errors(&self) -> u64 {
        self.gate.figures().accept_errors
    }
}

#[test]
fn an_error_of_one_connection_is_counted_and_the_next_one_is_accepted_at_once() {
    let mut case = Case::new(Duration::from_secs(2));
    let of_one_connection = [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::PROTO,
        Errno::PERM,
        Errno::NETDOWN,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
    ];
    for errno in of_one_connection {
        assert!(matches!(case.take(errno), Next::GoOn), "{errno:?}");
        assert!(case.is_readable(), "{errno:?}");
    }
    assert_eq!(case.errors(), of_one_connection.len() as u64);
    assert!(case.acceptor.retry.is_none() && case.acceptor.exhausted_since.is_none());
}

#[test]
fn any_other_error_is_counted_and_accepting_is_tried_again_by_one_timer() {
    let of_the_system = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::NOSR,
        Errno::INVAL,
        Errno::ACCESS,
        Errno::BADF,
        Errno::IO,
    ];
    for errno in of_the_system {
        let mut case = Case::new(Duration::from_secs(2));
        for _ in 0..3 {
            assert!(matches!(case.take(errno), Next::Wait), "{errno:?}");
            assert!(!case.is_readable(), "{errno:?}: the loop would spin");
        }
        assert_eq!(case.errors(), 3);
        let timer = case.acceptor.retry.expect("there will be no other event");
        // The timer was set once, and makes the listener readable again.
        case.acceptor.retry(case.event_loop.context());
        assert!(case.is_readable() && case.event_loop.context().cancel(timer));
        case.event_loop.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(case.event_loop.handle().figures().timers_pending, 0);
    }
}

#[test]
fn nobody_to_accept_is_no_error_and_needs_no_timer() {
    let mut case = Case::new(Duration::from_secs(2));
    assert!(matches!(case.take(Errno::WOULDBLOCK), Next::Wait));
    assert!(!case.is_readable() && case.acceptor.retry.is_none());
    assert_eq!(case.errors(), 0);
}

#[test]
fn an_exhaustion_is_over_when_nobody_waits_any_more() {
    let mut case = Case::new(Duration::from_secs(2));
    case.take(Errno::MFILE);
    assert!(case.acceptor.exhausted_since.is_some());
    case.acceptor.reserve = None;
    case.take(Errno::WOULDBLOCK);
    assert!(case.acceptor.exhausted_since.is_none(), "the next one would be counted from this one");
    assert!(case.acceptor.reserve.is_some(), "there would be nothing to shed with");
}

#[test]
fn only_a_lack_of_descriptors_makes_room_by_the_reserve() {
    for (errno, is_shed) in
        [(Errno::MFILE, true), (Errno::NFILE, true), (Errno::NOMEM, false), (Errno::INVAL, false)]
    {
        let mut case = Case::new(Duration::ZERO);
        let address = case.acceptor.listener.local_address().unwrap().as_inet().unwrap();
        let _waiting: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        case.take(errno);
        assert_eq!(case.gate.figures().shed, if is_shed { 3 } else { 0 }, "{errno:?}");
        assert!(case.acceptor.reserve.is_some());
    }
}
