use campana::Buffer;
use campana::codec::{Codec, DecodeError};

use super::*;

fn encoded(message: Outgoing<'_>) -> Vec<u8> {
    let mut output = Buffer::new();
    FrameCodec::default().encode(message, &mut output).unwrap();
    output.peek().to_vec()
}

fn body_of(message: Outgoing<'_>) -> String {
    String::from_utf8(encoded(message).split_off(10)).unwrap()
}

#[test]
fn a_frame_is_length_command_sequence_number_and_json() {
    let request = MarkRead { conversation: Conversation::Group(GroupId(5)), number: 9 };
    let wire = encoded(Outgoing::request(0x0102_0304, &request));
    let json = br#"{"conversation":{"group":5},"number":9}"#;
    let length = u32::try_from(json.len() + 6).unwrap();
    let expected = [&length.to_be_bytes()[..], &35_u16.to_be_bytes(), &[1, 2, 3, 4], json].concat();
    assert_eq!(wire, expected);
}

#[test]
fn frames_in_pieces_are_the_same_frames() {
    let wire = [
        encoded(Outgoing::request(1, &Heartbeat {})),
        encoded(Outgoing::event(&CaughtUp { position: 7 })),
        encoded(Outgoing::encoded(Command::Message, 0, b"{}")),
    ]
    .concat();
    let (mut codec, mut input, mut seen) = (FrameCodec::default(), Buffer::new(), Vec::new());
    for byte in wire {
        input.append(&[byte]);
        while let Some(frame) = codec.decode(&mut input).unwrap() {
            seen.push((frame.command(), frame.seq, frame.body.to_vec()));
        }
    }
    assert_eq!(
        seen,
        [
            (Some(Command::Heartbeat), 1, b"{}".to_vec()),
            (Some(Command::CaughtUp), 0, br#"{"position":7}"#.to_vec()),
            (Some(Command::Message), 0, b"{}".to_vec()),
        ]
    );
}

#[test]
fn lengths_below_the_header_negative_and_beyond_the_limit_end_decoding() {
    for (length, long) in
        [(0_u32, false), (5, false), (u32::MAX, true), (i32::MIN as u32, true), (4097, true)]
    {
        let mut codec = FrameCodec::new(MAX_FRAME_BEFORE_LOG_IN);
        let mut input = Buffer::from(&[&length.to_be_bytes()[..], &[0; 5000]].concat()[..]);
        let error = codec.decode(&mut input).unwrap_err();
        assert_eq!(matches!(error, DecodeError::TooLong { .. }), long, "{length}: {error}");
        assert!(!error.is_recoverable());
    }
}

#[test]
fn the_limit_can_be_raised_for_the_frames_that_follow() {
    let long = Outgoing::encoded(Command::Send, 1, &[b' '; 5000]);
    let mut input = Buffer::from(&encoded(long)[..]);
    let mut codec = FrameCodec::new(MAX_FRAME_BEFORE_LOG_IN);
    assert!(codec.decode(&mut input).is_err());
    codec.set_max(MAX_FRAME);
    assert_eq!(codec.decode(&mut input).unwrap().unwrap().body.len(), 5000);
}

#[test]
fn an_unknown_command_is_a_frame_all_the_same() {
    let mut input = Buffer::from(&b"\0\0\0\x06\x7f\xff\0\0\0\x01"[..]);
    let mut codec = FrameCodec::default();
    let frame = codec.decode(&mut input).unwrap().unwrap();
    assert_eq!((frame.command(), frame.number, frame.seq), (None, 0x7fff, 1));
}

#[test]
fn bad_json_and_missing_members_are_bad_requests() {
    for body in [&b"{"[..], b"[]", b"{\"user\":\"x\"}", b"\xff", b""] {
        let mut input = Buffer::from(&encoded(Outgoing::encoded(Command::AcceptFriend, 1, body))[..]);
        let mut codec = FrameCodec::default();
        let frame = codec.decode(&mut input).unwrap().unwrap();
        assert_eq!(frame.parse::<AcceptFriend>().unwrap_err().code, ErrorCode::BadRequest, "{body:?}");
    }
}

#[test]
fn a_reply_is_told_from_a_failure_by_its_command() {
    let sent = Sent { number: 1, position: 2, time: 3, duplicate: false };
    let failure = Failure::new(ErrorCode::NotAFriend, "no");
    let parse = |message| {
        let mut input = Buffer::from(&encoded(message)[..]);
        FrameCodec::default().decode(&mut input).unwrap().unwrap().parse_reply::<Send>()
    };
    assert_eq!(parse(Outgoing::reply::<Send>(1, &sent)), Ok(sent));
    assert_eq!(parse(Outgoing::failure(1, &failure)), Err(failure.clone()));
    assert_eq!(parse(Outgoing::reply::<Heartbeat>(1, &Done {})).unwrap_err().code, ErrorCode::BadRequest);
}

#[test]
fn names_in_json_are_those_of_the_page() {
    assert_eq!(
        body_of(Outgoing::failure(1, &Failure::new(ErrorCode::TooManyAttempts, ""))),
        r#"{"code":"too_many_attempts","text":""}"#
    );
    assert_eq!(
        body_of(Outgoing::event(&PresenceEvent {
            user: UserId(3),
            presence: vec![Device { client: ClientType::Mobile, status: Status::Away }]
        })),
        r#"{"user":3,"presence":[{"client":"mobile","status":"away"}]}"#
    );
    assert_eq!(
        body_of(Outgoing::event(&Kicked { reason: KickReason::LoggedInElsewhere })),
        r#"{"reason":"logged_in_elsewhere"}"#
    );
}

#[test]
fn every_command_has_one_number_and_is_in_the_page() {
    let page = include_str!("../../PROTOCOL.md");
    for command in Command::ALL {
        assert_eq!(Command::from_number(command.number()), Some(*command));
        let row = format!("| {} | `{}` |", command.number(), command.name());
        assert!(page.contains(&row), "PROTOCOL.md has no row {row}");
    }
}

#[test]
fn passwords_are_not_shown() {
    let log_in = LogIn {
        name: "ann".to_owned(),
        password: "geheim1".to_owned(),
        client: ClientType::Pc,
        status: Status::Online,
    };
    let register =
        Register { name: "ann".to_owned(), password: "geheim1".to_owned(), nickname: String::new() };
    let change = ChangePassword { old: "geheim1".to_owned(), new: "geheim1".to_owned() };
    let wire = encoded(Outgoing::request(1, &log_in));
    let mut input = Buffer::from(&wire[..]);
    let mut codec = FrameCodec::default();
    let frame = codec.decode(&mut input).unwrap().unwrap();
    let shown = format!("{log_in:?} {register:?} {change:?} {frame:?} {:?}", Outgoing::request(1, &log_in));
    assert!(!shown.contains("geheim1"), "{shown}");
}
