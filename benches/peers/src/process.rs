//! Servers and load generators as processes, seen from both sides.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddrV4;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::arguments::{Arguments, Failure};
use crate::load::{Load, Outcome, Pattern, Until};
use crate::servers::{self, Kind, Service};
use crate::sys;

/// The core that servers run on, and the one for load generators.
pub const CORES: (usize, usize) = (0, 1);

/// `peers serve`.
pub fn serve(mut arguments: Arguments) -> Result<(), Failure> {
    let kind = arguments.word(1).ok_or("say which kind of server")?.parse::<Kind>()?;
    let service = arguments.option("service")?.unwrap_or(Service::Echo);
    let port = arguments.option("port")?.unwrap_or(0);
    pin(&mut arguments)?;
    if arguments.has("control") {
        // Only where it is asked for: system calls of a process with two threads cost more.
        std::thread::spawn(report_memory);
    }
    arguments.finish()?;
    servers::serve(kind, service, port)
}

/// `peers load`.
pub fn load(mut arguments: Arguments) -> Result<(), Failure> {
    pin(&mut arguments)?;
    let load = Load::from_arguments(&mut arguments)?;
    arguments.finish()?;
    let outcome = load.run()?;
    if load.pattern != Pattern::Idle {
        println!("{outcome}");
    }
    Ok(())
}

fn pin(arguments: &mut Arguments) -> Result<(), Failure> {
    if let Some(core) = arguments.option("core")? {
        sys::pin_to_core(core);
    }
    if arguments.has("child") {
        sys::die_with_parent();
    }
    Ok(())
}

/// Answers each line of standard input with the heap and the resident memory in use, until it ends.
fn report_memory() {
    for _ in io::stdin().lines() {
        println!("{} {}", sys::heap_in_use(), sys::resident_bytes_of(std::process::id()));
    }
}

/// A server that runs as a child, and ends when this is dropped.
pub struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    pub address: SocketAddrV4,
}

impl Server {
    pub fn start(kind: Kind, service: Service, core: Option<usize>, control: bool) -> Result<Self, Failure> {
        let mut command = own_command("serve", core)?;
        command.arg(kind.to_string()).args(["--service", &service.to_string()]);
        if control {
            command.arg("--control");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").ok_or("the server did not start")?.parse()?;
        Ok(Self { child, output, address })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Heap and resident memory of a server that was started with `control`, in bytes.
    pub fn memory(&mut self) -> Result<(u64, u64), Failure> {
        let input = self.child.stdin.as_mut().ok_or("no input")?;
        input.write_all(b"\n")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let (heap, resident) = line.trim().split_once(' ').ok_or("the server said nothing")?;
        Ok((heap.parse()?, resident.parse()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It serves for ever, and has nothing to lose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a load generator as a child until it is done.
pub fn run_load(load: &Load, core: Option<usize>) -> Result<Outcome, Failure> {
    let output = load_command(load, core)?.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the load generator failed: {load:?}").into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse::<Outcome>()?)
}

/// Connections that a child keeps until this is dropped.
pub struct IdleConnections {
    child: Child,
    input: Option<ChildStdin>,
}

impl IdleConnections {
    pub fn open(load: &Load) -> Result<Self, Failure> {
        let mut child =
            load_command(load, Some(CORES.1))?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        line.trim().parse::<Outcome>()?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }
}

impl Drop for IdleConnections {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

fn load_command(load: &Load, core: Option<usize>) -> io::Result<Command> {
    let mut command = own_command("load", core)?;
    command
        .args(["--connect", &load.server.to_string()])
        .args(["--pattern", &load.pattern.to_string()])
        .args(["--connections", &load.connections.to_string()])
        .args(["--senders", &load.senders.to_string()])
        .args(["--bytes", &load.bytes.to_string()])
        .args(["--depth", &load.depth.to_string()]);
    match load.until {
        Until::Elapsed(time) => command.args(["--seconds", &time.as_secs_f64().to_string()]),
        Until::Messages(messages) => command.args(["--messages", &messages.to_string()]),
    };
    if let Some(process) = load.watch {
        command.args(["--watch", &process.to_string()]);
    }
    if load.lockstep {
        command.arg("--lockstep");
    }
    Ok(command)
}

fn own_command(subcommand: &str, core: Option<usize>) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([subcommand, "--child"]);
    if let Some(core) = core {
        command.args(["--core", &core.to_string()]);
    }
    Ok(command)
}
