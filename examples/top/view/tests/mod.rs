//! Samples to look at, and the screens that they make.

mod choices;
mod commands;
mod rates;
mod screens;
mod texts;

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::figures::{Dated, Sample};
use super::reply::{Connection, Connections, Loop, Loops, Servers, Sessions};
use super::state::{News, View};
use super::{Effect, draw};

const INTERVAL: Duration = Duration::from_secs(1);

/// A sample, so many milliseconds after `start`, of one loop and these connections.
fn sample(start: Instant, millis: u64, connections: Vec<Connection>) -> Sample {
    let at = start + Duration::from_millis(millis);
    let a_loop = Loop { name: "server-0".to_owned(), alive: true, ..Loop::default() };
    let (total, matched) = (connections.len(), connections.len());
    Sample {
        loops: Dated { at, is: Loops { uptime_ms: millis, loops: vec![a_loop] } },
        servers: Dated { at, is: Servers::default() },
        connections: Dated { at, is: Connections { total, matched, connections } },
        sessions: Some(Dated { at, is: Sessions::default() }),
        trouble: None,
    }
}

/// A connection that has been there for a minute.
fn connection(id: &str, bytes_in: u64, bytes_out: u64) -> Connection {
    let port = 50_000 + id.split('-').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
    Connection {
        id: id.to_owned(),
        peer: format!("127.0.0.1:{port}"),
        r#loop: "server-0".to_owned(),
        state: "connected".to_owned(),
        bytes_in,
        bytes_out,
        age_ms: 60_000,
        ..Connection::default()
    }
}

/// A view of a server whose connections receive as much as is said within a second, by their identifiers.
fn view_of(rates: &[(&str, u64)]) -> View {
    let start = Instant::now();
    let mut view = View::new("/run/app.sock".to_owned(), INTERVAL, start);
    for (millis, factor) in [(0, 1), (1000, 2)] {
        let connections = rates.iter().map(|(id, rate)| connection(id, rate * factor, 0)).collect();
        tell(&mut view, sample(start, millis, connections));
    }
    view
}

fn tell(view: &mut View, sample: Sample) {
    let at = sample.loops.at;
    view.take(News::Sample(Box::new(sample)), at);
}

/// Presses keys, and gives what the last one has effected.
fn press(view: &mut View, keys: impl IntoIterator<Item = KeyCode>) -> Option<Effect> {
    keys.into_iter().fold(None, |_, key| view.press(KeyEvent::new(key, KeyModifiers::NONE)))
}

fn type_text(view: &mut View, text: &str) {
    press(view, text.chars().map(KeyCode::Char));
}

/// The lines of a screen of this size, without spaces at their ends.
fn screen(view: &mut View, width: u16, height: u16) -> Vec<String> {
    screen_at(view, width, height, view.told_at)
}

fn screen_at(view: &mut View, width: u16, height: u16, now: Instant) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(view, frame, now)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

/// The identifiers of the connections on a screen, from the top.
fn shown(view: &mut View) -> Vec<String> {
    let lines = screen(view, 80, 24);
    let heading = lines.iter().position(|line| line.starts_with("ID ")).expect("a table");
    let rows = lines[heading + 1..lines.len() - 1].iter();
    rows.map_while(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
