//! Keys that have an effect beyond the screen.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{press, screen, view_of};
use crate::view::Effect;
use crate::view::state::{News, Page};

fn kicked(id: &str, abort: bool) -> Option<Effect> {
    Some(Effect::Kick { id: id.to_owned(), abort })
}

#[test]
fn a_connection_is_closed_once_that_was_confirmed() {
    let mut view = view_of(&[("1-1", 10), ("1-2", 20)]);
    assert_eq!(press(&mut view, [KeyCode::Down, KeyCode::Char('k')]), None);
    let footer = screen(&mut view, 80, 24).pop().unwrap();
    assert!(footer.starts_with("close 1-1 (127.0.0.1:50001)?"), "{footer}");
    assert_eq!(press(&mut view, [KeyCode::Char('y')]), kicked("1-1", false));
    // The answer is taken once.
    assert_eq!(press(&mut view, [KeyCode::Char('y')]), None);
    assert_eq!(press(&mut view, [KeyCode::Char('k'), KeyCode::Char('a')]), kicked("1-1", true));
}

#[test]
fn any_other_key_leaves_the_connection_alone() {
    let mut view = view_of(&[("1-1", 10)]);
    for key in [KeyCode::Char('n'), KeyCode::Enter, KeyCode::Esc, KeyCode::Char('q'), KeyCode::Char('k')] {
        assert_eq!(press(&mut view, [KeyCode::Char('k'), key]), None, "{key:?}");
        assert_eq!(press(&mut view, [KeyCode::Char('y')]), None, "{key:?}");
    }
}

#[test]
fn there_is_nothing_to_close_in_an_empty_table_or_among_servers() {
    let mut view = view_of(&[]);
    assert_eq!(press(&mut view, [KeyCode::Char('k'), KeyCode::Char('y')]), None);
    let mut view = view_of(&[("1-1", 10)]);
    assert_eq!(press(&mut view, [KeyCode::Char('3'), KeyCode::Char('k'), KeyCode::Char('y')]), None);
}

#[test]
fn a_notice_stays_until_the_next_key() {
    let mut view = view_of(&[("1-1", 10)]);
    view.take(News::Notice("1-1 is being closed".to_owned()), view.told_at);
    assert_eq!(screen(&mut view, 80, 24).pop().unwrap(), "1-1 is being closed");
    press(&mut view, [KeyCode::Down]);
    assert!(screen(&mut view, 80, 24).pop().unwrap().starts_with("q quit"));
}

#[test]
fn pausing_holds_until_the_same_key() {
    let mut view = view_of(&[]);
    assert_eq!(press(&mut view, [KeyCode::Char('p')]), Some(Effect::Pause(true)));
    assert!(screen(&mut view, 80, 24)[0].ends_with("paused"));
    assert_eq!(press(&mut view, [KeyCode::Char('p')]), Some(Effect::Pause(false)));
    assert!(screen(&mut view, 80, 24)[0].ends_with("every 1s"));
}

#[test]
fn tab_goes_round_the_pages_and_digits_go_to_them() {
    let mut view = view_of(&[]);
    let turns = [
        (KeyCode::Tab, Page::Sessions),
        (KeyCode::Tab, Page::Servers),
        (KeyCode::Tab, Page::Connections),
        (KeyCode::BackTab, Page::Servers),
        (KeyCode::BackTab, Page::Sessions),
        (KeyCode::BackTab, Page::Connections),
        (KeyCode::Char('3'), Page::Servers),
        (KeyCode::Char('2'), Page::Sessions),
        (KeyCode::Char('1'), Page::Connections),
    ];
    for (key, page) in turns {
        press(&mut view, [key]);
        assert_eq!(view.page, page, "{key:?}");
    }
}

#[test]
fn control_c_quits_whatever_keys_mean_and_other_controls_are_no_commands() {
    let control = |char| KeyEvent::new(KeyCode::Char(char), KeyModifiers::CONTROL);
    for before in ["", "/", "k"] {
        let mut view = view_of(&[("1-1", 10)]);
        press(&mut view, before.chars().map(KeyCode::Char));
        assert_eq!(view.press(control('c')), Some(Effect::Quit), "after {before:?}");
    }
    let mut view = view_of(&[("1-1", 10)]);
    assert_eq!(view.press(control('q')), None);
    press(&mut view, [KeyCode::Char('k')]);
    assert_eq!(view.press(control('y')), None);
}

#[test]
fn a_key_that_is_let_go_does_nothing() {
    let mut view = view_of(&[]);
    let released = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
    assert_eq!(view.press(released), None);
}
