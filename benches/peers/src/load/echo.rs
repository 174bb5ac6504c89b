//! Messages that come back as they are.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::RawFd;
use std::time::Instant;

use super::{Load, Outcome, Tally, Until, raw_fd};
use crate::sys::{self, Epoll};

pub(super) fn run(load: &Load, message: Vec<u8>) -> io::Result<Outcome> {
    run_on(load, &message, &load.connect()?)
}

pub(super) fn run_on(load: &Load, message: &[u8], connections: &[TcpStream]) -> io::Result<Outcome> {
    let epoll = Epoll::new()?;
    let mut sessions = Vec::new();
    for (number, stream) in connections.iter().enumerate() {
        epoll.add(raw_fd(stream), sys::READ_WRITE, number)?;
        sessions.push(Session::new(raw_fd(stream)));
    }
    let mut round = Round {
        // Whatever there is to be sent lies in it in one piece, wherever in a message it begins.
        pattern: message.repeat(load.depth + 1),
        message: message.len(),
        left: match load.until {
            Until::Messages(messages) => messages,
            Until::Elapsed(_) => u64::MAX,
        },
        under_way: 0,
        tally: Tally::new(load),
    };
    let mut scratch = vec![0; 256 * 1024];
    let mut events = sys::events(1024);
    for session in &mut sessions {
        round.send(session, load.depth as u64, Instant::now())?;
    }
    loop {
        for event in epoll.wait(&mut events, -1)? {
            let session = &mut sessions[{ event.u64 } as usize];
            if event.events & sys::WRITABLE != 0 && session.owed > 0 {
                session.write(&round.pattern, round.message)?;
            }
            let (came, now) = round.receive(session, &mut scratch)?;
            if !round.tally.goes_on(now) {
                return Ok(round.tally.outcome(message.len()));
            }
            if came > 0 && !load.lockstep {
                round.send(session, came, now)?;
            }
        }
        if round.under_way > 0 {
            continue;
        }
        if round.left == 0 {
            return Ok(round.tally.outcome(message.len()));
        }
        for session in &mut sessions {
            round.send(session, load.depth as u64, Instant::now())?;
        }
    }
}

struct Round {
    pattern: Vec<u8>,
    message: usize,
    /// Messages that may still be sent.
    left: u64,
    under_way: u64,
    tally: Tally,
}

impl Round {
    #[inline]
    fn send(&mut self, session: &mut Session, messages: u64, now: Instant) -> io::Result<()> {
        let messages = messages.min(self.left);
        if messages == 0 {
            return Ok(());
        }
        self.left -= messages;
        self.under_way += messages;
        session.sent_at.push_back((now, messages));
        session.owed += messages as usize * self.message;
        session.write(&self.pattern, self.message)
    }

    /// Reads what is there. Answers how many messages came back whole.
    #[inline]
    fn receive(&mut self, session: &mut Session, scratch: &mut [u8]) -> io::Result<(u64, Instant)> {
        let mut came = 0;
        loop {
            match sys::recv(session.fd, scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    if session.offset_in == 0 && scratch[0] != self.pattern[0] {
                        return Err(io::Error::other("what came back is not what was sent"));
                    }
                    session.offset_in += n;
                    came += session.offset_in / self.message;
                    session.offset_in %= self.message;
                    if n < scratch.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let now = Instant::now();
        let came = came as u64;
        let mut left = came;
        while left > 0 {
            let Some((sent_at, messages)) = session.sent_at.front_mut() else {
                return Err(io::Error::other("more came back than was sent"));
            };
            let answered = left.min(*messages);
            self.tally.record(now - *sent_at, answered);
            *messages -= answered;
            left -= answered;
            if *messages == 0 {
                session.sent_at.pop_front();
            }
        }
        self.under_way -= came;
        Ok((came, now))
    }
}

struct Session {
    fd: RawFd,
    /// Bytes that wait to be taken by the kernel.
    owed: usize,
    offset_out: usize,
    offset_in: usize,
    /// When messages were sent, and how many at a time.
    sent_at: VecDeque<(Instant, u64)>,
}

impl Session {
    fn new(fd: RawFd) -> Self {
        Self { fd, owed: 0, offset_out: 0, offset_in: 0, sent_at: VecDeque::new() }
    }

    #[inline]
    fn write(&mut self, pattern: &[u8], message: usize) -> io::Result<()> {
        match sys::send(self.fd, &pattern[self.offset_out..self.offset_out + self.owed]) {
            Ok(n) => {
                self.owed -= n;
                self.offset_out = (self.offset_out + n) % message;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}
