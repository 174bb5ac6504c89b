use super::{TestServer, message};
use crate::protocol::{
    ClientType, Compress, Conversation, ErrorCode, Heartbeat, LogOut, Message, Send, UserId,
};

const TO_ANN: Conversation = Conversation::User(UserId(1));
const TO_BOB: Conversation = Conversation::User(UserId(2));

fn deflate() -> Compress {
    Compress { method: "deflate".to_owned() }
}

#[test]
fn both_directions_are_compressed_behind_the_reply() {
    let server = TestServer::start();
    let [mut ann, mut bob] = server.friends("ann", "bob");
    ann.compress();
    let text = "the same again and again, ".repeat(100);
    for number in 1..=50 {
        let sent = ann.request(&message(TO_BOB, &number.to_string(), &text)).unwrap();
        assert_eq!(sent.number, 2 * number - 1);
        assert_eq!(bob.event::<Message>().text, text);
        bob.request(&message(TO_ANN, &number.to_string(), &text)).unwrap();
        assert_eq!(ann.event::<Message>().text, text);
    }
    let (plain, compressed) = ann.received_since_compression();
    assert!(plain > 50 * 2600 && compressed < plain / 10, "{plain} bytes came as {compressed}");
    ann.request(&LogOut {}).unwrap();
    ann.assert_closed();
}

#[test]
fn what_was_asked_before_is_answered_in_the_compressed_stream() {
    let server = TestServer::start();
    let [mut ann, _bob] = server.friends("ann", "bob");
    let seqs: Vec<u32> =
        (0..100).map(|number| ann.send(&message(TO_BOB, &number.to_string(), "hello"))).collect();
    ann.compress();
    for (number, seq) in (1..).zip(seqs) {
        assert_eq!(ann.answer::<Send>(seq).unwrap().number, number);
    }
}

#[test]
fn compression_is_there_once_after_log_in_and_by_deflate() {
    let server = TestServer::start();
    server.register("ann");
    let mut guest = server.connect();
    assert_eq!(guest.request(&deflate()).unwrap_err().code, ErrorCode::NotLoggedIn);
    let mut ann = server.log_in("ann", ClientType::Pc);
    let unknown = Compress { method: "morse".to_owned() };
    assert_eq!(ann.request(&unknown).unwrap_err().code, ErrorCode::NotSupported);
    ann.request(&Heartbeat {}).unwrap();
    ann.compress();
    assert_eq!(ann.request(&deflate()).unwrap_err().code, ErrorCode::NotSupported);
    ann.request(&Heartbeat {}).unwrap();
}

#[test]
fn what_is_no_compressed_stream_ends_the_session() {
    let server = TestServer::start();
    server.register("ann");
    let mut ann = server.log_in("ann", ClientType::Pc);
    ann.request(&deflate()).unwrap();
    ann.send_bytes(b"\0\0\0\x06\0\x01\0\0\0\x09");
    ann.assert_ended();
}
