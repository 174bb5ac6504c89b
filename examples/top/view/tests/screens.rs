//! What is on the screen.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::KeyCode;

use super::{INTERVAL, connection, press, sample, screen, screen_at, tell, type_text, view_of};
use crate::view::figures::Sample;
use crate::view::reply::{Lateness, Server, Session};
use crate::view::state::{News, View};

#[test]
fn everything_has_its_place_on_a_usual_terminal() {
    let mut view = view_of(&[("1-1", 10_000), ("1-2", 20_000)]);
    let lines = screen(&mut view, 80, 24);
    assert!(lines[0].starts_with("/run/app.sock  up 1s"), "{lines:#?}");
    assert_eq!(lines[1], "connections 2  bytes/s 30.0k in 0 out  messages/s - in - out");
    assert!(lines[2].starts_with("LOOP") && lines[3].starts_with("server-0"), "{lines:#?}");
    assert!(lines[4].starts_with("lateness of timers and tasks, p99: - now"), "{lines:#?}");
    assert_eq!(lines[8], "Connections 2  Sessions  Servers  by BYTES/s, highest first");
    assert!(lines[9].starts_with("ID       PEER"), "{lines:#?}");
    assert_eq!(lines[10], "1-2      127.0.0.1:50002          20.0k   20.0k       0        0     0ms   1m00s");
    assert!(lines[23].starts_with("q quit  p pause"), "{lines:#?}");
}

#[test]
fn no_size_is_too_small_or_too_large() {
    let mut view = view_of(&[("1-1", 10), ("1-2", 20)]);
    let widths = [0, 1, 7, 79, 130];
    let heights = [0, 1, 2, 3, 8, 9, 14, 20, 40];
    let draw_all = |view: &mut View| {
        for (width, height) in widths.into_iter().flat_map(|width| heights.map(|height| (width, height))) {
            screen(view, width, height);
        }
    };
    for keys in ["1", "2", "3", "1/x", "\u{8}", "\rk", "\u{1b}p"] {
        for char in keys.chars() {
            press(
                &mut view,
                [match char {
                    '\r' => KeyCode::Enter,
                    '\u{8}' => KeyCode::Backspace,
                    '\u{1b}' => KeyCode::Esc,
                    char => KeyCode::Char(char),
                }],
            );
        }
        draw_all(&mut view);
    }
    view.take(News::Lost("gone".to_owned()), view.told_at);
    draw_all(&mut view);
}

#[test]
fn what_matters_most_is_shown_on_a_small_terminal() {
    let mut view = view_of(&[("1-1", 10), ("1-2", 20)]);
    let lines = screen(&mut view, 40, 6);
    assert!(lines[0].starts_with("/run/app.sock"), "{lines:#?}");
    assert!(lines[3].starts_with("ID ") && lines[4].starts_with("1-2 "), "{lines:#?}");
    assert!(lines[5].starts_with("q quit"), "{lines:#?}");
}

#[test]
fn a_wide_terminal_shows_more_columns() {
    let mut view = view_of(&[("1-1", 10)]);
    let heading = |view: &mut View, width| {
        screen(view, width, 24).into_iter().find(|line| line.starts_with("ID")).unwrap()
    };
    assert!(heading(&mut view, 80).ends_with("AGE"));
    assert!(heading(&mut view, 200).ends_with("UNREAD      IN     OUT"));
    assert_eq!(heading(&mut view, 12), "ID");
}

#[test]
fn names_of_the_servers_are_harmless() {
    let evil = "\u{1b}[2J\r\n\u{202e}evil".to_owned();
    let start = Instant::now();
    let mut view = View::new(evil.clone(), INTERVAL, start);
    let mut bad = connection("1-1", 0, 0);
    (bad.id, bad.peer, bad.state) = (evil.clone(), evil.clone(), evil.clone());
    (bad.server, bad.r#loop, bad.local) = (Some(evil.clone()), evil.clone(), Some(evil.clone()));
    let mut sample = sample(start, 0, vec![bad]);
    sample.loops.is.loops[0].name.clone_from(&evil);
    let server = Server { name: evil.clone(), addresses: vec![evil.clone()], ..Server::default() };
    sample.servers.is.servers.push(server);
    let session = Session { id: evil.clone(), peer: evil.clone(), state: evil.clone(), ..Session::default() };
    sample.sessions.as_mut().unwrap().is.sessions.push(session);
    sample.trouble = Some(evil.clone());
    tell(&mut view, sample);

    let mut looked_at = 0;
    let mut look = |view: &mut View| {
        let text = screen(view, 200, 24).concat();
        assert!(text.contains("?[2J???evil"), "{text}");
        assert!(!text.chars().any(|char| char.is_control() || char == '\u{202e}'), "{text}");
        looked_at += 1;
    };
    for page in ['1', '2', '3'] {
        press(&mut view, [KeyCode::Char(page)]);
        look(&mut view);
    }
    press(&mut view, [KeyCode::Char('1'), KeyCode::Char('k')]);
    look(&mut view);
    press(&mut view, [KeyCode::Esc]);
    view.take(News::Notice(evil.clone()), start);
    look(&mut view);
    view.take(News::Lost(evil), start);
    look(&mut view);
    assert_eq!(looked_at, 6);
}

#[test]
fn the_sparkline_grows_by_the_logarithm_and_leaves_out_what_was_not_there() {
    let start = Instant::now();
    let mut view = View::new("/run/app.sock".to_owned(), INTERVAL, start);
    let mut counts = vec![0; 32];
    let mut second = 0;
    let mut go_on = |view: &mut View, bucket: Option<usize>| {
        if let Some(bucket) = bucket {
            counts[bucket] += 100;
        }
        let mut sample: Sample = sample(start, second * 1000, Vec::new());
        sample.loops.is.loops[0].timer_lateness = Lateness { buckets: counts.clone() };
        tell(view, sample);
        second += 1;
    };
    for bucket in [None, Some(20), None, Some(6), Some(0)] {
        go_on(&mut view, bucket);
    }
    let lines = screen(&mut view, 80, 24);
    assert_eq!(lines[4], "lateness of timers and tasks, p99: 1us now, 1.0s at most of 4 intervals");
    let columns = |line: &str| -> String { format!("{line:80}").chars().skip(76).collect() };
    assert_eq!(columns(&lines[5]), "█   ");
    assert_eq!(columns(&lines[6]), "█   ");
    assert_eq!(columns(&lines[7]), "█ █▁");
    // What is later than a second is as high as that.
    go_on(&mut view, Some(31));
    assert_eq!(columns(&screen(&mut view, 80, 24)[5]), "   █");
}

#[test]
fn more_loops_than_have_room_are_counted() {
    let start = Instant::now();
    let mut view = View::new("/run/app.sock".to_owned(), INTERVAL, start);
    let mut sample = sample(start, 0, Vec::new());
    let a_loop = sample.loops.is.loops[0].clone();
    sample.loops.is.loops = vec![a_loop; 64];
    tell(&mut view, sample);
    let lines = screen(&mut view, 80, 24);
    let shown = lines.iter().filter(|line| line.starts_with("server-0")).count();
    assert!(shown > 1, "{lines:#?}");
    assert!(lines.contains(&format!("and {} loops more", 64 - shown)), "{lines:#?}");
}

#[test]
fn a_server_that_is_gone_is_told_with_the_time_and_the_reason() {
    let mut view = view_of(&[("1-1", 10)]);
    let lost = view.told_at + Duration::from_secs(1);
    view.take(News::Lost("connection refused".to_owned()), lost);
    view.take(News::Lost("no such file".to_owned()), lost + Duration::from_secs(4));
    let lines = screen_at(&mut view, 80, 24, lost + Duration::from_secs(5));
    assert!(lines[0].ends_with("no server for 5s"), "{lines:#?}");
    assert_eq!(lines[1], "no such file");
    // And it is forgotten once there is one.
    let start = lost + Duration::from_secs(6);
    tell(&mut view, sample(start, 0, vec![connection("1-1", 0, 0)]));
    let lines = screen(&mut view, 80, 24);
    assert!(lines[0].ends_with("every 1s"), "{lines:#?}");
    assert!(lines[1].starts_with("connections 1  bytes/s - in"), "{lines:#?}");
}

#[test]
fn a_server_that_does_not_answer_is_told_unless_it_was_not_asked() {
    let mut view = view_of(&[]);
    let later = view.told_at + Duration::from_secs(7);
    assert!(screen_at(&mut view, 80, 24, later)[0].ends_with("no answer for 7s"));
    press(&mut view, [KeyCode::Char('p')]);
    assert!(screen_at(&mut view, 80, 24, later)[0].ends_with("paused"));
}

#[test]
fn what_is_shown_is_told_apart_from_what_there_is() {
    let mut view = view_of(&[("1-1", 10), ("1-2", 20), ("2-1", 5)]);
    let title = |view: &mut View| screen(view, 100, 24).into_iter().find(|line| line.contains("Servers"));
    type_text(&mut view, "/2-1");
    assert_eq!(
        title(&mut view).unwrap(),
        "Connections 1 of 3  Sessions  Servers  by BYTES/s, highest first  with '2-1'"
    );
    let mut sample =
        sample(view.told_at + INTERVAL, 0, vec![connection("1-1", 30, 0), connection("2-1", 15, 0)]);
    (sample.connections.is.total, sample.connections.is.matched) = (9000, 9000);
    tell(&mut view, sample);
    assert!(title(&mut view).unwrap().starts_with("Connections 1 of 9000 (2 looked at)  Sessions"));
    assert!(screen(&mut view, 80, 24)[1].starts_with("connections 9000  bytes/s >=15 in"));
}
