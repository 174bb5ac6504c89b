//! Results as text for people.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// A list of more numbers than this is a histogram, say, and makes a table too wide to be read.
const MOST_NUMBERS: usize = 8;

/// A result as text: what is text already as it is, a list of objects as a table, all else as lines.
///
/// An object one of whose members is such a list is lines and a table. Objects in objects are shown by names with dots. A table that
/// is too wide for a terminal of `width` columns has the objects side by side, if they fit in so.
pub(crate) fn text_of(result: &RawValue, width: Option<usize>) -> String {
    if let Some(rows) = rows_of(result) {
        return table(&rows, width);
    }
    let Some(members) = read::<Members<'_>>(result) else {
        return match read(result) {
            Some(Value::String(text)) => with_line_end(text),
            Some(Value::Null) => String::new(),
            _ => with_line_end(cell(result)),
        };
    };
    if let Some(text) = members.text() {
        return with_line_end(text);
    }
    let mut lists = members.0.iter().filter_map(|(name, value)| Some((name, rows_of(value)?)));
    let (name, rows) = match (lists.next(), lists.next()) {
        (Some((name, rows)), None) => (Some(name), rows),
        _ => (None, Vec::new()),
    };
    let others = members.0.iter().filter(|(other, _)| Some(other) != name);
    let mut lines = Vec::new();
    others.for_each(|(name, value)| flatten(name, value, cell, &mut lines));
    let lines: String = lines.iter().map(|(name, text)| format!("{}: {text}\n", in_line(name))).collect();
    let gap = if lines.is_empty() || rows.is_empty() { "" } else { "\n" };
    format!("{lines}{gap}{}", table(&rows, width))
}

/// Rows of text in columns.
pub(crate) fn columns<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<Vec<String>> =
        rows.map(|row| row.iter().map(|cell| in_line(cell).into_owned()).collect()).collect();
    aligned(&rows, &[false; N])
}

/// The text without what would do something to a terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let is_harmless = |character: char| !character.is_control() || matches!(character, '\n' | '\t');
    if text.chars().all(is_harmless) {
        return text.into();
    }
    let escaped = text.chars().map(|character| match is_harmless(character) {
        true => character.to_string(),
        false => character.escape_default().to_string(),
    });
    escaped.collect::<String>().into()
}

fn in_line(text: &str) -> Cow<'_, str> {
    match text.contains(['\n', '\t']) {
        true => printable(text).replace('\n', "\\n").replace('\t', "\\t").into(),
        false => printable(text),
    }
}

fn with_line_end(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// An object whose members keep their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl Members<'_> {
    fn text(&self) -> Option<String> {
        let (_, text) = self.0.iter().find(|(name, _)| name == "text")?;
        read(text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfMap;

        impl<'de> Visitor<'de> for OfMap {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        from.deserialize_map(OfMap).map(Members)
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a RawValue) -> Option<T> {
    serde_json::from_str(json.get()).ok()
}

/// A list of objects, if it is one and not empty.
fn rows_of(json: &RawValue) -> Option<Vec<Members<'_>>> {
    read(json).filter(|rows: &Vec<_>| !rows.is_empty())
}

/// Adds a value under its name; of an object each member.
fn flatten(name: &str, json: &RawValue, cell: fn(&RawValue) -> String, into: &mut Vec<(String, String)>) {
    match read::<Members<'_>>(json) {
        Some(Members(members)) => {
            members.iter().for_each(|(inner, value)| flatten(&format!("{name}.{inner}"), value, cell, into));
        }
        None => into.push((name.to_owned(), cell(json))),
    }
}

/// A value that is no object, in one line. A blank or nothing would be taken for the lack of a column.
fn cell(json: &RawValue) -> String {
    match read(json) {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) if text.is_empty() => "\"\"".into(),
        Some(Value::String(text)) => in_line(&text).into_owned(),
        Some(Value::Array(items)) if items.is_empty() => "-".into(),
        Some(Value::Array(items)) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let items = items.iter().map(|item| match item {
                Value::String(text) => in_line(text).into_owned(),
                other => other.to_string(),
            });
            items.collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
    }
}

/// As [`cell`]; of numbers that are too many to be read it says how many, and of one no more digits than are.
fn short_cell(json: &RawValue) -> String {
    match read(json) {
        Some(Value::Array(items)) if items.len() > MOST_NUMBERS && items.iter().all(Value::is_number) => {
            format!("{} numbers", items.len())
        }
        Some(Value::Number(number)) if number.is_f64() => {
            let rounded = number.as_f64().map(|number| (number * 1e3).round() / 1e3);
            rounded
                .filter(|&rounded| rounded != 0.0)
                .map_or_else(|| cell(json), |rounded| rounded.to_string())
        }
        _ => cell(json),
    }
}

fn table(rows: &[Members<'_>], width: Option<usize>) -> String {
    let mut names: Vec<String> = Vec::new();
    let rows: Vec<Vec<(String, String)>> = rows
        .iter()
        .map(|Members(members)| {
            let mut row = Vec::new();
            members.iter().for_each(|(name, value)| flatten(name, value, short_cell, &mut row));
            row
        })
        .collect();
    for (name, _) in rows.iter().flatten() {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let cell_of = |row: &[(String, String)], name: &String| {
        let found = row.iter().find(|(known, _)| known == name);
        found.map_or_else(|| "-".to_owned(), |(_, text)| text.clone())
    };
    let mut cells: Vec<Vec<String>> =
        rows.iter().map(|row| names.iter().map(|name| cell_of(row, name)).collect()).collect();
    let is_number = |text: &String| text == "-" || text.parse::<f64>().is_ok();
    let right: Vec<bool> =
        (0..names.len()).map(|column| cells.iter().all(|row| is_number(&row[column]))).collect();
    cells.insert(0, names.iter().map(|name| in_line(name).into_owned()).collect());
    if rows.is_empty() {
        return String::new();
    }
    let table = aligned(&cells, &right);
    match width.filter(|&width| !fits(&table, width)) {
        Some(width) => {
            let sideways: Vec<Vec<String>> = (0..names.len())
                .map(|member| cells.iter().map(|row| row[member].clone()).collect())
                .collect();
            let sideways = aligned(&sideways, &vec![false; cells.len()]);
            if fits(&sideways, width) { sideways } else { table }
        }
        None => table,
    }
}

fn fits(text: &str, width: usize) -> bool {
    text.lines().all(|line| line.chars().count() <= width)
}

/// Lines of cells, each as wide as the widest of its column; those of some columns are set to the right.
fn aligned(rows: &[Vec<String>], right: &[bool]) -> String {
    let width_of = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..right.len()).map(width_of).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(right).zip(&widths).map(|((cell, right), &width)| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
