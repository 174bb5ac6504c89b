//! The services on tokio: one thread, a task for each connection.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::{READ_SIZE, Service, announce, frame_length, line_length};
use crate::sys;

mod broadcast;

/// How the service is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    Best,
    Usual,
}

pub(super) fn serve(service: Service, port: u16, style: Style) -> io::Result<()> {
    if service == Service::Broadcast {
        return broadcast::serve(port, style);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, accept(service, port, style))
}

async fn accept(service: Service, port: u16, style: Style) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(sys::listen(port)?)?;
    announce(listener.local_addr()?.port());
    let room = Rc::new(Room::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        match (service, style) {
            (Service::Echo, Style::Best) => spawn(serve_shared(stream, |bytes, _| bytes.len())),
            (Service::Echo, Style::Usual) => spawn(echo(stream)),
            (Service::Framed, Style::Best) => spawn(serve_shared(stream, reply_to_frames)),
            (Service::Framed, Style::Usual) => spawn(echo_frames(stream)),
            (Service::FanOut | Service::Broadcast, Style::Best) => {
                spawn(fan_out_queued(stream, Rc::clone(&room)))
            }
            (Service::FanOut | Service::Broadcast, Style::Usual) => {
                spawn(fan_out_at_once(stream, Rc::clone(&room)))
            }
        }
    }
}

fn spawn(task: impl Future<Output = io::Result<()>> + 'static) {
    // A connection's error ends its own task alone.
    tokio::task::spawn_local(task.map(drop));
}

/// Reads into a buffer that all connections share, and writes from where the bytes lie. `serve` answers how many bytes at the
/// front are to be sent back, and may take a few off the rest to be seen again.
async fn serve_shared(mut stream: TcpStream, serve: impl Fn(&[u8], &mut Vec<u8>) -> usize) -> io::Result<()> {
    let mut unread = Vec::new();
    loop {
        let rest = poll_fn(|cx| poll_serve(&mut stream, &mut unread, &serve, cx)).await?;
        match rest {
            None => return Ok(()),
            Some(rest) if rest.is_empty() => {}
            Some(rest) => stream.write_all(&rest).await?,
        }
    }
}

/// Reads and replies once. Answers what could not be written, or nothing at the end of the stream.
fn poll_serve(
    stream: &mut TcpStream,
    unread: &mut Vec<u8>,
    serve: &impl Fn(&[u8], &mut Vec<u8>) -> usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Option<Vec<u8>>>> {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        buffer.put_slice(unread);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        if buffer.filled().len() == unread.len() {
            return Poll::Ready(Ok(None));
        }
        unread.clear();
        let reply = &buffer.filled()[..serve(buffer.filled(), unread)];
        if reply.is_empty() {
            return Poll::Ready(Ok(Some(Vec::new())));
        }
        let sent = match stream.try_write(reply) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Poll::Ready(Err(error)),
        };
        Poll::Ready(Ok(Some(reply[sent..].to_vec())))
    })
}

/// The replies to all frames that are there: for an echo they are the frames as they came.
fn reply_to_frames(bytes: &[u8], unread: &mut Vec<u8>) -> usize {
    let mut done = 0;
    while let Some(length) = frame_length(&bytes[done..]) {
        done += length;
    }
    unread.extend_from_slice(&bytes[done..]);
    done
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    use tokio::io::AsyncReadExt;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

async fn echo_frames(stream: TcpStream) -> io::Result<()> {
    let mut frames = Framed::new(stream, LengthDelimitedCodec::new());
    poll_fn(|cx| poll_echo_frames(&mut frames, cx)).await
}

/// Feeds replies for as long as the decoder has frames, and flushes when it runs dry.
fn poll_echo_frames(
    frames: &mut Framed<TcpStream, LengthDelimitedCodec>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    loop {
        ready!(SinkExt::<Bytes>::poll_ready_unpin(frames, cx))?;
        match frames.poll_next_unpin(cx) {
            Poll::Ready(Some(frame)) => frames.start_send_unpin(frame?.freeze())?,
            Poll::Ready(None) => return SinkExt::<Bytes>::poll_flush_unpin(frames, cx),
            Poll::Pending => {
                ready!(SinkExt::<Bytes>::poll_flush_unpin(frames, cx))?;
                return Poll::Pending;
            }
        }
    }
}

/// All members of the fan-out.
#[derive(Default)]
struct Room {
    next: Cell<u64>,
    members: RefCell<HashMap<u64, Rc<Member>>>,
}

struct Member {
    output: OwnedWriteHalf,
    queue: RefCell<Vec<u8>>,
    filled: Notify,
}

impl Room {
    fn join(&self, stream: TcpStream) -> (u64, OwnedReadHalf, Rc<Member>) {
        let (input, output) = stream.into_split();
        let member = Rc::new(Member { output, queue: RefCell::default(), filled: Notify::new() });
        let id = self.next.replace(self.next.get() + 1);
        self.members.borrow_mut().insert(id, Rc::clone(&member));
        (id, input, member)
    }
}

/// A queue and a writing task for each member, so that lines which come in together leave in one write.
async fn fan_out_queued(stream: TcpStream, room: Rc<Room>) -> io::Result<()> {
    let (id, mut input, member) = room.join(stream);
    let writer = tokio::task::spawn_local(write_queue(Rc::clone(&member)));
    let mut unread = Vec::new();
    let mut buffer = vec![0; 4096];
    let result = loop {
        use tokio::io::AsyncReadExt;
        match input.read(&mut buffer).await {
            Ok(0) => break Ok(()),
            Ok(n) => unread.extend_from_slice(&buffer[..n]),
            Err(error) => break Err(error),
        }
        let mut done = 0;
        while let Some(length) = line_length(&unread[done..]) {
            for member in room.members.borrow().values() {
                member.queue.borrow_mut().extend_from_slice(&unread[done..done + length]);
                member.filled.notify_one();
            }
            done += length;
        }
        unread.drain(..done);
    };
    room.members.borrow_mut().remove(&id);
    writer.abort();
    result
}

async fn write_queue(member: Rc<Member>) -> io::Result<()> {
    loop {
        member.filled.notified().await;
        let mut bytes = member.queue.take();
        let mut sent = 0;
        while sent < bytes.len() {
            match member.output.try_write(&bytes[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => member.output.writable().await?,
                Err(error) => return Err(error),
            }
        }
        bytes.clear();
        let mut queue = member.queue.borrow_mut();
        if queue.is_empty() {
            *queue = bytes;
        }
    }
}

async fn fan_out_at_once(stream: TcpStream, room: Rc<Room>) -> io::Result<()> {
    let (id, input, _) = room.join(stream);
    let mut lines = BufReader::new(input);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await? > 0 {
        let shared = Bytes::from(std::mem::take(&mut line));
        for member in room.members.borrow().values() {
            // A member that takes no more is left out, as a broadcast channel would lag it.
            let _ = member.output.try_write(&shared);
        }
    }
    room.members.borrow_mut().remove(&id);
    Ok(())
}
