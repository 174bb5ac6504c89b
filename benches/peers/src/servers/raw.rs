//! The floor: what edge-triggered epoll gives when nothing stands between it and the service.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{DEFER_BELOW, READ_SIZE, Service, announce, frame_length, line_length};
use crate::sys::{self, Epoll};

mod broadcast;

const LISTENER: usize = usize::MAX;

/// Serves for ever; with output `DEFERRED` to the end of the batch of events, or written at once: frame by frame, or if `whole`
/// all that were read together.
pub(super) fn serve<const DEFERRED: bool>(service: Service, port: u16, whole: bool) -> io::Result<()> {
    if service == Service::Broadcast {
        return broadcast::serve(port);
    }
    let listener = sys::listen(port)?;
    let epoll = Epoll::new()?;
    epoll.add(listener.as_raw_fd(), sys::READ, LISTENER)?;
    announce(listener.local_addr()?.port());
    let mut events = sys::events(1024);
    let mut connections = Connections::<DEFERRED>::default();
    let mut scratch = vec![0; READ_SIZE];
    loop {
        for event in epoll.wait(&mut events, -1)? {
            let token = { event.u64 } as usize;
            if token == LISTENER {
                while let Some(socket) = sys::accept(&listener)? {
                    let fd = socket.as_raw_fd();
                    epoll.add(fd, sys::READ_WRITE, fd as usize)?;
                    connections.insert(socket);
                }
                continue;
            }
            let fd = token as RawFd;
            if connections.blocked(fd) && event.events & sys::WRITABLE != 0 {
                connections.flush(fd);
            }
            match service {
                Service::Echo => connections.read(fd, &mut scratch, |connections, bytes| {
                    connections.send(fd, bytes);
                    bytes.len()
                }),
                Service::Framed if whole => connections.read(fd, &mut scratch, |connections, bytes| {
                    let mut done = 0;
                    while let Some(length) = frame_length(&bytes[done..]) {
                        done += length;
                    }
                    if done > 0 {
                        connections.send(fd, &bytes[..done]);
                    }
                    done
                }),
                Service::Framed => connections.read(fd, &mut scratch, |connections, bytes| {
                    let mut done = 0;
                    while let Some(length) = frame_length(&bytes[done..]) {
                        connections.send(fd, &bytes[done..done + length]);
                        done += length;
                    }
                    done
                }),
                Service::FanOut | Service::Broadcast => {
                    connections.read(fd, &mut scratch, |connections, bytes| {
                        let mut done = 0;
                        while let Some(length) = line_length(&bytes[done..]) {
                            connections.send_to_all(&bytes[done..done + length]);
                            done += length;
                        }
                        done
                    })
                }
            }
        }
        if DEFERRED {
            connections.flush_all();
        }
    }
}

struct Connection {
    socket: OwnedFd,
    /// The beginning of a message.
    input: Vec<u8>,
    output: Vec<u8>,
    blocked: bool,
    in_flush_list: bool,
}

/// Connections by descriptor.
#[derive(Default)]
struct Connections<const DEFERRED: bool> {
    slots: Vec<Option<Connection>>,
    flush_list: Vec<RawFd>,
}

impl<const DEFERRED: bool> Connections<DEFERRED> {
    fn insert(&mut self, socket: OwnedFd) {
        let index = socket.as_raw_fd() as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(Connection {
            socket,
            input: Vec::new(),
            output: Vec::new(),
            blocked: false,
            in_flush_list: false,
        });
    }

    #[inline]
    fn get(&mut self, fd: RawFd) -> Option<&mut Connection> {
        self.slots.get_mut(fd as usize)?.as_mut()
    }

    fn blocked(&mut self, fd: RawFd) -> bool {
        self.get(fd).is_some_and(|connection| connection.blocked)
    }

    /// Reads until there is no more, or until output is blocked; `serve` says how much it has used.
    #[inline]
    fn read(&mut self, fd: RawFd, scratch: &mut [u8], mut serve: impl FnMut(&mut Self, &[u8]) -> usize) {
        loop {
            let Some(connection) = self.get(fd) else { return };
            if connection.blocked {
                return;
            }
            let before = connection.input.len();
            scratch[..before].copy_from_slice(&connection.input);
            connection.input.clear();
            match sys::recv(fd, &mut scratch[before..]) {
                Ok(n) if n > 0 => {
                    let bytes = &scratch[..before + n];
                    let used = serve(self, bytes);
                    if used < bytes.len()
                        && let Some(connection) = self.get(fd)
                    {
                        connection.input.extend_from_slice(&bytes[used..]);
                    }
                    if before + n < scratch.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => {
                    self.slots[fd as usize] = None;
                    return;
                }
            }
        }
    }

    #[inline]
    fn send(&mut self, fd: RawFd, bytes: &[u8]) {
        let Some(connection) = self.get(fd) else { return };
        let mut sent = 0;
        if connection.output.is_empty() && (!DEFERRED || bytes.len() >= DEFER_BELOW) {
            sent = sys::send(fd, bytes).unwrap_or(0);
            if sent == bytes.len() {
                return;
            }
            connection.blocked = true;
        }
        connection.output.extend_from_slice(&bytes[sent..]);
        if DEFERRED && !connection.in_flush_list {
            connection.in_flush_list = true;
            self.flush_list.push(fd);
        }
    }

    fn send_to_all(&mut self, bytes: &[u8]) {
        for fd in 0..self.slots.len() {
            self.send(fd as RawFd, bytes);
        }
    }

    fn flush(&mut self, fd: RawFd) {
        let Some(connection) = self.get(fd) else { return };
        let sent = sys::send(connection.socket.as_raw_fd(), &connection.output).unwrap_or(0);
        connection.output.drain(..sent);
        connection.blocked = !connection.output.is_empty();
    }

    fn flush_all(&mut self) {
        let mut list = std::mem::take(&mut self.flush_list);
        for fd in list.drain(..) {
            let Some(connection) = self.get(fd) else { continue };
            connection.in_flush_list = false;
            if !connection.blocked {
                self.flush(fd);
            }
        }
        self.flush_list = list;
    }
}
