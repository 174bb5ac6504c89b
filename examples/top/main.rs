//! A live view of a running server in the terminal, through its control socket.
//!
//! `cargo run --example top -- /run/app.sock`, for a server that has put its inspection there. The keys are shown at the bottom.
//!
//! One thread reads keys and one asks the server; what comes from both, and from signals, is put into one channel, which the main
//! thread draws from.

mod arguments;
mod poller;
mod screen;
mod view;

use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use arguments::{Arguments, or_fail};
use campana::EventLoop;
use campana::reactor::signal::{SIGHUP, SIGINT, SIGTERM};
use poller::{Order, Poller};
use ratatui::crossterm::event::{self, Event as Input};
use screen::Screen;
use view::{Effect, News, View, draw};

/// How often the screen is drawn if nothing happens, for the times on it.
const TICK: Duration = Duration::from_millis(500);

enum Event {
    Input(Input),
    News(News),
    Signal(i32),
    /// There will be no more keys.
    InputEnded(io::Error),
}

enum Ending {
    Quit,
    Signal(i32),
}

fn main() -> ExitCode {
    let Arguments { path, interval } = Arguments::read();
    let mut view = View::new(path.clone(), interval, Instant::now());
    // While the terminal is still as it was: if there is no server, this is told as other programs do.
    let (poller, sample) = or_fail(Poller::start(&path, interval, view.query()));
    view.take(News::Sample(Box::new(sample)), Instant::now());

    let (events, received) = channel();
    or_fail(watch_signals(events.clone()));
    let mut screen = or_fail(Screen::take_over());
    let orders = start_poller(poller, events.clone());
    thread::spawn(move || read_input(&events));
    let ending = run(&mut view, &mut screen, &received, &orders);
    drop(screen);
    match or_fail(ending) {
        Ending::Quit => ExitCode::SUCCESS,
        // As a shell reports who was ended by a signal.
        Ending::Signal(signal) => ExitCode::from(128 + signal as u8),
    }
}

fn run(
    view: &mut View,
    screen: &mut Screen,
    events: &Receiver<Event>,
    orders: &Sender<Order>,
) -> io::Result<Ending> {
    let mut asked = view.query();
    loop {
        screen.draw(|frame| draw(view, frame, Instant::now()))?;
        let first = match events.recv_timeout(TICK) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(Ending::Quit),
        };
        // What has come in the meantime is drawn at once.
        for event in first.into_iter().chain(events.try_iter()) {
            let effect = match event {
                Event::Input(Input::Key(key)) => view.press(key),
                Event::Input(_) => None,
                Event::News(news) => {
                    view.take(news, Instant::now());
                    None
                }
                Event::Signal(signal) => return Ok(Ending::Signal(signal)),
                Event::InputEnded(error) => return Err(error),
            };
            // The poller ends no earlier than this does, so that sending can't fail.
            let _ = match effect {
                Some(Effect::Quit) => return Ok(Ending::Quit),
                Some(Effect::Pause(paused)) => orders.send(Order::Pause(paused)),
                Some(Effect::Kick { id, abort }) => orders.send(Order::Kick { id, abort }),
                None => Ok(()),
            };
        }
        let query = view.query();
        if query != asked {
            let _ = orders.send(Order::Look(query.clone()));
            asked = query;
        }
    }
}

fn start_poller(poller: Poller, events: Sender<Event>) -> Sender<Order> {
    let (orders, received) = channel();
    thread::spawn(move || {
        poller.run(&received, |news| {
            // It fails if nothing is drawn any more, which is the end.
            let _ = events.send(Event::News(news));
        });
    });
    orders
}

fn read_input(events: &Sender<Event>) {
    loop {
        let event = event::read().map_or_else(Event::InputEnded, Event::Input);
        let ended = matches!(event, Event::InputEnded(_));
        if events.send(event).is_err() || ended {
            return;
        }
    }
}

/// Has signals that would end the process reported, so that the terminal is given back first.
fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    let (started, result) = channel();
    thread::spawn(move || {
        let watch = || {
            let mut event_loop = EventLoop::new()?;
            event_loop.context().on_signals(&[SIGINT, SIGTERM, SIGHUP], move |_, signal| {
                let _ = events.send(Event::Signal(signal));
            })?;
            Ok(event_loop)
        };
        match watch() {
            Ok(mut event_loop) => {
                let _ = started.send(Ok(()));
                let _ = event_loop.run();
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    });
    result.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that watches for signals has ended")))
}
