//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::state::{Mode, Page, View};

/// The most characters of a filter.
const LONGEST_FILTER: usize = 60;

/// What a key has done beyond what is shown.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    Quit,
    Pause(bool),
    /// A connection is to be closed: in good order, or at once.
    Kick {
        id: String,
        abort: bool,
    },
}

impl View {
    pub(crate) fn press(&mut self, key: KeyEvent) -> Option<Effect> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        self.notice = None;
        if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
            return (key.code == KeyCode::Char('c')).then_some(Effect::Quit);
        }
        match std::mem::replace(&mut self.mode, Mode::Commands) {
            Mode::Commands => self.command(key.code),
            Mode::Filter => {
                self.edit_filter(key.code);
                None
            }
            Mode::Kick { id, .. } => match key.code {
                KeyCode::Char('y') => Some(Effect::Kick { id, abort: false }),
                KeyCode::Char('a') => Some(Effect::Kick { id, abort: true }),
                _ => None,
            },
        }
    }

    fn command(&mut self, key: KeyCode) -> Option<Effect> {
        let page = isize::try_from(self.visible_rows.max(1)).unwrap_or(1);
        match key {
            KeyCode::Char('q') => return Some(Effect::Quit),
            KeyCode::Char('p') => {
                self.paused = !self.paused;
                return Some(Effect::Pause(self.paused));
            }
            KeyCode::Tab => self.turn_to(match self.page {
                Page::Connections => Page::Sessions,
                Page::Sessions => Page::Servers,
                Page::Servers => Page::Connections,
            }),
            KeyCode::BackTab => self.turn_to(match self.page {
                Page::Connections => Page::Servers,
                Page::Sessions => Page::Connections,
                Page::Servers => Page::Sessions,
            }),
            KeyCode::Char('1') => self.turn_to(Page::Connections),
            KeyCode::Char('2') => self.turn_to(Page::Sessions),
            KeyCode::Char('3') => self.turn_to(Page::Servers),
            KeyCode::Char('s') | KeyCode::Right => self.sort_by_next(true),
            KeyCode::Char('S') | KeyCode::Left => self.sort_by_next(false),
            KeyCode::Char('r') => self.choice().descending ^= true,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Esc => self.choice().filter.clear(),
            KeyCode::Up => self.step(-1),
            KeyCode::Down => self.step(1),
            KeyCode::PageUp => self.step(-page),
            KeyCode::PageDown => self.step(page),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            KeyCode::Char('k') => match self.under_cursor() {
                Some((id, peer)) => self.mode = Mode::Kick { id, peer },
                None => self.notice = Some("there is no connection under the cursor".to_owned()),
            },
            _ => {}
        }
        None
    }

    fn edit_filter(&mut self, key: KeyCode) {
        let filter = &mut self.choice().filter;
        match key {
            KeyCode::Enter => return,
            KeyCode::Esc => return filter.clear(),
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Char(char) if !char.is_control() && filter.chars().count() < LONGEST_FILTER => {
                filter.push(char);
            }
            _ => {}
        }
        self.mode = Mode::Filter;
    }
}
