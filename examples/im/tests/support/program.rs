//! Processes of `im`: started, talked to, waited for with a deadline, and ended by their id.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::{PASSWORD, PATIENCE, wait_until};

/// A process, killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

/// How a process ended, and what it wrote that nobody had read by then.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: String,
}

impl Program {
    /// Starts `im` with these arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_im")).args(arguments))
    }

    /// Starts a command that is `im`, or becomes it.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .env("IM_PASSWORD", PASSWORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self { stdin: child.stdin.take(), child, lines, stderr: Some(stderr) }
    }

    /// Starts `im chat` for a user who exists.
    pub(crate) fn chat(address: &str, user: &str, options: &[&str]) -> Self {
        Self::start(&[&["chat", "--connect", address, "--user", user], options].concat())
    }

    /// Writes a line to its standard input.
    #[track_caller]
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Writes the last lines to its standard input; it may have ended before it has read them.
    pub(crate) fn say_last(&mut self, lines: &str) {
        if let Some(mut stdin) = self.stdin.take() {
            let _ = writeln!(stdin, "{lines}");
        }
    }

    /// Writes nothing more to its standard input.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line of standard output")
    }

    /// Waits for a line that begins so, and passes over those before it.
    #[track_caller]
    pub(crate) fn expect(&self, beginning: &str) -> String {
        self.expect_after(beginning).1
    }

    /// The same, with those before it.
    #[track_caller]
    pub(crate) fn expect_after(&self, beginning: &str) -> (Vec<String>, String) {
        let end = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.starts_with(beginning) => return (before, line),
                Ok(line) => before.push(line),
                Err(_) => panic!("waited in vain for {beginning:?} behind {before:#?}"),
            }
        }
    }

    /// Writes a command to the input of a chat, and waits for the line that says that it was done.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.ask_after(command).1
    }

    /// The same, with the lines before it.
    #[track_caller]
    pub(crate) fn ask_after(&mut self, command: &str) -> (Vec<String>, String) {
        self.say(command);
        let name = command[1..].split(' ').next().unwrap();
        self.expect_after(&format!("ok {name}"))
    }

    /// A figure of `/proc/PID/status` in KiB: `VmRSS`, or `VmHWM` for the most that it has been.
    pub(crate) fn memory_kib(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
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

    /// Ends the process as a power cut would, and waits until it is gone.
    #[track_caller]
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
        assert_eq!(self.wait().status, None);
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
