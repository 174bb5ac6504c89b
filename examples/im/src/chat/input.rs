//! Standard input, read by a thread of its own, a line at a time and only when one is wanted.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Input {
    Line(String),
    /// There are no more lines, or they can't be read.
    End,
}

/// The chat's end: asks for a line, and finds it here later.
pub(crate) struct Lines {
    demand: SyncSender<()>,
    asked: bool,
    read: Arc<Mutex<Option<Input>>>,
}

/// The reading thread's end.
pub(crate) struct Reader {
    demand: Receiver<()>,
    read: Arc<Mutex<Option<Input>>>,
}

/// Both ends.
pub(crate) fn lines() -> (Lines, Reader) {
    let (demand, demands) = sync_channel(1);
    let read = Arc::new(Mutex::new(None));
    (Lines { demand, asked: false, read: Arc::clone(&read) }, Reader { demand: demands, read })
}

impl Lines {
    /// What was read, once; if nothing was, a line is asked for.
    pub(crate) fn next(&mut self) -> Option<Input> {
        let input = self.read.lock().unwrap_or_else(PoisonError::into_inner).take();
        match &input {
            Some(_) => self.asked = false,
            None if !self.asked => {
                self.asked = true;
                // An error: the thread has told of the end.
                let _ = self.demand.try_send(());
            }
            None => {}
        }
        input
    }

    /// Whether what was read, and waits here, is the end of the input, or asks for the end.
    pub(crate) fn at_end(&self) -> bool {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some(Input::End) => true,
            Some(Input::Line(line)) => line.trim() == "/quit",
            None => false,
        }
    }
}

impl Reader {
    /// Reads a line whenever one is asked for, and calls `tell` when it is there; up to the end.
    pub(crate) fn run(self, mut input: impl BufRead, tell: impl Fn()) {
        while self.demand.recv().is_ok() {
            let mut line = String::new();
            let read = match input.read_line(&mut line) {
                Ok(1..) => Input::Line(line),
                Ok(0) => Input::End,
                Err(error) => {
                    log::error!("standard input: {error}");
                    Input::End
                }
            };
            let at_end = read == Input::End;
            *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
            tell();
            if at_end {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_line_is_read_when_it_is_asked_for() {
        let (mut lines, reader) = lines();
        let (told, tellings) = channel();
        let thread = std::thread::spawn(move || reader.run(&b"one\ntwo"[..], || told.send(()).unwrap()));
        let mut seen = Vec::new();
        loop {
            assert_eq!(lines.next(), None);
            tellings.recv().unwrap();
            match lines.next().unwrap() {
                Input::Line(line) => seen.push(line),
                Input::End => break,
            }
        }
        assert_eq!(seen, ["one\n", "two"]);
        thread.join().unwrap();
    }
}
