//! The services through the whole session layer of campana: a codec, two message filters, a session object for each
//! connection, statistics, and all three idle times.

use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use campana::codec::{Framing, LengthPrefixed, Lines, RawBytes};
use campana::session::{FilterContext, MessageFilter, Session, SessionContext, SessionService, Verdict};
use campana::{EventLoop, TcpServer};

use super::{Service, announce};

/// Longer than any load generator is idle.
const IDLE: Duration = Duration::from_secs(600);

pub(super) fn serve(service: Service, port: u16) -> io::Result<()> {
    match service {
        Service::Echo => run(port, || RawBytes, || Echo(PhantomData)),
        Service::Framed => run(port, || LengthPrefixed::new(4), || Echo(PhantomData)),
        Service::FanOut => run(port, Lines::new, || FanOut),
    }
}

fn run<S: Session<Codec: Framing>>(port: u16, codec: fn() -> S::Codec, session: fn() -> S) -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let server = TcpServer::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), port))?.max_connections(20_000);
    let service = SessionService::new(codec)
        .filter("outer count", Count::default)
        .filter("inner count", Count::default)
        .configure(|config| {
            config.idle_read = Some(IDLE);
            config.idle_write = Some(IDLE);
            config.idle_both = Some(IDLE);
        });
    let (server, _) = service.serve(server, &mut event_loop, move |_| session())?;
    announce(server.local_addresses().first().and_then(|address| address.port()).unwrap_or(0));
    event_loop.run()
}

/// Sends back each message.
struct Echo<F>(PhantomData<F>);

impl<F: Framing> Session for Echo<F> {
    type Codec = F;

    const WANTS_WRITTEN: bool = false;

    fn on_open(&mut self, cx: &mut SessionContext<'_, Self>) {
        // Throughput is measured from the first question on.
        let _ = cx.stats();
    }

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, message: &[u8]) {
        // An error means that the session is ending.
        let _ = cx.write(message);
    }
}

/// Sends each line to all sessions.
struct FanOut;

impl Session for FanOut {
    type Codec = Lines;

    const WANTS_WRITTEN: bool = false;

    fn on_open(&mut self, cx: &mut SessionContext<'_, Self>) {
        let _ = cx.stats();
    }

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &[u8]) {
        let _ = cx.manager().all().send(line);
    }
}

/// Lets everything pass, and counts it.
#[derive(Debug, Default)]
struct Count {
    messages_in: u64,
    bytes_in: u64,
    messages_out: u64,
    bytes_out: u64,
}

impl<F: Framing> MessageFilter<F> for Count {
    fn on_message(&mut self, _: &mut FilterContext<'_, F>, message: &mut &[u8]) -> Verdict {
        self.messages_in += 1;
        self.bytes_in += message.len() as u64;
        Verdict::Pass
    }

    fn on_write(&mut self, _: &mut FilterContext<'_, F>, message: &mut &[u8]) -> Verdict {
        self.messages_out += 1;
        self.bytes_out += message.len() as u64;
        Verdict::Pass
    }

    fn on_write_encoded(&mut self, _: &mut FilterContext<'_, F>, encoded: &[u8]) -> Verdict {
        self.messages_out += 1;
        self.bytes_out += encoded.len() as u64;
        Verdict::Pass
    }
}
