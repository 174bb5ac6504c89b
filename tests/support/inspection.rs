//! Servers with an inspector's control socket, and clients of both.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use campana::codec::{Lines, Text};
use campana::connection::Spread;
use campana::control::inspect::Inspector;
use campana::control::{ClientError, ControlClient, ControlHandle, ControlServer, ErrorReply, Router};
use campana::session::byte_filters::HexTap;
use campana::session::filters::Logging;
use campana::session::{
    AttributeKey, Session, SessionContext, SessionManager, SessionService, Sessions, WriteId,
};
use campana::{CloseReason, EventLoop, LoopContext, LoopHandle, ServerHandle, TcpServer};
use serde_json::{Value, json};

use super::server::{PATIENCE, Running, connect, read_exact, wait_until};

const NOTE: AttributeKey<String> = AttributeKey::new("note");
const NUMBER: AttributeKey<u32> = AttributeKey::new("number");

/// Echoes lines; `note` has it keep attributes. Why sessions end is written down.
pub(crate) struct Talker(Arc<Mutex<Vec<String>>>);

impl Session for Talker {
    type Codec = Text<Lines>;

    fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
        if line == "note" {
            cx.attributes().set(NUMBER, 1);
            cx.attributes().set(NOTE, line.to_owned());
        }
        let _ = cx.write(line);
    }

    fn on_close(&mut self, _cx: &mut SessionContext<'_, Self>, reason: &CloseReason, _: Option<WriteId>) {
        self.0.lock().unwrap().push(reason.to_string());
    }
}

/// A server of sessions on threads of its own, whose connections are dealt out to one after the other.
pub(crate) struct Talk {
    pub(crate) server: ServerHandle<Sessions<Talker>>,
    pub(crate) sessions: SessionManager<Talker>,
    pub(crate) ends: Arc<Mutex<Vec<String>>>,
}

impl Talk {
    pub(crate) fn start(event_loop: &mut EventLoop, threads: usize) -> Self {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let server =
            TcpServer::bind("127.0.0.1:0").unwrap().threads(threads).spread(Spread::RoundRobin).name("talk");
        let service = SessionService::new(|| Text::over(Lines::new()))
            .filter("log", Logging::content)
            .byte_filter("tap", HexTap::new);
        let of_sessions = Arc::clone(&ends);
        let (server, sessions) =
            service.serve(server, event_loop, move |_| Talker(Arc::clone(&of_sessions))).unwrap();
        Self { server, sessions, ends }
    }

    /// A client whose session is open, and has had a line of so many bytes echoed.
    #[track_caller]
    pub(crate) fn connect(&self, line: usize) -> TcpStream {
        let mut stream = connect(self.server.local_addresses()[0].as_inet().unwrap());
        let bytes = [&vec![b'x'; line - 1][..], b"\n"].concat();
        stream.write_all(&bytes).unwrap();
        assert_eq!(read_exact(&mut stream, line), bytes);
        stream
    }

    #[track_caller]
    pub(crate) fn wait_end(&self) -> String {
        wait_until("a session's end", || !self.ends.lock().unwrap().is_empty());
        self.ends.lock().unwrap().remove(0)
    }
}

/// A loop on which a test has started what it likes, with a control socket.
pub(crate) struct Bed<T> {
    pub(crate) running: Running,
    pub(crate) control: ControlHandle,
    pub(crate) of_test: T,
    name: String,
}

impl<T: Send + 'static> Bed<T> {
    /// `setup` starts what is inspected.
    #[track_caller]
    pub(crate) fn start(setup: impl FnOnce(&mut EventLoop) -> (Inspector, T) + Send + 'static) -> Self {
        Self::with(|control| control, setup)
    }

    /// As [`start`](Self::start), with a control server that isn't the usual one.
    #[track_caller]
    pub(crate) fn with(
        adapt: impl FnOnce(ControlServer) -> ControlServer + Send + 'static,
        setup: impl FnOnce(&mut EventLoop) -> (Inspector, T) + Send + 'static,
    ) -> Self {
        let name = any_name();
        let address = name.clone();
        let (running, (control, of_test)) = Running::start(move |event_loop| {
            let (inspector, of_test) = setup(event_loop);
            let mut router = Router::new();
            inspector.register(&mut router).unwrap();
            (adapt(ControlServer::bind(&*address)).start(event_loop, router).unwrap(), of_test)
        });
        Self { running, control, of_test, name }
    }

    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client(ControlClient::connect(&*self.name).unwrap())
    }
}

/// A name in the abstract namespace that no other test has.
pub(crate) fn any_name() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("@campana-inspect-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A client of a control socket, which expects what it gets.
pub(crate) struct Client(pub(crate) ControlClient);

impl Client {
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str, params: Value) -> Value {
        match self.0.request(command, &params) {
            Ok(result) => result,
            Err(error) => panic!("{command} {params}: {error}"),
        }
    }

    /// A request that is refused.
    #[track_caller]
    pub(crate) fn refused(&mut self, command: &str, params: Value) -> ErrorReply {
        match self.0.request::<_, Value>(command, &params) {
            Err(ClientError::Failed(error)) => error,
            other => panic!("{command} {params}: {other:?}"),
        }
    }

    /// The rows of a page.
    #[track_caller]
    pub(crate) fn rows(&mut self, command: &str, params: Value) -> Vec<Value> {
        let mut answer = self.ask(command, params);
        match answer[command].take() {
            Value::Array(rows) => rows,
            other => panic!("{other}"),
        }
    }

    /// One member of each row of a page.
    #[track_caller]
    pub(crate) fn column(&mut self, command: &str, params: Value, name: &str) -> Vec<Value> {
        self.rows(command, params).iter_mut().map(|row| row[name].take()).collect()
    }

    /// The row of the connection or session whose peer this is.
    #[track_caller]
    pub(crate) fn row_of(&mut self, command: &str, stream: &TcpStream) -> Value {
        let peer = stream.local_addr().unwrap().to_string();
        let mut rows = self.rows(command, json!({ "filter": peer }));
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }
}

/// Holds a loop up until what is returned is dropped.
#[track_caller]
pub(crate) fn hold(event_loop: &LoopHandle) -> Sender<()> {
    let (release, released) = channel::<()>();
    let (report, reports) = channel();
    let task = move |_: &mut LoopContext| {
        report.send(()).unwrap();
        let _ = released.recv_timeout(PATIENCE);
    };
    event_loop.post(task).unwrap();
    reports.recv_timeout(PATIENCE).unwrap();
    release
}
