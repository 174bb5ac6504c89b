//! A client of the protocol over a blocking socket: it waits for what it expects, and never for ever.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use campana::Buffer;
use campana::codec::Codec;
use im::protocol::{
    Acknowledge, CaughtUp, Command, Conversation, Done, Event, Failure, FrameCodec, LogIn, LoggedIn, Message,
    Outgoing, Request, Send, Sent, Status,
};
use serde::de::DeserializeOwned;

pub(crate) use im::protocol::ClientType as Device;

use super::{PASSWORD, PATIENCE};

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    codec: FrameCodec,
    input: Buffer,
    seq: u32,
    /// Events that came while something else was waited for.
    events: VecDeque<Incoming>,
}

#[derive(Debug)]
struct Incoming {
    command: Option<Command>,
    seq: u32,
    body: Vec<u8>,
}

impl Incoming {
    fn parse<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let (codec, input, events) = (FrameCodec::default(), Buffer::new(), VecDeque::new());
        Self { stream, codec, input, seq: 0, events }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    #[track_caller]
    pub(crate) fn log_in(&mut self, name: &str, client: Device) -> Result<LoggedIn, Failure> {
        self.log_in_with(name, PASSWORD, client, Status::Online)
    }

    #[track_caller]
    pub(crate) fn log_in_with(
        &mut self,
        name: &str,
        password: &str,
        client: Device,
        status: Status,
    ) -> Result<LoggedIn, Failure> {
        let (name, password) = (name.to_owned(), password.to_owned());
        self.request(&LogIn { name, password, client, status })
    }

    /// Sends a request, and waits for its reply.
    #[track_caller]
    pub(crate) fn request<R: Request>(&mut self, request: &R) -> Result<R::Reply, Failure> {
        let seq = self.send(request);
        self.reply::<R>(seq)
    }

    /// Sends a request, and says its number.
    #[track_caller]
    pub(crate) fn send<R: Request>(&mut self, request: &R) -> u32 {
        self.seq += 1;
        let mut wire = Buffer::new();
        self.codec.encode(Outgoing::request(self.seq, request), &mut wire).unwrap();
        self.send_bytes(wire.peek());
        self.seq
    }

    /// Sends a heart-beat, if the connection is still there.
    pub(crate) fn try_send_heartbeat(&mut self) -> std::io::Result<()> {
        self.stream.write_all(b"\0\0\0\x06\0\x01\0\0\0\x01")
    }

    /// Sends a frame whatever it says.
    #[track_caller]
    pub(crate) fn send_frame(&mut self, command: u16, body: &[u8]) -> u32 {
        self.seq += 1;
        let length = u32::try_from(body.len() + 6).unwrap();
        let (command, seq) = (command.to_be_bytes(), self.seq.to_be_bytes());
        self.send_bytes(&[&length.to_be_bytes()[..], &command, &seq, body].concat());
        self.seq
    }

    #[track_caller]
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Waits for the reply to a request.
    #[track_caller]
    pub(crate) fn reply<R: Request>(&mut self, seq: u32) -> Result<R::Reply, Failure> {
        let incoming = self.next_reply();
        assert_eq!(incoming.seq, seq, "{incoming:?}");
        match incoming.command {
            Some(Command::Failure) => Err(incoming.parse()),
            command => {
                assert_eq!(command, Some(R::COMMAND));
                Ok(incoming.parse())
            }
        }
    }

    /// Waits for the reply to any request, and says which one; nothing if the connection ends before it.
    #[track_caller]
    pub(crate) fn next_reply_if_any<R: Request>(&mut self) -> Option<(u32, Result<R::Reply, Failure>)> {
        loop {
            let incoming = self.receive()?;
            match (incoming.seq, incoming.command) {
                (0, _) => self.events.push_back(incoming),
                (seq, Some(Command::Failure)) => return Some((seq, Err(incoming.parse()))),
                (seq, _) => return Some((seq, Ok(incoming.parse()))),
            }
        }
    }

    /// Waits for the reply to a request that fails.
    #[track_caller]
    pub(crate) fn failure(&mut self, seq: u32) -> Failure {
        let incoming = self.next_reply();
        assert_eq!((incoming.command, incoming.seq), (Some(Command::Failure), seq));
        incoming.parse()
    }

    /// Sends a text, and waits for its acknowledgement.
    #[track_caller]
    pub(crate) fn say(&mut self, to: Conversation, client_id: &str, text: &str) -> Result<Sent, Failure> {
        let (client_id, text) = (client_id.to_owned(), text.to_owned());
        self.request(&Send { conversation: to, client_id, text })
    }

    /// Waits for the next event of a kind, and passes over those of other kinds.
    #[track_caller]
    pub(crate) fn event<E: Event>(&mut self) -> E {
        loop {
            let incoming = self.next_event().expect("an event before the end of the connection");
            if incoming.command == Some(E::COMMAND) {
                return incoming.parse();
            }
        }
    }

    /// The next message; nothing if the connection ends before it.
    #[track_caller]
    pub(crate) fn message_if_any(&mut self) -> Option<Message> {
        loop {
            let incoming = self.next_event()?;
            if incoming.command == Some(Command::Message) {
                return Some(incoming.parse());
            }
        }
    }

    /// The messages up to the end of what was missed.
    #[track_caller]
    pub(crate) fn missed(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let incoming = self.next_event().expect("CaughtUp before the end of the connection");
            match incoming.command {
                Some(Command::Message) => messages.push(incoming.parse::<Message>()),
                Some(Command::CaughtUp) => {
                    let CaughtUp { position } = incoming.parse();
                    assert!(messages.last().is_none_or(|last| last.position == position));
                    return messages;
                }
                _ => {}
            }
        }
    }

    #[track_caller]
    pub(crate) fn acknowledge(&mut self, position: i64) {
        let Done {} = self.request(&Acknowledge { position }).unwrap();
    }

    /// All events that were told before now, by their commands; they are gone by this.
    #[track_caller]
    pub(crate) fn events_so_far(&mut self) -> Vec<Option<Command>> {
        // Its reply comes behind all events that were told before.
        self.acknowledge(0);
        self.events.drain(..).map(|incoming| incoming.command).collect()
    }

    /// Waits until the server closes the connection, and gives what it says before that.
    #[track_caller]
    pub(crate) fn until_closed(&mut self) -> Vec<Option<Command>> {
        let mut said = Vec::new();
        while let Some(incoming) = self.next_event() {
            said.push(incoming.command);
        }
        said
    }

    /// Whether the server has closed the connection by now.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let closed = matches!(self.fill(), Ok(false));
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        closed
    }

    #[track_caller]
    fn next_reply(&mut self) -> Incoming {
        loop {
            let incoming = self.receive().expect("a reply before the end of the connection");
            if incoming.seq != 0 {
                return incoming;
            }
            self.events.push_back(incoming);
        }
    }

    #[track_caller]
    fn next_event(&mut self) -> Option<Incoming> {
        match self.events.pop_front() {
            Some(incoming) => Some(incoming),
            None => self.receive(),
        }
    }

    /// The next frame; nothing at the end of the connection.
    #[track_caller]
    fn receive(&mut self) -> Option<Incoming> {
        loop {
            if let Some(frame) = self.codec.decode(&mut self.input).unwrap() {
                let (command, seq, body) = (frame.command(), frame.seq, frame.body.to_vec());
                return Some(Incoming { command, seq, body });
            }
            if !self.fill().expect("more from the server in time") {
                return None;
            }
        }
    }

    /// Reads what there is; answers whether the connection is still open.
    fn fill(&mut self) -> std::io::Result<bool> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.input.append(&bytes[..length]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }
}
