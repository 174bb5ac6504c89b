//! Examples that serve, and clients of them over any kind of stream.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;

use campana::Address;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::program::{Ended, PATIENCE, Program};

pub(crate) const ANY_PORT: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// Starts a server on one address of TCP, with so many threads.
#[track_caller]
pub(crate) fn serve(example: &str, threads: usize, options: &[&str]) -> (Program, Address) {
    let threads = threads.to_string();
    Program::serve(example, &[&ANY_PORT, options, &["--threads", &threads]].concat())
}

#[track_caller]
pub(crate) fn assert_ended_well(ended: &Ended) {
    assert_eq!(ended.status, Some(0), "{ended:?}");
}

/// A client's end of a connection over TCP or a Unix socket, whose reads and writes don't wait for ever.
pub(crate) struct Client(BufReader<Socket>);

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: &Address) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub(crate) fn try_connect(address: &Address) -> std::io::Result<Self> {
        let (domain, system) = match (address.as_inet(), address.as_pathname(), address.as_abstract()) {
            (Some(inet), ..) => (Domain::for_address(inet), inet.into()),
            (_, Some(path), _) => (Domain::UNIX, SockAddr::unix(path)?),
            (_, _, name) => {
                let name = [b"\0", name.unwrap()].concat();
                (Domain::UNIX, SockAddr::unix(OsStr::from_bytes(&name))?)
            }
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.connect(&system)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(socket)))
    }

    pub(crate) fn socket(&self) -> &Socket {
        self.0.get_ref()
    }

    #[track_caller]
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) {
        self.socket().write_all(bytes.as_ref()).unwrap();
    }

    #[track_caller]
    pub(crate) fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    /// Reads lines up to one that is this, and answers those before it.
    #[track_caller]
    pub(crate) fn lines_until(&mut self, expected: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "{expected:?} was expected behind {before:?}");
            if line == expected {
                return before;
            }
            before.push(line);
        }
    }

    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn half_close(&self) {
        self.socket().shutdown(Shutdown::Write).unwrap();
    }

    #[track_caller]
    pub(crate) fn assert_echo(&mut self, text: &str) {
        self.send(text);
        assert_eq!(self.read(text.len()), text.as_bytes());
    }

    /// What comes back of a text, or why nothing does.
    pub(crate) fn try_echo(&mut self, text: &str) -> std::io::Result<Vec<u8>> {
        self.socket().write_all(text.as_bytes())?;
        let mut bytes = vec![0; text.len()];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the other end serves this connection, which it shows by an echo, rather than to have closed it.
    #[track_caller]
    pub(crate) fn is_served(&mut self) -> bool {
        // A connection that was refused may be reset by the time of the write.
        let written = self.socket().write_all(b"?");
        match written.and_then(|()| self.0.read(&mut [0; 1])) {
            Ok(length) => length == 1,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            Err(error) => panic!("{error}"),
        }
    }
}
