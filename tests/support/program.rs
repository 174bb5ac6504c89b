//! Examples as processes: started, waited for with a deadline, ended by their id.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use campana::Address;
use rustix::process::{Pid, Signal, kill_process};

#[path = "patience.rs"]
mod patience;

pub(crate) use patience::{PATIENCE, wait_until};

/// A process of an example, killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

/// How a process ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: String,
}

impl Program {
    pub(crate) fn start(example: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(path_of(example))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("examples are built: cargo build --examples");
        let lines = lines_of(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self { child, lines, stderr: Some(stderr) }
    }

    /// Starts an example that listens, and waits until it does.
    pub(crate) fn serve(example: &str, arguments: &[&str]) -> (Self, Address) {
        let program = Self::start(example, arguments);
        let address = program.next_address();
        (program, address)
    }

    /// The address of the next line `listening on ADDR`.
    pub(crate) fn next_address(&self) -> Address {
        let line = self.lines.recv_timeout(PATIENCE).expect("a line of standard output");
        line.strip_prefix("listening on ").expect("an address").parse().unwrap()
    }

    /// A figure of `/proc/PID/status` in KiB: `VmRSS`, or `VmHWM` for the most that it has been.
    pub(crate) fn memory_kib(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the process ends by itself.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let mut status = None;
        wait_until("the process's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.and_then(|status| status.code());
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Ended { status, stdout: self.lines.iter().collect(), stderr }
    }

    /// Asks the process to end, and waits until it has.
    #[track_caller]
    pub(crate) fn terminate(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs an example to its end.
#[track_caller]
pub(crate) fn run(example: &str, arguments: &[&str]) -> Ended {
    Program::start(example, arguments).wait()
}

/// A name in the temporary directory, or in the abstract namespace, that no other test uses.
pub(crate) fn unique(name: &str) -> String {
    format!("campana-{name}-{}", std::process::id())
}

/// A test is at `target/PROFILE/deps/`, an example at `target/PROFILE/examples/`.
pub(crate) fn path_of(example: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples").join(example)
}

fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
