//! The services through the whole session layer of campana: a codec, two message filters (statistics of kinds of messages, and a
//! limit of their rate), a session object for each connection, statistics, and all three idle times.

use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use campana::codec::{Framing, LengthPrefixed, Lines, RawBytes};
use campana::connection::Spread;
use campana::session::filters::{Counted, MessageKinds, MessageRate, StatisticsTap};
use campana::session::{Session, SessionContext, SessionService};
use campana::{EventLoop, TcpServer};

use super::{BROADCAST_LOOPS, Service, announce};

/// More messages a second than a session ever gets.
const NEVER_REACHED: u32 = 100_000_000;
/// Longer than any load generator is idle.
const IDLE: Duration = Duration::from_secs(600);

pub(super) fn serve(service: Service, port: u16) -> io::Result<()> {
    let server = TcpServer::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), port))?.max_connections(20_000);
    match service {
        Service::Echo => run(server, || RawBytes, || Echo(PhantomData)),
        Service::Framed => run(server, || LengthPrefixed::new(4), || Echo(PhantomData)),
        Service::FanOut => run(server, Lines::new, || FanOut),
        Service::Broadcast => {
            run(server.threads(BROADCAST_LOOPS).spread(Spread::RoundRobin), Lines::new, || FanOut)
        }
    }
}

fn run<S: Session<Codec: Framing>>(
    server: TcpServer,
    codec: fn() -> S::Codec,
    session: fn() -> S,
) -> io::Result<()> {
    let mut event_loop = EventLoop::new()?;
    let tap = StatisticsTap::new(OneKind);
    let rate = MessageRate::new(NEVER_REACHED, Duration::from_secs(1));
    let service = SessionService::new(codec)
        .filter("tap", move || tap.clone())
        .filter("rate", move || rate.clone())
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

/// Counts all messages as of one kind.
#[derive(Clone, Debug)]
struct OneKind;

impl<F: Framing> MessageKinds<F> for OneKind {
    const LABELS: &'static [&'static str] = &["message"];

    fn received(&self, message: &&[u8]) -> Counted {
        Counted { kind: 0, bytes: message.len() }
    }

    fn written(&self, message: &&[u8]) -> Counted {
        Counted { kind: 0, bytes: message.len() }
    }
}
