//! Lines to everybody on two threads of tokio, each with a runtime of its own and half of the members.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::thread;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, mpsc};
use tokio::task::LocalSet;

use super::{Style, spawn};
use crate::servers::{announce, line_length};
use crate::sys;

/// Lines that may wait for a member that doesn't keep up.
const BACKLOG: usize = 1024;

enum Message {
    Join(std::net::TcpStream),
    Line(Bytes),
}

/// What both threads have.
#[derive(Clone)]
struct Hall {
    halves: [mpsc::UnboundedSender<Message>; 2],
    lines: broadcast::Sender<Bytes>,
    style: Style,
}

impl Hall {
    fn send(&self, line: Bytes) {
        match self.style {
            Style::Best => {
                for half in &self.halves {
                    let _ = half.send(Message::Line(line.clone()));
                }
            }
            Style::Usual => drop(self.lines.send(line)),
        }
    }
}

pub(super) fn serve(port: u16, style: Style) -> io::Result<()> {
    let (first, messages) = mpsc::unbounded_channel();
    let (second, of_other) = mpsc::unbounded_channel();
    let hall = Hall { halves: [first, second], lines: broadcast::channel(BACKLOG).0, style };
    let for_other = hall.clone();
    thread::spawn(move || serve_half(None, of_other, for_other));
    serve_half(Some(port), messages, hall)
}

fn serve_half(port: Option<u16>, messages: mpsc::UnboundedReceiver<Message>, hall: Hall) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        if let Some(port) = port {
            spawn(accept(port, hall.clone()));
        }
        take_messages(messages, hall).await
    })
}

async fn accept(port: u16, hall: Hall) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(sys::listen(port)?)?;
    announce(listener.local_addr()?.port());
    for half in hall.halves.iter().cycle() {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let _ = half.send(Message::Join(stream.into_std()?));
    }
    Ok(())
}

/// In the best form a line is written to all members as soon as it has come over; usually each member has a task that gets it by a
/// broadcast channel.
async fn take_messages(mut messages: mpsc::UnboundedReceiver<Message>, hall: Hall) -> io::Result<()> {
    let members: Rc<RefCell<HashMap<u64, OwnedWriteHalf>>> = Rc::default();
    let mut next = 0;
    while let Some(message) = messages.recv().await {
        match message {
            Message::Join(stream) => {
                let (input, output) = TcpStream::from_std(stream)?.into_split();
                match hall.style {
                    Style::Best => drop(members.borrow_mut().insert(next, output)),
                    Style::Usual => spawn(write_lines(output, hall.lines.subscribe())),
                }
                let (id, members, hall) = (next, Rc::clone(&members), hall.clone());
                spawn(async move {
                    read_lines(input, &hall).await;
                    members.borrow_mut().remove(&id);
                    Ok(())
                });
                next += 1;
            }
            Message::Line(line) => {
                for member in members.borrow().values() {
                    // A member that takes no more is left out, as a broadcast channel would lag it.
                    let _ = member.try_write(&line);
                }
            }
        }
    }
    Ok(())
}

async fn read_lines(mut input: OwnedReadHalf, hall: &Hall) {
    let mut unread = BytesMut::new();
    while input.read_buf(&mut unread).await.is_ok_and(|n| n > 0) {
        while let Some(length) = line_length(&unread) {
            hall.send(unread.split_to(length).freeze());
        }
    }
}

async fn write_lines(mut output: OwnedWriteHalf, mut lines: broadcast::Receiver<Bytes>) -> io::Result<()> {
    loop {
        match lines.recv().await {
            Ok(line) => output.write_all(&line).await?,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
    }
}
