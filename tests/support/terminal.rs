//! A terminal for programs that draw on one, emulated by tmux.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::program::{PATIENCE, unique};

/// A shell in a terminal, which ends when this is dropped.
pub(crate) struct Terminal {
    socket: PathBuf,
}

/// What a terminal is like apart from what is on its screen.
#[derive(Debug, PartialEq)]
pub(crate) struct Modes {
    pub(crate) alternate_screen: bool,
    pub(crate) cursor_shown: bool,
}

impl Terminal {
    /// A terminal of so many columns and lines. `name` is no other test's.
    ///
    /// # Panics
    ///
    /// If there is no tmux.
    #[track_caller]
    pub(crate) fn start(name: &str, columns: u16, lines: u16) -> Self {
        let terminal = Self { socket: std::env::temp_dir().join(unique(name)) };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &lines, "env -u ENV PS1= sh"]);
        terminal
    }

    /// Has the shell run a command line on a clear screen, and then print `status=` and its exit status.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) {
        self.type_text(&format!("clear; {line}; echo status=$?"));
        self.press(&["Enter"]);
    }

    #[track_caller]
    pub(crate) fn type_text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Presses keys by their names: `q`, `Enter`, `Down`.
    #[track_caller]
    pub(crate) fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    #[track_caller]
    pub(crate) fn resize(&self, columns: u16, lines: u16) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &lines.to_string()]);
    }

    /// What is on the screen, line by line.
    #[track_caller]
    pub(crate) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    #[track_caller]
    pub(crate) fn modes(&self) -> Modes {
        let modes = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        let (alternate_screen, cursor_shown) = modes.trim().split_once(' ').unwrap();
        Modes { alternate_screen: alternate_screen == "1", cursor_shown: cursor_shown == "1" }
    }

    /// Waits until what is on the screen fulfils a condition, and gives it.
    ///
    /// # Panics
    ///
    /// If it doesn't in time, with what is there instead.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, condition: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if condition(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "waited in vain for {what}; there is\n{screen}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    fn tmux(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments).unwrap_or_else(|error| {
            panic!("tmux can't be run: {error}; it is in the package tmux (apt-get install tmux)")
        });
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn output(&self, arguments: &[&str]) -> std::io::Result<Output> {
        // No configuration of the user's, and UTF-8 whatever the locale.
        Command::new("tmux")
            .env_remove("TMUX")
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(&self.socket)
            .args(arguments)
            .output()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.output(&["kill-server"]);
        let _ = std::fs::remove_file(&self.socket);
    }
}
