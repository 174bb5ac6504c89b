//! What is known of the server, and what the user has chosen to see of it.

use std::time::{Duration, Instant};

use super::figures::{ConnectionRow, Figures, Sample, ServerRow, SessionRow};
use super::history::History;
use super::table::{Choice, Row};

/// What comes from the server's side.
#[derive(Debug)]
pub(crate) enum News {
    Sample(Box<Sample>),
    /// The server can't be asked any more, or not yet again, and why.
    Lost(String),
    /// What became of something that the user wanted.
    Notice(String),
}

/// What the server has to be asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    pub(crate) connections: Asked,
    pub(crate) sessions: Option<Asked>,
}

/// How rows are chosen if there are more than are fetched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) filter: String,
    pub(crate) sort: &'static str,
    pub(crate) descending: bool,
}

/// Which table is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Page {
    Connections,
    Sessions,
    Servers,
}

/// What keys mean.
#[derive(Debug, PartialEq)]
pub(super) enum Mode {
    Commands,
    /// They are the text that rows are filtered by.
    Filter,
    /// They answer whether this is to be closed.
    Kick {
        id: String,
        peer: String,
    },
}

#[derive(Debug, PartialEq)]
pub(super) enum Link {
    Up,
    Lost { since: Instant, why: String },
}

#[derive(Debug)]
pub(crate) struct View {
    pub(super) path: String,
    pub(super) interval: Duration,
    pub(super) paused: bool,
    pub(super) link: Link,
    /// When something was last heard from the server's side.
    pub(super) told_at: Instant,
    pub(super) figures: Figures,
    pub(super) trouble: Option<String>,
    pub(super) history: History,
    pub(super) page: Page,
    pub(super) connections: Choice,
    pub(super) sessions: Choice,
    pub(super) servers: Choice,
    pub(super) mode: Mode,
    /// What is told at the bottom until the next key.
    pub(super) notice: Option<String>,
    /// How many rows of the table fitted on the screen.
    pub(super) visible_rows: usize,
}

impl View {
    pub(crate) fn new(path: String, interval: Duration, now: Instant) -> Self {
        Self {
            path,
            interval,
            paused: false,
            link: Link::Up,
            told_at: now,
            figures: Figures::default(),
            trouble: None,
            history: History::default(),
            page: Page::Connections,
            connections: Choice::of::<ConnectionRow>(),
            sessions: Choice::of::<SessionRow>(),
            servers: Choice::of::<ServerRow>(),
            mode: Mode::Commands,
            notice: None,
            visible_rows: 0,
        }
    }

    pub(crate) fn take(&mut self, news: News, now: Instant) {
        self.told_at = now;
        match news {
            News::Sample(mut sample) => {
                self.link = Link::Up;
                self.trouble = sample.trouble.take();
                self.figures = self.history.take(*sample, self.interval);
            }
            News::Lost(why) => {
                self.history.forget();
                let since = match self.link {
                    Link::Up => now,
                    Link::Lost { since, .. } => since,
                };
                self.link = Link::Lost { since, why };
            }
            News::Notice(notice) => self.notice = Some(notice),
        }
    }

    pub(crate) fn query(&self) -> Query {
        let sessions = (self.page == Page::Sessions).then(|| asked::<SessionRow>(&self.sessions));
        Query { connections: asked::<ConnectionRow>(&self.connections), sessions }
    }

    pub(super) fn turn_to(&mut self, page: Page) {
        self.page = page;
    }

    pub(super) fn choice(&mut self) -> &mut Choice {
        match self.page {
            Page::Connections => &mut self.connections,
            Page::Sessions => &mut self.sessions,
            Page::Servers => &mut self.servers,
        }
    }

    pub(super) fn sort_by_next(&mut self, forward: bool) {
        match self.page {
            Page::Connections => self.connections.sort_by_next::<ConnectionRow>(forward),
            Page::Sessions => self.sessions.sort_by_next::<SessionRow>(forward),
            Page::Servers => self.servers.sort_by_next::<ServerRow>(forward),
        }
    }

    pub(super) fn step(&mut self, by: isize) {
        fn step<R: Row>(choice: &mut Choice, rows: &[R], by: isize) {
            let arranged = choice.arrange(rows);
            choice.step(&arranged, by);
        }
        match self.page {
            Page::Connections => step(&mut self.connections, &self.figures.connections.rows, by),
            Page::Sessions => step(&mut self.sessions, &self.figures.sessions.rows, by),
            Page::Servers => step(&mut self.servers, &self.figures.servers.rows, by),
        }
    }

    /// The identifier and the peer of what the cursor is on, if that is something that can be closed.
    pub(super) fn under_cursor(&mut self) -> Option<(String, String)> {
        fn row<'a, R: Row>(choice: &mut Choice, rows: &'a [R]) -> Option<&'a R> {
            let arranged = choice.arrange(rows);
            arranged.get(choice.cursor(&arranged)).copied()
        }
        match self.page {
            Page::Connections => row(&mut self.connections, &self.figures.connections.rows)
                .map(|row| (row.of.id.clone(), row.of.peer.clone())),
            Page::Sessions => row(&mut self.sessions, &self.figures.sessions.rows)
                .map(|row| (row.of.id.clone(), row.of.peer.clone())),
            Page::Servers => None,
        }
    }
}

fn asked<R: Row>(choice: &Choice) -> Asked {
    let (sort, descending) = R::COLUMNS[choice.column].asked(choice.descending);
    Asked { filter: choice.filter.clone(), sort, descending }
}
