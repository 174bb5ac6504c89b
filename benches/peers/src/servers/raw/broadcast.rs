//! The floor for lines to everybody on two threads: each has an epoll instance and half of the connections, and hands what comes in
//! to the other as well.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::{mem, thread};

use super::{Connections, LISTENER};
use crate::servers::{READ_SIZE, announce};
use crate::sys::{self, Epoll};

const WAKE: usize = LISTENER - 1;

pub(super) fn serve(port: u16) -> io::Result<()> {
    let listener = sys::listen(port)?;
    let threads = [Half::new()?, Half::new()?];
    threads[0].epoll.add(listener.as_raw_fd(), sys::READ, LISTENER)?;
    announce(listener.local_addr()?.port());
    thread::scope(|scope| {
        scope.spawn(|| run(&threads[1], &threads[0], &listener));
        run(&threads[0], &threads[1], &listener)
    })
}

/// What the other thread sees of one.
struct Half {
    epoll: Epoll,
    wake: OwnedFd,
    inbox: Mutex<Vec<Message>>,
}

enum Message {
    Join(OwnedFd),
    Lines(Vec<u8>),
}

impl Half {
    fn new() -> io::Result<Self> {
        let (epoll, wake) = (Epoll::new()?, sys::eventfd()?);
        // Edge-triggered: each ping is an event, and nobody has to read it.
        epoll.add(wake.as_raw_fd(), sys::READ, WAKE)?;
        Ok(Self { epoll, wake, inbox: Mutex::default() })
    }

    fn post(&self, message: Message) -> io::Result<()> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.push(message);
        if inbox.len() == 1 { sys::ping(&self.wake) } else { Ok(()) }
    }

    fn messages(&self) -> Vec<Message> {
        mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn join(&self, connections: &mut Connections<false>, socket: OwnedFd) -> io::Result<()> {
        let fd = socket.as_raw_fd();
        connections.insert(socket);
        self.epoll.add(fd, sys::READ_WRITE, fd as usize)
    }
}

fn run(own: &Half, other: &Half, listener: &TcpListener) -> io::Result<()> {
    let mut events = sys::events(1024);
    let mut connections = Connections::default();
    let mut scratch = vec![0; READ_SIZE];
    let mut accepted = 0_u64;
    loop {
        for event in own.epoll.wait(&mut events, -1)? {
            match { event.u64 } as usize {
                LISTENER => {
                    while let Some(socket) = sys::accept(listener)? {
                        accepted += 1;
                        if accepted.is_multiple_of(2) {
                            own.join(&mut connections, socket)?;
                        } else {
                            other.post(Message::Join(socket))?;
                        }
                    }
                }
                WAKE => {
                    for message in own.messages() {
                        match message {
                            Message::Join(socket) => own.join(&mut connections, socket)?,
                            Message::Lines(lines) => connections.send_to_all(&lines),
                        }
                    }
                }
                fd => {
                    let fd = fd as RawFd;
                    if connections.blocked(fd) && event.events & sys::WRITABLE != 0 {
                        connections.flush(fd);
                    }
                    connections.read(fd, &mut scratch, |connections, bytes| {
                        let done = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
                        if done > 0 {
                            // The other thread begins while this one writes. It outlives every connection.
                            let _ = other.post(Message::Lines(bytes[..done].to_vec()));
                            connections.send_to_all(&bytes[..done]);
                        }
                        done
                    });
                }
            }
        }
    }
}
