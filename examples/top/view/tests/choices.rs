//! Sorting, filtering and the cursor.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::KeyCode;

use super::{connection, press, sample, shown, tell, type_text, view_of};
use crate::view::state::{News, View};
use crate::view::{Asked, Effect};

fn under_cursor(view: &mut View) -> String {
    view.under_cursor().expect("a row").0
}

/// Tells that connections have received so much in another second.
fn go_on(view: &mut View, connections: &[(&str, u64)]) {
    let at = view.told_at + Duration::from_secs(1);
    let connections = connections.iter().map(|(id, bytes_in)| connection(id, *bytes_in, 0)).collect();
    tell(view, sample(at, 0, connections));
}

#[test]
fn the_busiest_connections_come_first() {
    let mut view = view_of(&[("1-1", 10), ("1-2", 30), ("1-3", 20)]);
    assert_eq!(shown(&mut view), ["1-2", "1-3", "1-1"]);
    press(&mut view, [KeyCode::Char('r')]);
    assert_eq!(shown(&mut view), ["1-1", "1-3", "1-2"]);
}

#[test]
fn equals_and_identifiers_are_in_the_order_of_their_numbers() {
    let mut view = view_of(&[("2-1", 5), ("1-10", 5), ("1-9", 5)]);
    assert_eq!(shown(&mut view), ["1-9", "1-10", "2-1"]);
    // From BYTES/s back over PEER to ID.
    press(&mut view, [KeyCode::Left, KeyCode::Left, KeyCode::Char('r')]);
    assert_eq!(shown(&mut view), ["2-1", "1-10", "1-9"]);
}

#[test]
fn what_is_sorted_by_goes_round_all_columns() {
    let mut view = view_of(&[("1-1", 1)]);
    let first = view.query();
    let mut columns = 0;
    loop {
        press(&mut view, [KeyCode::Char('s')]);
        columns += 1;
        if view.connections.column == 2 {
            break;
        }
    }
    assert_eq!((columns, view.query()), (14, first.clone()));
    press(&mut view, [KeyCode::Char('s'), KeyCode::Char('S')]);
    assert_eq!(view.query(), first);
}

#[test]
fn the_server_is_asked_for_those_that_come_first_here() {
    let mut view = view_of(&[]);
    let asked = |view: &View| view.query().connections;
    // It knows no rates: those that were active last may have some.
    let by_rate = Asked { filter: String::new(), sort: "idle_ms", descending: false };
    assert_eq!(asked(&view), by_rate);
    press(&mut view, [KeyCode::Char('r')]);
    assert_eq!(asked(&view), Asked { descending: true, ..by_rate });
    press(&mut view, [KeyCode::Left]);
    type_text(&mut view, "/x");
    assert_eq!(asked(&view), Asked { filter: "x".to_owned(), sort: "peer", descending: false });
    assert_eq!(view.query().sessions, None);
    press(&mut view, [KeyCode::Enter, KeyCode::Tab]);
    let by_throughput = Asked { filter: String::new(), sort: "throughput.messages_in", descending: true };
    assert_eq!(view.query().sessions, Some(by_throughput));
}

#[test]
fn a_filter_narrows_while_it_is_typed_and_esc_drops_it() {
    let mut view = view_of(&[("1-1", 10), ("1-2", 20), ("2-1", 30)]);
    type_text(&mut view, "/1-");
    assert_eq!(shown(&mut view), ["1-2", "1-1"]);
    type_text(&mut view, "2");
    assert_eq!(shown(&mut view), ["1-2"]);
    press(&mut view, [KeyCode::Backspace]);
    assert_eq!(shown(&mut view), ["1-2", "1-1"]);
    // Letters are text until Enter, and commands afterwards.
    type_text(&mut view, "q");
    assert!(shown(&mut view).is_empty());
    press(&mut view, [KeyCode::Backspace, KeyCode::Enter]);
    assert_eq!(shown(&mut view), ["1-2", "1-1"]);
    assert_eq!(press(&mut view, [KeyCode::Char('q')]), Some(Effect::Quit));
    press(&mut view, [KeyCode::Esc]);
    assert_eq!(shown(&mut view).len(), 3);
}

#[test]
fn a_filter_is_a_part_of_the_identifier_the_peer_the_server_or_the_loop() {
    let mut view = view_of(&[("1-1", 10), ("1-2", 20)]);
    for (text, found) in [("1-2", 1), ("50001", 1), ("server-0", 2), ("nothing", 0)] {
        type_text(&mut view, &format!("/{text}"));
        assert_eq!(shown(&mut view).len(), found, "{text}");
        press(&mut view, [KeyCode::Esc]);
    }
}

#[test]
fn the_cursor_stays_on_its_row_when_rows_move() {
    let mut view = view_of(&[("1-1", 10), ("1-2", 20), ("1-3", 30)]);
    press(&mut view, [KeyCode::Down]);
    assert_eq!(under_cursor(&mut view), "1-2");
    go_on(&mut view, &[("1-1", 50), ("1-2", 100), ("1-3", 65)]);
    assert_eq!(shown(&mut view), ["1-2", "1-1", "1-3"]);
    assert_eq!(under_cursor(&mut view), "1-2");
}

#[test]
fn the_cursor_at_the_top_stays_there_when_rows_move() {
    let mut view = view_of(&[("1-1", 10), ("1-2", 20)]);
    assert_eq!(under_cursor(&mut view), "1-2");
    go_on(&mut view, &[("1-1", 1000), ("1-2", 60)]);
    assert_eq!(under_cursor(&mut view), "1-1");
}

#[test]
fn the_cursor_stays_where_it_was_when_its_row_is_gone() {
    let mut view = view_of(&[("1-1", 10), ("1-2", 20), ("1-3", 30)]);
    press(&mut view, [KeyCode::Down]);
    go_on(&mut view, &[("1-1", 30), ("1-3", 90)]);
    assert_eq!(under_cursor(&mut view), "1-1");
    press(&mut view, [KeyCode::Down, KeyCode::Down]);
    assert_eq!(under_cursor(&mut view), "1-1");
    go_on(&mut view, &[("1-3", 120)]);
    assert_eq!(under_cursor(&mut view), "1-3");
    go_on(&mut view, &[]);
    assert_eq!(view.under_cursor(), None);
}

#[test]
fn the_cursor_moves_by_pages_and_to_both_ends_and_is_always_on_the_screen() {
    let ids: Vec<String> = (1..=100).map(|number| format!("1-{number}")).collect();
    let rates: Vec<(&str, u64)> = ids.iter().map(|id| (id.as_str(), 7)).collect();
    let mut view = view_of(&rates);
    let first_page = shown(&mut view);
    let page = first_page.len();
    let moves = [
        (KeyCode::Down, "1-2".to_owned()),
        (KeyCode::PageDown, format!("1-{}", 2 + page)),
        (KeyCode::Up, format!("1-{}", 1 + page)),
        (KeyCode::PageUp, "1-1".to_owned()),
        (KeyCode::Up, "1-1".to_owned()),
        (KeyCode::End, "1-100".to_owned()),
        (KeyCode::Down, "1-100".to_owned()),
        (KeyCode::PageUp, format!("1-{}", 100 - page)),
        (KeyCode::Home, "1-1".to_owned()),
    ];
    for (key, expected) in moves {
        press(&mut view, [key]);
        assert_eq!(under_cursor(&mut view), expected, "{key:?}");
        assert!(shown(&mut view).contains(&expected), "{key:?}");
    }
    assert_eq!(shown(&mut view), first_page);
}

#[test]
fn each_page_has_choices_of_its_own() {
    let mut view = view_of(&[("1-1", 10), ("1-2", 20)]);
    type_text(&mut view, "/1-2");
    press(&mut view, [KeyCode::Enter, KeyCode::Tab]);
    assert_eq!(view.choice().filter, "");
    press(&mut view, [KeyCode::Tab, KeyCode::Tab]);
    assert_eq!(view.choice().filter, "1-2");
}

#[test]
fn a_server_that_is_lost_leaves_what_was_last_seen() {
    let mut view = view_of(&[("1-1", 10), ("1-2", 20)]);
    view.take(News::Lost("connection refused".to_owned()), Instant::now());
    assert_eq!(shown(&mut view), ["1-2", "1-1"]);
}
