use std::time::{Duration, Instant};

use campana::Buffer;
use campana::codec::Codec;

use super::{TestServer, log_in, log_in_request, message};
use crate::protocol::{
    Acknowledge, ClientType, Command, Conversation, ErrorCode, FrameCodec, Friends, Heartbeat, LogIn,
    Outgoing, PresenceEvent, Send, SetStatus, Status, UserId,
};

fn encoded(message: Outgoing<'_>) -> Vec<u8> {
    let mut output = Buffer::new();
    FrameCodec::default().encode(message, &mut output).unwrap();
    output.peek().to_vec()
}

#[test]
fn a_command_before_log_in_is_refused_and_the_connection_stays() {
    let server = TestServer::start();
    server.register("ann");
    let mut client = server.connect();
    assert_eq!(client.request(&Friends {}).unwrap_err().code, ErrorCode::NotLoggedIn);
    client.request(&Heartbeat {}).unwrap();
    log_in(&mut client, "ann", ClientType::Pc);
    client.request(&Friends {}).unwrap();
}

#[test]
fn an_unknown_command_is_refused_and_the_connection_stays() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send_bytes(b"\0\0\0\x08\x7f\xff\0\0\0\x09{}");
    assert_eq!(client.answer::<Heartbeat>(9).unwrap_err().code, ErrorCode::UnknownCommand);
    client.send_bytes(&encoded(Outgoing::encoded(Command::CaughtUp, 8, b"{}")));
    assert_eq!(client.answer::<Heartbeat>(8).unwrap_err().code, ErrorCode::NotLoggedIn);
    client.request(&Heartbeat {}).unwrap();
}

#[test]
fn what_only_the_server_says_is_no_request() {
    let server = TestServer::start();
    server.register("ann");
    let mut client = server.log_in("ann", ClientType::Pc);
    for command in [Command::CaughtUp, Command::Message, Command::Stopping] {
        client.send_bytes(&encoded(Outgoing::encoded(command, 9, b"{}")));
        assert_eq!(client.answer::<Heartbeat>(9).unwrap_err().code, ErrorCode::UnknownCommand);
    }
}

#[test]
fn bad_json_is_refused_and_the_connection_stays() {
    let server = TestServer::start();
    let mut client = server.connect();
    for body in [&b"{"[..], b"[]", b"\xff", b"{\"name\":7}"] {
        client.send_bytes(&encoded(Outgoing::encoded(Command::LogIn, 9, body)));
        assert_eq!(client.answer::<LogIn>(9).unwrap_err().code, ErrorCode::BadRequest, "{body:?}");
    }
    client.request(&Heartbeat {}).unwrap();
}

#[test]
fn a_length_that_is_no_frames_closes_the_connection() {
    let server = TestServer::start();
    for length in [0_u32, 5, 4097, 1 << 20, i32::MIN as u32, u32::MAX] {
        let mut client = server.connect();
        client.send_bytes(&length.to_be_bytes());
        client.assert_closed();
    }
}

#[test]
fn longer_frames_are_taken_after_log_in_up_to_their_own_limit() {
    let server = TestServer::start();
    let [mut ann, _bob] = server.friends("ann", "bob");
    let to_bob = Conversation::User(UserId(2));
    ann.request(&message(to_bob, "1", &"x".repeat(64 * 1024))).unwrap();
    let too_long = message(to_bob, "2", &"x".repeat(64 * 1024 + 1));
    assert_eq!(ann.request(&too_long).unwrap_err().code, ErrorCode::BadRequest);
    ann.send_bytes(&(1024 * 1024 + 1_u32).to_be_bytes());
    ann.assert_closed();
}

#[test]
fn a_heartbeat_is_answered_with_its_number() {
    let server = TestServer::start();
    let mut client = server.connect();
    for seq in [7, u32::MAX, 0x8000_0000] {
        client.send_bytes(&encoded(Outgoing::request(seq, &Heartbeat {})));
        client.answer::<Heartbeat>(seq).unwrap();
    }
}

#[test]
fn who_does_not_log_in_is_closed_heartbeats_or_not() {
    let server = TestServer::start_with(|config| config.log_in_deadline = Duration::from_millis(200));
    server.register("ann");
    let start = Instant::now();
    let mut silent = server.connect();
    let mut beating = server.connect();
    let beats = encoded(Outgoing::request(1, &Heartbeat {}));
    beating.send_bytes(&beats);
    beating.answer::<Heartbeat>(1).unwrap();
    silent.assert_closed();
    beating.assert_closed();
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[test]
fn a_silent_client_is_dropped_and_one_that_beats_is_not() {
    let server = TestServer::start_with(|config| config.silence = Duration::from_secs(1));
    server.register("ann");
    server.register("bob");
    let mut ann = server.log_in("ann", ClientType::Pc);
    let mut bob = server.log_in("bob", ClientType::Pc);
    let silent = std::thread::spawn(move || ann.assert_closed());
    while !silent.is_finished() {
        bob.request(&Heartbeat {}).unwrap();
        std::thread::park_timeout(Duration::from_millis(50));
    }
    silent.join().unwrap();
    bob.request(&Heartbeat {}).unwrap();
}

#[test]
fn what_was_sent_before_the_client_closed_its_side_is_answered() {
    let server = TestServer::start();
    let [mut ann, mut bob] = server.friends("ann", "bob");
    let seqs: Vec<u32> = (0..100)
        .map(|number| ann.send(&message(Conversation::User(UserId(2)), &number.to_string(), "x")))
        .collect();
    ann.shut_down_writing();
    for seq in seqs {
        ann.answer::<Send>(seq).unwrap();
    }
    ann.assert_closed();
    assert_eq!(bob.event::<crate::protocol::Message>().number, 1);
    let mut guest = server.connect();
    guest.send(&log_in_request("ann", ClientType::Web));
    guest.shut_down_writing();
    guest.answer::<LogIn>(1).unwrap();
}

#[test]
fn a_long_value_that_is_not_allowed_is_refused_as_a_short_one_is() {
    let server = TestServer::start();
    server.register("ann");
    let mut client = server.log_in("ann", ClientType::Pc);
    // Longer than a frame may be once it is quoted.
    let body = format!("{{\"position\":\"{}\"}}", "\u{7f}".repeat(500_000));
    client.send_bytes(&encoded(Outgoing::encoded(Command::Acknowledge, 1000, body.as_bytes())));
    let heartbeat = client.send(&Heartbeat {});
    client.answer::<Heartbeat>(heartbeat).unwrap();
    let answer = client.answer_if_any::<Acknowledge>(1000);
    assert_eq!(answer.map(|answer| answer.unwrap_err().code), Some(ErrorCode::BadRequest));
}

#[test]
fn a_status_is_under_way_until_friends_have_been_told() {
    let server = TestServer::start_with(|config| config.threads = 0);
    let [mut ann, mut bob] = server.friends("ann", "bob");
    let mut both = encoded(Outgoing::request(1000, &SetStatus { status: Status::Busy }));
    both.extend(encoded(Outgoing::request(1001, &Heartbeat {})));
    ann.send_bytes(&both);
    ann.answer::<Heartbeat>(1001).unwrap();
    assert!(
        !ann.has_answer(1000),
        "it is answered at once: nothing would hold back one who says it all the time"
    );
    ann.answer::<SetStatus>(1000).unwrap();
    bob.skip_to::<PresenceEvent>();
}
