//! A server with a control socket, by which it can be restarted without refusing anybody.

use std::io;
use std::process::ExitCode;

use campana::control::inspect::Inspector;
use campana::control::{ClientError, ControlServer, Handover, Predecessor, Router};
use campana::{EventLoop, Handler, LoopContext, ServerHandle, TcpServer};

use crate::support::{Arguments, DRAIN, Options, bind, fail, new_event_loop, or_fail, run_server};

/// What the successor calls the server.
const NAME: &str = "main";

impl Options {
    /// A server that has `--control` and `--take-over` too.
    pub(crate) fn control(self) -> Self {
        self.option("--control PATH", None, "a control socket: a path or @name").option(
            "--take-over",
            None,
            "go on with the listeners of whoever runs on the control socket, if anybody does",
        )
    }
}

/// As [`serve`](crate::support::serve), with a control socket if there is to be one.
///
/// The process that it takes over from ends when the last of its connections has.
pub(crate) fn serve<H: Handler>(
    arguments: &Arguments,
    start: impl FnOnce(TcpServer, &mut EventLoop) -> io::Result<ServerHandle<H>>,
) -> ExitCode {
    let takes_over = arguments.has("--take-over");
    let Some(path) = arguments.optional::<String>("--control") else {
        if takes_over {
            fail("--take-over needs --control PATH");
        }
        return crate::support::serve(arguments, start);
    };
    let mut predecessor =
        if takes_over { or_fail(Predecessor::find(&path).map_err(not_taken_over)) } else { None };
    let mut event_loop = new_event_loop();

    let listeners = predecessor.as_mut().map(|predecessor| predecessor.listeners(NAME)).unwrap_or_default();
    let server = if listeners.is_empty() {
        or_fail(bind(arguments))
    } else {
        TcpServer::from_listeners(listeners).threads(arguments.value("--threads"))
    };
    let server = or_fail(start(server, &mut event_loop));

    let mut router = Router::new();
    let inspector = Inspector::of(NAME, &server).event_loop(&event_loop.handle());
    or_fail(inspector.on_drained(LoopContext::quit).register(&mut router));
    or_fail(Handover::new().server(NAME, &server).on_drained(LoopContext::quit).register(&mut router));
    let control = match predecessor.as_mut().and_then(Predecessor::control_listener) {
        Some(listener) => ControlServer::from_listener(listener),
        None => ControlServer::bind(path),
    };
    or_fail(control.start(&mut event_loop, router));

    // Nothing can fail any more.
    if let Some(predecessor) = predecessor {
        or_fail(predecessor.take_over(DRAIN).map_err(not_taken_over));
    }
    run_server(event_loop, &server)
}

fn not_taken_over(error: ClientError) -> String {
    format!("cannot take over from the process on the control socket, start again if it has ended: {error}")
}
