//! The services on monoio: io_uring, one thread, a task for each connection.

use std::future::Future;
use std::io;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};

use super::{READ_SIZE, Service, announce, frame_length};
use crate::sys;

pub(super) fn serve(service: Service, port: u16) -> io::Result<()> {
    let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().with_entries(4096).build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(sys::listen(port)?)?;
        announce(listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            match service {
                Service::Echo => spawn(echo(stream)),
                Service::Framed => spawn(echo_frames(stream)),
                Service::FanOut | Service::Broadcast => return Err(io::ErrorKind::Unsupported.into()),
            }
        }
    })
}

fn spawn(task: impl Future<Output = io::Result<()>> + 'static) {
    monoio::spawn(async {
        // A connection's error ends its own task alone.
        let _ = task.await;
    });
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_SIZE);
    loop {
        let (read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let (written, sent) = stream.write_all(filled).await;
        written?;
        buffer = sent;
        buffer.clear();
    }
}

/// Replies to all frames that have come together with one write.
async fn echo_frames(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_SIZE);
    let mut unread = Vec::new();
    loop {
        let (read, mut filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        if !unread.is_empty() {
            unread.append(&mut filled);
            filled = std::mem::take(&mut unread);
        }
        let mut done = 0;
        while let Some(length) = frame_length(&filled[done..]) {
            done += length;
        }
        unread.extend_from_slice(&filled[done..]);
        filled.truncate(done);
        let (written, sent) = stream.write_all(filled).await;
        written?;
        buffer = sent;
        buffer.clear();
        buffer.reserve(READ_SIZE);
    }
}
