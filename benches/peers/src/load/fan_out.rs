//! Lines that go to everybody.

use std::io;
use std::net::TcpStream;
use std::time::Instant;

use super::{Load, Outcome, Tally, Until, raw_fd};
use crate::sys::{self, Epoll};

/// A message here is one line to one member.
pub(super) fn run(load: &Load) -> io::Result<Outcome> {
    let connections = load.connect()?;
    let mut members = Members::new(&connections)?;

    members.gather()?;

    let mut line = vec![b'.'; load.bytes - 1];
    line.push(b'\n');
    let lines = line.repeat(load.depth);
    let deliveries = (load.senders * load.depth * connections.len()) as u64;
    let mut left = match load.until {
        Until::Messages(messages) => messages.div_ceil(deliveries),
        Until::Elapsed(_) => u64::MAX,
    };
    let mut tally = Tally::new(load);
    while left > 0 {
        left -= 1;
        let began = Instant::now();
        for sender in connections.iter().take(load.senders) {
            if sys::send(raw_fd(sender), &lines)? < lines.len() {
                return Err(io::Error::other("a sender is stuck"));
            }
        }
        members.hear(deliveries as usize * load.bytes)?;
        let now = Instant::now();
        tally.record(now - began, deliveries);
        if !tally.goes_on(now) {
            break;
        }
    }
    Ok(tally.outcome(load.bytes))
}

struct Members<'a> {
    connections: &'a [TcpStream],
    epoll: Epoll,
    events: Vec<sys::Event>,
    scratch: Vec<u8>,
}

impl<'a> Members<'a> {
    fn new(connections: &'a [TcpStream]) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        for (number, stream) in connections.iter().enumerate() {
            epoll.add(raw_fd(stream), sys::READ, number)?;
        }
        Ok(Self { connections, epoll, events: sys::events(1024), scratch: vec![0; 64 * 1024] })
    }

    /// Waits until a line is heard by all: the last connection may be served before others are, if there are several loops.
    fn gather(&mut self) -> io::Result<()> {
        let Some(last) = self.connections.last() else { return Ok(()) };
        for _ in 0..100 {
            sys::send(raw_fd(last), b"\n")?;
            if self.hear_for(self.connections.len(), 200)? == 0 {
                return Ok(());
            }
        }
        Err(io::Error::other("some connections hear nothing"))
    }

    /// Reads until all of them together have got so many bytes.
    fn hear(&mut self, bytes: usize) -> io::Result<()> {
        match self.hear_for(bytes, 20_000)? {
            0 => Ok(()),
            missing => Err(io::Error::other(format!("{missing} bytes of {bytes} were not delivered"))),
        }
    }

    /// Reads until all of them together have got so many bytes, or none gets any for so many milliseconds. Answers how many are
    /// missing.
    fn hear_for(&mut self, bytes: usize, millis: i32) -> io::Result<usize> {
        let mut missing = bytes;
        while missing > 0 {
            let ready = self.epoll.wait(&mut self.events, millis)?;
            if ready.is_empty() {
                return Ok(missing);
            }
            for event in ready {
                let fd = raw_fd(&self.connections[{ event.u64 } as usize]);
                let came = drain(fd, &mut self.scratch)?;
                let rest = missing.checked_sub(came);
                missing = rest.ok_or_else(|| io::Error::other("more was delivered than was sent"))?;
            }
        }
        Ok(0)
    }
}

#[inline]
fn drain(fd: i32, scratch: &mut [u8]) -> io::Result<usize> {
    let mut total = 0;
    loop {
        match sys::recv(fd, scratch) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                total += n;
                if n < scratch.len() {
                    return Ok(total);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(total),
            Err(error) => return Err(error),
        }
    }
}
