//! Connections that come and go.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use super::{Load, Outcome, Tally, Until, loopback};
use crate::sys::{self, Epoll};

/// A message here is one connection: made, used for one echo, closed.
pub(super) fn run(load: &Load) -> io::Result<Outcome> {
    let epoll = Epoll::new()?;
    let mut events = sys::events(1024);
    let message = vec![b'.'; load.bytes];
    let mut scratch = vec![0; 64 * 1024];
    let mut left = match load.until {
        Until::Messages(messages) => messages,
        Until::Elapsed(_) => u64::MAX,
    };
    let mut visits = Vec::new();
    let mut made = 0;
    let mut start = |number: usize| -> io::Result<Visit> {
        made += 1;
        let socket = sys::start_connect(loopback(made), load.server)?;
        epoll.add(socket.as_raw_fd(), sys::READ_WRITE, number)?;
        Ok(Visit { socket, began: Instant::now(), has_sent: false, received: 0 })
    };
    for number in 0..load.connections {
        visits.push(start(number)?);
    }
    let mut tally = Tally::new(load);
    loop {
        for event in epoll.wait(&mut events, -1)? {
            let number = { event.u64 } as usize;
            let visit = &mut visits[number];
            if !visit.has_sent {
                sys::send(visit.socket.as_raw_fd(), &message)?;
                visit.has_sent = true;
                continue;
            }
            match sys::recv(visit.socket.as_raw_fd(), &mut scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => visit.received += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if visit.received < message.len() {
                continue;
            }
            let now = Instant::now();
            tally.record(now - visit.began, 1);
            left -= 1;
            if left == 0 || !tally.goes_on(now) {
                return Ok(tally.outcome(load.bytes));
            }
            *visit = start(number)?;
        }
    }
}

struct Visit {
    socket: OwnedFd,
    began: Instant,
    has_sent: bool,
    received: usize,
}
