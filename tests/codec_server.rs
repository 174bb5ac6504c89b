//! Servers that decode, over real sockets: what a peer can do wrong ends its own connection, with the reason.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use campana::codec::{Codec, DecodeError, Json, LengthPrefixed, Lines};
use campana::{Buffer, CloseReason, Handler, TcpConnection, TcpServer};
use serde_json::Value;

#[path = "support/server.rs"]
mod server;

use server::{PATIENCE, Running, connect, half_close, read_exact, read_to_end};

/// Echoes messages, and closes a connection at its first error.
struct Framed<C> {
    codec: C,
    output: Buffer,
    ends: Sender<String>,
}

impl<C: Codec + Clone> Framed<C>
where
    C: for<'a> Codec<Out<'a> = <C as Codec>::In<'a>>,
{
    fn echo(&mut self, codec: &mut C, input: &mut Buffer) -> Result<(), DecodeError> {
        while let Some(message) = codec.decode(input)? {
            codec.encode(message, &mut self.output).unwrap();
        }
        Ok(())
    }
}

impl<C: Codec + Clone> Handler for Framed<C>
where
    C: for<'a> Codec<Out<'a> = <C as Codec>::In<'a>>,
{
    type State = C;

    fn on_connect(&mut self, _conn: &mut TcpConnection<'_>) -> C {
        self.codec.clone()
    }

    fn on_data(&mut self, codec: &mut C, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        let result = self.echo(codec, input);
        let _ = conn.send(&mut self.output);
        if let Err(error) = result {
            conn.fail(error.to_string());
        }
    }

    fn on_read_closed(&mut self, codec: &mut C, conn: &mut TcpConnection<'_>) {
        match codec.decode_eof(&mut Buffer::from(conn.unread_input())) {
            Ok(_) => conn.close(),
            Err(error) => conn.fail(error.to_string()),
        }
    }

    fn on_close(&mut self, _codec: C, _conn: &mut TcpConnection<'_>, reason: CloseReason) {
        let _ = self.ends.send(reason.to_string());
    }
}

struct Server {
    address: SocketAddr,
    ends: Receiver<String>,
    _running: Running,
}

impl Server {
    fn start<C>(codec: C) -> Self
    where
        C: for<'a> Codec<Out<'a> = <C as Codec>::In<'a>> + Clone + Send + Sync,
    {
        let (report, ends) = channel();
        let (running, address) = Running::start(move |event_loop| {
            let server = TcpServer::bind("127.0.0.1:0").unwrap();
            let make = move |_: &mut _, _: &_| Framed {
                codec: codec.clone(),
                output: Buffer::new(),
                ends: report.clone(),
            };
            let handle = server.start_with(event_loop, make).unwrap();
            handle.local_addresses()[0].as_inet().unwrap()
        });
        Self { address, ends, _running: running }
    }

    fn connect(&self) -> TcpStream {
        let stream = connect(self.address);
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends something wrong, and gives what came back and the reason for the end.
    #[track_caller]
    fn offend(&self, bytes: &[u8]) -> (Vec<u8>, String) {
        let mut client = self.connect();
        client.write_all(bytes).unwrap();
        let replies = read_to_end(&mut client);
        drop(client);
        (replies, self.ends.recv_timeout(PATIENCE).unwrap())
    }
}

#[test]
fn a_length_beyond_the_limits_closes_its_connection_with_the_reason_and_no_other() {
    let server = Server::start(LengthPrefixed::new(4).max(1000));
    let mut other = server.connect();
    let whole = b"\x00\x00\x00\x02ok";
    for length in [-1_i32 as u32, 0, 1001, i32::MIN as u32, u32::MAX] {
        let mut bytes = whole.to_vec();
        bytes.extend(length.to_be_bytes());
        let (replies, reason) = server.offend(&bytes);
        assert_eq!(replies, whole, "what came before is answered");
        assert!(reason.contains(&format!("length field says {length}")), "{reason}");
        other.write_all(whole).unwrap();
        assert_eq!(read_exact(&mut other, whole.len()), whole);
    }
}

#[test]
fn frames_that_arrive_byte_by_byte_are_the_same_frames() {
    let server = Server::start(LengthPrefixed::new(2));
    let mut client = server.connect();
    let frames = b"\x00\x05hello\x00\x01!\x00\x03abc";
    for byte in frames {
        client.write_all(&[*byte]).unwrap();
    }
    assert_eq!(read_exact(&mut client, frames.len()), frames);
}

#[test]
fn a_thousand_frames_in_one_write_are_answered_in_order() {
    let server = Server::start(LengthPrefixed::new(2));
    let mut client = server.connect();
    let frames: Vec<u8> =
        (0..1000_u16).flat_map(|i| [2_u16.to_be_bytes(), i.to_be_bytes()].concat()).collect();
    client.write_all(&frames).unwrap();
    assert_eq!(read_exact(&mut client, frames.len()), frames);
}

#[test]
fn a_line_that_does_not_end_closes_its_connection_at_the_limit() {
    let server = Server::start(Lines::new().max(100));
    let (replies, reason) = server.offend(&[b"short\r\n", &[b'x'; 102][..]].concat());
    assert_eq!(replies, b"short\n");
    assert!(reason.contains("a line has more than 100 bytes"), "{reason}");
}

#[test]
fn a_peer_that_closes_inside_a_frame_leaves_an_incomplete_frame() {
    let server = Server::start(LengthPrefixed::new(4));
    let mut client = server.connect();
    client.write_all(b"\x00\x00\x00\x02ok\x00\x00\x00\x09cut off").unwrap();
    half_close(&client);
    assert_eq!(read_to_end(&mut client), b"\x00\x00\x00\x02ok");
    drop(client);
    let reason = server.ends.recv_timeout(PATIENCE).unwrap();
    assert!(reason.contains("incomplete frame") && reason.contains("11 bytes"), "{reason}");
}

#[test]
fn a_peer_that_closes_between_frames_is_in_good_order() {
    let server = Server::start(LengthPrefixed::new(4));
    let mut client = server.connect();
    client.write_all(b"\x00\x00\x00\x02ok").unwrap();
    half_close(&client);
    assert_eq!(read_to_end(&mut client), b"\x00\x00\x00\x02ok");
    drop(client);
    assert_eq!(server.ends.recv_timeout(PATIENCE).unwrap(), "closed by the peer");
}

#[test]
fn json_nested_ten_thousand_deep_closes_its_connection() {
    let server = Server::start(Json::<Lines, Value>::over(Lines::new().max(100_000)));
    let deep = format!("[1]\n{}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    let (replies, reason) = server.offend(deep.as_bytes());
    assert_eq!(replies, b"[1]\n");
    assert!(reason.contains("nested deeper than 64 levels"), "{reason}");
}
