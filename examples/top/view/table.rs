//! A table of rows of one kind: its columns, and what the user has chosen of it.

use std::cmp::Ordering;

use super::text::harmless;

/// A kind of row.
pub(crate) trait Row: Sized + 'static {
    /// What it has to show, the most important first: what doesn't fit on the screen is left out from the end.
    const COLUMNS: &'static [Column<Self>];
    /// The column that it is sorted by at first.
    const SORTED_BY: usize;

    /// What it can be found by again in the next sample.
    fn id(&self) -> &str;

    /// What is searched for the filter's text.
    fn searched(&self) -> impl Iterator<Item = &str>;
}

pub(crate) struct Column<R: 'static> {
    pub(crate) title: &'static str,
    pub(crate) width: u16,
    /// The field that the server has to sort by to the same effect; with a minus if it has to be the other way round.
    asked: &'static str,
    value: Value<R>,
}

enum Value<R: 'static> {
    Id(fn(&R) -> &str),
    Text(fn(&R) -> String),
    /// How it is written, and what it is, if that is known.
    Number(fn(f64) -> String, fn(&R) -> Option<f64>),
}

impl<R> Column<R> {
    pub(crate) const fn id(title: &'static str, width: u16, value: fn(&R) -> &str) -> Self {
        Self { title, width, asked: "id", value: Value::Id(value) }
    }

    pub(crate) const fn text(
        title: &'static str,
        width: u16,
        asked: &'static str,
        value: fn(&R) -> String,
    ) -> Self {
        Self { title, width, asked, value: Value::Text(value) }
    }

    pub(crate) const fn number(
        title: &'static str,
        width: u16,
        asked: &'static str,
        written: fn(f64) -> String,
        value: fn(&R) -> Option<f64>,
    ) -> Self {
        Self { title, width, asked, value: Value::Number(written, value) }
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self.value, Value::Text(_))
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(self.value, Value::Number(..))
    }

    /// What is shown of a row.
    pub(crate) fn cell(&self, row: &R) -> String {
        match self.value {
            Value::Id(value) => harmless(value(row)),
            Value::Text(value) => harmless(&value(row)),
            Value::Number(written, value) => value(row).map_or_else(|| "-".to_owned(), written),
        }
    }

    /// The field to have the server sort by, and whether descending.
    pub(crate) fn asked(&self, descending: bool) -> (&'static str, bool) {
        match self.asked.strip_prefix('-') {
            Some(field) => (field, !descending),
            None => (self.asked, descending),
        }
    }

    fn key(&self, row: &R) -> Key {
        match self.value {
            Value::Id(value) => Key::Id(numbers_of(value(row))),
            Value::Text(value) => Key::Text(value(row)),
            // What isn't known is less than anything.
            Value::Number(_, value) => Key::Number(value(row).unwrap_or(-1.0)),
        }
    }
}

/// What rows are sorted by.
enum Key {
    Id((u64, u64)),
    Text(String),
    Number(f64),
}

impl Key {
    /// Compares with another key of the same column.
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Id(this), Self::Id(other)) => this.cmp(other),
            (Self::Text(this), Self::Text(other)) => this.cmp(other),
            (Self::Number(this), Self::Number(other)) => this.total_cmp(other),
            _ => Ordering::Equal,
        }
    }
}

/// What the user has chosen of a table.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The column it is sorted by.
    pub(crate) column: usize,
    pub(crate) descending: bool,
    pub(crate) filter: String,
    /// The row that the cursor is on; none means the first one, whichever that is.
    cursor: Option<String>,
    /// Where the cursor was when it was last looked up, for when its row is gone.
    place: usize,
    /// The first row on the screen.
    top: usize,
}

impl Choice {
    pub(crate) fn of<R: Row>() -> Self {
        let first = R::SORTED_BY;
        let descending = R::COLUMNS[first].is_number();
        Self { column: first, descending, filter: String::new(), cursor: None, place: 0, top: 0 }
    }

    /// The rows that the filter lets through, in the order that was chosen.
    pub(crate) fn arrange<'a, R: Row>(&self, rows: &'a [R]) -> Vec<&'a R> {
        let matches = |row: &&R| row.searched().any(|text| text.contains(&self.filter));
        let column = &R::COLUMNS[self.column];
        let mut keyed: Vec<(Key, (u64, u64), &R)> =
            rows.iter().filter(matches).map(|row| (column.key(row), numbers_of(row.id()), row)).collect();
        keyed.sort_by(|(key, id, _), (other, other_id, _)| {
            let by_key = key.compare(other);
            let by_key = if self.descending { by_key.reverse() } else { by_key };
            by_key.then_with(|| id.cmp(other_id))
        });
        keyed.into_iter().map(|(_, _, row)| row).collect()
    }

    /// Where the cursor is among these rows. A cursor whose row is gone stays where it was.
    pub(crate) fn cursor<R: Row>(&mut self, arranged: &[&R]) -> usize {
        let found = match &self.cursor {
            None => 0,
            Some(id) => arranged.iter().position(|row| row.id() == id).unwrap_or(self.place),
        };
        self.place = found.min(arranged.len().saturating_sub(1));
        self.place
    }

    /// Moves the cursor by so many rows, as far as there are any. At the top it stays there, whatever row that is; elsewhere it
    /// stays on its row.
    pub(crate) fn step<R: Row>(&mut self, arranged: &[&R], by: isize) {
        let last = arranged.len().saturating_sub(1);
        self.place = self.cursor(arranged).saturating_add_signed(by).min(last);
        self.cursor = match self.place {
            0 => None,
            place => arranged.get(place).map(|row| row.id().to_owned()),
        };
    }

    /// The first of `count` rows to be shown on a screen with room for so many, so that the cursor is among them.
    pub(crate) fn scroll(&mut self, cursor: usize, visible: usize, count: usize) -> usize {
        let lowest = (cursor + 1).saturating_sub(visible);
        self.top = self.top.min(count.saturating_sub(visible)).clamp(lowest.min(cursor), cursor);
        self.top
    }

    /// Sorts by the column beside: numbers with the highest first, texts with the lowest.
    pub(crate) fn sort_by_next<R: Row>(&mut self, forward: bool) {
        let columns = R::COLUMNS.len();
        self.column = (self.column + if forward { 1 } else { columns - 1 }) % columns;
        self.descending = R::COLUMNS[self.column].is_number();
    }
}

/// Identifiers such as `2-17`, so that they sort by their numbers; anything else comes last.
fn numbers_of(id: &str) -> (u64, u64) {
    let numbers =
        id.split_once('-').and_then(|(first, second)| Some((first.parse().ok()?, second.parse().ok()?)));
    numbers.unwrap_or((u64::MAX, u64::MAX))
}
