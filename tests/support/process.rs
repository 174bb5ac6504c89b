//! A second process of a test: the test program again, started for that one test, which finds that it has a role to play.
#![allow(dead_code)] // Each test program uses what it needs of it.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::io::{BufRead, BufReader, Write, stdin};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// For how long the other process may take over anything.
const ANSWER_TIME: Duration = Duration::from_secs(30);
const ROLE: &str = "CAMPANA_TEST_ROLE";

/// The role that this process has been started for; nothing in the process that the user has started.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// The life of a process with a role: answers a line with a line, until the other end asks no more. A panic ends the process,
/// and with it the test at the other end.
pub(crate) fn answer(mut answers: impl FnMut(&str) -> String) {
    // Standard output is the test harness's.
    let mut stream = UnixStream::from(stdin().as_fd().try_clone_to_owned().unwrap());
    for question in BufReader::new(stream.try_clone().unwrap()).lines() {
        writeln!(stream, "{}", answers(&question.unwrap())).unwrap();
    }
}

/// A process with a role, killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    stream: BufReader<UnixStream>,
}

impl Process {
    /// Starts this program again, for the test of this name alone.
    pub(crate) fn start(test: &str, role: &str) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(ANSWER_TIME)).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, stream: BufReader::new(ours) }
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, question: &str) -> String {
        writeln!(self.stream.get_mut(), "{question}").unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("an answer in time");
        assert!(line.ends_with('\n'), "the process ended when it was asked for {question:?}");
        line.truncate(line.len() - 1);
        line
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks no more, and waits for the process's end.
    ///
    /// # Panics
    ///
    /// If it ended otherwise than well.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.stream.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
        // Read to the end first: this has a deadline, the wait has none.
        let mut line = String::new();
        assert_eq!(self.stream.read_line(&mut line).expect("the process to end in time"), 0, "{line}");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
