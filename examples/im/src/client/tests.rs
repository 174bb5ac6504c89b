use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::Buffer;
use campana::codec::Codec;
use campana::testing::{Peer, TestLoop};

use super::session::ClientSession;
use super::*;
use crate::protocol::{
    Acknowledge, CaughtUp, ClientType, Command, Compress, Conversation, Done, ErrorCode, Failure, FindUsers,
    Found, FrameCodec, Heartbeat, KickReason, Kicked, LogIn, LoggedIn, MAX_FRAME, Message, Outgoing, Profile,
    Send, Sent, Status, UserId,
};

type Log = Arc<Mutex<Vec<String>>>;

/// Writes down what it is told, and acknowledges messages.
struct Recorder {
    log: Log,
}

impl Recorder {
    fn note(&self, text: impl Into<String>) {
        self.log.lock().unwrap().push(text.into());
    }
}

impl ClientHandler for Recorder {
    fn credentials(&self) -> Option<LogIn> {
        let (name, password) = ("ann".to_owned(), "secret1".to_owned());
        Some(LogIn { name, password, client: ClientType::Pc, status: Status::Online })
    }

    fn on_connected(&mut self, _cx: &mut ClientContext<'_, '_, Self>) {
        self.note("connected");
    }

    fn on_logged_in(
        &mut self,
        _cx: &mut ClientContext<'_, '_, Self>,
        answer: Result<LoggedIn, RequestError>,
    ) {
        self.note(match answer {
            Ok(logged_in) => format!("logged in {}", logged_in.profile.name),
            Err(error) => format!("not logged in: {error}"),
        });
    }

    fn on_message(&mut self, cx: &mut ClientContext<'_, '_, Self>, message: Message, arrival: Arrival) {
        self.note(format!("message {} {arrival:?}", message.position));
        cx.acknowledge(message.position);
    }

    fn on_event(&mut self, _cx: &mut ClientContext<'_, '_, Self>, event: ServerEvent) {
        self.note(format!("{event:?}"));
    }

    fn on_notified(&mut self, cx: Option<&mut ClientContext<'_, '_, Self>>) {
        self.note(format!("notified, connected: {}", cx.is_some()));
    }

    fn on_disconnected(&mut self, _context: &mut LoopContext, reason: &campana::CloseReason, again: bool) {
        self.note(format!("disconnected: {reason}, again: {again}"));
    }
}

/// A client on a loop of its own, and this end of its connection.
struct Fixture {
    test: TestLoop<Sessions<ClientSession<Recorder>>>,
    shared: Arc<Shared<Recorder>>,
    log: Log,
    peer: Peer,
}

/// What a client has sent: command, `seq`, body.
type Sends = Vec<(Command, u32, String)>;

impl Fixture {
    fn new() -> Self {
        Self::with(false)
    }

    fn with(compress: bool) -> Self {
        let log = Log::default();
        let shared = Arc::new(Shared::new(Recorder { log: Arc::clone(&log) }, compress));
        let of_sessions = Arc::clone(&shared);
        let mut test = TestLoop::sessions(service(), move |_| ClientSession::new(&of_sessions));
        let peer = test.connect();
        test.run_until_idle();
        Self { test, shared, log, peer }
    }

    /// A client that has logged in, which its log doesn't tell any more.
    fn logged_in() -> Self {
        let mut fixture = Self::new();
        fixture.sent();
        fixture.answer_log_in();
        fixture.log();
        fixture
    }

    fn answer_log_in(&mut self) {
        let name = "ann".to_owned();
        let profile = Profile { user: UserId(1), nickname: name.clone(), name, signature: String::new() };
        self.say(Outgoing::reply::<LogIn>(1, &LoggedIn { profile, acknowledged: 0, time: 0 }));
    }

    fn say(&mut self, message: Outgoing<'_>) {
        let mut wire = Buffer::new();
        FrameCodec::default().encode(message, &mut wire).unwrap();
        self.peer.send(wire.peek());
        self.test.run_until_idle();
    }

    fn deliver(&mut self, position: i64) {
        self.say(Outgoing::event(&Message {
            position,
            conversation: Conversation::User(UserId(2)),
            number: position,
            sender: UserId(2),
            client: ClientType::Web,
            client_id: position.to_string(),
            time: 0,
            text: "hello".to_owned(),
        }));
    }

    fn sent(&self) -> Sends {
        let mut input = Buffer::from(&self.peer.receive()[..]);
        let (mut codec, mut sent) = (FrameCodec::default(), Sends::new());
        while let Some(frame) = codec.decode(&mut input).unwrap() {
            sent.push((frame.command().unwrap(), frame.seq, String::from_utf8_lossy(frame.body).into()));
        }
        sent
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    fn run(&mut self, run: impl FnOnce(&mut ClientContext<'_, '_, Recorder>) + std::marker::Send + 'static) {
        let Self { test, peer, .. } = self;
        assert!(test.with_session(peer, |session, cx| session.with(cx, |_, cx| run(cx))));
        test.run_until_idle();
    }

    fn reconnect(&mut self) {
        self.peer.close();
        self.test.run_until_idle();
        self.peer = self.test.connect();
        self.test.run_until_idle();
    }
}

#[test]
fn credentials_are_used_on_each_new_connection() {
    let mut fixture = Fixture::new();
    for _ in 0..2 {
        let sent = fixture.sent();
        assert_eq!((sent[0].0, sent[0].1, sent.len()), (Command::LogIn, 1, 1));
        fixture.answer_log_in();
        fixture.reconnect();
    }
    let once = ["connected", "logged in ann", "disconnected: closed by the peer, again: true"];
    assert_eq!(fixture.log(), [&once[..], &once, &["connected"]].concat());
}

#[test]
fn a_log_in_that_fails_is_told() {
    let mut fixture = Fixture::new();
    fixture.say(Outgoing::failure(1, &Failure::new(ErrorCode::WrongPassword, "no such user")));
    assert_eq!(fixture.log(), ["connected", "not logged in: no such user (WrongPassword)"]);
}

#[test]
fn replies_find_their_requests_in_any_order() {
    let mut fixture = Fixture::logged_in();
    let find = |log: Log| {
        move |cx: &mut ClientContext<'_, '_, Recorder>| {
            for name in ["a", "b"] {
                let (log, find) = (Arc::clone(&log), FindUsers { user: None, name: Some(name.to_owned()) });
                cx.request(&find, move |_, _, reply| {
                    log.lock().unwrap().push(format!(
                        "{name}: {}",
                        reply.map_or_else(|e| e.to_string(), |f| f.users.len().to_string())
                    ));
                });
            }
        }
    };
    fixture.run(find(Arc::clone(&fixture.log)));
    let seqs: Vec<u32> = fixture.sent().iter().map(|(_, seq, _)| *seq).collect();
    fixture.say(Outgoing::reply::<FindUsers>(seqs[1], &Found { users: vec![] }));
    fixture.say(Outgoing::failure(seqs[0], &Failure::new(ErrorCode::Busy, "later")));
    assert_eq!(fixture.log(), ["b: 0", "a: later (Busy)"]);
}

#[test]
fn requests_end_with_their_connection_before_the_handler_is_told_of_that() {
    let mut fixture = Fixture::logged_in();
    let log = Arc::clone(&fixture.log);
    fixture.run(move |cx| {
        cx.request(&Heartbeat {}, move |_, _, reply| log.lock().unwrap().push(format!("{reply:?}")));
    });
    fixture.reconnect();
    assert_eq!(fixture.log(), ["Err(Lost)", "disconnected: closed by the peer, again: true", "connected"]);
}

#[test]
fn a_request_that_is_too_long_fails_and_the_connection_stays() {
    let mut fixture = Fixture::logged_in();
    let log = Arc::clone(&fixture.log);
    fixture.run(move |cx| {
        let conversation = Conversation::User(UserId(2));
        let send = Send { conversation, client_id: "1".to_owned(), text: "x".repeat(MAX_FRAME) };
        let is_bad =
            |reply: Result<Sent, RequestError>| reply.unwrap_err().code() == Some(ErrorCode::BadRequest);
        cx.request(&send, move |_, _, reply| log.lock().unwrap().push(format!("{}", is_bad(reply))));
    });
    assert_eq!(fixture.log(), ["true"]);
    assert!(!fixture.peer.is_read_closed());
}

#[test]
fn messages_are_acknowledged_together_and_what_comes_again_is_told_apart() {
    let mut fixture = Fixture::logged_in();
    for position in [4, 6, 9] {
        fixture.deliver(position);
    }
    assert_eq!(fixture.sent(), []);
    fixture.test.advance(Duration::from_millis(50));
    assert_eq!(fixture.sent(), [(Command::Acknowledge, 2, r#"{"position":9}"#.to_owned())]);
    fixture.say(Outgoing::reply::<Acknowledge>(2, &Done {}));
    fixture.reconnect();
    fixture.deliver(9);
    fixture.deliver(10);
    fixture.deliver(10);
    fixture.say(Outgoing::event(&CaughtUp { position: 10 }));
    assert_eq!(
        fixture.log(),
        [
            "message 4 New",
            "message 6 New",
            "message 9 New",
            "disconnected: closed by the peer, again: true",
            "connected",
            "message 9 Again",
            "message 10 New",
            "message 10 OutOfOrder",
            "CaughtUp(CaughtUp { position: 10 })",
        ]
    );
}

#[test]
fn requests_wait_for_the_answer_about_compression() {
    for refused in [false, true] {
        let mut fixture = Fixture::with(true);
        fixture.answer_log_in();
        fixture.run(|cx| cx.request(&Heartbeat {}, |_, _, _| {}));
        let sent: Vec<_> = fixture.sent().into_iter().map(|(command, seq, _)| (command, seq)).collect();
        assert_eq!(sent, [(Command::LogIn, 1), (Command::Compress, 2)]);
        assert_eq!(fixture.log(), ["connected"]);
        if refused {
            fixture.say(Outgoing::failure(2, &Failure::new(ErrorCode::NotSupported, "")));
            assert_eq!(fixture.sent(), [(Command::Heartbeat, 3, "{}".to_owned())]);
        } else {
            fixture.say(Outgoing::reply::<Compress>(2, &Done {}));
            // The beginning of a stream in the format of zlib.
            assert_eq!(fixture.peer.receive()[0], 0x78);
        }
        assert_eq!(fixture.log(), ["logged in ann"]);
    }
}

#[test]
fn a_client_with_nothing_to_say_sends_heartbeats() {
    let mut fixture = Fixture::logged_in();
    fixture.test.advance(Duration::from_secs(9));
    assert_eq!(fixture.sent(), []);
    fixture.test.advance(Duration::from_secs(2));
    assert_eq!(fixture.sent(), [(Command::Heartbeat, 2, "{}".to_owned())]);
}

#[test]
fn a_server_that_says_nothing_is_left() {
    let mut fixture = Fixture::logged_in();
    fixture.test.advance(Duration::from_secs(29));
    assert_eq!(fixture.log().len(), 0);
    fixture.test.advance(Duration::from_secs(1));
    assert_eq!(fixture.log(), ["disconnected: timed out: the server says nothing, again: true"]);
}

#[test]
fn who_is_kicked_does_not_come_back() {
    let mut fixture = Fixture::logged_in();
    fixture.say(Outgoing::event(&Kicked { reason: KickReason::LoggedInElsewhere }));
    fixture.peer.close();
    fixture.test.run_until_idle();
    let log = fixture.log();
    assert_eq!(log[0], "Kicked(Kicked { reason: LoggedInElsewhere })");
    assert_eq!(log[1], "disconnected: closed by the peer, again: false");
}

#[test]
fn an_event_that_is_not_one_ends_the_connection_and_an_unknown_one_does_not() {
    let mut fixture = Fixture::logged_in();
    fixture.peer.send(b"\0\0\0\x06\x7f\xff\0\0\0\0");
    fixture.test.run_until_idle();
    assert!(!fixture.peer.is_read_closed());
    fixture.say(Outgoing::encoded(Command::Message, 0, b"{}"));
    assert!(fixture.peer.is_read_closed());
}

#[test]
fn the_handler_is_kept_between_connections() {
    let mut fixture = Fixture::logged_in();
    assert!(fixture.shared.lock(&fixture.shared.parked).is_none());
    fixture.peer.close();
    fixture.test.run_until_idle();
    assert!(fixture.shared.lock(&fixture.shared.current).is_none());
    fixture.shared.with_parked(|handler| handler.on_notified(None));
    assert_eq!(fixture.log()[1], "notified, connected: false");
}
