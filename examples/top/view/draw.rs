//! The drawing of the view.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, RenderDirection, Row as Drawn, Sparkline, SparklineBar, Table};

use super::figures::{Rows, Totals, bound_of};
use super::layout::Areas;
use super::state::{Link, Mode, Page, View};
use super::table::{Choice, Column, Row};
use super::text::{harmless, micros, rate, span};

const KEYS: &str = "q quit  p pause  Tab page  s S sort  r reverse  / filter  Up Down move  k kick";

/// The most columns of the screen that the first text of a table is widened to.
const WIDEST_TEXT: u16 = 45;

/// The bucket of 2^20 us, the highest that the sparkline tells from those below: a second.
const HIGHEST_BUCKET: usize = 20;

/// From these buckets on lateness is worth a warning (more than 8 ms), and an alarm (more than 131 ms).
const WARNED: usize = 14;
const ALARMED: usize = 18;

const ALARM: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const QUESTION: Style = Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD);

/// Draws everything, as far as it has room.
pub(crate) fn draw(view: &mut View, frame: &mut Frame<'_>, now: Instant) {
    let areas = Areas::of(frame.area(), view.figures.loops.len());
    draw_header(view, frame, areas.header, now);
    draw_loops(view, frame, areas.loops);
    draw_lateness(view, frame, areas.lateness);
    draw_page(view, frame, areas.table);
    draw_footer(view, frame, areas.footer);
    if view.link != Link::Up {
        // What is shown is of the past.
        for area in [areas.loops, areas.lateness, areas.table] {
            frame.buffer_mut().set_style(area, Style::new().dim());
        }
    }
}

fn draw_header(view: &View, frame: &mut Frame<'_>, area: Rect, now: Instant) {
    let [first, second] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    let status = status(view, now);
    // It matters more than the end of a long path.
    let wide = u16::try_from(status.width()).unwrap_or(u16::MAX).min(first.width);
    let [left, right] =
        Layout::horizontal([Constraint::Min(0), Constraint::Length(wide)]).spacing(1).areas(first);
    let server = format!("{}  up {}", harmless(&view.path), span(view.figures.uptime));
    frame.render_widget(Line::from(server.bold()), left);
    frame.render_widget(status, right);

    let line = match (&view.link, &view.trouble) {
        (Link::Lost { why, .. }, _) => Line::from(harmless(why)).style(ALARM),
        (Link::Up, Some(trouble)) => Line::from(harmless(trouble)).style(ALARM),
        (Link::Up, None) => Line::from(totals(&view.figures.totals)),
    };
    frame.render_widget(line, second);
}

fn status(view: &View, now: Instant) -> Line<'static> {
    let waited = now.saturating_duration_since(view.told_at);
    match view.link {
        Link::Lost { since, .. } => {
            let gone = span(now.saturating_duration_since(since));
            Line::from(format!("no server for {gone}")).style(ALARM)
        }
        Link::Up if view.paused => Line::from("paused").style(QUESTION),
        Link::Up if waited > view.interval * 2 => {
            Line::from(format!("no answer for {}", span(waited))).style(ALARM)
        }
        Link::Up => Line::from(format!("every {}", span(view.interval))),
    }
}

fn totals(totals: &Totals) -> String {
    let bound = if totals.partial { ">=" } else { "" };
    format!(
        "connections {}  bytes/s {bound}{} in {bound}{} out  messages/s {} in {} out",
        totals.connections,
        rate(totals.bytes_in),
        rate(totals.bytes_out),
        rate(totals.messages_in),
        rate(totals.messages_out),
    )
}

fn draw_loops(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let loops: Vec<_> = view.figures.loops.iter().collect();
    let room = usize::from(area.height.saturating_sub(1));
    // The last line tells how many there are that have none.
    let shown = if loops.len() > room { room.saturating_sub(1) } else { loops.len() };
    draw_table(frame, area, &loops[..shown], None, None);
    if shown < loops.len() && area.height > 1 {
        let line = Line::from(format!("and {} loops more", loops.len() - shown)).dim();
        frame.render_widget(line, Rect { y: area.bottom() - 1, height: 1, ..area });
    }
}

fn draw_lateness(view: &View, frame: &mut Frame<'_>, area: Rect) {
    if area.is_empty() {
        return;
    }
    let [title, chart] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let shown = || view.history.lateness().take(usize::from(chart.width));
    let late =
        |bucket: Option<usize>| bucket.map_or("-".to_owned(), |bucket| micros(bound_of(bucket) as f64));
    let text = format!(
        "lateness of timers and tasks, p99: {} now, {} at most of {} intervals",
        late(shown().next().flatten()),
        late(shown().flatten().max()),
        shown().len(),
    );
    frame.render_widget(Line::from(text), title);
    let bar = |bucket: Option<usize>| {
        let color = match bucket {
            Some(ALARMED..) => Color::Red,
            Some(WARNED..) => Color::Yellow,
            _ => Color::Green,
        };
        // By its bucket, hence logarithmic: what is less than a microsecond late can be told from what wasn't there.
        let height = bucket.map(|bucket| bucket as u64 + 1);
        SparklineBar::from(height).style(Some(Style::new().fg(color)))
    };
    let sparkline = Sparkline::default()
        .data(shown().map(bar))
        .max(HIGHEST_BUCKET as u64 + 1)
        .absent_value_symbol(" ")
        .direction(RenderDirection::RightToLeft);
    frame.render_widget(sparkline, chart);
}

fn draw_page(view: &mut View, frame: &mut Frame<'_>, area: Rect) {
    if area.is_empty() {
        return;
    }
    let [title, table] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    view.visible_rows = usize::from(table.height.saturating_sub(1));
    let (page, visible) = (view.page, view.visible_rows);
    let figures = &view.figures;
    let (count, order) = match page {
        Page::Connections => draw_rows(frame, table, &mut view.connections, &figures.connections, visible),
        Page::Sessions => draw_rows(frame, table, &mut view.sessions, &figures.sessions, visible),
        Page::Servers => draw_rows(frame, table, &mut view.servers, &figures.servers, visible),
    };
    let mut line = Line::default();
    for (one, name) in
        [(Page::Connections, "Connections"), (Page::Sessions, "Sessions"), (Page::Servers, "Servers")]
    {
        if one == page {
            line.push_span(name.bold().underlined());
            line.push_span(format!(" {count}  "));
        } else {
            line.push_span(format!("{name}  ").dim());
        }
    }
    line.push_span(order);
    frame.render_widget(line, title);
}

/// Draws the rows around the cursor, and tells what they are a part of, and how that is sorted and filtered.
fn draw_rows<R: Row>(
    frame: &mut Frame<'_>,
    area: Rect,
    choice: &mut Choice,
    rows: &Rows<R>,
    visible: usize,
) -> (String, String) {
    let arranged = choice.arrange(&rows.rows);
    let cursor = choice.cursor(&arranged);
    let top = choice.scroll(cursor, visible, arranged.len());
    let shown = &arranged[top..arranged.len().min(top + visible)];
    draw_table(frame, area, shown, Some(choice.column), Some(cursor - top));

    let column = &R::COLUMNS[choice.column];
    let direction = match (column.is_number(), choice.descending) {
        (true, true) => "highest first",
        (true, false) => "lowest first",
        (false, true) => "descending",
        (false, false) => "ascending",
    };
    let mut count = match arranged.len() {
        count if count == rows.total => format!("{count}"),
        count => format!("{count} of {}", rows.total),
    };
    if rows.rows.len() < rows.matched && arranged.len() < rows.rows.len() {
        count.push_str(&format!(" ({} looked at)", rows.rows.len()));
    }
    let mut order = format!("by {}, {direction}", column.title);
    if !choice.filter.is_empty() {
        order.push_str(&format!("  with '{}'", harmless(&choice.filter)));
    }
    (count, order)
}

fn draw_table<R: Row>(
    frame: &mut Frame<'_>,
    area: Rect,
    rows: &[&R],
    sorted: Option<usize>,
    cursor: Option<usize>,
) {
    let widths = widths_of(R::COLUMNS, area.width);
    let columns = || R::COLUMNS.iter().take(widths.len());
    let heading = columns().enumerate().map(|(place, column)| {
        let style =
            if sorted == Some(place) { Style::new().bold().underlined() } else { Style::new().bold() };
        cell(column, column.title.to_owned()).style(style)
    });
    let rows = rows.iter().enumerate().map(|(place, row)| {
        let drawn = Drawn::new(columns().map(|column| cell(column, column.cell(row))));
        if cursor == Some(place) { drawn.style(Modifier::REVERSED) } else { drawn }
    });
    let table = Table::new(rows, widths.iter().copied().map(Constraint::Length)).header(Drawn::new(heading));
    frame.render_widget(table, area);
}

fn cell<R>(column: &Column<R>, text: String) -> Cell<'static> {
    let text = Text::from(text);
    Cell::from(if column.is_number() { text.right_aligned() } else { text })
}

/// The widths of as many columns as there is room for, and at least of one. What is left over widens the first text.
fn widths_of<R>(columns: &[Column<R>], width: u16) -> Vec<u16> {
    let mut left = width;
    let mut widths = Vec::new();
    for column in columns {
        let gap = u16::from(!widths.is_empty());
        if column.width + gap > left && !widths.is_empty() {
            break;
        }
        left = left.saturating_sub(column.width + gap);
        widths.push(column.width);
    }
    if let Some(text) = columns.iter().position(Column::is_text).and_then(|place| widths.get_mut(place)) {
        *text += left.min(WIDEST_TEXT.saturating_sub(*text));
    }
    widths
}

fn draw_footer(view: &mut View, frame: &mut Frame<'_>, area: Rect) {
    let line = match &view.mode {
        Mode::Kick { id, peer } => {
            let (id, peer) = (harmless(id), harmless(peer));
            let text = format!("close {id} ({peer})?  y in good order  a at once  any other key: no");
            Line::from(text).style(QUESTION)
        }
        Mode::Filter => {
            let prompt = format!("filter: {}", harmless(&view.choice().filter));
            let end = area.x.saturating_add(u16::try_from(Span::raw(&prompt).width()).unwrap_or(u16::MAX));
            if !area.is_empty() {
                frame.set_cursor_position((end.min(area.right() - 1), area.y));
            }
            Line::from(format!("{prompt}   Enter keeps it, Esc drops it"))
        }
        Mode::Commands => match &view.notice {
            Some(notice) => Line::from(harmless(notice)).bold(),
            None => Line::from(KEYS).dim(),
        },
    };
    frame.render_widget(line, area);
}
