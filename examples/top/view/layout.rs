//! How the rows of the screen are dealt out.

use ratatui::layout::{Constraint, Layout, Rect};

/// What has room on the screen. What hasn't is empty.
#[derive(Debug)]
pub(super) struct Areas {
    pub(super) header: Rect,
    pub(super) loops: Rect,
    pub(super) lateness: Rect,
    pub(super) table: Rect,
    pub(super) footer: Rect,
}

impl Areas {
    /// The keys come first, then the header, the table with five lines, the loops, and lateness; the table gets what is left.
    pub(super) fn of(screen: Rect, loops: usize) -> Self {
        let mut left = screen.height;
        let footer = take(&mut left, 1);
        let header = take(&mut left, 2);
        let table = take(&mut left, 5);
        let wanted = u16::try_from(loops).unwrap_or(u16::MAX).saturating_add(1);
        let third = left / 3;
        // A heading without a loop below it is of no use.
        let loops = if third < 2 { 0 } else { take(&mut left, wanted.min(third)) };
        let lateness = match screen.height {
            20.. => take(&mut left, 4),
            14.. => take(&mut left, 2),
            _ => 0,
        };
        let table = table + left;
        let heights = [header, loops, lateness, table, footer].map(Constraint::Length);
        let [header, loops, lateness, table, footer] = Layout::vertical(heights).areas(screen);
        Self { header, loops, lateness, table, footer }
    }
}

fn take(left: &mut u16, wanted: u16) -> u16 {
    let taken = wanted.min(*left);
    *left -= taken;
    taken
}
