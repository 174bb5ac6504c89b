//! A client that waits.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use campana::Buffer;
use campana::codec::Codec;
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::DEADLINE;
use crate::protocol::{
    self, Acknowledge, CaughtUp, Command, Event, Failure, FrameCodec, Message, Outgoing, Request,
};

/// A client that waits for each answer, and keeps the events that come meanwhile.
pub(super) struct Client {
    stream: TcpStream,
    codec: FrameCodec,
    input: Buffer,
    seq: u32,
    events: VecDeque<Received>,
    answers: VecDeque<Received>,
    zlib: Option<Zlib>,
}

/// The compressed streams of both directions.
struct Zlib {
    compress: Compress,
    decompress: Decompress,
}

/// A frame that has come.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Received {
    number: u16,
    seq: u32,
    body: Vec<u8>,
}

impl Received {
    fn command(&self) -> Option<Command> {
        Command::from_number(self.number)
    }
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let (codec, input) = (FrameCodec::default(), Buffer::new());
        Self { stream, codec, input, seq: 0, events: VecDeque::new(), answers: VecDeque::new(), zlib: None }
    }

    /// Sends a request and waits for its answer.
    pub(super) fn request<R: Request>(&mut self, request: &R) -> Result<R::Reply, Failure> {
        let seq = self.send(request);
        self.answer::<R>(seq)
    }

    /// Sends a request, and gives its sequence number.
    pub(super) fn send<R: Request>(&mut self, request: &R) -> u32 {
        self.seq += 1;
        let mut output = Buffer::new();
        self.codec.encode(Outgoing::request(self.seq, request), &mut output).unwrap();
        self.send_bytes(output.peek());
        self.seq
    }

    /// Sends bytes, compressed if the session is.
    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        match &mut self.zlib {
            None => self.stream.write_all(bytes).unwrap(),
            Some(zlib) => {
                // Room for what can't be compressed, and for the flush.
                let mut output = Vec::with_capacity(bytes.len() * 2 + 1000);
                zlib.compress.compress_vec(bytes, &mut output, FlushCompress::Sync).unwrap();
                self.stream.write_all(&output).unwrap();
            }
        }
    }

    /// Has the session compressed.
    pub(super) fn compress(&mut self) {
        self.request(&protocol::Compress { method: "deflate".to_owned() }).unwrap();
        let (compress, decompress) =
            (Compress::new(flate2::Compression::default(), true), Decompress::new(true));
        self.zlib = Some(Zlib { compress, decompress });
        // What came behind the reply was compressed already.
        let rest = self.input.take_all_bytes();
        self.take_in(&rest);
    }

    /// How many bytes have come since then, and as how many compressed ones.
    pub(super) fn received_since_compression(&self) -> (u64, u64) {
        let zlib = self.zlib.as_ref().unwrap();
        (zlib.decompress.total_out(), zlib.decompress.total_in())
    }

    fn take_in(&mut self, mut bytes: &[u8]) {
        let Some(Zlib { decompress, .. }) = &mut self.zlib else { return self.input.append(bytes) };
        // Until there is no progress: with all of its input taken it may still have output.
        loop {
            let before = decompress.total_in();
            let mut plain = Vec::with_capacity(64 * 1024);
            let status = decompress.decompress_vec(bytes, &mut plain, FlushDecompress::None).unwrap();
            let taken = usize::try_from(decompress.total_in() - before).unwrap();
            bytes = &bytes[taken..];
            self.input.append(&plain);
            if status == Status::StreamEnd || (taken == 0 && plain.is_empty()) {
                assert!(bytes.is_empty(), "something behind the end of the compressed stream");
                return;
            }
        }
    }

    /// Waits for the answer to a request.
    #[track_caller]
    pub(super) fn answer<R: Request>(&mut self, seq: u32) -> Result<R::Reply, Failure> {
        self.answer_if_any::<R>(seq).expect("the connection was closed")
    }

    /// Waits for the answer to a request, or the end of the connection. Answers may come in any order.
    #[track_caller]
    pub(super) fn answer_if_any<R: Request>(&mut self, seq: u32) -> Option<Result<R::Reply, Failure>> {
        let earlier = self.answers.iter().position(|received| received.seq == seq);
        let mut answer = earlier.and_then(|place| self.answers.remove(place));
        while answer.is_none() {
            match self.receive()? {
                received if received.seq == seq => answer = Some(received),
                received if received.seq == 0 => self.events.push_back(received),
                received => self.answers.push_back(received),
            }
        }
        let received = answer?;
        Some(match received.command() {
            Some(Command::Failure) => Err(serde_json::from_slice(&received.body).unwrap()),
            command => {
                assert_eq!(command, Some(R::COMMAND));
                Ok(serde_json::from_slice(&received.body).unwrap())
            }
        })
    }

    /// Whether the answer to a request has come, before those that were waited for.
    pub(super) fn has_answer(&self, seq: u32) -> bool {
        self.answers.iter().any(|received| received.seq == seq)
    }

    /// Waits for the next event, which has to be of this kind.
    #[track_caller]
    pub(super) fn event<E: Event>(&mut self) -> E {
        let received = self.next_event();
        assert_eq!(received.command(), Some(E::COMMAND), "{}", String::from_utf8_lossy(&received.body));
        assert_eq!(received.seq, 0);
        serde_json::from_slice(&received.body).unwrap()
    }

    /// Waits for a message; nothing if a kick comes first.
    pub(super) fn message_or_kick(&mut self) -> Option<Message> {
        loop {
            let received = self.next_event();
            match received.command() {
                Some(Command::CaughtUp) => {}
                Some(Command::Kicked) => return None,
                Some(Command::Message) => return Some(serde_json::from_slice(&received.body).unwrap()),
                command => panic!("{command:?}"),
            }
        }
    }

    /// Waits for an event of this kind, whatever comes before it.
    pub(super) fn skip_to<E: Event>(&mut self) -> E {
        loop {
            let received = self.next_event();
            if received.command() == Some(E::COMMAND) {
                return serde_json::from_slice(&received.body).unwrap();
            }
        }
    }

    #[track_caller]
    fn next_event(&mut self) -> Received {
        let queued = self.events.pop_front();
        queued.or_else(|| self.receive()).expect("the connection was closed")
    }

    /// Waits until all that was missed has come, and gives it.
    pub(super) fn caught_up(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let received = self.next_event();
            match received.command() {
                Some(Command::Message) => messages.push(serde_json::from_slice(&received.body).unwrap()),
                Some(Command::CaughtUp) => {
                    let CaughtUp { position } = serde_json::from_slice(&received.body).unwrap();
                    assert!(messages.last().is_none_or(|last: &Message| last.position == position));
                    return messages;
                }
                command => panic!("{command:?} before all was delivered"),
            }
        }
    }

    /// The events that nobody has looked at, up to now: what others were answered by now has been told. What comes from the storage
    /// thread keeps its order, so a request that goes there shows what there was before it; a heart-beat does not.
    pub(super) fn events_so_far(&mut self) -> Vec<Command> {
        self.request(&Acknowledge { position: 0 }).unwrap();
        self.events.drain(..).filter_map(|event| event.command()).collect()
    }

    pub(super) fn forget_events(&mut self) {
        self.events_so_far();
    }

    /// Waits for the end of the connection, in good order or not.
    pub(super) fn assert_closed(&mut self) {
        if let Some(received) = self.receive() {
            panic!("{received:?} where the end was expected");
        }
    }

    /// Waits for the end of the connection, whatever comes before it.
    pub(super) fn assert_ended(&mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
            _ => {}
        }
    }

    pub(super) fn shut_down_writing(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// The next frame; nothing at the end.
    fn receive(&mut self) -> Option<Received> {
        loop {
            if let Some(frame) = self.codec.decode(&mut self.input).unwrap() {
                return Some(Received { number: frame.number, seq: frame.seq, body: frame.body.to_vec() });
            }
            let mut bytes = [0; 64 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(n) => self.take_in(&bytes[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
